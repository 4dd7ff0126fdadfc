//! The machine's own totals, by sysinfo; traffic by reading sysfs.
//!
//! Rates are means between two reads, over the time that really passed. Never
//! touches the processes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use starling_engine::demand::{self, Totals};
use sysinfo::{DiskRefreshKind, Disks, System};

/// Keeps the counters of the last read.
pub struct Meter {
    sys: PathBuf,
    system: Option<System>,
    disks: Option<Disks>,
    read_at: Instant,
    counters: Counters,
}

/// Bytes since boot, by device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Counters {
    disk_read: BTreeMap<String, u64>,
    disk_write: BTreeMap<String, u64>,
    received: BTreeMap<String, u64>,
    sent: BTreeMap<String, u64>,
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meter")
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl Meter {
    /// `sys` is where sysfs is. Reads the counters once, so that the first
    /// [`Meter::read`] has rates.
    pub fn new(sys: PathBuf) -> Meter {
        let warn = |e: &sysinfo::Error| tracing::warn!("node totals are incomplete: {e}");
        let mut meter = Meter {
            sys,
            system: System::new().inspect_err(warn).ok(),
            disks: Disks::new().inspect_err(warn).ok(),
            read_at: Instant::now(),
            counters: Counters::default(),
        };
        if let Some(system) = &mut meter.system {
            system.refresh_cpu_usage();
        }
        meter.counters = meter.counters();
        meter
    }

    pub fn read(&mut self) -> Totals {
        let mut totals = Totals::default();
        if let Some(system) = &mut self.system {
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
        let counters = self.counters();
        let read_at = Instant::now();
        let elapsed = read_at - self.read_at;
        let former = &self.counters;
        for (resource, former, counters) in [
            (demand::DISK_READ, &former.disk_read, &counters.disk_read),
            (demand::DISK_WRITE, &former.disk_write, &counters.disk_write),
            (
                demand::NETWORK_RECEIVED,
                &former.received,
                &counters.received,
            ),
            (demand::NETWORK_SENT, &former.sent, &counters.sent),
        ] {
            totals.set(resource, rate(former, counters, elapsed), None);
        }
        self.counters = counters;
        self.read_at = read_at;
        totals
    }

    fn counters(&mut self) -> Counters {
        let mut counters = Counters::default();
        if let Some(disks) = &mut self.disks {
            disks.refresh_specifics(true, DiskRefreshKind::nothing().with_io_usage());
            // A device that is mounted in several places has one counter.
            for disk in disks.iter() {
                let device = disk.name().to_string_lossy().into_owned();
                let usage = disk.usage();
                counters
                    .disk_read
                    .insert(device.clone(), usage.total_read_bytes);
                counters
                    .disk_write
                    .insert(device, usage.total_written_bytes);
            }
        }
        // Only what is counted is read: a machine with a hundred pods has a
        // hundred interfaces more, of a dozen files each.
        let net = self.sys.join("class/net");
        for name in counted_interfaces(&net) {
            let statistics = net.join(&name).join("statistics");
            let name = name.to_string_lossy().into_owned();
            if let Some(bytes) = count(&statistics.join("rx_bytes")) {
                counters.received.insert(name.clone(), bytes);
            }
            if let Some(bytes) = count(&statistics.join("tx_bytes")) {
                counters.sent.insert(name, bytes);
            }
        }
        counters
    }
}

/// The interfaces with hardware behind them: what passes a bridge, a bond or a
/// tunnel passes one of these, too. In a container none has; then all but
/// loopback.
fn counted_interfaces(net: &Path) -> Vec<OsString> {
    // Without sysfs there is nothing to count.
    let entries = std::fs::read_dir(net).into_iter().flatten().flatten();
    let mut names: Vec<OsString> = entries.map(|entry| entry.file_name()).collect();
    let hardware = |name: &OsString| net.join(name).join("device").exists();
    if names.iter().any(hardware) {
        names.retain(hardware);
    } else {
        names.retain(|name| name != "lo");
    }
    names
}

/// A file of one number. `None` if the interface has gone meanwhile.
fn count(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Bytes a second over all devices. One that is new, or whose counter went back,
/// counts from the next read on.
fn rate(former: &BTreeMap<String, u64>, now: &BTreeMap<String, u64>, elapsed: Duration) -> u64 {
    let grown = now.iter().filter_map(|(device, &count)| {
        let before = *former.get(device)?;
        count.checked_sub(before)
    });
    let bytes = u128::from(grown.fold(0, u64::saturating_add));
    let per_s = bytes * 1_000_000 / elapsed.as_micros().max(1);
    u64::try_from(per_s).unwrap_or(u64::MAX)
}

/// `percent` is of all cores together. A float's cast saturates, and NaN is 0.
fn cpu_milli(percent: f32, capacity_milli: u64) -> u64 {
    let milli = f64::from(percent) / 100.0 * capacity_milli as f64;
    (milli.round() as u64).min(capacity_milli)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
        let owned = |(device, count): &(&str, u64)| ((*device).to_owned(), *count);
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn a_rate_covers_the_time_that_passed_and_only_devices_seen_twice() {
        let former = counters(&[("a", 100), ("b", 500), ("gone", 9)]);
        let now = counters(&[("a", 1_100), ("b", 1_500), ("new", 1_000_000)]);
        assert_eq!(rate(&former, &now, Duration::from_millis(500)), 4_000);
        assert_eq!(rate(&former, &now, Duration::from_secs(3)), 666);
    }

    #[test]
    fn a_counter_that_went_back_adds_nothing() {
        let former = counters(&[("a", 100), ("b", 500)]);
        let now = counters(&[("a", 110), ("b", 1)]);
        assert_eq!(rate(&former, &now, Duration::from_secs(1)), 10);
    }

    #[test]
    fn no_time_and_huge_counters_give_a_bounded_rate() {
        let now = counters(&[("a", u64::MAX), ("b", u64::MAX)]);
        let former = counters(&[("a", 0), ("b", 0)]);
        assert_eq!(rate(&former, &now, Duration::ZERO), u64::MAX);
    }

    #[test]
    fn cpu_is_a_share_of_all_cores_and_never_more() {
        assert_eq!(cpu_milli(50.0, 4_000), 2_000);
        assert_eq!(cpu_milli(100.4, 4_000), 4_000);
        assert_eq!(cpu_milli(-1.0, 4_000), 0);
        assert_eq!(cpu_milli(f32::NAN, 4_000), 0);
    }

    #[test]
    fn traffic_is_counted_where_there_is_hardware() {
        let dir = tempfile::tempdir().unwrap();
        let net = dir.path().join("class/net");
        for (name, bytes) in [("lo", 1), ("eth0", 20), ("docker0", 300), ("veth1", 4_000)] {
            let statistics = net.join(name).join("statistics");
            std::fs::create_dir_all(&statistics).unwrap();
            std::fs::write(statistics.join("rx_bytes"), format!("{bytes}\n")).unwrap();
            std::fs::write(statistics.join("tx_bytes"), format!("{}\n", bytes + 1)).unwrap();
        }
        let mut meter = Meter::new(dir.path().to_owned());
        let all = meter.counters();
        let virtually = counters(&[("eth0", 20), ("docker0", 300), ("veth1", 4_000)]);
        assert_eq!(all.received, virtually);
        std::fs::create_dir_all(net.join("eth0/device")).unwrap();
        let real = meter.counters();
        assert_eq!(real.received, counters(&[("eth0", 20)]));
        assert_eq!(real.sent, counters(&[("eth0", 21)]));
        // Gone between the listing and the reading, or no number at all.
        std::fs::write(net.join("eth0/statistics/rx_bytes"), "").unwrap();
        let torn = meter.counters();
        assert_eq!((torn.received.len(), torn.sent.len()), (0, 1));
    }

    #[test]
    fn without_sysfs_there_is_no_traffic_and_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut meter = Meter::new(dir.path().join("missing"));
        assert_eq!(meter.counters().received, counters(&[]));
        assert_eq!(meter.read().used(demand::NETWORK_SENT), 0);
    }
}
