//! Measuring replicas, on recorded trees of processes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use starling_collect::proc::{Id, Proc, Stat};
use starling_collect::tree::{Rate, Trees, Usage};
use starling_collect::{Collector, HostRoot, Replica};
use starling_engine::demand::pods::{Phase, Pod};
use starling_engine::demand::{CPU, MEMORY};
use starling_engine::policy::{Resource, Target};
use starling_engine::unit::Ms;

/// As Linux 6.18 wrote it, but for the name.
const STAT: &str = "12513 (NAME) S 12506 12513 12513 0 -1 4194560 8190 1660062 0 779 2 4 2400 \
                    519 20 0 1 0 131365 5591040 1044 18446744073709551615 93959469367296 \
                    93959470156701 140727799434096 0 0 0 65536 4 1132560123 1 0 0 17 1 0 0 0 0 \
                    0 93959470390000 93959470438244 93959532036096 140727799442269 \
                    140727799442284 140727799442284 140727799443434 0\n";

fn named(name: &[u8]) -> Vec<u8> {
    let (before, after) = STAT.split_once("NAME").unwrap();
    [before.as_bytes(), name, after.as_bytes()].concat()
}

#[test]
fn a_stat_line_is_read_whatever_the_process_is_called() {
    let expected = Stat {
        pid: 12_513,
        state: b'S',
        parent: 12_506,
        group: 12_513,
        cpu_ticks: 6,
        reaped_ticks: 2_919,
        start_ticks: 131_365,
        resident_pages: 1_044,
    };
    let names: [&[u8]; 6] = [b"bash", b"", b"a b", b") R 7 8 (", b"\n)", b"\xff\xfe"];
    for name in names {
        assert_eq!(Stat::parse(&named(name)), Some(expected), "{name:?}");
    }
}

#[test]
fn a_torn_or_strange_stat_line_is_no_process() {
    let line = named(b"x");
    // Up to and with the last digit of field 24.
    let needed = STAT.find(" 1044 ").unwrap() - "NAME".len() + "x".len() + " 1044".len();
    assert!(Stat::parse(&line[..needed]).is_some());
    for len in 0..needed - "1044".len() {
        assert_eq!(Stat::parse(&line[..len]), None, "{len} bytes");
    }
    let garbage: [&[u8]; 5] = [b"", b")(", b"x (y) S 1", b"1 () S", b"\0\0\0"];
    for text in garbage {
        assert_eq!(Stat::parse(text), None);
    }
}

#[test]
fn a_negative_time_counts_as_none_and_a_huge_one_does_not_overflow() {
    let line = STAT.replace(" 2 4 2400 519 ", " 18446744073709551615 4 -7 519 ");
    let stat = Stat::parse(line.as_bytes()).unwrap();
    assert_eq!((stat.cpu_ticks, stat.reaped_ticks), (u64::MAX, 519));
}

/// Writes a tree as `/proc` shows one.
fn record(root: &Path, stat: &Stat) {
    let dir = root.join(stat.pid.to_string());
    std::fs::create_dir_all(&dir).unwrap();
    let line = format!(
        "{} (w) {} {} {} 17 0 -1 0 0 0 0 0 {} 0 {} 0 20 0 1 0 {} 4096 {} 0 0\n",
        stat.pid,
        char::from(stat.state),
        stat.parent,
        stat.group,
        stat.cpu_ticks,
        stat.reaped_ticks,
        stat.start_ticks,
        stat.resident_pages
    );
    std::fs::write(dir.join("stat"), line).unwrap();
}

/// A process in `group`, started at boot, with 1 page.
fn process(pid: u32, parent: u32, group: u32, cpu_ticks: u64, reaped_ticks: u64) -> Stat {
    Stat {
        pid,
        state: b'S',
        parent,
        group,
        cpu_ticks,
        reaped_ticks,
        start_ticks: 0,
        resident_pages: 1,
    }
}

fn root(pid: u32) -> Id {
    Id {
        pid,
        start_ticks: 0,
    }
}

#[test]
fn a_proc_tree_is_read_and_what_vanished_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let (one, two) = (process(10, 1, 10, 3, 4), process(11, 10, 10, 5, 6));
    record(root, &one);
    record(root, &two);
    // A process that ended between the listing and the reading, and other files.
    std::fs::create_dir(root.join("12")).unwrap();
    std::fs::write(root.join("uptime"), "1 2").unwrap();
    std::fs::create_dir(root.join("self")).unwrap();
    std::fs::create_dir(root.join(std::ffi::OsString::from_vec(vec![0xff]))).unwrap();
    let proc = Proc::new(root);
    let mut stats = proc.scan().unwrap();
    stats.sort_by_key(|stat| stat.pid);
    assert_eq!(stats, [one, two]);
    assert_eq!(proc.stat(11).unwrap(), Some(two));
    assert_eq!(proc.stat(12).unwrap(), None);
    assert!(Proc::new(root.join("absent")).scan().is_err());

    let environ = b"PATH=/bin\0EMPTY=\0MARK=a b=c\0MARKED=x\0BAD=\xff\0LAST=1";
    std::fs::write(root.join("10/environ"), environ).unwrap();
    let variable = |name| proc.variable(10, name).unwrap();
    assert_eq!(variable("MARK").as_deref(), Some("a b=c"));
    assert_eq!(variable("EMPTY").as_deref(), Some(""));
    assert_eq!(variable("LAST").as_deref(), Some("1"));
    assert_eq!(variable("MAR"), None);
    assert_eq!(variable("BAD"), None);
    assert_eq!(proc.variable(11, "MARK").unwrap(), None);
}

