//! The values of a trigger between which the size stays as it is: the other way
//! round through HPA's arithmetic, tolerance and rounding included.

use super::at_work;
use crate::decide::Inputs;
use crate::decide::reason::{Input, Outcome, Outlook, Pods};
use crate::policy::{Goal, Rules, Strategy, Trigger};

/// One, in millionths.
const ONE_PPM: i128 = 1_000_000;

/// How far a trigger's value would have to move, in the unit that its input shows.
pub fn thresholds(inputs: &Inputs<'_>, input: &Input, trigger: &Trigger) -> Option<Outlook> {
    let Outcome::Proposes { .. } = input.outcome else {
        return None;
    };
    let (policy, current) = (inputs.policy, inputs.current);
    let (above, below) = match (trigger.goal, &policy.strategy) {
        (Goal::Utilization { .. }, Strategy::Banded(bands)) => {
            let aim = Span::new(bands.low_aim_percent.into(), current);
            let (high, low) = (bands.high_percent.into(), bands.low_percent.into());
            (high, aim.smaller(current).min(low))
        }
        (goal, _) => around(inputs, goal, input.pods),
    };
    let trigger = input.trigger.clone();
    let outside = |value: i64| value > above || value < below;
    // Outside of them already: only what isn't known keeps the size as it is.
    if input.pods.is_some() && input.value.is_some_and(outside) {
        return Some(Outlook::Samples { trigger });
    }
    // A source's value is all there is to know, so that it keeps the size as it is.
    let value = input.value.unwrap_or(below);
    let (above, below) = (above.max(value), below.min(value));
    let (floor, cap) = at_work(policy);
    let (above, below) = (
        (current < cap).then_some(above),
        (current > floor).then_some(below),
    );
    (above.is_some() || below.is_some()).then_some(Outlook::Value {
        trigger,
        above,
        below,
    })
}

/// What a value must leave by HPA's arithmetic: the tolerance, and the values
/// that are rounded up to the current size.
fn around(inputs: &Inputs<'_>, goal: Goal, pods: Option<Pods>) -> (i64, i64) {
    let (policy, current) = (inputs.policy, inputs.current);
    let counted = pods.map(|pods| pods.counted);
    let ready = counted.or(inputs.ready).unwrap_or(current);
    let span = match goal {
        Goal::Utilization { percent } => Span::new(percent.into(), ready),
        Goal::AverageValue { milli } if pods.is_none() => {
            let all = i128::from(milli) * i128::from(inputs.running);
            Span::new(all, inputs.running)
        }
        Goal::Value { milli } | Goal::AverageValue { milli } => Span::new(milli.into(), ready),
    };
    // A source's value is near enough to what runs, not to what was granted: while
    // these differ, only the values that are rounded to the present size keep it.
    let shared = pods.is_none() && matches!(goal, Goal::AverageValue { .. });
    if shared && inputs.running != current {
        return (span.of(current), span.smaller(current));
    }
    let behavior = policy.behavior.as_ref();
    let own = |rules: Option<&Rules>| rules.and_then(|r| r.tolerance_ppm);
    let up = own(behavior.map(|b| &b.up)).unwrap_or(policy.controller.tolerance_up_ppm);
    let down = own(behavior.map(|b| &b.down)).unwrap_or(policy.controller.tolerance_down_ppm);
    (
        span.times(ONE_PPM + i128::from(up)).max(span.of(current)),
        span.times(ONE_PPM - i128::from(down))
            .min(span.smaller(current)),
    )
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
    i64::try_from(value).unwrap_or(i64::MAX)
}
