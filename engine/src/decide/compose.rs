//! A formula in place of the external triggers (KEDA's `scalingModifiers`, keda.md 1.7).
//!
//! Comes in: the readings of the triggers that go into it, and the history. Goes out:
//! what each of those says, and the one proposal that the formula's value makes. A
//! trigger that fails makes the value unknown, never 0, once what it said before is too
//! old: nothing shrinks until it answers or the fallback stands in, or, where the policy
//! says so, it is nil in the formula.

use super::metric::{Proposal, Scale};
use super::reason::{Failure, Input, Outcome, source_name};
use super::trigger::{Said, StandIn, Verdict, expired, judge, keeps, polled, proposal, stand_in};
use super::{Inputs, Reading, health};
use crate::formula::Formula;
use crate::history::{Change, Health};
use crate::policy::{FallbackBehavior, Source, Trigger};
use crate::unit::Ms;

/// One trigger that goes into the formula.
#[derive(Debug, Clone)]
pub struct Part {
    pub said: Said,
    /// In milli-units, with its time, and not too old to count; `None` where it isn't known.
    value: Option<(i64, Ms)>,
    /// It failed since.
    kept: bool,
    health: Health,
    /// It failed more often in a row than the fallback's threshold, and hasn't answered
    /// well often enough since.
    fallen: bool,
}

/// What says how many replicas there are: put into a formula, it brings a ratio back.
const COUNTS_REPLICAS: &str = "kubernetes-workload";

/// Those of the policy, in its order.
pub fn parts(inputs: &Inputs<'_>) -> Vec<Part> {
    let triggers = &inputs.policy.triggers;
    let formula = inputs.policy.formula();
    let goal = formula
        .and_then(|(at, _)| triggers.get(at))
        .map(|it| it.goal);
    let counts = |trigger: &Trigger| match &trigger.source {
        Source::External { kind, .. } => kind == COUNTS_REPLICAS,
        _ => false,
    };
    let keeps_at = |at: Ms| {
        let ratio = triggers.iter().any(counts);
        !ratio && goal.is_some_and(|goal| keeps(inputs, goal, at))
    };
    let fed = triggers.iter().enumerate();
    let fed = fed.filter(|(_, trigger)| trigger.source.feeds_formulas());
    fed.map(|(index, trigger)| part(inputs, index, trigger, keeps_at))
        .collect()
}

/// One of them; `keeps_at` says whether what was said then still counts after a failure.
fn part(
    inputs: &Inputs<'_>,
    index: usize,
    trigger: &Trigger,
    keeps_at: impl Fn(Ms) -> bool,
) -> Part {
    let fallback = inputs.policy.fallback.as_ref();
    let before = known(inputs, &trigger.name);
    let poll = |good, at| {
        let poll = health::Poll { good, at };
        health::after(before, poll, inputs.now, fallback)
    };
    let shown = |outcome, value: Option<(i64, Ms)>, at: Option<Ms>, health| Part {
        said: Said {
            input: Input {
                trigger: trigger.name.clone(),
                source: source_name(&trigger.source),
                goal: trigger.goal,
                value: value.map(|(milli, _)| milli),
                age_ms: at.map(|at| inputs.now.since(at)),
                pods: None,
                band: None,
                outcome,
            },
            active: false,
            failing: false,
            floor: None,
            change: (health != before).then(|| Change::Answered {
                trigger: trigger.name.clone(),
                health,
            }),
        },
        value: None,
        kept: false,
        health,
        fallen: health::fallen_back(health, fallback),
    };
    let failed = |why: &str, health: Health| Outcome::Failed {
        reason: Failure::source(why),
        failures: health.failures,
        kept: None,
    };
    match inputs.readings.get(index) {
        _ if matches!(trigger.source, Source::Unknown { .. }) => {
            let outcome = Outcome::Failed {
                reason: Failure::UnknownType,
                failures: before.failures,
                kept: None,
            };
            shown(outcome, None, None, before)
        }
        // An answer that is too old to act on isn't counted again.
        Some(Reading::Value { milli, at, .. }) if expired(inputs, *at) => {
            shown(Outcome::Stale, Some((*milli, *at)), Some(*at), before)
        }
        Some(Reading::Value { milli, at, .. }) => {
            let value = Some((*milli, *at));
            Part {
                value,
                ..shown(Outcome::Composed, value, Some(*at), poll(true, *at))
            }
        }
        Some(Reading::Failed { why, at }) => {
            let health = poll(false, *at);
            shown(failed(why, health), None, Some(*at), health)
        }
        Some(Reading::Kept { why, at, last }) => {
            let health = poll(false, *at);
            let part = shown(failed(why, health), None, Some(*at), health);
            let value = match **last {
                Reading::Value { milli, at, .. } if !part.fallen && keeps_at(at) => {
                    Some((milli, at))
                }
                _ => None,
            };
            Part {
                value,
                kept: value.is_some(),
                ..part
            }
        }
        _ => shown(Outcome::Unheard, None, None, before),
    }
}

fn known(inputs: &Inputs<'_>, name: &str) -> Health {
    let known = inputs.history.health.get(name);
    known.copied().unwrap_or_default()
}

