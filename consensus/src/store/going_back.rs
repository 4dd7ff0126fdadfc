//! Disks that forget: a log that is behind what was acknowledged is never used.

use std::fs;
use std::path::{Path, PathBuf};

use openraft::storage::{RaftLogStorage as _, RaftLogStorageExt as _};
use openraft::{CommittedLeaderId, EntryPayload, RaftLogReader as _, Vote};
use rand::{RngExt as _, SeedableRng as _};
use starling_engine::ledger::version::HIGHEST;
use tempfile::TempDir;

use super::golden;
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

/// A directory, and what is in it while it is whole.
struct Origin {
    dir: TempDir,
    cluster: &'static str,
    files: Vec<PathBuf>,
    whole: Content,
}

/// What an agent goes on from: nothing of it may be missing or other than it was.
#[derive(Debug, PartialEq)]
struct Content {
    vote: Option<Vote<u64>>,
    purged: Option<LogId>,
    entries: Vec<RaftEntry>,
    snapshot: Option<Vec<u8>>,
}

impl Content {
    async fn of(opened: &Opened) -> Content {
        let mut log = store(opened);
        Content {
            vote: log.read_vote().await.unwrap(),
            purged: opened.state.purged,
            entries: log.try_get_log_entries(..).await.unwrap(),
            snapshot: opened.snapshots.current().await.unwrap(),
        }
    }
}

impl Origin {
    async fn new(dir: TempDir, cluster: &'static str) -> Origin {
        let found = open(dir.path(), cluster, HIGHEST).unwrap();
        assert_eq!(found.moved_aside, None);
        let whole = Content::of(&found).await;
        close(dir.path(), found);
        // Twice the file that has the log and the vote.
        let mut files = vec!["sled/db", "sled/db", "sled/conf", "guard", "member"]
            .into_iter()
            .map(PathBuf::from)
            .collect::<Vec<_>>();
        for file in fs::read_dir(dir.path().join("raft/snapshots")).unwrap() {
            files.push(Path::new("snapshots").join(file.unwrap().file_name()));
        }
        Origin {
            dir,
            cluster,
            files,
            whole,
        }
    }

    /// Flips bits in one of the files; whether that was noticed.
    async fn corrupt(&self, seed: u64) -> bool {
        let mut random = rand::rngs::StdRng::seed_from_u64(seed);
        let dir = TempDir::new().unwrap();
        copy(self.dir.path(), dir.path());
        let file = &self.files[seed as usize % self.files.len()];
        let path = dir.path().join("raft").join(file);
        let mut bytes = fs::read(&path).unwrap();
        // Most of sled's file is empty: hit what holds something.
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
        for _ in 0..random.random_range(1..=64) {
            let bit = random.random_range(0..used * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        fs::write(&path, bytes).unwrap();

        let file = file.display();
        let found = open(dir.path(), self.cluster, HIGHEST)
            .unwrap_or_else(|e| panic!("seed {seed}, {file}: {e}: {e:?}"));
        if found.moved_aside.is_some() {
            return true;
        }
        assert!(found.identity.is_some(), "seed {seed}, {file}");
        let content = Content::of(&found).await;
        assert!(content == self.whole, "seed {seed}, {file}: {content:?}");
        false
    }
}

/// A flipped bit is noticed, or nothing that was acknowledged is missing.
#[tokio::test]
async fn a_flipped_bit_is_noticed_or_harmless() {
    const ENTRIES: u64 = 30;
    let times = std::env::var("STARLING_ROUNDS").map_or(1, |times| times.parse().unwrap());
    let rounds: u64 = 200 * times;
    let plain = TempDir::new().unwrap();
    written(plain.path(), ENTRIES).await;
    // Entries of each kind, of which the first are purged, behind a snapshot.
    let compacted = TempDir::new().unwrap();
    copy(&golden::directory(), compacted.path());
    let origins = [
        Origin::new(plain, "test").await,
        Origin::new(compacted, golden::CLUSTER).await,
    ];
    let whole = &origins[1].whole;
    assert!(whole.purged.is_some() && whole.snapshot.is_some() && !whole.entries.is_empty());
    for origin in &origins {
        let mut noticed = 0;
        for seed in 0..rounds {
            noticed += u64::from(origin.corrupt(seed).await);
        }
        println!("{}: {noticed} of {rounds} noticed", origin.cluster);
        assert!(noticed > rounds / 10, "{noticed} noticed");
    }
}
