//! A cluster comes up, runs pods on several nodes that talk through a Service, and leaves
//! nothing behind.

#![allow(clippy::unwrap_used)] // A helper that finds nothing has failed its test.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use starling_kubernetes_rig::{Cluster, Settings, image, turn};

const WEB: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 8
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      topologySpreadConstraints:
      - maxSkew: 1
        topologyKey: kubernetes.io/hostname
        whenUnsatisfiable: DoNotSchedule
        labelSelector: {matchLabels: {app: web}}
      containers:
      - name: load
        image: localhost/starling-test/load:1
        imagePullPolicy: Never
        resources: {requests: {cpu: 10m, memory: 16Mi}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
";

#[test]
fn five_nodes_come_up_and_their_pods_talk_through_a_service() {
    let Some(_turn) = turn::alone() else { return };
    let images = vec![image::load().unwrap()];
    let began = Instant::now();
    let cluster = Cluster::start_with(Settings {
        nodes: 5,
        images,
        ..Settings::default()
    })
    .unwrap();
    eprintln!("five nodes were ready after {:?}", began.elapsed());
    assert_eq!(cluster.nodes().len(), 5);
    cluster.apply(WEB).unwrap();
    cluster
        .kubectl(["rollout", "status", "deploy/web", "--timeout=90s"])
        .unwrap();
    let nodes = cluster
        .kubectl(["get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}"])
        .unwrap();
    let nodes: BTreeSet<&str> = nodes.split(' ').collect();
    assert_eq!(nodes.len(), 5, "pods run on {nodes:?}");

    let service = "jsonpath={.spec.clusterIP}";
    let service = cluster
        .kubectl(["get", "service", "web", "-o", service])
        .unwrap();
    let mut answered = BTreeSet::new();
    cluster
        .until(
            "each pod answers through the Service",
            Duration::from_mins(1),
            |cluster| {
                // Which one answers is chance: twenty draws at a time.
                let draws = "n=0; while [ $n -lt 20 ]; do n=$((n + 1)); \
                             ask \"$0\" 80 /cgi-bin/get || exit 1; echo; done";
                let ask = ["exec", "deploy/web", "--", "sh", "-c", draws, &service];
                let answers = cluster.kubectl(ask).map_err(|e| e.to_string())?;
                let answers = answers.lines().filter(|it| !it.is_empty());
                answered.extend(answers.map(str::to_owned));
                (answered.len() == 8)
                    .then_some(())
                    .ok_or(format!("{answered:?}"))
            },
        )
        .unwrap();

    let id = cluster.id();
    cluster.end().unwrap();
    assert_nothing_is_left(&id);
}

fn assert_nothing_is_left(id: &str) {
    for (program, arguments) in [
        ("ip", ["-o", "link"]),
        ("ip", ["netns", "list"]),
        ("ps", ["-eo", "args"]),
    ] {
        let output = Command::new(program).args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let left: Vec<&str> = text.lines().filter(|line| line.contains(id)).collect();
        assert!(left.is_empty(), "{program} shows {left:?}");
    }
    for controller in ["cpu", "memory", "pids"] {
        assert!(
            !Path::new("/sys/fs/cgroup")
                .join(controller)
                .join(id)
                .exists()
        );
    }
}
