//! Measures processes in cgroups of this machine's kernel, whichever version it
//! has. Only root can make them; otherwise it says so and passes.

mod made;

use std::path::Path;
use std::time::Duration;

use made::{HELD_BYTES, Made, cpu_ms, pod, within};
use starling_collect::HostRoot;
use starling_collect::cgroup::layout::Form;
use starling_collect::cgroup::usage::{Container, Psi};
use starling_collect::cgroup::{Cgroups, Measured, PodRef, record};
use starling_engine::unit::Ms;

/// Not a test of its own: others start this program with this name, as a child
/// in a cgroup.
#[test]
fn a_child_that_works() {
    made::child();
}

fn cgroups() -> Cgroups {
    Cgroups::open(&HostRoot::default())
}

/// Time for a child to compute, on a machine with much else to do.
const PATIENCE: Duration = Duration::from_mins(1);

fn usage(measured: &Measured, pod: &PodRef, container: usize) -> Container {
    let usage = &measured.pods[&pod.uid];
    usage.containers[&pod.containers[container].name]
}

/// Measures until each pod has a rate: on a machine with much else to do, a
/// reading may take too long for one.
fn rated(pods: &[PodRef], mut measure: impl FnMut() -> Measured) -> Measured {
    let mut measured = Measured::default();
    let all_rated = within(PATIENCE, || {
        measured = measure();
        pods.iter().all(|pod| measured.pods[&pod.uid].cpu.is_some())
    });
    assert!(all_rated, "{measured:?}");
    measured
}

#[test]
fn a_rate_is_what_the_process_used_and_memory_what_it_holds() {
    let Some(mut made) = Made::new() else { return };
    let pods = [pod(1, 2)];
    let [of_them] = &pods;
    made.make(of_them);
    let burner = made.run(of_them, &of_them.containers[0], "burn");
    made.run(of_them, &of_them.containers[1], "hold");
    // A reading that took too long makes no rate, and the next one is of a shorter time: then
    // all begins anew.
    let mut tries = 0;
    let (second, least_ms, most_ms) = loop {
        let mut cgroups = cgroups();
        // The kernel's own account, from before and after each measurement: what is
        // measured lies between the least and the most that it can be.
        let before = cpu_ms(burner);
        let first = cgroups.measure(Ms(0), &pods);
        let begun = cpu_ms(burner);
        assert_eq!(first.problems, [], "{:?}", cgroups.layout());
        assert_eq!(usage(&first, of_them, 0).cpu, None);
        assert!(within(PATIENCE, || cpu_ms(burner) >= begun + 1_000));
        let least_ms = (cpu_ms(burner) - begun) as i64;
        let second = cgroups.measure(Ms(1), &pods);
        let most_ms = (cpu_ms(burner) - before) as i64;
        if second.pods[&of_them.uid].cpu.is_some() {
            break (second, least_ms, most_ms);
        }
        tries += 1;
        assert!(tries < 20, "{second:?}");
    };
    let cpu = usage(&second, of_them, 0).cpu.expect("a rate");
    let measured_ms = cpu.milli * cpu.window_ms as i64 / 1_000;
    // Within a twentieth, and two ticks of that account.
    assert!(
        measured_ms >= least_ms * 19 / 20 - 20 && measured_ms <= most_ms * 21 / 20 + 20,
        "{measured_ms} ms measured, {least_ms} to {most_ms} ms used, {cpu:?}"
    );
    let idle = usage(&second, of_them, 1).cpu.expect("a rate");
    assert!(idle.milli < 50, "{idle:?}");
    let bytes = usage(&second, of_them, 1).memory.expect("memory").milli / 1_000;
    let held = HELD_BYTES as i64;
    assert!(
        (held..held + (16 << 20)).contains(&bytes),
        "{bytes} of {held}"
    );
    println!(
        "measured on {:?}: {measured_ms} ms of CPU where {least_ms} to {most_ms} were used, \
         {bytes} bytes where {held} are held",
        made.layout.form
    );
}

#[test]
fn a_quota_shows_as_throttling_and_as_pressure() {
    let Some(mut made) = Made::new() else { return };
    let pods = [PodRef {
        pressure_by_container: true,
        ..pod(2, 1)
    }];
    let [of_them] = &pods;
    made.make(of_them);
    made.limit(of_them, &of_them.containers[0], 50);
    let burner = made.run(of_them, &of_them.containers[0], "burn");
    let mut cgroups = cgroups();
    assert_eq!(cgroups.measure(Ms(0), &pods).problems, []);
    let before = cpu_ms(burner);
    assert!(within(PATIENCE, || cpu_ms(burner) >= before + 100));
    let measured = rated(&pods, || cgroups.measure(Ms(1), &pods));
    let usage = usage(&measured, of_them, 0);
    let (cpu, throttled) = (
        usage.cpu.expect("a rate"),
        usage.throttled.expect("periods"),
    );
    // A quota of 5 ms is overrun by up to a tick.
    assert!(cpu.milli <= 150, "{cpu:?}");
    // How often depends on what else runs here.
    assert!(throttled.periods > 0, "{throttled:?}");
    assert!(throttled.ratio_milli() > 0, "{throttled:?}");
    assert!(throttled.stopped_ms > 0, "{throttled:?}");
    if !Path::new("/proc/pressure/cpu").exists() {
        println!("this kernel counts no pressure");
        return;
    }
    // It waits for its quota for most of the time.
    let mut psi = (Psi::default(), Psi::default());
    let waited = within(PATIENCE, || {
        let measured = cgroups.measure(Ms(2), &pods);
        let pod = &measured.pods[&of_them.uid];
        psi = (pod.psi, pod.containers["c0"].psi);
        let some = |psi: Psi| psi.cpu.some.is_some_and(|some| some.milli > 500);
        some(psi.0) && some(psi.1)
    });
    assert!(waited, "{psi:?}");
    println!("measured on {:?}: {psi:?}", made.layout.form);
}

