//! Disks that run full, fail and hang under a log.

use std::fs::File;

use starling_consensus::Error;

use crate::harness::{self, Agent, Authority, commit};
use crate::process::{Writer, agree, eventually, wait_until};
use crate::volume::Volume;

/// Three agents, each a process, of which one has a disk that ails: the first, which
/// leads, or the last. Otherwise it would be called alive and given work for good. `end`
/// brings the disk back, after `wake`, and when the process is gone.
fn ails(ail: fn(&Volume), wake: fn(&Volume), end: fn(&Volume), words: &str) {
    for which in [0, 2] {
        let mut writers = Writer::some(&Authority::new(), 3);
        let Some(volume) = Volume::mount(&writers[which].data()) else {
            return;
        };
        for writer in &mut writers {
            writer.start();
            writer.await_found();
        }
        let numbers =
            |writers: &[Writer]| -> Vec<u64> { writers.iter().map(Writer::acknowledged).collect() };
        wait_until("all write", || numbers(&writers).iter().all(|n| *n > 10));
        ail(&volume);
        let why = eventually("the agent takes no part any more", || {
            writers[which].wrong().ok_or_else(|| "it takes part".into())
        });
        assert!(why.contains(words), "{why}");
        let then = numbers(&writers);
        wait_until("the others go on", || {
            let now = numbers(&writers);
            (0..3).all(|n| n == which || now[n] > then[n] + 10)
        });
        wake(&volume);
        writers[which].kill();
        end(&volume);
        writers[which].start();
        writers[which].await_found();
        agree(&mut writers);
    }
}

#[test]
fn an_agent_whose_disk_is_full_says_so_and_goes_on_after_a_new_start() {
    ails(Volume::fill, |_| {}, Volume::make_room, "can't be written");
}

#[test]
fn an_agent_whose_disk_fails_says_so_and_goes_on_after_a_new_start() {
    ails(Volume::fail, |_| {}, Volume::mount_again, "");
}

#[test]
fn an_agent_whose_disk_hangs_says_so_and_goes_on_after_a_new_start() {
    ails(Volume::hang, Volume::thaw, |_| {}, "has not answered for 1");
}

/// A snapshot is written beside the log, and needs more room.
#[tokio::test]
async fn an_agent_whose_snapshot_finds_no_room_says_so() {
    let mut agents = Agent::some(&Authority::new(), 1);
    let Some(volume) = Volume::mount(&agents[0].config.data_dir) else {
        return;
    };
    let log = agents[0].start().await;
    commit(&log, "before").await;
    volume.fill();
    assert!(log.compact().await.is_err());
    let why = harness::eventually("the agent takes no part any more", || async {
        log.failed().borrow().clone()
    })
    .await;
    assert!(
        why.contains("can't be written") && why.contains("space"),
        "{why}"
    );
    log.shutdown().await;
    drop(log);

    volume.make_room();
    let back = agents[0].start().await;
    commit(&back, "after").await;
    back.compact().await.unwrap();
    back.shutdown().await;
}

#[tokio::test]
async fn an_agent_that_starts_on_a_disk_that_fails_or_hangs_says_so() {
    let mut agents = Agent::some(&Authority::new(), 1);
    let Some(volume) = Volume::mount(&agents[0].config.data_dir) else {
        return;
    };
    let log = agents[0].start().await;
    commit(&log, "before").await;
    log.shutdown().await;
    drop(log);

    released(&agents[0]);
    volume.hang();
    let refused = agents[0].try_start().await.err();
    assert!(matches!(refused, Some(Error::Hangs { .. })), "{refused:?}");
    volume.thaw();
    released(&agents[0]);
    volume.fail();
    let refused = agents[0].try_start().await.err();
    assert!(
        matches!(refused, Some(Error::DataDir { .. })),
        "{refused:?}"
    );
}

/// Waits until the former one has let go of its directory.
fn released(agent: &Agent) {
    let lock = File::open(agent.data("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
}
