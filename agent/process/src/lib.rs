//! The room of the `process` target: runs N copies of a command on this machine.
//! Linux only.
//!
//! Comes in: what may be run here and how many of each, with the stamp of the
//! grant. Goes out: the workers that run, and what keeps others from running.
//! Workers outlive the agent; its next start finds them by a variable in their
//! environment.
//!
//! Never decides a number, never measures, and never touches a process that
//! isn't a worker of this agent or a descendant of one.
//!
//! [`spec`] is what shall run, [`worker`] one process of it from start to end,
//! the fleet all of them. Another way of isolating a worker (a cgroup, a user of
//! its own) goes into [`worker`]; another platform that runs replicas is a room
//! of its own, beside this one.

mod fleet;
pub mod limit;
pub mod spec;
pub mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use starling_engine::unit::Stamp;
use starling_kept::Pauses;
use tokio::sync::watch;
use tokio::task::JoinError;

use fleet::Fleet;
use spec::{STOP_AFTER_MS, Spec};
use worker::{Home, Worker};

/// No more workers than this are started on one machine; a trouble says so.
pub const WORKERS_MAX: usize = 1_000;
/// Beyond this many names, those that shall have no worker are forgotten.
const NAMES_MAX: usize = 10_000;
/// Exits are noticed, and back-offs end, as late as this.
const PASS_EVERY: Duration = Duration::from_millis(250);
/// What a process that was killed gets for vanishing.
const VANISH_MS: u64 = 5_000;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("can't keep workers in {path}; this needs Linux's /proc and a directory to write to")]
    Start { path: PathBuf, source: io::Error },
    #[error("{name}: the size granted at {stamp} is older than the one from {seen} in force")]
    Stale {
        name: String,
        stamp: Stamp,
        seen: Stamp,
    },
}

/// Keeps the workers as wanted. Dropping it leaves them running.
#[derive(Debug)]
pub struct Supervisor {
    wanted: watch::Sender<Wanted>,
    seen: watch::Receiver<Seen>,
}

#[derive(Debug, Clone, Default)]
struct Wanted {
    /// `None` before the first offer: then nothing is changed.
    specs: Option<Arc<BTreeMap<String, Spec>>>,
    /// A name that isn't in here was never set: its workers are left alone.
    counts: Arc<BTreeMap<String, (Stamp, u32)>>,
    ending: bool,
}

/// What the latest pass saw.
#[derive(Debug, Default)]
struct Seen {
    workers: Vec<Worker>,
    troubles: BTreeMap<String, String>,
    /// It was to end all workers, and none is left.
    ended: bool,
}

impl Supervisor {
    /// Goes on with the workers that an agent of the same cluster and data
    /// directory left behind; each is left alone until its name is first set.
    /// Must be called within a tokio runtime, and while no other agent uses the
    /// data directory. Workers write to `workers/<name>.log` in it.
    pub fn start(cluster: &str, data_dir: &Path) -> Result<Supervisor, Error> {
        let path = data_dir.join("workers");
        let (cluster, logs) = (cluster.to_owned(), path.clone());
        let find = move || Home::open(&cluster, &logs).and_then(Fleet::find);
        let mut fleet = find().map_err(|source| Error::Start { path, source })?;
        let (wanted, orders) = watch::channel(Wanted::default());
        let (publish, seen) = watch::channel(fleet.pass(&Wanted::default()));
        tokio::spawn(supervise(fleet, find, orders, publish));
        Ok(Supervisor { wanted, seen })
    }

    /// What may be run here, replaced as a whole. Workers of a command that has
    /// changed are replaced, those of a name that is gone are stopped.
    pub fn offer(&self, specs: BTreeMap<String, Spec>) {
        self.wanted.send_if_modified(|wanted| {
            let changed = wanted.specs.as_deref() != Some(&specs);
            wanted.specs = Some(Arc::new(specs));
            changed
        });
    }

    /// How many of `name` shall run here. Refused if a newer stamp was seen (I1).
    pub fn set(&self, stamp: Stamp, name: &str, count: u32) -> Result<(), Error> {
        let mut former = None;
        self.wanted.send_if_modified(|wanted| {
            former = wanted.counts.get(name).copied();
            if former.is_some_and(|(seen, at)| seen > stamp || (seen, at) == (stamp, count)) {
                return false;
            }
            let counts = Arc::make_mut(&mut wanted.counts);
            counts.insert(name.into(), (stamp, count));
            if counts.len() > NAMES_MAX {
                counts.retain(|_, (_, count)| *count > 0);
            }
            true
        });
        match former {
            Some((seen, _)) if seen > stamp => {
                let name = name.into();
                Err(Error::Stale { name, stamp, seen })
            }
            _ => Ok(()),
        }
    }

    /// The workers as of the latest pass.
    pub fn workers(&self) -> Vec<Worker> {
        self.seen.borrow().workers.clone()
    }

