//! How many pieces of work one replica does at a time, where the policy doesn't
//! say: the work in service, divided by the replicas' worth of CPU that it uses.
//! Right for work that computes. Replicas that use little CPU may be full of work
//! that waits for something else, so they tell nothing.

use super::Settings;
use super::learn::forgetting;
use super::signal::{Second, Signal, USED_PPM_MIN};
use super::state::{Change, Slots, State};
use crate::unit::Ms;

/// How often it is measured, over as long.
const MEASURE_MS: u64 = 60_000;
const MEASURE_S: usize = 60;
/// So many seconds of a busy replica are remembered.
const MEMORY_REPLICAS_MILLI: u64 = 120_000;
/// Ten seconds of a busy replica; less says nothing.
const REPLICAS_MILLI_MIN: u64 = 10_000;

/// Slots of one replica, at least 1; `None` where they are neither stated nor
/// measured yet.
pub fn of_one(settings: &Settings, state: &State) -> Option<u32> {
    if let Some(stated) = settings.slots {
        return Some(stated.max(1));
    }
    let measured = state.slots?;
    let enough = measured.replicas_milli >= REPLICAS_MILLI_MIN;
    // To the nearest whole number, because a replica has no part of a slot.
    let half = measured.replicas_milli / 2;
    let slots = measured.work_milli.saturating_add(half) / measured.replicas_milli.max(1);
    enough.then(|| u32::try_from(slots).unwrap_or(u32::MAX).max(1))
}

/// Measures the last minute, once a minute.
pub fn measure(settings: &Settings, signal: &Signal, state: &State, now: Ms) -> Option<Change> {
    let old = state.slots.unwrap_or_default();
    let due = state.slots.is_none() || now.since(old.at) >= MEASURE_MS;
    if settings.slots.is_some() || signal.len() < MEASURE_S || !due {
        return None;
    }
    let (mut work, mut replicas) = (0_u64, 0_u64);
    for second in signal.newest(MEASURE_S) {
        let used_ppm = second.used_ppm.filter(|ppm| *ppm >= USED_PPM_MIN);
        if let (Some(work_milli), Some(used_ppm)) = (in_service(settings, second), used_ppm) {
            let replicas_milli = u64::from(second.ready) * u64::from(used_ppm) / 1_000;
            work = work.saturating_add(work_milli);
            replicas = replicas.saturating_add(replicas_milli);
        }
    }
    let kept = forgetting(replicas, MEMORY_REPLICAS_MILLI);
    let new = Slots {
        work_milli: kept(old.work_milli).saturating_add(work),
        replicas_milli: kept(old.replicas_milli).saturating_add(replicas),
        at: now,
    };
    (replicas > 0).then_some(Change::Slots(new))
}

/// Work in service as counted, or else by Little's law from the stated time.
fn in_service(settings: &Settings, second: &Second) -> Option<u64> {
    second.busy_milli.or_else(|| {
        let service_ms = settings.service_ms?;
        Some(second.arrivals_milli?.saturating_mul(service_ms) / 1_000)
    })
}
