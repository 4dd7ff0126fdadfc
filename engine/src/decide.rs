//! How many replicas a workload should have, and why.
//!
//! Comes in: a policy, what was measured, and the history that the ledger
//! keeps. Goes out: a target within the policy's bounds, the reasons for it,
//! and what to remember. Floats stay inside. Never reads a clock, never writes.

pub mod activation;
mod banded;
mod compose;
pub mod conditions;
pub mod health;
pub mod limit;
pub mod metric;
pub mod objective;
mod outlook;
mod pass;
pub mod ratio;
pub mod reason;
pub mod stabilize;
pub mod trigger;

use crate::demand::pods::Sums;
use crate::history::{Change, History};
use crate::policy::{Policy, TRIGGERS_MAX};
use crate::unit::Ms;
use objective::signal::Signal;
pub use outlook::Evidence;
use reason::Report;

/// The size that the workload should have. Total: any input gives an answer.
pub fn decide(inputs: Inputs<'_>) -> Decision {
    let mut decision = pass::Pass::over(&inputs).decide();
    if let Some(evidence) = &mut decision.evidence {
        evidence.readings = inputs.readings;
    }
    decision
}

/// All that a decision depends on.
#[derive(Debug, Clone)]
pub struct Inputs<'a> {
    pub policy: &'a Policy,
    /// Log time.
    pub now: Ms,
    /// When the policy was first put into force.
    pub created_at: Ms,
    /// The size that the ledger granted last (HPA's `spec.replicas`).
    pub current: u32,
    /// Replicas that were seen to run (HPA's `status.replicas`).
    pub running: u32,
    /// Those among them that are ready; `None` where none was seen.
    pub ready: Option<u32>,
    /// When this caller last decided on this policy; `None` if it hasn't yet, as
    /// after a change of leader. What was true then is taken to have been true
    /// until now, which holds sizes longer, never shorter.
    pub last_pass: Option<Ms>,
    /// One for each trigger, in the policy's order; absent ones count as [`Reading::None`].
    pub readings: Vec<Reading>,
    /// The last minutes of a workload under strategy `objective`; `None` while
    /// the arrivals aren't known.
    pub signal: Option<&'a Signal>,
    /// How long the replicas took that began to run since the last pass, in
    /// milliseconds.
    pub started_ms: &'a [u32],
    pub history: &'a History,
    pub platform: Platform<'a>,
}

/// What the platform of a scaled workload allows just now; the default, and every
/// placed workload's, allows everything.
#[derive(Debug, Clone, Default)]
pub struct Platform<'a> {
    /// Why the size can't be known or written.
    pub held: Option<reason::Held>,
    /// Somebody else has set the size to 0, or it was found there. That switches
    /// scaling off where the policy itself would never go to 0 (hpa.md rule 17).
    pub off: bool,
    /// Why more replicas couldn't run, in words.
    pub blocked: Option<&'a str>,
}

/// What is known of one trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// What the agents measured of the workload's replicas; those that no fresh
    /// summary speaks of are in it as missing.
    Pods(Sums),
    /// The latest answer of an external source.
    Value {
        milli: i64,
        /// What is held against the activation: mostly the same. A queue may want its
        /// workload to run while the number that sizes it is 0.
        activity_milli: i64,
        at: Ms,
    },
    /// The latest answer of one that has a value of each replica.
    Answered { sums: Sums, at: Ms },
    /// The latest attempt failed.
    Failed { why: String, at: Ms },
    /// The same; `last`, a value or an answer, came before.
    Kept {
        why: String,
        at: Ms,
        last: Box<Reading>,
    },
    /// The workload's replicas can't be told from others; why, in words.
    Unselected(String),
    /// Nobody has asked yet, or nothing has been heard yet. Changes nothing.
    None,
}

impl Reading {
    /// An answer whose one number says all.
    pub fn value(milli: i64, at: Ms) -> Reading {
        Reading::Value {
            milli,
            activity_milli: milli,
            at,
        }
    }

    /// What is known once a question has failed. Takes over what was said before.
    pub fn fail(&mut self, why: String, at: Ms) {
        *self = match std::mem::replace(self, Reading::None) {
            last @ (Reading::Value { .. } | Reading::Answered { .. }) => Reading::Kept {
                why,
                at,
                last: Box::new(last),
            },
            Reading::Kept { last, .. } => Reading::Kept { why, at, last },
            _ => Reading::Failed { why, at },
        };
    }

    /// Without what was said before a failure.
    #[must_use]
    pub fn forgetful(self) -> Reading {
        match self {
            Reading::Kept { why, at, .. } => Reading::Failed { why, at },
            other => other,
        }
    }
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Within the policy's bounds (I5). Equal to `current` where nothing should
    /// change, and always in a dry run.
    pub target: u32,
    /// What the history must remember of this pass; empty where a second pass
    /// would learn nothing (I9).
    pub changes: Vec<Change>,
    /// The account, but for the values that would change a size that stays: these are
    /// in [`Decision::account`].
    pub report: Report,
    /// What they are worked out from; `None` where something else than the values
    /// holds the size, or it changes.
    pub evidence: Option<Box<Evidence>>,
}

impl Decision {
    /// The whole account, for whoever shows or keeps it. `policy` is the one that was
    /// decided on; of another one, put into force meanwhile, nothing is said that the
    /// report doesn't say.
    pub fn account(&self, policy: &Policy) -> Report {
        let mut report = self.report.clone();
        if let Some(evidence) = &self.evidence
            && decided_on(&report, policy)
        {
            report.outlook = outlook::values(policy, evidence, &report);
        }
        report
    }
}

/// Whether a report speaks of a policy's triggers and goals.
fn decided_on(report: &Report, policy: &Policy) -> bool {
    let said = report.inputs.iter().map(|it| (&it.trigger, it.goal));
    said.eq((policy.triggers.iter().take(TRIGGERS_MAX)).map(|it| (&it.name, it.goal)))
}
