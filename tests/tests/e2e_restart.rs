//! Real agents that are all killed and come back, a leader that sleeps, and two
//! agents of one name.
#![allow(clippy::expect_used)] // A helper that finds nothing has failed its test.

use std::collections::BTreeSet;
use std::process::Stdio;

use starling_rig::cluster::Cluster;
use starling_rig::observe::{Observer, Status};
use starling_tests::sleepers::{self, workers};
use starling_tests::{binary, until};

const WORKERS: usize = 4;

async fn start() -> (Cluster, Observer) {
    let mut cluster = sleepers::three();
    let observer = sleepers::start(&mut cluster, WORKERS).await;
    (cluster, observer)
}

/// Waits until every agent knows of a leader and of all members, and that `watch` runs on.
async fn whole(cluster: &mut Cluster, observer: &Observer, watch: &BTreeSet<u32>) -> Vec<Status> {
    until("all agents are one cluster again", || {
        assert_eq!(workers(cluster), *watch, "workers were stopped or replaced");
        async {
            let statuses: Option<Vec<Status>> = observer.statuses().await.into_iter().collect();
            statuses.filter(|all| {
                all.iter()
                    .all(|s| s.leader_id.is_some() && s.members_alive == 3)
            })
        }
    })
    .await
}

#[tokio::test]
async fn workers_are_adopted_when_all_agents_are_killed_and_come_back_one_by_one() {
    let (mut cluster, _) = start().await;
    let before = workers(&mut cluster);
    for position in 0..3 {
        cluster.kill(position).await;
    }
    // The first one alone has no quorum, so it must not act on what it reads.
    cluster.restart(2).expect("it starts");
    let observer = cluster.observer().expect("an observer");
    until("the first one answers", || async {
        observer.status(2).await.ok()
    })
    .await;
    assert_eq!(workers(&mut cluster), before);
    for position in [0, 1] {
        cluster.restart(position).expect("it starts");
    }
    let observer = cluster.observer().expect("an observer");
    let statuses = whole(&mut cluster, &observer, &before).await;
    // Several passes of the new leader, and what it knows of the others.
    let goal = statuses.iter().map(|s| s.applied_index).max();
    let leader = statuses.iter().position(|s| s.leader_id == Some(s.node_id));
    let leader = leader.expect("a leader");
    until("the leader has every agent's count", || {
        assert_eq!(workers(&mut cluster), before, "replaced once all were back");
        let observer = observer.clone();
        async move {
            let status = observer.status(leader).await.ok()?;
            let granted = observer.granted(leader, "web").await.ok()?;
            assert_eq!(granted as usize, WORKERS);
            let counted = observer.running(leader, "web").await.ok()?;
            (Some(status.applied_index) >= goal && counted as usize == WORKERS).then_some(())
        }
    })
    .await;
    let decisions = observer.decisions(leader).await.expect("it answers");
    assert!(decisions.iter().all(|d| d.to >= d.from), "{decisions:?}");
}

#[tokio::test]
async fn i1_a_leader_that_slept_finds_another_one_and_follows() {
    let (mut cluster, observer) = start().await;
    let before = workers(&mut cluster);
    let statuses = whole(&mut cluster, &observer, &before).await;
    let leader = statuses.iter().position(|s| s.acting).expect("one acts");
    let pid = cluster.sample().agents[leader].expect("it runs").pid;
    signal(pid, "-STOP").await;
    let others: Vec<usize> = (0..3).filter(|position| *position != leader).collect();
    let next = until("another agent acts", || async {
        let statuses = observer.statuses().await;
        others
            .iter()
            .filter_map(|position| statuses[*position].clone())
            .find(|status| status.acting)
    })
    .await;
    signal(pid, "-CONT").await;
    let former = until("the former leader follows", || async {
        let status = observer.status(leader).await.ok()?;
        // It may still believe that it leads, but it must not act on it.
        assert!(!status.acting || status.term > next.term, "two leaders act");
        status.leader_id.filter(|id| *id != status.node_id)?;
        Some(status)
    })
    .await;
    assert!(former.term >= next.term);
    whole(&mut cluster, &observer, &before).await;
}

#[tokio::test]
async fn a_second_agent_of_the_same_name_waits_while_the_first_one_lives() {
    let (mut cluster, observer) = start().await;
    let before = whole_ids(&observer).await;
    let home = cluster.dir().join("agent-2");
    let text = std::fs::read_to_string(home.join("config.yaml")).expect("settings");
    let copy = cluster.dir().join("copy.yaml");
    let data = home.join("data").display().to_string();
    std::fs::write(&copy, text.replace(&data, &format!("{data}-copy"))).expect("written");
    let log = cluster.dir().join("copy.log");
    let mut second = tokio::process::Command::new(binary())
        .args(["agent", "--config"])
        .arg(&copy)
        .stderr(Stdio::from(std::fs::File::create(&log).expect("a log")))
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    until("the second one is told why it waits", || async {
        let words = std::fs::read_to_string(&log).ok()?;
        words
            .contains("an agent called agent-2 belongs to the cluster already")
            .then_some(())
    })
    .await;
    assert_eq!(whole_ids(&observer).await, before, "the first one stays");
    second.kill().await.expect("killed");

    // Its disk lost, the first one comes back under its name, with a new id.
    cluster.kill(1).await;
    std::fs::remove_dir_all(home.join("data")).expect("wiped");
    cluster.restart(1).expect("it starts");
    until("it is in again, with a new id", || {
        let observer = cluster.observer().ok();
        let before = before.clone();
        async move {
            let status = observer?.status(1).await.ok()?;
            (status.members == 3 && status.voters == 3 && !before.contains(&status.node_id))
                .then_some(())
        }
    })
    .await;
}

/// The agents' ids, as soon as all of them answer.
async fn whole_ids(observer: &Observer) -> Vec<u64> {
    until("all agents answer", || async {
        let statuses: Option<Vec<Status>> = observer.statuses().await.into_iter().collect();
        let statuses = statuses?;
        let whole = statuses.iter().all(|s| s.members == 3 && s.voters == 3);
        whole.then(|| statuses.iter().map(|s| s.node_id).collect())
    })
    .await
}

async fn signal(pid: u32, which: &str) {
    let kill = tokio::process::Command::new("kill")
        .args([which, &pid.to_string()])
        .status()
        .await;
    assert!(kill.expect("kill runs").success());
}
