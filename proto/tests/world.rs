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
use starling_engine::decide::reason::{Failure, Held, Input, Outcome, Report, Step};
use starling_engine::ledger::rebuilt::Rebuilt;
use starling_engine::ledger::version::{PATIENCE, REBUILT, Raised};
use starling_engine::ledger::{Command, Entry, FOUNDER, Item, Ledger, Member};
use starling_engine::policy::{Fallback, FallbackBehavior, Goal, Policy, Source, Target, Trigger};
use starling_engine::unit::{Ms, NodeId};
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

fn golden(version: u32) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    folder.join(format!("ledger-{version}.entries"))
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
    keep(1, &WRITTEN.take());
}

fn keep(version: u32, entries: &[Vec<u8>]) {
    let mut file = Vec::new();
    for bytes in entries {
        file.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
        file.extend_from_slice(bytes);
    }
    let path = golden(version);
    assert!(!path.exists(), "{} is never written anew", path.display());
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, file).expect("the file is written");
}

/// What the first version's agents proposed is granted and refused as it was then.
#[test]
fn the_entries_of_the_first_version_lead_to_the_same_ledger_in_every_later_release() {
    let mut ledger = Ledger::default();
    read_golden(1, &mut ledger);
    assert!(ledger.index > 200, "{}", ledger.index);
    assert_eq!(hex(ledger.digest()), DIGEST);
    assert_eq!(through(&ledger), ledger);
}

/// Applies the entries of a version, and holds what is written today to them.
fn read_golden(version: u32, ledger: &mut Ledger) {
    let file = fs::read(golden(version)).expect("the golden entries");
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
}

/// What came with version 2: a rebuilt cluster, which looks around, and policies that have a
/// formula.
fn second() -> Vec<Entry> {
    let trial = Policy {
        name: "trial".into(),
        target: Target::process("trial"),
        triggers: vec![
            Trigger {
                name: "queue".into(),
                source: Source::External {
                    kind: "metrics-api".into(),
                    metadata: [("url".into(), "http://queue/length".into())].into(),
                },
                goal: Goal::AverageValue { milli: 500 },
                activation_milli: 0,
                window_ms: None,
            },
            Trigger {
                name: "formula".into(),
                source: Source::Formula {
                    text: "queue / 2".into(),
                },
                goal: Goal::AverageValue { milli: 500 },
                activation_milli: 0,
                window_ms: None,
            },
        ],
        replicas_min: 0,
        replicas_max: 10,
        dry_run: true,
        ..Policy::default()
    };
    let rests = Report {
        steps: vec![Step::Held(Held::Rebuilt { left_ms: 29_000 })],
        ..Report::default()
    };
    let commands = vec![
        Command::LookAround,
        Command::PutPolicy {
            policy: trial,
            source: "a:/policies/trial.yaml".into(),
        },
        Command::Pass {
            by: NodeId(1),
            items: vec![Item {
                policy: "trial".into(),
                revision: 6,
                from: 0,
                to: 0,
                shares: None,
                seen: None,
                changes: vec![],
                report: Some(rests),
            }],
            moves: vec![],
        },
    ];
    let entry = |(command, second): (_, u64)| Entry {
        at: Ms(1_700_000_100_000 + second * 1_000),
        command,
    };
    commands.into_iter().zip(0..).map(entry).collect()
}

/// A ledger of the first version, rebuilt.
fn rebuilt() -> Ledger {
    let mut ledger = Ledger::default();
    let member = |name: &str| Member {
        name: name.into(),
        ..Member::default()
    };
    let commands = [
        Command::Found {
            cluster: "golden".into(),
            generation: 1,
            authority: None,
        },
        Command::Admit {
            nonce: FOUNDER.into(),
            member: member("a"),
        },
        Command::Admit {
            nonce: "0123456789abcdef0123456789abcdef".into(),
            member: member("b"),
        },
        Command::Raise(Raised {
            version: REBUILT,
            release: "0.1.0".into(),
        }),
    ];
    for command in commands {
        let at = Ms(1_700_000_000_000);
        let index = ledger.index + 1;
        ledger.apply(index, &Entry { at, command });
    }
    ledger.rebuild(2, "0.1.0");
    ledger
}

/// Of [`rebuilt`] after [`second`].
const DIGEST_SECOND: &str = "f53d4cc04f246936393a10256026c01c";

#[test]
#[ignore = "writes the file that the next one reads"]
fn write_the_golden_entries_of_the_second_version() {
    let bytes = second();
    let bytes = bytes.iter().map(|entry| log::encode(entry).expect("bytes"));
    keep(2, &bytes.collect::<Vec<_>>());
    let mut ledger = rebuilt();
    read_golden(2, &mut ledger);
    println!("digest {}", hex(ledger.digest()));
}

