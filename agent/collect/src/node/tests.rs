//! Node totals from recorded trees: two reads, and what is missing in between.

use std::fs;

use starling_engine::demand;

use super::*;

/// A host of which only some files are there.
struct Recorded(tempfile::TempDir);

impl Recorded {
    fn new() -> Recorded {
        let recorded = Recorded(tempfile::tempdir().unwrap());
        for disk in ["sda", "dm-0"] {
            recorded.write(&format!("sys/block/{disk}/size"), "1");
        }
        recorded.write("sys/block/sda/device/model", "x");
        for name in ["lo", "eth0", "veth1"] {
            recorded.traffic(name, [1_000, 2_000, 0, 0]);
        }
        recorded.write("sys/class/net/eth0/device/vendor", "x");
        recorded
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Received, sent, errors one way, drops the other.
    fn traffic(&self, name: &str, [received, sent, errors, drops]: [u64; 4]) {
        let files = [
            ("rx_bytes", received),
            ("tx_bytes", sent),
            ("rx_errors", errors),
            ("tx_errors", 0),
            ("rx_dropped", 0),
            ("tx_dropped", drops),
        ];
        for (file, count) in files {
            let path = format!("sys/class/net/{name}/statistics/{file}");
            self.write(&path, &format!("{count}\n"));
        }
    }

    /// Sectors read and written, milliseconds busy; the same of a partition and of
    /// what is stacked on it.
    fn disk(&self, read: u64, written: u64, busy_ms: u64) {
        let line = |name: &str| {
            let (reads, writes) = (read / 8, written / 8);
            format!("8 0 {name} {reads} 0 {read} 0 {writes} 0 {written} 0 0 {busy_ms} 0\n")
        };
        let lines = ["sda", "sda1", "dm-0"].map(line).concat();
        self.write("proc/diskstats", &lines);
    }

    fn pressure(&self, name: &str, some_us: u64, full_us: u64) {
        let line = |kind, total| format!("{kind} avg10=1.00 avg60=0.50 avg300=0.1 total={total}\n");
        let text = line("some", some_us) + &line("full", full_us);
        self.write(&format!("proc/pressure/{name}"), &text);
    }

    fn host(&self) -> HostRoot {
        HostRoot {
            proc: self.0.path().join("proc"),
            sys: self.0.path().join("sys"),
            root: Some(self.0.path().to_owned()),
        }
    }
}

/// Reads the counters, so many milliseconds after the first read.
fn after(meter: &mut Meter, begun: Instant, ms: u64) -> (Totals, Machine) {
    let (mut totals, mut machine) = (Totals::default(), Machine::default());
    let at = begun + Duration::from_millis(ms);
    meter.counters(at, &mut totals, &mut machine);
    (totals, machine)
}

#[test]
fn devices_and_totals_come_from_two_reads() {
    let recorded = Recorded::new();
    recorded.disk(800, 8_000, 100);
    recorded.pressure("cpu", 1_000, 0);
    recorded.pressure("memory", 1_000, 500);
    recorded.pressure("io", 1_000, 500);
    let mut meter = Meter::new(&recorded.host());
    let begun = Instant::now() + Duration::from_secs(1);
    after(&mut meter, begun, 0);

    recorded.disk(2_400, 24_000, 1_600);
    recorded.pressure("cpu", 501_000, 400_000);
    recorded.pressure("memory", 1_000, 500);
    recorded.pressure("io", 9_001_000, 200_500);
    for name in ["lo", "eth0", "veth1"] {
        recorded.traffic(name, [5_000, 2_000, 4, 2]);
    }
    let (totals, machine) = after(&mut meter, begun, 2_000);
    let disk = disk::Rates {
        read_bytes: 409_600,
        written_bytes: 4_096_000,
        reads: 100,
        writes: 1_000,
        busy_milli: 750,
    };
    assert_eq!(machine.disks, [("sda".to_owned(), disk)].into());
    let traffic = network::Rates {
        received_bytes: 2_000,
        sent_bytes: 0,
        errors: 2,
        drops: 1,
    };
    assert_eq!(machine.interfaces, [("eth0".to_owned(), traffic)].into());
    let waited = |some_milli, full_milli| pressure::Rates {
        some_milli,
        full_milli,
    };
    let pressures = [
        ("cpu", waited(250, None)),
        ("memory", waited(0, Some(0))),
        // More time than there was can only be a torn counter.
        ("io", waited(1_000, Some(100))),
    ];
    assert_eq!(machine.pressures, pressures.into());
    let expected = [
        (demand::DISK_READ, 409_600),
        (demand::DISK_WRITE, 4_096_000),
        (demand::DISK_BUSY, 750),
        (demand::NETWORK_RECEIVED, 2_000),
        (demand::NETWORK_SENT, 0),
        (demand::PSI_CPU, 250),
        (demand::PSI_MEMORY, 0),
        (demand::PSI_IO, 1_000),
    ];
    let used = totals.0.iter().map(|(name, it)| (name.as_str(), it.used));
    assert_eq!(used.collect::<BTreeMap<_, _>>(), expected.into());
}

#[test]
fn what_is_new_or_went_back_has_no_rate_and_what_cannot_be_read_is_named() {
    let recorded = Recorded::new();
    recorded.disk(800, 800, 100);
    recorded.pressure("cpu", 1_000, 0);
    recorded.write("proc/pressure/io", "avg10=0.00\n");
    let mut meter = Meter::new(&recorded.host());
    let begun = Instant::now() + Duration::from_secs(1);
    let (totals, _) = after(&mut meter, begun, 0);
    assert!(totals.0.contains_key(demand::DISK_READ), "a second read");

    recorded.disk(700, 9_000, 100);
    recorded.pressure("cpu", 900, 0);
    fs::remove_dir_all(recorded.0.path().join("sys/class")).unwrap();
    let (totals, machine) = after(&mut meter, begun, 1_000);
    assert!(totals.0.is_empty(), "{totals:?}");
    let named = |fault| {
        let unread = machine.unread.iter().filter(|it| it.fault == fault);
        unread.map(|it| it.what.as_str()).collect::<Vec<_>>()
    };
    // `stat` and `meminfo` aren't recorded here.
    assert_eq!(named(true), ["cpu", "memory", "network", "psi-io"]);
    assert_eq!(named(false), ["psi-memory"]);

    // From the lower counters on there are rates again.
    recorded.disk(1_400, 9_000, 100);
    let (totals, _) = after(&mut meter, begun, 2_000);
    assert_eq!(totals.used(demand::DISK_READ), 358_400);
}

#[test]
fn two_reads_at_once_give_no_rate_and_spoil_none() {
    let recorded = Recorded::new();
    recorded.disk(0, 0, 0);
    let mut meter = Meter::new(&recorded.host());
    let begun = Instant::now() + Duration::from_secs(1);
    after(&mut meter, begun, 0);
    recorded.disk(2_000, 0, 0);
    let (totals, _) = after(&mut meter, begun, 1);
    assert!(!totals.0.contains_key(demand::DISK_READ));
    let (totals, _) = after(&mut meter, begun, 1_000);
    assert_eq!(totals.used(demand::DISK_READ), 1_024_000);
}

#[test]
fn rates_are_bounded_whatever_the_counters_say() {
    assert_eq!(per_second(0, u64::MAX, Duration::ZERO), Some(u64::MAX));
    assert_eq!(per_second(7, 6, Duration::from_secs(1)), None);
    assert_eq!(
        per_second(100, 1_100, Duration::from_millis(500)),
        Some(2_000)
    );
    assert_eq!(share_milli(0, u64::MAX, Duration::ZERO), Some(1_000));
}

#[test]
fn more_devices_than_are_told_one_by_one_are_counted() {
    let all = (0..=DEVICES_MAX).map(|n| (format!("sd{n:03}"), n));
    let mut unread = Vec::new();
    let told = bounded("disks", all.collect(), &mut unread);
    assert_eq!(told.len(), DEVICES_MAX);
    let why = format!("1 more than {DEVICES_MAX} aren't told of one by one");
    assert_eq!(unread, [Unread::absent("disks", why)]);
}

#[test]
fn a_real_machine_is_measured_without_faults() {
    let mut meter = Meter::new(&HostRoot::default());
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        meter.ask();
        let (totals, machine) = meter.read();
        let faults: Vec<_> = machine.unread.iter().filter(|it| it.fault).collect();
        let done = totals.0.contains_key(demand::NETWORK_SENT)
            && totals.allocatable(demand::DISK_SPACE) > 0
            && totals.allocatable(demand::CPU) > 0;
        if done && faults.is_empty() {
            assert!(totals.used(demand::DISK_SPACE) <= totals.allocatable(demand::DISK_SPACE));
            break;
        }
        assert!(Instant::now() < deadline, "{totals:?} {faults:?}");
        std::thread::sleep(WINDOW_MIN);
    }
}