/// Reads `before` and, a second later, `after`; the CPU of tree 10 between them.
fn cpu_between(before: &[Stat], after: &[Stat]) -> Option<u64> {
    let mut trees = Trees::default();
    let first = trees.read(10_000, &[root(10)], before);
    assert_eq!(first[0].and_then(|usage| usage.cpu), None);
    let second = trees.read(11_000, &[root(10)], after);
    let cpu = second[0]?.cpu?;
    assert_eq!(cpu.window_ms, 1_000);
    Some(cpu.milli)
}

/// A process that started within the second that [`cpu_between`] covers.
fn newborn(stat: Stat) -> Stat {
    Stat {
        start_ticks: 1_050,
        ..stat
    }
}

#[test]
fn the_first_sight_of_a_tree_gives_memory_but_no_rate() {
    let mut trees = Trees::default();
    let stats = [process(10, 1, 10, 500, 0), process(11, 10, 10, 0, 0)];
    let page = rustix::param::page_size() as u64;
    let first = Usage {
        cpu: None,
        memory_bytes: Some(2 * page),
    };
    assert_eq!(trees.read(10_000, &[root(10)], &stats), [Some(first)]);
    let idle = Usage {
        cpu: Some(Rate {
            milli: 0,
            window_ms: 2_000,
        }),
        ..first
    };
    assert_eq!(trees.read(12_000, &[root(10)], &stats), [Some(idle)]);
}

#[test]
fn a_tree_is_charged_for_all_its_descendants_and_for_no_one_else() {
    // A child; a grandchild in a group of its own; one in the group whose
    // parent has died; a stranger; another root below the first.
    let tree = |ticks: u64| {
        [
            process(10, 1, 10, ticks, 0),
            process(11, 10, 10, ticks, 0),
            process(12, 11, 12, ticks, 0),
            process(13, 1, 10, ticks, 0),
            process(14, 1, 14, 1_000 * ticks, 0),
            process(20, 10, 20, 2 * ticks, 0),
            process(21, 20, 20, 2 * ticks, 0),
        ]
    };
    let mut trees = Trees::default();
    let roots = [root(10), root(20)];
    trees.read(10_000, &roots, &tree(0));
    let usages = trees.read(11_000, &roots, &tree(10));
    let milli = |usage: &Option<Usage>| usage.unwrap().cpu.unwrap().milli;
    // 4 × 10 ticks and 2 × 20 ticks, of 10 ms each, in one second.
    assert_eq!(usages.iter().map(milli).collect::<Vec<_>>(), [400, 400]);
}

#[test]
fn a_child_that_was_waited_for_is_counted_once() {
    let shell = process(10, 1, 10, 5, 0);
    let child = process(11, 10, 10, 40, 0);
    // It used 10 ticks more before it ended; all 50 are in the parent's reaped time.
    let waited = process(10, 1, 10, 5, 50);
    assert_eq!(cpu_between(&[shell, child], &[waited]), Some(100));
    // Born and waited for between the readings: all of it is new.
    assert_eq!(cpu_between(&[shell], &[waited]), Some(500));
    // Nobody waited: what it used since the last reading is lost, nothing else.
    assert_eq!(cpu_between(&[shell, child], &[shell]), Some(0));
    // A zombie still has its own time; reaping it adds nothing.
    let zombie = Stat {
        state: b'Z',
        cpu_ticks: 50,
        ..child
    };
    assert_eq!(cpu_between(&[shell, child], &[shell, zombie]), Some(100));
    assert_eq!(cpu_between(&[shell, zombie], &[waited]), Some(0));
}

#[test]
fn a_new_child_counts_in_full_but_one_that_was_overlooked_does_not() {
    let shell = process(10, 1, 10, 0, 0);
    let child = process(11, 10, 10, 60, 0);
    assert_eq!(cpu_between(&[shell], &[shell, newborn(child)]), Some(600));
    assert_eq!(cpu_between(&[shell], &[shell, child]), Some(0));
}

#[test]
fn a_counter_that_goes_back_is_no_use_at_all() {
    let before = [process(10, 1, 10, 100, 100), process(11, 10, 10, 90, 0)];
    let after = [process(10, 1, 10, 50, 20), process(11, 10, 10, 95, 0)];
    assert_eq!(cpu_between(&before, &after), Some(50));
}

