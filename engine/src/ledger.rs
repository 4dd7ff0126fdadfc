//! The cluster's replicated memory: who belongs to it, which policies are in
//! force, how large each workload is, and why.
//!
//! Comes in: committed entries in log order. Goes out: a grant or a refusal for
//! each. Deterministic and total: the same entries give the same state and
//! digest on every node; a refusal is a value. No floats, no clock: time is the
//! entry's own stamp and never goes back.
#![deny(clippy::float_arithmetic)]

mod apply;
mod authority;
mod digest;
mod members;
pub mod part;
pub mod rebuilt;
pub mod scaled;
pub mod summed;
pub mod version;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::decide::reason::Report;
use crate::history::{Change, History};
use crate::policy::{self, Policy, Target};
use crate::unit::{Ms, NodeId, Stamp};
use rebuilt::Rebuilt;
use scaled::{Scaled, Seen};
use version::Raised;

pub use authority::Authority;

/// What the log carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The proposing leader's clock. An earlier time than the ledger's counts as the ledger's.
    pub at: Ms,
    pub command: Command,
}

/// All that may be proposed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    clippy::large_enum_variant,
    reason = "a command is made once and moved rarely; most of them are on their way to the log"
)]
pub enum Command {
    /// The first entry of a cluster.
    Found {
        cluster: String,
        generation: u64,
        /// Where the agents certify each other.
        authority: Option<Authority>,
    },
    /// Lets an agent in; its id is this entry's index. The same nonce again
    /// gives the same id.
    Admit { nonce: String, member: Member },
    /// A member has moved to other addresses.
    Readdress { node: NodeId, member: Member },
    /// A member hasn't answered the leader for a while, or does again.
    Away { node: NodeId, away: bool },
    /// Forgets a member; what ran on it is placed anew.
    Remove { node: NodeId },
    /// Puts a policy into force; it belongs to `source` then. Where it is in force as it
    /// is, `source` is only noted as another place that says the same.
    PutPolicy { policy: Policy, source: String },
    /// `source` doesn't ask for it any more. A policy that belonged to it goes to another
    /// place that says the same, and is removed where there is none. `None` removes
    /// it whomever it belongs to.
    RemovePolicy {
        name: policy::Name,
        source: Option<String>,
    },
    /// What a leader's pass over all policies wants changed, and where what no policy
    /// sizes is to run from now on.
    Pass {
        by: NodeId,
        items: Vec<Item>,
        moves: Vec<Move>,
    },
    /// Forgets a workload that no policy sizes; what runs of it is stopped.
    DeleteWorkload { target: Target },
    /// Puts a higher version of the ledger into force, once every holder of the log
    /// supports it.
    Raise(Raised),
    /// Somebody leads a rebuilt cluster, and looks around before anything changes.
    LookAround,
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
    /// What fails together with it, such as a data centre; empty where that isn't known.
    /// At most 63 bytes.
    #[serde(default)]
    pub zone: String,
}

/// One workload's part of a pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    pub policy: policy::Name,
    /// The policy's revision that was decided on.
    pub revision: u64,
    /// The size that was decided on; refused where it has changed since.
    pub from: u32,
    pub to: u32,
    /// Replicas for each node; `None` leaves them as they are.
    pub shares: Option<BTreeMap<NodeId, u32>>,
    /// What the platform says of a scaled workload, where that is news. It is taken
    /// in first: `from` is the size after it.
    pub seen: Option<Seen>,
    pub changes: Vec<Change>,
    /// Kept where the size changes, or what a dry run would do.
    pub report: Option<Report>,
}

/// New places for the replicas of a workload that no policy sizes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    pub target: Target,
    /// The grant that it was planned from; refused where there is a newer one.
    pub stamp: Stamp,
    pub shares: BTreeMap<NodeId, u32>,
}

/// What became of an entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The id that an admission gave.
    pub admitted: Option<NodeId>,
    pub refused: Vec<Refusal>,
    /// What became of the policy that the entry named.
    #[serde(default)]
    pub became: Option<Became>,
}

/// What became of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Became {
    /// It is in force as it was asked for, and belongs to who asked.
    Put,
    /// It was in force already; who asked is noted as saying the same.
    Copied,
    /// It was in force already, and nothing is different.
    Same,
    /// Nobody asks for it any more.
    Removed,
    /// It goes on, and belongs to another place now that says the same.
    Handed { to: String },
    /// It goes on, since it belongs to somebody else.
    Kept { by: String },
}

/// Why something wasn't done. Nothing has changed because of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{subject}: {why}")]
pub struct Refusal {
    /// A policy's or a member's name.
    pub subject: String,
    pub why: Why,
}

/// The reasons for a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Why {
    #[error("the ledger is halted: {0}")]
    Halted(String),
    #[error("the cluster is {0}")]
    OtherCluster(String),
    #[error("no such policy is in force")]
    UnknownPolicy,
    #[error("no such member")]
    UnknownMember,
    #[error("the policy is not sound: {0}")]
    Unsound(String),
    #[error("policy {by} sizes {target} already; a workload has one policy")]
    TargetTaken {
        by: Box<policy::Name>,
        target: Box<Target>,
    },
    #[error("the ledger holds {0} of them, which is its limit")]
    Full(usize),
    #[error("it was decided for revision {decided}, revision {now} is in force")]
    StaleRevision { decided: u64, now: u64 },
    #[error("it was decided from {decided} replicas, the size is {now}")]
    StaleSize { decided: u32, now: u32 },
    #[error("{to} replicas is outside {floor} to {cap}")]
    OutOfBounds { to: u32, floor: u32, cap: u32 },
    #[error("the nodes' shares add up to {sum}, more than the size of {size}")]
    TooManyShares { sum: u64, size: u32 },
    #[error("node {0} has a share but is no member")]
    ShareOfStranger(NodeId),
    #[error("{0} is sized by the platform, which alone says where its replicas run")]
    NotPlaced(Box<Target>),
    #[error("{0} has not been seen on its platform yet")]
    Unseen(Box<Target>),
    #[error("member {by} has this name")]
    NameTaken { by: NodeId },
    #[error("the policy is a dry run, for which nothing is granted")]
    DryRun,
    #[error("no such workload is known")]
    UnknownWorkload,
    #[error("policy {by} sizes it; delete that first")]
    Sized { by: Box<policy::Name> },
    #[error("it was granted anew since it was looked at")]
    StaleShares,
    #[error("it is the last member, and a cluster has at least one")]
    LastMember,
    #[error("version {now} of the ledger is in force already")]
    NotHigher { now: u32 },
}

