//! What each pod uses of the GPUs.
//!
//! Comes in: the GPUs at one moment, which pods hold which devices (the kubelet
//! says), and the node's pods. Goes out: readings and requests, by the pod's uid. A
//! pod whose share isn't known has no reading. Asks nobody anything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use starling_engine::demand::pods::Reading;
use starling_engine::unit::Ms;

use super::driver::Memory;
use super::{Device, Gpus, Process};
use crate::cgroup::PodRef;

/// The devices of one pod, by the ids that a device plugin gave to them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holder {
    pub namespace: String,
    pub pod: String,
    /// `GPU-<uuid>`, `MIG-<uuid>`, `nvidia0`; replicas of a shared one are
    /// `GPU-<uuid>::0` and `nvidia0/vgpu0`.
    pub devices: Vec<String>,
}

/// One pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Thousandths of a GPU: whole devices add up. Missing where one of them doesn't
    /// tell, as none does that MIG splits.
    pub gpu: Option<Reading>,
    /// One byte counts as 1,000.
    pub memory: Option<Reading>,
    /// 1,000 for each device or part of one that the pod holds; 0 where it only uses
    /// what it doesn't hold.
    pub gpu_request_milli: i64,
    /// All memory of these; `None` where one of them doesn't tell.
    pub memory_request_milli: Option<i64>,
}

/// The driver's own window; it is shorter on some devices.
const WINDOW_MS: u64 = 1_000;

/// All pods of `pods` that hold a GPU or compute on one. `now` and `clock` are the
/// same moment on two clocks.
pub fn by_pod(
    now: Ms,
    clock: Instant,
    gpus: &Gpus,
    holders: &[Holder],
    pods: &[PodRef],
) -> BTreeMap<String, Usage> {
    let Some(at) = gpus.at else {
        return BTreeMap::new();
    };
    let ages = Ages { now, clock };
    let parts = parts(gpus);
    let held = held(holders, &parts);
    let mut usages = BTreeMap::new();
    for pod in pods {
        let holds = held.get(&(pod.namespace.as_str(), pod.name.as_str()));
        let is_own = |process: &Process| {
            let owner = process.pod.as_deref();
            owner.is_some() && (owner == Some(&pod.uid) || owner == pod.static_hash.as_deref())
        };
        let runs_on = |part: &Part| part.running().any(is_own);
        let used: Vec<usize> = (0..parts.len())
            .filter(|at| holds.is_some_and(|it| it.parts.contains(at)) || runs_on(&parts[*at]))
            .collect();
        if used.is_empty() && holds.is_none() {
            continue;
        }
        let mut sum = Sum::new(ages.ms(at));
        for index in used {
            let part = &parts[index];
            // Nobody else holds it, and nobody else's process is on it.
            let others = held.values().filter(|other| other.parts.contains(&index));
            let holds_it = holds.is_some_and(|it| it.parts.contains(&index));
            let alone = holds_it
                && others.count() == 1
                && part.running().all(|it| {
                    // Of no pod: the driver's own, or one of its pod that has just begun.
                    it.pod.is_none() || is_own(it)
                });
            if alone {
                sum.add_gpu(part.utilization_milli.map(|milli| (milli, ages.ms(at))));
                sum.add_memory(part.memory.map(|memory| memory.used_bytes));
            } else {
                let own = || part.running().filter(|it| is_own(it));
                sum.add_gpu(
                    part.share_of(own(), at)
                        .map(|(milli, at)| (milli, ages.ms(at))),
                );
                sum.add_memory(part.memory_of(own()));
            }
        }
        let unknown = holds.is_some_and(|it| it.unknown);
        if unknown {
            sum.add_gpu(None);
            sum.add_memory(None);
        }
        let requested = holds.map(|it| it.parts.len() + usize::from(it.unknown));
        let memory: Option<Vec<Memory>> = holds
            .filter(|it| !it.unknown)
            .and_then(|it| it.parts.iter().map(|at| parts[*at].memory).collect());
        let total = memory.map(|all| all.iter().map(|it| it.total_bytes).sum());
        usages.insert(
            pod.uid.clone(),
            Usage {
                gpu: sum.gpu(),
                memory: sum.memory(),
                gpu_request_milli: 1_000 * requested.unwrap_or(0) as i64,
                memory_request_milli: total.map(bytes_milli),
            },
        );
    }
    usages
}

/// Whether a device that the kubelet gave out is a GPU, or a part of one.
pub fn is_gpu(resource: &str, id: &str) -> bool {
    let named = ["GPU-", "MIG-"].iter().any(|prefix| id.starts_with(prefix));
    let kind = resource.strip_prefix("nvidia.com/").unwrap_or_default();
    named || kind.starts_with("gpu") || kind.starts_with("mig-")
}

/// Ids that stand for no device that the driver tells of.
pub fn unknown(gpus: &Gpus, holders: &[Holder]) -> BTreeSet<String> {
    let parts = parts(gpus);
    let ids = holders.iter().flat_map(|holder| &holder.devices);
    let missing = ids.filter(|id| find(&parts, id).is_none());
    missing.cloned().collect()
}

/// What can be held: a device, or one part of a device that MIG splits.
struct Part<'a> {
    uuid: &'a str,
    /// `nvidia0`.
    node: Option<String>,
    utilization_milli: Option<u64>,
    memory: Option<Memory>,
    processes: Option<&'a [Process]>,
}

