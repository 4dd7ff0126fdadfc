//! Follows the targets of policies: what size each has, and what keeps it from it.
//!
//! Comes in: the set of targets to follow, whenever it changes. Goes out: an
//! [`Event`] for each change, through a channel with a bound; a slow reader slows
//! the watches, nothing is lost. At rest it costs a watch for each kind, two for
//! blocked pods and a question every five seconds. Never writes.

pub mod blocked;
mod book;
mod contact;
pub mod derive;
mod known;
mod note;
pub mod plan;
mod stream;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use starling_engine::node::platform::{self, Observation, Scale};
use starling_engine::policy::Target;
use starling_kept::Queue;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::Instant;
use tracing::error;

use crate::client::Connection;
use crate::scale::kinds::Kind;
use crate::scale::{Error, Scales};
use crate::target::Reference;
use book::Book;
pub use contact::AWAY_AFTER;
use note::{Action, Note};
use plan::{Planner, Scope};
use stream::Stream;

/// Notes on their way to the book; then the watches wait.
const NOTES: usize = 1_024;
/// Scales read at a time, of kinds whose objects don't show it.
const READS_MAX: usize = 16;
/// A watch whose task ended by a defect is begun again after this long.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// What the engine is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Observed {
        target: Target,
        observation: Observation,
    },
    /// What became of a write; what there is now follows as an observation.
    Patched {
        target: Target,
        result: Result<Scale, platform::Failure>,
    },
    /// Whether the API server answers; false after [`AWAY_AFTER`] of silence, true
    /// with the first answer.
    Platform(bool),
}

/// What a write, or a read after it, has shown of a target. It goes through here so
/// that nothing older is told after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    Patched {
        target: Target,
        result: Result<Scale, Error>,
    },
    Read {
        target: Target,
        result: Result<Scale, Error>,
    },
}

/// Runs until nobody takes events or states targets any more.
pub async fn follow(
    connection: Connection,
    scales: Scales,
    mut followed: watch::Receiver<Arc<BTreeSet<Reference>>>,
    found: Queue<Found>,
    out: mpsc::Sender<Event>,
) {
    let (sender, mut notes) = mpsc::channel(NOTES);
    let mut desk = Desk::new(connection, scales, sender);
    let targets = followed.borrow_and_update().clone();
    desk.follow(&targets);
    loop {
        let now = Instant::now();
        let wake = desk.book.next_tick(now);
        let wake = desk.again_at.map_or(wake, |at| at.min(wake));
        tokio::select! {
            Some(note) = notes.recv() => {
                desk.take(note);
                // What has piled up is taken in before anything is told of it.
                for _ in 0..NOTES {
                    let Ok(note) = notes.try_recv() else { break };
                    desk.take(note);
                }
            }
            Some(found) = found.recv() => desk.take(Note::Found(found)),
            changed = followed.changed() => match changed {
                Ok(()) => {
                    let targets = followed.borrow_and_update().clone();
                    desk.follow(&targets);
                }
                Err(_) => return,
            },
            Some(ended) = desk.tasks.join_next_with_id() => desk.ended(ended),
            () = tokio::time::sleep_until(wake) => {
                let now = Instant::now();
                desk.book.tick(now);
                if desk.again_at.is_some_and(|at| at <= now) {
                    desk.again_at = None;
                    let targets = followed.borrow().clone();
                    desk.follow(&targets);
                }
            }
            () = out.closed() => return,
        }
        while let Some(action) = desk.book.next_action() {
            match action {
                Action::Tell(event) => {
                    if out.send(event).await.is_err() {
                        return;
                    }
                }
                Action::Read(reference) => desk.read(reference),
            }
        }
    }
}

/// A watch that runs as long as it is needed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Job {
    Contact,
    Pods,
    FailedCreations,
    Objects(Scope),
}

/// What a task was for.
enum Task {
    Job(Job),
    Read(Target),
}

/// The book and the tasks that write to it.
struct Desk {
    book: Book,
    planner: Planner,
    connection: Connection,
    stream: Stream,
    renew: watch::Sender<u64>,
    away: bool,
    reads: Arc<Semaphore>,
    tasks: JoinSet<()>,
    purposes: HashMap<Id, Task>,
    running: BTreeMap<Job, AbortHandle>,
    again_at: Option<Instant>,
}

