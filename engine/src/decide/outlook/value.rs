//! What the value of each trigger would have to be for the size to change: HPA's own
//! arithmetic, asked for values that were not measured.
//!
//! Comes in: a report that keeps the size. Goes out: for each trigger the nearest
//! value above and below the present one with which it would change, so that the
//! value before it would not. What the bounds, another trigger or a pause would
//! undo is no such value.

use std::cell::RefCell;

use super::{Case, at_work, is_silent, switched_off};
use crate::decide::limit::Limited;
use crate::decide::metric::{self, Error, Proposal, Scale};
use crate::decide::ratio::Tolerance;
use crate::decide::reason::{Input, Outcome, Outlook, Report, Step};
use crate::decide::{Reading, banded};
use crate::demand::pods::Sums;
use crate::policy::{Goal, Policy, Rules, Strategy, Trigger, Zero};

/// One, in millionths.
const ONE_PPM: i128 = 1_000_000;

/// Of every trigger that asks for a size.
pub fn thresholds(case: Case<'_>, report: &Report, outlook: &mut Vec<Outlook>) {
    let Case {
        policy,
        current,
        evidence,
    } = case;
    let room = Room::of(case, report);
    let asks = |n: u32| move |input: &&Input| input.outcome.proposal() == Some(n);
    let asking = report.inputs.iter().filter(asks(current)).count();
    let awake = if room.rests {
        active(case, report)
    } else {
        Vec::new()
    };
    let pairs = report.inputs.iter().zip(&policy.triggers);
    for (index, (input, trigger)) in pairs.enumerate() {
        let Outcome::Proposes { replicas, .. } = input.outcome else {
            continue;
        };
        let Some(value) = input.value else { continue };
        let reading = evidence.readings.get(index).unwrap_or(&Reading::None);
        let holds_alone = replicas == current && asking == 1;
        let floor = evidence.floors.get(index).copied().flatten();
        let what_if = WhatIf {
            policy,
            trigger,
            known: Known::of(reading),
            scale: scale(case),
            grows: room.grows,
            // Less of it would leave the size to another trigger.
            shrinks: room.shrinks && holds_alone,
            rests: awake == [index] && floor.is_none() && is_one_number(reading),
            floor,
        };
        outlook.extend(what_if.samples());
        outlook.extend(what_if.values(value));
    }
}

/// Which ways the size may go from here, whatever is measured.
struct Room {
    grows: bool,
    shrinks: bool,
    /// To rest, once no trigger is active.
    rests: bool,
}

impl Room {
    fn of(case: Case<'_>, report: &Report) -> Room {
        let (policy, current) = (case.policy, case.current);
        let notes = &policy.annotations;
        let (floor, cap) = at_work(policy);
        let failing = |input: &Input| is_silent(&input.outcome);
        let certain = !report.inputs.iter().any(failing);
        let cooling = |step: &Step| matches!(step, Step::CoolingDown { .. });
        // It shrinks by itself.
        let waits = report.steps.iter().any(cooling);
        let shrinks = certain && !waits && !notes.paused_scale_in;
        let rest = policy.replicas_idle.unwrap_or(0);
        let may_rest = policy.zero == Zero::Activation && policy.may_rest() && current > rest;
        Room {
            grows: current < cap
                && !switched_off(policy, Limited::Up)
                && !notes.paused_scale_out
                && !case.evidence.blocked,
            shrinks: shrinks && current > floor && !switched_off(policy, Limited::Down),
            // At the smallest size at work that is said of all triggers together.
            rests: shrinks && may_rest && current > floor && !notes.force_activation,
        }
    }
}

/// Whether the value itself is held against the activation, but for its rounding. Of a
/// source that says both apart nobody knows which activity another value would come with.
fn is_one_number(reading: &Reading) -> bool {
    match reading {
        Reading::Value {
            milli,
            activity_milli,
            ..
        } => (0..=1).contains(&activity_milli.saturating_sub(*milli)),
        _ => true,
    }
}

/// The triggers that keep the workload from resting.
fn active(case: Case<'_>, report: &Report) -> Vec<usize> {
    let pairs = report.inputs.iter().zip(&case.policy.triggers);
    let active = pairs.enumerate().filter(|(index, (input, trigger))| {
        let answer = match case.evidence.readings.get(*index) {
            Some(Reading::Value { activity_milli, .. }) => {
                *activity_milli > trigger.activation_milli
            }
            _ if trigger.source.is_formula() => input
                .value
                .is_some_and(|milli| milli > trigger.activation_milli),
            _ => false,
        };
        match input.outcome {
            Outcome::Fallback { .. } => true,
            Outcome::Proposes { .. } => answer,
            _ => false,
        }
    });
    active.map(|(index, _)| index).collect()
}

