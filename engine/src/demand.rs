//! How much work there is: a node's [`Summary`] of what it measured, and how
//! summaries merge into one workload's demand in the cluster.
//!
//! Comes in: what one agent sampled. Goes out: bounded sums that merge in any
//! order to the same result. Never guesses: a replica without a fresh sample is
//! counted as missing, not as zero.

pub mod pods;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ledger::Checkpoint;
use crate::policy::{Controller, Resource, Target};
use crate::unit::{Ms, NodeId};
use pods::{Phase, Pick, Pod, Sums};

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
    pub checkpoint: Option<Checkpoint>,
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
    /// What each replica asks for, where it says so.
    pub cpu_request_milli: Option<i64>,
    pub memory_request_milli: Option<i64>,
}

/// More workloads than this on one node are left out of its summary, the last
/// by name first; their replicas then count as missing.
pub const WORKLOADS_MAX: usize = 256;

impl Summary {
    /// Folds what `node` sampled at `now`. Workloads that no policy sizes are
    /// sorted by the default controller.
    pub fn of(
        node: NodeId,
        sequence: u64,
        now: Ms,
        sample: &Sample,
        checkpoint: Option<Checkpoint>,
        controllers: &BTreeMap<&Target, Controller>,
    ) -> Self {
        let workloads = sample.workloads.iter().take(WORKLOADS_MAX);
        Summary {
            node,
            sequence,
            at: now,
            totals: sample.totals,
            workloads: workloads
                .map(|(target, pods)| {
                    let controller = controllers.get(target).copied().unwrap_or_default();
                    (target.clone(), Usage::of(pods, &controller, now))
                })
                .collect(),
            checkpoint,
        }
    }
}

impl Usage {
    fn of(pods: &[Pod], controller: &Controller, now: Ms) -> Self {
        let used = |milli: fn(&Pod) -> pods::Metric| {
            let samples = pods.iter().filter_map(|pod| milli(pod).sample);
            samples.fold(0_u64, |sum, s| {
                sum.saturating_add(u64::try_from(s.milli).unwrap_or(0))
            })
        };
        let running = pods.iter().filter(|pod| pod.phase == Phase::Running);
        Usage {
            running: u32::try_from(running.count()).unwrap_or(u32::MAX),
            cpu_used_milli: used(|pod| pod.cpu),
            memory_used_bytes: used(|pod| pod.memory) / 1_000,
            cpu: Sums::of(pods, Pick::Resource(Resource::Cpu), controller, now),
            memory: Sums::of(pods, Pick::Resource(Resource::Memory), controller, now),
            cpu_request_milli: pods.iter().find_map(|pod| pod.cpu.request_milli),
            memory_request_milli: pods.iter().find_map(|pod| pod.memory.request_milli),
        }
    }

    /// The sums for one resource and what each replica asks for of it.
    pub fn of_resource(&self, resource: Resource) -> (&Sums, Option<i64>) {
        match resource {
            Resource::Cpu => (&self.cpu, self.cpu_request_milli),
            Resource::Memory => (&self.memory, self.memory_request_milli),
        }
    }
}
