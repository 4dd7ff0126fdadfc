//! Which pods of this node are replicas of which workload, and what each of them
//! asked for and used.
//!
//! Comes in: a snapshot, the workloads' selectors, and readings by container. Goes
//! out: the engine's replicas for each workload. As in HPA, labels alone decide,
//! and a pod that two selectors match counts for both. Never fills in a reading: a
//! pod of which one running container wasn't read has no sample at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use starling_engine::demand::pods as engine;

use super::{Pod, Snapshot};
use crate::pods::read::{Container, Role};
use crate::selector::Selector;

/// What was read of one container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub cpu: Option<engine::Reading>,
    pub memory: Option<engine::Reading>,
}

/// By the pod's uid (of the API server) and the container's name.
pub type Readings = BTreeMap<String, BTreeMap<String, Usage>>;

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

/// One pod as the engine sorts and sums it (hpa.md rules 2 and 5).
pub fn replica(pod: &Pod, readings: &Readings) -> engine::Pod {
    let lasting = pod.containers.iter().filter(|c| c.role != Role::Init);
    let read = Read(readings.get(&pod.uid));
    engine::Pod {
        phase: pod.phase,
        deleted: pod.deleted,
        ready: pod.ready,
        started_at: pod.started_at,
        ready_changed_at: pod.ready_changed_at,
        cpu: engine::Metric {
            request_milli: pod.request_milli("cpu"),
            sample: read.whole(pod, |usage| usage.cpu),
        },
        memory: engine::Metric {
            request_milli: pod.request_milli("memory"),
            sample: read.whole(pod, |usage| usage.memory),
        },
        containers: lasting
            .map(|container| (container.name.clone(), read.metrics(container)))
            .collect(),
        custom: BTreeMap::new(),
    }
}

/// What was read of one pod.
#[derive(Clone, Copy)]
struct Read<'a>(Option<&'a BTreeMap<String, Usage>>);

impl Read<'_> {
    /// The sum over the containers that run, each of which must have been read; the
    /// oldest reading dates it.
    fn whole(
        self,
        pod: &Pod,
        pick: fn(&Usage) -> Option<engine::Reading>,
    ) -> Option<engine::Reading> {
        let mut sum: Option<engine::Reading> = None;
        for container in pod.containers.iter().filter(|c| c.running) {
            let reading = pick(&self.usage(container))?;
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

    fn metrics(self, container: &Container) -> engine::Container {
        let usage = self.usage(container);
        let metric = |resource: &str, sample| engine::Metric {
            request_milli: container.requests_milli.get(resource).copied(),
            sample,
        };
        engine::Container {
            cpu: metric("cpu", usage.cpu),
            memory: metric("memory", usage.memory),
        }
    }

    /// Nothing of a container that doesn't run: a reading of it is from before.
    fn usage(self, container: &Container) -> Usage {
        let read = self.0.filter(|_| container.running);
        let usage = read.and_then(|read| read.get(&container.name));
        usage.copied().unwrap_or_default()
    }
}
