//! What is written can be read, and what isn't known in whole is refused.

use std::collections::BTreeMap;

use starling_engine::ledger::rebuilt::Rebuilt;
use starling_engine::ledger::version::Raised;
use starling_engine::ledger::{Command, Entry, Ledger, Outcome, Refusal, Why};
use starling_engine::policy::{Policy, Source, Target};
use starling_engine::unit::{Ms, NodeId};

use super::*;

fn there_and_back<T: Stored<Wire: Message + Default> + PartialEq + std::fmt::Debug>(value: &T) {
    let bytes = encode(value).unwrap();
    assert_eq!(decode::<T>(&bytes).as_ref(), Ok(value));
}

fn entry(command: Command) -> Entry {
    let at = Ms(u64::MAX);
    Entry { at, command }
}

#[test]
fn the_smallest_values_come_back_as_they_were() {
    there_and_back(&Ledger::default());
    for rebuilt in [Rebuilt::Begins, Rebuilt::Since(Ms(0))] {
        there_and_back(&Ledger {
            rebuilt: Some(rebuilt),
            ..Ledger::default()
        });
    }
    there_and_back(&entry(Command::LookAround));
    there_and_back(&Outcome::default());
    there_and_back(&Policy::default());
    there_and_back(&entry(Command::RemovePolicy {
        name: "web".into(),
        source: Some(String::new()),
    }));
    there_and_back(&entry(Command::Pass {
        by: NodeId(0),
        items: vec![],
        moves: vec![],
    }));
}

#[test]
fn what_a_newer_release_added_is_refused_and_not_skipped() {
    let bytes = encode(&entry(Command::DeleteWorkload {
        target: Target {
            group: String::new(),
            kind: "Process".into(),
            namespace: "default".into(),
            name: "web".into(),
        },
    }))
    .unwrap();
    // Field 99 of the entry, a number.
    let mut longer = bytes.clone();
    longer.extend([0x98, 0x06, 0x01]);
    assert_eq!(decode::<Entry>(&longer), Err(Error::Unknown));
    // Another kind of command: field 99 of the command, empty.
    let other = wire::Entry {
        at: 1,
        command: Some(wire::Command { kind: None }),
    };
    let mut other = other.encode_to_vec();
    let length = other.len() - 1;
    other[length] = 3;
    other.extend([0x9a, 0x06, 0x00]);
    assert!(wire::Entry::decode(other.as_slice()).is_ok());
    assert_eq!(decode::<Entry>(&other), Err(Error::Unknown));
    // A value that an enumeration doesn't have.
    let source = wire::Source {
        kind: Some(wire::source::Kind::Resource(77)),
    };
    assert_eq!(Source::back(source), Err(Error::Unknown));
}

#[test]
fn what_is_missing_too_much_or_there_twice_is_refused_with_its_name() {
    let none = wire::Entry {
        at: 1,
        command: None,
    };
    assert_eq!(Entry::back(none), Err(Error::Missing("command")));
    let empty = wire::Command { kind: None };
    assert_eq!(Command::back(empty), Err(Error::Missing("ledger::Command")));
    let long = "x".repeat(TEXT_BYTES_MAX + 1);
    let too_many = Error::TooMany {
        what: "bytes in a text",
        found: TEXT_BYTES_MAX + 1,
        max: TEXT_BYTES_MAX,
    };
    let raised = Raised {
        version: 2,
        release: long.clone(),
    };
    assert_eq!(encode(&raised), Err(too_many.clone()));
    let raised = wire::Raised {
        version: 2,
        release: long,
    };
    assert_eq!(Raised::back(raised), Err(too_many));
    let share = wire::Share {
        node: 7,
        replicas: 1,
    };
    let shares = wire::Shares {
        shares: vec![share, share],
    };
    assert_eq!(
        BTreeMap::<NodeId, u32>::back(shares),
        Err(Error::Twice("node"))
    );
    let twice = wire::Ledger {
        members: vec![
            wire::Admitted {
                id: 1,
                member: Some(wire::Member::default()),
                ..wire::Admitted::default()
            };
            2
        ],
        ..wire::Ledger::default()
    };
    assert_eq!(Ledger::back(twice), Err(Error::Twice("member")));
    let digest = wire::Ledger {
        checkpoints: vec![wire::Checkpoint::default()],
        ..wire::Ledger::default()
    };
    assert_eq!(Ledger::back(digest), Err(Error::Digest(0)));
}

#[test]
fn each_reason_for_a_refusal_comes_back() {
    let target = || {
        Box::new(Target {
            group: "apps".into(),
            kind: "Deployment".into(),
            namespace: "shop".into(),
            name: "web".into(),
        })
    };
    let by = || Box::new("shop/web".into());
    let reasons = [
        Why::Halted("broken".into()),
        Why::OtherCluster("b".into()),
        Why::UnknownPolicy,
        Why::UnknownMember,
        Why::Unsound("no".into()),
        Why::TargetTaken {
            by: by(),
            target: target(),
        },
        Why::Full(7),
        Why::StaleRevision { decided: 1, now: 2 },
        Why::StaleSize { decided: 3, now: 4 },
        Why::OutOfBounds {
            to: 5,
            floor: 6,
            cap: 7,
        },
        Why::TooManyShares { sum: 8, size: 9 },
        Why::ShareOfStranger(NodeId(10)),
        Why::NotPlaced(target()),
        Why::Unseen(target()),
        Why::NameTaken { by: NodeId(11) },
        Why::DryRun,
        Why::UnknownWorkload,
        Why::Sized { by: by() },
        Why::NotHigher { now: 2 },
        Why::StaleShares,
        Why::LastMember,
    ];
    for why in reasons {
        let subject = "a".into();
        there_and_back(&Refusal { subject, why });
    }
}
