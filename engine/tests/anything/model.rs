//! What must hold, written from the rules and not from the engine's code.
//!
//! [`always`] looks at one decision, whatever it was made from. [`Life`]
//! remembers all that became of one workload, [`Leaders`] what each leader of
//! the cluster has heard, and both say what the next decision may not do.

mod grants;
mod leaders;
mod life;

use std::cmp::Ordering;
use std::collections::BTreeMap;

use starling_engine::decide::objective::signal::Signal;
use starling_engine::decide::objective::state::{Forecast, Held};
use starling_engine::decide::reason::{Report, Step};
use starling_engine::decide::{Decision, Inputs, Reading, decide};
use starling_engine::demand::pods::Sums;
use starling_engine::policy::{Goal, Policy, Source, Strategy, TRIGGERS_MAX, Trigger};
use starling_engine::unit::Ms;

pub use grants::silence;
pub use leaders::{Leaders, lessons};
pub use life::{Life, bounded};

/// A size that `objective` called for is kept at least this long.
const HOLD_MS_MIN: u64 = 60_000;
/// Nobody shrinks on less than this.
const WATCHED_S_MIN: usize = 8;

/// How often each thing was played, so that a test can tell what was.
pub type Tally = BTreeMap<&'static str, u64>;

/// Counts what a report says of strategy `objective`, its reasons by code and which
/// way it went, and of the platform.
pub fn count(tally: &mut Tally, report: &Report) {
    let mut one = |what| *tally.entry(what).or_default() += 1;
    for step in &report.steps {
        match step {
            Step::Objective(_) | Step::Held(_) | Step::Blocked { .. } | Step::Disabled => {
                one(step.code());
            }
            _ => {}
        }
    }
    if by_objective(report) {
        one(match report.target.cmp(&report.from) {
            Ordering::Less => "shrinks",
            Ordering::Equal => "stays",
            Ordering::Greater => "grows",
        });
    }
}

/// What holds of any decision, made from anything.
pub fn always(inputs: &Inputs<'_>, decision: &Decision) {
    let (policy, report) = (inputs.policy, &decision.report);
    let bounds = policy.bounds();
    let kept = |step: &Step| matches!(step, Step::Held(_) | Step::Disabled);
    let kept = report.steps.iter().any(kept) && report.target == inputs.current;
    assert!(bounds.contains(&report.target) || kept, "I5: {decision:?}");
    let written = if policy.dry_run {
        inputs.current
    } else {
        report.target
    };
    assert_eq!(decision.target, written);
    let shrinks = report.target < inputs.current.min(*bounds.end());
    let triggers = policy.triggers.iter().take(TRIGGERS_MAX).enumerate();
    let mut unsure = triggers.filter(|(i, trigger)| uncertain(inputs, *i, trigger));
    if shrinks && !ordered(policy) {
        let unsure = unsure.next();
        assert_eq!(unsure, None, "I4: shrinks all the same: {report}");
    }
    if let Strategy::Objective(_) = policy.strategy {
        objective(inputs, decision, shrinks);
    }
}

/// I4 and I5 in the words of `objective`: its own size is in bounds before
/// anybody else looks at it; it doesn't shrink on seconds; and where arrivals
/// aren't known it has no say, so that all is as under `target`.
fn objective(inputs: &Inputs<'_>, decision: &Decision, shrinks: bool) {
    let (policy, report) = (inputs.policy, &decision.report);
    let cap = *policy.bounds().end();
    if by_objective(report) {
        let raw = report.raw.unwrap_or_default();
        let floor = policy.replicas_min.min(cap);
        assert!((floor..=cap).contains(&raw), "I5: {report}");
        let watched_s = inputs.signal.map_or(0, Signal::len);
        assert!(!shrinks || watched_s >= WATCHED_S_MIN, "I4: {report}");
    }
    only_raises(inputs);
    let newest = inputs.signal.and_then(Signal::last);
    if newest.and_then(|second| second.arrivals_milli).is_none() {
        let policy = Policy {
            strategy: Strategy::Target,
            ..policy.clone()
        };
        let target = decide(Inputs {
            policy: &policy,
            ..inputs.clone()
        });
        assert_eq!(decision.target, target.target, "I4: {report}");
        let said = |report: &Report| (report.target, report.raw, report.winner);
        assert_eq!(said(report), said(&target.report), "I4: {report}");
    }
}

/// Without its forecasts the strategy would ask for as much or for less. What
/// was held is left out: stretches in no order are dropped by the next one, and
/// which sizes count as the next one depends on the forecast.
fn only_raises(inputs: &Inputs<'_>) {
    let report = |forecasts: bool| {
        let mut history = inputs.history.clone();
        if let Some(learned) = &mut history.objective {
            learned.held = vec![Held::default()];
            if !forecasts {
                learned.forecast = Forecast::default();
            }
        }
        let history = &history;
        let inputs = Inputs {
            history,
            ..inputs.clone()
        };
        decide(inputs).report
    };
    let (plain, report) = (report(false), report(true));
    assert!(plain.raw <= report.raw, "a forecast shrinks: {report}");
}

/// Somebody said to which size the workload may fall without metrics.
fn ordered(policy: &Policy) -> bool {
    policy.fallback.is_some() || policy.annotations.paused_replicas.is_some()
}

/// A trigger that says nothing certain: no answer, a failure, an answer that is
/// too old, no sample of any replica, a type that nobody knows.
fn uncertain(inputs: &Inputs<'_>, index: usize, trigger: &Trigger) -> bool {
    if matches!(trigger.source, Source::Unknown { .. }) {
        return true;
    }
    let intervals_ms = inputs.policy.polling_interval_ms.saturating_mul(3);
    let kept_ms = inputs.policy.stale_after_ms.unwrap_or(intervals_ms);
    let old = |at: Ms| inputs.now.since(at) > kept_ms.max(60_000);
    let without_samples =
        |sums: &Sums| sums.samples == 0 && !matches!(trigger.goal, Goal::Value { .. });
    match inputs.readings.get(index) {
        None
        | Some(
            Reading::None | Reading::Unselected(_) | Reading::Failed { .. } | Reading::Kept { .. },
        ) => true,
        Some(Reading::Value { at, .. }) => old(*at),
        Some(Reading::Answered { sums, at }) => old(*at) || without_samples(sums),
        Some(Reading::Pods(sums)) => without_samples(sums),
    }
}

/// The strategy has decided, and no trigger's goal.
fn by_objective(report: &Report) -> bool {
    let staffed = report.steps.iter().any(|step| match step {
        Step::Objective(reason) => !reason.falls_back(),
        _ => false,
    });
    staffed && report.raw.is_some() && report.winner.is_none()
}

/// Sizes that were called for, with their times.
#[derive(Default)]
struct Called(Vec<(Ms, u32)>);

impl Called {
    fn for_size(&mut self, at: Ms, replicas: u32) {
        self.0.push((at, replicas));
    }

    /// The highest of less than `window_ms` ago; 0 where there is none.
    fn highest(&self, now: Ms, window_ms: u64) -> u32 {
        let recent = self.0.iter().filter(|(at, _)| now.since(*at) < window_ms);
        recent.map(|(_, replicas)| *replicas).max().unwrap_or(0)
    }
}
