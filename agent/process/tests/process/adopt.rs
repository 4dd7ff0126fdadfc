//! What happens to workers when their agent dies.

use super::*;

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

/// Set for the process that this test starts and kills, to its data directory.
const KILLED_AGENT: &str = "STARLING_TEST_KILLED_AGENT";

#[tokio::test(flavor = "multi_thread")]
async fn the_workers_of_an_agent_that_was_killed_go_on_and_can_be_stopped() {
    if let Some(dir) = std::env::var_os(KILLED_AGENT) {
        let supervisor = Supervisor::start(CLUSTER, Path::new(&dir)).unwrap();
        offer(&supervisor, [sleeper()]);
        supervisor.set(stamp(1), "web", 3).unwrap();
        return std::future::pending().await;
    }
    let dir = tempfile::tempdir().unwrap();
    let test = "adopt::the_workers_of_an_agent_that_was_killed_go_on_and_can_be_stopped";
    let mut agent = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(KILLED_AGENT, dir.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let children = || {
        let mut stats = Proc::new("/proc").scan().unwrap();
        stats.retain(|stat| stat.parent == agent.id() && stat.pid == stat.group);
        stats
    };
    let before = until("its workers", || {
        Some(children()).filter(|all| all.len() == 3)
    })
    .await;
    agent.kill().unwrap();
    agent.wait().unwrap();

    let supervisor = Supervisor::start(CLUSTER, dir.path()).unwrap();
    let mut adopted = pids(&supervisor);
    adopted.sort_unstable();
    let mut expected: Vec<u32> = before.iter().map(|stat| stat.pid).collect();
    expected.sort_unstable();
    assert_eq!(adopted, expected);

    // One dies; it isn't this process's child.
    offer(&supervisor, [sleeper()]);
    supervisor.set(stamp(2), "web", 3).unwrap();
    kill(adopted[0]);
    until_trouble(&supervisor, "web", "(status unknown)").await;
    until("a replacement", || {
        let now = pids(&supervisor);
        (now.len() == 3 && !now.contains(&adopted[0])).then_some(())
    })
    .await;
    supervisor.stop_all().await;
    assert!(adopted.iter().all(|&pid| !alive(pid)));
}