    /// What keeps workers from running or from ending, by workload.
    pub fn troubles(&self) -> BTreeMap<String, String> {
        self.seen.borrow().troubles.clone()
    }

    /// All names that have workers here or were set.
    pub fn names(&self) -> BTreeSet<String> {
        let mut names: BTreeSet<_> = self.wanted.borrow().counts.keys().cloned().collect();
        names.extend(self.workers().into_iter().map(|worker| worker.name));
        names
    }

    /// Ends all workers, adopted ones too, and starts none from here on. Returns
    /// when they are gone, or a few seconds after the last was killed.
    pub async fn stop_all(&self) {
        self.wanted.send_modify(|wanted| wanted.ending = true);
        let specs = self.wanted.borrow().specs.clone().unwrap_or_default();
        let graces = specs.values().map(|spec| spec.stop_after_ms);
        let longest_ms = graces.fold(STOP_AFTER_MS, u64::max);
        let limit = Duration::from_millis(longest_ms.saturating_add(VANISH_MS));
        let mut seen = self.seen.clone();
        let ended = seen.wait_for(|seen| seen.ended);
        if !matches!(tokio::time::timeout(limit, ended).await, Ok(Ok(_))) {
            for (name, trouble) in self.troubles() {
                tracing::warn!(name, trouble, "not all workers could be ended");
            }
        }
    }
}

/// What a pass is made over.
trait Pass: Send + 'static {
    fn pass(&mut self, wanted: &Wanted) -> Seen;
    /// Nothing runs and nothing waits for its next try: the next pass sees the same.
    fn is_idle(&self) -> bool;
}

/// Looks at everything on each change, and, while there is anything that may end or start
/// by itself, every [`PASS_EVERY`]. A pass that panics
/// takes what it knew with it: the workers are found again then, as at a start. Until
/// they are they count as they were. Ends with the supervisor.
async fn supervise<F: Pass>(
    mut fleet: F,
    find: impl Fn() -> io::Result<F> + Clone + Send + 'static,
    mut orders: watch::Receiver<Wanted>,
    publish: watch::Sender<Seen>,
) {
    let mut pauses = Pauses::default();
    loop {
        let wanted = orders.borrow_and_update().clone();
        let pass = move || (fleet.pass(&wanted), fleet);
        fleet = match tokio::task::spawn_blocking(pass).await {
            Ok((seen, back)) => {
                publish.send_replace(seen);
                pauses.reset();
                back
            }
            Err(why) => match again(&why, &find, &mut pauses, &mut orders).await {
                Some(found) => {
                    fleet = found;
                    continue;
                }
                None => return,
            },
        };
        let changed = if fleet.is_idle() {
            orders.changed().await
        } else {
            let changed = tokio::time::timeout(PASS_EVERY, orders.changed()).await;
            changed.unwrap_or(Ok(()))
        };
        if changed.is_err() {
            return;
        }
    }
}

/// Finds the workers again; `None` where the supervisor has ended meanwhile.
async fn again<F: Pass>(
    why: &JoinError,
    find: &(impl Fn() -> io::Result<F> + Clone + Send + 'static),
    pauses: &mut Pauses,
    orders: &mut watch::Receiver<Wanted>,
) -> Option<F> {
    let mut why = why.to_string();
    loop {
        let pause = pauses.after_failure();
        starling_kept::told("the supervision of workers", &why, pause);
        tokio::time::sleep(pause).await;
        if orders.has_changed().is_err() {
            return None;
        }
        match tokio::task::spawn_blocking(find.clone()).await {
            Ok(Ok(found)) => return Some(found),
            Ok(Err(failed)) => why = failed.to_string(),
            Err(failed) => why = failed.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Panics as long as it is told to.
    struct Fragile {
        life: u32,
        breaks: bool,
    }

    impl Pass for Fragile {
        fn is_idle(&self) -> bool {
            true
        }

        fn pass(&mut self, _: &Wanted) -> Seen {
            assert!(!self.breaks, "a pass went wrong");
            let life = self.life.to_string();
            Seen {
                troubles: BTreeMap::from([("life".to_owned(), life)]),
                ..Seen::default()
            }
        }
    }

    #[tokio::test]
    async fn a_pass_that_panics_is_followed_by_others_over_what_is_found_again() {
        let (_wanted, orders) = watch::channel(Wanted::default());
        let (publish, mut seen) = watch::channel(Seen::default());
        let finds = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let find = move || {
            let life = finds.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
            match life {
                1 => Err(io::Error::other("not yet")),
                life => Ok(Fragile {
                    life,
                    breaks: false,
                }),
            }
        };
        let first = Fragile {
            life: 0,
            breaks: true,
        };
        tokio::spawn(supervise(first, find, orders, publish));
        let second = |seen: &Seen| seen.troubles.get("life").is_some_and(|life| life == "2");
        let found = tokio::time::timeout(Duration::from_mins(1), seen.wait_for(second)).await;
        assert!(found.is_ok_and(|found| found.is_ok()));
    }
}
