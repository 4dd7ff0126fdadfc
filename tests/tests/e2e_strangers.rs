//! Real agents that may have few files open, and strangers that take as many as they can.
#![allow(clippy::expect_used)] // A helper that finds nothing has failed its test.

use std::collections::BTreeSet;

use starling_rig::cluster::files::Documents;
use starling_rig::cluster::{Cluster, Launch};
use starling_tests::{binary, until};
use tokio::net::TcpStream;

const PROCESS: &str = "\
apiVersion: starling.sh/v1alpha1
kind: Process
metadata: {name: web}
spec:
  command: [sleep, '600']
  requests: {cpu: 100m}
";

const POLICY: &str = "\
apiVersion: starling.sh/v1alpha1
kind: ScalingPolicy
metadata: {name: web}
spec:
  scaleTargetRef: {kind: Process, name: web}
  minReplicaCount: 6
  maxReplicaCount: 12
  triggers:
  - type: cpu
    metricType: Utilization
    metadata: {value: '60'}
";

const WORKERS: usize = 6;
/// Twice as many as an agent needs.
const FILES: &str = "--nofile=256:256";
/// To each port of each agent.
const STRANGERS: usize = 400;

fn workers(cluster: &mut Cluster) -> BTreeSet<u32> {
    let workers = cluster.sample().workers;
    workers.iter().map(|worker| worker.pid).collect()
}

#[tokio::test]
async fn strangers_that_take_connections_stop_no_worker_and_keep_no_user_out() {
    let mut cluster = Cluster::new(&binary(), 3).expect("a cluster");
    for position in 0..3 {
        let by = ["prlimit", FILES].map(str::to_owned).to_vec();
        let launch = Launch {
            by,
            ..Launch::default()
        };
        cluster.launch(position, launch);
    }
    let documents = Documents {
        each: PROCESS.into(),
        first: POLICY.into(),
    };
    let observer = cluster.start(&documents).await.expect("it forms");
    until("all workers run", || {
        let pids = workers(&mut cluster);
        async move { (pids.len() == WORKERS).then_some(()) }
    })
    .await;
    let before = workers(&mut cluster);
    let mut ports = cluster.api_addresses();
    ports.extend(cluster.health_addresses());
    let mut strangers = Vec::new();
    for port in &ports {
        for _ in 0..STRANGERS {
            strangers.push(TcpStream::connect(port).await.expect("a connection"));
        }
    }
    for position in 0..3 {
        // Each look of a supervisor takes descriptors, and so does each answer.
        for _ in 0..20 {
            until("an agent answers", || async {
                observer.status(position).await.ok()
            })
            .await;
            assert_eq!(workers(&mut cluster), before, "workers were stopped");
        }
        assert!(
            cluster
                .log(position)
                .contains("may have as many files open"),
            "the limit is said"
        );
    }
}
