//! What is measured beside CPU and memory: disk I/O, processes, pressure, kills for
//! want of memory; where each form of cgroups has it, and where it is missing.

use super::super::usage::{Count, Psi, Stall};
use super::*;

/// What the other files of a cgroup say.
#[derive(Clone, Copy, Default)]
struct More {
    read: u64,
    written: u64,
    pids: u64,
    /// Of each resource: milliseconds in which some waited; all did for half of it.
    stalled_ms: u64,
    kills: u64,
}

fn pressure(host: &Host, dir: &str, stalled_ms: u64) {
    for name in ["cpu", "memory", "io"] {
        let line =
            |who: &str, us: u64| format!("{who} avg10=0.00 avg60=0.00 avg300=0.00 total={us}\n");
        let some = line("some", stalled_ms * 1_000);
        let text = format!("{some}{}", line("full", stalled_ms * 500));
        host.write(&format!("{dir}/{name}.pressure"), &text);
    }
}

fn events(host: &Host, dir: &str, kills: u64) {
    let text = format!("low 0\nhigh 0\nmax 4\noom 4\noom_kill {kills}\noom_group_kill 0\n");
    host.write(&format!("{dir}/memory.events"), &text);
}

/// A container's cgroup in version 2, all files.
fn say_v2(host: &Host, id: &str, more: More) {
    host.say_v2("", &place(UID, id), Says::default());
    let dir = format!("fs/cgroup{}", place(UID, id));
    let io = format!(
        "8:0 rbytes={} wbytes=0 rios=1 wios=0 dbytes=0 dios=0\n\
         253:0 rbytes=0 wbytes={} rios=0 wios=1 dbytes=0 dios=0\n",
        more.read, more.written
    );
    host.write(&format!("{dir}/io.stat"), &io);
    host.write(&format!("{dir}/pids.current"), &format!("{}\n", more.pids));
    pressure(host, &dir, more.stalled_ms);
    events(host, &dir, more.kills);
}

/// A pod's own cgroup in version 2.
fn say_own(host: &Host, stalled_ms: u64, kills: u64) {
    let dir = format!("fs/cgroup/kubepods/burstable/pod{UID}");
    pressure(host, &dir, stalled_ms);
    events(host, &dir, kills);
}

const BLKIO: &str = "blkio.throttle.io_service_bytes";

/// The same in version 1, which has no pressure; `io` names the file of the bytes.
fn say_v1(host: &Host, id: &str, io: &str, more: More) {
    host.say_v1(
        ["cpuacct", "cpu", "memory"],
        &place(UID, id),
        Says::default(),
    );
    let dir = |hierarchy: &str| format!("fs/cgroup/{hierarchy}{}", place(UID, id));
    let sum = more.read + more.written;
    let text = format!(
        "8:0 Read {}\n8:0 Write {}\n8:0 Sync 3\n8:0 Total {sum}\nTotal {sum}\n",
        more.read, more.written
    );
    host.write(&format!("{}/{io}", dir("blkio")), &text);
    host.write(
        &format!("{}/pids.current", dir("pids")),
        &format!("{}\n", more.pids),
    );
    let kills = format!("oom_kill_disable 0\nunder_oom 0\noom_kill {}\n", more.kills);
    host.write(&format!("{}/memory.oom_control", dir("memory")), &kills);
}

fn v1() -> Host {
    let host = Host::v1();
    host.write("fs/cgroup/blkio/cgroup.procs", "");
    host
}

fn milli(reading: Option<Reading>) -> Option<i64> {
    reading.map(|reading| reading.milli)
}

/// Some and full, of CPU, memory and I/O.
fn shares(psi: Psi) -> [Option<i64>; 6] {
    let of = |stall: Stall| [milli(stall.some), milli(stall.full)];
    let [a, b, c] = [of(psi.cpu), of(psi.memory), of(psi.io)];
    [a[0], a[1], b[0], b[1], c[0], c[1]]
}

fn kills(count: Option<Count>) -> Option<u64> {
    count.map(|count| count.count)
}

