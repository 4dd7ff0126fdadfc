//! The room that measures: this machine, and the replicas that run on it, once
//! for each call.
//!
//! Comes in: which replicas to measure, and what is known of them that can't be
//! measured. Goes out: a [`Sample`]. All reads block; the host calls it from a
//! blocking thread.
//!
//! Never starts, stops or signals anything, and never keeps more than the last
//! reading. What can't be read is missing, never zero.
//!
//! The next thing to measure gets a file of its own beside [`node`] (the whole
//! machine), [`tree`] (processes), [`cgroup`] (a node's pods) and [`kubelet`] (the same
//! where the node's files may not be read). It takes the folder that it reads from as
//! an argument, so that a recorded folder tests it. What may block reads [`apart`];
//! what can't be read is named ([`unread`]).

pub mod apart;
pub mod cgroup;
pub mod gpu;
pub mod kubelet;
pub mod node;
pub mod proc;
pub mod tree;
pub mod unread;

#[cfg(test)]
mod suite;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use starling_engine::demand::Sample;
use starling_engine::demand::pods::{Metric, Phase, Pod, Reading};
use starling_engine::policy::{Resource, Target};
use starling_engine::unit::Ms;

use cgroup::{Measured, PodRef};
use proc::{Id, Proc, boot_ms};
use tree::{Trees, Usage};

/// Where the kernel's files are. Replicas are looked up in `proc`, so it must
/// show the agent's own pids; pods' cgroups in `sys`, so in a container it must
/// be the host's. Everything of the node is read there, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRoot {
    pub proc: PathBuf,
    pub sys: PathBuf,
    /// Where the host's file systems are. `None` in a container that has only the
    /// other two mounted.
    pub root: Option<PathBuf>,
}

impl Default for HostRoot {
    fn default() -> HostRoot {
        HostRoot::of(None, |_| None)
    }
}

impl HostRoot {
    /// A folder that has all of a host.
    pub fn below(folder: &Path) -> HostRoot {
        HostRoot {
            proc: folder.join("proc"),
            sys: folder.join("sys"),
            root: Some(folder.to_owned()),
        }
    }

    /// `HOST_PROC`, `HOST_SYS` and `HOST_ROOT`, by default `proc` and `sys` below
    /// the root, and `/`. `root` goes before `HOST_ROOT`.
    pub fn from_env(root: Option<PathBuf>) -> HostRoot {
        HostRoot::of(root, |name| std::env::var_os(name))
    }

    /// The same, with an environment of the caller's choice.
    fn of(root: Option<PathBuf>, variable: impl Fn(&str) -> Option<OsString>) -> HostRoot {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let stated = root.or_else(|| set("HOST_ROOT").map(PathBuf::from));
        let root = stated.clone().unwrap_or_else(|| "/".into());
        let path = |name, below| set(name).map_or_else(|| root.join(below), PathBuf::from);
        let (proc, sys) = (path("HOST_PROC", "proc"), path("HOST_SYS", "sys"));
        // Whoever names another /proc and no root is in a container, and its own
        // root isn't the host's.
        let is_own = proc == Path::new("/proc");
        HostRoot {
            root: stated.or_else(|| is_own.then_some(root)),
            proc,
            sys,
        }
    }
}

/// What measures the pods of a node: by their cgroups, or by what the kubelet says.
pub trait Measure {
    /// Measures now. `now` is the time that the readings carry, as far as they are
    /// new. Blocks for the time that the reads take.
    fn measure(&mut self, now: Ms, pods: &[PodRef]) -> Measured;
}

/// A replica that runs here as a process with all that it started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    pub target: Target,
    pub root: Id,
    pub started_at: Ms,
    pub ready: bool,
    pub ready_changed_at: Ms,
    pub cpu_request_milli: Option<u64>,
    pub memory_request_bytes: Option<u64>,
}

/// Keeps the last readings, from which the next call's rates come.
#[derive(Debug)]
pub struct Collector {
    proc: Proc,
    node: node::Meter,
    gpu: gpu::Meter,
    machine: Arc<node::Machine>,
    trees: Trees,
}

impl Collector {
    pub fn new(host: HostRoot) -> Collector {
        Collector {
            node: node::Meter::new(&host),
            gpu: gpu::Meter::new(&host.proc),
            machine: Arc::default(),
            proc: Proc::new(host.proc),
            trees: Trees::default(),
        }
    }

