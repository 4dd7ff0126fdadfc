//! Scales on a real API server: read and written over what was seen, for built-in
//! and custom kinds, with rights and without, quickly and slowly.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kube::Api;
use starling_engine::node::platform::Scale;
use starling_kept::Queue;
use starling_kube::client::Connection;
use starling_kube::client::calls::Verb;
use starling_kube::patches::{self, Patch};
use starling_kube::scale::{Error, Scales};
use starling_kube::target::Reference;
use starling_kube::targets::{Found, derive};
use starling_kubernetes_rig::{Cluster, turn};
use tokio::sync::{mpsc, watch};

use crate::rig::{self, connect, namespace, reference, until, workload};

const WORKER: &str = "
apiVersion: example.com/v1
kind: Worker
metadata: {name: crunch, namespace: shop}
spec: {replicas: 3}
status: {replicas: 2, selector: app=crunch}
---
apiVersion: example.com/v1
kind: Worker
metadata: {name: sizeless, namespace: shop}
spec: {}
";

const REPLICATION_CONTROLLER: &str = "
apiVersion: v1
kind: ReplicationController
metadata: {name: old, namespace: shop}
spec:
  replicas: 0
  selector: {b: '2', a: '1'}
  template:
    metadata: {labels: {a: '1', b: '2'}}
    spec: {containers: [{name: main, image: localhost/none:1}]}
---";

#[tokio::test(flavor = "multi_thread")]
async fn whatever_has_a_scale_is_read_and_written_over_what_was_seen() {
    let Some(_turn) = turn::beside() else { return };
    rig::prepare();
    let cluster = Cluster::start(0).unwrap();
    let connection = connect(cluster.kubeconfig()).await.unwrap();
    let scales = Scales::new(connection.clone());
    let mut objects = namespace("shop");
    for kind in ["Deployment", "StatefulSet", "ReplicaSet"] {
        objects += &workload(kind, "shop", &kind.to_lowercase(), 2);
    }
    objects += REPLICATION_CONTROLLER;
    cluster.apply(&objects).unwrap();

    a_built_in_kinds_object_holds_its_own_scale(&connection.client, &scales).await;
    a_write_counts_only_over_what_was_seen(&cluster, &scales).await;
    what_can_not_be_scaled_is_told_apart(&connection, &scales).await;
    a_custom_resource_is_a_target_as_soon_as_it_is_installed(&cluster, &scales).await;
    missing_rights_name_the_rule_that_mends_them(&cluster).await;
    patches_are_carried_out_once_each(&cluster, &scales).await;
    a_slow_server_holds_up_nobody_else(&cluster).await;
}

async fn a_built_in_kinds_object_holds_its_own_scale(client: &kube::Client, scales: &Scales) {
    for (group, kind, name) in [
        ("apps", "Deployment", "deployment"),
        ("apps", "StatefulSet", "statefulset"),
        ("apps", "ReplicaSet", "replicaset"),
        ("", "ReplicationController", "old"),
    ] {
        let of = reference(group, kind, "shop", name);
        let resource = scales.kinds.resource(&(&of).into()).await.unwrap();
        let api: Api<derive::Object> = Api::namespaced_with(client.clone(), "shop", &resource.api);
        until("object and scale agree", async || {
            let derived = derive::scale(api.get(name).await.map_err(|e| e.to_string())?);
            let read = scales.read(&of).await.map_err(|e| e.to_string())?;
            // The object may change between the two.
            if derived.resource_version != read.resource_version {
                return Err(format!("{derived:?} and {read:?}"));
            }
            assert_eq!(
                Scale {
                    blocked: None,
                    ..derived
                },
                read,
                "{kind}"
            );
            Ok(())
        })
        .await;
    }
}

async fn a_write_counts_only_over_what_was_seen(cluster: &Cluster, scales: &Scales) {
    let web = reference("apps", "Deployment", "shop", "deployment");
    let seen = until("the replicas exist", async || {
        let seen = scales.read(&web).await.map_err(|e| e.to_string())?;
        if seen.running == 2 {
            Ok(seen)
        } else {
            Err(format!("{seen:?}"))
        }
    })
    .await;
    assert_eq!(
        (seen.replicas, seen.selector.as_str()),
        (2, "app=deployment,tier in (a,b)")
    );
    // Nothing changes by itself any more: no node takes the pods.
    let written = scales.write(&web, &seen, 5).await.unwrap();
    assert_eq!(
        (written.replicas, written.uid.clone()),
        (5, seen.uid.clone())
    );
    assert_ne!(written.resource_version, seen.resource_version);
    match scales.write(&web, &seen, 7).await {
        Err(Error::Conflict(now)) => assert_eq!(now.replicas, 5),
        other => panic!("a stale write: {other:?}"),
    }
    cluster
        .kubectl(["delete", "deployment", "deployment", "-n", "shop"])
        .unwrap();
    assert!(matches!(scales.read(&web).await, Err(Error::Gone(_))));
    let late = scales.write(&web, &written, 7).await;
    assert!(matches!(late, Err(Error::Gone(_))), "{late:?}");
    cluster
        .apply(&workload("Deployment", "shop", "deployment", 1))
        .unwrap();
    match scales.write(&web, &written, 7).await {
        Err(Error::Conflict(now)) => {
            assert_eq!(now.replicas, 1);
            assert_ne!(now.uid, written.uid);
        }
        other => panic!("a write to the object's successor: {other:?}"),
    }
}