const FIRST: More = More {
    read: 1_000_000,
    written: 2_000_000,
    pids: 3,
    stalled_ms: 10_000,
    kills: 1,
};
/// A second after that.
const SECOND: More = More {
    read: 1_050_000,
    written: 2_007_000,
    pids: 4,
    stalled_ms: 10_250,
    kills: 2,
};

#[test]
fn version_2_has_all_of_it_for_each_container_and_the_pods_own_for_what_does_not_add_up() {
    let host = Host::v2();
    let say = |more: More, own_ms, own_kills| {
        say_v2(&host, ID, more);
        say_v2(&host, OTHER, more);
        say_own(&host, own_ms, own_kills);
    };
    say(FIRST, 500, 7);
    let mut cgroups = host.cgroups();
    let pods = [pod(UID, "web", &[ID, OTHER])];
    let first = cgroups.measure(Ms(0), &pods).pods[UID].clone();
    assert_eq!((first.disk(), milli(first.pids)), (None, Some(6_000)));
    assert_eq!(shares(first.psi), [None; 6]);
    assert_eq!(kills(first.oom_kills), Some(7));
    host.pass(1_000);
    say(SECOND, 900, 9);
    let measured = cgroups.measure(Ms(1_000), &pods);
    assert_eq!(problems(&measured), Vec::<String>::new());
    let both = &measured.pods[UID];
    let one = both.containers["c1"];
    assert_eq!(cpu_milli(one.disk_read), Some((50_000_000, 1_000)));
    assert_eq!(cpu_milli(one.disk_written), Some((7_000_000, 1_000)));
    assert_eq!(milli(one.pids), Some(4_000));
    assert_eq!(
        shares(one.psi),
        [
            Some(250),
            Some(125),
            Some(250),
            Some(125),
            Some(250),
            Some(125)
        ]
    );
    assert_eq!(kills(one.oom_kills), Some(2));
    // What adds up is the sum of the two containers; the rest is of the pod's own.
    assert_eq!(cpu_milli(both.disk_read), Some((100_000_000, 1_000)));
    assert_eq!(cpu_milli(both.disk()), Some((114_000_000, 1_000)));
    assert_eq!(milli(both.pids), Some(8_000));
    assert_eq!(
        shares(both.psi),
        [
            Some(400),
            Some(200),
            Some(400),
            Some(200),
            Some(400),
            Some(200)
        ]
    );
    assert_eq!(kills(both.oom_kills), Some(9));
    assert_eq!(both.network(), None);
}

#[test]
fn version_1_has_it_without_pressure_and_kills_are_those_of_the_containers() {
    for io in [format!("{BLKIO}_recursive"), BLKIO.to_owned()] {
        let host = v1();
        say_v1(&host, ID, &io, FIRST);
        say_v1(&host, OTHER, &io, FIRST);
        let mut cgroups = host.cgroups();
        let pods = [pod(UID, "web", &[ID, OTHER])];
        cgroups.measure(Ms(0), &pods);
        host.pass(1_000);
        say_v1(&host, ID, &io, SECOND);
        say_v1(&host, OTHER, &io, FIRST);
        let measured = cgroups.measure(Ms(1_000), &pods);
        assert_eq!(problems(&measured), Vec::<String>::new());
        let both = &measured.pods[UID];
        assert_eq!(cpu_milli(both.disk_read), Some((50_000_000, 1_000)), "{io}");
        assert_eq!(cpu_milli(both.disk_written), Some((7_000_000, 1_000)));
        assert_eq!(milli(both.pids), Some(7_000));
        assert_eq!(kills(both.oom_kills), Some(3));
        assert_eq!(shares(both.psi), [None; 6]);
        assert_eq!(shares(both.containers["c0"].psi), [None; 6]);
    }
}

