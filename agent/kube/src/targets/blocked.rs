//! Which targets' pods are on no node, and which can't be created or scheduled.
//!
//! Comes in: pods that are on no node, and failed creations of StatefulSets. Goes
//! out: for one target, how many wait, what they ask for, and why it is blocked, in
//! words: only once a pod was refused for a few seconds, for a new one is on no node
//! either. Never guesses at what kubelets see (images, crashes): agents see that on
//! their nodes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use k8s_openapi::api::core::v1 as core;
use serde::Deserialize;
use starling_engine::demand::pick::Pick;
use starling_engine::node::platform::{Asked, Scale, Unscheduled};
use starling_engine::policy::{Resource, Target};
use tokio::time::Instant;

use super::derive::{cannot_create, cannot_schedule};
use crate::pods::read::{self, Pod, Role};
use crate::selector::Selector;

/// A pod that the scheduler refuses for this long blocks its target.
pub const REFUSED_AFTER: Duration = Duration::from_secs(3);
/// Pods on no node that are kept. Further ones aren't counted for their targets,
/// which then take them for replicas without a sample.
pub const UNSCHEDULED_MAX: usize = 10_000;
/// StatefulSets with failed creations kept; more aren't shown as blocked.
pub const FAILURES_MAX: usize = 5_000;

/// A pod on no node, of which only this is read.
pub type Object = kube::core::Object<read::Spec, Status>;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Status {
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    type_: String,
    status: String,
    reason: String,
    message: String,
}

/// A pod on no node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Waiting {
    pub uid: String,
    pub namespace: String,
    pub labels: BTreeMap<String, String>,
    /// What it asks for, by [`Pick::key`]; `None` where it states nothing.
    pub requests_milli: BTreeMap<String, Option<i64>>,
    /// Why the scheduler refuses it; `None` where it hasn't (yet).
    pub why: Option<String>,
}

/// What became of a pod on no node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    Waits(Waiting),
    /// On a node now, or on its way out, or gone.
    Left {
        uid: String,
        namespace: String,
    },
}

impl Fate {
    pub fn of(object: Object) -> Fate {
        if object.metadata.deletion_timestamp.is_some() {
            return Fate::gone(object);
        }
        let status = object.status.unwrap_or_default();
        let refused = status.conditions.into_iter().find(|c| {
            let refusal = c.reason == "Unschedulable" || c.reason == "SchedulingGated";
            c.type_ == "PodScheduled" && c.status == "False" && refusal
        });
        // As of a node's own pods, only that none of its containers has a state yet.
        let pod = Pod::of(read::Object {
            types: object.types,
            metadata: object.metadata,
            spec: object.spec,
            status: None,
        });
        let pod = pod.unwrap_or_default();
        Fate::Waits(Waiting {
            requests_milli: requests_milli(&pod),
            uid: pod.uid,
            namespace: pod.namespace,
            labels: pod.labels,
            why: refused.map(|condition| cannot_schedule(&condition.message)),
        })
    }

    pub fn gone(object: Object) -> Fate {
        Fate::Left {
            uid: object.metadata.uid.unwrap_or_default(),
            namespace: object.metadata.namespace.unwrap_or_default(),
        }
    }
}

/// Of the whole pod and of each of its containers.
fn requests_milli(pod: &Pod) -> BTreeMap<String, Option<i64>> {
    let mut all = BTreeMap::new();
    for resource in [Resource::Cpu, Resource::Memory] {
        let name = resource.name();
        all.insert(Pick::replica(resource).key(), pod.request_milli(name));
        let lasting = pod.containers.iter().filter(|c| c.role != Role::Init);
        for container in lasting {
            let key = Pick::container(resource, &container.name).key();
            all.insert(key, container.requests_milli.get(name).copied());
        }
    }
    all
}

/// A StatefulSet's failed creation, from the event that tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub why: String,
}

