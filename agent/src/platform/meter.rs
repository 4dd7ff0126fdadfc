//! What this node's pods use, and what keeps them from running, by workload.
//!
//! Comes in: the pods of this node, the workloads' selectors, cgroups. Goes out:
//! replicas and troubles, added to a sample. Pods are sorted anew only when they or
//! the selectors have changed. Contains no rule about numbers.

use std::collections::BTreeMap;
use std::sync::Arc;

use starling_collect::HostRoot;
use starling_collect::cgroup::usage::Container;
use starling_collect::cgroup::{Cgroups, ContainerRef, PodRef};
use starling_engine::demand::Sample;
use starling_engine::policy::Target;
use starling_engine::unit::Ms;
use starling_kube::devices::Devices;
use starling_kube::pods::{Pod, Snapshot, replicas, trouble};
use starling_kube::selector::Selector;

/// Pods that can't run and are named for each workload.
const TROUBLES_MAX: usize = 3;

/// By target, as written and as understood: `None` where that can't be. The
/// decision on such a target says so.
pub type Selectors = BTreeMap<Target, (String, Option<Selector>)>;

/// These selectors; `None` where they are the former ones.
pub fn selectors<'a>(
    former: &Selectors,
    written: impl Iterator<Item = (&'a Target, &'a str)>,
) -> Option<Selectors> {
    let written: BTreeMap<&Target, &str> = written.collect();
    let known = former
        .iter()
        .map(|(target, (text, _))| (target, text.as_str()));
    if known.eq(written.iter().map(|(target, text)| (*target, *text))) {
        return None;
    }
    let understood = written.into_iter().map(|(target, text)| {
        let known = former.get(target).filter(|(known, _)| known == text);
        let parse = || (text.to_owned(), Selector::parse(text).ok());
        (target.clone(), known.cloned().unwrap_or_else(parse))
    });
    Some(understood.collect())
}

/// What is needed to measure this node's pods at one moment.
#[derive(Default)]
pub struct Pods {
    pub snapshot: Arc<Snapshot>,
    pub selectors: Arc<Selectors>,
    /// See [`super::gpus::by_pod`].
    pub devices: Arc<Devices>,
}

/// Reads the cgroups of this node's pods.
pub struct Meter {
    cgroups: Cgroups,
    /// What was sorted last, and what came of it.
    sorted: Pods,
    workloads: BTreeMap<Target, Vec<Arc<Pod>>>,
    asked: Vec<PodRef>,
}

impl Meter {
    pub fn new(host: &HostRoot) -> Meter {
        Meter {
            cgroups: Cgroups::open(host),
            sorted: Pods::default(),
            workloads: BTreeMap::new(),
            asked: Vec::new(),
        }
    }

    /// Adds the replicas that `pods` are to `sample`. Blocks.
    pub fn measure(&mut self, now: Ms, pods: Pods, sample: &mut Sample) {
        self.sort(pods);
        let measured = self.cgroups.measure(now, &self.asked).pods.into_iter();
        let readings: replicas::Readings = measured
            .map(|(uid, pod)| (uid, pod.containers.into_iter().map(usage).collect()))
            .collect();
        for (target, pods) in &self.workloads {
            let replicas = pods.iter().map(|pod| replicas::replica(pod, &readings));
            sample.workloads.insert(target.clone(), replicas.collect());
            if let Some(words) = troubles(pods) {
                sample.troubles.insert(target.clone(), words);
            }
        }
    }

    fn sort(&mut self, pods: Pods) {
        let same = Arc::ptr_eq(&self.sorted.snapshot, &pods.snapshot)
            && Arc::ptr_eq(&self.sorted.selectors, &pods.selectors);
        if same {
            return;
        }
        let selectors = pods.selectors.iter();
        let workloads = selectors.filter_map(|(target, (_, selector))| {
            Some((
                target.clone(),
                target.namespace.as_str(),
                selector.as_ref()?,
            ))
        });
        self.workloads = replicas::by_workload(&pods.snapshot, workloads);
        let each = self.workloads.values().flatten();
        let each: BTreeMap<&str, &Pod> = each.map(|pod| (pod.uid.as_str(), &**pod)).collect();
        self.asked = each.into_values().map(reference).collect();
        self.sorted = pods;
    }
}

fn reference(pod: &Pod) -> PodRef {
    let running = pod.containers.iter().filter(|container| container.running);
    let containers = running.filter_map(|container| {
        Some(ContainerRef {
            name: container.name.clone(),
            container_id: container.id.clone()?,
        })
    });
    PodRef {
        uid: pod.uid.clone(),
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        static_hash: pod.config_hash.clone(),
        containers: containers.collect(),
    }
}

fn usage((name, usage): (String, Container)) -> (String, replicas::Usage) {
    let read = replicas::Usage {
        cpu: usage.cpu,
        memory: usage.memory,
    };
    (name, read)
}

/// What keeps some of these from running, in words.
fn troubles(pods: &[Arc<Pod>]) -> Option<String> {
    let found = pods.iter().filter_map(|pod| {
        let trouble = trouble::of(pod)?;
        Some(format!(
            "pod {} container {}: {} {}",
            pod.name, trouble.container, trouble.reason, trouble.message
        ))
    });
    let words: Vec<String> = found.collect();
    let shown = words[..words.len().min(TROUBLES_MAX)].join("; ");
    match words.len().saturating_sub(TROUBLES_MAX) {
        _ if words.is_empty() => None,
        0 => Some(shown),
        more => Some(format!("{shown}; and {more} more")),
    }
}

#[cfg(test)]
mod tests {
    use starling_kube::pods::read::{Container, Waiting};

    use super::*;

    fn stuck(name: &str) -> Arc<Pod> {
        let waiting = Waiting {
            reason: "ErrImagePull".into(),
            message: "no such image".into(),
        };
        Arc::new(Pod {
            name: name.into(),
            containers: vec![Container {
                name: "app".into(),
                waiting: Some(waiting),
                ..Container::default()
            }],
            ..Pod::default()
        })
    }

    #[test]
    fn pods_that_do_not_run_are_named_and_the_rest_counted() {
        let words = "pod a container app: ErrImagePull no such image";
        assert_eq!(troubles(&[stuck("a")]).as_deref(), Some(words));
        let many: Vec<_> = ["a", "b", "c", "d", "e"].map(stuck).into();
        let told = troubles(&many).unwrap_or_default();
        assert!(told.ends_with("; and 2 more"), "{told}");
        assert_eq!(troubles(&[Arc::new(Pod::default())]), None);
    }

    #[test]
    fn selectors_are_parsed_once_and_one_that_cannot_be_stays_known() {
        let target = Target::process;
        let (web, db) = (target("web"), target("db"));
        let first = selectors(
            &Selectors::new(),
            [(&web, "app=web"), (&db, "app in (")].into_iter(),
        );
        let first = first.unwrap_or_default();
        let usable: Vec<bool> = first.values().map(|(_, it)| it.is_some()).collect();
        assert_eq!(usable, [false, true]);
        let same = [(&db, "app in ("), (&web, "app=web")].into_iter();
        assert!(selectors(&first, same).is_none());
        let fewer = selectors(&first, [(&web, "app=web")].into_iter());
        assert_eq!(fewer.map(|it| it.len()), Some(1));
    }
}