#[test]
fn hybrid_has_pressure_where_somebody_put_the_processes_there_too() {
    let host = v1();
    host.write("fs/cgroup/unified/cgroup.controllers", "\n");
    let own = format!("fs/cgroup/unified/kubepods/burstable/pod{UID}");
    let io = format!("{BLKIO}_recursive");
    let say = |more: More| {
        say_v1(&host, ID, &io, more);
        pressure(&host, &format!("{own}/{ID}"), more.stalled_ms);
        pressure(&host, &own, more.stalled_ms);
    };
    let populated = |count: u8| {
        let text = format!("populated {count}\nfrozen 0\n");
        host.write(&format!("{own}/cgroup.events"), &text);
        host.write(&format!("{own}/{ID}/cgroup.events"), &text);
    };
    say(FIRST);
    populated(0);
    let pods = [pod(UID, "web", &[ID])];
    for (count, expected) in [(0, None), (1, Some(250))] {
        populated(count);
        say(FIRST);
        let mut cgroups = host.cgroups();
        assert_eq!(cgroups.layout().unwrap().form, layout::Form::Hybrid);
        cgroups.measure(Ms(0), &pods);
        host.pass(1_000);
        say(SECOND);
        let measured = cgroups.measure(Ms(1_000), &pods);
        assert_eq!(problems(&measured), Vec::<String>::new());
        let both = &measured.pods[UID];
        assert_eq!(milli(both.psi.io.some), expected, "populated {count}");
        assert_eq!(milli(both.containers["c0"].psi.cpu.some), expected);
        assert_eq!(milli(both.disk_read), Some(50_000_000));
    }
}

#[test]
fn in_hybrid_processes_that_come_into_the_other_hierarchy_later_are_found_there() {
    let host = v1();
    host.write("fs/cgroup/unified/cgroup.controllers", "\n");
    let own = format!("fs/cgroup/unified/kubepods/burstable/pod{UID}");
    let io = format!("{BLKIO}_recursive");
    let dirs = [format!("{own}/{ID}"), own];
    let mut second = 0;
    let mut cgroups = None;
    let mut read = |populated: u8| {
        for dir in &dirs {
            host.write(
                &format!("{dir}/cgroup.events"),
                &format!("populated {populated}\n"),
            );
            pressure(&host, dir, second * 100);
        }
        say_v1(&host, ID, &io, FIRST);
        let cgroups = cgroups.get_or_insert_with(|| host.cgroups());
        let pods = [pod(UID, "web", &[ID])];
        let measured = cgroups.measure(Ms(second * 1_000), &pods);
        assert_eq!(problems(&measured), Vec::<String>::new());
        host.pass(1_000);
        second += 1;
        let pod = &measured.pods[UID];
        [pod.psi, pod.containers["c0"].psi].map(|psi| milli(psi.cpu.some))
    };
    assert_eq!([read(0), read(0)], [[None; 2]; 2]);
    let mut waited = 0;
    while read(1) != [Some(100); 2] {
        waited += 1;
        assert!(waited < 60, "not found after {waited} s");
    }
    assert!(
        waited > 5,
        "found after {waited} s, so it was looked for each second"
    );
}

#[test]
fn what_a_kernel_does_not_count_is_missing_and_the_rest_is_there() {
    let host = Host::v2();
    let dir = format!("fs/cgroup{}", place(UID, ID));
    say_v2(&host, ID, FIRST);
    say_own(&host, 0, 5);
    let own = format!("fs/cgroup/kubepods/burstable/pod{UID}");
    for name in ["cpu", "memory", "io"] {
        fs::remove_file(host.path(&format!("{own}/{name}.pressure"))).unwrap();
        fs::remove_file(host.path(&format!("{dir}/{name}.pressure"))).unwrap();
    }
    fs::remove_file(host.path(&format!("{dir}/io.stat"))).unwrap();
    fs::remove_file(host.path(&format!("{dir}/pids.current"))).unwrap();
    let mut cgroups = host.cgroups();
    let pods = [pod(UID, "web", &[ID])];
    for second in 0..20 {
        let measured = cgroups.measure(Ms(second * 1_000), &pods);
        assert_eq!(problems(&measured), Vec::<String>::new());
        let usage = &measured.pods[UID];
        assert_eq!((usage.disk(), usage.pids), (None, None));
        assert_eq!(shares(usage.psi), [None; 6]);
        assert_eq!(kills(usage.oom_kills), Some(5), "after {second} s");
        assert_eq!(usage.cpu.is_some(), second > 0);
        host.pass(1_000);
    }
    // One device that nothing was read from yet is no missing one.
    host.write(&format!("{dir}/io.stat"), "");
    let mut cgroups = host.cgroups();
    cgroups.measure(Ms(0), &pods);
    host.pass(1_000);
    let measured = cgroups.measure(Ms(1_000), &pods);
    assert_eq!(milli(measured.pods[UID].disk()), Some(0));
}

