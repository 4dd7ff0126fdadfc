//! Prints what a measurement of all containers of a node costs, once a second as an
//! agent does it: on files in a folder, and, where this is run by root, on as many
//! real cgroups. These are empty, so beside version 1 no pressure is read.
//!
//!     cargo run --release -p starling-collect --example cgroups -- [PODS] [CONTAINERS] [TIMES]
#![allow(clippy::unwrap_used)] // It stops where something can't be made.

#[path = "../tests/made/mod.rs"]
mod made;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use starling_collect::HostRoot;
use starling_collect::cgroup::{Cgroups, PodRef};
use starling_engine::unit::Ms;

fn main() {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse().unwrap());
    let mut number = |default: usize| numbers.next().unwrap_or(default);
    let (pods, containers, times) = (number(110), number(2), number(30));
    let pods: Vec<PodRef> = (0..pods).map(|at| made::pod(at, containers)).collect();

    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &pods);
    report("files in a folder", folder.path(), &pods, times);

    if let Some(made) = made::Made::new() {
        for pod in &pods {
            made.make(pod);
        }
        report("real cgroups", Path::new("/sys"), &pods, times);
    }
}

fn report(what: &str, sys: &Path, pods: &[PodRef], times: usize) {
    let started = Instant::now();
    let mut cgroups = Cgroups::open(&HostRoot {
        sys: sys.to_owned(),
        ..HostRoot::default()
    });
    let first = cgroups.measure(Ms(0), pods);
    let found = started.elapsed();
    assert!(first.problems.is_empty(), "{:?}", first.problems);
    let times = times.max(1);
    let before_ms = made::cpu_ms(std::process::id());
    let mut took: Vec<Duration> = (0..times)
        .map(|_| {
            let started = Instant::now();
            cgroups.measure(Ms(0), pods);
            let took = started.elapsed();
            std::thread::sleep(Duration::from_secs(1).saturating_sub(took));
            took
        })
        .collect();
    let cpu_ms = made::cpu_ms(std::process::id()) - before_ms;
    took.sort();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100].as_secs_f64() * 1_000.0;
    let containers: usize = pods.iter().map(|pod| pod.containers.len()).sum();
    println!(
        "{what} ({:?}): {containers} containers, {} files open; found and read first in {:.1} ms; \
         then p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms; {:.2} ms of CPU each",
        cgroups.layout().map(|layout| layout.form),
        cgroups.open_files(),
        found.as_secs_f64() * 1_000.0,
        at(50),
        at(99),
        at(100),
        cpu_ms as f64 / times as f64,
    );
}

/// What a pod's own cgroup says too.
fn signals(place: &Path) {
    let pressure = "some avg10=0.00 avg60=0.00 avg300=0.00 total=5\n\
                    full avg10=0.00 avg60=0.00 avg300=0.00 total=4\n";
    for name in ["cpu", "memory", "io"] {
        fs::write(place.join(format!("{name}.pressure")), pressure).unwrap();
    }
    let events = "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n";
    fs::write(place.join("memory.events"), events).unwrap();
}

/// Each container as version 2 shows it, with a memory.stat as long as the kernel's.
fn write(sys: &Path, pods: &[PodRef]) {
    let root = sys.join("fs/cgroup");
    let filler = "some_counter 123456789\n".repeat(60);
    fs::create_dir_all(&root).unwrap();
    fs::write(root.join("cgroup.controllers"), "cpu memory\n").unwrap();
    for pod in pods {
        for container in &pod.containers {
            let (_, id) = container.container_id.split_once("://").unwrap();
            let place = root.join(format!("kubepods/pod{}/{id}", pod.uid));
            fs::create_dir_all(&place).unwrap();
            let cpu = "usage_usec 5000000\nuser_usec 1\nsystem_usec 1\n";
            fs::write(place.join("cpu.stat"), cpu).unwrap();
            fs::write(place.join("memory.current"), "123456789\n").unwrap();
            let stat = format!("{filler}inactive_file 5\n");
            fs::write(place.join("memory.stat"), stat).unwrap();
            let io = "8:0 rbytes=1 wbytes=2 rios=1 wios=1 dbytes=0 dios=0\n";
            fs::write(place.join("io.stat"), io).unwrap();
            fs::write(place.join("pids.current"), "7\n").unwrap();
            signals(&place);
        }
        signals(&root.join(format!("kubepods/pod{}", pod.uid)));
    }
}
