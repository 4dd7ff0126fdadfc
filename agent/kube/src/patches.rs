//! Carries out the writes that were decided: one at a time for each target, many
//! targets at once, so that a slow API server holds up nobody else.
//!
//! Comes in: [`Patch`]es, in any order; a newer one for a target replaces one that
//! still waits. Goes out: what became of each, through the follower of targets, who
//! knows what is newer. A write whose answer is lost is found out about by reading. Never writes over a size
//! that isn't the one the patch was decided on, nor while the fence is down.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use starling_engine::node::platform::{self, Scale};
use starling_engine::policy::Target;
use starling_kept::Queue;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{Id, JoinSet};
use tracing::error;

use crate::backoff::Backoff;
use crate::scale::{Error, Scales};
use crate::target::Reference;
use crate::targets::Found;

/// Calls at a time, reads after lost answers included. With an API server that
/// takes 2 s for each, 16 targets a second are still written.
pub const CALLS_MAX: usize = 32;
/// Patches that wait or are being written. Further ones are answered at once with
/// [`Error::Busy`]: what is to be written follows from the ledger at the next pass.
pub const TARGETS_MAX: usize = 10_000;
/// Patches on their way in; then whoever sends them waits.
pub const INBOX: usize = 1_024;
/// A write that fails because something other than the size changed (a status, a
/// label) is repeated over the newer object this often.
const REPEATS_MAX: u32 = 4;
/// Pauses between tries, and how many tries there are to find out what became of a
/// write: half a minute or so in all. Afterwards the next observation tells.
const PAUSE_LEAST: Duration = Duration::from_millis(250);
const PAUSE_MOST: Duration = Duration::from_secs(5);
const READ_TRIES_MAX: u32 = 8;

/// A write that was decided: `to` replicas in place of the `from` that were seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    pub reference: Reference,
    /// The object that was seen. Where it is empty a write is never repeated.
    pub uid: String,
    pub resource_version: String,
    pub from: u32,
    pub to: u32,
}

struct Job {
    scales: Scales,
    calls: Arc<Semaphore>,
    /// Whether this agent may write, that is, whether it still leads.
    fence: watch::Receiver<bool>,
    found: mpsc::Sender<Found>,
}

/// Runs until `patches` ends or nobody takes outcomes any more. `found` leads to
/// [`crate::targets::follow`].
pub async fn run(
    scales: Scales,
    patches: Queue<Patch>,
    fence: watch::Receiver<bool>,
    found: mpsc::Sender<Found>,
) {
    let job = Arc::new(Job {
        scales,
        calls: Arc::new(Semaphore::new(CALLS_MAX)),
        fence,
        found,
    });
    let mut writers = Writers {
        job,
        busy: BTreeMap::new(),
        tasks: JoinSet::new(),
        targets: HashMap::new(),
    };
    loop {
        tokio::select! {
            patch = patches.recv() => match patch {
                Some(patch) => writers.take(patch).await,
                None => break,
            },
            Some(done) = writers.tasks.join_next_with_id() => match done {
                Ok((id, ())) => writers.done(id),
                Err(failed) => {
                    error!(%failed, "a write ended without an answer");
                    writers.done(failed.id());
                }
            },
            () = writers.job.found.closed() => break,
        }
    }
}

/// Who is being written, and what waits behind that.
struct Writers {
    job: Arc<Job>,
    /// The patch that waits behind the one in flight, by target.
    busy: BTreeMap<Target, Option<Patch>>,
    tasks: JoinSet<()>,
    targets: HashMap<Id, Target>,
}

impl Writers {
    async fn take(&mut self, patch: Patch) {
        let target = patch.reference.target.clone();
        if let Some(waiting) = self.busy.get_mut(&target) {
            *waiting = Some(patch);
        } else if self.busy.len() >= TARGETS_MAX {
            let result = Err(too_many());
            self.job.tell(Found::Patched { target, result }).await;
        } else {
            self.begin(target, patch);
        }
    }

    fn begin(&mut self, target: Target, patch: Patch) {
        let task = self.tasks.spawn(Arc::clone(&self.job).carry_out(patch));
        self.targets.insert(task.id(), target.clone());
        self.busy.insert(target, None);
    }

    fn done(&mut self, id: Id) {
        let Some(target) = self.targets.remove(&id) else {
            return;
        };
        if let Some(next) = self.busy.remove(&target).flatten() {
            self.begin(target, next);
        }
    }
}

impl Job {
    async fn carry_out(self: Arc<Self>, patch: Patch) {
        let target = patch.reference.target.clone();
        let result = self.write(&patch).await;
        let unknown = matches!(result, Err(Error::Unknown(_)));
        let patched = Found::Patched {
            target: target.clone(),
            result,
        };
        self.tell(patched).await;
        if unknown && let Some(result) = self.find_out(&patch.reference).await {
            self.tell(Found::Read { target, result }).await;
        }
    }

    /// Writes, and repeats where that can't do harm: the object changed, but not
    /// its size; or the server asked to come back later.
    async fn write(&self, patch: &Patch) -> Result<Scale, Error> {
        let mut seen = Scale {
            uid: patch.uid.clone(),
            resource_version: patch.resource_version.clone(),
            ..Scale::default()
        };
        let mut backoff = Backoff::new(PAUSE_LEAST, PAUSE_MOST);
        let mut repeats = 0;
        loop {
            if !*self.fence.borrow() {
                return Err(Error::Refused(
                    "this agent doesn't lead any more, so it wrote nothing".into(),
                ));
            }
            let result = {
                let _turn = self.calls.acquire().await;
                self.scales.write(&patch.reference, &seen, patch.to).await
            };
            repeats += 1;
            match result {
                Err(Error::Conflict(now)) if repeats <= REPEATS_MAX && patch.fits(&now) => {
                    seen = now;
                }
                Err(Error::Busy { retry_after, .. }) if repeats <= REPEATS_MAX => {
                    tokio::time::sleep(backoff.next_wait_after(retry_after)).await;
                }
                result => return result,
            }
        }
    }

    /// Reads until an answer comes; `None` if there is none for long.
    async fn find_out(&self, reference: &Reference) -> Option<Result<Scale, Error>> {
        let mut backoff = Backoff::new(PAUSE_LEAST, PAUSE_MOST);
        for _ in 0..READ_TRIES_MAX {
            tokio::time::sleep(backoff.next_wait()).await;
            let result = {
                let _turn = self.calls.acquire().await;
                self.scales.read(reference).await
            };
            if !matches!(result, Err(Error::Unknown(_) | Error::Busy { .. })) {
                return Some(result);
            }
        }
        None
    }

    async fn tell(&self, found: Found) {
        // Whoever asked may be gone: nobody needs the answer then.
        let _ = self.found.send(found).await;
    }
}

impl Patch {
    /// The engine's patch over the object of this uid, as the ledger knows it.
    pub fn of(patch: &platform::Patch) -> Patch {
        Patch {
            reference: Reference {
                target: patch.target.clone(),
                version: patch.target_version.clone(),
            },
            uid: patch.uid.clone(),
            resource_version: patch.resource_version.clone(),
            from: patch.from,
            to: patch.to,
        }
    }

    /// Whether an object that changed is still the one that was decided on, with
    /// the same size.
    fn fits(&self, now: &Scale) -> bool {
        now.replicas == self.from && now.uid == self.uid && !self.uid.is_empty()
    }
}

fn too_many() -> Error {
    Error::Busy {
        why: format!("more than {TARGETS_MAX} targets are being written"),
        retry_after: None,
    }
}
