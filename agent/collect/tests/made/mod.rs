//! Real cgroups with processes in them, made for one test and removed with it.
//!
//! They lie as a kubelet with a cgroup root of its own puts them, in whatever
//! version this machine mounts. What a crashed run left is removed by the next.
#![allow(clippy::unwrap_used)] // Where nothing can be made, the test has failed.
#![allow(dead_code)] // The tests and the example each use a part.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio, exit};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, getuid, kill_process};
use starling_collect::cgroup::layout::{Form, Layout};
use starling_collect::cgroup::{ContainerRef, PodRef};

const PREFIX: &str = "starling-test-";

pub struct Made {
    pub layout: Layout,
    /// Where cgroups are made: each hierarchy that is measured.
    hierarchies: Vec<PathBuf>,
    name: String,
    children: Vec<(PathBuf, Child)>,
}

impl Made {
    /// `None`, with the reason printed, where this process can't make cgroups.
    pub fn new() -> Option<Made> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        if !getuid().is_root() {
            println!("skipped: only root can make cgroups");
            return None;
        }
        let Some(layout) = Layout::detect(Path::new("/sys/fs/cgroup")) else {
            println!("skipped: this machine mounts no cgroups");
            return None;
        };
        let mut hierarchies: Vec<PathBuf> = Vec::new();
        for source in &layout.sources {
            if !hierarchies.contains(&source.hierarchy) {
                hierarchies.push(source.hierarchy.clone());
            }
        }
        remove_leftovers(&hierarchies);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let made = Made {
            layout,
            hierarchies,
            name: format!("{PREFIX}{}-{count}", std::process::id()),
            children: Vec::new(),
        };
        made.create(Path::new(""));
        Some(made)
    }

    /// The place of a pod's container, in each hierarchy.
    fn place(pod: &PodRef, container: &ContainerRef) -> PathBuf {
        let (_, id) = container.container_id.split_once("://").unwrap();
        Path::new("kubepods/burstable")
            .join(format!("pod{}", pod.uid))
            .join(id)
    }

    /// Makes the cgroup of each of the pod's containers.
    pub fn make(&self, pod: &PodRef) {
        for container in &pod.containers {
            self.create(&Made::place(pod, container));
        }
    }

    fn create(&self, place: &Path) {
        for hierarchy in &self.hierarchies {
            let mut path = hierarchy.clone();
            for part in [Path::new(&self.name), place]
                .iter()
                .flat_map(|path| path.iter())
            {
                if self.layout.form == Form::V2 {
                    // The children of a cgroup have the controllers that it hands down.
                    let control = path.join("cgroup.subtree_control");
                    fs::write(&control, "+cpu +memory +pids").unwrap();
                    // Not every kernel has it.
                    let _ = fs::write(&control, "+io");
                }
                path.push(part);
                match fs::create_dir(&path) {
                    Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                        panic!("{}: {e}", path.display())
                    }
                    _ => {}
                }
            }
        }
    }

    /// Writes a setting of the container's cgroup: the file of version 2 or that of
    /// version 1, whose hierarchy also has the file `beside`.
    fn set(&self, pod: &PodRef, container: &ContainerRef, beside: &str, files: [(&str, &str); 2]) {
        let place = Path::new(&self.name).join(Made::place(pod, container));
        let mut sources = self.layout.sources.iter();
        let source = sources.find(|source| source.kind.name == beside).unwrap();
        let cgroup = source.hierarchy.join(place);
        let there = files.iter().find(|(name, _)| cgroup.join(name).exists());
        let (name, text) = there.unwrap();
        fs::write(cgroup.join(name), text).unwrap();
    }

    /// A quota of so many thousandths of a core.
    pub fn limit(&self, pod: &PodRef, container: &ContainerRef, milli: u64) {
        let quota_us = milli * 100;
        let (v2, v1) = (format!("{quota_us} 100000"), quota_us.to_string());
        // Version 1 has a period of 100 ms by itself.
        let files = [("cpu.max", v2.as_str()), ("cpu.cfs_quota_us", &v1)];
        self.set(pod, container, "cpu.stat", files);
    }

    /// As much memory as its processes may have before the kernel kills one.
    pub fn limit_memory(&self, pod: &PodRef, container: &ContainerRef, bytes: usize) {
        let bytes = bytes.to_string();
        let files = [
            ("memory.max", bytes.as_str()),
            ("memory.limit_in_bytes", &bytes),
        ];
        self.set(pod, container, "memory.stat", files);
    }

    /// Starts this program anew in the container's cgroup, where it does `work`
    /// (see [`child`]). Comes back when that has begun; answers the pid.
    pub fn run(&mut self, pod: &PodRef, container: &ContainerRef, work: &str) -> u32 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_child_that_works", "--nocapture"])
            .env(WORK, work)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pid = child.id();
        let place = Path::new(&self.name).join(Made::place(pod, container));
        for hierarchy in &self.hierarchies {
            let procs = hierarchy.join(&place).join("cgroup.procs");
            fs::write(procs, pid.to_string()).unwrap();
        }
        child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let begun = lines.map_while(Result::ok).any(|line| line.contains(BEGUN));
        self.children.push((place, child));
        assert!(begun, "the child ended before it began");
        pid
    }

    /// Ends what runs in a container and removes its cgroup, as a kubelet does.
    pub fn end(&mut self, pod: &PodRef, container: &ContainerRef) {
        let place = Path::new(&self.name).join(Made::place(pod, container));
        for (_, child) in self.children.iter_mut().filter(|(at, _)| *at == place) {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        for hierarchy in &self.hierarchies {
            remove(&hierarchy.join(&place));
        }
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for (_, child) in &mut self.children {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
        for hierarchy in &self.hierarchies {
            remove(&hierarchy.join(&self.name));
        }
    }
}

/// Removes a cgroup with all below it. One whose processes have just ended is
/// busy for a moment longer.
fn remove(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    let removed = within(Duration::from_secs(5), || {
        fs::remove_dir(path).is_ok() || !path.exists()
    });
    if !removed {
        println!("{} could not be removed", path.display());
    }
}

fn remove_leftovers(hierarchies: &[PathBuf]) {
    for hierarchy in hierarchies {
        for entry in fs::read_dir(hierarchy).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let maker = name
                .strip_prefix(PREFIX)
                .and_then(|rest| rest.split('-').next());
            if maker.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                kill_all(&entry.path());
                remove(&entry.path());
            }
        }
    }
}

