//! One pod as it is kept: what measuring, sorting and explaining need of it.
//!
//! Comes in: the API server's object, of which only these fields are read. Goes
//! out: a [`Pod`] of a kilobyte or so. Never keeps specs, environment, volumes,
//! managed fields or annotations (but one).

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::Deserialize;
use starling_engine::demand::pods::Phase;
use starling_engine::demand::pods::request::{self, Stated};
use starling_engine::unit::Ms;

use starling_engine::quantity::Quantity;

/// The kubelet names the cgroup of a static pod by this hash, not by the uid.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";
/// Longer messages of the kubelet are cut.
pub const MESSAGE_CHARS_MAX: usize = 256;

/// The API server's object, of which the rest is skipped while it is parsed.
pub type Object = kube::core::Object<Spec, Status>;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pod {
    pub uid: String,
    pub namespace: String,
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub phase: Phase,
    /// Being deleted: it runs on until its grace period ends.
    pub deleted: bool,
    /// The Ready condition; `None` where it is absent. `Unknown` counts as ready,
    /// as in HPA, which tests for False.
    pub ready: Option<bool>,
    /// When that condition last changed, on the wall clock of the kubelet.
    pub ready_changed_at: Option<Ms>,
    pub started_at: Option<Ms>,
    /// `BestEffort`, `Burstable` or `Guaranteed`.
    pub qos: String,
    /// Under which name the kubelet keeps the cgroup of a static pod.
    pub config_hash: Option<String>,
    /// It has the node's network, and none of its own.
    pub host_network: bool,
    /// What the pod asks for as a whole, where it does; by resource, milli-units.
    pub requests_milli: BTreeMap<String, i64>,
    /// Main containers and sidecars first, then those that only prepare.
    pub containers: Vec<Container>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Container {
    pub name: String,
    pub role: Role,
    /// By resource, in milli-units (1 byte = 1,000).
    pub requests_milli: BTreeMap<String, i64>,
    pub limits_milli: BTreeMap<String, i64>,
    /// As in the status, such as `containerd://4f2…`; `None` until it is created. A
    /// container that starts again has another one.
    pub id: Option<String>,
    pub running: bool,
    pub restarts: u32,
    /// Why it doesn't run yet, or again.
    pub waiting: Option<Waiting>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Role {
    #[default]
    Main,
    /// An init container with `restartPolicy: Always`, which runs beside the others.
    Sidecar,
    /// An init container that ends before the others start.
    Init,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Such as `ImagePullBackOff`.
    pub reason: String,
    pub message: String,
}

impl Pod {
    /// `None` for an object without a uid, which no real pod lacks.
    pub fn of(object: Object) -> Option<Pod> {
        let ObjectMeta {
            uid,
            namespace,
            name,
            labels,
            annotations,
            deletion_timestamp,
            ..
        } = object.metadata;
        let status = object.status.unwrap_or_default();
        let ready = status.conditions.iter().find(|c| c.type_ == "Ready");
        Some(Pod {
            uid: uid?,
            namespace: namespace.unwrap_or_default(),
            name: name.unwrap_or_default(),
            labels: labels.unwrap_or_default().into_iter().collect(),
            phase: phase(&status.phase),
            deleted: deletion_timestamp.is_some(),
            ready: ready.map(|condition| condition.status != "False"),
            ready_changed_at: ready.and_then(|c| ms(c.last_transition_time.as_ref())),
            started_at: ms(status.start_time.as_ref()),
            qos: status.qos_class.clone(),
            config_hash: annotations.and_then(|mut all| all.remove(CONFIG_HASH)),
            host_network: object.spec.host_network,
            requests_milli: milli(object.spec.resources.requests),
            containers: containers(
                object.spec.containers,
                object.spec.init_containers,
                status.container_statuses,
                status.init_container_statuses,
            ),
        })
    }

    pub fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Failed | Phase::Succeeded)
    }

    /// Under which name the kubelet keeps the pod's cgroup.
    pub fn cgroup_uid(&self) -> &str {
        self.config_hash.as_deref().unwrap_or(&self.uid)
    }

    /// What the pod asks for of one resource by HPA's rule; `None` where a
    /// container states nothing.
    pub fn request_milli(&self, resource: &str) -> Option<i64> {
        request::of_pod(&self.stated(resource)).ok()
    }

    fn stated(&self, resource: &str) -> Stated {
        let of = |role: fn(Role) -> bool| {
            let some = self.containers.iter().filter(move |c| role(c.role));
            some.map(|container| request::Container {
                name: container.name.clone(),
                request_milli: container.requests_milli.get(resource).copied(),
                restarts: container.role == Role::Sidecar,
            })
        };
        Stated {
            containers: of(|role| role == Role::Main).collect(),
            init_containers: of(|role| role != Role::Main).collect(),
            pod_milli: self.requests_milli.get(resource).copied(),
        }
    }
}

