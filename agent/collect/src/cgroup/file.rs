//! The files of a cgroup: which ones are read, what they say, and how they are
//! kept open.
//!
//! One more metric is one more row in [`V1`] and [`V2`], a function that reads
//! the text, and a field of [`Said`]. A file that a kernel doesn't have is
//! ordinary: its values are missing. Never writes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::counter::Moment;

/// A file of every container's cgroup.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// The controller of version 1 whose hierarchy has it, or whose place it
    /// takes in version 2.
    pub controller: &'static str,
    pub name: &'static str,
    /// Puts what the text says into [`Said`]; false where it says nothing known.
    pub read: fn(&[u8], Moment, &mut Said) -> bool,
}

/// What a container's files said, raw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Said {
    pub cpu_ns: Option<(Moment, u64)>,
    /// Periods, throttled periods, nanoseconds stopped.
    pub throttled: Option<(Moment, [u64; 3])>,
    pub memory_bytes: Option<(Moment, u64)>,
    pub inactive_file_bytes: Option<u64>,
}

/// Counters stand before gauges: they are read while the clock's time is fresh.
pub const V2: [Kind; 3] = [
    Kind {
        controller: "cpuacct",
        name: "cpu.stat",
        read: cpu_stat_v2,
    },
    Kind {
        controller: "memory",
        name: "memory.stat",
        read: memory_stat_v2,
    },
    Kind {
        controller: "memory",
        name: "memory.current",
        read: memory_usage,
    },
];

pub const V1: [Kind; 4] = [
    Kind {
        controller: "cpuacct",
        name: "cpuacct.usage",
        read: cpuacct_usage,
    },
    Kind {
        controller: "cpu",
        name: "cpu.stat",
        read: cpu_stat_v1,
    },
    Kind {
        controller: "memory",
        name: "memory.stat",
        read: memory_stat_v1,
    },
    Kind {
        controller: "memory",
        name: "memory.usage_in_bytes",
        read: memory_usage,
    },
];

/// As much of a file as is read; the longest, memory.stat, has about 2 KiB.
pub const BYTES_MAX: usize = 16 << 10;

fn cpu_stat_v2(text: &[u8], moment: Moment, said: &mut Said) -> bool {
    let us = |key| value(text, key).map(|us| us.saturating_mul(1_000));
    said.cpu_ns = us("usage_usec").map(|ns| (moment, ns));
    said.throttled = throttled(text, us("throttled_usec")).map(|counts| (moment, counts));
    said.cpu_ns.is_some()
}

fn cpu_stat_v1(text: &[u8], moment: Moment, said: &mut Said) -> bool {
    let stopped_ns = value(text, "throttled_time");
    said.throttled = throttled(text, stopped_ns).map(|counts| (moment, counts));
    said.throttled.is_some()
}

/// Without a quota v2 leaves the lines out and v1 has zeros.
fn throttled(text: &[u8], stopped_ns: Option<u64>) -> Option<[u64; 3]> {
    let (periods, throttled) = (value(text, "nr_periods")?, value(text, "nr_throttled")?);
    Some([periods, throttled, stopped_ns?])
}

fn cpuacct_usage(text: &[u8], moment: Moment, said: &mut Said) -> bool {
    said.cpu_ns = number(text).map(|ns| (moment, ns));
    said.cpu_ns.is_some()
}

fn memory_usage(text: &[u8], moment: Moment, said: &mut Said) -> bool {
    said.memory_bytes = number(text).map(|bytes| (moment, bytes));
    said.memory_bytes.is_some()
}

fn memory_stat_v2(text: &[u8], _: Moment, said: &mut Said) -> bool {
    said.inactive_file_bytes = value(text, "inactive_file");
    said.inactive_file_bytes.is_some()
}

/// `total_` includes the cgroups below, as usage does.
fn memory_stat_v1(text: &[u8], _: Moment, said: &mut Said) -> bool {
    said.inactive_file_bytes = value(text, "total_inactive_file");
    said.inactive_file_bytes.is_some()
}

/// The number after `key` in lines of a key and a number each.
fn value(text: &[u8], key: &str) -> Option<u64> {
    text.split(|&byte| byte == b'\n').find_map(|line| {
        let rest = line.strip_prefix(key.as_bytes())?.strip_prefix(b" ")?;
        number(rest)
    })
}

fn number(text: &[u8]) -> Option<u64> {
    str::from_utf8(text.trim_ascii()).ok()?.parse().ok()
}

/// Counts the files that are open, so that containers never use up the
/// descriptors that the agent needs for its connections. At the bound, files
/// are opened for each reading and closed again: slower, and nothing is lost.
#[derive(Debug)]
pub struct Descriptors {
    /// Each open file holds one more.
    count: Arc<()>,
    max: usize,
}

/// 110 pods of 2 containers keep 880 files open on v1. Each costs a page in the
/// kernel, so this many cost 16 MiB.
const DESCRIPTORS_MAX: usize = 4_096;

impl Descriptors {
    pub fn at_most(max: usize) -> Descriptors {
        Descriptors {
            count: Arc::new(()),
            max,
        }
    }

    /// [`DESCRIPTORS_MAX`], or half of what this process may open, if that is less.
    pub fn from_limit() -> Descriptors {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let half = limit.map_or(usize::MAX, |limit| (limit / 2) as usize);
        Descriptors::at_most(half.min(DESCRIPTORS_MAX))
    }

