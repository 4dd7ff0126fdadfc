//! The pods of one node on a real API server.

use std::sync::Arc;

use starling_engine::demand::pods::Phase;
use starling_kube::pods::{self, Snapshot};
use starling_kubernetes_rig::{Cluster, turn};
use tokio::sync::watch;

use crate::rig::{self, LIMIT, connect};

fn pod(name: &str, node: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: default, labels: {{app: web}}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 0
  initContainers:
  - {{name: side, image: localhost/none:1, restartPolicy: Always,
     resources: {{requests: {{cpu: 25m}}}}}}
  containers:
  - {{name: main, image: localhost/none:1, env: [{{name: SECRET, value: secret}}],
     resources: {{requests: {{cpu: 100m, memory: 8Mi}}}}}}
---"
    )
}

async fn seen(
    snapshots: &mut watch::Receiver<Arc<Snapshot>>,
    wanted: impl Fn(&Snapshot) -> bool,
) -> Arc<Snapshot> {
    let found = snapshots.wait_for(|snapshot| wanted(snapshot));
    let found = tokio::time::timeout(LIMIT, found).await;
    Arc::clone(&found.expect("in time").expect("the watch runs"))
}

fn names(snapshot: &Snapshot) -> Vec<&str> {
    let mut names: Vec<_> = snapshot
        .pods
        .values()
        .map(|pod| pod.name.as_str())
        .collect();
    names.sort_unstable();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_sees_the_pods_of_its_own_node_and_no_others() {
    let Some(_turn) = turn::beside() else { return };
    rig::prepare();
    let cluster = Cluster::start(0).unwrap();
    let some = pod("one", "mine") + &pod("two", "mine") + &pod("other", "another");
    cluster.apply(&some).unwrap();
    let connection = connect(cluster.kubeconfig_through_proxy()).await.unwrap();
    let (out, mut snapshots) = watch::channel(Arc::default());
    let follower = {
        let connection = connection.clone();
        tokio::spawn(async move { pods::follow(&connection, "mine", &out).await })
    };

    let first = seen(&mut snapshots, |s| s.listed && s.pods.len() == 2).await;
    assert_eq!(names(&first), ["one", "two"]);
    let one = first.pods.values().find(|pod| pod.name == "one").unwrap();
    assert_eq!(
        (one.phase, one.deleted, one.ready),
        (Phase::Pending, false, None)
    );
    assert_eq!(one.request_milli("cpu"), Some(125));
    assert_eq!(one.request_milli("memory"), None);
    assert!(!format!("{one:?}").contains("SECRET"));

    // The server goes: what was last known stays, and is called old.
    cluster.kill_api_server().unwrap();
    let away = seen(&mut snapshots, |s| s.trouble.is_some()).await;
    assert_eq!(names(&away), ["one", "two"]);
    cluster.resume_api_server().unwrap();
    cluster
        .kubectl(["delete", "pod", "one", "--force"])
        .unwrap();
    cluster.apply(&pod("three", "mine")).unwrap();
    let after = seen(&mut snapshots, |s| {
        s.trouble.is_none() && names(s) == ["three", "two"]
    })
    .await;
    assert_eq!((after.left_out, after.listed), (0, true));

    drop(snapshots);
    let ended = tokio::time::timeout(LIMIT, follower).await;
    ended.expect("it ends with its last reader").unwrap();
}
