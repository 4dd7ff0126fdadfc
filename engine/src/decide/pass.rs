//! One decision from beginning to end: hear the triggers, step between rest and
//! work, compute, hold and limit, keep the bounds, and note it all on the way.
//!
//! The order of the branches is HPA's and KEDA's; the arithmetic is in the
//! modules beside this one.

mod objective;
mod size;

use super::activation::{self, Active, Situation, Write};
use super::metric::Scale;
use super::objective::Wanted;
use super::outlook::Evidence;
use super::ratio::Tolerance;
use super::reason::{self, Condition, ConditionKind, Held, Outcome, Report, Status, Step};
use super::{Decision, Inputs, compose, outlook, trigger};
use crate::history::{Activity, Change, runs};
use crate::policy::{Policy, TRIGGERS_MAX, Zero};
use crate::unit::Ms;

/// Most decisions have no more of them.
const STEPS_USUAL: usize = 2;
const CONDITIONS_USUAL: usize = 6;

pub struct Pass<'a> {
    inputs: &'a Inputs<'a>,
    policy: &'a Policy,
    report: Report,
    changes: Vec<Change>,
    active: bool,
    /// The triggers that are above their activation thresholds.
    wakers: Vec<String>,
    /// One for each trigger: see [`trigger::Said::floor`].
    floors: Vec<Option<u32>>,
    /// Index of the first trigger that fails.
    failing: Option<usize>,
    /// HPA's condition `AbleToScale`, unless the size changes.
    able: &'static str,
    /// A recommendation was made, or would have been but for a failure.
    recommended: bool,
    /// What strategy `objective` makes of this pass.
    objective: Option<Wanted>,
}