impl Desk {
    fn new(connection: Connection, scales: Scales, notes: mpsc::Sender<Note>) -> Desk {
        let (renew, renewed) = watch::channel(0);
        Desk {
            book: Book::default(),
            planner: Planner::default(),
            stream: Stream {
                client: connection.client.clone(),
                scales,
                notes,
                renew: renewed,
            },
            connection,
            renew,
            away: false,
            reads: Arc::new(Semaphore::new(READS_MAX)),
            tasks: JoinSet::new(),
            purposes: HashMap::new(),
            running: BTreeMap::new(),
            again_at: None,
        }
    }

    /// Begins the watches that these targets need and ends the others.
    fn follow(&mut self, targets: &Arc<BTreeSet<Reference>>) {
        let plan = self.planner.plan(targets);
        self.book
            .follow(targets, plan.keys().cloned(), Instant::now());
        let mut jobs: BTreeMap<Job, Option<Kind>> = BTreeMap::new();
        jobs.insert(Job::Contact, None);
        if !plan.is_empty() {
            jobs.insert(Job::Pods, None);
        }
        let mut kinds = plan.keys().map(|scope| scope.kind.as_str());
        if kinds.any(|kind| kind == "StatefulSet") {
            jobs.insert(Job::FailedCreations, None);
        }
        for (scope, kind) in plan {
            jobs.insert(Job::Objects(scope), Some(kind));
        }
        self.running.retain(|job, task| {
            let needed = jobs.contains_key(job);
            if !needed {
                task.abort();
            }
            needed
        });
        for (job, kind) in jobs {
            if !self.running.contains_key(&job) {
                self.begin(job, kind);
            }
        }
    }

    fn begin(&mut self, job: Job, kind: Option<Kind>) {
        let mut stream = self.stream.clone();
        // What it is to begin anew after comes later than its own beginning.
        stream.renew.mark_unchanged();
        let purpose = Task::Job(job.clone());
        let task = match (&job, kind) {
            (Job::Objects(scope), Some(kind)) => {
                self.spawn(purpose, stream.objects(scope.clone(), kind))
            }
            (Job::Objects(_), None) => return,
            (Job::Pods, _) => self.spawn(purpose, stream.pods()),
            (Job::FailedCreations, _) => self.spawn(purpose, stream.failed_creations()),
            (Job::Contact, _) => {
                let watch = contact::watch(self.connection.clone(), stream.notes);
                self.spawn(purpose, watch)
            }
        };
        self.running.insert(job, task);
    }

    fn spawn(
        &mut self,
        purpose: Task,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> AbortHandle {
        let handle = self.tasks.spawn(task);
        self.purposes.insert(handle.id(), purpose);
        handle
    }

    fn read(&mut self, reference: Reference) {
        let stream = self.stream.clone();
        let reads = Arc::clone(&self.reads);
        let target = reference.target.clone();
        let read = async move {
            let _turn = reads.acquire().await;
            let result = stream.scales.read(&reference).await;
            let note = Note::Read(reference.target, result);
            // The desk is gone: nobody waits for the answer.
            let _ = stream.notes.send(note).await;
        };
        self.spawn(Task::Read(target), read);
    }

    fn take(&mut self, note: Note) {
        if let Note::Platform(reachable) = &note {
            if *reachable && self.away {
                // Silent streams may hang on dead connections: begin them anew.
                self.renew.send_modify(|times| *times += 1);
            }
            self.away = !reachable;
        }
        self.book.take(note, Instant::now());
    }

    /// A task ended: a read that is done, a watch that isn't needed, or a defect.
    fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let (id, defect) = match ended {
            Ok((id, ())) => (id, None),
            Err(error) => (error.id(), (!error.is_cancelled()).then_some(error)),
        };
        let purpose = self.purposes.remove(&id);
        if let Some(defect) = &defect {
            error!(%defect, "a task that follows targets has failed");
        }
        match purpose {
            Some(Task::Read(target)) if defect.is_some() => {
                let error = Error::Unknown("the read failed by a defect".into());
                let note = Note::Read(target, Err(error));
                self.book.take(note, Instant::now());
            }
            Some(Task::Job(job)) => {
                let ours = self.running.get(&job).is_some_and(|task| task.id() == id);
                if ours {
                    self.running.remove(&job);
                    self.again_at = Some(Instant::now() + AGAIN_AFTER);
                }
            }
            _ => {}
        }
    }
}
