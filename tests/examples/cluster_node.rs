//! What an agent costs on a node that is full: 105 pods of two containers, real ones,
//! beside the agent and what every node runs.
//!
//!     cargo run --release -p starling-tests --example cluster_node -- [PODS]
//!
//! One node of a real cluster, with the project's image and manifests. A policy looks at
//! the pods' CPU, memory, disk, network and throttling, so that everything of them is
//! measured, summed and gossiped; it keeps its size. The agent leads, alone, and keeps
//! the log. Prints a minute's cost, and beside it what one full scan of the same machine
//! by sysinfo takes. The agent is that of `STARLING_BINARY`, or else of the same build.
#![allow(clippy::unwrap_used)] // A measurement that can't be made ends.

use std::process::Command;
use std::time::{Duration, Instant};

use starling_tests::cost;
use starling_tests::installed::{Installed, manifests};
use starling_tests::workload::deployment;

/// A kubelet runs 110, as a rule.
const PODS: u32 = 105;
/// Pods of one node start a few at a time.
const PATIENCE: Duration = Duration::from_mins(10);
const MEASURED: Duration = Duration::from_mins(1);

fn main() {
    let pods = std::env::args().nth(1);
    let pods = pods.map_or(PODS, |number| number.parse().unwrap());
    let installed = Installed::start(1, &manifests());
    installed.namespace("full");
    installed.apply("full", &two_containers(&deployment("full", pods, 0)));
    installed.apply("full", &policy(pods));
    let begun = Instant::now();
    let ready = [
        "get",
        "deployment",
        "full",
        "-n",
        "full",
        "-o",
        "jsonpath={.status.readyReplicas}",
    ];
    let what = "all pods are ready";
    let wanted = pods.to_string();
    let found = installed.cluster.until(what, PATIENCE, |cluster| {
        let said = cluster.kubectl(ready).map_err(|error| error.to_string())?;
        if said.trim() == wanted {
            return Ok(());
        }
        std::thread::sleep(Duration::from_secs(2));
        Err(format!("{said} of {wanted}"))
    });
    found.unwrap();
    println!(
        "{pods} pods of two containers, ready after {:.0?}:",
        begun.elapsed()
    );
    for (node, cost) in cost::over(&installed, MEASURED) {
        println!("  {node}: {cost}");
    }
    let scan = ["--release", "-p", "starling-collect", "--example", "node"];
    let mut cargo = Command::new(env!("CARGO"));
    let ended = cargo.args(["run", "-q"]).args(scan).status().unwrap();
    assert!(ended.success(), "{ended}");
}

/// Each pod gets a second container like its first. They ask for next to nothing, so that
/// all of them fit.
fn two_containers(deployment: &str) -> String {
    let deployment = deployment.replace("cpu: 100m, memory: 16Mi", "cpu: 1m, memory: 4Mi");
    let (head, first) = deployment.split_once("      - name: load\n").unwrap();
    format!("{head}      - name: load\n{first}      - name: beside\n{first}")
}

/// Holds the size that there is.
fn policy(pods: u32) -> String {
    format!(
        r#"
apiVersion: starling.sh/v1alpha1
kind: ScalingPolicy
metadata: {{name: full}}
spec:
  scaleTargetRef: {{name: full}}
  minReplicaCount: {pods}
  maxReplicaCount: {pods}
  triggers:
  - {{type: cpu, metricType: Utilization, metadata: {{value: "70"}}}}
  - {{type: memory, metricType: Utilization, metadata: {{value: "90"}}}}
  - {{type: disk, metadata: {{value: 10Mi}}}}
  - {{type: network, metadata: {{value: 10Mi}}}}
  - {{type: throttling, metadata: {{value: "50", window: 60s}}}}
"#
    )
}
