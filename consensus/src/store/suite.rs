//! openraft's own storage suite, on real directories, and what it doesn't ask.

use openraft::storage::RaftLogStorageExt as _;
use std::fs::File;
use std::io;
use std::sync::Arc;

use openraft::testing::{StoreBuilder, Suite};
use openraft::{CommittedLeaderId, EntryPayload, RaftLogReader as _};
use rustix::fs::FlockOperation;
use starling_engine::ledger::version::HIGHEST;
use starling_engine::ledger::{Command, Entry};
use starling_engine::unit::Ms;
use tempfile::TempDir;
use tokio::sync::watch;

use super::Disk;
use super::disk::Job;
use super::guard::{Guard, Noted};
use super::keys::{self, Identity};
use super::log::LogStore;
use super::open::{Opened, open};
use crate::machine::Machine;
use crate::types::{Batch, LogId, RaftEntry, StorageError, Types};

struct Builder;

impl StoreBuilder<Types, LogStore, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError> {
        let dir = TempDir::new().unwrap();
        let opened = open_in(&dir);
        let store = LogStore::new(opened.disk.clone(), opened.state.clone());
        let (applied, _) = watch::channel(0);
        let machine = Machine::restore(
            opened.disk,
            opened.snapshots,
            Arc::default(),
            Arc::default(),
            applied,
        )
        .await
        .unwrap();
        Ok((dir, store, machine))
    }
}

fn open_in(dir: &TempDir) -> Opened {
    open(dir.path(), "test", HIGHEST).unwrap_or_else(|e| panic!("{e}: {e:?}"))
}

#[test]
fn the_store_passes_openrafts_suite() {
    Suite::test_all(Builder).unwrap();
}

fn entry(index: u64, bytes: usize) -> RaftEntry {
    let command = Command::RemovePolicy {
        name: starling_engine::policy::Name::new("default", "x".repeat(bytes)),
        source: None,
    };
    RaftEntry {
        log_id: LogId::new(CommittedLeaderId::new(1, 1), index),
        payload: EntryPayload::Normal(Batch {
            entries: vec![Entry { at: Ms(1), command }],
            needs: None,
        }),
    }
}

pub async fn own(opened: &Opened) {
    let identity = Identity {
        cluster: "test".into(),
        cluster_id: "1".into(),
        generation: 1,
        id: 1,
        founder: true,
    };
    opened.keep(&identity).await.unwrap();
}

#[tokio::test]
async fn large_entries_never_go_to_sleds_unsynced_blob_files() {
    let dir = TempDir::new().unwrap();
    let opened = open_in(&dir);
    let mut store = LogStore::new(opened.disk.clone(), opened.state.clone());
    let entries = || (0..40).map(|index| entry(index, 700_000));
    for entry in entries() {
        store.blocking_append([entry]).await.unwrap();
    }
    let blobs = dir.path().join("raft/sled/blobs");
    assert_eq!(std::fs::read_dir(blobs).unwrap().count(), 0);

    own(&opened).await;
    drop((opened, store));
    let reopened = open_in(&dir);
    assert!(reopened.moved_aside.is_none());
    let mut store = LogStore::new(reopened.disk, reopened.state);
    assert!(
        store
            .try_get_log_entries(..)
            .await
            .unwrap()
            .into_iter()
            .eq(entries())
    );
}

/// Takes a piece out behind the store's back.
fn remove(dir: &TempDir, index: u64) {
    let db = loop {
        // The disk thread may still be closing it.
        if let Ok(db) = sled::open(dir.path().join("raft/sled")) {
            break db;
        }
        std::thread::yield_now();
    };
    let log = db.open_tree("log").unwrap();
    log.remove(keys::piece_key(index, 0)).unwrap().unwrap();
    db.flush().unwrap();
}

#[tokio::test]
async fn a_log_that_lacks_an_entry_is_moved_aside() {
    for index in [None, Some(0), Some(5), Some(9)] {
        let dir = TempDir::new().unwrap();
        let opened = open_in(&dir);
        own(&opened).await;
        let mut store = LogStore::new(opened.disk.clone(), opened.state.clone());
        let entries = (0..10).map(|n| entry(n, 10));
        store.blocking_append(entries).await.unwrap();
        drop((opened, store));
        if let Some(index) = index {
            remove(&dir, index);
        }
        let reopened = open_in(&dir);
        assert_eq!(reopened.moved_aside.is_some(), index.is_some(), "{index:?}");
        assert_eq!(reopened.identity.is_none(), index.is_some(), "{index:?}");
        assert_eq!(reopened.state.last.is_none(), index.is_some(), "{index:?}");
    }
}