impl Failed {
    pub fn of(event: &core::Event) -> Option<Failed> {
        let object = &event.involved_object;
        let message = event.message.as_deref().unwrap_or_default();
        // "create Pod web-3 in StatefulSet web failed error: pods ... is forbidden: ..."
        let why = message
            .split_once(" error: ")
            .map_or(message, |(_, why)| why);
        Some(Failed {
            namespace: object.namespace.clone()?,
            name: object.name.clone()?,
            uid: object.uid.clone()?,
            why: cannot_create(why),
        })
    }
}

#[derive(Debug)]
struct Kept {
    waiting: Waiting,
    /// It has been refused for [`REFUSED_AFTER`].
    ripe: bool,
}

/// What is known of blocked pods, by namespace.
#[derive(Debug, Default)]
pub struct Blocks {
    pods: BTreeMap<String, BTreeMap<String, Kept>>,
    count: usize,
    /// Refused pods that have yet to wait for long enough, the first to do so first:
    /// until when, namespace and uid.
    ripening: VecDeque<(Instant, String, String)>,
    /// While a list comes in: the pods in it.
    listing: Option<BTreeSet<String>>,
    /// With the fewest replicas that were seen since.
    failed: BTreeMap<(String, String), (Failed, u32)>,
}

/// Labels that a change concerns; `None` is any pod of the namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concerns {
    pub namespace: String,
    pub labels: Option<BTreeMap<String, String>>,
}

impl Blocks {
    /// A list of pods on no node begins.
    pub fn begin(&mut self) {
        self.listing = Some(BTreeSet::new());
    }

    /// The list is whole: pods that aren't in it aren't waiting any more.
    pub fn done(&mut self) -> Vec<Concerns> {
        let Some(listed) = self.listing.take() else {
            return Vec::new();
        };
        let mut concerns = Vec::new();
        for (namespace, pods) in &mut self.pods {
            let before = pods.len();
            pods.retain(|uid, _| listed.contains(uid));
            if pods.len() < before {
                concerns.push(Concerns {
                    namespace: namespace.clone(),
                    labels: None,
                });
            }
        }
        self.pods.retain(|_, pods| !pods.is_empty());
        self.count = self.pods.values().map(BTreeMap::len).sum();
        concerns
    }

    /// Takes a pod in; whom that concerns now.
    pub fn pod(&mut self, fate: Fate, now: Instant) -> Option<Concerns> {
        match fate {
            Fate::Waits(waiting) => {
                if let Some(listing) = &mut self.listing {
                    listing.insert(waiting.uid.clone());
                }
                self.waits(waiting, now)
            }
            Fate::Left { uid, namespace } => {
                let pods = self.pods.get_mut(&namespace)?;
                let pod = pods.remove(&uid)?;
                self.count -= 1;
                if pods.is_empty() {
                    self.pods.remove(&namespace);
                }
                Some(pod.concerns())
            }
        }
    }

    fn waits(&mut self, waiting: Waiting, now: Instant) -> Option<Concerns> {
        let pods = self.pods.entry(waiting.namespace.clone()).or_default();
        let former = pods.get_mut(&waiting.uid);
        let was_refused = former.as_ref().is_some_and(|pod| pod.waiting.why.is_some());
        if waiting.why.is_some() && !was_refused {
            let until = now + REFUSED_AFTER;
            let (namespace, uid) = (waiting.namespace.clone(), waiting.uid.clone());
            self.ripening.push_back((until, namespace, uid));
        }
        if let Some(pod) = former {
            if pod.waiting == waiting {
                return None;
            }
            pod.ripe = pod.ripe && waiting.why.is_some();
            pod.waiting = waiting;
            return Some(pod.concerns());
        }
        if self.count >= UNSCHEDULED_MAX {
            return None;
        }
        self.count += 1;
        let pod = Kept {
            waiting,
            ripe: false,
        };
        let concerns = pod.concerns();
        pods.insert(pod.waiting.uid.clone(), pod);
        Some(concerns)
    }

    /// Notes a failed creation. It counts while the StatefulSet lacks replicas, and
    /// until one more of them exists.
    pub fn failed(&mut self, failed: Failed) {
        let key = (failed.namespace.clone(), failed.name.clone());
        if self.failed.len() < FAILURES_MAX || self.failed.contains_key(&key) {
            self.failed.insert(key, (failed, u32::MAX));
        }
    }

