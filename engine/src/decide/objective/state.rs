//! What has been learned about one workload: replicated, so that a new leader
//! knows it. Comes in: [`Change`]s from [`super::want`]. Goes out: the same
//! state on every node. Whole numbers only; every list has a bound.

use serde::{Deserialize, Serialize};

use crate::unit::Ms;

/// Bounded: at most about 600 bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub service: Option<Service>,
    /// Kept only where the policy doesn't state the slots.
    pub slots: Option<Slots>,
    /// How long the latest replicas took to become ready, in milliseconds, the
    /// newest last; at most [`STARTS_MAX`].
    pub starts_ms: Vec<u32>,
    pub headroom: Option<Headroom>,
    /// The highest recommendation of each of the latest stretches of time, the
    /// newest last; each holds until the next one begins. At most [`HELD_MAX`].
    pub held: Vec<Held>,
    pub idle: Idle,
    pub forecast: Forecast,
}

/// Work that was measured: how much started, and the slot-time that it took.
/// Their quotient is the service time. Older work counts less and less.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    pub work_milli: u64,
    pub slot_ms: u64,
    pub at: Ms,
}

/// Work in service, and the replicas' worth of CPU that it used, both in
/// thousandths and summed over seconds. Their quotient is the number of pieces
/// that one replica does at a time. Older seconds count less and less.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slots {
    pub work_milli: u64,
    pub replicas_milli: u64,
    pub at: Ms,
}

/// What is added to the load, in thousandths of its square root, as it was at
/// `at`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Headroom {
    pub milli: u32,
    pub at: Ms,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub from: Ms,
    pub replicas: u32,
}

/// When there was nothing to do. Kept only for policies that may scale to zero.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idle {
    /// Since when there is nothing to do; `None` while there is.
    pub since: Option<Ms>,
    /// The latest pauses, in seconds, the newest last; at most [`GAPS_MAX`].
    pub gaps_s: Vec<u32>,
    /// The latest times at which work came after a long pause, the newest last;
    /// at most [`WAKES_MAX`].
    pub wakes: Vec<Wake>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wake {
    pub at: Ms,
    /// The most replicas that the first minute called for.
    pub replicas: u32,
}

/// How far off the forecast and the naive one have been, as sums of squared
/// millionths of the rate that came, older ones counting less.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    pub error: u64,
    pub naive_error: u64,
    pub scored: u32,
    /// When something was foretold last.
    pub told_at: Ms,
    pub pending: Option<Foretold>,
}

/// A rate that is expected, in thousandths a second, and the one of the time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Foretold {
    pub due: Ms,
    pub milli: u64,
    pub naive_milli: u64,
}

/// One thing that was learned. Each holds the new value, so that applying it
/// twice changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    Service(Service),
    Slots(Slots),
    /// Replicas became ready; their start times in milliseconds.
    Started(Vec<u32>),
    Headroom(Headroom),
    Held(Held),
    /// Work stopped coming.
    Paused(Ms),
    /// Work comes, for the first time or after a pause of so many seconds.
    Resumed {
        gap_s: Option<u32>,
        wake: Option<Wake>,
    },
    /// The latest wake called for more.
    WakeGrew(u32),
    Forecast(Forecast),
}

pub const STARTS_MAX: usize = 16;
pub const HELD_MAX: usize = 24;
pub const GAPS_MAX: usize = 32;
pub const WAKES_MAX: usize = 9;

impl State {
    /// Total: what doesn't fit is dropped, the oldest first.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Service(service) => self.service = Some(*service),
            Change::Slots(slots) => self.slots = Some(*slots),
            Change::Started(starts_ms) => {
                self.starts_ms.extend(starts_ms);
                drop_oldest(&mut self.starts_ms, STARTS_MAX);
            }
            Change::Headroom(headroom) => self.headroom = Some(*headroom),
            Change::Held(held) => {
                self.held.retain(|old| old.from < held.from);
                self.held.push(*held);
                drop_oldest(&mut self.held, HELD_MAX);
            }
            Change::Paused(at) => self.idle.since = Some(*at),
            Change::Resumed { gap_s, wake } => {
                self.idle.since = None;
                self.idle.gaps_s.extend(gap_s);
                drop_oldest(&mut self.idle.gaps_s, GAPS_MAX);
                self.idle.wakes.extend(wake);
                drop_oldest(&mut self.idle.wakes, WAKES_MAX);
            }
            Change::WakeGrew(replicas) => {
                if let Some(wake) = self.idle.wakes.last_mut() {
                    wake.replicas = wake.replicas.max(*replicas);
                }
            }
            Change::Forecast(forecast) => self.forecast = *forecast,
        }
    }
}

fn drop_oldest<T>(list: &mut Vec<T>, most: usize) {
    let extra = list.len().saturating_sub(most);
    list.drain(..extra);
}
