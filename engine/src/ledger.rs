//! The cluster's replicated memory: who belongs to it, which policies are in
//! force, how large each workload is, and why.
//!
//! Comes in: committed entries in log order. Goes out: a grant or a refusal for
//! each. Deterministic and total: the same entries give the same state and
//! digest on every node; a refusal is a value. No floats, no clock: time is the
//! entry's own stamp and never goes back.
#![deny(clippy::float_arithmetic)]

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::decide::reason::Report;
use crate::history::{Change, History};
use crate::policy::{Policy, Target};
use crate::unit::{Ms, NodeId, Stamp};

/// What the log carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The proposing leader's clock. An earlier time than the ledger's counts as the ledger's.
    pub at: Ms,
    pub command: Command,
}

/// All that may be proposed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// The first entry of a cluster.
    Found {
        cluster: String,
        generation: u64,
    },
    /// Lets an agent in; its id is this entry's index. The same nonce again
    /// gives the same id.
    Admit {
        nonce: String,
        member: Member,
    },
    /// A member has moved to other addresses.
    Readdress {
        node: NodeId,
        member: Member,
    },
    PutPolicy {
        policy: Policy,
        source: String,
    },
    RemovePolicy {
        name: String,
        source: String,
    },
    /// What a leader's pass over all policies wants changed.
    Pass {
        by: NodeId,
        items: Vec<Item>,
    },
}

/// A member's name and where it listens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Unique among members; at most 63 bytes.
    pub name: String,
    /// `host:port` of the peer listener (TCP) and of gossip (UDP).
    pub peer_address: String,
    pub gossip_address: String,
    pub api_address: String,
}

/// One workload's part of a pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    pub policy: String,
    /// The policy's revision that was decided on.
    pub revision: u64,
    /// The size that was decided on; refused where it has changed since.
    pub from: u32,
    pub to: u32,
    /// Replicas for each node; `None` leaves them as they are.
    pub shares: Option<BTreeMap<NodeId, u32>>,
    pub changes: Vec<Change>,
    /// Kept where the size changes.
    pub report: Option<Report>,
}

/// What became of an entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The id that an admission gave.
    pub admitted: Option<NodeId>,
    pub refused: Vec<Refusal>,
}

/// Why something wasn't done. Nothing has changed because of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{subject}: {why}")]
pub struct Refusal {
    pub subject: String,
    pub why: String,
}

/// The state itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    pub cluster: String,
    pub generation: u64,
    /// The last entry applied.
    pub index: u64,
    /// Never goes back.
    pub time: Ms,
    pub members: BTreeMap<NodeId, Admitted>,
    pub policies: BTreeMap<String, InForce>,
    pub workloads: BTreeMap<Target, Workload>,
    /// The last [`DECISIONS_MAX`] changes of size, oldest first.
    pub decisions: VecDeque<Record>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admitted {
    pub nonce: String,
    pub member: Member,
}

/// A policy as the cluster holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    pub policy: Policy,
    /// Index of the entry that put it.
    pub revision: u64,
    pub created_at: Ms,
    /// Who put it: a node's name and a file.
    pub source: String,
}

/// A workload's size and memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    pub size: u32,
    /// The grant of `size` and `shares`.
    pub stamp: Stamp,
    /// Replicas for each node; the sum is `size` as soon as nodes that can run it are known.
    pub shares: BTreeMap<NodeId, u32>,
    pub history: History,
}

/// A change of size, as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub index: u64,
    pub at: Ms,
    pub policy: String,
    pub from: u32,
    pub to: u32,
    pub by: NodeId,
    pub report: Report,
}

/// The digest of the state after the entry at `index`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub index: u64,
    pub digest: [u8; 16],
}

/// Older changes of size are forgotten.
pub const DECISIONS_MAX: usize = 1_000;
/// Digests are compared at indexes that are multiples of this.
pub const CHECKPOINT_EVERY: u64 = 16;