#[test]
fn a_process_that_is_killed_for_want_of_memory_is_counted() {
    let Some(mut made) = Made::new() else { return };
    let pods = [pod(4, 1)];
    let [of_them] = &pods;
    made.make(of_them);
    made.limit_memory(of_them, &of_them.containers[0], 48 << 20);
    let mut cgroups = cgroups();
    let kills = |measured: &Measured| {
        let pod = &measured.pods[&of_them.uid];
        [pod.oom_kills, pod.containers["c0"].oom_kills].map(|it| it.map(|it| it.count))
    };
    let first = cgroups.measure(Ms(0), &pods);
    assert_eq!(kills(&first), [Some(0); 2], "{first:?}");
    made.run(of_them, &of_them.containers[0], "grow");
    let mut seen = [None; 2];
    let counted = within(PATIENCE, || {
        seen = kills(&cgroups.measure(Ms(1), &pods));
        seen == [Some(1); 2]
    });
    assert!(counted, "{seen:?}");
}

#[test]
fn what_is_written_to_a_disk_is_a_rate_and_processes_are_counted() {
    let Some(mut made) = Made::new() else { return };
    let pods = [pod(5, 1)];
    let [of_them] = &pods;
    made.make(of_them);
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("written");
    let disk = file.parent().is_some_and(Path::exists);
    let work = format!("write:{}", file.display());
    made.run(
        of_them,
        &of_them.containers[0],
        if disk { &work } else { "hold" },
    );
    let mut cgroups = cgroups();
    let first = cgroups.measure(Ms(0), &pods);
    assert_eq!(first.problems, []);
    // The process's own thread, the test's, and the one that waits for its end.
    let processes = first.pods[&of_them.uid].pids.expect("processes").milli;
    assert!((1_000..=4_000).contains(&processes), "{processes}");
    // Version 1 counts bytes on old kernels only.
    if !disk || made.layout.form != Form::V2 {
        println!("this machine has no disk whose bytes are counted");
        return;
    }
    let mut written = None;
    let seen = within(PATIENCE, || {
        let pod = cgroups.measure(Ms(1), &pods).pods[&of_them.uid].clone();
        written = pod.disk_written;
        // At least 1 MiB each time, some times a second.
        written.is_some_and(|it| it.milli > 1_000 << 20) && pod.disk_read.is_some()
    });
    assert!(seen, "{written:?}");
    println!("measured on {:?}: written {written:?}", made.layout.form);
}

#[test]
fn a_container_that_ends_is_named_and_its_files_are_closed() {
    let Some(mut made) = Made::new() else { return };
    let pods = [pod(3, 2)];
    let [of_them] = &pods;
    made.make(of_them);
    made.run(of_them, &of_them.containers[0], "burn");
    made.run(of_them, &of_them.containers[1], "burn");
    let mut cgroups = cgroups();
    assert_eq!(cgroups.measure(Ms(0), &pods).problems, []);
    assert!(cgroups.open_files() > made.layout.sources.len());
    made.end(of_them, &of_them.containers[0]);
    let gone = cgroups.measure(Ms(1), &pods);
    let named = gone.problems.iter().map(ToString::to_string);
    let of_c0: Vec<String> = named.filter(|problem| problem.contains("c0")).collect();
    assert_eq!(of_c0, ["default/pod-3, container c0: its cgroup has gone"]);
    let mut measured = gone;
    assert!(within(PATIENCE, || {
        measured = cgroups.measure(Ms(2), &pods);
        usage(&measured, of_them, 1).cpu.is_some()
    }));
    // As many are open as for who never saw it.
    let mut fresh = self::cgroups();
    fresh.measure(Ms(2), &pods);
    assert!(within(PATIENCE, || {
        cgroups.measure(Ms(3), &pods);
        cgroups.open_files() == fresh.open_files()
    }));
    // Nobody counts half a pod.
    assert_eq!(measured.pods[&of_them.uid].cpu, None);
}

#[test]
fn a_recording_of_real_cgroups_has_them_at_two_moments() {
    let Some(mut made) = Made::new() else { return };
    let pods = [pod(6, 2)];
    let [of_them] = &pods;
    made.make(of_them);
    made.run(of_them, &of_them.containers[0], "burn");
    made.run(of_them, &of_them.containers[1], "hold");
    let recording = record::record(&HostRoot::default()).unwrap();
    assert_eq!(recording.form, made.layout.form);
    assert!(recording.cgroups >= 3, "{} cgroups", recording.cgroups);
    let folder = tempfile::tempdir().unwrap();
    record::unpack(&recording.text, folder.path()).unwrap();
    // The reader finds the same containers there, with what they held.
    for moment in record::MOMENTS {
        let mut copy = Cgroups::open(&HostRoot::below(&folder.path().join(moment)));
        let measured = copy.measure(Ms(0), &pods);
        assert_eq!(measured.problems, []);
        let held = usage(&measured, of_them, 1).memory.expect("memory").milli / 1_000;
        assert!(held >= HELD_BYTES as i64, "{held} at the {moment} moment");
    }
    // For who wants to keep it as a test.
    if std::env::var_os("STARLING_PRINT_RECORDING").is_some() {
        println!("{}", recording.text);
    }
}
