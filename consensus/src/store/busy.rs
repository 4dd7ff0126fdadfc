//! How long the disk has been at what it is doing: a disk that hangs returns no error.
//!
//! Comes in: when a piece of work on it begins and ends. Goes out: for how long the
//! oldest one has been under way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Cheap to clone.
#[derive(Clone, Default)]
pub struct Busy(Arc<Mutex<UnderWay>>);

/// Few at a time: what the log's thread does, and a snapshot.
#[derive(Default)]
struct UnderWay {
    since: BTreeMap<u64, Instant>,
    next: u64,
}

/// A piece of work, until it is dropped.
pub struct Work {
    busy: Busy,
    number: u64,
}

impl Busy {
    pub fn begin(&self) -> Work {
        let mut under_way = self.lock();
        let number = under_way.next;
        under_way.next += 1;
        under_way.since.insert(number, Instant::now());
        drop(under_way);
        Work {
            busy: self.clone(),
            number,
        }
    }

    /// Zero where nothing is under way.
    pub fn longest(&self) -> Duration {
        let under_way = self.lock();
        let oldest = under_way.since.values().next();
        oldest.map_or(Duration::ZERO, Instant::elapsed)
    }

    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.busy.lock().since.remove(&self.number);
    }
}