async fn what_can_not_be_scaled_is_told_apart(connection: &Connection, scales: &Scales) {
    let why = async |of: &Reference| match scales.read(of).await {
        Err(Error::NotScalable(why)) => why,
        other => panic!("{of:?}: {other:?}"),
    };
    let map = why(&reference("", "ConfigMap", "shop", "any")).await;
    assert_eq!(
        map,
        "ConfigMap has no scale subresource, so nothing can size it"
    );
    let unknown = why(&reference("apps", "Deploymant", "shop", "any")).await;
    assert!(
        unknown.starts_with("this cluster knows no kind Deploymant in apps"),
        "{unknown}"
    );
    let elsewhere = why(&reference("example.net", "Thing", "shop", "any")).await;
    assert!(
        elsewhere.contains("CustomResourceDefinition"),
        "{elsewhere}"
    );
    why(&reference("apps", "Deployment", "shop", "../../x")).await;

    let mut old = reference("apps", "StatefulSet", "shop", "statefulset");
    old.version = "v1beta1".into();
    assert_eq!(scales.read(&old).await.unwrap().replicas, 2);
    let reads = || connection.calls.tally(Verb::Get).calls;
    let before = reads();
    scales.read(&old).await.unwrap();
    assert_eq!(reads() - before, 1, "the kind is known by now");
}

async fn a_custom_resource_is_a_target_as_soon_as_it_is_installed(
    cluster: &Cluster,
    scales: &Scales,
) {
    let crunch = reference("example.com", "Worker", "shop", "crunch");
    assert!(matches!(
        scales.read(&crunch).await,
        Err(Error::NotScalable(_))
    ));
    cluster.apply(rig::WORKERS).unwrap();
    until("the worker is made", async || {
        cluster.apply(WORKER).map_err(|e| e.to_string())
    })
    .await;
    let seen = until("the new kind is known", async || {
        scales.read(&crunch).await.map_err(|e| e.to_string())
    })
    .await;
    assert_eq!(
        (seen.replicas, seen.running, seen.selector.as_str()),
        (3, 2, "app=crunch")
    );
    let written = scales.write(&crunch, &seen, 0).await.unwrap();
    assert_eq!(written.replicas, 0);
    let stale = scales.write(&crunch, &seen, 9).await;
    assert!(matches!(stale, Err(Error::Conflict(_))), "{stale:?}");

    match scales
        .read(&reference("example.com", "Worker", "shop", "sizeless"))
        .await
    {
        Err(Error::NotScalable(why)) => assert!(why.contains("states no size"), "{why}"),
        other => panic!("{other:?}"),
    }
}

async fn missing_rights_name_the_rule_that_mends_them(cluster: &Cluster) {
    cluster
        .kubectl(["create", "serviceaccount", "weak", "-n", "shop"])
        .unwrap();
    let token = cluster
        .kubectl(["create", "token", "weak", "-n", "shop"])
        .unwrap();
    let weak = rig::connect_with_token(cluster.kubeconfig(), &token)
        .await
        .unwrap();
    let scales = Scales::new(weak);
    let set = reference("apps", "StatefulSet", "shop", "statefulset");
    let rule = match scales.read(&set).await {
        Err(Error::Forbidden { rule, why }) => {
            assert!(why.contains("cannot get resource"), "{why}");
            rule
        }
        other => panic!("{other:?}"),
    };
    let grant = format!(
        "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: scaler, namespace: shop}}
rules: [{rule}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: scaler, namespace: shop}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: scaler}}
subjects: [{{kind: ServiceAccount, name: weak, namespace: shop}}]
"
    );
    cluster.apply(&grant).unwrap();
    let seen = until("the rule counts", async || {
        scales.read(&set).await.map_err(|e| e.to_string())
    })
    .await;
    assert_eq!(scales.write(&set, &seen, 3).await.unwrap().replicas, 3);
}

struct Executor {
    patches: mpsc::Sender<Patch>,
    answers: mpsc::Receiver<Found>,
    fence: watch::Sender<bool>,
}