#[test]
fn counters_that_go_back_give_no_reading_and_the_next_one_counts_from_there() {
    let host = Host::v2();
    let say = |more: More| {
        say_v2(&host, ID, more);
        say_own(&host, more.stalled_ms, more.kills);
    };
    say(SECOND);
    let mut cgroups = host.cgroups();
    let pods = [pod(UID, "web", &[ID])];
    cgroups.measure(Ms(0), &pods);
    host.pass(1_000);
    say(FIRST);
    let back = cgroups.measure(Ms(1_000), &pods).pods[UID].clone();
    assert_eq!((back.disk_read, back.disk_written), (None, None));
    assert_eq!(shares(back.psi), [None; 6]);
    assert_eq!(back.oom_kills, None);
    // Long enough for what is read seldom.
    host.pass(4_000);
    say(More {
        read: FIRST.read + 4_000,
        stalled_ms: FIRST.stalled_ms + 400,
        ..FIRST
    });
    let next = cgroups.measure(Ms(5_000), &pods).pods[UID].clone();
    assert_eq!(cpu_milli(next.disk_read), Some((1_000_000, 4_000)));
    assert_eq!(milli(next.psi.memory.some), Some(100));
    assert_eq!(milli(next.containers["c0"].psi.memory.full), Some(50));
    assert_eq!(kills(next.oom_kills), Some(1));
}

#[test]
fn more_than_there_can_be_is_no_reading() {
    let host = Host::v2();
    say_v2(&host, ID, More::default());
    say_own(&host, 0, 0);
    let mut cgroups = host.cgroups();
    let pods = [pod(UID, "web", &[ID])];
    cgroups.measure(Ms(0), &pods);
    host.pass(1_000);
    say_v2(
        &host,
        ID,
        More {
            read: u64::MAX,
            written: 5,
            stalled_ms: 1_200,
            ..More::default()
        },
    );
    // A little more than the window is doubt about the window.
    say_own(&host, 1_100, 0);
    let usage = cgroups.measure(Ms(1_000), &pods).pods[UID].clone();
    assert_eq!(
        (usage.disk_read, milli(usage.disk_written)),
        (None, Some(5_000))
    );
    assert_eq!(milli(usage.psi.cpu.some), Some(1_000));
    let container = usage.containers["c0"];
    assert_eq!(container.psi.cpu.some, None);
    assert_eq!(milli(container.psi.cpu.full), Some(600));
}

#[test]
fn a_pods_kills_outlive_the_container_that_was_killed() {
    let host = Host::v2();
    say_v2(&host, ID, FIRST);
    say_own(&host, 0, 1);
    let mut cgroups = host.cgroups();
    cgroups.measure(Ms(0), &[pod(UID, "web", &[ID])]);
    // The kernel kills the whole container, and the kubelet starts another one.
    fs::remove_dir_all(host.path(&format!("fs/cgroup{}", place(UID, ID)))).unwrap();
    say_v2(&host, OTHER, More::default());
    say_own(&host, 0, 2);
    host.pass(4_000);
    let measured = cgroups.measure(Ms(4_000), &[pod(UID, "web", &[OTHER])]);
    let usage = &measured.pods[UID];
    assert_eq!(kills(usage.containers["c0"].oom_kills), Some(0));
    assert_eq!(kills(usage.oom_kills), Some(2));
}

