//! What the files of a cgroup say: which ones are read, and what their text means.
//!
//! One more metric is one more row in [`V1`] and [`V2`] (or [`POD`], of a pod's own
//! cgroup), a function that reads the text, and a field of [`Said`]. A file that a
//! kernel doesn't have is ordinary: its values are missing. Never opens a file.

use std::collections::BTreeSet;

use starling_engine::policy::Resource;

use super::counter::Moment;

/// A file of every container's cgroup.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// The controller of version 1 whose hierarchy has it, or whose place it
    /// takes in version 2.
    pub controller: &'static str,
    pub name: &'static str,
    /// What it is called where `name` isn't there.
    pub or: Option<&'static str>,
    pub pace: Pace,
    /// Puts what the text says into [`Said`]; false where it says nothing known.
    pub read: fn(&[u8], Moment, &mut Said) -> bool,
}

/// How often a file is read. What decides about sizes is read each time; what
/// people look at may be a few seconds old, since each reading costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    Each,
    /// Each time where this decides about the pod's workload
    /// ([`seldom`](super::PodRef::seldom)), else slowly.
    Asked(Resource),
    /// Once what is charged for memory has moved
    /// ([`MOVED_PART`](super::memory::MOVED_PART)), else slowly: the longest of the files.
    Moved,
    /// See [`super::group::SLOW_EVERY`].
    Slow,
    /// As slowly, where somebody asks for it of single containers, else never
    /// ([`pressure_by_container`](super::PodRef::pressure_by_container)).
    Wanted,
}

impl Pace {
    pub fn is_each(self, seldom: &BTreeSet<Resource>) -> bool {
        match self {
            Pace::Each => true,
            Pace::Asked(resource) => !seldom.contains(&resource),
            Pace::Moved | Pace::Slow | Pace::Wanted => false,
        }
    }
}

/// What a cgroup's files said, raw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Said {
    pub cpu_ns: Option<(Moment, u64)>,
    /// Periods, throttled periods, nanoseconds stopped.
    pub throttled: Option<(Moment, [u64; 3])>,
    pub memory_bytes: Option<(Moment, u64)>,
    pub inactive_file_bytes: Option<u64>,
    /// Bytes read and written, over all devices.
    pub disk_bytes: Option<(Moment, [u64; 2])>,
    pub pids: Option<(Moment, u64)>,
    /// Of CPU, memory and I/O, in this order.
    pub stalled: [Option<Stalled>; 3],
    pub oom_kills: Option<(Moment, u64)>,
}

/// How long tasks waited for a resource, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stalled {
    pub moment: Moment,
    /// At least one did.
    pub some_us: u64,
    /// All that had work did. Kernels before 5.13 don't say it of the CPU.
    pub full_us: Option<u64>,
}

const fn kind(
    controller: &'static str,
    name: &'static str,
    pace: Pace,
    read: fn(&[u8], Moment, &mut Said) -> bool,
) -> Kind {
    Kind {
        controller,
        name,
        or: None,
        pace,
        read,
    }
}

/// Stands for no controller of version 1: only version 2 counts pressure.
pub const PRESSURE: &str = "pressure";

/// What is charged for memory, which says whether `memory.stat` behind it is read too.
pub const CHARGED: Pace = Pace::Asked(Resource::Memory);

/// Counters stand before gauges: they are read while the clock's time is fresh.
pub const V2: [Kind; 9] = [
    kind("cpuacct", "cpu.stat", Pace::Each, cpu_stat_v2),
    kind("blkio", "io.stat", Pace::Asked(Resource::Disk), io_stat),
    kind("memory", "memory.current", CHARGED, memory_usage),
    kind("memory", "memory.stat", Pace::Moved, memory_stat_v2),
    kind("memory", "memory.events", Pace::Slow, oom_kills),
    kind("pids", "pids.current", Pace::Slow, pids),
    kind(PRESSURE, "cpu.pressure", Pace::Wanted, cpu_pressure),
    kind(PRESSURE, "memory.pressure", Pace::Wanted, memory_pressure),
    kind(PRESSURE, "io.pressure", Pace::Wanted, io_pressure),
];

