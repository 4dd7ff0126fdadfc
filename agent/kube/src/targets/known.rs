//! What is known of one object.
//!
//! Comes in: what a watch, a read or the answer to a write has shown of it. Goes
//! out: the newest of that. Never goes back to something older.

use std::time::Duration;

use starling_engine::node::platform::Scale;
use starling_engine::policy::Target;
use tokio::time::Instant;
use tracing::warn;

use crate::selector::Selector;

/// What is older than what is known is ignored for this long, more than any call
/// takes. After that it counts: a server restored from a backup begins anew.
pub(super) const OVERTAKEN: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct Known {
    /// `None` until it is read, for kinds whose objects don't show it.
    pub scale: Option<Scale>,
    /// When that was.
    at: Option<Instant>,
    /// The version in which the object was last seen, for those kinds.
    pub touched: Option<String>,
    /// Of that scale, or why it can't be understood, in words.
    selector: Option<Result<Selector, String>>,
}

impl Known {
    pub fn selector(&self) -> Option<&Selector> {
        self.selector.as_ref()?.as_ref().ok()
    }

    pub fn selector_fault(&self) -> Option<&str> {
        let fault = self.selector.as_ref()?.as_ref().err();
        fault.map(String::as_str)
    }

    /// Takes in what was read: conditions aren't part of that.
    pub fn set_read(&mut self, target: &Target, scale: Scale, now: Instant) {
        let former = self.scale.as_ref().filter(|former| former.uid == scale.uid);
        let blocked = former.and_then(|former| former.blocked.clone());
        self.set(target, Scale { blocked, ..scale }, now);
    }

    /// Takes a scale in, unless it is older than what is known: writes, reads and
    /// watches overtake each other, and an older size looks as if set by hand.
    pub fn set(&mut self, target: &Target, scale: Scale, now: Instant) {
        let recent = self.at.is_some_and(|at| now.duration_since(at) < OVERTAKEN);
        let known = self.scale.as_ref();
        if recent && known.is_some_and(|known| is_older(&scale, known)) {
            return;
        }
        self.at = Some(now);
        let before = self.scale.as_ref().map(|scale| &scale.selector);
        if before != Some(&scale.selector) {
            // An unreadable selector selects nothing: the engine says so.
            let parsed = Selector::parse(&scale.selector);
            if let Err(why) = &parsed {
                warn!(%target, "the target's pods aren't found: {why}");
            }
            self.selector = Some(parsed.map_err(|why| why.to_string()));
        }
        self.scale = Some(scale);
    }
}

/// Versions of one kind of objects are numbers that rise, as Kubernetes promises
/// since 1.35 and has kept since it began. Where they aren't, what comes last counts.
fn is_older(scale: &Scale, known: &Scale) -> bool {
    let version = |scale: &Scale| scale.resource_version.parse::<u64>().ok();
    match (version(scale), version(known)) {
        (Some(new), Some(old)) => new < old,
        _ => false,
    }
}
