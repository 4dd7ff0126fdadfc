//! The `process` target with real processes.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use starling_agent::collect::proc::{Proc, Stat};
use starling_agent::process::{Error, Spec, Supervisor, Worker};
use starling_engine::unit::Stamp;

const CLUSTER: &str = "test";
/// Carried by a worker and all its descendants.
const TAG: &str = "STARLING_TEST_TAG";

fn shell(name: &str, script: &str) -> Spec {
    Spec {
        name: name.into(),
        command: vec!["sh".into(), "-c".into(), script.into()],
        stop_after_ms: 5_000,
        ..Spec::default()
    }
}

fn sleeper() -> Spec {
    Spec {
        command: vec!["sleep".into(), "1000".into()],
        ..shell("web", "")
    }
}

fn offer(supervisor: &Supervisor, specs: impl IntoIterator<Item = Spec>) {
    let named = |spec: Spec| (spec.name.clone(), spec);
    supervisor.offer(specs.into_iter().map(named).collect());
}

fn stamp(index: u64) -> Stamp {
    Stamp {
        generation: 1,
        index,
    }
}

fn pids(supervisor: &Supervisor) -> Vec<u32> {
    let workers = supervisor.workers();
    workers.iter().map(|worker| worker.pid).collect()
}

/// Waits for a condition; generous, because other tests use the machine, too.
async fn until<T>(what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(seen) = seen() {
            return seen;
        }
        assert!(Instant::now() < deadline, "never seen: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn until_running(supervisor: &Supervisor, count: usize) -> Vec<Worker> {
    until(&format!("{count} workers"), || {
        Some(supervisor.workers()).filter(|workers| workers.len() == count)
    })
    .await
}

async fn until_trouble(supervisor: &Supervisor, name: &str, text: &str) -> String {
    until(text, || {
        let trouble = supervisor.troubles().remove(name);
        trouble.filter(|trouble| trouble.contains(text))
    })
    .await
}

fn alive(pid: u32) -> bool {
    Proc::new("/proc")
        .stat(pid)
        .is_some_and(|stat| stat.alive())
}

/// Live processes that carry the tag.
fn tagged(tag: &str) -> Vec<Stat> {
    let proc = Proc::new("/proc");
    let mut stats = proc.scan().unwrap();
    stats.retain(|stat| stat.alive() && proc.variable(stat.pid, TAG).as_deref() == Some(tag));
    stats
}

/// A tag that no other test has, and the environment with it.
fn tag(dir: &Path) -> (String, BTreeMap<String, String>) {
    let tag = dir.display().to_string();
    (tag.clone(), BTreeMap::from([(TAG.into(), tag)]))
}

fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_run_as_were_set_and_the_youngest_are_stopped_first() {
    let dir = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::start(CLUSTER, dir.path()).unwrap();
    offer(&supervisor, [sleeper()]);
    supervisor.set(stamp(1), "web", 1).unwrap();
    let eldest = until_running(&supervisor, 1).await.remove(0);
    supervisor.set(stamp(2), "web", 3).unwrap();
    let three = until_running(&supervisor, 3).await;
    supervisor.set(stamp(3), "web", 1).unwrap();
    let left = until_running(&supervisor, 1).await;
    assert_eq!(left[0].pid, eldest.pid);
    for worker in three.iter().filter(|worker| worker.pid != eldest.pid) {
        until("the others ended", || (!alive(worker.pid)).then_some(())).await;
    }
    let ready = || {
        supervisor
            .workers()
            .first()
            .is_some_and(|worker| worker.ready)
    };
    until("it became ready", || ready().then_some(())).await;
    supervisor.stop_all().await;
    assert!(!alive(eldest.pid));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_is_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::start(CLUSTER, dir.path()).unwrap();
    offer(&supervisor, [sleeper()]);
    supervisor.set(stamp(1), "web", 2).unwrap();
    let before = until_running(&supervisor, 2).await;
    kill(before[0].pid);
    until_trouble(&supervisor, "web", "(signal 9)").await;
    let after = until("a replacement", || {
        let pids = pids(&supervisor);
        (pids.len() == 2 && !pids.contains(&before[0].pid)).then_some(pids)
    })
    .await;
    assert!(
        after.contains(&before[1].pid),
        "the other one was left alone"
    );
    supervisor.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_exits_at_once_is_tried_less_and_less_often() {
    let dir = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::start(CLUSTER, dir.path()).unwrap();
    let tries = dir.path().join("tries");
    let script = format!("echo x >> {}; exit 3", tries.display());
    let began = Instant::now();
    offer(&supervisor, [shell("web", &script)]);
    supervisor.set(stamp(1), "web", 1).unwrap();
    let text = until_trouble(&supervisor, "web", "3 times").await;
    assert!(
        text.starts_with("exits at once (status 3), 3 times, next try in "),
        "{text}"
    );
    assert_eq!(std::fs::read_to_string(&tries).unwrap().lines().count(), 3);
    // 1 s before the second try and 2 s before the third.
    assert!(began.elapsed() >= Duration::from_secs(3));
    offer(&supervisor, [sleeper()]);
    until_running(&supervisor, 1).await;
    assert_eq!(
        supervisor.troubles(),
        BTreeMap::new(),
        "a mended command has no past"
    );
    supervisor.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_started_is_a_trouble_and_harms_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::start(CLUSTER, dir.path()).unwrap();
    let command = |name: &str, program: &str| Spec {
        name: name.into(),
        command: vec![program.into()],
        ..sleeper()
    };
    let lost = Spec {
        name: "lost".into(),
        directory: Some("/no/such/directory".into()),
        ..sleeper()
    };
    let empty = Spec {
        command: Vec::new(),
        ..command("empty", "")
    };
    let absent = command("absent", "/no/such/command");
    let forbidden = command("forbidden", "/etc/passwd");
    offer(&supervisor, [absent, forbidden, lost, empty, sleeper()]);
    for name in ["absent", "forbidden", "lost", "empty", "unknown", "web"] {
        supervisor.set(stamp(1), name, 1).unwrap();
    }
    let texts = [
        ("absent", "command /no/such/command doesn't exist, "),
        (
            "forbidden",
            "command /etc/passwd can't be started: Permission denied",
        ),
        ("lost", "directory /no/such/directory doesn't exist"),
        ("empty", "the command is empty"),
        (
            "unknown",
            "1 wanted, but this machine has no Process of that name",
        ),
    ];
    for (name, text) in texts {
        until_trouble(&supervisor, name, text).await;
    }
    let running = until_running(&supervisor, 1).await;
    assert_eq!(running[0].name, "web");
    supervisor.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_stamp_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::start(CLUSTER, dir.path()).unwrap();
    offer(&supervisor, [sleeper()]);
    supervisor.set(stamp(7), "web", 1).unwrap();
    let refused = supervisor.set(stamp(6), "web", 5);
    assert!(matches!(refused, Err(Error::Stale { seen, .. }) if seen == stamp(7)));
    supervisor.set(stamp(7), "web", 1).unwrap();
    let newer_generation = Stamp {
        generation: 2,
        index: 1,
    };
    supervisor.set(newer_generation, "web", 2).unwrap();
    assert!(supervisor.set(stamp(8), "web", 5).is_err());
    until_running(&supervisor, 2).await;
    supervisor.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_outlive_their_agent_and_the_next_one_adopts_them() {
    let dir = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::start(CLUSTER, dir.path()).unwrap();
    // Children inherit the mark; one of them leads a group of its own.
    let spec = shell("web", "sleep 1000 & timeout 1000 sleep 1000 & wait");
    let (tag, env) = tag(dir.path());
    let spec = Spec { env, ..spec };
    offer(&supervisor, [spec.clone()]);
    supervisor.set(stamp(1), "web", 2).unwrap();
    let mut before = until_running(&supervisor, 2).await;
    // For each a shell, two sleeps and a timeout.
    until("all children", || (tagged(&tag).len() == 8).then_some(())).await;
    drop(supervisor);

    let stranger = tempfile::tempdir().unwrap();
    let other_directory = Supervisor::start(CLUSTER, stranger.path()).unwrap();
    assert_eq!(other_directory.workers(), []);
    let other_cluster = Supervisor::start("another", dir.path()).unwrap();
    assert_eq!(other_cluster.workers(), []);

    let supervisor = Supervisor::start(CLUSTER, dir.path()).unwrap();
    let mut adopted = supervisor.workers();
    before.sort_by_key(|worker| worker.pid);
    adopted.sort_by_key(|worker| worker.pid);
    let identity = |worker: &Worker| (worker.name.clone(), worker.pid, worker.start_ticks);
    let identities = |workers: &[Worker]| workers.iter().map(identity).collect::<Vec<_>>();
    assert_eq!(identities(&adopted), identities(&before));
    let skew_ms = adopted[0].started_at.0.abs_diff(before[0].started_at.0);
    assert!(skew_ms < 2_000, "{skew_ms} ms");

    // Nobody has said how many: they are left alone, whatever is offered.
    offer(&supervisor, []);
    supervisor.set(stamp(1), "other", 1).unwrap();
    until_trouble(&supervisor, "other", "1 wanted").await;
    assert_eq!(supervisor.workers().len(), 2);

    offer(&supervisor, [spec]);
    supervisor.set(stamp(2), "web", 1).unwrap();
    let left = until_running(&supervisor, 1).await;
    let eldest = before
        .iter()
        .min_by_key(|worker| worker.start_ticks)
        .unwrap();
    assert_eq!(left[0].start_ticks, eldest.start_ticks);
    supervisor.stop_all().await;
    assert_eq!(tagged(&tag), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_worker_left_while_no_agent_ran_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::start(CLUSTER, dir.path()).unwrap();
    let (tag, env) = tag(dir.path());
    let script = "sleep 1000 & sleep 1000 & wait";
    offer(
        &supervisor,
        [Spec {
            env,
            ..shell("web", script)
        }],
    );
    supervisor.set(stamp(1), "web", 1).unwrap();
    let worker = until_running(&supervisor, 1).await.remove(0);
    until("its children", || (tagged(&tag).len() == 3).then_some(())).await;
    drop(supervisor);
    // The dropped supervisor's last pass may still be under way; it may at most
    // tell the children to end, too.
    kill(worker.pid);
    until("its death", || (!alive(worker.pid)).then_some(())).await;
    let supervisor = Supervisor::start(CLUSTER, dir.path()).unwrap();
    assert_eq!(supervisor.workers(), []);
    until("no child", || tagged(&tag).is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ignores_the_request_to_stop_is_killed_when_its_time_is_up() {
    let dir = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::start(CLUSTER, dir.path()).unwrap();
    let (tag, env) = tag(dir.path());
    let spec = Spec {
        env,
        stop_after_ms: 3_000,
        ..shell(
            "web",
            "trap '' TERM; echo armed; while :; do sleep 0.1; done",
        )
    };
    offer(&supervisor, [spec]);
    supervisor.set(stamp(1), "web", 1).unwrap();
    let worker = until_running(&supervisor, 1).await.remove(0);
    let log = dir.path().join("workers/web.log");
    let armed = || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("armed"));
    until("it ignores SIGTERM", || armed().then_some(())).await;
    let told = Instant::now();
    supervisor.set(stamp(2), "web", 0).unwrap();
    until_running(&supervisor, 0).await;
    assert!(alive(worker.pid), "it no longer counts but has time left");
    until("it was killed", || (!alive(worker.pid)).then_some(())).await;
    assert!(
        told.elapsed() >= Duration::from_millis(2_900),
        "{:?}",
        told.elapsed()
    );
    until("its children, too", || {
        tagged(&tag).is_empty().then_some(())
    })
    .await;
    assert_eq!(supervisor.troubles(), BTreeMap::new());
    supervisor.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_all_leaves_no_descendant_even_outside_the_group() {
    let dir = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::start(CLUSTER, dir.path()).unwrap();
    let (tag, env) = tag(dir.path());
    // In the group; in a session of its own and without its parent; in a group
    // of its own; in the group but with an empty environment.
    let script = "sleep 1000 & (setsid sleep 1000 &) ; timeout 1000 sleep 1000 & \
                  env -i sleep 1234567 & wait";
    offer(
        &supervisor,
        [Spec {
            env,
            ..shell("web", script)
        }],
    );
    supervisor.set(stamp(1), "web", 2).unwrap();
    let workers = until_running(&supervisor, 2).await;
    until("all children", || (tagged(&tag).len() == 10).then_some(())).await;
    let groups: Vec<u32> = workers.iter().map(|worker| worker.pid).collect();
    let in_groups = || {
        let mut stats = Proc::new("/proc").scan().unwrap();
        stats.retain(|stat| stat.alive() && groups.contains(&stat.group));
        stats
    };
    until("the bare ones", || (in_groups().len() == 6).then_some(())).await;
    supervisor.stop_all().await;
    assert_eq!(tagged(&tag), []);
    assert_eq!(in_groups(), []);
    supervisor.set(stamp(2), "web", 1).unwrap();
    supervisor.stop_all().await;
    assert_eq!(tagged(&tag), [], "nothing is started any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn children_get_the_grace_too_when_the_worker_itself_ends_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::start(CLUSTER, dir.path()).unwrap();
    let done = dir.path().join("done");
    // The child finishes its work half a second after it was told to end.
    let child = format!(
        "trap 'sleep 0.5; echo done > {}; exit' TERM",
        done.display()
    );
    let script = format!("sh -c \"{child}; echo armed; while :; do sleep 0.1; done\" & wait");
    offer(&supervisor, [shell("web", &script)]);
    supervisor.set(stamp(1), "web", 1).unwrap();
    until_running(&supervisor, 1).await;
    let log = dir.path().join("workers/web.log");
    let armed = || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("armed"));
    until("the child is armed", || armed().then_some(())).await;
    supervisor.stop_all().await;
    assert!(done.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_command_replaces_workers_and_a_changed_request_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::start(CLUSTER, dir.path()).unwrap();
    offer(&supervisor, [sleeper()]);
    supervisor.set(stamp(1), "web", 2).unwrap();
    until_running(&supervisor, 2).await;
    let before = pids(&supervisor);
    let dearer = Spec {
        cpu_request_milli: Some(500),
        stop_after_ms: 1_000,
        ..sleeper()
    };
    offer(&supervisor, [dearer.clone()]);
    supervisor.set(stamp(2), "web", 3).unwrap();
    until_running(&supervisor, 3).await;
    assert!(before.iter().all(|pid| pids(&supervisor).contains(pid)));
    let other = Spec {
        command: vec!["sleep".into(), "2000".into()],
        ..dearer
    };
    let before = pids(&supervisor);
    offer(&supervisor, [other]);
    until("three others", || {
        let now = pids(&supervisor);
        (now.len() == 3 && before.iter().all(|pid| !now.contains(pid))).then_some(())
    })
    .await;
    offer(&supervisor, []);
    until_running(&supervisor, 0).await;
    until_trouble(&supervisor, "web", "3 wanted").await;
    supervisor.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_has_grown_too_long_is_emptied() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("web.log");
    let len = || log.metadata().unwrap().len();
    std::fs::write(&log, vec![b'x'; 4 << 20]).unwrap();
    starling_agent::worker::trim(&log);
    assert_eq!(len(), starling_agent::worker::LOG_BYTES_MAX);
    std::fs::write(&log, vec![b'x'; (4 << 20) + 1]).unwrap();
    starling_agent::worker::trim(&log);
    assert_eq!(len(), 0);
}
