//! The CPU of real workers. Other tests may leave them little of a core, hence
//! the wide bounds; the arithmetic is proved on recorded trees.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use starling_agent::measure;
use starling_collect::proc::boot_ms;
use starling_collect::{Collector, HostRoot};
use starling_engine::policy::Resource;
use starling_engine::unit::{Ms, Stamp};
use starling_process::Supervisor;
use starling_process::spec::Spec;

/// Thousandths of a core: far above idling, and below what two processes would use.
const SEEN: std::ops::Range<u64> = 50..1_500;

/// Runs a script as one worker and samples it until a window shows load.
async fn highest(script: &str) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::start("test", dir.path()).unwrap();
    let command = ["sh", "-c", script].map(str::to_owned).to_vec();
    let spec = Spec {
        name: "web".into(),
        command,
        ..Spec::default()
    };
    let specs = BTreeMap::from([("web".to_owned(), spec)]);
    supervisor.offer(specs.clone());
    supervisor.set(Stamp::default(), "web", 1).unwrap();
    let mut collector = Collector::new(HostRoot::from_env(None));
    let deadline = Instant::now() + Duration::from_mins(1);
    let mut highest = 0;
    while highest < SEEN.start && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let moment = measure::Moment {
            now: Ms(9_000),
            boot_ms: boot_ms(),
        };
        let replicas = measure::replicas(&specs, &supervisor.workers(), moment);
        let sample = collector.sample(Ms(9_000), measure::offered(&specs), &replicas);
        let cpu = sample.workloads.values().flatten().next();
        let cpu = cpu.and_then(|pod| pod.metrics.get(&Resource::Cpu)?.sample);
        highest = cpu.map_or(highest, |cpu| highest.max(cpu.milli as u64));
    }
    supervisor.stop_all().await;
    highest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_loop_uses_one_core_at_most_and_is_seen() {
    let milli = highest("while :; do :; done").await;
    assert!(SEEN.contains(&milli), "{milli}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_child_of_an_idle_worker_counts() {
    let milli = highest("sh -c 'while :; do :; done' & wait").await;
    assert!(SEEN.contains(&milli), "{milli}");
}

#[tokio::test(flavor = "multi_thread")]
async fn children_that_live_for_milliseconds_count() {
    let burst = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done";
    let milli = highest(&format!("while :; do sh -c '{burst}'; done")).await;
    assert!(SEEN.contains(&milli), "{milli}");
}
