//! The one thread that works on sled, with group commit.
//!
//! Comes in: jobs, in order. It drains the queue, puts all writes into one
//! transaction over both trees, flushes once, calls fdatasync once on sled's
//! file through a descriptor of its own (sled's flush does not survive a power
//! cut), notes in the guard how far the log is now, and only then calls back.
//! After a failed sync it never tries again: what the kernel has dropped would
//! be reported as written.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use openraft::Vote;
use sled::Transactional as _;
use sled::transaction::{ConflictableTransactionError, TransactionError};
use tokio::sync::{mpsc, oneshot};

use super::busy::{Busy, Work};
use super::guard::{Guard, Noted};
use super::keys;
use crate::form::Form;
use crate::types::LogId;

/// Whoever adds one more waits.
const JOBS_MAX: usize = 256;
/// Jobs that share a sync at most; the rest shares the next one.
const GROUP_JOBS_MAX: usize = 128;

pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// A read record: the entry's index and its encoded body.
pub type Record = (u64, Vec<u8>);

pub enum Job {
    /// Adds encoded entries at the log's end; `last` is the id of the last one.
    Append {
        records: Vec<Record>,
        last: LogId,
        done: Done,
    },
    /// Takes away `from` and all after it; `last` is what the log ends with then.
    Truncate {
        from: u64,
        last: Option<LogId>,
        done: Done,
    },
    /// Takes away all up to `upto`; `last` is given where the log's end moves too.
    Purge {
        upto: LogId,
        last: Option<LogId>,
        done: Done,
    },
    Vote {
        vote: Vote<u64>,
        done: Done,
    },
    /// Writes one `meta` record durably.
    Put {
        name: &'static str,
        record: Vec<u8>,
        done: Done,
    },
    /// Writes one `meta` record with the next durable write.
    PutLazily {
        name: &'static str,
        record: Vec<u8>,
    },
    Read {
        range: Range<u64>,
        /// Stops after this many bytes, but not before one entry.
        bytes_max: usize,
        reply: oneshot::Sender<io::Result<Vec<Record>>>,
    },
}

/// The thread's end of the queue. Cheap to clone; the thread ends with the last.
#[derive(Clone)]
pub struct Disk {
    jobs: mpsc::Sender<Job>,
    syncs: Arc<AtomicU64>,
    entries: Arc<AtomicU64>,
    failed: Arc<OnceLock<String>>,
    busy: Busy,
}

impl Disk {
    /// `file` is sled's own, to be synced; `lock` is held as long as the thread
    /// lives; `noted` is what sled holds now.
    pub fn spawn(
        db: sled::Db,
        file: File,
        lock: File,
        guard: Guard,
        noted: Noted,
    ) -> io::Result<Disk> {
        let (jobs, queue) = mpsc::channel(JOBS_MAX);
        let syncs = Arc::new(AtomicU64::new(0));
        let entries = Arc::new(AtomicU64::new(0));
        let busy = Busy::default();
        let failed = Arc::<OnceLock<String>>::default();
        let worker = Worker {
            log: db.open_tree("log").map_err(io::Error::other)?,
            meta: db.open_tree("meta").map_err(io::Error::other)?,
            db,
            file,
            guard,
            noted,
            staged: Staged::default(),
            waiting: Vec::new(),
            failed: failed.clone(),
            syncs: syncs.clone(),
            entries: entries.clone(),
            busy: busy.clone(),
            _lock: lock,
        };
        std::thread::Builder::new()
            .name("starling-disk".into())
            .spawn(move || worker.run(queue))?;
        Ok(Disk {
            jobs,
            syncs,
            entries,
            failed,
            busy,
        })
    }

    pub async fn send(&self, job: Job) -> io::Result<()> {
        self.jobs.send(job).await.map_err(|_| closed())
    }

    /// Writes a `meta` record and returns when it is durable.
    pub async fn put<T: Form>(&self, name: &'static str, value: &T) -> io::Result<()> {
        let record = keys::meta_record(name, value)?;
        self.wait(|done| Job::Put { name, record, done }).await
    }

