//! What would have to change for the size to change: each hold that the report
//! names, turned round, and the values that would change a size that nothing holds.
//! These take as long to find as the decision, so they wait for somebody to ask.
//!
//! Comes in: the finished report, [`Evidence`]. Goes out: conditions in the order of their
//! causes. Never says more than the report's own steps and inputs bear out.

mod value;

use std::collections::BTreeSet;

use super::limit::{self, Limited, Recent};
use super::objective::limits::Limits;
use super::objective::reason::Reason;
use super::reason::{Held, Input, Outcome, Outlook, Report, Step};
use super::{Inputs, Reading};
use crate::history::{Event, events::EVENTS_MAX};
use crate::policy::{Policy, RECOVERY, Rules, Select, Strategy, Zero};
use crate::unit::Ms;
use value::thresholds;

/// So many moments are tried for when a rate policy lets go; where none of them
/// suffices no wait is offered.
const EXPIRIES_MAX: usize = EVENTS_MAX;

/// What was known when a size was left as it is because the values ask for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    /// As in [`Inputs`].
    pub readings: Vec<Reading>,
    pub running: u32,
    pub ready: Option<u32>,
    /// The platform couldn't run more replicas.
    pub blocked: bool,
    /// One for each trigger: see [`Said::floor`](super::trigger::Said).
    pub floors: Vec<Option<u32>>,
}

/// Such a size, under its policy.
#[derive(Clone, Copy)]
struct Case<'a> {
    policy: &'a Policy,
    current: u32,
    evidence: &'a Evidence,
}

/// What holds the size, as far as the report's own steps say.
pub fn holds(inputs: &Inputs<'_>, report: &Report) -> Vec<Outlook> {
    let mut outlook = Vec::new();
    for step in &report.steps {
        held(inputs, report, step, &mut outlook);
    }
    for input in &report.inputs {
        if let Outcome::Fallback {
            successes, needed, ..
        } = input.outcome
        {
            outlook.push(Outlook::Recovery {
                trigger: input.trigger.clone(),
                more: needed.unwrap_or(RECOVERY).saturating_sub(successes),
            });
        }
    }
    if !is_steady(report) {
        finish(inputs.policy, report, &mut outlook);
    }
    outlook
}

/// Whether nothing holds the size but the values, so that [`values`] is to be asked.
pub fn is_steady(report: &Report) -> bool {
    let steady = report.target == report.from && report.raw == Some(report.from);
    steady && !report.steps.iter().any(Step::overrules)
}

/// The whole outlook of a steady size, given what [`holds`] has said of it.
pub fn values(policy: &Policy, evidence: &Evidence, report: &Report) -> Vec<Outlook> {
    let case = Case {
        policy,
        current: report.from,
        evidence,
    };
    let mut outlook = report.outlook.clone();
    thresholds(case, report, &mut outlook);
    if outlook.is_empty() {
        obstacles(case, report, &mut outlook);
    }
    outlook.extend(rest(policy, report));
    finish(policy, report, &mut outlook);
    outlook
}

fn finish(policy: &Policy, report: &Report, outlook: &mut Vec<Outlook>) {
    let (floor, cap) = at_work(policy);
    let only = report.target == report.from && floor == cap;
    if outlook.is_empty() && only {
        outlook.push(Outlook::Bounds);
    }
    outlook.dedup();
}

/// Where no single value would change the size: what keeps each way closed.
fn obstacles(case: Case<'_>, report: &Report, outlook: &mut Vec<Outlook>) {
    let (policy, current) = (case.policy, case.current);
    let notes = &policy.annotations;
    let (floor, cap) = at_work(policy);
    if current < cap {
        if switched_off(policy, Limited::Up) {
            outlook.push(field("spec.behavior.scaleUp.selectPolicy", current + 1));
        }
        outlook.extend(
            notes
                .paused_scale_out
                .then(|| annotation("paused-scale-out")),
        );
        outlook.extend(case.evidence.blocked.then_some(Outlook::Room));
    }
    if current > floor {
        if switched_off(policy, Limited::Down) {
            outlook.push(field("spec.behavior.scaleDown.selectPolicy", current - 1));
        }
        outlook.extend(notes.paused_scale_in.then(|| annotation("paused-scale-in")));
    }
    outlook.extend(report.inputs.iter().flat_map(|i| silent(policy, i)));
    if outlook.is_empty() && current > floor {
        let hold = report.inputs.iter();
        let hold = hold.filter(|input| input.outcome.proposal() == Some(current));
        let triggers: Vec<String> = hold.map(|input| input.trigger.clone()).collect();
        if triggers.len() > 1 {
            outlook.push(Outlook::Together { triggers });
        }
    }
    if outlook.is_empty() {
        // Whatever they use: what isn't known counts against any change.
        let unseen = |input: &&Input| {
            input
                .pods
                .is_some_and(|it| it.missing > 0 || it.unready > 0)
        };
        let inputs = report.inputs.iter().filter(unseen);
        outlook.extend(inputs.map(|input| Outlook::Samples {
            trigger: input.trigger.clone(),
        }));
    }
}

