//! The recorder takes what the reader reads, and recordings of real hosts are read
//! as those hosts were.

use super::super::record::{self, MOMENTS, Recording};
use super::*;

/// Makes the host's files those of one moment of a recording.
fn apply(host: &Host, text: &str, moment: &str) {
    let unpacked = tempfile::tempdir().unwrap();
    record::unpack(text, unpacked.path()).unwrap();
    let from = unpacked.path().join(moment).join("sys");
    let mut folders = vec![from.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let below = path.strip_prefix(&from).unwrap().to_str().unwrap();
                host.write(below, &fs::read_to_string(&path).unwrap());
            }
        }
    }
}

fn root(host: &Host) -> HostRoot {
    HostRoot {
        proc: host.path("proc"),
        sys: host.path(""),
        root: None,
    }
}

fn recorded(host: &Host) -> Recording {
    record::record_apart(&root(host), Duration::ZERO).unwrap()
}

/// All containers of a host, sandboxes too, as the API server would know them.
fn all(host: &Host) -> Vec<PodRef> {
    let layout = layout::Layout::detect(&host.path("fs/cgroup")).unwrap();
    let roots = layout::Roots::find(layout.base());
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let pods = record::pods(layout.base(), &roots).into_iter();
    pods.map(|(place, containers)| {
        let slice = name(&place);
        let key = slice.rsplit_once("pod").unwrap().1;
        let uid = key.strip_suffix(".slice").unwrap_or(key).replace('_', "-");
        let ids: Vec<String> = containers
            .iter()
            .map(|place| {
                let name = name(place);
                let stem = name.strip_suffix(".scope").unwrap_or(&name);
                stem.rsplit('-').next().unwrap().to_owned()
            })
            .collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        pod(&uid, "web", &ids)
    })
    .collect()
}

/// Measures twice; the second time after `again` and `window_ms`.
fn measured(host: &Host, window_ms: u64, again: impl FnOnce()) -> Measured {
    let pods = all(host);
    let mut cgroups = host.cgroups();
    cgroups.measure(Ms(0), &pods);
    host.pass(window_ms);
    again();
    cgroups.measure(Ms(window_ms), &pods)
}

#[test]
fn what_is_recorded_measures_as_the_host_does_and_holds_nothing_else() {
    let says = Says {
        cpu_ms: 777,
        memory: 30_000,
        inactive: 10_000,
        throttled: Some([9, 3, 70]),
    };
    let extra = |host: &Host, dir: &str| {
        for (name, text) in [
            (
                "cpu.pressure",
                "some avg10=0.00 avg60=0.00 avg300=0.00 total=9\n",
            ),
            (
                "io.stat",
                "8:0 rbytes=5 wbytes=6 rios=1 wios=1 dbytes=0 dios=0\n",
            ),
            ("pids.current", "3\n"),
            ("memory.events", "oom_kill 2\n"),
            ("cgroup.events", "populated 1\n"),
            ("cgroup.procs", "4242\n"),
            ("memory.max", "4242\n"),
        ] {
            host.write(&format!("fs/cgroup/{dir}/{name}"), text);
        }
    };
    let slice = format!("kubepods.slice/kubepods-pod{}.slice", UID.replace('-', "_"));
    let systemd = Host::v2();
    for id in [ID, OTHER] {
        let place = format!("{slice}/cri-containerd-{id}.scope");
        systemd.say_v2("", &format!("/{place}"), says);
        extra(&systemd, &place);
    }
    extra(&systemd, &slice);
    let v1 = Host::v1();
    v1.say_v1(["cpuacct", "cpu", "memory"], &place(UID, ID), says);
    let hybrid = Host::v1();
    hybrid.write("fs/cgroup/unified/cgroup.controllers", "\n");
    hybrid.say_v1(["cpuacct", "cpu", "memory"], &place(UID, ID), says);
    extra(&hybrid, &format!("unified{}", place(UID, ID)));
    for (host, cgroups) in [(systemd, 3), (v1, 2), (hybrid, 2)] {
        host.write("fs/cgroup/system.slice/cgroup.events", "populated 1\n");
        let recording = recorded(&host);
        assert_eq!((recording.cgroups, recording.left_out), (cgroups, 0));
        for other in ["4242", "memory.max", "system.slice"] {
            assert!(!recording.text.contains(other), "{other}");
        }
        let copy = Host::new();
        apply(&copy, &recording.text, MOMENTS[0]);
        let again = || apply(&copy, &recording.text, MOMENTS[1]);
        let theirs = measured(&copy, 1_000, again);
        let ours = measured(&host, 1_000, || {});
        assert_eq!(theirs, ours);
        let usage = &ours.pods[UID].containers["c0"];
        assert_eq!(cpu_milli(usage.memory), Some((20_000_000, 0)));
        assert!(usage.cpu.is_some() && usage.throttled.is_some());
    }
}

