//! The `process` target with real processes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "process/adopt.rs"]
mod adopt;
#[path = "process/files.rs"]
mod files;
#[path = "process/start.rs"]
mod start;
#[path = "process/stop.rs"]
mod stop;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use starling_collect::proc::{Proc, Stat};
use starling_engine::unit::Stamp;
use starling_process::spec::Spec;
use starling_process::worker::{LOG_BYTES_MAX, Worker};
use starling_process::{Error, Supervisor};

const CLUSTER: &str = "test";
/// Carried by a worker and all its descendants.
const TAG: &str = "STARLING_TEST_TAG";

fn shell(name: &str, script: &str) -> Spec {
    Spec {
        name: name.into(),
        command: vec!["sh".into(), "-c".into(), script.into()],
        stop_after_ms: 5_000,
        ..Spec::default()
    }
}

fn sleeper() -> Spec {
    Spec {
        command: vec!["sleep".into(), "1000".into()],
        ..shell("web", "")
    }
}

fn offer(supervisor: &Supervisor, specs: impl IntoIterator<Item = Spec>) {
    let named = |spec: Spec| (spec.name.clone(), spec);
    supervisor.offer(specs.into_iter().map(named).collect());
}

fn stamp(index: u64) -> Stamp {
    Stamp {
        generation: 1,
        index,
    }
}

fn pids(supervisor: &Supervisor) -> Vec<u32> {
    let workers = supervisor.workers();
    workers.iter().map(|worker| worker.pid).collect()
}

/// Waits for a condition; generous, because other tests use the machine, too.
async fn until<T>(what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        if let Some(seen) = seen() {
            return seen;
        }
        assert!(Instant::now() < deadline, "never seen: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn until_running(supervisor: &Supervisor, count: usize) -> Vec<Worker> {
    until(&format!("{count} workers"), || {
        Some(supervisor.workers()).filter(|workers| workers.len() == count)
    })
    .await
}

async fn until_trouble(supervisor: &Supervisor, name: &str, text: &str) -> String {
    until(text, || {
        let trouble = supervisor.troubles().remove(name);
        trouble.filter(|trouble| trouble.contains(text))
    })
    .await
}

fn alive(pid: u32) -> bool {
    Proc::new("/proc")
        .stat(pid)
        .unwrap()
        .is_some_and(|stat| stat.alive())
}

/// Live processes that carry the tag.
fn tagged(tag: &str) -> Vec<Stat> {
    let proc = Proc::new("/proc");
    let mut stats = proc.scan().unwrap();
    let carries = |pid| proc.variable(pid, TAG).unwrap().as_deref() == Some(tag);
    stats.retain(|stat| stat.alive() && carries(stat.pid));
    stats
}

/// A tag that no other test has, and the environment with it.
fn tag(dir: &Path) -> (String, BTreeMap<String, String>) {
    let tag = dir.display().to_string();
    (tag.clone(), BTreeMap::from([(TAG.into(), tag)]))
}

fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
}
