//! One look at all that answers depend on, at one moment.
//!
//! Comes in: the agent's [`View`]. Goes out: whatever the caller makes of it.
//! Holds the ledger's lock meanwhile, so a look never waits.

use std::sync::{Arc, PoisonError};

use super::answer::Sight;
use super::view::View;

/// Shows `look` the present state. The ledger is locked meanwhile: it must not
/// wait for anything.
pub fn see<R>(view: &View, look: impl FnOnce(Sight<'_>) -> R) -> R {
    let snapshot = Arc::clone(&view.snapshot.borrow());
    let mut leadership = view.log.leadership().borrow().clone();
    leadership.acting = view.log.acting();
    let backing = view.log.backing();
    if !backing.led && !backing.alone {
        // A learner goes on naming one that is gone.
        leadership.leader = None;
    }
    let ledger = view.log.ledger();
    let ledger = ledger.read().unwrap_or_else(PoisonError::into_inner);
    look(Sight {
        me: view.log.id(),
        now: view.log.clock().now(),
        ledger: &ledger,
        leadership: &leadership,
        backing,
        voters_max: view.log.voters_max(),
        snapshot: &snapshot,
    })
}
