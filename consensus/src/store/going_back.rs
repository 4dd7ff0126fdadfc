//! Disks that forget: a log that is behind what was acknowledged is never used.

use std::fs;
use std::path::Path;

use openraft::storage::{RaftLogStorage as _, RaftLogStorageExt as _};
use openraft::{CommittedLeaderId, EntryPayload, RaftLogReader as _, Vote};
use rand::{RngExt as _, SeedableRng as _};
use starling_engine::ledger::version::HIGHEST;
use tempfile::TempDir;

use super::log::LogStore;
use super::open::{Opened, open};
use super::suite::own;
use crate::types::{LogId, RaftEntry};

fn opened(dir: &Path) -> Opened {
    open(dir, "test", HIGHEST).unwrap_or_else(|e| panic!("{e}: {e:?}"))
}

fn store(opened: &Opened) -> LogStore {
    LogStore::new(opened.disk.clone(), opened.state.clone())
}

fn blank(index: u64) -> RaftEntry {
    RaftEntry {
        log_id: LogId::new(CommittedLeaderId::new(4, 1), index),
        payload: EntryPayload::Blank,
    }
}

/// Waits until the disk's thread has let go of the directory.
pub fn close(dir: &Path, opened: Opened) {
    drop(opened);
    let lock = fs::File::open(dir.join("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
}

/// A log of `entries` blanks that the agent itself has led.
async fn written(dir: &Path, entries: u64) {
    let opened = opened(dir);
    own(&opened).await;
    let mut log = store(&opened);
    log.save_vote(&Vote::new_committed(4, 1)).await.unwrap();
    for index in 0..entries {
        log.blocking_append([blank(index)]).await.unwrap();
    }
    drop(log);
    close(dir, opened);
}

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let to = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            copy(&file.path(), &to);
        } else {
            fs::copy(file.path(), to).unwrap();
        }
    }
}

#[tokio::test]
async fn a_log_that_went_back_is_moved_aside_even_if_it_is_whole() {
    let dir = TempDir::new().unwrap();
    written(dir.path(), 5).await;
    let (sled, former) = (dir.path().join("raft/sled"), dir.path().join("former"));
    copy(&sled, &former);
    let more = opened(dir.path());
    store(&more).blocking_append([blank(5)]).await.unwrap();
    close(dir.path(), more);

    fs::remove_dir_all(&sled).unwrap();
    copy(&former, &sled);
    let back = opened(dir.path());
    assert!(back.moved_aside.is_some() && back.identity.is_none());
}

#[tokio::test]
async fn a_log_without_its_guard_is_moved_aside() {
    let dir = TempDir::new().unwrap();
    written(dir.path(), 5).await;
    fs::remove_file(dir.path().join("raft/guard")).unwrap();
    assert!(opened(dir.path()).moved_aside.is_some());
}

#[tokio::test]
async fn an_agent_that_led_does_not_lead_when_it_comes_back() {
    let dir = TempDir::new().unwrap();
    written(dir.path(), 5).await;
    let vote = store(&opened(dir.path())).read_vote().await.unwrap();
    assert_eq!(vote, Some(Vote::new(4, 1)));
}

/// A flipped bit is noticed, or nothing that was acknowledged is missing.
#[tokio::test]
async fn a_flipped_bit_is_noticed_or_harmless() {
    const ENTRIES: u64 = 30;
    let times = std::env::var("STARLING_ROUNDS").map_or(1, |times| times.parse().unwrap());
    let rounds: u64 = 200 * times;
    let origin = TempDir::new().unwrap();
    written(origin.path(), ENTRIES).await;
    let whole = {
        let opened = opened(origin.path());
        let mut log = store(&opened);
        let found = (
            log.read_vote().await.unwrap(),
            log.try_get_log_entries(..).await.unwrap(),
        );
        drop(log);
        close(origin.path(), opened);
        found
    };
    let mut noticed = 0;
    for seed in 0..rounds {
        let mut random = rand::rngs::StdRng::seed_from_u64(seed);
        let dir = TempDir::new().unwrap();
        copy(origin.path(), dir.path());
        let file = ["sled/db", "sled/db", "sled/conf", "guard", "member"][seed as usize % 5];
        let path = dir.path().join("raft").join(file);
        let mut bytes = fs::read(&path).unwrap();
        // Most of sled's file is empty: hit what holds something.
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
        for _ in 0..random.random_range(1..=64) {
            let bit = random.random_range(0..used * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        fs::write(&path, bytes).unwrap();

        let found = opened(dir.path());
        if found.moved_aside.is_some() {
            noticed += 1;
            continue;
        }
        assert!(found.identity.is_some(), "seed {seed}, {file}");
        let mut log = store(&found);
        let vote = log.read_vote().await.unwrap();
        let entries = log.try_get_log_entries(..).await.unwrap();
        assert_eq!((vote, entries), whole, "seed {seed}, {file}");
    }
    assert!(noticed > rounds / 10, "{noticed} noticed");
}
