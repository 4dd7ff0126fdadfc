//! Whatever a small cluster proposes and remembers can be written and read back: the
//! engine's arbitrary world, with protobuf between its agents.

#![allow(clippy::expect_used, reason = "a panic is how a test fails")]

#[path = "../../engine/tests/anything/generator.rs"]
mod generator;
#[allow(dead_code, reason = "of the world one way in is used here")]
#[path = "../../engine/tests/anything/world.rs"]
mod world;

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use prost::Message;
use starling_engine::ledger::{Entry, Ledger};
use starling_proto::log::{self, Stored};
use world::Ways;

const WAYS: Ways = Ways {
    entry: |entry| through(entry),
    ledger: |ledger| through(ledger),
};

fn through<T: Stored<Wire: Message + Default>>(value: &T) -> T {
    let bytes = log::encode(value).expect("it can be written");
    log::decode(&bytes).expect("it can be read")
}

#[test]
fn replicas_that_speak_protobuf_stay_the_same() {
    for seed in 0..40 {
        world::play_through(WAYS, generator::bytes(seed), 1_000);
    }
}

thread_local! {
    static WRITTEN: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Of the golden life: its ledger at the end.
const DIGEST: &str = "014b349475bf2c7225cf26e3cde719ac";
const SEEDS: [u64; 6] = [1, 2, 3, 5, 8, 13];
const STEPS: u64 = 1_000;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/ledger-1.entries")
}

/// As the next one comes: its length in four bytes, then itself.
fn entries(file: &[u8]) -> Vec<Entry> {
    let mut rest = file;
    let mut entries = Vec::new();
    while let Some((length, more)) = rest.split_first_chunk::<4>() {
        let (bytes, more) = more.split_at(u32::from_be_bytes(*length) as usize);
        entries.push(log::decode(bytes).expect("it can be read"));
        rest = more;
    }
    entries
}

fn hex(digest: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(digest))
}

/// A new version of the ledger gets a file of its own, beside the former ones.
#[test]
#[ignore = "writes the file that the next one reads"]
fn write_the_golden_entries() {
    let ways = Ways {
        entry: |entry| {
            let bytes = log::encode(entry).expect("it can be written");
            WRITTEN.with_borrow_mut(|all| all.push(bytes));
            through(entry)
        },
        ..WAYS
    };
    for seed in SEEDS {
        world::play_through(ways, generator::bytes(seed), STEPS);
    }
    let mut file = Vec::new();
    for bytes in WRITTEN.take() {
        file.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
        file.extend_from_slice(&bytes);
    }
    let path = golden();
    assert!(!path.exists(), "{} is never written anew", path.display());
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, file).expect("the file is written");
}

/// What the first version's agents proposed is granted and refused as it was then.
#[test]
fn the_entries_of_the_first_version_lead_to_the_same_ledger_in_every_later_release() {
    let file = fs::read(golden()).expect("the golden entries");
    let mut ledger = Ledger::default();
    let mut again = Vec::new();
    for entry in entries(&file) {
        let index = ledger.index + 1;
        ledger.apply(index, &entry);
        let bytes = log::encode(&entry).expect("it can be written");
        again.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
        again.extend_from_slice(&bytes);
    }
    assert!(
        again == file,
        "the same entries are written in the same way"
    );
    assert!(ledger.index > 200, "{}", ledger.index);
    assert_eq!(hex(ledger.digest()), DIGEST);
    assert_eq!(through(&ledger), ledger);
}