/// What would put a workload to rest that is at its smallest size at work.
fn rest(policy: &Policy, report: &Report) -> Option<Outlook> {
    let held = report
        .steps
        .iter()
        .any(|step| matches!(step, Step::CoolingDown { .. } | Step::RestWithheld));
    let smallest = report.from == at_work(policy).0;
    let fails = |input: &Input| is_silent(&input.outcome);
    let certain = !report.inputs.iter().any(fails);
    (policy.may_rest() && smallest && !held && certain).then_some(Outlook::Quiet {
        ms: policy.cooldown_ms,
    })
}

fn held(inputs: &Inputs<'_>, report: &Report, step: &Step, outlook: &mut Vec<Outlook>) {
    let unmoved = report.target == report.from;
    // A wait that ends now isn't over.
    let wait = |ms: u64| Outlook::Wait { ms: ms.max(1) };
    match step {
        Step::Paused { at } => {
            let paused = inputs.policy.annotations.paused.then_some("paused");
            let at = at.map(|_| "paused-replicas");
            outlook.extend(paused.into_iter().chain(at).map(annotation));
        }
        Step::Disabled => outlook.push(Outlook::Enable),
        Step::Held(Held::Rival(by)) => outlook.push(Outlook::Rival { by: by.clone() }),
        Step::Held(Held::Rebuilt { left_ms }) => outlook.push(wait(*left_ms)),
        Step::Held(_) => outlook.push(Outlook::Platform),
        Step::Blocked { wanted, .. } if *wanted > report.from => outlook.push(Outlook::Room),
        Step::AtRest => outlook.extend(wakers(inputs.policy)),
        Step::RestWithheld | Step::NoMetrics | Step::Frozen { .. } => {
            outlook.extend(report.inputs.iter().flat_map(|i| silent(inputs.policy, i)));
        }
        Step::CoolingDown { left_ms } | Step::Settling { left_ms, .. } => {
            outlook.push(wait(*left_ms));
        }
        Step::Stabilized {
            from,
            to,
            window_ms,
            age_ms,
        } if unmoved => {
            // Once the window is over, the bounds may hold the size all the same.
            let (floor, cap) = at_work(inputs.policy);
            if *from < floor && floor == report.from {
                outlook.extend(at_floor(inputs.policy, *from));
            } else if *from > cap && cap == report.from {
                outlook.push(field("spec.maxReplicaCount", *from));
            } else if (*from < report.from && report.from <= *to)
                || (*to <= report.from && report.from < *from)
            {
                // Anywhere else something else holds the size.
                outlook.push(wait(window_ms.saturating_sub(*age_ms)));
            }
        }
        Step::LastReplica => outlook.extend(at_floor(inputs.policy, 0)),
        Step::JustChanged => outlook.push(wait(0)),
        Step::Limited { from, to, by } => match by {
            Limited::TooMany => outlook.push(field("spec.maxReplicaCount", *from)),
            Limited::TooFew => outlook.extend(at_floor(inputs.policy, *from)),
            Limited::Up | Limited::Down if switched_off(inputs.policy, *by) => {
                let direction = if *by == Limited::Up {
                    "scaleUp"
                } else {
                    "scaleDown"
                };
                let name = format!("spec.behavior.{direction}.selectPolicy");
                outlook.push(field(&name, *from));
            }
            Limited::Up | Limited::Down if unmoved && *to == report.from => {
                outlook.extend(rate_opens(inputs, *from).map(wait));
            }
            _ => {}
        },
        Step::Objective(reason) if unmoved => objective(inputs, report, *reason, outlook),
        Step::ScaleInPaused { .. } => outlook.push(annotation("paused-scale-in")),
        Step::ScaleOutPaused { .. } => outlook.push(annotation("paused-scale-out")),
        Step::Bounded { from, to } if from < to => {
            outlook.push(field("spec.minReplicaCount", *from));
        }
        Step::Bounded { from, .. } => outlook.push(field("spec.maxReplicaCount", *from)),
        _ => {}
    }
}

/// The smallest and the largest size of a workload that isn't at rest.
fn at_work(policy: &Policy) -> (u32, u32) {
    let (_, cap) = policy.bounds().into_inner();
    let min = match policy.zero {
        Zero::Activation => policy.replicas_min.max(1),
        Zero::Hpa { .. } => policy.replicas_min,
    };
    (min.min(cap), cap)
}

/// What would let a workload at its smallest size shrink: the minimum, or what
/// keeps it from resting. A cooldown speaks for itself.
fn at_floor(policy: &Policy, wanted: u32) -> Option<Outlook> {
    if policy.replicas_min > 0 {
        Some(field("spec.minReplicaCount", wanted))
    } else {
        let forced = policy.annotations.force_activation;
        forced.then(|| annotation("force-activation"))
    }
}