#[test]
fn what_is_read_seldom_stands_in_between_with_the_time_that_it_has() {
    let host = Host::v2();
    say_own(&host, 0, 0);
    let mut cgroups = host.cgroups();
    let pods = [pod(UID, "web", &[ID])];
    let mut renewed = Vec::new();
    for second in 0..14u64 {
        let more = More {
            pids: 10 + second,
            stalled_ms: second * 100,
            read: second * 1_000,
            ..More::default()
        };
        say_v2(&host, ID, more);
        let now = Ms(60_000 + second * 1_000);
        let usage = cgroups.measure(now, &pods).pods[UID].clone();
        let processes = usage.pids.expect("always there");
        // It says when it was read, and what was true then.
        assert_eq!(processes.milli as u64, 10_000 + (processes.at.0 - 60_000));
        assert!(now.since(processes.at) < 4_000, "{processes:?} at {now:?}");
        if processes.at == now {
            renewed.push(second);
        }
        if second > 0 {
            let stall = usage.containers["c0"].psi.io.some.expect("always there");
            assert_eq!((stall.milli, stall.at), (100, processes.at));
            assert_eq!(usage.disk_read.expect("each second").at, now);
        }
        host.pass(1_000);
    }
    assert_eq!(renewed, [0, 1, 5, 9, 13]);
}

#[test]
fn what_nobody_sizes_by_is_read_seldom_and_cpu_each_second() {
    let host = Host::v2();
    say_own(&host, 0, 0);
    let mut cgroups = host.cgroups();
    let web = PodRef {
        seldom: [Resource::Disk, Resource::PsiCpu, Resource::PsiIo].into(),
        ..pod(UID, "web", &[ID])
    };
    let (mut disk, mut waited) = (Vec::new(), Vec::new());
    for second in 0..14u64 {
        let more = More {
            read: second * 1_000,
            ..More::default()
        };
        say_v2(&host, ID, more);
        say_own(&host, second * 100, 0);
        let now = Ms(60_000 + second * 1_000);
        let measured = cgroups.measure(now, std::slice::from_ref(&web));
        assert_eq!(measured.problems, [], "after {second} s");
        let usage = &measured.pods[UID];
        if second > 0 {
            assert_eq!(usage.cpu.expect("each second").at, now);
            let memory = usage.psi.memory.some.expect("each second");
            assert_eq!((memory.milli, memory.at), (100, now));
            let read = usage.disk_read.expect("always there");
            let cpu = usage.psi.cpu.some.expect("always there");
            assert_eq!((read.milli, cpu.milli), (1_000_000, 100));
            disk.extend((read.at == now).then_some(second));
            waited.extend((cpu.at == now).then_some(second));
        }
        host.pass(1_000);
    }
    assert_eq!((disk, waited), (vec![1, 5, 9, 13], vec![1, 5, 9, 13]));
}

#[test]
fn pressure_of_single_containers_is_read_only_where_somebody_sizes_by_it() {
    let host = Host::v2();
    say_own(&host, 0, 0);
    let mut cgroups = host.cgroups();
    let mut web = pod(UID, "web", &[ID]);
    web.pressure_by_container = false;
    let mut open = Vec::new();
    for second in 0..12u64 {
        let more = More {
            stalled_ms: second * 100,
            ..More::default()
        };
        say_v2(&host, ID, more);
        say_own(&host, second * 100, 0);
        web.pressure_by_container = second >= 4;
        let measured = cgroups.measure(Ms(second * 1_000), std::slice::from_ref(&web));
        assert_eq!(measured.problems, [], "after {second} s");
        let usage = &measured.pods[UID];
        assert_eq!(usage.psi.cpu.some.is_some(), second > 0, "its pod's always");
        open.push((cgroups.open_files(), usage.containers["c0"].psi.cpu.some));
        host.pass(1_000);
    }
    assert_eq!(open[3], (open[0].0, None));
    let (files, last) = open[11];
    assert_eq!((files, milli(last)), (open[0].0 + 3, Some(100)));
}

#[test]
fn a_pods_own_cgroup_of_which_nothing_is_due_is_not_taken_for_gone() {
    let host = Host::v2();
    say_v2(&host, ID, More::default());
    say_own(&host, 0, 3);
    let mut cgroups = host.cgroups();
    let web = PodRef {
        seldom: [Resource::PsiCpu, Resource::PsiMemory, Resource::PsiIo].into(),
        ..pod(UID, "web", &[ID])
    };
    for second in 0..9u64 {
        let measured = cgroups.measure(Ms(second * 1_000), std::slice::from_ref(&web));
        assert_eq!(kills(measured.pods[UID].oom_kills), Some(3));
        host.pass(1_000);
    }
}

