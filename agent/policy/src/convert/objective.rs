//! How long work may wait, with durations and ratios as people write them.

use std::ops::RangeInclusive;

use starling_engine::policy::{MISS_PPM_MAX, OBJECTIVE_WAIT_MS_MAX, Objective, SLOTS_MAX};

use super::Check;
use crate::schema;
use crate::yaml::clip;
use starling_engine::quantity::Quantity;

const SLOTS: RangeInclusive<i64> = 1..=SLOTS_MAX as i64;
const SERVICE_MS_MAX: u64 = 604_800_000;
/// In milliseconds; longer endings first, so that `ms` isn't read as `s`.
const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

pub(super) fn objective(check: &mut Check, written: Option<&schema::Objective>) -> Objective {
    let Some(written) = written else {
        let why = "is missing; say how long work may wait and how often longer, as in \
                   `objective: {wait: 250ms, missRatio: 3%, arrivals: TRIGGER}`";
        check.fails("spec.objective", why.to_owned());
        return Objective::default();
    };
    let service_time = written.service_time.as_deref();
    Objective {
        wait_ms: duration(
            check,
            "spec.objective.wait",
            &written.wait,
            ("1 h", OBJECTIVE_WAIT_MS_MAX),
        ),
        miss_ppm: ratio(check, "spec.objective.missRatio", &written.miss_ratio),
        service_ms: service_time.map(|text| {
            let field = "spec.objective.serviceTime";
            duration(check, field, text, ("7 days", SERVICE_MS_MAX))
        }),
        slots: written
            .slots
            .map(|slots| check.number("spec.objective.slots", slots, SLOTS) as u32),
        arrivals: written.arrivals.clone(),
        in_system: written.in_system.clone(),
    }
}

/// Whole milliseconds, at least one, rounded up.
pub(super) fn duration(
    check: &mut Check,
    field: &str,
    text: &str,
    (most, most_ms): (&str, u64),
) -> u64 {
    let unit = UNITS
        .iter()
        .find_map(|(unit, ms)| text.strip_suffix(unit).map(|number| (number, *ms)));
    let ms = unit.and_then(|(number, unit_ms)| {
        let micro = decimal(number)?
            .micro()?
            .checked_mul(i64::try_from(unit_ms).ok()?)?;
        u64::try_from(micro)
            .ok()
            .map(|micro| micro.div_ceil(1_000_000))
    });
    match ms {
        Some(ms) if (1..=most_ms).contains(&ms) => return ms,
        Some(_) => check.fails(field, format!("must be 1 ms to {most}, is {}", clip(text))),
        None => check.fails(
            field,
            format!(
                "`{}` is not a duration; write a number and a unit, such as 250ms, 2s or 1m",
                clip(text)
            ),
        ),
    }
    1
}

/// A percentage or a fraction, in millionths, rounded up.
fn ratio(check: &mut Check, field: &str, text: &str) -> u32 {
    let (number, parts) = match text.strip_suffix('%') {
        Some(percent) => (percent.trim_end(), 100),
        None => (text, 1),
    };
    let ppm = decimal(number)
        .and_then(Quantity::micro)
        .and_then(|micro| u64::try_from(micro).ok())
        .map(|micro| micro.div_ceil(parts));
    match ppm {
        Some(ppm) if (1..=u64::from(MISS_PPM_MAX)).contains(&ppm) => return ppm as u32,
        Some(_) => check.fails(
            field,
            format!("must be above 0 and at most 50%, is {}", clip(text)),
        ),
        None => check.fails(
            field,
            format!(
                "`{}` is not a ratio; write a percentage such as 3% or a fraction such as 0.03",
                clip(text)
            ),
        ),
    }
    1
}

/// Digits with at most one point and nothing else, so that no suffix of a
/// quantity is taken for a unit of time.
fn decimal(text: &str) -> Option<Quantity> {
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    Quantity::parse(text).ok().filter(|_| plain)
}