/// KEDA's, without its prefix.
fn annotation(name: &str) -> Outlook {
    Outlook::Annotation { name: name.into() }
}

/// Where the objective decided: the load that would take another size, and how
/// long a smaller one has to wait.
fn objective(inputs: &Inputs<'_>, report: &Report, reason: Reason, outlook: &mut Vec<Outlook>) {
    let Strategy::Objective(objective) = &inputs.policy.strategy else {
        return;
    };
    match reason {
        Reason::Staffed {
            service_us,
            peakedness_milli,
            headroom_milli,
            slots_each,
            replicas,
            ..
        } => {
            let (min, max) = inputs.policy.bounds().into_inner();
            if replicas > max && report.from == max {
                outlook.push(field("spec.maxReplicaCount", replicas));
            } else if replicas < min && report.from == min {
                outlook.push(field("spec.minReplicaCount", replicas));
            }
            // Something else than the load keeps it from shrinking.
            let kept = report.steps.iter().any(|step| {
                matches!(
                    step,
                    Step::Frozen { .. }
                        | Step::Objective(
                            Reason::Held {
                                left_ms: Some(_),
                                ..
                            } | Reason::Expected(_)
                                | Reason::SignalShort { .. }
                        )
                )
            });
            outlook.push(Outlook::Load(Limits {
                replicas: report.from,
                may_grow: report.from < max,
                may_shrink: !kept && report.from > min.max(1),
                slots_each,
                service_us,
                wait_ms: objective.wait_ms,
                miss_ppm: objective.miss_ppm,
                peakedness_milli,
                headroom_milli,
            }));
        }
        Reason::Held {
            left_ms: Some(ms), ..
        }
        | Reason::SignalShort { left_ms: ms } => outlook.push(Outlook::Wait { ms }),
        Reason::Idle { idle_ms, keep_ms } if idle_ms < keep_ms => outlook.push(Outlook::Wait {
            ms: keep_ms - idle_ms,
        }),
        _ => {}
    }
}

fn field(name: &str, wanted: u32) -> Outlook {
    Outlook::Field {
        field: name.into(),
        wanted,
    }
}

fn switched_off(policy: &Policy, by: Limited) -> bool {
    policy.behavior.as_ref().is_some_and(|behavior| {
        let rules = if by == Limited::Up {
            &behavior.up
        } else {
            &behavior.down
        };
        rules.select == Select::Disabled
    })
}

/// The triggers that could wake a workload at rest.
fn wakers(policy: &Policy) -> impl Iterator<Item = Outlook> {
    let composed = policy.formula().is_some();
    let outside = policy.triggers.iter().filter(move |trigger| {
        let source = &trigger.source;
        source.is_outside() && !(composed && source.feeds_formulas())
    });
    outside.map(|trigger| Outlook::Activity {
        trigger: trigger.name.clone(),
        above: trigger.activation_milli,
    })
}

fn is_silent(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Failed { .. } | Outcome::Stale | Outcome::Unheard
    )
}

/// A trigger that says nothing would have to answer, or to fail often enough for
/// the fallback.
fn silent(policy: &Policy, input: &Input) -> impl Iterator<Item = Outlook> {
    let answer = is_silent(&input.outcome).then(|| Outlook::Answer {
        trigger: input.trigger.clone(),
    });
    let more = match (&input.outcome, policy.fallback) {
        (Outcome::Failed { failures, .. }, Some(fallback)) => fallback
            .failure_threshold
            .saturating_add(1)
            .saturating_sub(*failures),
        _ => 0,
    };
    let fall_back = (more > 0).then(|| Outlook::Failures {
        trigger: input.trigger.clone(),
        more,
    });
    answer.into_iter().chain(fall_back)
}

/// In how many milliseconds enough of the recent changes of size have stopped
/// counting for a rate policy to let the size go from `current` towards
/// `desired`; `None` where time alone doesn't help.
fn rate_opens(inputs: &Inputs<'_>, desired: u32) -> Option<u64> {
    let behavior = inputs.policy.behavior.as_ref()?;
    let (ups, downs) = (&inputs.history.ups, &inputs.history.downs);
    let (rules, events): (&Rules, &[Event]) = if desired > inputs.current {
        (&behavior.up, ups)
    } else {
        (&behavior.down, downs)
    };
    let left = |period_ms: u64, at: Ms| period_ms.checked_sub(inputs.now.since(at));
    let lefts = rules
        .rates
        .iter()
        .flat_map(|rate| events.iter().filter_map(|e| left(rate.period_ms, e.at)));
    let lefts: BTreeSet<u64> = lefts.filter(|left| *left > 0).collect();
    let (min, max) = at_work(inputs.policy);
    let step = limit::Step {
        current: inputs.current,
        desired,
        min,
        max,
    };
    lefts.into_iter().take(EXPIRIES_MAX).find(|left| {
        let now = inputs.now.plus(*left);
        limit::by_rates(step, behavior, Recent { ups, downs, now }).0 != inputs.current
    })
}