#[test]
fn an_init_container_counts_while_it_runs_and_a_sidecar_always() {
    let host = Host::v2();
    let sidecar = ID.replace('4', "7");
    say_own(&host, 0, 0);
    let mut second = 0;
    let mut cgroups = host.cgroups();
    let mut measure = |ids: &[&str]| {
        for id in ids {
            let says = Says {
                cpu_ms: second * 100,
                memory: 1_000,
                ..Says::default()
            };
            host.say_v2("", &place(UID, id), says);
        }
        let pods = [pod(UID, "web", ids)];
        let measured = cgroups.measure(Ms(second * 1_000), &pods);
        second += 1;
        host.pass(1_000);
        let usage = &measured.pods[UID];
        (milli(usage.cpu), milli(usage.memory), cgroups.open_files())
    };
    // The sidecar (an init container that restarts) beside the init container; their
    // files, and four of the pod's own.
    assert_eq!(measure(&[&sidecar, OTHER]), (None, Some(2_000_000), 10));
    assert_eq!(
        measure(&[&sidecar, OTHER]),
        (Some(200), Some(2_000_000), 10)
    );
    // The init container has ended, the app isn't there yet.
    assert_eq!(measure(&[&sidecar]), (Some(100), Some(1_000_000), 7));
    // A part without a rate makes a sum without one.
    assert_eq!(measure(&[&sidecar, ID]), (None, Some(2_000_000), 10));
    assert_eq!(measure(&[&sidecar, ID]), (Some(200), Some(2_000_000), 10));
}

#[test]
fn pods_that_come_and_go_between_two_readings_leave_nothing_behind() {
    let host = Host::v2();
    let uids: Vec<String> = (0..6)
        .map(|at| format!("0000000{at}{}", &UID[8..]))
        .collect();
    let id = |at: usize| format!("{at}{}", &ID[1..]);
    let say = |at: usize| {
        host.say_v2("", &place(&uids[at], &id(at)), Says::default());
        let own = format!("fs/cgroup/kubepods/burstable/pod{}", uids[at]);
        pressure(&host, &own, 10);
        events(&host, &own, 0);
    };
    let of = |at: usize| pod(&uids[at], "web", &[&id(at)]);
    say(0);
    let mut cgroups = host.cgroups();
    for round in 0..50usize {
        // Two of six, others each time; one of them is gone before it is read.
        let (here, gone) = (round % 6, (round + 3) % 6);
        say(here);
        let dir = host.path(&format!("fs/cgroup/kubepods/burstable/pod{}", uids[gone]));
        let _ = fs::remove_dir_all(dir);
        let measured = cgroups.measure(Ms(round as u64 * 1_000), &[of(here), of(gone)]);
        assert_eq!(measured.pods.len(), 2);
        assert!(measured.pods[&uids[here]].memory.is_some());
        assert_eq!(measured.pods[&uids[gone]], usage::Pod::default());
        assert_eq!(cgroups.open_files(), 7);
        host.pass(1_000);
    }
    cgroups.measure(Ms(50_000), &[]);
    assert_eq!(cgroups.open_files(), 0);
}

#[test]
fn a_file_that_says_nothing_known_is_read_ever_more_seldom_but_always_again() {
    let host = v1();
    let io = format!("{BLKIO}_recursive");
    let path = format!("fs/cgroup/blkio{}/{io}", place(UID, ID));
    let silent = || {
        say_v1(&host, ID, &io, FIRST);
        // What kernels since 6.10 say, whatever is written.
        host.write(&path, "Total 0\n");
    };
    silent();
    let mut cgroups = host.cgroups();
    let pods = [pod(UID, "web", &[ID])];
    let mut disk = || {
        host.pass(1_000);
        cgroups.measure(Ms(0), &pods).pods[UID].disk()
    };
    for _ in 0..100 {
        assert_eq!(disk(), None);
    }
    say_v1(&host, ID, &io, FIRST);
    let mut waited = 0;
    while disk().is_none() {
        waited += 1;
        assert!(waited <= 31, "not read again after {waited} s");
    }
    assert!(
        waited > 2,
        "read again after {waited} s, so it was read each second"
    );
}
