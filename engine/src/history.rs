//! What has to be remembered about a workload to decide well, across leader
//! changes and restarts (I6). Replicated: it changes only through [`History::apply`].
//!
//! Comes in: a [`Change`] from a committed entry, the entry's time and the
//! policy in force. Integers only; every list has a bound.

pub mod events;
pub mod runs;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::decide::objective::state::{self, State};
use crate::policy::{Policy, Strategy};
use crate::unit::Ms;

/// One workload's memory. Bounded: see [`runs::RUNS_MAX`], [`events::EVENTS_MAX`]
/// and [`crate::policy::TRIGGERS_MAX`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Whether recommendations were ever recorded. Until then the size at the
    /// start counts as one (hpa.md rule 1).
    pub seeded: bool,
    /// Unstabilized recommendations, run-length coded, in no order of time.
    pub recommendations: Vec<Recommendation>,
    pub ups: Vec<Event>,
    pub downs: Vec<Event>,
    /// By trigger name; a trigger that has never failed is absent.
    pub health: BTreeMap<String, Health>,
    pub activity: Activity,
    /// The last change of size by a decision.
    pub changed_at: Option<Ms>,
    /// HPA's condition `ScaledToZero`.
    pub scaled_to_zero: bool,
    /// What strategy `objective` has learned; `None` under every other one.
    pub objective: Option<Box<State>>,
}

/// `replicas` was recommended from `from` to `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recommendation {
    pub replicas: u32,
    pub from: Ms,
    /// `None` while it is still being recommended; at most one run is open.
    pub until: Option<Ms>,
}

/// A change of size, for rate limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Absolute number of replicas.
    pub change: u32,
    pub at: Ms,
    pub outdated: bool,
}

/// How a trigger has answered lately. Both counts stop at a bound, so that a
/// source that stays up or down costs no log entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// In a row; kept while good readings are still too few to trust the source again.
    pub failures: u32,
    /// Good readings in a row since the last failure.
    pub successes: u32,
    /// The reading that was counted last; the same one never counts twice.
    pub at: Ms,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// A trigger is active, or its failing hides whether it is.
    pub active: bool,
    /// When `active` was last true; while it is true, now.
    pub last_active: Option<Ms>,
}

/// One thing to remember.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// The recommendation has become another one. The open run ended at `until`;
    /// unknown to a new leader, which lets it count until now.
    Recommended { replicas: u32, until: Option<Ms> },
    /// Nothing is recommended any more: the workload rests or is paused.
    Unrecommended { until: Option<Ms> },
    /// The size changes; leave it out where the ledger refuses the size.
    Resized { from: u32, to: u32 },
    /// A trigger's health has changed.
    Answered { trigger: String, health: Health },
    /// The workload has become active or inactive.
    Activity(Activity),
    /// Strategy `objective` has learned something.
    Objective(state::Change),
}

impl History {
    /// Takes in one change that was committed at `now`. The only way that a
    /// history changes; the same changes give the same history everywhere.
    pub fn apply(&mut self, change: &Change, now: Ms, policy: &Policy) {
        match change {
            Change::Recommended { replicas, until } => {
                self.seeded = true;
                let until = until.unwrap_or(now).min(now);
                runs::record(
                    &mut self.recommendations,
                    *replicas,
                    until,
                    now,
                    policy.windows(),
                );
            }
            Change::Unrecommended { until } => {
                let until = until.unwrap_or(now).min(now);
                runs::close(&mut self.recommendations, until);
            }
            Change::Resized { from, to } => self.resized(*from, *to, now, policy),
            Change::Answered { trigger, health } => {
                self.health
                    .retain(|name, _| policy.triggers.iter().any(|t| t.name == *name));
                if policy.triggers.iter().any(|t| t.name == *trigger) {
                    self.health.insert(trigger.clone(), *health);
                }
            }
            Change::Activity(activity) => self.activity = *activity,
            Change::Objective(learned) => {
                if matches!(policy.strategy, Strategy::Objective(_)) {
                    self.objective.get_or_insert_default().apply(learned);
                }
            }
        }
    }

    fn resized(&mut self, from: u32, to: u32, now: Ms, policy: &Policy) {
        if from == to {
            return;
        }
        self.changed_at = Some(now);
        self.scaled_to_zero = policy.goes_to_zero(from, to);
        if let Some(behavior) = &policy.behavior {
            let (events, rules) = if to > from {
                (&mut self.ups, &behavior.up)
            } else {
                (&mut self.downs, &behavior.down)
            };
            events::store(events, from.abs_diff(to), now, rules.period_ms_max());
        }
    }
}

impl Policy {
    /// Whether a change of size is HPA's own step to zero (hpa.md rule 17).
    pub fn goes_to_zero(&self, from: u32, to: u32) -> bool {
        from > 0
            && to == 0
            && self.replicas_min == 0
            && self.triggers.iter().any(|t| t.source.spans_zero())
    }
}
