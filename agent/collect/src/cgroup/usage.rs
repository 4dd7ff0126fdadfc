//! What containers and pods use, as the engine takes it.
//!
//! Comes in: how far one container's counters grew. Goes out: readings with the
//! time and the window that they really have, and a pod's sum. Never fills a gap.

use std::collections::BTreeMap;
use std::time::Duration;

use starling_engine::demand::pods::Reading;
use starling_engine::unit::Ms;

use super::counter::Grown;
use super::group::Values;
use super::problem::Why;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pod {
    /// By name; a container without a cgroup isn't here.
    pub containers: BTreeMap<String, Container>,
    /// The sum over the pod's containers, as HPA sums them: missing where one of
    /// them lacks it. As old as the oldest part; covers the longest window.
    pub cpu: Option<Reading>,
    pub memory: Option<Reading>,
    pub disk_read: Option<Reading>,
    pub disk_written: Option<Reading>,
    pub pids: Option<Reading>,
    /// The sum over those of its containers that have a quota.
    pub throttled: Option<Throttled>,
    /// Of the pod's own cgroup, so with its sandbox and containers that have ended:
    /// pressure doesn't add up. Version 2 alone has it, beside version 1 too.
    pub psi: Psi,
    /// Of the pod's own cgroup in version 2, which counts on when a container that
    /// was killed starts anew. In version 1 the sum over the containers that run.
    pub oom_kills: Option<Count>,
    /// Bytes received and sent a second by the pod's network, all interfaces but
    /// loopback, one byte as 1,000. No cgroup
    /// counts them; by cgroups they come from a process of the pod (see
    /// [`network`](super::network)). `None` of pods in the node's network.
    pub received: Option<Reading>,
    pub sent: Option<Reading>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Container {
    /// Thousandths of a core, the mean over the window. `None` until a second
    /// reading, and after a counter went back. Where it couldn't be renewed, the
    /// last one stands for a few seconds, with its time.
    pub cpu: Option<Reading>,
    /// The working set, as the kubelet counts it: what is charged less inactive
    /// pages of files. One byte counts as 1,000. A gauge: its window is 0. By cgroups it
    /// is of this second once what is charged has moved by a 64th of it and half a MiB,
    /// and up to four seconds old until then: inactive pages that make room for others as
    /// fast as those come move nothing.
    pub memory: Option<Reading>,
    /// `None` where no quota is set, too.
    pub throttled: Option<Throttled>,
    /// Bytes read from devices a second, all devices together, one byte as 1,000.
    /// What comes from pages in memory isn't read, and in version 1 what is written
    /// by way of them isn't counted as the container's; there it is `None` before
    /// anything was read or written, and on kernels since 6.10, which count nothing.
    /// As `cpu` in all else.
    pub disk_read: Option<Reading>,
    pub disk_written: Option<Reading>,
    /// Processes and threads, one as 1,000. A gauge; up to four seconds old.
    pub pids: Option<Reading>,
    /// Up to four seconds old, over windows as long; missing where nobody asks for it
    /// ([`pressure_by_container`](super::PodRef::pressure_by_container)).
    pub psi: Psi,
    /// Up to four seconds old.
    pub oom_kills: Option<Count>,
}

/// How long tasks waited for a resource (the kernel's pressure stall information),
/// as thousandths of the window. Missing where the kernel doesn't count it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Psi {
    pub cpu: Stall,
    pub memory: Stall,
    pub io: Stall,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stall {
    /// At least one task waited.
    pub some: Option<Reading>,
    /// All that had work waited.
    pub full: Option<Reading>,
}

/// Processes that the kernel killed for want of memory, since the cgroup was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    pub count: u64,
    pub at: Ms,
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

    /// The same as a reading.
    pub fn ratio(self) -> Reading {
        Reading {
            milli: i64::try_from(self.ratio_milli()).unwrap_or(i64::MAX),
            at: self.at,
            window_ms: self.window_ms,
        }
    }
}

impl Container {
    /// Bytes read and written a second.
    pub fn disk(&self) -> Option<Reading> {
        add([self.disk_read, self.disk_written].into_iter())
    }
}

