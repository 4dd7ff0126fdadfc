//! Work that comes and goes: how long the last replica stays, and when to have
//! replicas ready because work has come at even intervals before.

use serde::{Deserialize, Serialize};

use super::state::{Change, Idle, Wake};
use crate::unit::Ms;

/// A pause shorter than this is nothing to note.
const GAP_MS_MIN: u64 = 10_000;
/// The last replica stays so much longer than nineteen of twenty pauses …
const KEEP_PERCENT: u64 = 120;
const KEEP_PERCENTILE: usize = 95;
/// … at least a minute and at most twelve; where that isn't enough, waiting
/// for work doesn't pay and a minute has to do.
const KEEP_MS_MIN: u64 = 60_000;
const KEEP_MS_MAX: u64 = 720_000;

/// Work that comes after so long a pause is a wake.
const WAKE_GAP_MS: u64 = PERIOD_MS_MIN;
/// How long a wake's need is measured.
const WAKE_MS: u64 = 60_000;
/// Periods that are looked for; a shorter one is covered by keeping replicas.
const PERIOD_MS_MIN: u64 = 300_000;
const PERIOD_MS_MAX: u64 = 3_600_000;
/// Wakes before a period is believed, and how many of the intervals between
/// them must be within a tenth of it.
const WAKES_MIN: usize = 3;
const REPEATED_PERCENT: usize = 70;
const PERIOD_SLACK_PERCENT: u64 = 10;

/// Notes that work has stopped, or has come again after `idle_s` seconds. Only
/// pauses of a workload that may have no replicas matter.
pub fn observe(idle_s: u32, wanted: u32, idle: &Idle, now: Ms) -> Option<Change> {
    let pause_ms = u64::from(idle_s) * 1_000;
    if pause_ms > 0 {
        let pauses = idle.since.is_none() && pause_ms >= GAP_MS_MIN;
        return pauses.then(|| Change::Paused(now.minus(pause_ms)));
    }
    let wake = Wake {
        at: now,
        replicas: wanted,
    };
    let resumed = |gap_ms: Option<u64>| {
        let wakes = gap_ms.is_none_or(|gap_ms| gap_ms >= WAKE_GAP_MS) || idle.wakes.is_empty();
        Change::Resumed {
            gap_s: gap_ms.map(|ms| (ms / 1_000).min(u64::from(u32::MAX)) as u32),
            wake: wakes.then_some(wake),
        }
    };
    match (idle.since, idle.wakes.last()) {
        (Some(since), _) => Some(resumed(Some(now.since(since)))),
        (None, None) => Some(resumed(None)),
        (None, Some(_)) => None,
    }
}

/// Notes that work which came a moment ago calls for more than it first did.
/// Asked after [`observe`], because work may stop and go on within the moment.
pub fn grew(wanted: u32, idle: &Idle, now: Ms) -> Option<Change> {
    let latest = idle.wakes.last().filter(|_| idle.since.is_none())?;
    let grew = now.since(latest.at) < WAKE_MS && wanted > latest.replicas;
    grew.then_some(Change::WakeGrew(wanted))
}

/// Until when the last replica stays without work.
pub fn keep_ms(idle: &Idle) -> u64 {
    let mut gaps_s = idle.gaps_s.clone();
    gaps_s.sort_unstable();
    let place = gaps_s.len() * KEEP_PERCENTILE / 100;
    let usual_s = gaps_s.get(place).copied().unwrap_or_default();
    let keep_ms = u64::from(usual_s) * 10 * KEEP_PERCENT;
    if keep_ms > KEEP_MS_MAX {
        return KEEP_MS_MIN;
    }
    keep_ms.max(KEEP_MS_MIN)
}

/// What to have ready now because work is expected, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    pub replicas: u32,
    pub at: Ms,
    pub period_ms: u64,
}

/// Work has come at even intervals, and the next time is near.
pub fn expected(start_s: f64, idle: &Idle, now: Ms) -> Option<Expected> {
    let wakes = &idle.wakes;
    if wakes.len() < WAKES_MIN {
        return None;
    }
    let mut gaps: Vec<u64> = wakes
        .windows(2)
        .map(|pair| pair[1].at.since(pair[0].at))
        .collect();
    gaps.sort_unstable();
    let period_ms = gaps[gaps.len() / 2];
    if !(PERIOD_MS_MIN..=PERIOD_MS_MAX).contains(&period_ms) {
        return None;
    }
    let slack_ms = period_ms / 100 * PERIOD_SLACK_PERCENT;
    gaps.retain(|gap| gap.abs_diff(period_ms) <= slack_ms);
    if gaps.len() * 100 < (wakes.len() - 1) * REPEATED_PERCENT {
        return None;
    }
    // As early and as late as it has been, but for those that didn't fit.
    let (first, last) = (*gaps.first()?, *gaps.last()?);
    let lead_ms = (start_s * 2_000.0) as u64;
    let near = |wake: &&Wake| {
        let begins = wake.at.plus(first).minus(lead_ms);
        let ends = wake.at.plus(last).plus(lead_ms);
        now >= begins && now <= ends
    };
    let woke = wakes.iter().rev().find(near)?.at;
    let mut sizes: Vec<u32> = wakes.iter().map(|wake| wake.replicas).collect();
    sizes.sort_unstable();
    Some(Expected {
        replicas: sizes[sizes.len() / 2],
        at: woke.plus(period_ms),
        period_ms,
    })
}
