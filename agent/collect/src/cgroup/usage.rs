//! What containers and pods use, as the engine takes it.
//!
//! Comes in: how far one container's counters grew. Goes out: readings with the
//! time and the window that they really have, and a pod's sum. Never fills a gap.

use std::collections::BTreeMap;
use std::time::Duration;

use starling_engine::demand::pods::{self, Reading};
use starling_engine::unit::Ms;

use super::container::Values;
use super::problem::Why;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pod {
    /// By name; a container without a cgroup isn't here.
    pub containers: BTreeMap<String, Container>,
    /// The sum over the pod's containers, as HPA sums them: missing where one of
    /// them lacks it. As old as the oldest part; covers the longest window.
    pub cpu: Option<Reading>,
    pub memory: Option<Reading>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Container {
    /// Thousandths of a core, the mean over the window. `None` until a second
    /// reading, and after a counter went back. Where it couldn't be renewed, the
    /// last one stands for a few seconds, with its time.
    pub cpu: Option<Reading>,
    /// The working set, as the kubelet counts it: what is charged less inactive
    /// pages of files. One byte counts as 1,000. A gauge: its window is 0.
    pub memory: Option<Reading>,
    /// `None` where no quota is set, too.
    pub throttled: Option<Throttled>,
}

/// How often the quota held a container back within a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Throttled {
    /// Periods of the quota (100 ms as a rule) in which the container had work.
    pub periods: u64,
    /// Those of them in which it ran out of its quota.
    pub throttled: u64,
    /// How long it stood still, over all CPUs: more than the window, with several.
    pub stopped_ms: u64,
    pub at: Ms,
    pub window_ms: u64,
}

impl Throttled {
    /// Throttled periods of all, in thousandths; 0 where it had no work.
    pub fn ratio_milli(&self) -> u64 {
        let of_all = u128::from(self.throttled) * 1_000 / u128::from(self.periods.max(1));
        // More throttled periods than periods can only be torn counters.
        of_all.min(1_000) as u64
    }
}

impl Pod {
    /// Puts the samples beside the requests that the API server knows.
    pub fn fill(&self, pod: &mut pods::Pod) {
        pod.cpu.sample = self.cpu;
        pod.memory.sample = self.memory;
        for (name, usage) in &self.containers {
            let container = pod.containers.entry(name.clone()).or_default();
            container.cpu.sample = usage.cpu;
            container.memory.sample = usage.memory;
        }
    }

    /// `count` is how many containers should be here.
    pub fn sum(&mut self, count: usize) {
        if count == 0 || self.containers.len() != count {
            return;
        }
        let all = || self.containers.values();
        self.cpu = add(all().map(|usage| usage.cpu));
        self.memory = add(all().map(|usage| usage.memory));
    }
}

fn add(parts: impl Iterator<Item = Option<Reading>>) -> Option<Reading> {
    let both = |a: Reading, b: Reading| Reading {
        milli: a.milli.saturating_add(b.milli),
        at: a.at.min(b.at),
        window_ms: a.window_ms.max(b.window_ms),
    };
    let mut parts = parts;
    let first = parts.next()??;
    parts.try_fold(first, |sum, part| part.map(|part| both(sum, part)))
}

/// The values as readings, and what is wrong with the CPU time, if anything.
pub fn rated(now: Ms, began: Duration, values: &Values, cpus: u64) -> (Container, Option<Why>) {
    // A reading is as much later than `now` as its file was read; one that stands
    // from an earlier measurement is as much earlier.
    let stamp = |at: Duration| match at.checked_sub(began) {
        Some(later) => now.plus(ms(later)),
        None => now.minus(ms(began.saturating_sub(at))),
    };
    let mut why = values.doubt.clone();
    let cpu = values.cpu.and_then(|grown| {
        let milli = grown.cpu_milli(cpus);
        if milli.is_none() {
            why = Some(Why::Impossible);
        }
        Some(Reading {
            milli: milli?,
            at: stamp(grown.at),
            window_ms: ms(grown.window),
        })
    });
    let memory = values.memory.map(|(at, bytes)| Reading {
        milli: i64::try_from(bytes.saturating_mul(1_000)).unwrap_or(i64::MAX),
        at: stamp(at),
        window_ms: 0,
    });
    let throttled = values.throttled.map(|grown| {
        let [periods, throttled, stopped_ns] = grown.by;
        Throttled {
            periods,
            throttled,
            stopped_ms: stopped_ns / 1_000_000,
            at: stamp(grown.at),
            window_ms: ms(grown.window),
        }
    });
    let usage = Container {
        cpu,
        memory,
        throttled,
    };
    (usage, why)
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
