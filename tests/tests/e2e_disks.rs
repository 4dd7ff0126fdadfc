//! Real agents whose disk runs full: an ext4 of 48 MiB under the data of one of three.
//!
//! It needs root and loop devices; without them these tests say so and prove nothing.
#![allow(clippy::expect_used)] // A helper that finds nothing has failed its test.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use starling_faults::volume::Volume;
use starling_rig::cluster::Cluster;
use starling_rig::cluster::files::Files;
use starling_rig::observe::{Observer, Status};
use starling_tests::command::{context, starling};
use starling_tests::sleepers::{self, WORKERS_MAX, owner, policy, workers};
use starling_tests::until;
use starling_tests::workload::large_policy;

/// Before all agents take part, while they do, and after one's disk is full.
const FIRST: usize = 2;
const WORKERS: usize = 6;
const MORE: usize = 9;
/// The agent ends at its first write, and all is told and moved within seconds of that; a
/// share counts as lost five seconds after its node was last heard. The rest is for a machine
/// that is busy with other things.
const TOLD_WITHIN: Duration = Duration::from_secs(30);
const REWRITTEN_EVERY: Duration = Duration::from_secs(3);

/// Where agents that aren't `but` run workers.
fn elsewhere(cluster: &mut Cluster, but: &str) -> BTreeSet<u32> {
    let mut pids = workers(cluster);
    pids.retain(|pid| owner(*pid).is_some_and(|owner| owner != but));
    pids
}

/// Once `agent` is a member that votes, has `size` and all workers run.
async fn whole(cluster: &mut Cluster, observer: &Observer, agent: usize, size: usize) -> Status {
    until("the cluster is whole", || {
        let running = workers(cluster).len();
        async move {
            let status = observer.status(agent).await.ok()?;
            let granted = observer.granted(agent, "web").await.ok()?;
            let whole = status.members_alive == 3 && status.voters == 3;
            (whole && granted as usize == size && running == size).then_some(status)
        }
    })
    .await
}

async fn runs_full(leads: bool) {
    let mut cluster = sleepers::three();
    let names = cluster.names();
    // The first one founds, and so it leads at first.
    let (full, other) = if leads { (0, 1) } else { (2, 0) };
    let name = names[full].clone();
    let Some(volume) = Volume::mount(&cluster.dir().join(&name).join("data")) else {
        return;
    };
    let observer = sleepers::start(&mut cluster, FIRST).await;
    let context = context(&cluster);
    let files = Files::new(cluster.dir(), &names[other]);
    let size = |workers: usize| {
        files
            .write_documents("policies", &policy(workers as u32, WORKERS_MAX))
            .expect("written");
    };
    size(WORKERS);
    whole(&mut cluster, &observer, full, WORKERS).await;
    let to = &names[if leads { full } else { other }];
    let before = until("whoever should lead does", || async {
        let status = observer.status(full).await.ok()?;
        if status.acting != leads {
            // Refused while nobody leads.
            starling(&context, &["raft", "transfer", to]).await;
            return None;
        }
        Some(status)
    })
    .await;
    let stay = elsewhere(&mut cluster, &name);
    assert!(stay.len() < WORKERS, "it runs some of them");

    volume.fill();
    size(MORE);
    let (filled, mut generation) = (Instant::now(), 0);
    let log = until("it says that it can't write", || {
        // A file is read once it has been left alone for a while.
        if filled.elapsed() >= REWRITTEN_EVERY * generation {
            generation += 1;
            files
                .write_documents("large", &large_policy("Process", generation))
                .expect("written");
        }
        let log = cluster.log(full);
        async move { log.contains("it ends").then_some(log) }
    })
    .await;
    let begin = Instant::now();
    let words = [
        "the log can't be written",
        "No space left on device",
        "make room",
    ];
    assert!(words.iter().all(|words| log.contains(words)), "{log}");
    let ended = cluster.ended(full).await.expect_err("not in order");
    assert!(ended.to_string().contains("exit status: 1"), "{ended}");
    until("who asks another agent is told of it", || async {
        let said = starling(&context, &["status", "--agent", &names[other]]).await;
        let told = said
            .out
            .contains(&format!("who votes and doesn't answer: {name}"));
        (said.code == Some(1) && told).then_some(())
    })
    .await;
    println!(
        "status tells it {:.1} s after that",
        begin.elapsed().as_secs_f64()
    );
    assert!(begin.elapsed() < TOLD_WITHIN, "{:?}", begin.elapsed());
    for (what, count) in [("as many as before", WORKERS), ("all", MORE)] {
        until("all workers run elsewhere", || {
            let there = elsewhere(&mut cluster, &name);
            assert!(there.is_superset(&stay), "none that ran there was stopped");
            async move { (there.len() >= count).then_some(()) }
        })
        .await;
        let after = begin.elapsed().as_secs_f64();
        println!("{what} run elsewhere {after:.1} s after that");
    }
    let moved = workers(&mut cluster);
    assert_eq!(moved.len(), MORE, "it runs none any more");

    // A supervisor starts it again and again; while there is no room it says so each time.
    let told = cluster.log(full).len();
    cluster.restart(full).expect("it starts");
    let ended = cluster.ended(full).await.expect_err("not in order");
    assert!(ended.to_string().contains("exit status: 1"), "{ended}");
    let log = cluster.log(full).split_off(told);
    assert!(log.contains("No space left on device"), "{log}");

    volume.make_room();
    cluster.restart(full).expect("it starts");
    cluster
        .caught_up(full, &observer)
        .await
        .expect("it is back");
    let after = whole(&mut cluster, &observer, full, MORE).await;
    assert_eq!(after.node_id, before.node_id, "with the log that it had");
    assert!(after.term >= before.term && after.halted.is_empty());
    assert_eq!(
        workers(&mut cluster),
        moved,
        "none was moved for its return"
    );
    assert!(
        !cluster.log(full).contains("doubt"),
        "{}",
        cluster.log(full)
    );
}

#[tokio::test]
async fn an_agent_whose_disk_is_full_ends_loses_its_workers_and_is_back_once_there_is_room() {
    runs_full(false).await;
}

#[tokio::test]
async fn a_leader_whose_disk_is_full_ends_loses_its_workers_and_is_back_once_there_is_room() {
    runs_full(true).await;
}
