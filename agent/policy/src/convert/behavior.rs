//! HPA v2's `behavior`, with the parts that are left out filled in as the HPA
//! fills them in (hpa.md rule 14).

use std::ops::RangeInclusive;

use starling_engine::policy::{Behavior, Rate, RateKind, Rules, Select};

use super::Check;
use crate::schema;
use crate::schema::limits::{PERIOD_SECONDS_MAX, RATE_MAX, WINDOW_SECONDS_MAX};
use starling_engine::quantity::Quantity;

/// Seconds.
const WINDOW: RangeInclusive<i64> = 0..=WINDOW_SECONDS_MAX;
const PERIOD: RangeInclusive<i64> = 1..=PERIOD_SECONDS_MAX;
const VALUE: RangeInclusive<i64> = 1..=RATE_MAX;
/// A tolerance of 10 is 1,000 %.
const TOLERANCE_PPM_MAX: i64 = 10_000_000;

pub(super) fn behavior(check: &mut Check, written: &schema::Behavior) -> Behavior {
    let mut rules = |field, written: &Option<schema::Rules>, default: Rules| match written {
        None => default,
        Some(written) => self::rules(check, field, written, default),
    };
    Behavior {
        up: rules("spec.behavior.scaleUp", &written.scale_up, Rules::up()),
        down: rules(
            "spec.behavior.scaleDown",
            &written.scale_down,
            Rules::default(),
        ),
    }
}

fn rules(check: &mut Check, field: &str, written: &schema::Rules, default: Rules) -> Rules {
    let window = |seconds| {
        let field = format!("{field}.stabilizationWindowSeconds");
        check.seconds(&field, Some(seconds), 0, WINDOW)
    };
    Rules {
        window_ms: written
            .stabilization_window_seconds
            .map(window)
            .or(default.window_ms),
        select: match written.select_policy {
            None => default.select,
            Some(schema::Select::Max) => Select::Max,
            Some(schema::Select::Min) => Select::Min,
            Some(schema::Select::Disabled) => Select::Disabled,
        },
        rates: match &written.policies {
            None => default.rates,
            Some(policies) => rates(check, &format!("{field}.policies"), policies),
        },
        tolerance_ppm: written
            .tolerance
            .as_ref()
            .map(|text| tolerance(check, &format!("{field}.tolerance"), text.as_str())),
    }
}

fn rates(check: &mut Check, field: &str, written: &[schema::Rate]) -> Vec<Rate> {
    let rate = |(index, rate): (usize, &schema::Rate)| {
        let value_field = format!("{field}[{index}].value");
        let period_field = format!("{field}[{index}].periodSeconds");
        Rate {
            kind: match rate.kind {
                schema::RateKind::Pods => RateKind::Pods,
                schema::RateKind::Percent => RateKind::Percent,
            },
            value: check.number(&value_field, rate.value, VALUE) as i32,
            period_ms: check.seconds(&period_field, Some(rate.period_seconds), 0, PERIOD),
        }
    };
    written.iter().enumerate().map(rate).collect()
}

fn tolerance(check: &mut Check, field: &str, text: &str) -> u32 {
    let ppm = check.amount(field, text, Quantity::micro);
    if ppm > TOLERANCE_PPM_MAX {
        check.fails(field, format!("must be 0 to 10 (0.1 is 10 %), is {text}"));
    }
    ppm.clamp(0, TOLERANCE_PPM_MAX) as u32
}
