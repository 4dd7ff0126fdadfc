//! CPU and memory of the whole machine.
//!
//! Comes in: sysinfo, which always reads `/proc`; where the host's files are
//! elsewhere, `stat` and `meminfo` there. Goes out: two totals. A container's own
//! `/proc` shows the host's numbers as a rule, but not where lxcfs or a sandbox
//! makes it, so what was pointed elsewhere is read there.

use std::path::{Path, PathBuf};

use starling_engine::demand::{self, Totals};
use sysinfo::System;

use super::{text, unreadable};
use crate::unread::Unread;

pub struct Meter(Source);

enum Source {
    /// `Err`: why it can't tell.
    Sysinfo(Result<Box<System>, String>),
    Files {
        proc: PathBuf,
        former: Option<Times>,
    },
}

/// Ticks since boot, over all CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Times {
    busy: u64,
    all: u64,
    cpus: u64,
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meter").finish_non_exhaustive()
    }
}

impl Meter {
    pub fn new(proc: &Path) -> Meter {
        if proc == Path::new("/proc") {
            let system = System::new().map(Box::new);
            return Meter(Source::Sysinfo(system.map_err(|e| e.to_string())));
        }
        Meter(Source::Files {
            proc: proc.to_owned(),
            former: None,
        })
    }

    pub fn read(&mut self, totals: &mut Totals, unread: &mut Vec<Unread>) {
        match &mut self.0 {
            Source::Sysinfo(Ok(system)) => sysinfo(system, totals),
            Source::Sysinfo(Err(why)) => unread.push(Unread::fault("cpu", why.as_str())),
            Source::Files { proc, former } => {
                let path = proc.join("stat");
                match text(&path).map(|text| Times::parse(&text)) {
                    Ok(Some(times)) => {
                        if let Some(used) = former.replace(times).and_then(|it| it.until(times)) {
                            totals.set(demand::CPU, used, Some(times.cpus * 1_000));
                        }
                    }
                    Ok(None) => unread.push(strange("cpu", &path)),
                    Err(why) => unread.push(unreadable("cpu", &path, &why)),
                }
                let path = proc.join("meminfo");
                match text(&path).map(|text| memory(&text)) {
                    Ok(Some((used, all))) => totals.set(demand::MEMORY, used, Some(all)),
                    Ok(None) => unread.push(strange("memory", &path)),
                    Err(why) => unread.push(unreadable("memory", &path, &why)),
                }
            }
        }
    }
}

fn strange(what: &str, path: &Path) -> Unread {
    Unread::fault(what, format!("{} isn't as Linux writes it", path.display()))
}

fn sysinfo(system: &mut System, totals: &mut Totals) {
    system.refresh_cpu_usage();
    system.refresh_memory();
    let capacity_milli = system.cpus().len() as u64 * 1_000;
    let used_milli = cpu_milli(system.global_cpu_usage(), capacity_milli);
    totals.set(demand::CPU, used_milli, Some(capacity_milli));
    // What could be had without swapping isn't used.
    let all = system.total_memory();
    let used = all.saturating_sub(system.available_memory());
    totals.set(demand::MEMORY, used, Some(all));
}

/// `percent` is of all cores together. A float's cast saturates, and NaN is 0.
fn cpu_milli(percent: f32, capacity_milli: u64) -> u64 {
    let milli = f64::from(percent) / 100.0 * capacity_milli as f64;
    (milli.round() as u64).min(capacity_milli)
}