fn kill_all(path: &Path) {
    let pids = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    for pid in pids
        .lines()
        .filter_map(|line| Pid::from_raw(line.parse().ok()?))
    {
        // It may have ended meanwhile.
        let _ = kill_process(pid, Signal::KILL);
    }
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            kill_all(&entry.path());
        }
    }
}

/// Asks again and again, for at most so long.
pub fn within(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    while !done() {
        if started.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

const WORK: &str = "STARLING_TEST_WORK";
const BEGUN: &str = "the work has begun";
/// What `hold` holds.
pub const HELD_BYTES: usize = 64 << 20;

/// What `write` writes to the disk, again and again.
const WRITTEN_BYTES: usize = 1 << 20;

/// What a child does, once it is told to go: `burn` computes on one CPU, `hold`
/// holds memory, `grow` takes memory without end after it began, and `write:FILE`
/// writes to the disk past the pages in memory. Ends with whoever started it. Does
/// nothing in any other process.
pub fn child() {
    let Ok(work) = std::env::var(WORK) else {
        return;
    };
    let mut stdin = io::stdin();
    stdin.read_exact(&mut [0; 3]).unwrap();
    std::thread::spawn(move || {
        // Until the other end is closed.
        let _ = io::copy(&mut stdin, &mut io::sink());
        exit(0);
    });
    let held = if work == "hold" {
        vec![1u8; HELD_BYTES]
    } else {
        Vec::new()
    };
    println!("\n{BEGUN}");
    let mut grown = Vec::new();
    loop {
        match work.as_str() {
            "burn" => {
                std::hint::black_box(&held);
            }
            "grow" => grown.push(vec![1u8; 1 << 20]),
            _ => match work.strip_prefix("write:") {
                Some(file) => write_through(Path::new(file)),
                None => std::thread::park(),
            },
        }
    }
}

/// Writes a file past the pages in memory, so that the writer is who writes.
fn write_through(path: &Path) {
    let page = 4 << 10;
    let bytes = vec![7u8; WRITTEN_BYTES + page];
    // Such writes begin at whole pages.
    let from = bytes.as_ptr().align_offset(page);
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    options.custom_flags(OFlags::DIRECT.bits().cast_signed());
    let mut file = options.open(path).unwrap();
    file.write_all(&bytes[from..from + WRITTEN_BYTES]).unwrap();
    std::thread::sleep(Duration::from_millis(20));
}

/// CPU time of a process by `/proc/<pid>/stat`, in milliseconds.
pub fn cpu_ms(pid: u32) -> u64 {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = line.rsplit_once(')').unwrap();
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let ticks = |number: usize| fields[number - 3].parse::<u64>().unwrap();
    (ticks(14) + ticks(15)) * 1_000 / rustix::param::clock_ticks_per_second()
}

/// A pod of so many containers, with names and ids that nobody else has.
pub fn pod(number: usize, containers: usize) -> PodRef {
    let own = u64::from(std::process::id());
    let container = |at: usize| ContainerRef {
        name: format!("c{at}"),
        container_id: format!("containerd://{own:032x}{number:016x}{at:016x}"),
    };
    PodRef {
        uid: format!("{own:08x}-0000-4000-8000-{number:012x}"),
        namespace: "default".into(),
        name: format!("pod-{number}"),
        containers: (0..containers).map(container).collect(),
        ..PodRef::default()
    }
}
