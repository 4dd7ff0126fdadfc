//! How much work there is: a node's [`Summary`] of what it measured, and how
//! summaries merge into one workload's demand in the cluster.
//!
//! Comes in: what one agent sampled. Goes out: bounded sums that merge in any
//! order to the same result. Never guesses: a replica without a fresh sample is
//! counted as missing, not as zero.

pub mod pods;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::policy::Target;
use crate::unit::{Ms, NodeId};
use pods::{Pod, Sums};

/// What an agent measured at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sample {
    pub totals: Totals,
    /// Every workload that this node can run, with the replicas that it runs.
    pub workloads: BTreeMap<Target, Vec<Pod>>,
}

/// A node's own resources. Rates are means over the last sampling interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub cpu_used_milli: u64,
    pub cpu_capacity_milli: u64,
    pub memory_used_bytes: u64,
    pub memory_capacity_bytes: u64,
    pub disk_read_bytes_per_s: u64,
    pub disk_write_bytes_per_s: u64,
    pub network_received_bytes_per_s: u64,
    pub network_sent_bytes_per_s: u64,
}

/// What one node tells the others, once a second. The newest one of a node
/// replaces all older ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    pub node: NodeId,
    /// Rises with every summary of a node, restarts included (it starts at the
    /// node's clock).
    pub sequence: u64,
    /// When it was sampled, on the clock of whoever holds it: a host that
    /// receives one sets it to its own now minus the age that came with it.
    pub at: Ms,
    pub totals: Totals,
    /// At most [`WORKLOADS_MAX`]; presence means that the node can run it.
    pub workloads: BTreeMap<Target, Usage>,
    /// The ledger's digest at the last checkpoint that this node applied (I7).
    pub checkpoint: Option<crate::ledger::Checkpoint>,
}

/// One workload on one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Replicas that run, ready or not.
    pub running: u32,
    pub cpu_used_milli: u64,
    pub memory_used_bytes: u64,
    pub cpu: Sums,
    pub memory: Sums,
}

/// More workloads than this on one node are left out of its summary, the last
/// by name first; their replicas then count as missing.
pub const WORKLOADS_MAX: usize = 256;
