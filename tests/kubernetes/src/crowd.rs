//! Fake nodes, pods and other objects for tests of size: thousands of them, that nothing
//! runs behind. They are written many at a time, straight to the API server.

use std::collections::BTreeMap;
use std::path::Path;

use kube::Client;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch,
    PatchParams, PostParams,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::client::in_own_runtime;
use crate::error::{Error, Result};

/// Writes that are under way at a time: enough to keep an API server on two cores busy.
/// More wait.
const WRITES_MAX: usize = 64;
/// Every fake object has this label, and what is told apart by it is left alone otherwise.
const LABEL: &str = "starling.test/fake";

/// Pods that are as if they ran, on fake nodes.
#[derive(Debug, Clone)]
pub struct FakePods {
    pub namespace: String,
    /// Their names are this and a number, from 0.
    pub prefix: String,
    pub count: usize,
    /// They are spread over so many fake nodes, which `fake_nodes` has made.
    pub nodes: usize,
    pub labels: BTreeMap<String, String>,
    pub cpu_milli: u32,
    pub memory_mib: u32,
}

/// Makes nodes `fake0` and so on. They say that they are ready.
pub(crate) fn nodes(config: &Path, count: usize) -> Result<()> {
    let all = (0..count).map(node);
    in_own_runtime(config, |client| {
        let api = core(client, "Node", None);
        write(all.map(|node| (api.clone(), node)).collect())
    })
}

/// Makes objects of one kind, such as `apps/v1` and `Deployment`, each with the status
/// that it says, if any.
pub(crate) fn objects(
    config: &Path,
    api_version: &str,
    kind: &str,
    namespace: &str,
    all: Vec<Value>,
) -> Result<()> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    in_own_runtime(config, |client| {
        let api: Api<DynamicObject> = Api::namespaced_with(client, namespace, &resource);
        let all = all.into_iter().map(|object| (api.clone(), object));
        write(all.collect())
    })
}

pub(crate) fn pods(config: &Path, groups: &[FakePods]) -> Result<()> {
    if groups.iter().any(|pods| pods.nodes == 0) {
        return Err(Error::Missing(
            "fake pods need fake nodes to be on: `nodes` is 0.".into(),
        ));
    }
    in_own_runtime(config, |client| {
        let each = groups.iter().flat_map(|pods| {
            let api = core(client.clone(), "Pod", Some(&pods.namespace));
            (0..pods.count).map(move |number| (api.clone(), pods, number))
        });
        // Counted through, so that small groups don't all come to the first nodes.
        let placed = each.enumerate();
        let all = placed.map(|(place, (api, pods, number))| (api, pod(pods, number, place)));
        write(all.collect())
    })
}

/// Removes all fake pods of a namespace.
pub(crate) fn remove_pods(config: &Path, namespace: &str) -> Result<()> {
    let namespace = namespace.to_owned();
    in_own_runtime(config, |client| async move {
        let pods = core(client, "Pod", Some(&namespace));
        // Nobody would confirm that they have ended.
        let now = DeleteParams::default().grace_period(0);
        let fakes = ListParams::default().labels(LABEL);
        pods.delete_collection(&now, &fakes).await.map(|_| ())
    })
}

fn node(number: usize) -> Value {
    let name = format!("fake{number}");
    let size = json!({"cpu": "32", "memory": "128Gi", "pods": "500"});
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {
            LABEL: "true",
            "kubernetes.io/hostname": name,
            // DaemonSets that ask for linux don't come here.
            "kubernetes.io/os": "fake",
        }},
        "status": {
            "capacity": size,
            "allocatable": size,
            "conditions": [{"type": "Ready", "status": "True", "reason": "Fake"}],
        },
    })
}

/// The pod with this number in its group, and `place` among all.
fn pod(pods: &FakePods, number: usize, place: usize) -> Value {
    let mut labels = pods.labels.clone();
    labels.insert(LABEL.into(), "true".into());
    // Addresses that nothing has, and that don't repeat: 11.0.0.0/8 belongs to nobody here.
    let address = format!(
        "11.{}.{}.{}",
        (place >> 16) & 255,
        (place >> 8) & 255,
        place & 255
    );
    let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"].map(|kind| {
        json!({"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"})
    });
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": format!("{}{number}", pods.prefix),
            "namespace": pods.namespace,
            "labels": labels,
        },
        "spec": {
            "nodeName": format!("fake{}", place % pods.nodes),
            "containers": [{
                "name": "fake",
                "image": "fake",
                "resources": {"requests": {
                    "cpu": format!("{}m", pods.cpu_milli),
                    "memory": format!("{}Mi", pods.memory_mib),
                }},
            }],
            // A fake node is taken for lost after a while, and its pods would be removed.
            "tolerations": [{"operator": "Exists"}],
            "automountServiceAccountToken": false,
        },
        "status": {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "startTime": "2026-01-01T00:00:00Z",
            "conditions": conditions,
            "containerStatuses": [{
                "name": "fake",
                "image": "fake",
                "imageID": "fake",
                "ready": true,
                "started": true,
                "restartCount": 0,
                "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
            }],
        },
    })
}

fn core(client: Client, kind: &str, namespace: Option<&str>) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", kind));
    match namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, &resource),
        None => Api::all_with(client, &resource),
    }
}

/// Creates all of these, then gives each its status.
async fn write(all: Vec<(Api<DynamicObject>, Value)>) -> kube::Result<()> {
    let mut writes = JoinSet::new();
    for (api, object) in all {
        if writes.len() == WRITES_MAX {
            joined(writes.join_next().await)?;
        }
        writes.spawn(async move { write_one(&api, object).await });
    }
    while let Some(ended) = writes.join_next().await {
        joined(Some(ended))?;
    }
    Ok(())
}

fn joined(
    ended: Option<std::result::Result<kube::Result<()>, tokio::task::JoinError>>,
) -> kube::Result<()> {
    match ended {
        Some(Ok(result)) => result,
        Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
        None => Ok(()),
    }
}

async fn write_one(api: &Api<DynamicObject>, object: Value) -> kube::Result<()> {
    let status = object["status"].clone();
    let name = object.pointer("/metadata/name").and_then(Value::as_str);
    let name = name.unwrap_or_default().to_owned();
    let object = serde_json::from_value(object).map_err(kube::Error::SerdeError)?;
    match api.create(&PostParams::default(), &object).await {
        // Of an earlier call that didn't end.
        Err(kube::Error::Api(refused)) if refused.code == 409 => {}
        created => drop(created?),
    }
    if status.is_null() {
        return Ok(());
    }
    let patch = Patch::Merge(json!({"status": status}));
    api.patch_status(&name, &PatchParams::default(), &patch)
        .await
        .map(|_| ())
}
