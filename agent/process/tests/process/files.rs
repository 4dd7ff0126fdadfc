//! What happens to workers where no file can be opened any more.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use starling_process::limit;

use super::*;

/// Set for the process that this test starts: it runs out of files alone.
const ALONE: &str = "STARLING_TEST_FILES";

/// Runs a test again in a process of its own. True there.
fn alone(test: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let ran = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(ALONE, "1")
        .status()
        .unwrap();
    assert!(ran.success());
    false
}

/// From here on no further file can be opened, or, with `None`, as many as before.
fn limit_files(to: Option<u64>) {
    let now = getrlimit(Resource::Nofile);
    let current = to.or(now.maximum);
    setrlimit(Resource::Nofile, Rlimit { current, ..now }).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_live_on_while_no_file_can_be_opened_and_are_looked_after_again_later() {
    if !alone("files::workers_live_on_while_no_file_can_be_opened_and_are_looked_after_again_later")
    {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::start(CLUSTER, dir.path()).unwrap();
    offer(&supervisor, [sleeper()]);
    supervisor.set(stamp(1), "web", 3).unwrap();
    until_running(&supervisor, 3).await;
    let before = pids(&supervisor);
    limit_files(Some(0));
    until_trouble(&supervisor, "web", "Too many open files").await;
    assert_eq!(pids(&supervisor), before);

    // Whoever is told to end isn't forgotten, and none is told twice to begin.
    supervisor.set(stamp(2), "web", 2).unwrap();
    until_running(&supervisor, 2).await;
    supervisor.set(stamp(3), "web", 4).unwrap();
    until_trouble(&supervisor, "web", "Too many open files").await;
    limit_files(None);
    let after = until_running(&supervisor, 4).await;
    let kept = before.iter().filter(|pid| alive(**pid)).count();
    let counted = after.iter().filter(|worker| before.contains(&worker.pid));
    assert_eq!(counted.count(), 2);
    assert!(kept >= 2);
    until("one of three ended", || {
        let left = before.iter().filter(|pid| alive(**pid)).count();
        (left == 2).then_some(())
    })
    .await;
    until("no trouble is left", || {
        supervisor.troubles().is_empty().then_some(())
    })
    .await;

    kill(after[0].pid);
    until("a replacement", || {
        let now = pids(&supervisor);
        (now.len() == 4 && !now.contains(&after[0].pid)).then_some(())
    })
    .await;
    supervisor.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agents_limit_is_raised_and_its_workers_have_the_former_one() {
    if !alone("files::the_agents_limit_is_raised_and_its_workers_have_the_former_one") {
        return;
    }
    limit_files(Some(700));
    let most = getrlimit(Resource::Nofile).maximum;
    let raised = limit::raise().unwrap();
    assert_eq!((raised.from, raised.to), (Some(700), most));
    assert_eq!(getrlimit(Resource::Nofile).current, most);
    assert_eq!(
        limit::raise().unwrap().from,
        most,
        "nothing is left to raise"
    );

    let dir = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::start(CLUSTER, dir.path()).unwrap();
    offer(&supervisor, [sleeper()]);
    supervisor.set(stamp(1), "web", 1).unwrap();
    let worker = until_running(&supervisor, 1).await.remove(0);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", worker.pid)).unwrap();
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = files.unwrap().split_ascii_whitespace().nth(3);
    assert_eq!(soft, Some("700"));
    supervisor.stop_all().await;
}