    /// The event is forgotten by the API server, an hour later.
    pub fn forget_failed(&mut self, failed: &Failed) {
        self.failed
            .remove(&(failed.namespace.clone(), failed.name.clone()));
    }

    /// Whom pods concern that have waited for long enough now.
    pub fn ripe(&mut self, now: Instant) -> Vec<Concerns> {
        let mut concerns = Vec::new();
        while self.ripening.front().is_some_and(|(at, ..)| *at <= now) {
            let Some((_, namespace, uid)) = self.ripening.pop_front() else {
                break;
            };
            let pods = self.pods.get_mut(&namespace);
            let pod = pods.and_then(|pods| pods.get_mut(&uid));
            if let Some(pod) = pod.filter(|pod| pod.waiting.why.is_some()) {
                pod.ripe = true;
                concerns.push(pod.concerns());
            }
        }
        concerns
    }

    /// When the next pod will have waited for long enough.
    pub fn next_ripe(&self) -> Option<Instant> {
        self.ripening.front().map(|(at, ..)| *at)
    }

    /// The pods of a target that are on no node, and why no more of them can be created
    /// or scheduled just now.
    pub fn of(
        &mut self,
        target: &Target,
        scale: &Scale,
        selector: Option<&Selector>,
    ) -> (Unscheduled, Option<String>) {
        let pods = self.pods.get(&target.namespace).into_iter();
        let pods = pods.flat_map(BTreeMap::values);
        let mut refusal = None;
        // Pods of one template ask for the same, so there are few kinds of them.
        let mut kinds: Vec<(&BTreeMap<String, Option<i64>>, u32)> = Vec::new();
        if let Some(selector) = selector {
            for pod in pods.filter(|pod| selector.matches(&pod.waiting.labels)) {
                let requests = &pod.waiting.requests_milli;
                match kinds.iter_mut().find(|(kind, _)| *kind == requests) {
                    Some((_, count)) => *count += 1,
                    None => kinds.push((requests, 1)),
                }
                refusal = refusal.or(pod.waiting.why.as_ref().filter(|_| pod.ripe));
            }
        }
        let refusal = refusal.cloned();
        let unscheduled = unscheduled(&kinds);
        let why = scale.blocked.clone();
        let why = why.or_else(|| self.cannot_create(target, scale));
        (unscheduled, why.or(refusal))
    }

    fn cannot_create(&mut self, target: &Target, scale: &Scale) -> Option<String> {
        if target.group != "apps" || target.kind != "StatefulSet" {
            return None;
        }
        let key = (target.namespace.clone(), target.name.clone());
        let (failed, fewest) = self.failed.get_mut(&key)?;
        if failed.uid != scale.uid || scale.running > *fewest {
            self.failed.remove(&key);
            return None;
        }
        *fewest = scale.running;
        (scale.running < scale.replicas).then(|| failed.why.clone())
    }
}

impl Kept {
    fn concerns(&self) -> Concerns {
        Concerns {
            namespace: self.waiting.namespace.clone(),
            labels: Some(self.waiting.labels.clone()),
        }
    }
}

/// So many pods of each kind together. Of a container that some of them lack, those state
/// nothing.
fn unscheduled(kinds: &[(&BTreeMap<String, Option<i64>>, u32)]) -> Unscheduled {
    let mut all = Unscheduled {
        count: kinds.iter().map(|(_, count)| count).sum(),
        asked: BTreeMap::new(),
    };
    for key in kinds.iter().flat_map(|(requests, _)| requests.keys()) {
        let asked = all.asked.entry(key.clone()).or_default();
        *asked = Asked::default();
        for (requests, count) in kinds {
            match requests.get(key).copied().flatten() {
                Some(milli) => {
                    let milli = milli.saturating_mul(i64::from(*count));
                    asked.milli = asked.milli.saturating_add(milli);
                }
                None => asked.unstated += count,
            }
        }
    }
    all
}
