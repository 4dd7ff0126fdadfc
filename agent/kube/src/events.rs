//! Kubernetes events: what happened to a policy and its workload, for `kubectl
//! describe` and whoever watches events.
//!
//! Comes in: changes of size from the ledger, conditions that flipped. Goes out: one
//! event for each, and one for all its repeats. Only the leader tells; what it told
//! is marked in the event itself, so that a new leader that tells it again changes
//! nothing. Never in the way of anything: what doesn't fit the queue is left out,
//! and counted.

mod happening;
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use starling_engine::unit::Ms;
use starling_kept::{Queue, again};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::client::Connection;

pub use happening::{Happening, Of, flips, records, shows};

/// Events that wait to be written. Beyond that new ones are left out: an event is a
/// courtesy, and the ledger and the log have everything.
pub const QUEUE_MAX: usize = 1_000;

/// Takes what happened; ends with its queue when it is dropped.
pub struct Teller {
    queue: mpsc::Sender<Happening>,
    left_out: Arc<AtomicU64>,
    _task: JoinSet<()>,
}

impl Teller {
    /// `instance` is this agent's name.
    pub fn start(connection: &Connection, instance: &str) -> Teller {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let mut task = JoinSet::new();
        let (client, instance) = (connection.client.clone(), instance.to_owned());
        let waiting = Queue::new(waiting);
        task.spawn(again("the writing of events", move || {
            write::run(client.clone(), instance.clone(), waiting.clone())
        }));
        Teller {
            queue,
            left_out: Arc::default(),
            _task: task,
        }
    }

    pub fn tell(&self, happening: Happening) {
        if self.queue.try_send(happening).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Events that found the queue full, since the start.
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }
}

fn timestamp(at: Ms) -> Timestamp {
    let millis = i64::try_from(at.0).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
}