    /// Sends the job that `job` makes of a callback and waits for that.
    pub async fn wait(&self, job: impl FnOnce(Done) -> Job) -> io::Result<()> {
        let (answer, answered) = oneshot::channel();
        let done: Done = Box::new(move |result| {
            // Whoever asked may be gone; the write stands all the same.
            let _ = answer.send(result);
        });
        self.send(job(done)).await?;
        answered.await.map_err(|_| closed())?
    }

    pub async fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Record>> {
        let (reply, answered) = oneshot::channel();
        self.send(Job::Read {
            range,
            bytes_max,
            reply,
        })
        .await?;
        answered.await.map_err(|_| closed())?
    }

    /// How many times fdatasync has been called.
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Acquire)
    }

    /// Why nothing can be written any more, once it can't.
    pub fn failure(&self) -> Option<String> {
        self.failed.get().cloned()
    }

    /// Notes that somebody works on the disk beside the thread, until it is dropped.
    pub fn work(&self) -> Work {
        self.busy.begin()
    }

    /// How long the disk has been at what it is doing now.
    pub fn busy_for(&self) -> Duration {
        self.busy.longest()
    }

    /// How many entries were handed to sled to be written.
    pub fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }
}

fn closed() -> io::Error {
    io::Error::other("the log's disk thread has ended")
}

/// Writes that sled has not seen yet.
#[derive(Default)]
struct Staged {
    log: sled::Batch,
    meta: sled::Batch,
    any: bool,
    durable: bool,
}

struct Worker {
    db: sled::Db,
    log: sled::Tree,
    meta: sled::Tree,
    file: File,
    guard: Guard,
    /// Of the write that is staged, or else of the last one.
    noted: Noted,
    staged: Staged,
    waiting: Vec<Done>,
    failed: Arc<OnceLock<String>>,
    syncs: Arc<AtomicU64>,
    entries: Arc<AtomicU64>,
    busy: Busy,
    _lock: File,
}