#[tokio::test]
async fn a_log_that_has_become_empty_is_moved_aside() {
    let dir = TempDir::new().unwrap();
    let opened = open_in(&dir);
    own(&opened).await;
    drop(opened);
    std::fs::remove_dir_all(dir.path().join("raft/sled")).unwrap();
    let reopened = open_in(&dir);
    assert!(reopened.moved_aside.is_some() && reopened.identity.is_none());
}

#[tokio::test]
async fn a_half_written_index_of_sleds_does_not_keep_it_from_opening() {
    let dir = TempDir::new().unwrap();
    let opened = open_in(&dir);
    own(&opened).await;
    drop(opened);
    let torn = dir
        .path()
        .join("raft/sled/snap.000000000000F1A4.generating");
    std::fs::write(&torn, b"torn").unwrap();
    let opened = open_in(&dir);
    assert!(opened.identity.is_some() && !torn.exists());
}

/// Our own lock is free before sled's is: the threads of a former handle end when
/// they like.
#[tokio::test]
async fn a_former_handle_of_sled_is_waited_for_and_no_damage() {
    let dir = TempDir::new().unwrap();
    let opened = open_in(&dir);
    own(&opened).await;
    drop(opened);
    let former = loop {
        if let Ok(db) = sled::open(dir.path().join("raft/sled")) {
            break db;
        }
        std::thread::yield_now();
    };
    let (path, lock) = (dir.path().to_owned(), dir.path().join("lock"));
    let opening = std::thread::spawn(move || open(&path, "test", HIGHEST));
    let lock = File::open(lock).unwrap();
    let begun = || rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared).is_err();
    while !begun() && !opening.is_finished() {
        rustix::fs::flock(&lock, FlockOperation::Unlock).unwrap();
        std::thread::yield_now();
    }
    drop(former);
    let opened = opening.join().unwrap().unwrap();
    assert!(opened.identity.is_some() && opened.moved_aside.is_none());
}

#[tokio::test]
async fn a_write_is_acknowledged_only_after_its_sync() {
    let dir = TempDir::new().unwrap();
    let opened = open_in(&dir);
    for _ in 0..20 {
        let before = opened.disk.syncs();
        let (seen, at_acknowledgement) = tokio::sync::oneshot::channel();
        let disk = opened.disk.clone();
        let done = Box::new(move |result: io::Result<()>| {
            result.unwrap();
            // Still on the disk's thread: what comes later hasn't happened yet.
            seen.send(disk.syncs()).unwrap();
        });
        let record = keys::meta_record(keys::VOTE, &before).unwrap();
        let name = keys::VOTE;
        opened
            .disk
            .send(Job::Put { name, record, done })
            .await
            .unwrap();
        assert_eq!(at_acknowledgement.await.unwrap(), before + 1);
    }
}

/// A pipe can't be synced, so this fails where the sync is left out or its
/// failure overlooked.
#[tokio::test]
async fn a_failed_sync_fails_its_writes_and_all_that_follow() {
    let dir = TempDir::new().unwrap();
    let db = sled::open(dir.path().join("sled")).unwrap();
    let (reader, _writer) = std::io::pipe().unwrap();
    let unsyncable = File::from(std::os::fd::OwnedFd::from(reader));
    let lock = File::create(dir.path().join("lock")).unwrap();
    let (guard, _) = Guard::open(dir.path()).unwrap();
    let disk = Disk::spawn(db, unsyncable, lock, guard, Noted::default()).unwrap();
    assert!(disk.put(keys::VOTE, &1).await.is_err());
    let later = disk.put(keys::VOTE, &2).await.unwrap_err();
    assert!(
        later.to_string().contains("an earlier write failed"),
        "{later}"
    );
    assert!(disk.read(0..1, 1).await.is_err());
    assert_eq!(disk.syncs(), 0);
}

#[tokio::test]
async fn one_sync_serves_all_writes_that_wait() {
    let dir = TempDir::new().unwrap();
    let opened = open_in(&dir);
    let before = opened.disk.syncs();
    let writes: Vec<_> = (0..100_u64)
        .map(|n| {
            let disk = opened.disk.clone();
            tokio::spawn(async move { disk.put(keys::VOTE, &n).await })
        })
        .collect();
    for write in writes {
        write.await.unwrap().unwrap();
    }
    let syncs = opened.disk.syncs() - before;
    assert!((1..100).contains(&syncs), "{syncs} syncs for 100 writes");
}
