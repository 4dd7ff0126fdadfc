//! Strategy `banded`: usage bands with capped steps and a wait after each change.
//!
//! Comes in: sums over replicas, and the bands. Goes out: a proposal; the caller
//! takes the largest one, caps the step and waits. What isn't known slows both
//! directions down: missing replicas count as idle above the bands, and below
//! them nothing shrinks while one is missing.

use super::metric::{Error, Proposal, Scale};
use crate::demand::pods::Sums;
use crate::policy::Banded;

/// The wanted size: current × usage / aim outside the bands, rounded up.
pub fn propose(sums: &Sums, bands: &Banded, scale: &Scale) -> Result<Proposal, Error> {
    let usage = i128::from(sums.ready_usage_milli).max(0);
    let request = i128::from(sums.ready_request_milli);
    if bands.high_aim_percent == 0 || bands.low_aim_percent == 0 {
        return Err(Error::ZeroTarget);
    }
    if sums.samples == 0 {
        return Err(Error::NoMetricsReturned);
    }
    if sums.without_request > 0 {
        return Err(Error::MissingRequest);
    }
    if sums.ready == 0 || request <= 0 {
        return Err(Error::NoMetricsForReadyPods);
    }
    let unseen = sums
        .missing
        .iter()
        .fold(i128::from(sums.unready_request_milli), |sum, (each, n)| {
            sum + i128::from(*each) * i128::from(*n)
        });
    let wanted = |aim: u32, request: i128| {
        let numerator = i128::from(scale.current) * usage * 100;
        let denominator = (i128::from(aim) * request).max(1);
        let replicas = (numerator + denominator - 1) / denominator;
        u32::try_from(replicas).unwrap_or(u32::MAX)
    };
    let at_least = request + unseen.max(0);
    let (replicas, within_tolerance) = if usage * 100 > i128::from(bands.high_percent) * at_least {
        (
            wanted(bands.high_aim_percent, at_least).max(scale.current),
            false,
        )
    } else if usage * 100 < i128::from(bands.low_percent) * request && sums.missing.is_empty() {
        (
            wanted(bands.low_aim_percent, request).min(scale.current),
            false,
        )
    } else {
        (scale.current, true)
    };
    Ok(Proposal {
        replicas,
        value: i64::try_from(usage * 100 / request).unwrap_or(i64::MAX),
        average_milli: sums.ready_usage_milli / i64::from(sums.ready),
        within_tolerance,
    })
}

/// The size nearest to `wanted` that one step may reach; a step is at least one replica.
pub fn capped(current: u32, wanted: u32, bands: &Banded) -> u32 {
    let step = |percent: u32| {
        let replicas = u64::from(current) * u64::from(percent) / 100;
        u32::try_from(replicas).unwrap_or(u32::MAX).max(1)
    };
    let highest = current.saturating_add(step(bands.step_up_percent));
    let lowest = current.saturating_sub(step(bands.step_down_percent));
    wanted.clamp(lowest, highest)
}