#[test]
fn a_pid_that_is_used_again_is_not_the_root() {
    let mut trees = Trees::default();
    let roots = [root(10)];
    trees.read(10_000, &roots, &[process(10, 1, 10, 100, 0)]);
    let other = newborn(process(10, 1, 10, 900, 0));
    let its_child = process(11, 10, 10, 900, 0);
    assert_eq!(trees.read(11_000, &roots, &[other, its_child]), [None]);
    assert_eq!(trees.read(12_000, &roots, &[]), [None]);
    // A child's pid that is used again within the tree starts anew.
    let shell = process(10, 1, 10, 0, 0);
    let child = process(11, 10, 10, 90, 0);
    let again = newborn(process(11, 10, 10, 20, 0));
    assert_eq!(cpu_between(&[shell, child], &[shell, again]), Some(200));
}

#[test]
fn parents_in_a_circle_end_the_search() {
    let mut trees = Trees::default();
    let circle = [
        process(10, 1, 10, 0, 0),
        process(30, 31, 30, 0, 0),
        process(31, 30, 31, 0, 0),
    ];
    let usages = trees.read(10_000, &[root(10)], &circle);
    let page = rustix::param::page_size() as u64;
    assert_eq!(usages[0].unwrap().memory_bytes, Some(page));
}

#[test]
fn readings_too_close_together_give_no_rate_and_spoil_no_window() {
    let mut trees = Trees::default();
    let roots = [root(10)];
    let read = |trees: &mut Trees, at_ms, ticks| {
        let usages = trees.read(at_ms, &roots, &[process(10, 1, 10, ticks, 0)]);
        usages[0].unwrap().cpu
    };
    assert_eq!(read(&mut trees, 10_000, 0), None);
    assert_eq!(read(&mut trees, 10_000, 1), None);
    assert_eq!(read(&mut trees, 10_099, 9), None);
    let rate = Rate {
        milli: 500,
        window_ms: 1_000,
    };
    assert_eq!(read(&mut trees, 11_000, 50), Some(rate));
}

fn host(proc: &Path) -> HostRoot {
    HostRoot {
        proc: proc.into(),
        ..HostRoot::default()
    }
}

fn target(name: &str) -> Target {
    Target::process(name)
}

fn replica(name: &str, pid: u32) -> Replica {
    Replica {
        target: target(name),
        root: root(pid),
        started_at: Ms(5_000),
        ready: true,
        ready_changed_at: Ms(6_000),
        cpu_request_milli: Some(250),
        memory_request_bytes: Some(u64::MAX),
    }
}

fn web(collector: &mut Collector, replicas: &[Replica]) -> Vec<Pod> {
    let offered = BTreeSet::from([target("web")]);
    let mut sample = collector.sample(Ms(9_000), offered, replicas);
    sample.workloads.remove(&target("web")).unwrap()
}

#[test]
fn a_sample_lists_what_can_run_here_with_the_replicas_that_do() {
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), &process(10, 1, 10, 0, 0));
    let meminfo = "MemTotal: 1000 kB\nMemAvailable: 400 kB\n";
    std::fs::write(dir.path().join("meminfo"), meminfo).unwrap();
    let unready = Replica {
        ready: false,
        ..replica("web", 10)
    };
    let ended = replica("web", 99);
    let unoffered = replica("other", 10);
    let mut collector = Collector::new(host(dir.path()));
    let offered = BTreeSet::from([target("web"), target("idle")]);
    let sample = collector.sample(Ms(9_000), offered, &[unready, ended, unoffered]);
    let sizes = sample.workloads.iter();
    let sizes: Vec<_> = sizes
        .map(|(target, pods)| (target.name.as_str(), pods.len()))
        .collect();
    assert_eq!(sizes, [("idle", 0), ("web", 1)]);
    let totals = sample.totals;
    assert_eq!(totals.used(MEMORY), 600 * 1_024);
    assert_eq!(totals.allocatable(MEMORY), 1_000 * 1_024);
    // The recorded tree doesn't say, and that is named.
    assert!(!totals.0.contains_key(CPU));
    let unread = &collector.machine().unread;
    assert!(
        unread.iter().any(|it| it.what == "cpu" && it.fault),
        "{unread:?}"
    );

    let mut pods = web(&mut collector, &[replica("web", 10)]);
    let pod = pods.remove(0);
    assert_eq!((pod.phase, pod.deleted), (Phase::Running, false));
    assert_eq!((pod.ready, pod.started_at), (Some(true), Some(Ms(5_000))));
    assert_eq!(pod.ready_changed_at, Some(Ms(6_000)));
    assert_eq!(pod.metrics[&Resource::Cpu].request_milli, Some(250));
    assert_eq!(
        pod.metrics[&Resource::Memory].request_milli,
        Some(i64::MAX),
        "it saturates"
    );
    let page_milli = rustix::param::page_size() as i64 * 1_000;
    let memory = pod.metrics[&Resource::Memory].sample.unwrap();
    assert_eq!((memory.milli, memory.at), (page_milli, Ms(9_000)));
}

#[test]
fn without_a_process_table_replicas_have_no_samples_but_are_there() {
    let mut collector = Collector::new(host(Path::new("/no/such/proc")));
    let pods = web(&mut collector, &[replica("web", 10)]);
    assert_eq!(pods.len(), 1);
    let samples = pods[0].metrics.values().map(|metric| metric.sample);
    assert!(samples.eq([None, None]));
}