/// The state itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    pub cluster: String,
    pub generation: u64,
    /// None where certificates come from elsewhere.
    pub authority: Option<Authority>,
    /// The last entry applied.
    pub index: u64,
    /// Never goes back.
    pub time: Ms,
    pub members: summed::Map<NodeId, Admitted>,
    pub policies: summed::Map<policy::Name, InForce>,
    pub workloads: summed::Map<Target, Workload>,
    /// The last [`DECISIONS_MAX`] changes of size, oldest first.
    pub decisions: summed::Queue<Record>,
    /// The last [`CHECKPOINTS_MAX`] digests, oldest first.
    pub checkpoints: VecDeque<Checkpoint>,
    /// Why nothing more is granted: an invariant was found broken.
    pub halted: Option<String>,
    /// The version in force; `None` is the first.
    pub raised: Option<Raised>,
    /// Of a cluster that was rebuilt, also long after that.
    #[serde(default)]
    pub rebuilt: Option<Rebuilt>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admitted {
    pub nonce: String,
    pub member: Member,
    /// Since when it hasn't answered any leader.
    #[serde(default)]
    pub away_since: Option<Ms>,
}

/// A policy as the cluster holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    pub policy: Policy,
    /// Index of the entry that put it.
    pub revision: u64,
    pub created_at: Ms,
    /// Whom it belongs to: a node's name and a file, or an object.
    pub source: String,
    /// Other places that say the same. The first of them inherits it. At most
    /// [`COPIES_MAX`]: of more, those that come first are noted.
    pub copies: BTreeSet<String>,
}

impl InForce {
    /// Everybody who is known to ask for it as it is.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        let copies = self.copies.iter().map(String::as_str);
        std::iter::once(self.source.as_str()).chain(copies)
    }

    /// It is an object of its platform, and no file's.
    pub fn is_an_object(&self) -> bool {
        self.source.starts_with(OBJECT)
    }

    /// Whether another place can be noted.
    pub fn has_room(&self) -> bool {
        self.copies.len() < COPIES_MAX
    }
}

/// A workload's size and memory. It outlives its policy, so that a removed
/// policy leaves the workload at its last size.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// The one that sizes it; `None` where it was removed.
    pub policy: Option<policy::Name>,
    pub size: u32,
    /// The grant of `size` and `shares`. The default one where nothing was ever granted:
    /// then `size` is only what a dry run began with.
    pub stamp: Stamp,
    /// Of a placed workload, replicas for each node; adds up to `size` as soon as
    /// enough nodes can run it.
    pub shares: BTreeMap<NodeId, u32>,
    /// Of a scaled workload.
    pub scaled: Option<Scaled>,
    /// What a dry run was last recorded to want.
    pub would: Option<u32>,
    pub history: History,
}

impl Workload {
    /// Nothing was ever granted: there are no replicas that anybody answers for.
    pub fn is_ungranted(&self) -> bool {
        self.stamp == Stamp::default()
    }

    /// What counts as granted.
    pub fn granted(&self) -> u32 {
        if self.is_ungranted() { 0 } else { self.size }
    }

    /// A dry run has ended: no size that it would have had is held on to. What it
    /// measured counts as ever.
    fn acts_from_now_on(&mut self) {
        self.history.seeded = false;
        self.history.recommendations.clear();
        if let Some(learned) = &mut self.history.objective {
            learned.held.clear();
        }
    }
}

/// A change of size, as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub index: u64,
    pub at: Ms,
    pub policy: policy::Name,
    pub from: u32,
    pub to: u32,
    pub cause: Cause,
}

/// What changed a size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    Decided {
        by: NodeId,
        report: Report,
    },
    /// A policy was put into force, and its bounds exclude the size there was.
    Bounds {
        floor: u32,
        cap: u32,
    },
    /// Somebody else has set the size of a scaled workload.
    ByHand,
    /// A scaled workload was deleted and made anew, with another size.
    Recreated,
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
/// How far apart two nodes may be and still be compared: 64 × 16 entries.
pub const CHECKPOINTS_MAX: usize = 64;
/// More policies than this are refused.
pub const POLICIES_MAX: usize = 10_000;
/// Workloads, those included that a removed policy left behind.
pub const WORKLOADS_MAX: usize = 2 * POLICIES_MAX;
/// What the source of a policy begins with that is an object.
pub const OBJECT: &str = "kubernetes: ";

/// The node whose file a place is that asks for a policy; `None` where it is an object.
pub fn node_of(source: &str) -> Option<&str> {
    if source.starts_with(OBJECT) {
        return None;
    }
    source.split_once(':').map(|(node, _)| node)
}
/// Places besides its own that may ask for a policy as it is.
pub const COPIES_MAX: usize = 8;
/// More members than this are refused.
pub const MEMBERS_MAX: usize = 10_000;

/// The nonce of the agent that founds a cluster; its id is 1.
pub const FOUNDER: &str = "founder";
