//! The forms of cgroups that clusters have, each written into a folder as a
//! host shows it, and what goes wrong with them.

mod forms;
mod memory;
mod network;
mod recorded;
mod signals;
mod states;

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use starling_engine::demand::pods::Reading;
use starling_engine::unit::Ms;

use super::usage::Throttled;
use super::*;
use crate::suite::{self, Told, World};

const UID: &str = "7b1f8a52-9c0e-4a3d-8f7e-0c6f5d2b9a11";
const ID: &str = "4f2c0d1e4f2c0d1e4f2c0d1e4f2c0d1e4f2c0d1e4f2c0d1e4f2c0d1e4f2c0d1e";
const OTHER: &str = "aa00bb11aa00bb11aa00bb11aa00bb11aa00bb11aa00bb11aa00bb11aa00bb11";

/// A host's sysfs in a folder, and a clock that stands still until it is set.
struct Host {
    dir: tempfile::TempDir,
    now_ns: Arc<AtomicU64>,
    /// So much passes with each look at the clock.
    step_ns: Arc<AtomicU64>,
}

/// What a container's files say.
#[derive(Clone, Copy, Default)]
struct Says {
    cpu_ms: u64,
    memory: u64,
    inactive: u64,
    /// Periods, throttled ones, milliseconds stopped.
    throttled: Option<[u64; 3]>,
}

impl Host {
    fn new() -> Host {
        let host = Host {
            dir: tempfile::tempdir().unwrap(),
            now_ns: Arc::default(),
            step_ns: Arc::default(),
        };
        host.write("devices/system/cpu/online", "0-3\n");
        host
    }

    fn v2() -> Host {
        let host = Host::new();
        host.write("fs/cgroup/cgroup.controllers", "cpu io memory pids\n");
        host
    }

    fn v1() -> Host {
        let host = Host::new();
        for controller in ["cpu", "cpuacct", "memory", "pids"] {
            host.write(&format!("fs/cgroup/{controller}/cgroup.procs"), "");
        }
        host
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // In place, as the kernel changes such a file: it may be open. (Emptied
        // first, some file systems write it to the disk each time.)
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.set_len(text.len() as u64).unwrap();
    }

    /// Writes a cgroup below a hierarchy of version 2.
    fn say_v2(&self, hierarchy: &str, place: &str, says: Says) {
        let dir = format!("fs/cgroup/{hierarchy}{place}");
        let mut cpu = format!("usage_usec {}\nuser_usec 1\n", says.cpu_ms * 1_000);
        if let Some([periods, throttled, stopped_ms]) = says.throttled {
            let stopped_us = stopped_ms * 1_000;
            write!(
                cpu,
                "nr_periods {periods}\nnr_throttled {throttled}\nthrottled_usec {stopped_us}\n"
            )
            .unwrap();
        }
        self.write(&format!("{dir}/cpu.stat"), &cpu);
        self.write(
            &format!("{dir}/memory.current"),
            &format!("{}\n", says.memory),
        );
        let stat = format!("anon 5\ninactive_anon 7\ninactive_file {}\n", says.inactive);
        self.write(&format!("{dir}/memory.stat"), &stat);
    }

    /// Writes a cgroup into hierarchies of version 1: where CPU time, the quota
    /// and memory are counted.
    fn say_v1(&self, [cpuacct, cpu, memory]: [&str; 3], place: &str, says: Says) {
        let file = |hierarchy: &str, name: &str| format!("fs/cgroup/{hierarchy}/{place}/{name}");
        let ns = says.cpu_ms * 1_000_000;
        self.write(&file(cpuacct, "cpuacct.usage"), &format!("{ns}\n"));
        let [periods, throttled, stopped_ms] = says.throttled.unwrap_or_default();
        let stat = format!(
            "nr_periods {periods}\nnr_throttled {throttled}\nthrottled_time {stopped_ms}000000\n"
        );
        self.write(&file(cpu, "cpu.stat"), &stat);
        let used = format!("{}\n", says.memory);
        self.write(&file(memory, "memory.usage_in_bytes"), &used);
        let stat = format!("inactive_file 1\ntotal_inactive_file {}\n", says.inactive);
        self.write(&file(memory, "memory.stat"), &stat);
    }

    fn cgroups(&self) -> Cgroups {
        self.bounded(Descriptors::at_most(1_000))
    }

    fn bounded(&self, descriptors: Descriptors) -> Cgroups {
        let (now_ns, step_ns) = (Arc::clone(&self.now_ns), Arc::clone(&self.step_ns));
        let clock = move || {
            let step_ns = step_ns.load(Ordering::Relaxed);
            Duration::from_nanos(now_ns.fetch_add(step_ns, Ordering::Relaxed))
        };
        let proc = self.path("proc");
        Cgroups::with(self.dir.path(), &proc, Box::new(clock), descriptors)
    }

    fn pass(&self, ms: u64) {
        self.now_ns.fetch_add(ms * 1_000_000, Ordering::Relaxed);
    }
}

/// A pod `shop/NAME` with containers `c0`, `c1`, … of these ids.
fn pod(uid: &str, name: &str, ids: &[&str]) -> PodRef {
    let container = |(at, id): (usize, &&str)| ContainerRef {
        name: format!("c{at}"),
        container_id: format!("containerd://{id}"),
    };
    PodRef {
        uid: uid.into(),
        namespace: "shop".into(),
        name: name.into(),
        containers: ids.iter().enumerate().map(container).collect(),
        pressure_by_container: true,
        ..PodRef::default()
    }
}

/// The pod's place with the driver cgroupfs, in class burstable.
fn place(uid: &str, id: &str) -> String {
    format!("/kubepods/burstable/pod{uid}/{id}")
}

fn cpu_milli(reading: Option<Reading>) -> Option<(i64, u64)> {
    reading.map(|reading| (reading.milli, reading.window_ms))
}

fn problems(measured: &Measured) -> Vec<String> {
    measured.problems.iter().map(ToString::to_string).collect()
}

/// A kernel's own view of what the suite of all readers tells.
struct Kernel(Host);

impl World for Kernel {
    fn reader(&mut self) -> Box<dyn Measure> {
        Box::new(self.0.cgroups())
    }

    fn tell(&mut self, told: &[Told]) {
        let root = self.0.path("fs/cgroup/kubepods/burstable");
        // What has gone is gone with its files.
        let here: BTreeMap<String, &Told> = told
            .iter()
            .map(|it| (suite::id(it.start, it.pod, it.container), it))
            .collect();
        for pod in fs::read_dir(root).unwrap().flatten() {
            for container in fs::read_dir(pod.path()).unwrap().flatten() {
                let name = container.file_name().into_string().unwrap();
                if !here.contains_key(&name) {
                    fs::remove_dir_all(container.path()).unwrap();
                }
            }
        }
        for (id, it) in here {
            let place = place(&suite::uid(it.pod), &id);
            let says = Says {
                cpu_ms: it.cpu_ms,
                memory: it.memory_bytes.unwrap_or_default(),
                ..Says::default()
            };
            self.0.say_v2("", &place, says);
            if it.memory_bytes.is_none() {
                // A file that is open can't be missing; it can say nothing.
                self.0
                    .write(&format!("fs/cgroup{place}/memory.current"), "");
            }
        }
    }

    fn pass(&mut self, ms: u64) {
        self.0.pass(ms);
    }
}

#[test]
fn cgroups_pass_the_suite_of_all_readers() {
    suite::run(|| {
        let host = Host::v2();
        fs::create_dir_all(host.path("fs/cgroup/kubepods/burstable")).unwrap();
        Box::new(Kernel(host))
    });
}