#[test]
fn what_is_beyond_the_bounds_is_left_out_and_counted() {
    let host = Host::v2();
    for at in 0..record::CGROUPS_MAX {
        let id = format!("{at:064x}");
        host.say_v2("", &place(UID, &id), Says::default());
    }
    let recording = recorded(&host);
    assert_eq!(
        (recording.cgroups, recording.left_out),
        (record::CGROUPS_MAX, 1)
    );
    let long = Host::v2();
    let stat = format!("inactive_file 5\n{}", "x 1\n".repeat(file::BYTES_MAX));
    for at in 0..600 {
        let id = format!("{at:064x}");
        let path = format!("fs/cgroup{}/memory.stat", place(UID, &id));
        long.write(&path, &stat);
    }
    let recording = recorded(&long);
    assert!(recording.text.len() <= record::RECORDING_BYTES_MAX + (64 << 10));
    assert_eq!(recording.cgroups + recording.left_out, 601);
    assert!(recording.left_out > 0);
}

#[test]
fn a_host_without_pods_says_what_to_do() {
    let host = Host::new();
    let record = |host: &Host| {
        let refused = record::record_apart(&root(host), Duration::ZERO);
        refused.unwrap_err().to_string()
    };
    let said = record(&host);
    assert!(
        said.ends_with("name the folder that has the host's /sys in --host-root"),
        "{said}"
    );
    host.write("fs/cgroup/cgroup.controllers", "cpu\n");
    let said = record(&host);
    assert!(said.ends_with("run this where a kubelet runs"), "{said}");
}

/// A recording of a real host, as if the two moments were read now: by pod, with
/// what CPU, memory and processes its containers have.
fn replayed(text: &str, form: layout::Form) -> Measured {
    let host = Host::new();
    apply(&host, text, MOMENTS[0]);
    assert_eq!(host.cgroups().layout().unwrap().form, form);
    let apart = text.split_once("two moments ").unwrap().1;
    let apart: u64 = apart.split(' ').next().unwrap().parse().unwrap();
    let measured = measured(&host, apart, || apply(&host, text, MOMENTS[1]));
    assert_eq!(problems(&measured), Vec::<String>::new());
    measured
}

/// A pod's uid, as far as it takes, its CPU in milli, working set in KiB, processes,
/// some pressure of the CPU in milli, and kills.
type Row = (String, i64, i64, i64, Option<i64>, u64);

fn row(row: (&str, i64, i64, i64, Option<i64>, u64)) -> Row {
    let (uid, cpu, memory, processes, pressure, kills) = row;
    (uid.to_owned(), cpu, memory, processes, pressure, kills)
}

fn rows(measured: &Measured) -> Vec<Row> {
    let row = |(uid, pod): (&String, &usage::Pod)| {
        (
            uid[..8].to_owned(),
            pod.cpu.expect("CPU").milli,
            pod.memory.expect("memory").milli / 1_000 / 1_024,
            pod.pids.expect("processes").milli / 1_000,
            pod.psi.cpu.some.map(|some| some.milli),
            pod.oom_kills.expect("kills").count,
        )
    };
    measured.pods.iter().map(row).collect()
}

#[test]
fn containers_of_containerd_beside_version_1_are_read_as_recorded() {
    let text = include_str!("../../../tests/recorded/hybrid-containerd.txt");
    let expected = [
        ("2f2693a1", 127, 110_040, 15, Some(244), 0),
        ("35a825fc", 125, 114_540, 15, Some(294), 0),
        ("c8a68746", 448, 1_316, 5, Some(803), 0),
        ("f8de53a2", 474, 134_788, 16, Some(361), 0),
    ];
    let rows = rows(&replayed(text, layout::Form::Hybrid));
    assert_eq!(rows, expected.map(row));
}

#[test]
fn version_2_alone_is_read_as_recorded() {
    let text = include_str!("../../../tests/recorded/v2.txt");
    let rows = rows(&replayed(text, layout::Form::V2));
    assert_eq!(rows, [row(("00000059", 989, 66_456, 6, Some(1), 0))]);
}