fn parts(gpus: &Gpus) -> Vec<Part<'_>> {
    let parts = gpus.devices.iter().flat_map(|device: &Device| {
        let whole = Part {
            uuid: &device.identity.uuid,
            node: device.identity.minor.map(|minor| format!("nvidia{minor}")),
            utilization_milli: device.utilization_milli,
            memory: device.memory,
            processes: device.processes.as_deref(),
        };
        let instances = device.instances.iter().flatten().map(|instance| Part {
            uuid: &instance.uuid,
            node: None,
            utilization_milli: None,
            memory: instance.memory,
            processes: instance.processes.as_deref(),
        });
        // One that is split can't be held as a whole.
        let whole = device.instances.is_none().then_some(whole);
        whole.into_iter().chain(instances)
    });
    parts.collect()
}

/// The part that an id stands for.
fn find(parts: &[Part<'_>], id: &str) -> Option<usize> {
    // Replicas of one that is shared: `::N` of NVIDIA's plugin, `/vgpuN` of GKE's.
    let whole = id.split("::").next().unwrap_or(id);
    let whole = whole.split("/vgpu").next().unwrap_or(whole);
    parts.iter().position(|part| {
        !whole.is_empty() && (part.uuid == whole || part.node.as_deref() == Some(whole))
    })
}

#[derive(Default)]
struct Held {
    parts: BTreeSet<usize>,
    /// It holds something that the driver doesn't tell of.
    unknown: bool,
}

/// What each pod holds, each part once.
fn held<'a>(holders: &'a [Holder], parts: &[Part<'_>]) -> BTreeMap<(&'a str, &'a str), Held> {
    let mut held: BTreeMap<(&str, &str), Held> = BTreeMap::new();
    for holder in holders.iter().filter(|holder| !holder.devices.is_empty()) {
        let pod = (holder.namespace.as_str(), holder.pod.as_str());
        let held = held.entry(pod).or_default();
        for id in &holder.devices {
            match find(parts, id) {
                Some(at) => {
                    held.parts.insert(at);
                }
                None => held.unknown = true,
            }
        }
    }
    held
}

impl Part<'_> {
    fn running(&self) -> impl Iterator<Item = &Process> {
        self.processes.unwrap_or_default().iter()
    }

    /// What these processes use of it, and when that was told. A pod without a
    /// process uses nothing, if the device is idle, or if all that run on it are
    /// somebody's: otherwise one of its own may be among those.
    fn share_of<'p>(
        &self,
        own: impl Iterator<Item = &'p Process>,
        at: Instant,
    ) -> Option<(u64, Instant)> {
        let (mut milli, mut oldest, mut none) = (0, at, true);
        for process in own {
            let share = process.utilization?;
            milli += share.milli;
            oldest = oldest.min(share.at);
            none = false;
        }
        let idle = self.utilization_milli == Some(0);
        if none && !idle && !self.are_all_owned() {
            return None;
        }
        Some((milli.min(1_000), oldest))
    }

    fn memory_of<'p>(&self, own: impl Iterator<Item = &'p Process>) -> Option<u64> {
        let mut own = own.peekable();
        if own.peek().is_none() && !self.are_all_owned() {
            return None;
        }
        own.try_fold(0, |sum: u64, process| {
            Some(sum.saturating_add(process.memory_bytes?))
        })
    }

    /// Processes are seen, and each is in a pod.
    fn are_all_owned(&self) -> bool {
        let processes = self.processes.filter(|all| !all.is_empty());
        processes.is_some_and(|all| all.iter().all(|process| process.pod.is_some()))
    }
}

/// Turns moments of one clock into those of the other.
struct Ages {
    now: Ms,
    clock: Instant,
}

impl Ages {
    fn ms(&self, at: Instant) -> Ms {
        let age = self.clock.saturating_duration_since(at).as_millis();
        self.now.minus(u64::try_from(age).unwrap_or(u64::MAX))
    }
}

/// Adds up what a pod uses of several devices; one that is missing makes the sum so.
struct Sum {
    gpu: Option<(u64, Ms)>,
    memory: Option<u64>,
    at: Ms,
}

impl Sum {
    fn new(at: Ms) -> Sum {
        Sum {
            gpu: Some((0, at)),
            memory: Some(0),
            at,
        }
    }

    fn add_gpu(&mut self, part: Option<(u64, Ms)>) {
        let sum = self.gpu.zip(part);
        self.gpu = sum.map(|((milli, at), part)| (milli + part.0, at.min(part.1)));
    }

    fn add_memory(&mut self, part: Option<u64>) {
        let sum = self.memory.zip(part);
        self.memory = sum.map(|(sum, part)| sum.saturating_add(part));
    }

    fn gpu(&self) -> Option<Reading> {
        let (milli, at) = self.gpu?;
        Some(Reading {
            milli: i64::try_from(milli).unwrap_or(i64::MAX),
            at,
            window_ms: WINDOW_MS,
        })
    }

    fn memory(&self) -> Option<Reading> {
        Some(Reading {
            milli: bytes_milli(self.memory?),
            at: self.at,
            window_ms: 0,
        })
    }
}

fn bytes_milli(bytes: u64) -> i64 {
    i64::try_from(bytes.saturating_mul(1_000)).unwrap_or(i64::MAX)
}
