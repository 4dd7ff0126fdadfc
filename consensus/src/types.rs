//! What openraft is instantiated with.

use openraft::raft::AppendEntriesResponse;
use serde::{Deserialize, Serialize};
use starling_engine::ledger::version::Raised;
use starling_engine::ledger::{Entry, Outcome};

openraft::declare_raft_types!(
    /// The log's types.
    pub Types:
        D = Batch,
        R = Vec<Outcome>,
        NodeId = u64,
        Node = Peer,
        SnapshotData = Vec<u8>,
);

pub type LogId = openraft::LogId<u64>;
pub type RaftEntry = openraft::Entry<Types>;
pub type Raft = openraft::Raft<Types>;
pub type StorageError = openraft::StorageError<u64>;
pub type StoredMembership = openraft::StoredMembership<u64, Peer>;
pub type SnapshotMeta = openraft::SnapshotMeta<u64, Peer>;
pub type Metrics = openraft::RaftMetrics<u64, Peer>;
/// What of it changes only with an election or the membership.
pub type ServerMetrics = openraft::metrics::RaftServerMetrics<u64, Peer>;

/// Commands that share one place in the log, one sync and one round of
/// replication. openraft waits for the disk at each append, so this is where
/// many proposers share a sync. Each has its own ledger index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    pub entries: Vec<Entry>,
    /// What an agent has to support to take it; `None` while the ledger has its first
    /// version.
    pub needs: Option<Raised>,
}

/// An answer to a leader's entries.
pub struct Appended {
    pub answer: AppendEntriesResponse<u64>,
    /// The highest version of the ledger that the answering agent supports.
    pub supports: u32,
}

/// A member as the log's membership knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    pub name: String,
    /// `host:port`.
    pub address: String,
}