    /// Measures now. Rates are means since the call before; a replica that wasn't
    /// seen by that call has no CPU sample yet. `offered` is all that can run
    /// here; replicas of anything else are left out.
    pub fn sample(&mut self, now: Ms, offered: BTreeSet<Target>, replicas: &[Replica]) -> Sample {
        self.node.ask();
        self.gpu.ask();
        let at_ms = boot_ms();
        let roots: Vec<Id> = replicas.iter().map(|replica| replica.root).collect();
        // On a node that runs pods alone nobody looks for processes.
        let scanned = match roots.as_slice() {
            [] => Ok(Vec::new()),
            _ => self.proc.scan(),
        };
        let usages = match scanned {
            Ok(stats) => self.trees.read(at_ms, &roots, &stats),
            Err(e) => {
                tracing::warn!("can't read {}: {e}", self.proc.root().display());
                roots.iter().map(|_| Some(Usage::default())).collect()
            }
        };
        let mut workloads: BTreeMap<Target, Vec<Pod>> = offered
            .into_iter()
            .map(|target| (target, Vec::new()))
            .collect();
        for (replica, usage) in replicas.iter().zip(usages) {
            // Without usage it has ended since the caller's list was made, unless
            // nobody can tell.
            let unknown = || self.proc.stat(replica.root.pid).is_err();
            let usage = usage.or_else(|| unknown().then(Usage::default));
            if let (Some(pods), Some(usage)) = (workloads.get_mut(&replica.target), usage) {
                pods.push(pod(now, replica, usage));
            }
        }
        // Last, so that what reads apart had the time until now.
        let (mut totals, mut machine) = self.node.read();
        self.gpu.read(&mut totals, &mut machine);
        self.machine = Arc::new(machine);
        Sample {
            totals,
            workloads,
            ..Sample::default()
        }
    }

    /// What the last sample's totals are made of, and what is missing from it.
    pub fn machine(&self) -> &Arc<node::Machine> {
        &self.machine
    }
}

fn pod(now: Ms, replica: &Replica, usage: Usage) -> Pod {
    let milli = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    // One byte counts as 1,000, as one core does.
    let bytes_milli = |bytes: u64| milli(bytes.saturating_mul(1_000));
    let reading = |milli, window_ms| Reading {
        milli,
        at: now,
        window_ms,
    };
    let cpu = usage.cpu;
    let memory = usage.memory_bytes;
    let of_cpu = Metric {
        request_milli: replica.cpu_request_milli.map(milli),
        sample: cpu.map(|cpu| reading(milli(cpu.milli), cpu.window_ms)),
        ..Metric::default()
    };
    let of_memory = Metric {
        request_milli: replica.memory_request_bytes.map(bytes_milli),
        // A gauge: it covers no time.
        sample: memory.map(|bytes| reading(bytes_milli(bytes), 0)),
        ..Metric::default()
    };
    Pod {
        id: format!("{}/{}", replica.root.pid, replica.root.start_ticks),
        name: replica.root.pid.to_string(),
        phase: Phase::Running,
        deleted: false,
        ready: Some(replica.ready),
        started_at: Some(replica.started_at),
        ready_changed_at: Some(replica.ready_changed_at),
        metrics: [(Resource::Cpu, of_cpu), (Resource::Memory, of_memory)].into(),
        ..Pod::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_files_are_where_the_environment_says() {
        let of = |root: Option<&str>, set: &[(&str, &str)]| {
            let variable = |name: &str| {
                let found = set.iter().find(|(key, _)| *key == name)?;
                Some(OsString::from(found.1))
            };
            let host = HostRoot::of(root.map(PathBuf::from), variable);
            let shown = |path: &Path| path.display().to_string();
            let root = host.root.as_deref().map(shown).unwrap_or_default();
            [shown(&host.proc), shown(&host.sys), root]
        };
        assert_eq!(of(None, &[]), ["/proc", "/sys", "/"]);
        assert_eq!(of(None, &[("HOST_PROC", "")]), ["/proc", "/sys", "/"]);
        let pod = [("HOST_PROC", "/host/proc"), ("HOST_SYS", "/host/sys")];
        assert_eq!(of(None, &pod), ["/host/proc", "/host/sys", ""]);
        assert_eq!(
            of(None, &[("HOST_ROOT", "/h")]),
            ["/h/proc", "/h/sys", "/h"]
        );
        assert_eq!(of(Some("/o"), &pod), ["/host/proc", "/host/sys", "/o"]);
        assert_eq!(of(Some("/o"), &[("HOST_ROOT", "/h")])[2], "/o");
    }
}
