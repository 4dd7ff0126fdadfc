//! One trigger's proposal by HPA's arithmetic (hpa.md rules 4 to 9), in HPA's
//! order of operations.
//!
//! Comes in: sums over replicas or one value, and the target. Goes out: how many
//! replicas it proposes, or why nothing can be said. Never looks at history.

use super::ratio::{Tolerance, count};
use crate::demand::pods::Sums;

/// What a proposal is relative to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// HPA's `spec.replicas`.
    pub current: u32,
    /// HPA's `status.replicas`.
    pub running: u32,
    /// Replicas that run and are ready; `None` where none is listed.
    pub ready: Option<u32>,
    pub tolerance: Tolerance,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proposal {
    pub replicas: u32,
    /// As HPA reports it: percent for a utilization, else milli-units (a mean
    /// over replicas, or the value itself).
    pub value: i64,
    /// Mean over the replicas that count, in milli-units.
    pub average_milli: i64,
    /// The proposal is the current size because the ratio is close enough to 1.
    pub within_tolerance: bool,
}

/// Why nothing can be proposed.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize,
)]
pub enum Error {
    #[error("no samples came in")]
    NoMetricsReturned,
    #[error("no replicas are listed")]
    NoPods,
    #[error("only replicas that aren't ready have samples")]
    NoMetricsForReadyPods,
    #[error("no sample belongs to a replica that states a request")]
    NoMetricsForKnownPods,
    #[error("a replica states no request, so its utilization is undefined")]
    MissingRequest,
    #[error("the named container doesn't exist")]
    ContainerNotFound,
    #[error("the target is not above zero")]
    ZeroTarget,
}

/// Percent of requests (rules 4, 6 and 7).
pub fn utilization(sums: &Sums, target_percent: i32, scale: &Scale) -> Result<Proposal, Error> {
    checked(sums, target_percent > 0)?;
    if sums.without_request > 0 {
        return Err(Error::MissingRequest);
    }
    let usage = i128::from(sums.ready_usage_milli);
    let request = i128::from(sums.ready_request_milli);
    if sums.ready == 0 || request == 0 {
        return Err(Error::NoMetricsForKnownPods);
    }
    let percent = percent(usage, request);
    let ratio = f64::from(percent) / f64::from(target_percent);
    let first = First {
        ratio,
        value: i64::from(percent),
        average_milli: narrow(usage / i128::from(sums.ready)),
    };
    let fill = Fill::of(sums, ratio);
    let refill = || {
        let (mut usage, mut request) = (usage, request);
        for (each, n) in &sums.missing {
            let (each, n) = (i128::from(*each), i128::from(*n));
            match fill.missing {
                Some(Filled::Full) => {
                    usage += n * (each * i128::from(target_percent.max(100)) / 100);
                }
                Some(Filled::Empty) => {}
                None => continue,
            }
            request += n * each;
        }
        if fill.unready {
            request += i128::from(sums.unready_request_milli);
        }
        f64::from(self::percent(usage, request)) / f64::from(target_percent)
    };
    Ok(settle(sums, scale, first, fill, refill))
}

/// A mean over replicas in milli-units: Pods metrics, and Resource metrics with
/// `averageValue` (rules 6 and 7).
pub fn average(sums: &Sums, target_milli: i64, scale: &Scale) -> Result<Proposal, Error> {
    checked(sums, target_milli > 0)?;
    let usage = i128::from(sums.ready_usage_milli) + i128::from(sums.strangers_usage_milli);
    let samples = i128::from(sums.ready) + i128::from(sums.strangers);
    let mean = narrow(usage / samples);
    let ratio = mean as f64 / target_milli as f64;
    let first = First {
        ratio,
        value: mean,
        average_milli: mean,
    };
    let fill = Fill::of(sums, ratio);
    let refill = || {
        let (mut usage, mut samples) = (usage, samples);
        let missing = i128::from(sums.missing_count());
        match fill.missing {
            Some(Filled::Full) => usage += missing * i128::from(target_milli),
            Some(Filled::Empty) | None => {}
        }
        if fill.missing.is_some() {
            samples += missing;
        }
        if fill.unready {
            samples += i128::from(sums.unready);
        }
        narrow(usage / samples) as f64 / target_milli as f64
    };
    Ok(settle(sums, scale, first, fill, refill))
}

/// One value for the whole workload (rules 8 and 9, `value`).
pub fn value(milli: i64, target_milli: i64, scale: &Scale) -> Result<Proposal, Error> {
    if target_milli <= 0 {
        return Err(Error::ZeroTarget);
    }
    let ratio = milli as f64 / target_milli as f64;
    let within_tolerance = scale.current > 0 && scale.tolerance.covers(ratio);
    let replicas = if scale.current == 0 {
        count(ratio)
    } else if within_tolerance {
        scale.current
    } else {
        count(ratio * f64::from(scale.ready.ok_or(Error::NoPods)?))
    };
    Ok(Proposal {
        replicas,
        value: milli,
        average_milli: milli,
        within_tolerance,
    })
}

