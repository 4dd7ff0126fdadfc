//! What the agent tells the gossip task: one place for each kind of message, in
//! which the newest replaces what was there.

use std::sync::{Mutex, MutexGuard, PoisonError};

use starling_engine::demand::Summary;
use starling_engine::unit::NodeId;
use tokio::sync::Notify;

#[derive(Debug, Default)]
pub struct Inbox {
    letters: Mutex<Letters>,
    /// The members that were told of last.
    members: Mutex<Vec<(NodeId, String)>>,
    arrived: Notify,
}

/// What has been told since the last look.
#[derive(Debug, Default)]
pub struct Letters {
    pub summary: Option<Summary>,
    pub members: Option<Vec<(NodeId, String)>>,
    pub leave: bool,
    /// The task shall panic.
    #[cfg(test)]
    pub breaks_off: bool,
}

impl Inbox {
    pub fn put_summary(&self, summary: Summary) {
        self.letters().summary = Some(summary);
        self.arrived.notify_one();
    }

    pub fn put_members(&self, members: Vec<(NodeId, String)>) {
        self.members().clone_from(&members);
        self.letters().members = Some(members);
        self.arrived.notify_one();
    }

    /// For a task that has begun anew and was told nothing yet.
    pub fn tell_again(&self) {
        let members = self.members().clone();
        self.letters().members = Some(members);
        self.arrived.notify_one();
    }

    #[cfg(test)]
    pub fn break_off(&self) {
        self.letters().breaks_off = true;
        self.arrived.notify_one();
    }

    #[cfg(test)]
    pub fn has_broken_off(&self) -> bool {
        !self.letters().breaks_off
    }

    pub fn leave(&self) {
        self.letters().leave = true;
        self.arrived.notify_one();
    }

    /// Waits until there is something. Loses nothing when cancelled.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }

    pub fn take(&self) -> Letters {
        std::mem::take(&mut *self.letters())
    }

    fn members(&self) -> MutexGuard<'_, Vec<(NodeId, String)>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every change is one assignment, so a panic elsewhere can't leave half of one.
    fn letters(&self) -> MutexGuard<'_, Letters> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
