//! Measures the time from a step of load to the first additional worker in the
//! process table.
//!
//! The step is a real one: jobs arrive at once, at a queue that was empty and
//! served by one worker. The end is seen from outside, by looking at the process
//! table every 10 ms.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;
use serde::Serialize;
use starling_rig::cluster::Cluster;
use starling_rig::queue::http::Server;
use starling_rig::workload::{self, Workload};

use crate::times::Times;

const AGENTS: usize = 3;
/// Enough for ten workers by the policy's own arithmetic, done by one in 4 s.
const JOBS: usize = 40;
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// For the first additional worker.
const WORKER_WITHIN: Duration = Duration::from_secs(30);
/// For the queue to empty and the workers to be one again.
const CALM_WITHIN: Duration = Duration::from_mins(1);
/// How long it must have been calm before a step.
const CALM_FOR: Duration = Duration::from_secs(2);
const DOWN_WINDOW_S: u64 = 1;

#[derive(Debug, Clone, Serialize)]
pub struct Result {
    pub steps: usize,
    pub first_worker: Times,
}

/// Makes `steps` steps; `told` hears of each.
pub async fn run(
    binary: &Path,
    steps: usize,
    mut told: impl FnMut(&str),
) -> anyhow::Result<Result> {
    let queue = Server::start().await?;
    let mut cluster = Cluster::new(binary, AGENTS)?;
    let documents = workload::documents(&Workload {
        binary,
        queue: &queue.url(),
        stats: &queue.stats_url(),
        by_cpu: true,
        down_window_s: DOWN_WINDOW_S,
    });
    cluster.start(&documents).await?;
    cluster.working().await?;
    let mut times = Vec::new();
    for step in 0..steps {
        calm(&mut cluster, &queue).await?;
        // Polls and passes come once a second; steps shall not keep step with them.
        tokio::time::sleep(Duration::from_millis(step as u64 * 377 % 1_000)).await;
        let start = Instant::now();
        queue.offer(JOBS);
        while cluster.sample().workers.len() < 2 {
            cluster.check()?;
            if start.elapsed() > WORKER_WITHIN {
                bail!(
                    "no second worker within {} s of a step",
                    WORKER_WITHIN.as_secs()
                );
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let took = start.elapsed();
        told(&format!(
            "step {} of {steps}: {} ms",
            step + 1,
            took.as_millis()
        ));
        times.push(took);
    }
    cluster.stop_all().await;
    Ok(Result {
        steps,
        first_worker: Times::of(&times),
    })
}

/// Waits until one worker has been alone with an empty queue for a while.
async fn calm(cluster: &mut Cluster, queue: &Server) -> anyhow::Result<()> {
    let until = Instant::now() + CALM_WITHIN;
    let mut since = Instant::now();
    while since.elapsed() < CALM_FOR {
        cluster.check()?;
        let stats = queue.stats();
        let workers = cluster.sample().workers.len();
        if workers != 1 || stats.waiting + stats.leased > 0 {
            since = Instant::now();
        }
        if since > until {
            bail!(
                "after {} s there are {workers} workers and {stats:?}",
                CALM_WITHIN.as_secs()
            );
        }
        tokio::time::sleep(LOOK_EVERY * 5).await;
    }
    Ok(())
}