impl Pod {
    /// `count` is how many containers should be here; `own` what the pod's own
    /// cgroup says, where it says anything.
    pub fn sum(&mut self, count: usize, own: Option<&Container>) {
        let own = own.copied().unwrap_or_default();
        self.psi = own.psi;
        self.oom_kills = own.oom_kills;
        if count == 0 || self.containers.len() != count {
            return;
        }
        let sum = |of: fn(&Container) -> Option<Reading>| add(self.containers.values().map(of));
        self.cpu = sum(|usage| usage.cpu);
        self.memory = sum(|usage| usage.memory);
        self.disk_read = sum(|usage| usage.disk_read);
        self.disk_written = sum(|usage| usage.disk_written);
        self.pids = sum(|usage| usage.pids);
        let throttled = self.containers.values().filter_map(|usage| usage.throttled);
        self.throttled = throttled.reduce(|a, b| Throttled {
            periods: a.periods.saturating_add(b.periods),
            throttled: a.throttled.saturating_add(b.throttled),
            stopped_ms: a.stopped_ms.saturating_add(b.stopped_ms),
            at: a.at.min(b.at),
            window_ms: a.window_ms.max(b.window_ms),
        });
        if self.oom_kills.is_none() {
            let kills = self.containers.values().map(|usage| usage.oom_kills);
            let kills: Option<Vec<Count>> = kills.collect();
            self.oom_kills = kills.and_then(|kills| {
                kills.into_iter().reduce(|a, b| Count {
                    count: a.count.saturating_add(b.count),
                    at: a.at.min(b.at),
                })
            });
        }
    }

    /// Bytes read and written a second.
    pub fn disk(&self) -> Option<Reading> {
        add([self.disk_read, self.disk_written].into_iter())
    }

    /// Bytes received and sent a second.
    pub fn network(&self) -> Option<Reading> {
        add([self.received, self.sent].into_iter())
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
    let stamp = |at| stamp(now, began, at);
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
    // One unit counts as 1,000.
    let gauge = |(at, value): (Duration, u64)| Reading {
        milli: i64::try_from(value.saturating_mul(1_000)).unwrap_or(i64::MAX),
        at: stamp(at),
        window_ms: 0,
    };
    let disk = |index| {
        let grown = values.disk?;
        Some(Reading {
            milli: grown.per_second_milli(index)?,
            at: stamp(grown.at),
            window_ms: ms(grown.window),
        })
    };
    let share = |grown: Option<Grown<1>>| {
        let grown = grown?;
        Some(Reading {
            milli: grown.share_milli(0)?,
            at: stamp(grown.at),
            window_ms: ms(grown.window),
        })
    };
    let [psi_cpu, psi_memory, psi_io] = values.stalls.map(|stall| Stall {
        some: share(stall.some),
        full: share(stall.full),
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
        memory: values.memory.map(|it| gauge((it.at, it.working_set))),
        throttled,
        disk_read: disk(0),
        disk_written: disk(1),
        pids: values.pids.map(gauge),
        psi: Psi {
            cpu: psi_cpu,
            memory: psi_memory,
            io: psi_io,
        },
        oom_kills: values.oom_kills.map(|(at, count)| Count {
            count,
            at: stamp(at),
        }),
    };
    (usage, why)
}

/// Bytes received and sent a second.
pub fn carried(now: Ms, began: Duration, grown: &Grown<2>) -> [Option<Reading>; 2] {
    [0, 1].map(|index| {
        Some(Reading {
            milli: grown.per_second_milli(index)?,
            at: stamp(now, began, grown.at),
            window_ms: ms(grown.window),
        })
    })
}

/// A reading is as much later than `now` as its file was read; one that stands
/// from an earlier measurement is as much earlier.
fn stamp(now: Ms, began: Duration, at: Duration) -> Ms {
    match at.checked_sub(began) {
        Some(later) => now.plus(ms(later)),
        None => now.minus(ms(began.saturating_sub(at))),
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
