//! One trigger: its reading, its health, and the size that it proposes.
//!
//! Comes in: the reading and the history. Goes out: a typed [`Input`] for the
//! report and what the history must remember. Never mixes triggers.

use super::health::Poll;
use super::metric::{self, Proposal, Scale};
use super::reason::{Failure, Input, Outcome, Pods, clip, source_name};
use super::{Inputs, Reading, banded, health};
use crate::demand::pods::Sums;
use crate::history::{Change, Health};
use crate::policy::{Fallback, FallbackBehavior, Goal, Policy, Source, Strategy, Trigger, Zero};
use crate::unit::Ms;

/// What one trigger says.
#[derive(Debug, Clone)]
pub struct Said {
    pub input: Input,
    /// Above its activation threshold.
    pub active: bool,
    /// Says nothing that could shrink the workload or put it to rest.
    pub failing: bool,
    /// The size that a fallback asks for at least while this one isn't trusted again.
    pub floor: Option<u32>,
    pub change: Option<Change>,
}

/// Evaluates the trigger at `index`; a reading that is absent counts as [`Reading::None`].
pub fn evaluate(inputs: &Inputs<'_>, index: usize, trigger: &Trigger, scale: &Scale) -> Said {
    let reading = inputs.readings.get(index).unwrap_or(&Reading::None);
    let measured = measure(inputs, trigger, reading, scale);
    let mut input = Input {
        trigger: trigger.name.clone(),
        source: source_name(&trigger.source),
        goal: trigger.goal,
        value: measured.value,
        age_ms: measured.age_ms,
        pods: measured.pods,
        band: band(inputs.policy, trigger.goal),
        outcome: Outcome::Unheard,
    };
    let fallback = inputs.policy.fallback.as_ref();
    let before = inputs
        .history
        .health
        .get(&trigger.name)
        .copied()
        .unwrap_or_default();
    let state = match (&measured.result, measured.polled_at) {
        (Verdict::Good(_) | Verdict::Bad(_) | Verdict::Kept(..), Some(at)) => {
            let good = matches!(measured.result, Verdict::Good(_));
            health::after(before, Poll { good, at }, inputs.now, fallback)
        }
        _ => before,
    };
    let change = (state != before).then(|| Change::Answered {
        trigger: trigger.name.clone(),
        health: state,
    });
    let stand_in = fallback
        .filter(|f| health::fallen_back(state, Some(f)))
        .filter(|_| !matches!(measured.result, Verdict::NoReplicas))
        .and_then(|f| stand_in(f, trigger.goal, scale));
    let above = measured
        .activity_milli
        .is_some_and(|milli| milli > trigger.activation_milli);
    let floor = stand_in.map(|it| it.replicas);
    let (outcome, active, failing) = judge(measured.result, stand_in, state, above);
    input.outcome = outcome;
    Said {
        input,
        active,
        failing,
        floor,
        change,
    }
}

/// The outcome, whether the trigger is active, and whether it counts as failing.
pub(super) fn judge(
    result: Verdict,
    stand_in: Option<StandIn>,
    state: Health,
    above: bool,
) -> (Outcome, bool, bool) {
    match (result, stand_in) {
        (Verdict::NoReplicas, _) => (Outcome::NoReplicas, false, false),
        (Verdict::Good(proposal), None) => (proposes(proposal), above, false),
        // A good answer may only raise what the fallback asks for. Either counts
        // as active, so not even a fallback to nothing puts the workload to rest.
        (Verdict::Good(proposal), Some(f)) if proposal.replicas > f.replicas => {
            (proposes(proposal), true, false)
        }
        (Verdict::Good(_) | Verdict::Stale | Verdict::Unheard, Some(f)) => {
            (f.outcome(state, None), true, false)
        }
        (Verdict::Bad(reason) | Verdict::Kept(_, reason), Some(f)) => {
            (f.outcome(state, Some(reason)), true, false)
        }
        (Verdict::Bad(reason), None) => (failed(reason, state, None), false, true),
        // It fails all the same, so that nothing shrinks, wakes or rests by what was true once.
        (Verdict::Kept(proposal, reason), None) => {
            (failed(reason, state, Some(proposal.replicas)), false, true)
        }
        (Verdict::Stale, None) => (Outcome::Stale, false, true),
        (Verdict::Unheard, None) => (Outcome::Unheard, false, true),
    }
}

fn failed(reason: Failure, state: Health, kept: Option<u32>) -> Outcome {
    Outcome::Failed {
        reason,
        failures: state.failures,
        kept,
    }
}

fn proposes(proposal: Proposal) -> Outcome {
    Outcome::Proposes {
        replicas: proposal.replicas,
        within_tolerance: proposal.within_tolerance,
    }
}

