//! Ending workers, and all that they started.

use super::*;

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
