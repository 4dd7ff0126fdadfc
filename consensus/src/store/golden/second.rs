//! The directory of the second version of the ledger: the first one's, rebuilt, with what
//! its leader wrote then. Like the first it never changes, and each later release opens it.

use super::*;
use crate::rebuild;
use starling_engine::ledger::rebuilt::Rebuilt;
use starling_engine::ledger::version::{FIRST, REBUILT, Raised};

/// Of the ledger after all entries.
const DIGEST: &str = "7bbf973c32cdb3d8e9f27c50571c55bb";
const LOOKED_AT: Ms = Ms(1_700_000_100_000);

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/ledger-2")
}

/// Agent 1 leads, one term after it has rebuilt the log.
fn entry(raised: Raised) -> RaftEntry {
    let entry = Entry {
        at: LOOKED_AT,
        command: Command::LookAround,
    };
    let last = super::entries().last().map_or(0, |last| last.log_id.index);
    RaftEntry {
        log_id: LogId::new(CommittedLeaderId::new(TERM + 2, 1), last + 1),
        payload: EntryPayload::Normal(Batch {
            entries: vec![entry],
            needs: Some(raised),
        }),
    }
}

#[tokio::test]
#[ignore = "writes the files that the next one reads"]
async fn write_the_golden_directory_of_the_second_version() {
    let dir = TempDir::new().unwrap();
    copy(&super::directory(), dir.path());
    fs::remove_file(dir.path().join("entries")).unwrap();
    rebuild::recover(dir.path(), "golden", 2).await.unwrap();
    let opened = opened(dir.path());
    let sealed = opened.snapshots.current().await.unwrap().unwrap();
    let mut ledger = Image::decode(&sealed).unwrap().ledger;
    let raised = ledger.raised.clone().unwrap();
    let looked = Entry {
        at: LOOKED_AT,
        command: Command::LookAround,
    };
    ledger.apply(ledger.index + 1, &looked);
    println!("digest {}", hex(ledger.digest()));
    let mut log = LogStore::new(opened.disk.clone(), opened.state.clone());
    let vote = Vote::new_committed(TERM + 2, 1);
    log.save_vote(&vote).await.unwrap();
    log.blocking_append([entry(raised)]).await.unwrap();
    drop(log);
    close(dir.path(), opened);
    let to = directory();
    assert!(!to.exists(), "{} is never written anew", to.display());
    copy(&dir.path().join("raft"), &to.join("raft"));
}

#[tokio::test]
async fn what_the_second_version_wrote_is_opened_read_and_applied_to_the_same_digest() {
    let dir = TempDir::new().unwrap();
    copy(&directory(), dir.path());
    let opened = opened(dir.path());
    assert_eq!(opened.moved_aside, None);
    let rebuilt = Identity {
        generation: 2,
        founder: false,
        ..identity()
    };
    assert_eq!(opened.identity, Some(rebuilt));
    assert_eq!(opened.admission, Some(admission()));

    let sealed = opened.snapshots.current().await.unwrap().unwrap();
    let mut ledger = Image::decode(&sealed).unwrap().ledger;
    assert_eq!(ledger.rebuilt, Some(Rebuilt::Begins));
    assert_eq!((ledger.version(), ledger.generation), (REBUILT, 2));
    let raised = ledger.raised.clone().unwrap();
    let mut log = LogStore::new(opened.disk.clone(), opened.state.clone());
    let read = log.try_get_log_entries(..).await.unwrap();
    assert_eq!(read, [entry(raised)]);
    let EntryPayload::Normal(batch) = &read[0].payload else {
        panic!("{:?}", read[0]);
    };
    let index = ledger.index + 1;
    ledger.apply(index, &batch.entries[0]);
    assert_eq!(ledger.rebuilt, Some(Rebuilt::Since(LOOKED_AT)));
    assert_eq!(hex(ledger.digest()), DIGEST);
    drop(log);
    close(dir.path(), opened);
}

/// Who supports the first version only leaves it as it is, and says what it takes.
#[test]
fn a_release_of_the_first_version_refuses_it() {
    let dir = TempDir::new().unwrap();
    copy(&directory(), dir.path());
    let refused = open(dir.path(), "golden", FIRST).err().unwrap();
    let words = refused.to_string();
    assert!(words.contains("version 2"), "{words}");
}
