//! What each disk does.
//!
//! Comes in: `diskstats` below `/proc`, and sysfs, which says what of it is a disk.
//! Goes out: bytes and operations a second and the busy share of each disk, and
//! totals. Partitions and what is stacked on disks (LVM, RAID, loops) pass their
//! disks, so only these count.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use starling_engine::demand::{self, Totals};

use super::{Former, Machine, bounded, per_second, set_sum, share_milli, text, unreadable};
use crate::HostRoot;

/// A second, but for the busy share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    pub read_bytes: u64,
    pub written_bytes: u64,
    pub reads: u64,
    pub writes: u64,
    /// Thousandths of the time in which at least one operation was under way. A disk
    /// that does many at once is far from its end at 1,000.
    pub busy_milli: u64,
}

#[derive(Debug)]
pub struct Meter {
    diskstats: PathBuf,
    /// `block` of sysfs.
    block: PathBuf,
    counted: Counted,
    former: Former<String, Counters>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counters {
    read_bytes: u64,
    written_bytes: u64,
    reads: u64,
    writes: u64,
    busy_us: u64,
}

/// Which names are disks; asked of sysfs only when the names have changed.
#[derive(Debug, Default)]
struct Counted {
    all: BTreeSet<String>,
    disks: BTreeSet<String>,
}

/// What the kernel counts sectors in, whatever the device's own are.
const SECTOR_BYTES: u64 = 512;

impl Meter {
    pub fn new(host: &HostRoot) -> Meter {
        Meter {
            diskstats: host.proc.join("diskstats"),
            block: host.sys.join("block"),
            counted: Counted::default(),
            former: Former::default(),
        }
    }

    pub fn read(&mut self, at: Instant, totals: &mut Totals, machine: &mut Machine) {
        let lines = match text(&self.diskstats) {
            Ok(lines) => lines,
            Err(e) => {
                let disks = unreadable("disks", &self.diskstats, &e);
                machine.unread.push(disks);
                return;
            }
        };
        let mut counters: BTreeMap<String, Counters> = lines.lines().filter_map(parse).collect();
        self.counted.of(counters.keys(), &self.block);
        counters.retain(|name, _| self.counted.disks.contains(name));
        let rates = self.former.replace(at, counters, Counters::until);
        let all = || rates.values();
        set_sum(totals, demand::DISK_READ, all().map(|it| it.read_bytes));
        set_sum(totals, demand::DISK_WRITE, all().map(|it| it.written_bytes));
        if let Some(busiest) = all().map(|it| it.busy_milli).max() {
            totals.set(demand::DISK_BUSY, busiest, Some(1_000));
        }
        machine.disks = bounded("disks", rates, &mut machine.unread);
    }
}

/// One line (see `proc_diskstats(5)`).
fn parse(line: &str) -> Option<(String, Counters)> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let name = (*fields.get(2)?).to_owned();
    let field = |at: usize| -> Option<u64> { fields.get(at)?.parse().ok() };
    let counters = Counters {
        reads: field(3)?,
        read_bytes: field(5)?.saturating_mul(SECTOR_BYTES),
        writes: field(7)?,
        written_bytes: field(9)?.saturating_mul(SECTOR_BYTES),
        busy_us: field(12)?.saturating_mul(1_000),
    };
    Some((name, counters))
}

impl Counters {
    fn until(self, new: Counters, elapsed: Duration) -> Option<Rates> {
        Some(Rates {
            read_bytes: per_second(self.read_bytes, new.read_bytes, elapsed)?,
            written_bytes: per_second(self.written_bytes, new.written_bytes, elapsed)?,
            reads: per_second(self.reads, new.reads, elapsed)?,
            writes: per_second(self.writes, new.writes, elapsed)?,
            busy_milli: share_milli(self.busy_us, new.busy_us, elapsed)?,
        })
    }
}

impl Counted {
    fn of<'a>(&mut self, names: impl Iterator<Item = &'a String> + Clone, block: &Path) {
        if names.clone().eq(self.all.iter()) {
            return;
        }
        self.all = names.cloned().collect();
        // A partition is in no list of whole devices. Without sysfs names must do.
        let known = block.is_dir();
        let whole = |name: &&String| {
            let listed = known && block.join(name.as_str()).exists();
            listed || !known && !is_partition(name, &self.all)
        };
        let plain = |name: &&String| !VIRTUAL.iter().any(|prefix| name.starts_with(prefix));
        let whole: Vec<&String> = self.all.iter().filter(whole).filter(plain).collect();
        let hardware = |name: &&&String| block.join(name.as_str()).join("device").exists();
        let real: BTreeSet<String> = whole.iter().filter(hardware).copied().cloned().collect();
        self.disks = if real.is_empty() {
            whole.into_iter().cloned().collect()
        } else {
            real
        };
    }
}

/// What lies in files, in memory or on other disks.
const VIRTUAL: [&str; 6] = ["loop", "ram", "zram", "dm-", "md", "nbd"];

/// `sda1` beside `sda`, `nvme0n1p2` beside `nvme0n1`.
fn is_partition(name: &str, all: &BTreeSet<String>) -> bool {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let disk = match stem.strip_suffix('p') {
        Some(disk) if disk.ends_with(|c: char| c.is_ascii_digit()) => disk,
        _ => stem,
    };
    disk != name && all.contains(disk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_in_bytes_and_a_torn_one_is_no_disk() {
        let line = "   8  0 sda 100 1 2000 30 200 2 4000 60 0 700 800 9 0 9 9 1 1";
        let expected = Counters {
            reads: 100,
            read_bytes: 1_024_000,
            writes: 200,
            written_bytes: 2_048_000,
            busy_us: 700_000,
        };
        assert_eq!(parse(line), Some(("sda".to_owned(), expected)));
        // As before Linux 4.18, with 14 fields.
        let old = line.split_inclusive(' ').collect::<String>();
        let old = old.rsplitn(7, ' ').last().unwrap();
        assert_eq!(parse(old).map(|(_, it)| it), Some(expected));
        for torn in ["", "8 0 sda", "8 0 sda 1 2 3 4 5 6 7 8 9", "8 0 sda x 1"] {
            assert_eq!(parse(torn), None, "{torn}");
        }
    }

    fn counted(names: &[&str], block: &Path) -> Vec<String> {
        let names: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut counted = Counted::default();
        counted.of(names.iter(), block);
        counted.disks.into_iter().collect()
    }

    #[test]
    fn only_disks_count_whatever_is_stacked_on_them_or_cut_out_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let names = [
            "sda",
            "sda1",
            "nvme0n1",
            "nvme0n1p1",
            "dm-0",
            "md0",
            "loop0",
        ];
        // Without sysfs by their names.
        let missing = dir.path().join("missing");
        assert_eq!(counted(&names, &missing), ["nvme0n1", "sda"]);
        let many = ["xvda", "xvda15", "mmcblk0", "mmcblk0p1", "sdaa", "sda"];
        assert_eq!(counted(&many, &missing), ["mmcblk0", "sda", "sdaa", "xvda"]);
        // A partition that is all that a container sees.
        assert_eq!(counted(&["sda1"], &missing), ["sda1"]);
        // With sysfs by their hardware; without any, whole devices.
        for whole in ["sda", "nvme0n1", "dm-0", "md0", "loop0"] {
            std::fs::create_dir(dir.path().join(whole)).unwrap();
        }
        assert_eq!(counted(&names, dir.path()), ["nvme0n1", "sda"]);
        std::fs::create_dir(dir.path().join("sda/device")).unwrap();
        assert_eq!(counted(&names, dir.path()), ["sda"]);
    }
}
