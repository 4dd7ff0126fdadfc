//! What a leader sees of one workload under strategy `objective`: its last
//! minutes, second by second, and how long its replicas take to start.
//!
//! Comes in: the latest readings and the ledger's size. Goes out: the signal and
//! start-up times that a decision looks at. Lost with the lead; what was learned
//! from it is in the ledger.

use std::collections::VecDeque;

use crate::decide::Reading;
use crate::decide::objective::signal::{Second, Signal, USED_PPM_MIN};
use crate::demand::pods::Sums;
use crate::policy::Objective;
use crate::unit::Ms;

/// Seconds without an answer are left out of the signal up to here; after a
/// longer hole it begins anew, because what came before says too little.
pub const HOLE_MS_MAX: u64 = 30_000;
/// Batches of replicas that start at the same time; the two oldest are joined
/// beyond it, and are no longer learned from.
pub const BATCHES_MAX: usize = 32;
/// Start-up times that wait for a pass; the newest are dropped beyond it.
pub const STARTED_MAX: usize = 64;
/// A replica that takes longer has failed rather than started.
pub const START_MS_MAX: u64 = 3_600_000;
/// From here on all slots count as at work.
const FULL_PPM: u32 = 950_000;

/// What the leader knows at one second.
#[derive(Debug, Clone)]
pub struct Look<'a> {
    pub arrivals: &'a Reading,
    pub in_system: &'a Reading,
    pub cpu: &'a Sums,
    /// The size that the ledger grants, and since when, where a decision of
    /// this lead's time set it.
    pub size: u32,
    pub resized_at: Option<Ms>,
    /// Replicas that were seen to run; `None` where nobody speaks of any.
    pub running: Option<u32>,
}

#[derive(Debug, Default)]
pub struct Watch {
    /// The policy's, to begin anew with other settings.
    pub revision: u64,
    signal: Signal,
    /// When arrivals were last known, and whether they were at the latest look:
    /// log time may stand still between two looks, so times don't tell.
    heard_at: Option<Ms>,
    hears: bool,
    looked_at: Option<Ms>,
    size: u32,
    /// The most replicas that were seen to run at this size.
    running: u32,
    /// Replicas that were granted and not seen to run yet, the oldest first.
    starting: VecDeque<Batch>,
    started_ms: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Batch {
    replicas: u32,
    /// `None` where nobody saw it granted.
    granted_at: Option<Ms>,
}

impl Watch {
    pub fn new(revision: u64) -> Watch {
        Watch {
            revision,
            ..Watch::default()
        }
    }

    /// Takes in one second.
    pub fn look(&mut self, objective: &Objective, look: &Look<'_>, now: Ms) {
        self.note_grant(look, now);
        self.note_starts(look, now);
        self.looked_at = Some(now);
        let arrivals_milli = amount(look.arrivals);
        self.hears = arrivals_milli.is_some();
        let Some(arrivals_milli) = arrivals_milli else {
            return;
        };
        let hole = self.heard_at.is_some_and(|at| now.since(at) > HOLE_MS_MAX);
        if hole {
            self.signal = Signal::default();
        }
        self.heard_at = Some(now);
        let ready = if look.size == 0 {
            0
        } else {
            look.running.unwrap_or(0)
        };
        let in_system_milli = amount(look.in_system);
        // Part of the replicas would look like part of the work.
        let all_seen = look.size == 0 || (look.running.is_some() && look.cpu.missing_count() == 0);
        let used_ppm = used(look.cpu).filter(|_| all_seen);
        let busy_milli = match objective.slots {
            Some(slots) => {
                let slots_milli = u64::from(ready) * u64::from(slots) * 1_000;
                // Counted work tells how many slots are at work whatever the
                // work is made of; CPU tells it only of work that computes.
                // Where there is less work than the slots of the replicas that are seen
                // (six jobs, say, and ten slots), none of it waits: all is in service.
                let counted = in_system_milli.filter(|milli| all_seen || *milli < slots_milli);
                let counted = counted.map(|milli| milli.min(slots_milli));
                counted.or_else(|| busy(used_ppm, slots_milli).filter(|_| all_seen))
            }
            // All the work that is there is in service while CPU is left.
            None => in_system_milli.filter(|_| used_ppm.is_some() || (all_seen && ready == 0)),
        };
        self.signal.push(Second {
            arrivals_milli: Some(arrivals_milli),
            busy_milli,
            used_ppm,
            in_system_milli,
            ready,
        });
    }

