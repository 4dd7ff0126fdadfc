//! Hears what sources say by themselves, for as long as their triggers are asked from here.
//!
//! Comes in: a trigger that was asked from here and answered. Goes out: to whoever leads, that
//! it should be asked again, now. One that can't be heard is asked at its interval as any
//! other, so nothing of this is an error.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::RngExt as _;
use starling_engine::policy::{Name, Source, Trigger};
use starling_sources::push::{self, GAP};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tracing::debug;

use super::pushed::Key;
use super::{Asker, Put};

/// Each has a connection of its own. Further triggers are asked at their interval alone.
const LISTENERS_MAX: usize = 512;
/// Of those to one server.
const SITE_MAX: usize = 16;
/// One whose trigger wasn't asked from here for so many of its intervals and [`KEPT`] ends:
/// another member asks.
const KEPT_INTERVALS: u32 = 3;
const KEPT: Duration = Duration::from_secs(10);
/// Then it is heard over another connection, later by chance up to a half: what is between may
/// keep one open whose server is gone, and a server may not be the one that is asked any more.
const RENEWED_AFTER: Duration = Duration::from_mins(10);
/// Whether its policy is still there is looked at so often.
const LOOK: Duration = Duration::from_secs(5);
/// From one that ended to the next one, doubled each time, and by chance up to a half more.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_mins(5);
/// After one that was heard for so long the pauses begin anew.
const HEARD: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Listeners(Mutex<BTreeMap<Key, Listener>>);

/// Ends when it is dropped.
struct Listener {
    source: Source,
    put: Put,
    site: String,
    /// When its trigger was last asked from here.
    heeded: watch::Sender<Instant>,
    task: AbortHandle,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Listeners {
    fn all(&self) -> MutexGuard<'_, BTreeMap<Key, Listener>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The trigger was asked from here, and has answered.
    pub(super) fn heed(&self, asker: &Arc<Asker>, policy: &Name, put: &Put, trigger: &Trigger) {
        if !push::pushes(trigger) {
            return;
        }
        let key = (policy.clone(), trigger.name.clone());
        let mut all = self.all();
        if let Some(listener) = all.get(&key).filter(|it| !it.task.is_finished()) {
            let (before, source) = (&listener.put, &listener.source);
            if (source, &before.target, before.interval)
                == (&trigger.source, &put.target, put.interval)
            {
                listener.heeded.send_replace(Instant::now());
                return;
            }
        }
        all.remove(&key);
        all.retain(|_, listener| !listener.task.is_finished());
        let site = push::site(trigger, &policy.namespace);
        // The leader knows who else asks the same.
        let same = |of: &Key, listener: &Listener| {
            of.0.namespace == policy.namespace && listener.source == trigger.source
        };
        let there = all.values().filter(|listener| listener.site == site);
        if all.len() >= LISTENERS_MAX
            || there.count() >= SITE_MAX
            || all.iter().any(|(of, listener)| same(of, listener))
        {
            return;
        }
        let (heeded, seen) = watch::channel(Instant::now());
        let heard = hear(
            asker.clone(),
            key.clone(),
            put.clone(),
            trigger.clone(),
            seen,
        );
        let task = tokio::spawn(heard).abort_handle();
        let listener = Listener {
            source: trigger.source.clone(),
            put: put.clone(),
            site,
            heeded,
            task,
        };
        all.insert(key, listener);
    }
}

/// Until its trigger isn't asked from here any more.
async fn hear(
    asker: Arc<Asker>,
    key: Key,
    put: Put,
    trigger: Trigger,
    heeded: watch::Receiver<Instant>,
) {
    let kept = put.interval * KEPT_INTERVALS + KEPT;
    let heard = async {
        let mut pause = PAUSE_MIN;
        loop {
            let begun = Instant::now();
            let signs = Notify::new();
            let heard = asker.here.listen(&key.0, &put, &trigger, &signs);
            let handed_on = async {
                loop {
                    signs.notified().await;
                    asker.here.counts.pushed();
                    asker.push(&key);
                    tokio::time::sleep(GAP).await;
                }
            };
            tokio::select! {
                why = heard => debug!(policy = %key.0, trigger = key.1, "can't be heard: {why}"),
                () = handed_on => {}
                () = tokio::time::sleep(more_by_chance(RENEWED_AFTER)) => {}
            }
            // The last one may have come with the end.
            if std::pin::pin!(signs.notified()).enable() {
                asker.push(&key);
            }
            if begun.elapsed() > HEARD {
                pause = PAUSE_MIN;
            }
            tokio::time::sleep(more_by_chance(pause)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    };
    tokio::select! {
        () = heard => {}
        () = unheeded(heeded, kept) => {}
        () = gone(&asker, &key.0, &trigger) => {}
    }
}

fn more_by_chance(time: Duration) -> Duration {
    time.mul_f64(rand::rng().random_range(1.0..1.5))
}

/// Returns once the policy asks for it no more.
async fn gone(asker: &Asker, policy: &Name, trigger: &Trigger) {
    while asker.put(policy, trigger).is_some() {
        tokio::time::sleep(LOOK).await;
    }
}

async fn unheeded(mut heeded: watch::Receiver<Instant>, kept: Duration) {
    loop {
        let until = *heeded.borrow_and_update() + kept;
        match tokio::time::timeout_at(until, heeded.changed()).await {
            Ok(Ok(())) => {}
            // Nobody wants it any more.
            Ok(Err(_)) | Err(_) => return,
        }
    }
}