/// A phase that Kubernetes doesn't name (`Unknown`) counts as running, as in HPA.
pub(crate) fn phase(text: &str) -> Phase {
    match text {
        "Pending" => Phase::Pending,
        "Failed" => Phase::Failed,
        "Succeeded" => Phase::Succeeded,
        _ => Phase::Running,
    }
}

fn ms(time: Option<&Time>) -> Option<Ms> {
    let ms = time?.0.as_millisecond();
    u64::try_from(ms).ok().map(Ms)
}

/// What can't be read as a quantity counts as not stated; the API server lets
/// none through.
fn milli(stated: BTreeMap<String, String>) -> BTreeMap<String, i64> {
    let read = stated.into_iter().filter_map(|(resource, text)| {
        let milli = Quantity::parse(&text).ok()?.milli()?;
        Some((resource, milli))
    });
    read.collect()
}

fn containers(
    main: Vec<ContainerSpec>,
    init: Vec<ContainerSpec>,
    main_statuses: Vec<ContainerStatus>,
    init_statuses: Vec<ContainerStatus>,
) -> Vec<Container> {
    let statuses = |all: Vec<ContainerStatus>| -> BTreeMap<String, ContainerStatus> {
        all.into_iter().map(|s| (s.name.clone(), s)).collect()
    };
    let mut of_main = statuses(main_statuses);
    let mut of_init = statuses(init_statuses);
    let (sidecars, preparing): (Vec<_>, Vec<_>) = init
        .into_iter()
        .partition(|container| container.restart_policy == "Always");
    let main = main.into_iter().map(|c| {
        let status = of_main.remove(&c.name);
        container(c, Role::Main, status)
    });
    let mut all: Vec<Container> = main.collect();
    for (some, role) in [(sidecars, Role::Sidecar), (preparing, Role::Init)] {
        for c in some {
            let status = of_init.remove(&c.name);
            all.push(container(c, role, status));
        }
    }
    all
}

fn container(spec: ContainerSpec, role: Role, status: Option<ContainerStatus>) -> Container {
    let status = status.unwrap_or_default();
    Container {
        name: spec.name,
        role,
        requests_milli: milli(spec.resources.requests),
        limits_milli: milli(spec.resources.limits),
        id: status.container_id.filter(|id| !id.is_empty()),
        running: status.state.running.is_some(),
        restarts: u32::try_from(status.restart_count).unwrap_or(0),
        waiting: status.state.waiting.map(|waiting| Waiting {
            reason: waiting.reason,
            message: waiting.message.chars().take(MESSAGE_CHARS_MAX).collect(),
        }),
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    containers: Vec<ContainerSpec>,
    init_containers: Vec<ContainerSpec>,
    resources: Resources,
    host_network: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerSpec {
    name: String,
    restart_policy: String,
    resources: Resources,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Resources {
    requests: BTreeMap<String, String>,
    limits: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    phase: String,
    start_time: Option<Time>,
    qos_class: String,
    conditions: Vec<Condition>,
    container_statuses: Vec<ContainerStatus>,
    init_container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    #[serde(rename = "type")]
    type_: String,
    status: String,
    last_transition_time: Option<Time>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatus {
    name: String,
    #[serde(rename = "containerID")]
    container_id: Option<String>,
    restart_count: i32,
    state: State,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct State {
    running: Option<serde::de::IgnoredAny>,
    waiting: Option<WaitingState>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct WaitingState {
    reason: String,
    message: String,
}