pub const V1: [Kind; 7] = [
    kind("cpuacct", "cpuacct.usage", Pace::Each, cpuacct_usage),
    kind(
        "cpu",
        "cpu.stat",
        Pace::Asked(Resource::Throttling),
        cpu_stat_v1,
    ),
    Kind {
        // The former leaves out the cgroups below; the latter is missing before 5.0.
        or: Some("blkio.throttle.io_service_bytes"),
        ..kind(
            "blkio",
            "blkio.throttle.io_service_bytes_recursive",
            Pace::Asked(Resource::Disk),
            io_service_bytes,
        )
    },
    kind("memory", "memory.usage_in_bytes", CHARGED, memory_usage),
    kind("memory", "memory.stat", Pace::Moved, memory_stat_v1),
    kind("memory", "memory.oom_control", Pace::Slow, oom_kills),
    kind("pids", "pids.current", Pace::Slow, pids),
];

/// Of a pod's own cgroup, which holds those of its containers. Pressure isn't a sum
/// of theirs, and kills are counted there after the container has gone.
pub const POD: [Kind; 4] = [
    kind(
        PRESSURE,
        "cpu.pressure",
        Pace::Asked(Resource::PsiCpu),
        cpu_pressure,
    ),
    kind(
        PRESSURE,
        "memory.pressure",
        Pace::Asked(Resource::PsiMemory),
        memory_pressure,
    ),
    kind(
        PRESSURE,
        "io.pressure",
        Pace::Asked(Resource::PsiIo),
        io_pressure,
    ),
    kind("memory", "memory.events", Pace::Slow, oom_kills),
];

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

/// Lines of a device and keys: `8:0 rbytes=1 wbytes=2 rios=1 …`. Empty as long as
/// nothing was read or written; some kernels put two devices before the keys of one.
/// A device that lies on another one counts beside it, as in what kubelets say.
fn io_stat(text: &[u8], moment: Moment, said: &mut Said) -> bool {
    let mut sum = [0u64; 2];
    let mut known = text.is_empty();
    for word in words(text) {
        for (key, sum) in [&b"rbytes="[..], b"wbytes="].into_iter().zip(&mut sum) {
            if let Some(bytes) = word.strip_prefix(key).and_then(number) {
                *sum = sum.saturating_add(bytes);
                known = true;
            }
        }
    }
    said.disk_bytes = known.then_some((moment, sum));
    known
}

/// Lines of a device, what was done and bytes: `8:0 Read 4096`. Without a device, only
/// with `Total 0`, it is no zero: since 6.10 kernels say that whatever is written,
/// unless some cgroup has a limit for the device.
fn io_service_bytes(text: &[u8], moment: Moment, said: &mut Said) -> bool {
    let mut sum = [0u64; 2];
    let mut known = false;
    for line in text.split(|&byte| byte == b'\n') {
        let mut words = words(line);
        let (_device, what, bytes) = (words.next(), words.next(), words.next());
        let Some(bytes) = bytes.and_then(number) else {
            continue;
        };
        let sum = match what {
            Some(b"Read") => &mut sum[0],
            Some(b"Write") => &mut sum[1],
            _ => continue,
        };
        *sum = sum.saturating_add(bytes);
        known = true;
    }
    said.disk_bytes = known.then_some((moment, sum));
    known
}

fn pids(text: &[u8], moment: Moment, said: &mut Said) -> bool {
    said.pids = number(text).map(|count| (moment, count));
    said.pids.is_some()
}

