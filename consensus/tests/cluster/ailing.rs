//! Disks that run full, fail and hang under a log.

use std::fs::File;

use starling_consensus::{Error, Log};

use starling_faults::volume::Volume;

use crate::harness::{self, Agent, Authority, commit, completed, digest};
use crate::process::{Writer, agree, eventually, wait_until};

/// The kernel's words for what each disk says.
const FULL: &str = "No space left on device";
const FAILS: &str = "Input/output error";
/// For at least ten seconds.
const HANGS: &str = "has not answered for 1";

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
        assert!(words == HANGS || why.contains("can't be written"), "{why}");
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
    ails(Volume::fill, |_| {}, Volume::make_room, FULL);
}

#[test]
fn an_agent_whose_disk_fails_says_so_and_goes_on_after_a_new_start() {
    ails(Volume::fail, |_| {}, Volume::mount_again, FAILS);
}

#[test]
fn an_agent_whose_disk_hangs_says_so_and_goes_on_after_a_new_start() {
    ails(Volume::hang, Volume::thaw, |_| {}, HANGS);
}

/// The ledger's, once one more command is in it.
async fn index_after(log: &Log, name: &str) -> u64 {
    commit(log, name).await;
    digest(log).0
}

/// One agent, whose disk ails while it writes a snapshot, which is beside the log and
/// needs more room. The next start finds all that was acknowledged, and can write one.
async fn ails_at_a_snapshot(ail: fn(&Volume), wake: fn(&Volume), end: fn(&Volume), words: &str) {
    let mut agents = Agent::some(&Authority::new(), 1);
    let Some(volume) = Volume::mount(&agents[0].config.data_dir) else {
        return;
    };
    let log = agents[0].start().await;
    let before = index_after(&log, "before").await;
    ail(&volume);
    let compacted = tokio::spawn({
        let log = log.clone();
        async move { log.compact().await }
    });
    let why = harness::eventually("the agent takes no part any more", || async {
        log.failed().borrow().clone()
    })
    .await;
    assert!(why.contains(words), "{why}");
    wake(&volume);
    assert!(compacted.await.unwrap().is_err(), "no snapshot was written");
    log.shutdown().await;
    drop(log);

    released(&agents[0]);
    end(&volume);
    let back = agents[0].start().await;
    let after = index_after(&back, "after").await;
    assert!(after > before, "{after} follows {before}");
    completed(|| back.compact()).await;
    back.shutdown().await;
}

#[tokio::test]
async fn an_agent_whose_snapshot_finds_no_room_says_so() {
    ails_at_a_snapshot(Volume::fill, |_| {}, Volume::make_room, FULL).await;
}

#[tokio::test]
async fn an_agent_whose_disk_fails_under_a_snapshot_says_so() {
    ails_at_a_snapshot(Volume::fail, |_| {}, Volume::mount_again, FAILS).await;
}

#[tokio::test]
async fn an_agent_whose_disk_hangs_under_a_snapshot_says_so() {
    ails_at_a_snapshot(Volume::hang, Volume::thaw, |_| {}, HANGS).await;
}

/// It is the same one with the same log once the disk is well again: none of these is
/// taken for damage.
#[tokio::test]
async fn an_agent_that_starts_on_a_disk_that_is_full_fails_or_hangs_says_so() {
    let mut agents = Agent::some(&Authority::new(), 1);
    let Some(volume) = Volume::mount(&agents[0].config.data_dir) else {
        return;
    };
    let log = agents[0].start().await;
    let before = index_after(&log, "before").await;
    log.shutdown().await;
    drop(log);

    released(&agents[0]);
    volume.fill();
    full_at_start(&mut agents[0]).await;
    released(&agents[0]);
    volume.make_room();
    released(&agents[0]);
    volume.hang();
    let refused = agents[0].try_start().await.err();
    assert!(matches!(refused, Some(Error::Hangs { .. })), "{refused:?}");
    volume.thaw();
    released(&agents[0]);
    volume.fail();
    let refused = agents[0].try_start().await.err();
    let Some(Error::DataDir { source, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(source.to_string().contains(FAILS), "{source}");

    released(&agents[0]);
    volume.mount_again();
    let back = agents[0].start().await;
    let after = index_after(&back, "after").await;
    assert!(after > before, "{after} follows {before}");
    assert_eq!(back.id().0, 1);
    back.shutdown().await;
}

/// It may need no room until it writes something, which it does first of all: whoever
/// leads begins its term with an entry.
async fn full_at_start(agent: &mut Agent) {
    let why = match agent.try_start().await {
        Err(refused) => {
            let Error::DataDir { source, .. } = refused else {
                panic!("{refused:?}");
            };
            source.to_string()
        }
        Ok(log) => {
            let why = harness::eventually("the agent takes no part", || async {
                log.failed().borrow().clone()
            });
            let why = why.await;
            log.shutdown().await;
            why
        }
    };
    println!("at start: {why}");
    assert!(why.contains(FULL), "{why}");
}

/// Waits until the former one has let go of its directory.
pub fn released(agent: &Agent) {
    // sled's threads hold a lock of its own, for longer than ours is held.
    for held in ["lock", "raft/sled/db"] {
        let Ok(lock) = File::open(agent.data(held)) else {
            // Nothing can be opened on a disk that fails; nothing is held on it either.
            return;
        };
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    }
}
