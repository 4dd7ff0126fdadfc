//! What agents cost in a large cluster: memory, CPU, and requests to the API server
//! at rest.
//!
//!     cargo run --release -p starling-tests --example cluster_size
//!     cargo run --release -p starling-tests --example cluster_size -- 5000:1000 30000:5000
//!
//! Three nodes run agents. Each argument is a step, so many pods and so many policies:
//! the policies' Deployments and their pods are plain objects on fake nodes, which
//! nothing runs behind, so no agent measures these pods and all of them count as
//! missing. Half of the policies look at CPU, half once a minute at a number that a
//! real pod tells and that asks for the present size: all hold their size. Prints, for each step, how long the cluster took to have all
//! policies in force and their conditions written, and a minute's cost of each agent.
#![allow(clippy::unwrap_used)] // A measurement that can't be made ends.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use starling_kubernetes_rig::{FakePods, image};
use starling_tests::cost;
use starling_tests::installed::{Installed, manifests, text};

const NODES: u8 = 3;
/// About 100 pods are on each at 30,000.
const FAKE_NODES: usize = 300;
const NAMESPACE: &str = "crowd";
/// Nothing runs on the fake nodes; only the DaemonSet's controller has work here.
const CONTROLLERS: &str = "--controllers=*,-deployment-controller,-replicaset-controller,\
                           -node-lifecycle-controller,-pod-garbage-collector-controller";
/// Conditions are written a few at a time.
const PATIENCE: Duration = Duration::from_mins(20);

fn main() {
    let steps: Vec<(usize, usize)> = std::env::args().skip(1).map(|step| parse(&step)).collect();
    let steps = if steps.is_empty() {
        vec![(5_000, 1_000), (30_000, 5_000)]
    } else {
        steps
    };
    let installed = Installed::start_with(NODES, &manifests(), vec![CONTROLLERS.into()]);
    installed.namespace(NAMESPACE);
    let source = source(&installed);
    installed.cluster.fake_nodes(FAKE_NODES).unwrap();
    println!("nothing but {FAKE_NODES} fake nodes:");
    show(&installed);
    let mut before = 0;
    for (pods, policies) in steps {
        grow(&installed, &source, before..policies, pods / policies);
        let made = Instant::now();
        await_status(&installed, policies);
        println!(
            "{pods} pods, {policies} policies; all conditions {:.0?} after the last was made:",
            made.elapsed()
        );
        show(&installed);
        before = policies;
    }
}

fn parse(step: &str) -> (usize, usize) {
    let numbers: Vec<usize> = step.split(':').filter_map(|it| it.parse().ok()).collect();
    match numbers.as_slice() {
        [pods, policies] if *policies > 0 => (*pods, *policies),
        _ => panic!("{step}: a step is PODS:POLICIES, such as 5000:1000"),
    }
}

/// Makes policies, each with a Deployment that has so many pods.
fn grow(installed: &Installed, source: &str, numbers: std::ops::Range<usize>, pods: usize) {
    let (cluster, numbers) = (&installed.cluster, || numbers.clone());
    let pods_of = |number| FakePods {
        namespace: NAMESPACE.into(),
        prefix: format!("app{number}-"),
        count: pods,
        nodes: FAKE_NODES,
        labels: [("app".into(), format!("app{number}"))].into(),
        cpu_milli: 100,
        memory_mib: 64,
    };
    let groups: Vec<FakePods> = numbers().map(pods_of).collect();
    cluster.fake_pods(&groups).unwrap();
    let deployments = numbers().map(|number| deployment(number, pods)).collect();
    cluster
        .fake_objects("apps/v1", "Deployment", NAMESPACE, deployments)
        .unwrap();
    let policies = numbers().map(|number| policy(number, source, pods));
    cluster
        .fake_objects(
            "starling.sh/v1alpha1",
            "ScalingPolicy",
            NAMESPACE,
            policies.collect(),
        )
        .unwrap();
}

fn deployment(number: usize, replicas: usize) -> Value {
    let name = format!("app{number}");
    let labels = json!({"app": name});
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{
                    "name": "fake",
                    "image": "fake",
                    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
                }]},
            },
        },
        "status": {
            "replicas": replicas,
            "readyReplicas": replicas,
            "availableReplicas": replicas,
            "updatedReplicas": replicas,
            "observedGeneration": 1,
        },
    })
}

/// Where a pod tells that there is no work.
fn source(installed: &Installed) -> String {
    let pod = format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: source}}
spec:
  nodeSelector: {{kubernetes.io/os: linux}}
  # What would take the taint of a new node away is switched off.
  tolerations: [{{operator: Exists}}]
  containers:
  - name: load
    image: {}
    imagePullPolicy: Never
",
        image::LOAD
    );
    installed.apply(NAMESPACE, &pod);
    let ready = [
        "wait",
        "pod/source",
        "-n",
        NAMESPACE,
        "--for=condition=Ready",
    ];
    installed.cluster.kubectl(ready).unwrap();
    let found = installed.cluster.get(["pod", "source", "-n", NAMESPACE]);
    text(&found.unwrap()["status"]["podIP"])
}

/// For a workload of so many replicas; what it looks at never asks for more.
fn policy(number: usize, source: &str, replicas: usize) -> Value {
    let name = format!("app{number}");
    let trigger = if number.is_multiple_of(2) {
        json!({"type": "cpu", "metricType": "Utilization", "metadata": {"value": "70"}})
    } else {
        json!({"type": "metrics-api", "metadata": {
            "url": format!("http://{source}:8080/cgi-bin/get"),
            "valueLocation": "number",
            "targetValue": "10",
        }})
    };
    json!({
        "apiVersion": "starling.sh/v1alpha1",
        "kind": "ScalingPolicy",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"name": name},
            "minReplicaCount": replicas,
            "maxReplicaCount": 100,
            "pollingInterval": 60,
            "triggers": [trigger],
        },
    })
}

/// Until every policy has conditions.
fn await_status(installed: &Installed, policies: usize) {
    let words = [
        "get",
        "scalingpolicies",
        "-n",
        NAMESPACE,
        "-o",
        "jsonpath={range .items[*]}{.status.conditions[0].type}{\"\\n\"}{end}",
    ];
    let what = "all policies have conditions";
    let told = installed.cluster.until(what, PATIENCE, |cluster| {
        let said = cluster.kubectl(words).map_err(|error| error.to_string())?;
        let told = said.lines().filter(|line| !line.is_empty()).count();
        if told == policies {
            return Ok(());
        }
        std::thread::sleep(Duration::from_secs(2));
        Err(format!("{told} of {policies}"))
    });
    told.unwrap();
}

/// A minute's cost of each agent, and of the whole fleet.
fn show(installed: &Installed) {
    // What was made is digested first.
    std::thread::sleep(Duration::from_secs(30));
    let leader = installed.leader();
    let costs = cost::over(installed, Duration::from_mins(1));
    for (node, cost) in &costs {
        let leads = if *node == leader { ", leads" } else { "" };
        println!("  {node}{leads}: {cost}");
    }
    let writes: f64 = costs.values().map(cost::Cost::writes).sum();
    println!("  writes of all agents: {writes:.2}/s");
}
