//! How much work there is: a node's [`Summary`] of what it measured, and how
//! summaries merge into one workload's demand in the cluster.
//!
//! Comes in: what one agent sampled. Goes out: bounded sums that merge in any
//! order to the same result. Never guesses: a replica without a fresh sample is
//! counted as missing, not as zero.

pub mod pick;
pub mod pods;
pub mod recent;
pub mod series;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ledger::Checkpoint;
use crate::ledger::part::{Part, Wanted};
use crate::policy::{Resource, Target};
use crate::unit::{Ms, NodeId};
use pick::Pick;
use pods::{Phase, Pod, Sums};

/// What an agent measured at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sample {
    pub totals: Totals,
    /// Every workload that this node can run or has replicas of, with those replicas.
    pub workloads: BTreeMap<Target, Vec<Pod>>,
    /// What keeps replicas of theirs from running here, in words.
    pub troubles: BTreeMap<Target, String>,
    pub about: Option<About>,
}

/// What an agent says of itself. Nothing is decided by it: it is for people, and for who
/// has to know whether all agents are ready for something.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// At most [`RELEASE_BYTES_MAX`].
    pub release: String,
    /// The highest version of the ledger that it supports.
    pub ledger_version: u32,
    /// From when until when its certificate is good, in seconds since the epoch.
    pub certificate_from_s: u64,
    pub certificate_until_s: u64,
}

/// Longer names of releases are cut.
pub const RELEASE_BYTES_MAX: usize = 32;

/// A node's own resources by name, such as [`CPU`]. A resource that could not be
/// read is absent, never zero. At most [`RESOURCES_MAX`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals(pub BTreeMap<String, Amount>);

/// How much of one resource there is. Units are the resource's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    pub used: u64,
    /// What replicas asked for; `None` where nobody says.
    pub requested: Option<u64>,
    /// What there is for replicas; `None` where the resource has no such limit.
    pub allocatable: Option<u64>,
}

/// In milli-cores, as a mean over the last sampling interval.
pub const CPU: &str = "cpu";
/// In bytes.
pub const MEMORY: &str = "memory";
/// Bytes per second, as are the next three.
pub const DISK_READ: &str = "disk-read";
pub const DISK_WRITE: &str = "disk-write";
pub const NETWORK_RECEIVED: &str = "network-received";
pub const NETWORK_SENT: &str = "network-sent";
/// Of the busiest disk, in thousandths of the time.
pub const DISK_BUSY: &str = "disk-busy";
/// Bytes that are used of the fullest file system; what is left of `allocatable` is
/// free for others than root.
pub const DISK_SPACE: &str = "disk-space";
/// Thousandths of the time in which work stood still for want of it, as are the
/// next two.
pub const PSI_CPU: &str = "psi-cpu";
pub const PSI_MEMORY: &str = "psi-memory";
pub const PSI_IO: &str = "psi-io";
/// Thousandths of a GPU in use, of 1,000 for each whose use is known.
pub const GPU: &str = "gpu";
/// In bytes.
pub const GPU_MEMORY: &str = "gpu-memory";

/// More resources of one node than this are left out, the last by name first.
pub const RESOURCES_MAX: usize = 64;
/// More metrics of one workload than this are left out, the last by name first;
/// triggers that read them then lack samples.
pub const METRICS_MAX: usize = 32;

impl Totals {
    pub fn used(&self, resource: &str) -> u64 {
        self.0.get(resource).map_or(0, |amount| amount.used)
    }

    /// 0 where nobody says.
    pub fn allocatable(&self, resource: &str) -> u64 {
        let amount = self.0.get(resource);
        amount.and_then(|amount| amount.allocatable).unwrap_or(0)
    }

    pub fn set(&mut self, resource: &str, used: u64, allocatable: Option<u64>) {
        let amount = Amount {
            used,
            requested: None,
            allocatable,
        };
        self.0.insert(resource.to_owned(), amount);
    }
}

/// What one node tells the others, once a second. The newest one of a node
/// replaces all older ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    pub node: NodeId,
    /// Rises with every summary of a node, restarts included: it begins with how often the
    /// node has started ([`Node::in_life`](crate::node::Node::in_life)).
    pub sequence: u64,
    /// When it was sampled, on the clock of whoever holds it: a host that
    /// receives one sets it to its own now minus the age that came with it.
    pub at: Ms,
    pub totals: Totals,
    /// At most [`WORKLOADS_MAX`]. Presence of a placed one means that the node can
    /// run it, of a scaled one that it has replicas there.
    pub workloads: BTreeMap<Target, Usage>,
    /// Workloads that had no room in it: those that come after the last one in
    /// `workloads`. Of them nothing is known.
    pub left_out: u32,
    /// The ledger's digest at the last checkpoint that this node applied (I7).
    pub checkpoint: Option<Checkpoint>,
    /// `None` where the agent's release doesn't say.
    pub about: Option<About>,
}