fn scale(case: Case<'_>) -> Scale {
    Scale {
        current: case.current,
        running: case.evidence.running,
        ready: case.evidence.ready,
        tolerance: Tolerance::of(case.policy),
    }
}

/// What is known of a trigger besides its value.
enum Known<'a> {
    Answer,
    /// Changed in place for each value that is tried.
    Pods(&'a Sums, RefCell<Sums>),
}

impl<'a> Known<'a> {
    fn of(reading: &'a Reading) -> Known<'a> {
        match reading {
            Reading::Pods(sums) | Reading::Answered { sums, .. } => {
                Known::Pods(sums, RefCell::new(sums.clone()))
            }
            _ => Known::Answer,
        }
    }
}

/// One trigger, and what would come of other values of it.
struct WhatIf<'a> {
    policy: &'a Policy,
    trigger: &'a Trigger,
    known: Known<'a>,
    scale: Scale,
    grows: bool,
    shrinks: bool,
    rests: bool,
    /// What a fallback asks for, whatever the value.
    floor: Option<u32>,
}

impl WhatIf<'_> {
    fn values(&self, value: i64) -> Option<Outlook> {
        let (high, low) = self.guess();
        let at_least = self.grows.then(|| self.nearest(value, 1, high)).flatten();
        let less = self.shrinks || self.rests;
        let at_most = less.then(|| self.nearest(value, -1, low)).flatten();
        (at_least.is_some() || at_most.is_some()).then(|| Outlook::Value {
            trigger: self.trigger.name.clone(),
            at_least,
            at_most,
        })
    }

    /// Whether it would change the size if all replicas were measured and used as much
    /// as those that are.
    fn samples(&self) -> Option<Outlook> {
        let Known::Pods(sums, _) = &self.known else {
            return None;
        };
        let unseen = sums.missing_count().saturating_add(sums.unready);
        if unseen == 0 || sums.ready == 0 {
            return None;
        }
        let all = i128::from(sums.ready) + i128::from(unseen);
        let as_many = |milli: i64| narrow(i128::from(milli) * all / i128::from(sums.ready));
        let missing = sums.missing.iter();
        let asked = missing.fold(sums.unready_request_milli, |sum, (each, n)| {
            sum.saturating_add(each.saturating_mul(i64::from(*n)))
        });
        let seen = Sums {
            ready: sums.ready.saturating_add(unseen),
            ready_usage_milli: as_many(sums.ready_usage_milli),
            ready_request_milli: sums.ready_request_milli.saturating_add(asked),
            unready: 0,
            unready_request_milli: 0,
            missing: std::collections::BTreeMap::new(),
            ..(*sums).clone()
        };
        let proposal = self.of_pods(&seen).ok()?;
        self.moves(proposal.replicas).then(|| Outlook::Samples {
            trigger: self.trigger.name.clone(),
        })
    }

    /// Whether the size would change with this value.
    fn changes(&self, value: i64) -> bool {
        let proposal = match &self.known {
            Known::Answer => match self.trigger.goal {
                Goal::Value { milli } => metric::value(value, milli, &self.scale),
                Goal::AverageValue { milli } => {
                    metric::value_per_replica(value, milli, &self.scale)
                }
                Goal::Utilization { .. } => Err(Error::NoMetricsForKnownPods),
            },
            Known::Pods(sums, tried) => {
                let mut tried = tried.borrow_mut();
                tried.ready_usage_milli = self.usage(sums, value);
                self.of_pods(&tried)
            }
        };
        let rests = self.rests && value <= self.trigger.activation_milli;
        // What can't be computed holds the size.
        proposal.is_ok_and(|it| rests || self.moves(it.replicas))
    }

    fn moves(&self, replicas: u32) -> bool {
        let current = self.scale.current;
        let replicas = replicas.max(self.floor.unwrap_or(0));
        (replicas > current && self.grows) || (replicas < current && self.shrinks)
    }

    fn of_pods(&self, sums: &Sums) -> Result<Proposal, Error> {
        match (self.trigger.goal, &self.policy.strategy) {
            (Goal::Utilization { .. }, Strategy::Banded(bands)) => {
                banded::propose(sums, bands, &self.scale)
            }
            (Goal::Utilization { percent }, _) => metric::utilization(sums, percent, &self.scale),
            (Goal::AverageValue { milli }, _) => metric::average(sums, milli, &self.scale),
            (Goal::Value { milli }, _) => metric::value(sums.ready_usage_milli, milli, &self.scale),
        }
    }

    /// The smallest use of all replicas that count which is shown as `value`.
    fn usage(&self, sums: &Sums, value: i64) -> i64 {
        let value = i128::from(value);
        narrow(match self.trigger.goal {
            Goal::Utilization { .. } => {
                let all = value * i128::from(sums.ready_request_milli);
                (all + 99).div_euclid(100)
            }
            Goal::AverageValue { .. } => {
                let samples = i128::from(sums.ready) + i128::from(sums.strangers);
                value * samples - i128::from(sums.strangers_usage_milli)
            }
            Goal::Value { .. } => value,
        })
    }

    /// The nearest value with which the size changes, so that it doesn't with the one
    /// before. `step` is 1 or -1. Looks at a few values around `guess`; far from it
    /// twice as far each time.
    fn nearest(&self, value: i64, step: i64, guess: i64) -> Option<i64> {
        let (value, guess) = (i128::from(value), i128::from(guess));
        let end = if step > 0 {
            i128::from(i64::MAX)
        } else {
            // Less than nothing asks for no less, but may end activity.
            i128::from(self.trigger.activation_milli.min(0)).min(value)
        };
        let farthest = (end - value).abs();
        let at = |away: i128| narrow(value + away * i128::from(step));
        let changes = |away: i128| self.changes(at(away));
        if farthest == 0 || changes(0) {
            return None;
        }
        let begin = ((guess - value) * i128::from(step)).clamp(1, farthest);
        // Not with the value `near` away, but with the one `far` away.
        let (mut near, mut far, mut stride) = (begin, begin, 1);
        if changes(begin) {
            near = begin - 1;
            while near > 0 && changes(near) {
                far = near;
                near = (near - stride).max(0);
                stride *= 2;
            }
        } else {
            loop {
                if near == farthest {
                    return None;
                }
                far = (near + stride).min(farthest);
                if changes(far) {
                    break;
                }
                near = far;
                stride *= 2;
            }
        }
        while far - near > 1 {
            let middle = near + (far - near) / 2;
            if changes(middle) {
                far = middle;
            } else {
                near = middle;
            }
        }
        Some(at(far))
    }

    /// Where HPA's arithmetic has the nearest values that change the size, were it not
    /// for rounding: outside of the tolerance, and of the values that are rounded up to
    /// the present size.
    fn guess(&self) -> (i64, i64) {
        let (policy, current) = (self.policy, self.scale.current);
        if let (Goal::Utilization { .. }, Strategy::Banded(bands)) =
            (self.trigger.goal, &policy.strategy)
        {
            let aim = Span::new(bands.low_aim_percent.into(), current);
            let (high, low) = (i64::from(bands.high_percent), i64::from(bands.low_percent));
            return (high + 1, aim.smaller(current).min(low - 1));
        }
        let counted = match &self.known {
            Known::Pods(sums, _) => Some(sums.ready),
            Known::Answer => None,
        };
        let ready = counted.or(self.scale.ready).unwrap_or(current);
        let span = match self.trigger.goal {
            Goal::Utilization { percent } => Span::new(percent.into(), ready),
            Goal::AverageValue { milli } if counted.is_none() => {
                let all = i128::from(milli) * i128::from(self.scale.running);
                Span::new(all, self.scale.running)
            }
            Goal::Value { milli } | Goal::AverageValue { milli } => Span::new(milli.into(), ready),
        };
        let (up, down) = tolerance_ppm(policy);
        let above = span.times(ONE_PPM + up).max(span.of(current));
        let below = span
            .times(ONE_PPM - down)
            .min(span.smaller(current).saturating_add(1));
        (above.saturating_add(1), below.saturating_sub(1))
    }
}

