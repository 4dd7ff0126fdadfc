//! Starting, counting, starting again.

use super::*;

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
        text.starts_with("exits at once (status 3), 3 times, tried again after "),
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
async fn a_log_that_has_grown_too_long_is_emptied_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::start(CLUSTER, dir.path()).unwrap();
    let done = dir.path().join("done");
    let script = format!(
        "head -c {} /dev/zero; touch {}; sleep 1000",
        LOG_BYTES_MAX + 1,
        done.display()
    );
    let terse = Spec {
        name: "a/b c".into(),
        ..shell("", "echo kept; sleep 1000")
    };
    offer(&supervisor, [shell("web", &script), terse]);
    supervisor.set(stamp(1), "web", 1).unwrap();
    supervisor.set(stamp(1), "a/b c", 1).unwrap();
    until("all is written", || done.exists().then_some(())).await;
    let log = |name: &str| dir.path().join("workers").join(name);
    let emptied = || log("web.log").metadata().unwrap().len() == 0;
    until("the log is empty", || emptied().then_some(())).await;
    let kept = || std::fs::read_to_string(log("a_b_c.log")).is_ok_and(|text| text == "kept\n");
    until("the other log", || kept().then_some(())).await;
    supervisor.stop_all().await;
}