impl Worker {
    fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        while let Some(job) = queue.blocking_recv() {
            let _work = self.busy.begin();
            self.take(job);
            for _ in 1..GROUP_JOBS_MAX {
                let Ok(job) = queue.try_recv() else { break };
                self.take(job);
            }
            if self.staged.durable {
                self.commit();
            }
        }
        // What was staged lazily is kept where the end is orderly.
        if self.staged.any && self.failed.get().is_none() {
            self.commit();
        }
    }

    fn take(&mut self, job: Job) {
        if let Some(why) = self.failed.get() {
            refuse(job, why);
            return;
        }
        if let Err(e) = self.stage(job) {
            self.fail(&e);
        }
    }

    fn stage(&mut self, job: Job) -> io::Result<()> {
        match job {
            Job::Append {
                records,
                last,
                done,
            } => {
                self.waiting.push(done);
                self.entries
                    .fetch_add(records.len() as u64, Ordering::Relaxed);
                for (index, body) in records {
                    for (key, piece) in keys::pieces(index, &body) {
                        self.staged.log.insert(&key, piece);
                    }
                }
                self.end_with(Some(last))?;
            }
            Job::Truncate { from, last, done } => {
                self.waiting.push(done);
                self.remove(keys::piece_key(from, 0)..)?;
                self.end_with(last)?;
            }
            Job::Purge { upto, last, done } => {
                self.waiting.push(done);
                self.remove(..=keys::piece_key(upto.index, u16::MAX))?;
                if last.is_some() {
                    self.end_with(last)?;
                }
                self.put(keys::PURGED, keys::meta_record(keys::PURGED, &upto)?)?;
            }
            Job::Vote { vote, done } => {
                self.waiting.push(done);
                self.noted.vote = Some(vote);
                self.put(keys::VOTE, keys::meta_record(keys::VOTE, &vote)?)?;
            }
            Job::Put { name, record, done } => {
                self.waiting.push(done);
                self.put(name, record)?;
            }
            Job::PutLazily { name, record } => {
                self.staged.meta.insert(name, record);
                self.staged.any = true;
            }
            Job::Read {
                range,
                bytes_max,
                reply,
            } => {
                self.apply_staged()?;
                // A reader that has gone away needs no answer.
                let _ = reply.send(self.read(range, bytes_max));
            }
        }
        Ok(())
    }

    fn end_with(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.noted.last = last;
        self.put(keys::LAST, keys::meta_record(keys::LAST, &last)?)
    }

    /// The group's first gives the group its number: should sled write some of it
    /// on its own, it bears the number too.
    fn put(&mut self, name: &str, record: Vec<u8>) -> io::Result<()> {
        if !self.staged.durable {
            self.noted.number += 1;
            let number = keys::meta_record(keys::WRITE, &self.noted.number)?;
            self.staged.meta.insert(keys::WRITE, number);
        }
        self.staged.meta.insert(name, record);
        self.staged.any = true;
        self.staged.durable = true;
        Ok(())
    }

    fn remove(&mut self, range: impl std::ops::RangeBounds<keys::PieceKey>) -> io::Result<()> {
        self.apply_staged()?;
        for key in self.log.range(range).keys() {
            self.staged.log.remove(key.map_err(io::Error::other)?);
        }
        Ok(())
    }

    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Record>> {
        let mut found: Vec<Record> = Vec::new();
        let mut bytes = 0;
        let mut assembler = keys::Assembler::default();
        for piece in self
            .log
            .range(keys::piece_key(range.start, 0)..keys::piece_key(range.end, 0))
        {
            let (key, value) = piece.map_err(io::Error::other)?;
            if let Some(record) = assembler.push(&key, &value)? {
                bytes += record.1.len();
                if bytes > bytes_max && !found.is_empty() {
                    return Ok(found);
                }
                found.push(record);
            }
        }
        if let Some(record) = assembler.finish()?
            && (found.is_empty() || bytes + record.1.len() <= bytes_max)
        {
            found.push(record);
        }
        Ok(found)
    }

    /// Hands the staged writes to sled, all or nothing; not durable yet.
    fn apply_staged(&mut self) -> io::Result<()> {
        if !self.staged.any {
            return Ok(());
        }
        let log = std::mem::take(&mut self.staged.log);
        let meta = std::mem::take(&mut self.staged.meta);
        self.staged.any = false;
        (&self.log, &self.meta)
            .transaction(|(log_tree, meta_tree)| {
                log_tree.apply_batch(&log)?;
                meta_tree.apply_batch(&meta)?;
                Ok::<(), ConflictableTransactionError<()>>(())
            })
            .map_err(|e| match e {
                TransactionError::Storage(e) => io::Error::other(e),
                TransactionError::Abort(()) => io::Error::other("sled aborted a transaction"),
            })
    }

    fn commit(&mut self) {
        let result = self.apply_staged().and_then(|()| self.sync());
        match result {
            Ok(()) => {
                self.staged.durable = false;
                for done in self.waiting.drain(..) {
                    done(Ok(()));
                }
            }
            Err(e) => self.fail(&e),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.db.flush().map_err(io::Error::other)?;
        rustix::fs::fdatasync(&self.file)?;
        self.guard.write(&self.noted)?;
        self.syncs.fetch_add(1, Ordering::Release);
        Ok(())
    }

    fn fail(&mut self, error: &io::Error) {
        tracing::error!(%error, "the log can't be written; this agent stops taking part");
        // Before anybody hears of it and asks why.
        let _ = self.failed.set(error.to_string());
        for done in self.waiting.drain(..) {
            done(Err(io::Error::new(error.kind(), error.to_string())));
        }
        self.staged = Staged::default();
    }
}

fn refuse(job: Job, why: &str) {
    let error = || io::Error::other(format!("an earlier write failed: {why}"));
    match job {
        Job::Append { done, .. }
        | Job::Truncate { done, .. }
        | Job::Purge { done, .. }
        | Job::Vote { done, .. }
        | Job::Put { done, .. } => done(Err(error())),
        Job::PutLazily { .. } => {}
        Job::Read { reply, .. } => {
            let _ = reply.send(Err(error()));
        }
    }
}
