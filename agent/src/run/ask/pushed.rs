//! Triggers whose sources have said that something has changed.
//!
//! Comes in: one trigger or several, as often as they come. Goes out: all of them, each once,
//! when somebody is there to take them. How many wait is bounded.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use starling_engine::policy::Name;
use tokio::sync::Notify;

use super::WAITING_MAX;

/// What is pushed within so long is handed over together: all triggers are looked through for it.
const TOGETHER: Duration = Duration::from_millis(100);

/// Policy and trigger.
pub(super) type Key = (Name, String);

/// Those that wait to be taken.
#[derive(Default)]
pub(super) struct Keys {
    waiting: Mutex<BTreeSet<Key>>,
    came: Notify,
}

impl Keys {
    pub(super) fn add(&self, keys: impl IntoIterator<Item = Key>) {
        let mut waiting = self.waiting();
        let room = WAITING_MAX.saturating_sub(waiting.len());
        waiting.extend(keys.into_iter().take(room));
        self.came.notify_one();
    }

    /// Returns once there are any.
    async fn come(&self) {
        while self.waiting().is_empty() {
            self.came.notified().await;
        }
    }

    pub(super) async fn take(&self) -> BTreeSet<Key> {
        self.come().await;
        std::mem::take(&mut *self.waiting())
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeSet<Key>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those that are to be asked, where this agent leads.
#[derive(Default)]
pub(super) struct Pushed {
    pub keys: Keys,
    /// When the last of them were handed over to be asked.
    taken: Mutex<Option<Instant>>,
}

impl Pushed {
    pub(super) async fn take(&self) -> BTreeSet<Key> {
        self.keys.come().await;
        if let Some(taken) = self.taken() {
            tokio::time::sleep_until((taken + TOGETHER).into()).await;
        }
        let all = self.keys.take().await;
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        all
    }

    pub(super) fn taken(&self) -> Option<Instant> {
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
