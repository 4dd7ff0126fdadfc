//! Strategy `objective` within a pass: asked before anything else, so that
//! expected work can wake the workload; its size then goes through bounds, rate
//! policies and pauses, but not through the stabilization windows, because it
//! holds sizes by itself. Its sizes are recorded all the same: they hold the
//! workload once the triggers' goals have to decide.

use super::Pass;
use crate::decide::limit::Limited;
use crate::decide::objective::reason::Reason;
use crate::decide::objective::signal::Signal;
use crate::decide::objective::state::{self, Held, State};
use crate::decide::objective::{Observation, Settings, want};
use crate::decide::reason::{ConditionKind, Step};
use crate::history::Change;
use crate::policy::{Objective, Policy, Strategy, Zero};

impl Pass<'_> {
    /// Asks the strategy, and notes what it has learned.
    pub(super) fn consult(&mut self) {
        let Strategy::Objective(objective) = &self.policy.strategy else {
            return;
        };
        let unknown = Signal::default();
        let (current, now) = (self.inputs.current, self.inputs.now);
        let learned = self.inputs.history.objective.as_deref();
        let mut learned = learned.cloned().unwrap_or_default();
        if learned == State::default() && current > 0 {
            // The size at the start counts as one that was needed, as HPA's
            // first recommendation does.
            let seed = state::Change::Held(Held {
                from: now,
                replicas: current,
            });
            learned.apply(&seed);
            self.changes.push(Change::Objective(seed));
        }
        let observation = Observation {
            signal: self.inputs.signal.unwrap_or(&unknown),
            current,
            ready: self.inputs.ready.unwrap_or(0),
            started_ms: self.inputs.started_ms,
        };
        let wanted = want(
            &settings(self.policy, objective),
            &observation,
            &learned,
            now,
        );
        let learned = wanted.changes.iter().cloned().map(Change::Objective);
        self.changes.extend(learned);
        let works = observation.signal.idle_s() == Some(0);
        let due = wanted
            .reasons
            .iter()
            .any(|reason| matches!(reason, Reason::Expected(_)));
        // The last replica stays for a while after the work, but work has to
        // come, or to be due, to wake the workload.
        let awake =
            wanted.replicas.is_some_and(|replicas| replicas > 0) && (current > 0 || works || due);
        if awake && self.policy.zero == Zero::Activation && self.policy.replicas_min == 0 {
            self.active = true;
            if current == 0 && self.wakers.is_empty() {
                self.wakers.push("objective".into());
            }
        }
        self.objective = Some(wanted);
    }

    /// Puts the strategy's account into the report; gives its size, `None` where
    /// the triggers' goals have to decide.
    pub(super) fn account(&mut self) -> Option<u32> {
        let wanted = self.objective.take()?;
        let reasons = wanted.reasons.into_iter().map(Step::Objective);
        self.report.steps.extend(reasons);
        wanted.replicas
    }

    pub(super) fn by_objective(&mut self, wanted: u32, min: u32) -> u32 {
        let current = self.inputs.current;
        self.report.raw = Some(wanted);
        self.report.winner = None;
        let failed = self.failure();
        if let Some(failed) = failed
            && wanted < current
        {
            self.step(Step::Frozen { wanted });
            self.condition(ConditionKind::ScalingActive, false, failed);
            return current;
        }
        self.condition(ConditionKind::ScalingActive, true, "ValidMetricFound");
        self.record(wanted);
        self.able = "ReadyForNewScale";
        let size = if self.policy.behavior.is_some() {
            self.limited(wanted, min)
        } else {
            self.within_bounds(wanted, min)
        };
        self.pauses(size)
    }

    /// Without `behavior` nothing but the bounds limits a step: work that waits
    /// can't wait for a size to be doubled several times.
    fn within_bounds(&mut self, wanted: u32, min: u32) -> u32 {
        let max = *self.policy.bounds().end();
        let size = wanted.min(max).max(min);
        let by = match size.cmp(&wanted) {
            std::cmp::Ordering::Less => Limited::TooMany,
            std::cmp::Ordering::Equal => Limited::Within,
            std::cmp::Ordering::Greater => Limited::TooFew,
        };
        self.note_limit(wanted, size, by);
        size
    }
}

fn settings(policy: &Policy, objective: &Objective) -> Settings {
    let cap = *policy.bounds().end();
    Settings {
        wait_ms: objective.wait_ms,
        miss_ppm: objective.miss_ppm,
        service_ms: objective.service_ms,
        slots: objective.slots,
        replicas_min: policy.replicas_min.min(cap),
        replicas_max: cap,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i5_a_minimum_above_the_maximum_gives_way_as_in_the_bounds() {
        let policy = Policy {
            replicas_min: 200,
            replicas_max: 100,
            ..Policy::default()
        };
        let settings = settings(&policy, &Objective::default());
        assert_eq!((settings.replicas_min, settings.replicas_max), (100, 100));
    }
}