/// In memory.events of version 2, the cgroups below included, and since 4.13 in
/// `memory.oom_control` of version 1, where they aren't.
fn oom_kills(text: &[u8], moment: Moment, said: &mut Said) -> bool {
    said.oom_kills = value(text, "oom_kill").map(|count| (moment, count));
    said.oom_kills.is_some()
}

fn cpu_pressure(text: &[u8], moment: Moment, said: &mut Said) -> bool {
    said.stalled[0] = stalled(text, moment);
    said.stalled[0].is_some()
}

fn memory_pressure(text: &[u8], moment: Moment, said: &mut Said) -> bool {
    said.stalled[1] = stalled(text, moment);
    said.stalled[1].is_some()
}

fn io_pressure(text: &[u8], moment: Moment, said: &mut Said) -> bool {
    said.stalled[2] = stalled(text, moment);
    said.stalled[2].is_some()
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=123`, and the same for `full`. The
/// averages are the kernel's, over times that it chose.
fn stalled(text: &[u8], moment: Moment) -> Option<Stalled> {
    let total = |who: &[u8]| {
        text.split(|&byte| byte == b'\n').find_map(|line| {
            let mut words = words(line);
            words.next().filter(|word| *word == who)?;
            words.find_map(|word| number(word.strip_prefix(b"total=")?))
        })
    };
    Some(Stalled {
        moment,
        some_us: total(b"some")?,
        full_us: total(b"full"),
    })
}

/// Whether a cgroup of version 2, or one below it, has a process: by its cgroup.events.
pub fn is_populated(events: &[u8]) -> bool {
    value(events, "populated") == Some(1)
}

/// The number after `key` in lines of a key and a number each.
fn value(text: &[u8], key: &str) -> Option<u64> {
    text.split(|&byte| byte == b'\n').find_map(|line| {
        let rest = line.strip_prefix(key.as_bytes())?.strip_prefix(b" ")?;
        number(rest)
    })
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let words = text.split(u8::is_ascii_whitespace);
    words.filter(|word| !word.is_empty())
}

fn number(text: &[u8]) -> Option<u64> {
    str::from_utf8(text.trim_ascii()).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a kind by its file's name, first in version 2.
    fn said(version: &[Kind], name: &str, text: &str) -> (bool, Said) {
        let kind = version.iter().find(|kind| kind.name == name).unwrap();
        let mut said = Said::default();
        let known = (kind.read)(text.as_bytes(), Moment::default(), &mut said);
        (known, said)
    }

    #[test]
    fn cpu_stat_is_read_with_and_without_a_quota() {
        let plain = "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\n";
        let (known, without) = said(&V2, "cpu.stat", plain);
        assert!(known);
        assert_eq!(without.cpu_ns.map(|(_, ns)| ns), Some(1_500_000));
        assert_eq!(without.throttled, None);
        let quota =
            format!("{plain}nr_periods 9\nnr_throttled 4\nthrottled_usec 70\nnr_bursts 0\n");
        let (_, with) = said(&V2, "cpu.stat", &quota);
        assert_eq!(
            with.throttled.map(|(_, counts)| counts),
            Some([9, 4, 70_000])
        );
        let text = "nr_periods 9\nnr_throttled 4\nthrottled_time 70000\n";
        let (_, v1) = said(&V1, "cpu.stat", text);
        assert_eq!(v1.throttled, with.throttled);
    }

    #[test]
    fn inactive_files_are_those_of_the_whole_cgroup() {
        let v2 = "anon 1\nfile 9\ninactive_anon 3\ninactive_file 4\nworkingset_x 1\n";
        let inactive = |version: &[Kind], text| said(version, "memory.stat", text).1;
        assert_eq!(inactive(&V2, v2).inactive_file_bytes, Some(4));
        let v1 = "inactive_file 4\nhierarchical_memory_limit 9\ntotal_inactive_file 6\n";
        assert_eq!(inactive(&V1, v1).inactive_file_bytes, Some(6));
    }

    #[test]
    fn bytes_are_summed_over_devices() {
        let v2 = |text| said(&V2, "io.stat", text).1.disk_bytes.map(|(_, it)| it);
        let two = "8:0 rbytes=4096 wbytes=100 rios=1 wios=2 dbytes=9 dios=1\n\
                   259:1 259:0 rbytes=1 wbytes=20 rios=1 wios=2 dbytes=7 dios=1\n";
        assert_eq!(v2(two), Some([4_097, 120]));
        // Nothing was read or written yet.
        assert_eq!(v2(""), Some([0, 0]));
        let v1 = |text| {
            let name = "blkio.throttle.io_service_bytes_recursive";
            said(&V1, name, text).1.disk_bytes.map(|(_, it)| it)
        };
        let two = "8:0 Read 4096\n8:0 Write 100\n8:0 Sync 7\n8:0 Async 7\n8:0 Discard 0\n\
                   8:0 Total 4196\n8:16 Read 1\n8:16 Write 20\n8:16 Total 21\nTotal 4217\n";
        assert_eq!(v1(two), Some([4_097, 120]));
        assert_eq!(v1("8:0 Read 0\n8:0 Write 0\n8:0 Total 0\n"), Some([0, 0]));
        assert_eq!(v1("Total 0\n"), None);
    }

    #[test]
    fn pressure_is_the_time_in_total_and_full_may_be_missing() {
        let some = "some avg10=1.50 avg60=0.00 avg300=0.00 total=1234\n";
        let (known, old) = said(&V2, "cpu.pressure", some);
        assert!(known);
        let of = |said: Said, at: usize| said.stalled[at].map(|it| (it.some_us, it.full_us));
        assert_eq!(of(old, 0), Some((1_234, None)));
        let both = format!("{some}full avg10=0.00 avg60=0.00 avg300=0.00 total=56\n");
        for (at, name) in ["cpu.pressure", "memory.pressure", "io.pressure"]
            .into_iter()
            .enumerate()
        {
            let (_, both) = said(&V2, name, &both);
            assert_eq!(of(both, at), Some((1_234, Some(56))), "{name}");
            assert_eq!(both.stalled.iter().flatten().count(), 1, "{name}");
        }
    }

    #[test]
    fn kills_for_want_of_memory_and_processes_are_counted_in_both_versions() {
        let v2 = "low 0\nhigh 0\nmax 7\noom 3\noom_kill 2\noom_group_kill 1\n";
        let v1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n";
        let kills = |version, name, text| said(version, name, text).1.oom_kills;
        assert_eq!(kills(&V2, "memory.events", v2).unwrap().1, 2);
        assert_eq!(kills(&V1, "memory.oom_control", v1).unwrap().1, 2);
        // Kernels before 4.13.
        let old = "oom_kill_disable 0\nunder_oom 0\n";
        assert_eq!(kills(&V1, "memory.oom_control", old), None);
        assert_eq!(said(&V2, "pids.current", "12\n").1.pids.unwrap().1, 12);
        assert!(is_populated(b"populated 1\nfrozen 0\n"));
        assert!(!is_populated(b"populated 0\nfrozen 0\n"));
    }

    #[test]
    fn text_that_says_nothing_known_is_no_value() {
        for kind in V1.iter().chain(&V2).chain(&POD) {
            for text in [
                "",
                "\n",
                "max\n",
                "usage_usec\n",
                "-1\n",
                "nr_periods x",
                "some total=-1\n",
                "8:0 rbytes=x\n",
                "8:0 Read x\n",
                "\u{fffd}",
            ] {
                if text.is_empty() && kind.name == "io.stat" {
                    continue;
                }
                let mut said = Said::default();
                let known = (kind.read)(text.as_bytes(), Moment::default(), &mut said);
                assert!(!known, "{} {text:?}", kind.name);
                assert_eq!(said, Said::default(), "{} {text:?}", kind.name);
            }
        }
    }
}