impl<'a> Pass<'a> {
    pub fn over(inputs: &'a Inputs<'a>) -> Pass<'a> {
        let triggers = inputs.policy.triggers.len().min(TRIGGERS_MAX);
        // A leader keeps a report of each policy, so none has more room than it needs.
        Pass {
            inputs,
            policy: inputs.policy,
            report: Report {
                at: inputs.now,
                from: inputs.current,
                dry_run: inputs.policy.dry_run,
                inputs: Vec::with_capacity(triggers),
                steps: Vec::with_capacity(STEPS_USUAL),
                conditions: Vec::with_capacity(CONDITIONS_USUAL),
                ..Report::default()
            },
            changes: Vec::new(),
            active: false,
            wakers: Vec::new(),
            floors: Vec::with_capacity(triggers),
            failing: None,
            able: "SucceededGetScale",
            recommended: false,
            objective: None,
        }
    }

    /// What the evidence has of readings is for the caller to fill in, who owns them.
    pub fn decide(mut self) -> Decision {
        self.hear();
        self.consult();
        let size = self.size();
        self.finish(size)
    }

    /// Evaluates every trigger.
    fn hear(&mut self) {
        let scale = Scale {
            current: self.inputs.current,
            running: self.inputs.running,
            ready: self.inputs.ready,
            tolerance: Tolerance::of(self.policy),
        };
        let formula = self.policy.formula();
        let parts = formula.map_or_else(Vec::new, |_| compose::parts(self.inputs));
        let mut heard = parts.iter();
        let triggers = self.policy.triggers.iter().take(TRIGGERS_MAX);
        for (index, each) in triggers.enumerate() {
            let said = match formula {
                Some((at, text)) if at == index => {
                    compose::evaluate(self.inputs, each, text, &scale, &parts)
                }
                Some(_) if each.source.feeds_formulas() => match heard.next() {
                    Some(part) => part.said.clone(),
                    // There is one for each of them.
                    None => continue,
                },
                _ => trigger::evaluate(self.inputs, index, each, &scale),
            };
            self.active |= said.active;
            if said.active && self.inputs.current < self.policy.replicas_min.max(1) {
                self.wakers.push(each.name.clone());
            }
            if said.failing && self.failing.is_none() {
                self.failing = Some(index);
            }
            self.changes.extend(said.change);
            self.floors.push(said.floor);
            if let Some(replicas) = said.input.outcome.proposal()
                && self.report.raw.is_none_or(|raw| replicas > raw)
            {
                self.report.raw = Some(replicas);
                self.report.winner = u32::try_from(index).ok();
            }
            self.report.inputs.push(said.input);
        }
        // Replicas' own metrics can't wake a workload, so where there is nothing
        // else it counts as awake (KEDA).
        let outside = self.policy.triggers.iter().any(|t| t.source.is_outside());
        if !outside && self.failing.is_none() && !self.policy.triggers.is_empty() {
            self.active = true;
        }
        if self.policy.fallback.is_some() {
            let fallen = self
                .report
                .inputs
                .iter()
                .any(|input| matches!(input.outcome, Outcome::Fallback { .. }));
            let reason = if fallen {
                "FallbackExists"
            } else {
                "NoFallbackFound"
            };
            self.condition(ConditionKind::Fallback, fallen, reason);
        }
    }

    fn size(&mut self) -> u32 {
        let changed = self.inputs.history.changed_at == Some(self.inputs.now);
        if changed {
            // One change for each instant, so that planning again right after
            // a change plans nothing more and learns nothing more (I9).
            self.changes.clear();
            self.recommended = true;
        }
        if let Some(held) = &self.inputs.platform.held {
            self.recommended = true;
            self.step(Step::Held(held.clone()));
            return self.inputs.current;
        }
        if self.switched_off() {
            return self.disabled();
        }
        if changed {
            self.step(Step::JustChanged);
            return self.inputs.current;
        }
        let notes = &self.policy.annotations;
        if notes.paused || notes.paused_replicas.is_some() {
            self.step(Step::Paused {
                at: notes.paused_replicas,
            });
            self.condition(ConditionKind::Paused, true, "ScaledObjectPaused");
            return notes.paused_replicas.unwrap_or(self.inputs.current);
        }
        if notes.paused_scale_in || notes.paused_scale_out {
            self.condition(ConditionKind::Paused, true, "ScaledObjectPaused");
        }
        match self.policy.zero {
            Zero::Activation => self.activation(),
            Zero::Hpa { allowed } => self.hpa(allowed),
        }
    }

    fn activation(&mut self) -> u32 {
        let (inputs, before) = (self.inputs, self.inputs.history.activity);
        let last_active = if before.active {
            Some(inputs.last_pass.unwrap_or(inputs.now))
        } else {
            before.last_active
        };
        let situation = Situation {
            policy: self.policy,
            current: inputs.current,
            created_at: inputs.created_at,
            last_active,
            now: inputs.now,
            active: self.active,
            failing: self.failing.is_some(),
        };
        let step = activation::step(&situation);
        // While a trigger fails, nobody knows that the workload is idle: the
        // cooldown begins again once it is known.
        let hidden = situation.failing && inputs.current > 0;
        self.remember(step.active_until_now || hidden, before, last_active);
        if let Some(active) = step.condition {
            self.condition(ConditionKind::Active, active.status(), active.code());
        }
        if let Some(active) = step.condition {
            self.ready(active.status());
        }
        if let Some(left_ms) = step.cooling_ms {
            self.step(Step::CoolingDown { left_ms });
        }
        let awake = step.condition == Some(Active::Active);
        match step.write {
            Write::Size(to) if awake => {
                self.account();
                let by = std::mem::take(&mut self.wakers);
                self.step(Step::Activated { to, by });
                to
            }
            Write::Size(to) if to > inputs.current => {
                self.step(Step::BelowMin { min: to });
                to
            }
            Write::Size(to) => {
                let quiet_ms = last_active.map(|last| inputs.now.since(last));
                self.step(Step::Deactivated { to, quiet_ms });
                to
            }
            Write::Stay => self.stay(awake, situation.failing),
            Write::Continue => self.work(awake, situation.failing),
        }
    }

    /// The size stays, but never below the bounds (I5).
    fn stay(&mut self, awake: bool, failing: bool) -> u32 {
        let (current, floor) = (self.inputs.current, *self.policy.bounds().start());
        if current < floor {
            self.step(Step::BelowMin { min: floor });
            return floor;
        }
        self.step(match (awake, failing) {
            (true, _) => Step::ScaleOutPaused {
                wanted: self.policy.replicas_min.max(1),
            },
            (false, true) => Step::RestWithheld,
            (false, false) => Step::AtRest,
        });
        current
    }

    /// HPA's arithmetic decides; says first what keeps the workload from resting.
    fn work(&mut self, awake: bool, failing: bool) -> u32 {
        let (current, min) = (self.inputs.current, self.policy.replicas_min);
        if !awake && self.policy.may_rest() {
            let steady = self.report.raw == Some(current);
            if failing && steady {
                self.step(Step::RestWithheld);
            } else if !failing && self.policy.annotations.paused_scale_in {
                let wanted = self.policy.replicas_idle.unwrap_or(0);
                self.step(Step::ScaleInPaused { wanted });
            }
        }
        self.within(min.max(1))
    }

    /// KEDA's condition `Ready`: whether the triggers can be trusted.
    fn ready(&mut self, active: bool) {
        let covered = self.policy.fallback.is_some_and(|f| f.replicas > 0);
        let (status, reason) = match (self.failing, active) {
            (None, _) => (Status::True, "ScaledObjectReady"),
            (Some(_), true) => (Status::Unknown, "PartialTriggerError"),
            (Some(_), false) if covered => (Status::True, "ScaledObjectReady"),
            (Some(_), false) => (Status::False, "TriggerError"),
        };
        self.report.conditions.push(Condition {
            kind: ConditionKind::Ready,
            status,
            reason: reason.into(),
        });
    }

    /// Writes activity only where it flips.
    fn remember(&mut self, active: bool, before: Activity, last_active: Option<Ms>) {
        if active != before.active {
            let last_active = if active {
                Some(self.inputs.now)
            } else {
                last_active
            };
            self.changes.push(Change::Activity(Activity {
                active,
                last_active,
            }));
        }
    }

    fn hpa(&mut self, allowed: bool) -> u32 {
        let min = self.policy.replicas_min;
        if self.inputs.current > 0 {
            return self.within(min);
        }
        let spans_zero = self.policy.triggers.iter().any(|t| t.source.spans_zero());
        // As in [`Pass::switched_off`]: in a dry run nobody says who went there.
        let rests = self.inputs.history.scaled_to_zero || self.policy.dry_run;
        if allowed && rests && (min > 0 || spans_zero) {
            return self.compute(min);
        }
        self.disabled()
    }

    /// Whether somebody else switched the workload off, where the policy itself
    /// would never do so. In a dry run all sizes are somebody else's, who may ask what
    /// this policy wants.
    fn switched_off(&self) -> bool {
        self.inputs.platform.off
            && !self.policy.dry_run
            && self.inputs.current == 0
            && self.policy.zero == Zero::Activation
            && !self.policy.bounds().contains(&0)
    }

    fn disabled(&mut self) -> u32 {
        self.step(Step::Disabled);
        self.condition(ConditionKind::ScalingActive, false, "ScalingDisabled");
        0
    }

    /// Growth that couldn't run is put off, though never below the minimum. That
    /// replicas lack which were granted already is said, too.
    fn unblocked(&mut self, size: u32) -> u32 {
        let current = self.inputs.current;
        let lacking = size > current || self.inputs.running < size;
        let Some(why) = self.inputs.platform.blocked.filter(|_| lacking) else {
            return size;
        };
        self.step(Step::Blocked {
            wanted: size,
            why: reason::clip(why),
        });
        size.min(current)
    }

    fn finish(mut self, size: u32) -> Decision {
        let current = self.inputs.current;
        let size = self.unblocked(size);
        let target = self.bounded(size);
        let history = self.inputs.history;
        if !self.recommended && runs::open(&history.recommendations).is_some() {
            self.changes.push(Change::Unrecommended {
                until: self.inputs.last_pass,
            });
        }
        let rescaled = target != current;
        let held = self.inputs.platform.held.as_ref();
        let able = match (held, rescaled) {
            (Some(Held::Rival(_)), _) => "AlreadyScaled",
            (Some(Held::Rebuilt { .. }), _) => "ClusterRebuilt",
            (Some(_), _) => "FailedGetScale",
            (None, true) => "SucceededRescale",
            (None, false) => self.able,
        };
        self.condition(ConditionKind::AbleToScale, held.is_none(), able);
        self.scaled_to_zero(target);
        self.report.conditions.sort_by_key(|c| c.kind);
        self.report.target = target;
        self.report.outlook = outlook::holds(self.inputs, &self.report);
        let evidence = outlook::is_steady(&self.report).then(|| {
            Box::new(Evidence {
                running: self.inputs.running,
                ready: self.inputs.ready,
                blocked: self.inputs.platform.blocked.is_some(),
                floors: self.floors,
                ..Evidence::default()
            })
        });
        let write = rescaled && !self.policy.dry_run;
        if write {
            self.changes.push(Change::Resized {
                from: current,
                to: target,
            });
        }
        Decision {
            target: if write { target } else { current },
            changes: self.changes,
            report: self.report,
            evidence,
        }
    }

    /// The bounds hold whatever was decided before (I5), but for a workload that
    /// a human switched off under HPA's rules.
    fn bounded(&mut self, size: u32) -> u32 {
        let fixed = |step: &Step| matches!(step, Step::Disabled | Step::Held(_));
        if self.report.steps.iter().any(fixed) {
            return size;
        }
        let bounds = self.policy.bounds();
        let floor = match self.policy.zero {
            Zero::Activation => *bounds.start(),
            Zero::Hpa { .. } => self.policy.replicas_min.min(*bounds.end()),
        };
        let target = size.clamp(floor, *bounds.end());
        if target != size {
            self.step(Step::Bounded {
                from: size,
                to: target,
            });
        }
        target
    }

    fn scaled_to_zero(&mut self, target: u32) {
        if self.policy.zero != (Zero::Hpa { allowed: true }) {
            return;
        }
        let (current, before) = (self.inputs.current, self.inputs.history.scaled_to_zero);
        let after = if target == current {
            before
        } else {
            self.policy.goes_to_zero(current, target)
        };
        if after {
            self.condition(ConditionKind::ScaledToZero, true, "ScaledToZero");
        } else if target != current {
            self.condition(ConditionKind::ScaledToZero, false, "NotScaledToZero");
        }
    }

    fn step(&mut self, step: Step) {
        self.report.steps.push(step);
    }

    fn condition(&mut self, kind: ConditionKind, truth: bool, reason: &'static str) {
        self.report.conditions.push(Condition {
            kind,
            status: Status::of(truth),
            reason: reason.into(),
        });
    }
}
