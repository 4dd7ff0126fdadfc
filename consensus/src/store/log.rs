//! openraft's log storage on the disk thread.
//!
//! Keeps vote, bounds and the newest entries in memory, so that only appends,
//! votes and old entries reach the disk.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::{Arc, Mutex, PoisonError};

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{
    ErrorSubject, ErrorVerb, LogState, OptionalSend, RaftLogReader, StorageIOError, Vote,
};

use super::disk::{Disk, Job};
use super::keys;
use super::tail::Tail;
use crate::codec;
use crate::types::{LogId, RaftEntry, StorageError, Types};

/// Entries for one append message at most, in encoded bytes; one entry always goes.
pub const READ_BYTES_MAX: usize = 1 << 20;

/// What the log's ends are.
#[derive(Debug, Clone, Default)]
pub struct State {
    pub vote: Option<Vote<u64>>,
    pub committed: Option<LogId>,
    pub purged: Option<LogId>,
    pub last: Option<LogId>,
    /// Of the entries that were written since the log was last cut by bytes; at the
    /// start of all that it holds.
    pub bytes: u64,
}

#[derive(Clone)]
pub struct LogStore {
    disk: Disk,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    state: State,
    tail: Tail,
}

impl LogStore {
    pub fn new(disk: Disk, state: State) -> Self {
        let tail = Tail::default();
        LogStore {
            disk,
            shared: Arc::new(Mutex::new(Shared { state, tail })),
        }
    }

    fn with<R>(&self, f: impl FnOnce(&mut Shared) -> R) -> R {
        f(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// See [`State::bytes`].
    pub fn bytes(&self) -> u64 {
        self.with(|s| s.state.bytes)
    }

    /// So many of them are gone.
    pub fn forget_bytes(&self, bytes: u64) {
        self.with(|s| s.state.bytes = s.state.bytes.saturating_sub(bytes));
    }

    async fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<RaftEntry>> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(found) = self.with(|s| s.tail.get(range.clone(), bytes_max)) {
            return Ok(found);
        }
        let records = self.disk.read(range, bytes_max).await?;
        records
            .iter()
            .map(|(_, body)| codec::decode(body))
            .collect()
    }
}

/// How openraft wants it said.
pub fn storage_error(
    subject: ErrorSubject<u64>,
    verb: ErrorVerb,
    error: &io::Error,
) -> StorageError {
    StorageError::IO {
        source: StorageIOError::new(subject, verb, openraft::AnyError::new(error)),
    }
}

fn write_error(error: &io::Error) -> StorageError {
    storage_error(ErrorSubject::Logs, ErrorVerb::Write, error)
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<RaftEntry>, StorageError> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end + 1,
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        self.read(start..end, usize::MAX)
            .await
            .map_err(|e| storage_error(ErrorSubject::Logs, ErrorVerb::Read, &e))
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<RaftEntry>, StorageError> {
        self.read(start..end, READ_BYTES_MAX)
            .await
            .map_err(|e| storage_error(ErrorSubject::Logs, ErrorVerb::Read, &e))
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        Ok(self.with(|s| LogState {
            last_purged_log_id: s.state.purged,
            last_log_id: s.state.last.max(s.state.purged),
        }))
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<u64>) -> Result<(), StorageError> {
        self.disk
            .wait(|done| Job::Vote { vote: *vote, done })
            .await
            .map_err(|e| storage_error(ErrorSubject::Vote, ErrorVerb::Write, &e))?;
        self.with(|s| s.state.vote = Some(*vote));
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<u64>>, StorageError> {
        Ok(self.with(|s| s.state.vote))
    }

    /// Not worth a sync of its own: after a power cut an older one only means
    /// that more is applied again once a leader speaks.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        let record = keys::meta_record(keys::COMMITTED, &committed).map_err(|e| write_error(&e))?;
        self.disk
            .send(Job::PutLazily {
                name: keys::COMMITTED,
                record,
            })
            .await
            .map_err(|e| write_error(&e))?;
        self.with(|s| s.state.committed = committed);
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(self.with(|s| s.state.committed))
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<Types>,
    ) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut records = Vec::new();
        let mut encoded = Vec::new();
        for entry in entries {
            let body = codec::encode(&entry).map_err(|e| write_error(&e))?;
            encoded.push((entry.clone(), body.len()));
            records.push((entry.log_id.index, body));
        }
        let Some(last) = encoded.last().map(|(entry, _)| entry.log_id) else {
            callback.log_io_completed(Ok(()));
            return Ok(());
        };
        let done = Box::new(move |result| callback.log_io_completed(result));
        self.disk
            .send(Job::Append {
                records,
                last,
                done,
            })
            .await
            .map_err(|e| write_error(&e))?;
        self.with(|s| {
            s.state.last = Some(last);
            for (entry, size) in encoded {
                s.state.bytes += size as u64;
                s.tail.push(entry, size);
            }
        });
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let before = match log_id.index.checked_sub(1) {
            Some(index) => self
                .read(index..log_id.index, usize::MAX)
                .await
                .map_err(|e| storage_error(ErrorSubject::Logs, ErrorVerb::Read, &e))?
                .pop()
                .map(|entry| entry.log_id),
            None => None,
        };
        let last = before.or_else(|| self.with(|s| s.state.purged));
        self.with(|s| {
            s.state.last = last;
            s.tail.truncate(log_id.index);
        });
        self.disk
            .wait(|done| Job::Truncate {
                from: log_id.index,
                last,
                done,
            })
            .await
            .map_err(|e| write_error(&e))
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let last = self.with(|s| {
            s.state.purged = Some(log_id);
            s.tail.purge(log_id.index);
            if s.state.last < Some(log_id) {
                s.state.last = Some(log_id);
                return Some(log_id);
            }
            None
        });
        self.disk
            .wait(|done| Job::Purge {
                upto: log_id,
                last,
                done,
            })
            .await
            .map_err(|e| write_error(&e))
    }
}
