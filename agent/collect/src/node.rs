//! The machine's own totals, and what each of its devices does.
//!
//! Comes in: where the host's files are. Goes out: totals that every node hears of,
//! and a [`Machine`] with each device for this node's own numbers. Rates are means
//! between two reads, over the time that really passed. Never touches the processes.

pub mod disk;
pub mod network;
pub mod pressure;
pub mod processor;
pub mod space;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use starling_engine::demand::Totals;

use crate::HostRoot;
use crate::gpu::Gpus;
use crate::unread::Unread;

/// Devices of one kind beyond this many, the last by name, aren't told of one by
/// one; totals have them.
pub const DEVICES_MAX: usize = 64;
/// A file in `/proc` is read no further: `/proc/stat` of a machine with hundreds of
/// cores and thousands of interrupts is some 100 KiB.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Each device of this machine at the last read. At most [`DEVICES_MAX`] of a kind.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Machine {
    pub disks: BTreeMap<String, disk::Rates>,
    pub interfaces: BTreeMap<String, network::Rates>,
    /// By what they are for: `root`, `nodefs`, `imagefs`.
    pub file_systems: BTreeMap<&'static str, space::Space>,
    /// By resource: `cpu`, `memory`, `io`.
    pub pressures: BTreeMap<&'static str, pressure::Rates>,
    pub gpus: Gpus,
    pub unread: Vec<Unread>,
    /// Readers that were asked and haven't answered in time, and since when.
    pub silent: BTreeMap<String, Duration>,
}

/// Keeps the counters of the last read.
#[derive(Debug)]
pub struct Meter {
    processor: processor::Meter,
    disks: disk::Meter,
    network: network::Meter,
    pressure: pressure::Meter,
    space: space::Meter,
}

impl Meter {
    /// Reads the counters once, so that the first [`Meter::read`] has rates.
    pub fn new(host: &HostRoot) -> Meter {
        let mut meter = Meter {
            processor: processor::Meter::new(&host.proc),
            disks: disk::Meter::new(host),
            network: network::Meter::new(&host.sys),
            pressure: pressure::Meter::new(&host.proc),
            space: space::Meter::new(host.root.as_deref()),
        };
        let (mut totals, mut machine) = (Totals::default(), Machine::default());
        meter.counters(Instant::now(), &mut totals, &mut machine);
        meter
    }

    /// Begins to read what may block. Asked before all else is read.
    pub fn ask(&mut self) {
        self.space.ask();
    }

    pub fn read(&mut self) -> (Totals, Machine) {
        let (mut totals, mut machine) = (Totals::default(), Machine::default());
        self.counters(Instant::now(), &mut totals, &mut machine);
        self.space.read(&mut totals, &mut machine);
        (totals, machine)
    }

    fn counters(&mut self, at: Instant, totals: &mut Totals, machine: &mut Machine) {
        self.processor.read(totals, &mut machine.unread);
        self.disks.read(at, totals, machine);
        self.network.read(at, totals, machine);
        self.pressure.read(at, totals, machine);
    }
}

/// Counters that only grow, with the time of their last read.
#[derive(Debug)]
pub(crate) struct Former<K, C> {
    at: Option<Instant>,
    counters: BTreeMap<K, C>,
}

impl<K, C> Default for Former<K, C> {
    fn default() -> Self {
        Former {
            at: None,
            counters: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Clone, C: Copy> Former<K, C> {
    /// Takes the newest counters, and answers how each grew by `grown`, which has
    /// the former, the new ones and the time between. One that is new, or that
    /// `grown` knows nothing of because it went back, counts from the next read on.
    /// Too soon after the last read nothing is taken, so that no rate is noise.
    pub fn replace<R>(
        &mut self,
        at: Instant,
        counters: BTreeMap<K, C>,
        grown: impl Fn(C, C, Duration) -> Option<R>,
    ) -> BTreeMap<K, R> {
        let elapsed = self.at.map(|former| at.saturating_duration_since(former));
        if elapsed.is_some_and(|elapsed| elapsed < WINDOW_MIN) {
            return BTreeMap::new();
        }
        let rates = counters.iter().filter_map(|(name, new)| {
            let former = *self.counters.get(name)?;
            Some((name.clone(), grown(former, *new, elapsed?)?))
        });
        let rates = rates.collect();
        self.counters = counters;
        self.at = Some(at);
        rates
    }
}

/// A shorter time between two reads gives no rate.
const WINDOW_MIN: Duration = Duration::from_millis(50);

/// So much a second. `None` where the counter went back.
pub(crate) fn per_second(former: u64, new: u64, elapsed: Duration) -> Option<u64> {
    let grown = u128::from(new.checked_sub(former)?);
    let rate = grown * 1_000_000 / elapsed.as_micros().max(1);
    Some(u64::try_from(rate).unwrap_or(u64::MAX))
}

/// Thousandths of the time, from microseconds of it; never more than all of it.
pub(crate) fn share_milli(former_us: u64, new_us: u64, elapsed: Duration) -> Option<u64> {
    let grown = u128::from(new_us.checked_sub(former_us)?);
    let share = grown * 1_000 / elapsed.as_micros().max(1);
    Some(share.min(1_000) as u64)
}

/// A small file of the kernel's, whole.
pub(crate) fn text(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

pub(crate) fn unreadable(what: &str, path: &Path, why: &std::io::Error) -> Unread {
    Unread::fault(what, format!("{} can't be read: {why}", path.display()))
}

/// At most [`DEVICES_MAX`] of them; that there are more is named.
pub(crate) fn bounded<R>(
    what: &str,
    mut devices: BTreeMap<String, R>,
    unread: &mut Vec<Unread>,
) -> BTreeMap<String, R> {
    let beyond = devices.keys().nth(DEVICES_MAX).cloned();
    if let Some(beyond) = beyond {
        let left_out = devices.split_off(&beyond).len();
        let why = format!("{left_out} more than {DEVICES_MAX} aren't told of one by one");
        unread.push(Unread::absent(what, why));
    }
    devices
}

/// A total of what all devices do; none where no device has a rate yet.
pub(crate) fn set_sum(totals: &mut Totals, resource: &str, parts: impl Iterator<Item = u64>) {
    let sum = parts.fold(None, |sum: Option<u64>, part| {
        Some(sum.unwrap_or(0).saturating_add(part))
    });
    if let Some(sum) = sum {
        totals.set(resource, sum, None);
    }
}

#[cfg(test)]
mod tests;