impl Times {
    /// The first line (see `proc_stat(5)`) and how many CPUs follow it. Time that a
    /// guest had is in its host's user time already, and waiting for a disk is idle.
    fn parse(text: &str) -> Option<Times> {
        let mut lines = text.lines();
        let mut fields = lines.next()?.split_ascii_whitespace();
        if fields.next()? != "cpu" {
            return None;
        }
        let times: Result<Vec<u64>, _> = fields.take(8).map(str::parse).collect();
        let times = times.ok()?;
        let idle = times.get(3)?.saturating_add(*times.get(4).unwrap_or(&0));
        let all = times.iter().copied().fold(0, u64::saturating_add);
        let is_cpu = |line: &&str| {
            let number = line.strip_prefix("cpu");
            number.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        Some(Times {
            busy: all.saturating_sub(idle),
            all,
            cpus: lines.take_while(is_cpu).count() as u64,
        })
    }

    /// Thousandths of a core between two reads. `None` where no tick passed, or
    /// where the counters went back, as they do when a CPU goes offline.
    fn until(self, later: Times) -> Option<u64> {
        let all = later.all.checked_sub(self.all).filter(|all| *all > 0)?;
        let busy = later.busy.checked_sub(self.busy)?.min(all);
        let capacity_milli = u128::from(later.cpus) * 1_000;
        Some((u128::from(busy) * capacity_milli / u128::from(all)) as u64)
    }
}

/// Used and total bytes. What could be had without swapping isn't used.
fn memory(text: &str) -> Option<(u64, u64)> {
    let bytes = |key: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
        Some(kib.saturating_mul(1_024))
    };
    let all = bytes("MemTotal:")?;
    Some((all.saturating_sub(bytes("MemAvailable:")?), all))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  100 10 50 800 40 0 5 5 7 3\ncpu0 50 5 25 400 20 0 3 2 0 0\n\
                        cpu1 50 5 25 400 20 0 2 3 0 0\nintr 1 2 3\nctxt 9\n";

    #[test]
    fn cpu_is_a_share_of_all_cores_and_never_more() {
        assert_eq!(cpu_milli(50.0, 4_000), 2_000);
        assert_eq!(cpu_milli(100.4, 4_000), 4_000);
        assert_eq!(cpu_milli(-1.0, 4_000), 0);
        assert_eq!(cpu_milli(f32::NAN, 4_000), 0);
    }

    #[test]
    fn cpu_time_is_read_without_idle_and_without_guests_twice() {
        let times = Times::parse(STAT).unwrap();
        let expected = Times {
            busy: 170,
            all: 1_010,
            cpus: 2,
        };
        assert_eq!(times, expected);
        let later = |busy, all| Times { busy, all, ..times };
        // 50 of 100 ticks, on two cores.
        assert_eq!(times.until(later(220, 1_110)), Some(1_000));
        assert_eq!(times.until(later(400, 1_110)), Some(2_000), "never more");
        assert_eq!(times.until(later(170, 1_010)), None, "no time has passed");
        assert_eq!(times.until(later(169, 1_110)), None, "it went back");
        for torn in ["", "cpu", "cpu 1 2 3", "intr 5", "cpu a b c d e"] {
            assert_eq!(Times::parse(torn), None, "{torn:?}");
        }
    }

    #[test]
    fn memory_that_could_be_had_is_not_used() {
        let text = "MemTotal:  1000 kB\nMemFree: 100 kB\nMemAvailable:  400 kB\n";
        assert_eq!(memory(text), Some((600 * 1_024, 1_000 * 1_024)));
        assert_eq!(memory("MemTotal: 1000 kB\n"), None);
    }

    #[test]
    fn both_ways_of_reading_agree_on_this_machine() {
        let read = |source: Source| {
            let (mut totals, mut unread) = (Totals::default(), Vec::new());
            Meter(source).read(&mut totals, &mut unread);
            assert_eq!(unread, []);
            totals
        };
        let files = read(Source::Files {
            proc: "/proc/".into(),
            former: Some(Times {
                busy: 0,
                all: 0,
                cpus: 0,
            }),
        });
        let sysinfo = read(Meter::new(Path::new("/proc")).0);
        for resource in [demand::CPU, demand::MEMORY] {
            assert!(files.allocatable(resource) > 0);
            assert_eq!(files.allocatable(resource), sysinfo.allocatable(resource));
        }
        let (a, b) = (files.used(demand::MEMORY), sysinfo.used(demand::MEMORY));
        // Others allocate meanwhile.
        assert!(a.abs_diff(b) < files.allocatable(demand::MEMORY) / 10);
    }
}
