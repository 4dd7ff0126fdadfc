//! `kubectl starling` against pods that stand for agents: it finds one that can be
//! asked, and passes on what is said, in both directions.
#![allow(clippy::unwrap_used)] // What isn't there fails its test.

use std::env;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use starling_kubernetes_rig::{Cluster, Cut, Settings, image, turn};

/// Pods as the `DaemonSet` makes them, but with a script in the place of `starling`. It
/// says who it is and what it was asked.
const AGENTS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: starling-system}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: starling, namespace: starling-system}
data:
  starling: |
    #!/bin/sh
    [ "$1" != version ] || exit 0
    echo "$(hostname) was asked $#: $*"
    [ "$1" != explain ] || { echo "no such policy" >&2; exit 4; }
---
"#;
const AGENT: &str = r#"
apiVersion: v1
kind: Pod
metadata:
  name: NAME
  namespace: starling-system
  labels: {app.kubernetes.io/name: starling}
spec:
  nodeName: NODE
  terminationGracePeriodSeconds: 0
  containers:
    - name: agent
      image: localhost/starling-test/load:1
      imagePullPolicy: Never
      env: [{name: PATH, value: "/bin:/usr/local/bin"}]
      readinessProbe: {exec: {command: [test, -e, /tmp/milli, -a, "NAME", "!=", unready]}, periodSeconds: 1}
      volumeMounts: [{name: bin, mountPath: /usr/local/bin}]
  volumes: [{name: bin, configMap: {name: starling, defaultMode: 365}}]
---
"#;
const LIMIT: Duration = Duration::from_mins(1);

fn starling(cluster: &Cluster, words: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../daemonset/kubectl-starling");
    let kubectl = cluster.binary("kubectl").unwrap();
    let folders = env::var_os("PATH").unwrap();
    let folders = [kubectl.parent().unwrap().to_owned()]
        .into_iter()
        .chain(env::split_paths(&folders));
    Command::new(script)
        .env("PATH", env::join_paths(folders).unwrap())
        .arg("--kubeconfig")
        .arg(cluster.kubeconfig())
        .args(words)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn a_pod_that_can_be_asked_is_found_and_words_and_exit_codes_pass() {
    let Some(_turn) = turn::beside() else { return };
    let cluster = Cluster::start_with(Settings {
        nodes: 2,
        images: vec![image::load().unwrap()],
        ..Settings::default()
    })
    .unwrap();
    cluster.apply(AGENTS).unwrap();
    let refused = starling(&cluster, &["status"]);
    assert_eq!(refused.status.code(), Some(5), "{refused:?}");
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("no agent runs"),
        "{refused:?}"
    );

    let pods = [("one", "node1"), ("two", "node2"), ("unready", "node1")];
    for (name, node) in pods {
        cluster
            .apply(&AGENT.replace("NAME", name).replace("NODE", node))
            .unwrap();
    }
    let wait = [
        "wait",
        "-n",
        "starling-system",
        "--for=condition=Ready",
        "--timeout=60s",
    ];
    cluster
        .kubectl([&wait[..], &["pod/one", "pod/two"]].concat())
        .unwrap();
    cluster
        .until("the third pod runs", LIMIT, |cluster| {
            let path = "jsonpath={.status.containerStatuses[0].started}";
            let words = ["get", "pod", "unready", "-n", "starling-system", "-o", path];
            match cluster.kubectl(words).as_deref() {
                Ok("true") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .unwrap();

    // The order among those that are ready is kubectl's own.
    let asked = starling(&cluster, &["decisions", "two words", "-o", "json"]);
    assert!(asked.status.success(), "{asked:?}");
    let (first, rest) = said(&asked)
        .split_once(' ')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    assert_eq!(rest, "was asked 4: decisions two words -o json");
    let other = match first.as_str() {
        "one" => "two",
        "two" => "one",
        unready => panic!("{unready} was asked"),
    };
    let refused = starling(&cluster, &["explain", "web"]);
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no such policy"));

    // Its node is away, and nobody has noticed yet.
    let node = if first == "one" { "node1" } else { "node2" };
    cluster.cut(node, Cut::Both).unwrap();
    let began = Instant::now();
    let asked = starling(&cluster, &["status"]);
    let took = began.elapsed();
    assert_eq!(
        said(&asked),
        format!("{other} was asked 1: status"),
        "{asked:?}"
    );
    assert!(took < Duration::from_secs(20), "it took {took:?}");
    cluster.heal(node).unwrap();

    cluster
        .kubectl(["delete", "pod", "one", "two", "-n", "starling-system"])
        .unwrap();
    let asked = starling(&cluster, &["status"]);
    assert_eq!(said(&asked), "unready was asked 1: status", "{asked:?}");
    cluster.end().unwrap();
}
