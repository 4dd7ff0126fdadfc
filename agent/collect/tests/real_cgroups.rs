//! Measures processes in cgroups of this machine's kernel, whichever version it
//! has. Only root can make them; otherwise it says so and passes.

mod made;

use std::path::PathBuf;
use std::time::Duration;

use made::{HELD_BYTES, Made, cpu_ms, pod, within};
use starling_collect::HostRoot;
use starling_collect::cgroup::usage::Container;
use starling_collect::cgroup::{Cgroups, Measured, PodRef};
use starling_engine::unit::Ms;

/// Not a test of its own: others start this program with this name, as a child
/// in a cgroup.
#[test]
fn a_child_that_works() {
    made::child();
}

fn cgroups() -> Cgroups {
    Cgroups::open(&HostRoot {
        proc: PathBuf::from("/proc"),
        sys: PathBuf::from("/sys"),
    })
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
    let mut cgroups = cgroups();
    // The kernel's own account, from before and after each measurement: what is
    // measured lies between the least and the most that it can be.
    let before = cpu_ms(burner);
    let first = cgroups.measure(Ms(0), &pods);
    let begun = cpu_ms(burner);
    assert_eq!(first.problems, [], "{:?}", cgroups.layout());
    assert_eq!(usage(&first, of_them, 0).cpu, None);
    assert!(within(PATIENCE, || cpu_ms(burner) >= begun + 1_000));
    let mut least_ms = 0;
    let second = rated(&pods, || {
        least_ms = (cpu_ms(burner) - begun) as i64;
        cgroups.measure(Ms(1), &pods)
    });
    let most_ms = (cpu_ms(burner) - before) as i64;
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
fn a_quota_shows_as_throttling() {
    let Some(mut made) = Made::new() else { return };
    let pods = [pod(2, 1)];
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
    let open = cgroups.open_files();
    assert_eq!(open, 2 * made.layout.sources.len());
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
    assert_eq!(cgroups.open_files(), open / 2);
    // Nobody counts half a pod.
    assert_eq!(measured.pods[&of_them.uid].cpu, None);
}