/// One workload on one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Replicas that run, ready or not.
    pub running: u32,
    /// Running and ready ones, deleted ones included, as HPA counts them for values
    /// of the whole workload (hpa.md rule 8).
    pub ready: u32,
    /// By [`Pick::key`]; `cpu` and `memory` always, others where a policy asks for
    /// them. At most [`METRICS_MAX`].
    pub metrics: BTreeMap<String, Measure>,
    /// What keeps replicas from running on this node, in words, cut to
    /// [`TROUBLE_BYTES_MAX`]; empty where nothing does.
    pub trouble: String,
}

/// One metric of one workload's replicas on one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measure {
    /// All samples, whether they count for a decision or not; milli-units.
    pub used_milli: u64,
    pub sums: Sums,
    /// What each replica asks for, where it says so.
    pub request_milli: Option<i64>,
}

/// More workloads than this on one node are left out of its summary, the last
/// by name first; their replicas then count as missing, stay where they are, and no
/// new ones are placed there.
pub const WORKLOADS_MAX: usize = 256;
/// Longer words on what keeps replicas from running are cut.
pub const TROUBLE_BYTES_MAX: usize = 200;

impl Summary {
    /// Folds what `node` sampled at `now`. Of each workload is measured what
    /// `part` asks for; of those that it doesn't know, CPU and memory.
    pub fn of(
        node: NodeId,
        sequence: u64,
        now: Ms,
        sample: &Sample,
        checkpoint: Option<Checkpoint>,
        part: &Part<'_>,
    ) -> Self {
        let workloads = sample.workloads.iter().take(WORKLOADS_MAX);
        let unknown = Wanted::default();
        Summary {
            node,
            sequence,
            at: now,
            totals: sample.totals.clone(),
            workloads: workloads
                .map(|(target, pods)| {
                    let wanted = part.measured.get(target).unwrap_or(&unknown);
                    let mut usage = Usage::of(pods, wanted, now);
                    if let Some(words) = sample.troubles.get(target) {
                        let end = words.floor_char_boundary(TROUBLE_BYTES_MAX);
                        words[..end].clone_into(&mut usage.trouble);
                    }
                    (target.clone(), usage)
                })
                .collect(),
            left_out: sample
                .workloads
                .len()
                .saturating_sub(WORKLOADS_MAX)
                .try_into()
                .unwrap_or(u32::MAX),
            checkpoint,
            about: sample.about.clone(),
        }
    }

    /// Whether a workload may be there though nothing is said of it.
    pub fn leaves_out(&self, target: &Target) -> bool {
        let last = self.workloads.last_key_value();
        self.left_out > 0 && last.is_none_or(|(last, _)| target > last)
    }
}

impl Usage {
    fn of(pods: &[Pod], wanted: &Wanted<'_>, now: Ms) -> Self {
        let always = [Resource::Cpu, Resource::Memory].map(Pick::replica);
        let picks = always.into_iter().chain(wanted.picks.iter().copied());
        let running = pods.iter().filter(|pod| pod.phase == Phase::Running);
        Usage {
            running: u32::try_from(running.count()).unwrap_or(u32::MAX),
            ready: pods::running_and_ready(pods).unwrap_or(0),
            metrics: picks
                .take(METRICS_MAX)
                .map(|pick| (pick.key(), Measure::of(pods, pick, wanted, now)))
                .collect(),
            trouble: String::new(),
        }
    }

    /// All samples of one resource, in milli-units.
    pub fn used_milli(&self, resource: Resource) -> u64 {
        let measure = self.metrics.get(resource.name());
        measure.map_or(0, |measure| measure.used_milli)
    }
}

impl Measure {
    fn of(pods: &[Pod], pick: Pick<'_>, wanted: &Wanted<'_>, now: Ms) -> Self {
        let mut measure = Measure::default();
        for pod in pods {
            let found = pick.find(pod, Ms::default());
            let used = found.look.map_or(0, |look| look.mean.milli);
            let used = u64::try_from(used).unwrap_or(0);
            measure.used_milli = measure.used_milli.saturating_add(used);
            measure.request_milli = measure.request_milli.or(found.request_milli);
            (measure.sums).add(pod, found, pick, &wanted.controller, now);
        }
        measure
    }
}
