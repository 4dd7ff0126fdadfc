//! Prints what a measurement of all containers of a node costs, once a second as an
//! agent does it: on files in a folder, on a kubelet's summary every five seconds, and,
//! where this is run by root, on as many real cgroups, first where workloads are sized by
//! all that cgroups tell, then where they are by CPU and memory. These cgroups are empty:
//! beside version 1 no pressure is read, and no memory moves.
//!
//!     cargo run --release -p starling-collect --example cgroups -- [PODS] [CONTAINERS] [TIMES]
#![allow(clippy::unwrap_used)] // It stops where something can't be made.

#[path = "../tests/made/mod.rs"]
mod made;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use starling_collect::cgroup::{Cgroups, PodRef};
use starling_collect::kubelet::{ASK_EVERY, Kubelet};
use starling_collect::{HostRoot, Measure};
use starling_engine::policy::Resource;
use starling_engine::unit::Ms;

fn main() {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse().unwrap());
    let mut number = |default: usize| numbers.next().unwrap_or(default);
    let (pods, containers, times) = (number(110), number(2), number(30));
    let pods: Vec<PodRef> = (0..pods).map(|at| made::pod(at, containers)).collect();

    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &pods);
    report("files in a folder", folder.path(), &pods, times);

    by_kubelet(&pods, times);
    if let Some(made) = made::Made::new() {
        for pod in &pods {
            made.make(pod);
        }
        report("real cgroups", Path::new("/sys"), &pods, times);
        let of_two = pods.iter().cloned().map(|pod| PodRef {
            seldom: BESIDE.into(),
            ..pod
        });
        let of_two: Vec<PodRef> = of_two.collect();
        let what = "real cgroups, by CPU and memory";
        report(what, Path::new("/sys"), &of_two, times);
    }
}

/// What an agent reads seldom of such pods.
const BESIDE: [Resource; 6] = [
    Resource::Disk,
    Resource::Network,
    Resource::PsiCpu,
    Resource::PsiMemory,
    Resource::PsiIo,
    Resource::Throttling,
];

fn report(what: &str, sys: &Path, pods: &[PodRef], times: usize) {
    let started = Instant::now();
    let mut cgroups = Cgroups::open(&HostRoot {
        sys: sys.to_owned(),
        ..HostRoot::default()
    });
    let first = cgroups.measure(Ms(0), pods);
    let found = started.elapsed();
    assert!(first.problems.is_empty(), "{:?}", first.problems);
    let costs = costs(&mut cgroups, pods, times);
    println!(
        "{what} ({:?}): {} containers, {} files open; found and read first in {:.1} ms; {costs}",
        cgroups.layout().map(|layout| layout.form),
        containers(pods),
        cgroups.open_files(),
        found.as_secs_f64() * 1_000.0,
    );
}

/// A summary as long as a kubelet's, new each time.
fn by_kubelet(pods: &[PodRef], times: usize) {
    let mut second = 0u64;
    let summary = summary(pods, 0).len();
    let mut asked = Instant::now();
    let own: Vec<PodRef> = pods.to_vec();
    let latest = move || {
        if second > 0 && asked.elapsed() < ASK_EVERY {
            return None;
        }
        asked = Instant::now();
        second += 5;
        Some(Ok(self::summary(&own, second)))
    };
    let mut kubelet = Kubelet::new(&HostRoot::default(), Box::new(latest));
    let costs = costs(&mut kubelet, pods, times);
    println!(
        "a kubelet's summary of {} KiB, made here too: {} containers; {costs}",
        summary >> 10,
        containers(pods),
    );
}

fn containers(pods: &[PodRef]) -> usize {
    pods.iter().map(|pod| pod.containers.len()).sum()
}

fn costs(reader: &mut dyn Measure, pods: &[PodRef], times: usize) -> String {
    let times = times.max(1);
    let before_ms = made::cpu_ms(std::process::id());
    let mut took: Vec<Duration> = (0..times)
        .map(|_| {
            let started = Instant::now();
            reader.measure(Ms(0), pods);
            let took = started.elapsed();
            std::thread::sleep(Duration::from_secs(1).saturating_sub(took));
            took
        })
        .collect();
    let cpu_ms = made::cpu_ms(std::process::id()) - before_ms;
    took.sort();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100].as_secs_f64() * 1_000.0;
    format!(
        "each p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms; {:.2} ms of CPU",
        at(50),
        at(99),
        at(100),
        cpu_ms as f64 / times as f64,
    )
}

/// What a kubelet says of these pods, with about as much that isn't read.
fn summary(pods: &[PodRef], second: u64) -> Vec<u8> {
    let at = format!("2026-11-26T21:{:02}:{:02}Z", second / 60 % 60, second % 60);
    let psi = r#"{"full":{"total":5,"avg10":0,"avg60":0,"avg300":0},"some":{"total":9,"avg10":0,"avg60":0,"avg300":0}}"#;
    let file_system = format!(
        r#"{{"time":"{at}","availableBytes":5,"capacityBytes":9,"usedBytes":3,"inodesFree":4,"inodes":5,"inodesUsed":1}}"#
    );
    let usage = format!(
        r#""cpu":{{"time":"{at}","usageNanoCores":5000000,"usageCoreNanoSeconds":{},"psi":{psi}}},"memory":{{"time":"{at}","usageBytes":9,"workingSetBytes":8,"rssBytes":7,"pageFaults":6,"majorPageFaults":5,"psi":{psi}}},"io":{{"time":"{at}","psi":{psi}}}"#,
        second * 5_000_000
    );
    let pods = pods.iter().map(|pod| {
        let containers = pod.containers.iter().map(|container| {
            let name = &container.name;
            format!(
                r#"{{"name":"{name}","startTime":"2026-11-26T20:00:00Z",{usage},"rootfs":{file_system},"logs":{file_system},"swap":{{"time":"{at}","swapUsageBytes":0}}}}"#
            )
        });
        let containers: Vec<String> = containers.collect();
        format!(
            r#"{{"podRef":{{"name":"{}","namespace":"{}","uid":"{}"}},"startTime":"2026-11-26T20:00:00Z","containers":[{}],{usage},"network":{{"time":"{at}","name":"eth0","rxBytes":{second},"txBytes":9,"interfaces":[{{"name":"eth0","rxBytes":{second},"txBytes":9}}]}},"volume":[{file_system}],"ephemeral-storage":{file_system},"process_stats":{{"process_count":3}}}}"#,
            pod.name,
            pod.namespace,
            pod.uid,
            containers.join(","),
        )
    });
    let pods: Vec<String> = pods.collect();
    format!(
        r#"{{"node":{{"cpu":{{"psi":{psi}}}}},"pods":[{}]}}"#,
        pods.join(",")
    )
    .into_bytes()
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