/// What a fallback asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct StandIn {
    /// By the policy.
    stated: u32,
    /// After the tolerance that applies to it as to any other answer.
    pub replicas: u32,
    behavior: FallbackBehavior,
    needed: Option<u32>,
}

impl StandIn {
    fn outcome(self, state: Health, reason: Option<Failure>) -> Outcome {
        Outcome::Fallback {
            stated: self.stated,
            replicas: self.replicas,
            failures: state.failures,
            successes: state.successes,
            behavior: self.behavior,
            reason,
            needed: self.needed,
        }
    }
}

fn band(policy: &Policy, goal: Goal) -> Option<(u32, u32)> {
    match (&policy.strategy, goal) {
        (Strategy::Banded(bands), Goal::Utilization { .. }) => {
            Some((bands.low_percent, bands.high_percent))
        }
        _ => None,
    }
}

pub(super) enum Verdict {
    Good(Proposal),
    Bad(Failure),
    /// It fails, and this is what it asked for before.
    Kept(Proposal, Failure),
    Stale,
    Unheard,
    NoReplicas,
}

/// A reading, before the trigger's past is considered.
struct Measured {
    result: Verdict,
    value: Option<i64>,
    age_ms: Option<u64>,
    pods: Option<Pods>,
    /// Held against the activation threshold.
    activity_milli: Option<i64>,
    /// When the poll was that health counts.
    polled_at: Option<Ms>,
}

impl Measured {
    fn nothing(result: Verdict) -> Measured {
        Measured {
            result,
            value: None,
            age_ms: None,
            pods: None,
            activity_milli: None,
            polled_at: None,
        }
    }

    fn at(self, at: Ms, now: Ms) -> Measured {
        Measured {
            age_ms: Some(now.since(at)),
            polled_at: Some(at),
            ..self
        }
    }
}

fn measure(inputs: &Inputs<'_>, trigger: &Trigger, reading: &Reading, scale: &Scale) -> Measured {
    if let Source::Unknown { .. } = trigger.source {
        return Measured::nothing(Verdict::Bad(Failure::UnknownType));
    }
    let owns_zero = inputs.policy.zero == Zero::Activation;
    if owns_zero && inputs.current == 0 && !trigger.source.is_outside() {
        return Measured::nothing(Verdict::NoReplicas);
    }
    match reading {
        Reading::None => Measured::nothing(Verdict::Unheard),
        Reading::Failed { why, at } => {
            Measured::nothing(Verdict::Bad(Failure::source(why))).at(*at, inputs.now)
        }
        Reading::Kept { why, at, last } => {
            let why = Failure::source(why);
            match kept(inputs, trigger, last, scale) {
                Some((proposal, before)) => Measured {
                    result: Verdict::Kept(proposal, why),
                    polled_at: Some(*at),
                    ..before
                },
                None => Measured::nothing(Verdict::Bad(why)).at(*at, inputs.now),
            }
        }
        Reading::Unselected(why) => Measured {
            polled_at: polled(inputs, &trigger.name, inputs.policy),
            ..Measured::nothing(Verdict::Bad(Failure::Selector(clip(why))))
        },
        Reading::Pods(sums) => replicas(inputs, trigger, sums, scale),
        Reading::Answered { sums, at } => {
            let mut measured = replicas(inputs, trigger, sums, scale).at(*at, inputs.now);
            if expired(inputs, *at) {
                measured.result = Verdict::Stale;
            }
            measured
        }
        Reading::Value {
            milli,
            activity_milli,
            at,
        } => Measured {
            activity_milli: (!expired(inputs, *at)).then_some(*activity_milli),
            ..value(inputs, trigger.goal, *milli, *at, scale)
        },
    }
}

/// Whether an answer of that time is too old to act on.
pub(super) fn expired(inputs: &Inputs<'_>, at: Ms) -> bool {
    inputs.now.since(at) > inputs.policy.stale_ms()
}

/// Whether an answer of that time still counts after a failure. A goal for all replicas
/// together makes a ratio of it, which would be applied again to what it has led to.
pub(super) fn keeps(inputs: &Inputs<'_>, goal: Goal, at: Ms) -> bool {
    let ratio = matches!(goal, Goal::Value { .. });
    !ratio && inputs.now.since(at) <= inputs.policy.keeps_ms()
}

