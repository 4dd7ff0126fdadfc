//! Measures this machine and the workers on it, once for each call.
//!
//! Comes in: the workers that run and what they requested. Goes out: a
//! [`Sample`]. All reads block; the host calls it from a blocking thread. What
//! can't be read is missing, never zero. Never keeps more than the last reading.

pub mod node;
pub mod proc;
pub mod tree;

use std::collections::BTreeMap;
use std::path::PathBuf;

use starling_engine::demand::Sample;
use starling_engine::demand::pods::{Metric, Phase, Pod, Reading};
use starling_engine::policy::Target;
use starling_engine::unit::Ms;

use crate::process::{KIND, READY_AFTER_MS, Spec, Worker};
use proc::{Proc, boot_ms};
use tree::{Trees, Usage};

/// Where the kernel's files are. Workers are looked up in `proc`, so it must
/// show the agent's own pids. Node totals other than network traffic come from
/// sysinfo, which always reads `/proc` and `/sys`; CPU, memory and disk are the
/// host's there, in a container too.
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

    /// Measures now. Rates are means since the call before; a worker that wasn't
    /// seen by that call has no CPU sample yet.
    pub fn sample(
        &mut self,
        now: Ms,
        workers: &[Worker],
        specs: &BTreeMap<String, Spec>,
    ) -> Sample {
        let totals = self.node.read();
        let at_ms = boot_ms();
        let usages = match self.proc.scan() {
            Ok(stats) => self.trees.read(at_ms, workers, &stats),
            Err(e) => {
                tracing::warn!("can't read {}: {e}", self.proc.root().display());
                workers.iter().map(|_| Some(Usage::default())).collect()
            }
        };
        let mut workloads: BTreeMap<Target, Vec<Pod>> = BTreeMap::new();
        for name in specs.keys() {
            workloads.insert(target(name), Vec::new());
        }
        for (worker, usage) in workers.iter().zip(usages) {
            // Without usage it has ended since the caller's list was made.
            if let (Some(spec), Some(usage)) = (specs.get(&worker.name), usage) {
                let pods = workloads.entry(target(&worker.name)).or_default();
                pods.push(pod(now, worker, spec, usage));
            }
        }
        Sample { totals, workloads }
    }
}

fn target(name: &str) -> Target {
    Target {
        kind: KIND.into(),
        name: name.into(),
    }
}

fn pod(now: Ms, worker: &Worker, spec: &Spec, usage: Usage) -> Pod {
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
        ready: Some(worker.ready),
        started_at: Some(worker.started_at),
        ready_changed_at: Some(if worker.ready {
            worker.started_at.plus(READY_AFTER_MS)
        } else {
            worker.started_at
        }),
        cpu: Metric {
            request_milli: spec.cpu_request_milli.map(milli),
            sample: cpu.map(|cpu| reading(milli(cpu.milli), cpu.window_ms)),
        },
        memory: Metric {
            request_milli: spec.memory_request_bytes.map(bytes_milli),
            // A gauge: it covers no time.
            sample: memory.map(|bytes| reading(bytes_milli(bytes), 0)),
        },
        ..Pod::default()
    }
}
