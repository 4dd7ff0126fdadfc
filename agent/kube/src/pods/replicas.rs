//! Which pods of this node are replicas of which workload, and what each of them
//! asked for and used.
//!
//! Comes in: a snapshot, the workloads' selectors, and readings by container. Goes
//! out: the engine's replicas for each workload. As in HPA, labels alone decide,
//! and a pod that two selectors match counts for both. Never fills in a reading: a
//! pod of which one running container wasn't read has no sample at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use starling_engine::demand::pods as engine;
use starling_engine::policy::Resource;
use starling_engine::policy::resource::Unit;

use super::{Pod, Snapshot};
use crate::pods::read::{Container, Role};
use crate::selector::Selector;

/// What was read of one pod. Made anew for each pod each second, so it takes no more room
/// of its own than a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage<'a> {
    /// Of the pod as a whole, what isn't the sum of its containers.
    pub whole: Read,
    /// What it holds of devices, as the kubelet says, whatever its spec calls them.
    pub requests_milli: BTreeMap<Resource, i64>,
    /// By name.
    pub containers: Vec<(&'a str, Read)>,
}

/// What was read of one thing, by resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Read([Option<engine::Reading>; Resource::ALL.len()]);

impl Read {
    pub fn get(&self, resource: Resource) -> Option<engine::Reading> {
        self.0[resource as usize]
    }
}

impl FromIterator<(Resource, Option<engine::Reading>)> for Read {
    fn from_iter<I: IntoIterator<Item = (Resource, Option<engine::Reading>)>>(all: I) -> Read {
        let mut read = Read::default();
        for (resource, reading) in all {
            read.0[resource as usize] = reading;
        }
        read
    }
}

/// What a pod uses of these is what its containers use together.
const SUMS: [Resource; 3] = [Resource::Cpu, Resource::Memory, Resource::Disk];

/// The pods of each workload on this node. `workloads` yields what it is
/// called, its namespace and its selector; those without pods here are left out.
pub fn by_workload<'a, W: Ord>(
    snapshot: &Snapshot,
    workloads: impl IntoIterator<Item = (W, &'a str, &'a Selector)>,
) -> BTreeMap<W, Vec<Arc<Pod>>> {
    let mut by_namespace: BTreeMap<&str, Vec<&Arc<Pod>>> = BTreeMap::new();
    for pod in snapshot.pods.values() {
        by_namespace.entry(&pod.namespace).or_default().push(pod);
    }
    let mut found = BTreeMap::new();
    for (workload, namespace, selector) in workloads {
        let pods = by_namespace.get(namespace).into_iter().flatten();
        let matching = pods.filter(|pod| selector.matches(&pod.labels));
        let pods: Vec<Arc<Pod>> = matching.map(|pod| Arc::clone(pod)).collect();
        if !pods.is_empty() {
            found.insert(workload, pods);
        }
    }
    found
}

/// A pod, with what it asks for as a whole: that stays the same for as long as the pod does.
#[derive(Debug, Clone)]
pub struct Listed {
    pub pod: Arc<Pod>,
    requests_milli: BTreeMap<Resource, i64>,
}

impl Listed {
    pub fn of(pod: Arc<Pod>) -> Listed {
        let stated = Resource::ALL.into_iter().filter_map(|resource| {
            let milli = pod.request_milli(requested(resource)?)?;
            Some((resource, milli))
        });
        Listed {
            requests_milli: stated.collect(),
            pod,
        }
    }

    /// The pod as the engine sorts and sums it (hpa.md rules 2 and 5). Whatever is asked
    /// for or was read is in its metrics; CPU, memory and parts of the time always are. Of
    /// its containers one by one only `of_containers` is.
    pub fn replica(&self, usage: &Usage<'_>, of_containers: &BTreeSet<Resource>) -> engine::Pod {
        let pod = &self.pod;
        let lasting = pod.containers.iter().filter(|c| c.role != Role::Init);
        let told = lasting.filter(|_| !of_containers.is_empty());
        let metrics = Resource::ALL.into_iter().filter_map(|resource| {
            let sample = if SUMS.contains(&resource) {
                sum(pod, usage, resource)
            } else {
                usage.whole.get(resource)
            };
            let held = usage.requests_milli.get(&resource);
            let stated = held.or_else(|| self.requests_milli.get(&resource));
            metric(resource, stated.copied(), sample)
        });
        engine::Pod {
            id: pod.uid.clone(),
            name: pod.name.clone(),
            phase: pod.phase,
            deleted: pod.deleted,
            ready: pod.ready,
            started_at: pod.started_at,
            ready_changed_at: pod.ready_changed_at,
            metrics: metrics.collect(),
            containers: told
                .map(|container| {
                    let of_it = of_container(container, usage, of_containers);
                    (container.name.clone(), of_it)
                })
                .collect(),
            ..engine::Pod::default()
        }
    }
}

/// The sum over the containers that run, each of which must have been read; the
/// oldest reading dates it.
fn sum(pod: &Pod, usage: &Usage<'_>, resource: Resource) -> Option<engine::Reading> {
    let mut sum: Option<engine::Reading> = None;
    for container in pod.containers.iter().filter(|c| c.running) {
        let reading = read(container, usage, resource)?;
        sum = Some(match sum {
            None => reading,
            Some(sum) => engine::Reading {
                milli: sum.milli.saturating_add(reading.milli),
                at: sum.at.min(reading.at),
                window_ms: sum.window_ms.max(reading.window_ms),
            },
        });
    }
    sum
}

fn of_container(
    container: &Container,
    usage: &Usage<'_>,
    resources: &BTreeSet<Resource>,
) -> engine::Metrics {
    let metrics = resources.iter().copied().filter_map(|resource| {
        let stated = requested(resource);
        let stated = stated.and_then(|name| container.requests_milli.get(name).copied());
        metric(resource, stated, read(container, usage, resource))
    });
    metrics.collect()
}

/// Nothing of a container that doesn't run: a reading of it is from before.
fn read(container: &Container, usage: &Usage<'_>, resource: Resource) -> Option<engine::Reading> {
    let mut named = usage.containers.iter();
    let (_, of_it) = named.find(|(name, _)| *name == container.name)?;
    of_it.get(resource).filter(|_| container.running)
}

/// What a pod's spec calls that of which it asks for an amount.
fn requested(resource: Resource) -> Option<&'static str> {
    match resource {
        Resource::Cpu => Some("cpu"),
        Resource::Memory => Some("memory"),
        Resource::Gpu => Some("nvidia.com/gpu"),
        _ => None,
    }
}

fn metric(
    resource: Resource,
    stated: Option<i64>,
    sample: Option<engine::Reading>,
) -> Option<(Resource, engine::Metric)> {
    let whole = (resource.unit() == Unit::Part).then_some(WHOLE_TIME_MILLI);
    let always = matches!(resource, Resource::Cpu | Resource::Memory) || whole.is_some();
    let metric = engine::Metric {
        request_milli: stated.or(whole),
        sample,
        ..engine::Metric::default()
    };
    (always || stated.is_some() || sample.is_some()).then_some((resource, metric))
}

/// All of the time.
const WHOLE_TIME_MILLI: i64 = 1_000;