    /// The last minutes; `None` unless arrivals were known at the latest look.
    pub fn signal(&self) -> Option<&Signal> {
        self.hears.then_some(&self.signal)
    }

    /// The start-up times that no pass has seen yet, in milliseconds.
    pub fn started_ms(&self) -> &[u32] {
        &self.started_ms
    }

    /// A pass has seen them.
    pub fn forget_started(&mut self) {
        self.started_ms.clear();
    }

    fn note_grant(&mut self, look: &Look<'_>, now: Ms) {
        let Some(looked_at) = self.looked_at else {
            self.size = look.size;
            self.running = look.running.unwrap_or(0).min(look.size);
            self.starting.push_back(Batch {
                replicas: look.size - self.running,
                granted_at: None,
            });
            return;
        };
        if look.size > self.size {
            let granted_at = look.resized_at.filter(|at| *at >= looked_at);
            self.starting.push_back(Batch {
                replicas: look.size - self.size,
                granted_at: Some(granted_at.unwrap_or(now)),
            });
            if self.starting.len() > BATCHES_MAX
                && let Some(oldest) = self.starting.pop_front()
                && let Some(next) = self.starting.front_mut()
            {
                next.replicas = next.replicas.saturating_add(oldest.replicas);
                next.granted_at = None;
            }
        }
        // The newest are the first that a smaller size does without.
        let mut fewer = self.size.saturating_sub(look.size);
        while fewer > 0
            && let Some(newest) = self.starting.back_mut()
        {
            let gone = fewer.min(newest.replicas);
            newest.replicas -= gone;
            fewer -= gone;
            if newest.replicas == 0 {
                self.starting.pop_back();
            }
        }
        self.size = look.size;
        self.running = self.running.min(look.size);
    }

    /// Only more replicas than ever before at this size have started; fewer and
    /// then as many again are a node that was silent, or replicas that failed.
    fn note_starts(&mut self, look: &Look<'_>, now: Ms) {
        let running = look.running.unwrap_or(0).min(look.size);
        let mut more = running.saturating_sub(self.running);
        self.running = self.running.max(running);
        while more > 0
            && let Some(oldest) = self.starting.front_mut()
        {
            let begun = more.min(oldest.replicas);
            oldest.replicas -= begun;
            more -= begun;
            let took_ms = oldest.granted_at.map(|at| now.since(at));
            if let Some(ms) = took_ms.filter(|ms| *ms <= START_MS_MAX) {
                let room = STARTED_MAX.saturating_sub(self.started_ms.len());
                let learned = room.min(begun as usize);
                let ms = u32::try_from(ms).unwrap_or(u32::MAX);
                self.started_ms.extend(std::iter::repeat_n(ms, learned));
            }
            if oldest.replicas == 0 {
                self.starting.pop_front();
            }
        }
    }
}

/// A value that isn't negative; `None` where the source has not answered.
fn amount(reading: &Reading) -> Option<u64> {
    match reading {
        Reading::Value { milli, .. } => Some(u64::try_from(*milli).unwrap_or(0)),
        Reading::Pods(_)
        | Reading::Answered { .. }
        | Reading::Failed { .. }
        | Reading::Kept { .. }
        | Reading::Unselected(_)
        | Reading::None => None,
    }
}

/// CPU use of what was requested, in millionths; `None` where a replica doesn't
/// say what it asks for, and where all of it is used: work that only joined the
/// queue would then look like work that is done in no time.
fn used(cpu: &Sums) -> Option<u32> {
    let request = u128::try_from(cpu.ready_request_milli).unwrap_or(0);
    let used = u128::try_from(cpu.ready_usage_milli).unwrap_or(0);
    if request == 0 || cpu.without_request > 0 {
        return None;
    }
    let ppm = used.saturating_mul(1_000_000) / request;
    u32::try_from(ppm).ok().filter(|ppm| *ppm < FULL_PPM)
}

/// Slots at work; without any none is. `None` where the CPU doesn't tell.
fn busy(used_ppm: Option<u32>, slots_milli: u64) -> Option<u64> {
    if slots_milli == 0 {
        return Some(0);
    }
    let used_ppm = used_ppm.filter(|ppm| *ppm >= USED_PPM_MIN)?;
    let busy = u128::from(slots_milli) * u128::from(used_ppm) / 1_000_000;
    u64::try_from(busy).ok()
}

#[cfg(test)]
mod tests;