/// One value, held against a target for each replica (rules 8 and 9, `averageValue`).
pub fn value_per_replica(milli: i64, target_milli: i64, scale: &Scale) -> Result<Proposal, Error> {
    if target_milli <= 0 {
        return Err(Error::ZeroTarget);
    }
    let ratio = milli as f64 / (target_milli as f64 * f64::from(scale.running));
    let within_tolerance = scale.tolerance.covers(ratio);
    let replicas = if within_tolerance {
        scale.running
    } else {
        count(milli as f64 / target_milli as f64)
    };
    // A value at the end of its range isn't divided: it means "too much to say".
    let average_milli = if milli as f64 >= i64::MAX as f64 {
        i64::MAX
    } else if scale.running == 0 {
        0
    } else {
        (milli as f64 / f64::from(scale.running)).ceil() as i64
    };
    Ok(Proposal {
        replicas,
        value: average_milli,
        average_milli,
        within_tolerance,
    })
}

/// The sum of all series that a source returned (rule 9).
pub fn series(values_milli: &[i64]) -> Result<i64, Error> {
    if values_milli.is_empty() {
        return Err(Error::NoMetricsReturned);
    }
    let sum = values_milli.iter().map(|v| i128::from(*v)).sum();
    Ok(narrow(sum))
}

/// Checks in HPA's order; a request's absence comes after them.
fn checked(sums: &Sums, target: bool) -> Result<(), Error> {
    if !target {
        return Err(Error::ZeroTarget);
    }
    if sums.samples == 0 {
        return Err(Error::NoMetricsReturned);
    }
    if sums.pods == 0 {
        return Err(Error::NoPods);
    }
    if sums.ready == 0 && sums.strangers == 0 {
        return Err(Error::NoMetricsForReadyPods);
    }
    Ok(())
}

/// The result before missing and unready replicas are filled in.
#[derive(Clone, Copy)]
struct First {
    ratio: f64,
    value: i64,
    average_milli: i64,
}

#[derive(Clone, Copy)]
enum Filled {
    /// As if each used what the target allows.
    Full,
    Empty,
}

/// What rule 6 fills in, so that what isn't known slows either direction down.
#[derive(Clone, Copy)]
struct Fill {
    missing: Option<Filled>,
    unready: bool,
}

impl Fill {
    fn of(sums: &Sums, ratio: f64) -> Fill {
        let missing = if sums.missing.is_empty() {
            None
        } else if ratio < 1.0 {
            Some(Filled::Full)
        } else if ratio > 1.0 {
            Some(Filled::Empty)
        } else {
            None
        };
        Fill {
            missing,
            unready: sums.unready > 0 && ratio > 1.0,
        }
    }
}

/// Rules 6 and 7, from the first ratio to the proposal.
fn settle(
    sums: &Sums,
    scale: &Scale,
    first: First,
    fill: Fill,
    refill: impl Fn() -> f64,
) -> Proposal {
    let propose = |replicas, within_tolerance| Proposal {
        replicas,
        value: first.value,
        average_milli: first.average_milli,
        within_tolerance,
    };
    let current = scale.current;
    if sums.missing.is_empty() && !fill.unready {
        return if scale.tolerance.covers(first.ratio) {
            propose(current, true)
        } else {
            propose(count(first.ratio * f64::from(sums.ready)), false)
        };
    }
    let ratio = refill();
    let turned = (first.ratio < 1.0 && ratio > 1.0) || (first.ratio > 1.0 && ratio < 1.0);
    if scale.tolerance.covers(ratio) || turned {
        return propose(current, true);
    }
    let mut samples = u64::from(sums.ready) + u64::from(sums.strangers);
    if fill.missing.is_some() {
        samples += u64::from(sums.missing_count());
    }
    if fill.unready {
        samples += u64::from(sums.unready);
    }
    let replicas = count(ratio * samples as f64);
    let against = (ratio < 1.0 && replicas > current) || (ratio > 1.0 && replicas < current);
    if against {
        return propose(current, false);
    }
    propose(replicas, false)
}

/// Truncated, as HPA does before it forms the ratio; 0 where there is no request.
fn percent(usage: i128, request: i128) -> i32 {
    let percent = if request == 0 {
        0
    } else {
        usage * 100 / request
    };
    i32::try_from(percent).unwrap_or(if percent > 0 { i32::MAX } else { i32::MIN })
}

fn narrow(milli: i128) -> i64 {
    i64::try_from(milli).unwrap_or(if milli > 0 { i64::MAX } else { i64::MIN })
}