fn executor(scales: &Scales) -> Executor {
    let (patches, inbox) = mpsc::channel(patches::INBOX);
    let (outbox, answers) = mpsc::channel(16);
    let (fence, fenced) = watch::channel(true);
    tokio::spawn(patches::run(
        scales.clone(),
        Queue::new(inbox),
        fenced,
        outbox,
    ));
    Executor {
        patches,
        answers,
        fence,
    }
}

fn patch(of: &Reference, seen: &Scale, to: u32) -> Patch {
    Patch {
        reference: of.clone(),
        uid: seen.uid.clone(),
        resource_version: seen.resource_version.clone(),
        from: seen.replicas,
        to,
    }
}

impl Executor {
    async fn answer(&mut self) -> Found {
        let next = tokio::time::timeout(rig::LIMIT, self.answers.recv()).await;
        next.expect("an answer in time").expect("the executor runs")
    }

    async fn result(&mut self, patch: Patch) -> Result<Scale, Error> {
        self.patches.send(patch).await.unwrap();
        match self.answer().await {
            Found::Patched { result, .. } => result,
            other @ Found::Read { .. } => panic!("{other:?}"),
        }
    }
}

async fn patches_are_carried_out_once_each(cluster: &Cluster, scales: &Scales) {
    let mut executor = executor(scales);
    let set = reference("apps", "ReplicaSet", "shop", "replicaset");
    let seen = scales.read(&set).await.unwrap();

    // The object changes, but not its size: the write is repeated over it.
    let annotate = [
        "annotate",
        "replicaset",
        "replicaset",
        "-n",
        "shop",
        "note=a",
    ];
    cluster.kubectl(annotate).unwrap();
    let written = executor.result(patch(&set, &seen, 4)).await.unwrap();
    assert_eq!(written.replicas, 4);

    // Its size changed: nothing is written, and what is there now is told.
    match executor.result(patch(&set, &seen, 6)).await {
        Err(Error::Conflict(now)) => assert_eq!(now.replicas, 4),
        other => panic!("{other:?}"),
    }
    executor.fence.send_replace(false);
    let fenced = executor.result(patch(&set, &written, 6)).await;
    assert!(matches!(fenced, Err(Error::Refused(_))), "{fenced:?}");
    assert_eq!(scales.read(&set).await.unwrap().replicas, 4);
}

/// Far more than a slow answer takes, far less than many in a row.
const SLOW: Duration = Duration::from_secs(2);
const SLOW_TARGETS: usize = 16;

async fn a_slow_server_holds_up_nobody_else(cluster: &Cluster) {
    let mut objects = namespace("many");
    for i in 0..SLOW_TARGETS {
        objects += &workload("ReplicaSet", "many", &format!("set{i}"), 0);
    }
    cluster.apply(&objects).unwrap();
    let connection = connect(cluster.kubeconfig_through_proxy()).await.unwrap();
    let scales = Scales::new(connection);
    let mut seen = Vec::new();
    for i in 0..SLOW_TARGETS {
        let of = reference("apps", "ReplicaSet", "many", &format!("set{i}"));
        let scale = scales.read(&of).await.unwrap();
        seen.push((of, scale));
    }

    let mut executor = executor(&scales);
    cluster.slow_api_server(SLOW);
    let begun = Instant::now();
    for (of, scale) in &seen {
        executor.patches.send(patch(of, scale, 1)).await.unwrap();
    }
    let mut done = BTreeSet::new();
    while done.len() < SLOW_TARGETS {
        match executor.answer().await {
            Found::Patched { target, result } => {
                assert_eq!(result.unwrap().replicas, 1);
                done.insert(target);
            }
            other @ Found::Read { .. } => panic!("{other:?}"),
        }
    }
    let took = begun.elapsed();
    let in_a_row = SLOW * SLOW_TARGETS as u32;
    assert!(took < in_a_row / 2, "{SLOW_TARGETS} writes took {took:?}");

    // So slow that the answer comes too late: what became of the write is read.
    cluster.slow_api_server(Duration::from_hours(1));
    cluster.break_connections();
    let (of, _) = &seen[0];
    let direct = Scales::new(connect(cluster.kubeconfig()).await.unwrap());
    let scale = direct.read(of).await.unwrap();
    let result = executor.result(patch(of, &scale, 2)).await;
    assert!(matches!(result, Err(Error::Unknown(_))), "{result:?}");
    cluster.slow_api_server(Duration::ZERO);
    cluster.break_connections();
    match executor.answer().await {
        Found::Read { target, result } => {
            assert_eq!(target, of.target);
            assert!(result.is_ok(), "{result:?}");
        }
        other @ Found::Patched { .. } => panic!("{other:?}"),
    }
}