/// What a failing trigger's last answer still asks for.
fn kept(
    inputs: &Inputs<'_>,
    trigger: &Trigger,
    last: &Reading,
    scale: &Scale,
) -> Option<(Proposal, Measured)> {
    let (Reading::Value { at, .. } | Reading::Answered { at, .. }) = last else {
        return None;
    };
    let before = measure(inputs, trigger, last, scale);
    match before.result {
        Verdict::Good(proposal) if keeps(inputs, trigger.goal, *at) => Some((proposal, before)),
        _ => None,
    }
}

/// What a value asks for.
pub(super) fn proposal(goal: Goal, milli: i64, scale: &Scale) -> Result<Proposal, metric::Error> {
    match goal {
        Goal::Value { milli: target } => metric::value(milli, target, scale),
        Goal::AverageValue { milli: target } => metric::value_per_replica(milli, target, scale),
        Goal::Utilization { .. } => Err(metric::Error::NoMetricsForKnownPods),
    }
}

fn value(inputs: &Inputs<'_>, goal: Goal, milli: i64, at: Ms, scale: &Scale) -> Measured {
    let proposal = proposal(goal, milli, scale);
    let result = match proposal {
        _ if expired(inputs, at) => Verdict::Stale,
        Ok(proposal) => Verdict::Good(proposal),
        Err(error) => Verdict::Bad(Failure::Metric(error)),
    };
    let mut measured = Measured::nothing(result).at(at, inputs.now);
    measured.value = Some(milli);
    measured
}

fn replicas(inputs: &Inputs<'_>, trigger: &Trigger, sums: &Sums, scale: &Scale) -> Measured {
    let policy = inputs.policy;
    let proposal = match (trigger.goal, &policy.strategy) {
        (Goal::Utilization { .. }, Strategy::Banded(bands)) => banded::propose(sums, bands, scale),
        (Goal::Utilization { percent }, _) => metric::utilization(sums, percent, scale),
        (Goal::AverageValue { milli }, _) => metric::average(sums, milli, scale),
        (Goal::Value { milli }, _) => metric::value(sums.ready_usage_milli, milli, scale),
    };
    let value = proposal.as_ref().ok().map(|p| p.value);
    let result = match proposal {
        Ok(_) if policy.fallback.is_some() && sums.mostly_missing() => {
            Verdict::Bad(Failure::MostlyMissing)
        }
        Ok(proposal) => Verdict::Good(proposal),
        Err(error) => Verdict::Bad(Failure::Metric(error)),
    };
    Measured {
        result,
        value,
        age_ms: sums.oldest.map(|at| inputs.now.since(at)),
        pods: Some(Pods {
            counted: sums.ready,
            unready: sums.unready,
            missing: sums.missing_count(),
            ignored: sums.ignored,
        }),
        activity_milli: None,
        polled_at: polled(inputs, &trigger.name, policy),
    }
}

/// Replicas are measured all the time; that counts as one poll for each interval.
pub(super) fn polled(inputs: &Inputs<'_>, name: &str, policy: &Policy) -> Option<Ms> {
    let last = inputs.history.health.get(name).map(|health| health.at);
    let (now, interval_ms) = (inputs.now, policy.polling_interval_ms);
    let due = last.is_none_or(|at| at > now || now.since(at) >= interval_ms);
    due.then_some(inputs.now)
}

/// The size that a fallback gives, by KEDA's arithmetic: the value that makes
/// the trigger's own formula yield it, so that tolerance applies to it as well.
/// `None` where it can't be formed (no replica is ready to divide a value by).
pub(super) fn stand_in(fallback: &Fallback, goal: Goal, scale: &Scale) -> Option<StandIn> {
    let (fixed, current) = (fallback.replicas, scale.current);
    let stated = match fallback.behavior {
        FallbackBehavior::Static | FallbackBehavior::ScalingModifiers => fixed,
        FallbackBehavior::CurrentReplicas => current,
        FallbackBehavior::CurrentReplicasIfHigher => current.max(fixed),
        FallbackBehavior::CurrentReplicasIfLower => current.min(fixed),
    };
    let reported = |target: i64, divisor: u32| {
        let milli = i128::from(target) * i128::from(stated) / i128::from(divisor.max(1));
        i64::try_from(milli).unwrap_or(i64::MAX)
    };
    let proposal = match goal {
        Goal::Utilization { .. } => metric::value_per_replica(reported(1_000, 1), 1_000, scale),
        Goal::AverageValue { milli } => metric::value_per_replica(reported(milli, 1), milli, scale),
        Goal::Value { milli } => {
            let ready = scale.ready.filter(|ready| *ready > 0)?;
            metric::value(reported(milli, ready), milli, scale)
        }
    };
    proposal.ok().map(|p| StandIn {
        stated,
        replicas: p.replicas,
        behavior: fallback.behavior,
        needed: fallback.recovery_threshold,
    })
}
