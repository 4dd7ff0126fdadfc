//! Real agents that may have few files open, and strangers that take as many as they can.
#![allow(clippy::expect_used)] // A helper that finds nothing has failed its test.

use starling_rig::cluster::Launch;
use starling_tests::sleepers::{self, workers};
use starling_tests::until;
use tokio::net::TcpStream;

const WORKERS: usize = 6;
/// Twice as many as an agent needs.
const FILES: &str = "--nofile=256:256";
/// To each port of each agent.
const STRANGERS: usize = 400;

#[tokio::test]
async fn strangers_that_take_connections_stop_no_worker_and_keep_no_user_out() {
    let mut cluster = sleepers::three();
    for position in 0..3 {
        let by = ["prlimit", FILES].map(str::to_owned).to_vec();
        let launch = Launch {
            by,
            ..Launch::default()
        };
        cluster.launch(position, launch);
    }
    let observer = sleepers::start(&mut cluster, WORKERS).await;
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
