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
//! machine), [`tree`] (processes) and [`cgroup`] (a node's pods), which takes the folder that it reads from
//! as an argument, so that a recorded folder tests it. What is read out of
//! `/proc` for others too, as for [`proc`], is public.

pub mod cgroup;
pub mod node;
pub mod proc;
pub mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use starling_engine::demand::Sample;
use starling_engine::demand::pods::{Metric, Phase, Pod, Reading};
use starling_engine::policy::Target;
use starling_engine::unit::Ms;

use proc::{Id, Proc, boot_ms};
use tree::{Trees, Usage};

/// Where the kernel's files are. Replicas are looked up in `proc`, so it must
/// show the agent's own pids; pods' cgroups in `sys`, so in a container it must
/// be the host's. Node totals other than network traffic come from sysinfo,
/// which always reads `/proc` and `/sys`; CPU, memory and disk are the host's
/// there, in a container too.
#[derive(Debug, Clone)]
pub struct HostRoot {
    pub proc: PathBuf,
    pub sys: PathBuf,
}

impl HostRoot {
    /// `HOST_PROC` and `HOST_SYS`, by default `/proc` and `/sys`.
    pub fn from_env() -> HostRoot {
        let path = |name, default: &str| {
            let set = std::env::var_os(name).filter(|value| !value.is_empty());
            set.map_or_else(|| PathBuf::from(default), PathBuf::from)
        };
        HostRoot {
            proc: path("HOST_PROC", "/proc"),
            sys: path("HOST_SYS", "/sys"),
        }
    }
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
    trees: Trees,
}

impl Collector {
    pub fn new(host: HostRoot) -> Collector {
        Collector {
            proc: Proc::new(host.proc),
            node: node::Meter::new(host.sys),
            trees: Trees::default(),
        }
    }

    /// Measures now. Rates are means since the call before; a replica that wasn't
    /// seen by that call has no CPU sample yet. `offered` is all that can run
    /// here; replicas of anything else are left out.
    pub fn sample(&mut self, now: Ms, offered: BTreeSet<Target>, replicas: &[Replica]) -> Sample {
        let totals = self.node.read();
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
            // Without usage it has ended since the caller's list was made.
            if let (Some(pods), Some(usage)) = (workloads.get_mut(&replica.target), usage) {
                pods.push(pod(now, replica, usage));
            }
        }
        Sample {
            totals,
            workloads,
            troubles: BTreeMap::new(),
        }
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
    Pod {
        phase: Phase::Running,
        deleted: false,
        ready: Some(replica.ready),
        started_at: Some(replica.started_at),
        ready_changed_at: Some(replica.ready_changed_at),
        cpu: Metric {
            request_milli: replica.cpu_request_milli.map(milli),
            sample: cpu.map(|cpu| reading(milli(cpu.milli), cpu.window_ms)),
        },
        memory: Metric {
            request_milli: replica.memory_request_bytes.map(bytes_milli),
            // A gauge: it covers no time.
            sample: memory.map(|bytes| reading(bytes_milli(bytes), 0)),
        },
        ..Pod::default()
    }
}
