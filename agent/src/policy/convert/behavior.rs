//! HPA v2's `behavior`, with the parts that are left out filled in as the HPA
//! fills them in (hpa.md rule 14).

use std::ops::RangeInclusive;

use starling_engine::policy::{Behavior, Rate, RateKind, Rules, Select};

use super::Check;
use crate::policy::quantity::Quantity;
use crate::policy::schema;

/// Seconds.
const WINDOW: RangeInclusive<i64> = 0..=3_600;
const PERIOD: RangeInclusive<i64> = 1..=1_800;
const VALUE: RangeInclusive<i64> = 1..=i32::MAX as i64;
/// More policies in one direction are refused.
const RATES_MAX: usize = 16;
/// A tolerance of 10 is 1,000 %.
const TOLERANCE_PPM_MAX: i64 = 10_000_000;

const PERIOD_DEFAULT_MS: u64 = 15_000;
const UP: [Rate; 2] = [
    Rate {
        kind: RateKind::Pods,
        value: 4,
        period_ms: PERIOD_DEFAULT_MS,
    },
    Rate {
        kind: RateKind::Percent,
        value: 100,
        period_ms: PERIOD_DEFAULT_MS,
    },
];
const DOWN: [Rate; 1] = [Rate {
    kind: RateKind::Percent,
    value: 100,
    period_ms: PERIOD_DEFAULT_MS,
}];

pub(super) fn behavior(check: &mut Check, written: &schema::Behavior) -> Behavior {
    let none = schema::Rules::default();
    let up = written.scale_up.as_ref().unwrap_or(&none);
    let down = written.scale_down.as_ref().unwrap_or(&none);
    let mut up = rules(check, "spec.behavior.scaleUp", up, &UP);
    up.window_ms = up.window_ms.or(Some(0));
    Behavior {
        up,
        down: rules(check, "spec.behavior.scaleDown", down, &DOWN),
    }
}

fn rules(check: &mut Check, field: &str, written: &schema::Rules, rates: &[Rate]) -> Rules {
    Rules {
        window_ms: written.stabilization_window_seconds.map(|seconds| {
            check.seconds(
                &format!("{field}.stabilizationWindowSeconds"),
                Some(seconds),
                0,
                WINDOW,
            )
        }),
        select: match written.select_policy {
            None | Some(schema::Select::Max) => Select::Max,
            Some(schema::Select::Min) => Select::Min,
            Some(schema::Select::Disabled) => Select::Disabled,
        },
        rates: match &written.policies {
            None => rates.to_vec(),
            Some(policies) => self::rates(check, &format!("{field}.policies"), policies),
        },
        tolerance_ppm: written
            .tolerance
            .as_ref()
            .map(|text| tolerance(check, &format!("{field}.tolerance"), text)),
    }
}

fn rates(check: &mut Check, field: &str, written: &[schema::Rate]) -> Vec<Rate> {
    if written.is_empty() || written.len() > RATES_MAX {
        check.fails(
            field,
            format!(
                "must hold 1 to {RATES_MAX} policies, holds {}; leave it out for the default, \
                 or set selectPolicy: Disabled to forbid the direction",
                written.len()
            ),
        );
    }
    let rate = |(index, rate): (usize, &schema::Rate)| Rate {
        kind: match rate.kind {
            schema::RateKind::Pods => RateKind::Pods,
            schema::RateKind::Percent => RateKind::Percent,
        },
        value: check.number(&format!("{field}[{index}].value"), rate.value, VALUE) as i32,
        period_ms: check.seconds(
            &format!("{field}[{index}].periodSeconds"),
            Some(rate.period_seconds),
            0,
            PERIOD,
        ),
    };
    written
        .iter()
        .take(RATES_MAX)
        .enumerate()
        .map(rate)
        .collect()
}

fn tolerance(check: &mut Check, field: &str, text: &str) -> u32 {
    let ppm = check.amount(field, text, Quantity::micro);
    if ppm > TOLERANCE_PPM_MAX {
        check.fails(field, format!("must be 0 to 10 (0.1 is 10 %), is {text}"));
    }
    ppm.clamp(0, TOLERANCE_PPM_MAX) as u32
}