#[test]
fn what_came_with_the_second_version_means_the_same_in_every_later_release() {
    let file = fs::read(golden(2)).expect("the golden entries");
    assert_eq!(entries(&file), second());
    let mut ledger = through(&rebuilt());
    read_golden(2, &mut ledger);
    let looked_at = Ms(1_700_000_100_000);
    assert_eq!(ledger.rebuilt, Some(Rebuilt::Since(looked_at)));
    assert!(ledger.policies[&"trial".into()].policy.formula().is_some());
    assert_eq!(hex(ledger.digest()), DIGEST_SECOND);
    assert_eq!(through(&ledger), ledger);
}

/// What came with version 3: how long an answer counts, when a fallback ends, and reports of
/// both.
fn third() -> Vec<Entry> {
    let fallback = Fallback {
        failure_threshold: 3,
        replicas: 4,
        behavior: FallbackBehavior::Static,
        recovery_threshold: Some(5),
    };
    let patient = Policy {
        name: "patient".into(),
        target: Target::process("patient"),
        triggers: vec![Trigger {
            name: "queue".into(),
            source: Source::External {
                kind: "metrics-api".into(),
                metadata: [("url".into(), "http://queue/length".into())].into(),
            },
            goal: Goal::AverageValue { milli: 500 },
            activation_milli: 0,
            window_ms: None,
        }],
        fallback: Some(fallback),
        stale_after_ms: Some(90_000),
        ..Policy::default()
    };
    let said = |outcome| Input {
        trigger: "queue".into(),
        source: "metrics-api".into(),
        goal: Goal::AverageValue { milli: 500 },
        value: Some(2_000),
        age_ms: Some(40_000),
        pods: None,
        band: None,
        outcome,
    };
    let report = Report {
        inputs: vec![
            said(Outcome::Failed {
                reason: Failure::Source("down".into()),
                failures: 2,
                kept: Some(4),
            }),
            said(Outcome::Fallback {
                stated: 4,
                replicas: 4,
                failures: 4,
                successes: 1,
                behavior: FallbackBehavior::Static,
                reason: None,
                needed: Some(5),
            }),
        ],
        ..Report::default()
    };
    let commands = vec![
        Command::Raise(Raised {
            version: PATIENCE,
            release: "0.1.0".into(),
        }),
        Command::PutPolicy {
            policy: patient,
            source: "a:/policies/patient.yaml".into(),
        },
        Command::Pass {
            by: NodeId(1),
            items: vec![Item {
                policy: "patient".into(),
                revision: 9,
                from: 0,
                to: 4,
                shares: Some([(NodeId(1), 4)].into()),
                seen: None,
                changes: vec![],
                report: Some(report),
            }],
            moves: vec![],
        },
    ];
    let entry = |(command, second): (_, u64)| Entry {
        at: Ms(1_700_000_200_000 + second * 1_000),
        command,
    };
    commands.into_iter().zip(0..).map(entry).collect()
}

/// Of [`rebuilt`] after [`second`] and [`third`].
const DIGEST_THIRD: &str = "c48230b6cdccecb464e45f445eb61580";

fn after_second() -> Ledger {
    let mut ledger = rebuilt();
    read_golden(2, &mut ledger);
    ledger
}

#[test]
#[ignore = "writes the file that the next one reads"]
fn write_the_golden_entries_of_the_third_version() {
    let bytes = third();
    let bytes = bytes.iter().map(|entry| log::encode(entry).expect("bytes"));
    keep(3, &bytes.collect::<Vec<_>>());
    let mut ledger = after_second();
    read_golden(3, &mut ledger);
    println!("digest {}", hex(ledger.digest()));
}

#[test]
fn what_came_with_the_third_version_means_the_same_in_every_later_release() {
    let file = fs::read(golden(3)).expect("the golden entries");
    assert_eq!(entries(&file), third());
    let mut ledger = through(&after_second());
    read_golden(3, &mut ledger);
    let put = &ledger.policies[&"patient".into()];
    assert_eq!(put.policy.stale_after_ms, Some(90_000));
    assert_eq!(put.policy.fallback.map(|it| it.recovery()), Some(5));
    let decided = ledger.decisions.iter().last().expect("a decision");
    assert_eq!((decided.from, decided.to), (0, 4));
    assert_eq!(hex(ledger.digest()), DIGEST_THIRD);
    assert_eq!(through(&ledger), ledger);
}

/// A policy that says so waits until all agents know what it says.
#[test]
fn only_what_needs_the_third_version_asks_for_it() {
    let needs: Vec<u32> = third()
        .iter()
        .map(|entry| entry.command.version())
        .collect();
    assert_eq!(needs, [1, PATIENCE, 1]);
}