fn tolerance_ppm(policy: &Policy) -> (i128, i128) {
    let behavior = policy.behavior.as_ref();
    let own = |rules: Option<&Rules>| rules.and_then(|r| r.tolerance_ppm);
    let up = own(behavior.map(|b| &b.up)).unwrap_or(policy.controller.tolerance_up_ppm);
    let down = own(behavior.map(|b| &b.down)).unwrap_or(policy.controller.tolerance_down_ppm);
    (up.into(), down.into())
}

/// Values and the replicas that they ask for: `target` asks for `replicas`, and
/// others for more or fewer in proportion.
#[derive(Clone, Copy)]
struct Span {
    target: i128,
    replicas: i128,
}

impl Span {
    fn new(target: i128, replicas: u32) -> Span {
        Span {
            target,
            replicas: i128::from(replicas.max(1)),
        }
    }

    /// The largest value that asks for no more than `replicas`.
    fn of(self, replicas: u32) -> i64 {
        narrow(self.target * i128::from(replicas) / self.replicas)
    }

    /// The largest value that asks for fewer than `replicas`.
    fn smaller(self, replicas: u32) -> i64 {
        self.of(replicas.saturating_sub(1))
    }

    fn times(self, ppm: i128) -> i64 {
        narrow(self.target * ppm / ONE_PPM)
    }
}

fn narrow(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value > 0 { i64::MAX } else { i64::MIN })
}