/// What the formula itself says, given all that goes into it.
pub fn evaluate(
    inputs: &Inputs<'_>,
    trigger: &Trigger,
    text: &str,
    scale: &Scale,
    parts: &[Part],
) -> Said {
    let fallback = inputs.policy.fallback.as_ref();
    let routes = fallback.is_some_and(|it| it.behavior == FallbackBehavior::ScalingModifiers);
    let before = known(inputs, &trigger.name);
    let made = match silent(parts, routes) {
        Some(part) => Made::unknown(part),
        None => Made::of(trigger, text, scale, parts),
    };
    // A formula that has no result counts as one failed question for each interval.
    let polled = made.computed.and_then(|good| {
        let at = polled(inputs, &trigger.name, inputs.policy)?;
        Some(health::Poll { good, at })
    });
    let state = polled.map_or(before, |poll| {
        health::after(before, poll, inputs.now, fallback)
    });
    let change = (state != before).then(|| Change::Answered {
        trigger: trigger.name.clone(),
        health: state,
    });
    let fallen = parts.iter().find(|part| part.fallen && !routes);
    let own = health::fallen_back(state, fallback);
    let stands = fallen.is_some() || made.nothing || own;
    let floor = fallback
        .filter(|_| stands)
        .and_then(|it| stand_in(it, trigger.goal, scale));
    let above = made.milli.is_some_and(|it| it > trigger.activation_milli);
    // What the formula makes of a failure wakes the workload as a fallback does, so that
    // not even that puts it to rest.
    let nil = made.milli.is_some() && parts.iter().any(|part| part.value.is_none());
    let lacking = made.health.filter(|_| !own).unwrap_or(state);
    let health = fallen.map_or(lacking, |part| part.health);
    let (outcome, active, failing) = judge(made.verdict, floor, health, above || nil);
    let oldest = parts.iter().filter_map(|part| Some(part.value?.1)).min();
    Said {
        input: Input {
            trigger: trigger.name.clone(),
            source: source_name(&trigger.source),
            goal: trigger.goal,
            value: made.milli,
            age_ms: oldest.map(|at| inputs.now.since(at)),
            pods: None,
            band: None,
            outcome,
        },
        active,
        failing,
        floor: floor.map(|it: StandIn| it.replicas),
        change,
    }
}

/// The first trigger without which the formula can't be computed; one that failed comes
/// before one that wasn't heard yet.
fn silent(parts: &[Part], routes: bool) -> Option<&Part> {
    let lacks = |part: &&Part| part.value.is_none() && !(routes && part.fallen);
    let unheard = |part: &&Part| part.said.input.outcome == Outcome::Unheard;
    let mut silent = parts.iter().filter(lacks);
    let mut failed = silent.clone().filter(|part| !unheard(part));
    failed.next().or_else(|| silent.next())
}

/// What came of the formula.
struct Made {
    verdict: Verdict,
    milli: Option<i64>,
    /// Whether it has a result; `None` where it wasn't computed, or not from answers alone.
    computed: Option<bool>,
    /// It says itself that it has nothing to say.
    nothing: bool,
    /// Of the trigger that it lacks, or whose last answer it goes by.
    health: Option<Health>,
}

impl Made {
    fn unknown(part: &Part) -> Made {
        let name = &part.said.input.trigger;
        let verdict = match &part.said.input.outcome {
            Outcome::Stale => Verdict::Stale,
            Outcome::Failed { .. } => Verdict::Bad(Failure::source(&format!(
                "its value isn't known without {name}"
            ))),
            _ => Verdict::Unheard,
        };
        Made {
            verdict,
            milli: None,
            computed: None,
            nothing: false,
            health: Some(part.health),
        }
    }

    fn of(trigger: &Trigger, text: &str, scale: &Scale, parts: &[Part]) -> Made {
        let names = parts.iter().map(|part| part.said.input.trigger.as_str());
        let names: Vec<&str> = names.collect();
        let values = parts.iter().map(|part| part.value.map(|(milli, _)| milli));
        let values: Vec<Option<i64>> = values.collect();
        let result = Formula::parse(text, &names).and_then(|it| it.milli(&values));
        let kept = parts.iter().find(|part| part.kept);
        let (verdict, milli) = match result {
            Ok(Some(milli)) => match proposal(trigger.goal, milli, scale) {
                Ok(proposal) => (good(proposal, kept), Some(milli)),
                Err(error) => (Verdict::Bad(Failure::Metric(error)), Some(milli)),
            },
            Ok(None) => (Verdict::Bad(Failure::source("the formula gives nil")), None),
            Err(why) => (
                Verdict::Bad(Failure::source(&format!("the formula {why}"))),
                None,
            ),
        };
        let nothing = milli.is_none() && parts.iter().any(|part| part.value.is_none());
        Made {
            // What was said before a failure is no answer that a fallback could end by.
            computed: kept.is_none().then_some(milli.is_some()),
            verdict,
            milli,
            nothing,
            health: kept.map(|part| part.health),
        }
    }
}

/// What a formula asks for; with a part that fails, what it asked for before.
fn good(proposal: Proposal, kept: Option<&Part>) -> Verdict {
    let Some(part) = kept else {
        return Verdict::Good(proposal);
    };
    let name = &part.said.input.trigger;
    let why = format!("it is computed with what {name} said before it failed");
    Verdict::Kept(proposal, Failure::source(&why))
}
