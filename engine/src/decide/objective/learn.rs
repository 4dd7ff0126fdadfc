//! What is learned from the signal: how long work takes, how long replicas
//! take to start, and how much headroom this workload turned out to need.

use super::signal::{Second, Signal};
use super::staff::Situation;
use super::state::{Change, Headroom, STARTS_MAX, Service, State};
use super::{Observation, Settings};
use crate::unit::Ms;

/// How often the service time is measured, over as long.
const CALIBRATE_MS: u64 = 60_000;
const CALIBRATE_S: usize = 60;
/// What was measured is forgotten over five minutes, or over more where there is
/// little to measure.
const KEEP_PERCENT_MIN: u64 = 80;
/// So many pieces of work are remembered: the mean of exponential times is then
/// known to within a twentieth.
const MEMORY_WORK_MILLI: u64 = 400_000;
/// A stated service time counts as so much measured work.
const STATED_WORK_MILLI: u64 = 60_000;
/// Without a stated one, less than this says nothing.
const WORK_MILLI_MIN: u64 = 30_000;

/// How long one piece of work takes, in seconds; `None` where it is neither
/// stated nor measured yet.
pub fn service_s(settings: &Settings, state: &State) -> Option<f64> {
    let measured = state.service.unwrap_or_default();
    let stated_ms = settings.service_ms.filter(|&ms| ms > 0);
    if stated_ms.is_none() && measured.work_milli < WORK_MILLI_MIN {
        return None;
    }
    // The more has been measured, the less the stated time weighs.
    let weight = stated_ms.map_or(0, |_| STATED_WORK_MILLI.saturating_sub(measured.work_milli));
    let stated = weight as f64 * stated_ms.unwrap_or_default() as f64 / 1_000.0;
    let work = measured.work_milli as f64 + weight as f64;
    let service_s = (measured.slot_ms as f64 + stated) / work;
    (service_s.is_finite() && service_s > 0.0).then_some(service_s)
}

/// Measures the last minute, once a minute, by the utilization law: busy slots
/// = rate × service time.
pub fn calibrate(signal: &Signal, state: &State, now: Ms) -> Option<Change> {
    let old = state.service.unwrap_or_default();
    if state.service.is_some() && now.since(old.at) < CALIBRATE_MS {
        return None;
    }
    let (work_milli, slot_ms) = last_minute(signal)?;
    let kept = forgetting(work_milli, MEMORY_WORK_MILLI);
    Some(Change::Service(Service {
        work_milli: kept(old.work_milli).saturating_add(work_milli),
        slot_ms: kept(old.slot_ms).saturating_add(slot_ms),
        at: now,
    }))
}

/// What is left of older measurements when `new` is added to a memory that holds
/// `memory` of the same.
pub fn forgetting(new: u64, memory: u64) -> impl Fn(u64) -> u64 {
    let by_new = 100_u64.saturating_sub(new.saturating_mul(100) / memory);
    let keep = by_new.max(KEEP_PERCENT_MIN);
    move |old| (old / 100).saturating_mul(keep)
}

/// Work that started in the last minute, and the slot-time that was used. Work
/// that only joined the queue has used none, and doesn't count.
fn last_minute(signal: &Signal) -> Option<(u64, u64)> {
    if signal.len() < CALIBRATE_S {
        return None;
    }
    let (mut arrived, mut used) = (0_u64, 0_u64);
    for second in signal.newest(CALIBRATE_S) {
        arrived = arrived.saturating_add(second.arrivals_milli?);
        used = used.saturating_add(second.busy_milli?);
    }
    let waiting = |second: &Second| {
        let busy = second.busy_milli.unwrap_or_default();
        second.in_system_milli.unwrap_or(busy).saturating_sub(busy)
    };
    let before = signal.newest(CALIBRATE_S).next().map(waiting)?;
    let after = signal.last().map(waiting)?;
    let started = arrived.saturating_add(before).saturating_sub(after);
    // Milli-slots that are busy for a second are slot-milliseconds. Work takes time:
    // where none was seen, nothing was measured.
    (started > 0 && used > 0).then_some((started, used))
}

/// Before any start has been seen.
const START_MS: u32 = 30_000;
/// Eight of ten starts are faster than what is counted on.
const START_PERCENTILE: usize = 80;
/// Starts that are learned from in one pass; the others of a large batch would
/// say the same.
const STARTS_PASS_MAX: usize = STARTS_MAX / 4;

pub fn starts(observation: &Observation) -> Option<Change> {
    let starts = observation.started_ms.iter().take(STARTS_PASS_MAX);
    let starts: Vec<u32> = starts.copied().collect();
    (!starts.is_empty()).then_some(Change::Started(starts))
}

/// How long a replica takes to become ready, in seconds.
pub fn start_s(state: &State) -> f64 {
    let mut starts_ms = state.starts_ms.clone();
    starts_ms.sort_unstable();
    let place = starts_ms.len() * START_PERCENTILE / 100;
    f64::from(starts_ms.get(place).copied().unwrap_or(START_MS)) / 1_000.0
}

/// Headroom that every workload gets, what one episode adds, and the most, in
/// thousandths of the square root of the load, which is the deviation of the
/// number of busy slots. From a third of one to about one and a half.
const HEADROOM_MIN: u32 = 300;
const HEADROOM_STEP: u32 = 200;
const HEADROOM_MAX: u32 = 2_000;
/// One step is forgotten in this time.
const HEADROOM_STEP_MS: u64 = 4 * 3_600_000;
const EPISODE_MS_MIN: u64 = 60_000;
/// A queue that takes longer to drain than work may wait makes work late.
const LATE_QUEUE: f64 = 1.0;

/// The headroom now.
pub fn headroom_milli(state: &State, now: Ms) -> u32 {
    let Some(Headroom { milli, at }) = state.headroom else {
        return HEADROOM_MIN;
    };
    let lost = u64::from(HEADROOM_STEP).saturating_mul(now.since(at)) / HEADROOM_STEP_MS;
    let left = u64::from(milli).saturating_sub(lost) as u32;
    left.clamp(HEADROOM_MIN, HEADROOM_MAX)
}

/// A step more where work waits too long although replicas are there: once an
/// episode, not once a pass, because an episode lasts as long as a start.
pub fn headroom(situation: &Situation, state: &State, now: Ms) -> Option<Change> {
    let late = situation.ready_slots > 0.0 && situation.queue > LATE_QUEUE;
    let episode_ms = EPISODE_MS_MIN.max((situation.start_s * 1_000.0) as u64);
    let same = |last: Headroom| now.since(last.at) < episode_ms;
    if !late || state.headroom.is_some_and(same) {
        return None;
    }
    let milli = headroom_milli(state, now) + HEADROOM_STEP;
    Some(Change::Headroom(Headroom {
        milli: milli.min(HEADROOM_MAX),
        at: now,
    }))
}