    pub fn open(&self) -> usize {
        Arc::strong_count(&self.count) - 1
    }

    fn take(&self) -> Option<Arc<()>> {
        (self.open() < self.max).then(|| Arc::clone(&self.count))
    }
}

/// One file of one container.
#[derive(Debug, Default)]
pub struct Held {
    open: Option<(File, Arc<()>)>,
}

impl Held {
    /// Reads the file from its beginning, by the descriptor that is open, or
    /// that is opened now and kept while there is room.
    pub fn read<'a>(
        &mut self,
        path: impl FnOnce() -> PathBuf,
        descriptors: &Descriptors,
        clock: &dyn Fn() -> Duration,
        buffer: &'a mut [u8],
    ) -> io::Result<(&'a [u8], Moment)> {
        if self.open.is_none() {
            let file = File::open(path())?;
            match descriptors.take() {
                Some(token) => self.open = Some((file, token)),
                None => return read(&file, clock, buffer),
            }
        }
        match &self.open {
            Some((file, _)) => read(file, clock, buffer),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub fn close(&mut self) {
        self.open = None;
    }
}

fn read<'a>(
    file: &File,
    clock: &dyn Fn() -> Duration,
    buffer: &'a mut [u8],
) -> io::Result<(&'a [u8], Moment)> {
    let before = clock();
    // The kernel gives such a file whole, in one call; what the buffer doesn't
    // hold is cut off.
    let length = loop {
        match file.read_at(buffer, 0) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            done => break done?,
        }
    };
    let took = clock().saturating_sub(before);
    let moment = Moment {
        at: before + took / 2,
        took,
    };
    Ok((buffer.get(..length).unwrap_or_default(), moment))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(kind: &Kind, text: &str) -> (bool, Said) {
        let mut said = Said::default();
        let known = (kind.read)(text.as_bytes(), Moment::default(), &mut said);
        (known, said)
    }

    #[test]
    fn cpu_stat_is_read_with_and_without_a_quota() {
        let plain = "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\n";
        let (known, without) = said(&V2[0], plain);
        assert!(known);
        assert_eq!(without.cpu_ns.map(|(_, ns)| ns), Some(1_500_000));
        assert_eq!(without.throttled, None);
        let quota =
            format!("{plain}nr_periods 9\nnr_throttled 4\nthrottled_usec 70\nnr_bursts 0\n");
        let (_, with) = said(&V2[0], &quota);
        assert_eq!(
            with.throttled.map(|(_, counts)| counts),
            Some([9, 4, 70_000])
        );
        let (_, v1) = said(
            &V1[1],
            "nr_periods 9\nnr_throttled 4\nthrottled_time 70000\n",
        );
        assert_eq!(v1.throttled, with.throttled);
    }

    #[test]
    fn inactive_files_are_those_of_the_whole_cgroup() {
        let v2 = "anon 1\nfile 9\ninactive_anon 3\ninactive_file 4\nworkingset_x 1\n";
        assert_eq!(said(&V2[1], v2).1.inactive_file_bytes, Some(4));
        let v1 = "inactive_file 4\nhierarchical_memory_limit 9\ntotal_inactive_file 6\n";
        assert_eq!(said(&V1[2], v1).1.inactive_file_bytes, Some(6));
    }

    #[test]
    fn text_that_says_nothing_known_is_no_value() {
        for kind in V1.iter().chain(&V2) {
            for text in [
                "",
                "\n",
                "max\n",
                "usage_usec\n",
                "-1\n",
                "nr_periods x",
                "\u{fffd}",
            ] {
                let (known, said) = said(kind, text);
                assert!(!known, "{} {text:?}", kind.name);
                assert_eq!(said, Said::default(), "{} {text:?}", kind.name);
            }
        }
    }

    #[test]
    fn at_the_bound_files_are_opened_for_each_reading() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("a"), "1\n").unwrap();
        std::fs::write(path("b"), "2\n").unwrap();
        let descriptors = Descriptors::at_most(1);
        let clock = || Duration::ZERO;
        let mut buffer = [0; 64];
        let (mut a, mut b) = (Held::default(), Held::default());
        for _ in 0..2 {
            let (text, _) = a
                .read(|| path("a"), &descriptors, &clock, &mut buffer)
                .unwrap();
            assert_eq!(text, b"1\n");
            let (text, _) = b
                .read(|| path("b"), &descriptors, &clock, &mut buffer)
                .unwrap();
            assert_eq!(text, b"2\n");
            assert_eq!(descriptors.open(), 1);
        }
        a.close();
        assert_eq!(descriptors.open(), 0);
        b.read(|| path("b"), &descriptors, &clock, &mut buffer)
            .unwrap();
        assert_eq!(descriptors.open(), 1);
        drop(b);
        assert_eq!(descriptors.open(), 0);
    }

    #[test]
    fn a_file_longer_than_the_buffer_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("long");
        std::fs::write(&path, "x".repeat(100)).unwrap();
        let descriptors = Descriptors::at_most(1);
        let mut buffer = [0; 64];
        let mut held = Held::default();
        let (text, _) = held
            .read(|| path, &descriptors, &|| Duration::ZERO, &mut buffer)
            .unwrap();
        assert_eq!(text.len(), 64);
    }
}
