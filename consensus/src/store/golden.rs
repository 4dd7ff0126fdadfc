//! A data directory that the first release with protobuf has written, and that each later
//! one has to open: `consensus/tests/golden/ledger-1`. Nothing in it ever changes. A new
//! version of the ledger gets a directory of its own beside it, once, by
//! `cargo test -p starling-consensus --lib golden -- --ignored`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use openraft::storage::{RaftLogStorage as _, RaftLogStorageExt as _};
use openraft::{CommittedLeaderId, EntryPayload, Membership, RaftLogReader as _, Vote};
use starling_engine::decide::reason::{self, Report};
use starling_engine::history::{Activity, Change, Health};
use starling_engine::ledger::scaled::Seen;
use starling_engine::ledger::version::HIGHEST;
use starling_engine::ledger::{Authority, Command, Entry, FOUNDER, Item, Ledger, Member, Move};
use starling_engine::policy::{
    Behavior, Fallback, Goal, Objective, Policy, Resource, Rules, Source, Strategy, Target, Trigger,
};
use starling_engine::unit::{Ms, NodeId, Stamp};
use tempfile::TempDir;

use super::going_back::{close, copy};
use super::keys::{Admission, Identity};
use super::log::LogStore;
use super::open::{Opened, open};
use super::snapshots::Image;
use crate::codec;
use crate::types::{Batch, LogId, Peer, RaftEntry, StoredMembership};

mod second;

/// Of the ledger after all entries.
const DIGEST: &str = "5b94c9d6ce60c20c2762972da1da2e01";
pub const CLUSTER: &str = "golden";
const TERM: u64 = 3;
/// So many entries are in the snapshot, and so many of these are purged.
const IN_SNAPSHOT: u64 = 7;
const PURGED: u64 = 4;

pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/ledger-1")
}

fn id(index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(TERM, 1), index)
}

fn identity() -> Identity {
    Identity {
        cluster: CLUSTER.into(),
        cluster_id: "00112233445566778899aabbccddeeff".into(),
        generation: 1,
        id: 1,
        founder: true,
    }
}

fn admission() -> Admission {
    Admission {
        cluster: CLUSTER.into(),
        nonce: "ffeeddccbbaa99887766554433221100".into(),
        after: 0,
    }
}

fn member(name: &str, port: u16) -> Member {
    let at = |more| format!("10.0.0.{port}:{}", 7100 + more);
    Member {
        name: name.into(),
        peer_address: at(1),
        gossip_address: at(2),
        api_address: at(3),
        zone: format!("zone-{name}"),
    }
}

fn target(kind: &str, name: &str) -> Target {
    Target {
        group: if kind == "Process" { "" } else { "apps" }.into(),
        kind: kind.into(),
        namespace: "shop".into(),
        name: name.into(),
    }
}

fn triggers() -> Vec<Trigger> {
    let metadata: BTreeMap<String, String> = [("url".into(), "https://queue/depth".into())].into();
    let sources = [
        Source::Resource(Resource::Cpu),
        Source::Nodes(Resource::Memory),
        Source::Container {
            resource: Resource::Memory,
            container: "app".into(),
        },
        Source::Pods {
            metric: "requests".into(),
            selector: Some("path=/".into()),
        },
        Source::Object {
            kind: "Service".into(),
            metadata: metadata.clone(),
        },
        Source::External {
            kind: "metrics-api".into(),
            metadata,
        },
    ];
    let goal = |n| match n {
        0 | 2 => Goal::Utilization { percent: 70 },
        4 => Goal::Value { milli: 5_000 },
        _ => Goal::AverageValue { milli: 10_000 },
    };
    let trigger = |(n, source)| Trigger {
        name: format!("trigger-{n}"),
        source,
        goal: goal(n),
        activation_milli: n as i64,
        window_ms: (n == 0).then_some(30_000),
    };
    sources.into_iter().enumerate().map(trigger).collect()
}

fn policy(name: &str, target: Target) -> Policy {
    Policy {
        name: name.into(),
        target,
        target_version: "v1".into(),
        replicas_min: 2,
        replicas_max: 20,
        triggers: triggers(),
        fallback: Some(Fallback {
            failure_threshold: 3,
            replicas: 4,
            behavior: starling_engine::policy::FallbackBehavior::CurrentReplicasIfHigher,
            recovery_threshold: None,
        }),
        behavior: Some(Behavior {
            up: Rules::default(),
            down: Rules {
                window_ms: Some(60_000),
                tolerance_ppm: Some(50_000),
                ..Rules::default()
            },
        }),
        ..Policy::default()
    }
}

fn report(from: u32, target: u32) -> Report {
    Report {
        at: Ms(1_700_000_009_000),
        from,
        target,
        inputs: vec![reason::Input {
            trigger: "trigger-0".into(),
            source: "cpu".into(),
            goal: Goal::Utilization { percent: 70 },
            value: Some(93),
            age_ms: Some(700),
            pods: Some(reason::Pods {
                counted: 2,
                missing: 1,
                ..reason::Pods::default()
            }),
            band: Some((40, 80)),
            outcome: reason::Outcome::Proposes {
                replicas: target,
                within_tolerance: false,
            },
        }],
        winner: Some(0),
        raw: Some(target),
        steps: vec![reason::Step::Stabilized {
            from: target,
            to: target,
            window_ms: 60_000,
            age_ms: 10,
        }],
        conditions: vec![reason::Condition {
            kind: reason::ConditionKind::AbleToScale,
            status: reason::Status::True,
            reason: "SucceededRescale".into(),
        }],
        outlook: vec![reason::Outlook::Value {
            trigger: "trigger-0".into(),
            at_least: None,
            at_most: Some(-1),
        }],
        ..Report::default()
    }
}

/// Of what the first version knows, something of each kind.
fn commands() -> Vec<Command> {
    let (web, jobs) = (target("Process", "web"), target("Deployment", "jobs"));
    let item = |policy: &str, revision, from, to| Item {
        policy: policy.into(),
        revision,
        from,
        to,
        shares: None,
        seen: None,
        changes: vec![],
        report: None,
    };
    vec![
        Command::Found {
            cluster: CLUSTER.into(),
            generation: 1,
            authority: Some(Authority {
                certificate: "a certificate".into(),
                key: "its key".into(),
            }),
        },
        Command::Admit {
            nonce: FOUNDER.into(),
            member: member("a", 1),
        },
        Command::Admit {
            nonce: "0123456789abcdef0123456789abcdef".into(),
            member: member("b", 2),
        },
        Command::Readdress {
            node: NodeId(3),
            member: member("b", 3),
        },
        Command::PutPolicy {
            policy: policy("shop/web", web),
            source: "a:/policies/web.yaml".into(),
        },
        Command::PutPolicy {
            policy: policy("shop/jobs", jobs),
            source: "kubernetes: shop/jobs".into(),
        },
        Command::PutPolicy {
            policy: Policy {
                strategy: Strategy::Objective(Box::new(Objective {
                    wait_ms: 250,
                    miss_ppm: 30_000,
                    slots: Some(4),
                    arrivals: Some("trigger-5".into()),
                    ..Objective::default()
                })),
                ..policy("shop/calls", target("Process", "calls"))
            },
            source: "b:/policies/calls.yaml".into(),
        },
        Command::Pass {
            by: NodeId(1),
            items: vec![
                Item {
                    shares: Some([(NodeId(1), 2), (NodeId(3), 3)].into()),
                    changes: vec![
                        Change::Recommended {
                            replicas: 5,
                            until: None,
                        },
                        Change::Resized { from: 2, to: 5 },
                        Change::Answered {
                            trigger: "trigger-5".into(),
                            health: Health {
                                failures: 1,
                                successes: 2,
                                at: Ms(1_700_000_008_000),
                            },
                        },
                        Change::Activity(Activity {
                            active: true,
                            last_active: Some(Ms(1_700_000_008_500)),
                        }),
                    ],
                    report: Some(report(2, 5)),
                    ..item("shop/web", 5, 2, 5)
                },
                Item {
                    seen: Some(Seen {
                        uid: "7f3a".into(),
                        selector: "app=jobs".into(),
                        replicas: 3,
                        ruled: false,
                    }),
                    report: Some(report(3, 4)),
                    ..item("shop/jobs", 6, 3, 4)
                },
                item("shop/nobody", 9, 1, 1),
            ],
            moves: vec![Move {
                target: target("Process", "gone"),
                stamp: Stamp {
                    generation: 1,
                    index: 4,
                },
                shares: [(NodeId(1), 1)].into(),
            }],
        },
        Command::Away {
            node: NodeId(3),
            away: true,
        },
        Command::RemovePolicy {
            name: "shop/web".into(),
            source: None,
        },
        Command::DeleteWorkload {
            target: target("Process", "web"),
        },
        Command::Remove { node: NodeId(3) },
    ]
}

fn membership() -> Membership<u64, Peer> {
    let peer = |name: &str, address: &str| Peer {
        name: name.into(),
        address: address.into(),
    };
    let nodes = BTreeMap::from([
        (1, peer("a", "10.0.0.1:7101")),
        (3, peer("b", "10.0.0.3:7101")),
    ]);
    Membership::new(vec![[1].into()], nodes)
}

/// Two batches, with what openraft itself writes around and between them.
fn entries() -> Vec<RaftEntry> {
    let mut entries = vec![EntryPayload::Membership(membership()), EntryPayload::Blank];
    let mut commands = commands().into_iter().zip(0..).peekable();
    while commands.peek().is_some() {
        let batch = commands.by_ref().take(2).map(|(command, second)| Entry {
            at: Ms(1_700_000_000_000 + second * 1_000),
            command,
        });
        entries.push(EntryPayload::Normal(Batch {
            entries: batch.collect(),
            needs: None,
        }));
    }
    let with_id = |(payload, index)| RaftEntry {
        log_id: id(index),
        payload,
    };
    entries.into_iter().zip(0..).map(with_id).collect()
}

/// The ledger after the entries before `end`.
fn ledger(entries: &[RaftEntry], end: u64) -> Ledger {
    let mut ledger = Ledger::default();
    for entry in entries.iter().filter(|entry| entry.log_id.index < end) {
        if let EntryPayload::Normal(batch) = &entry.payload {
            for entry in &batch.entries {
                let index = ledger.index + 1;
                ledger.apply(index, entry);
            }
        }
    }
    ledger
}

fn hex(digest: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(digest))
}

fn opened(dir: &Path) -> Opened {
    open(dir, CLUSTER, HIGHEST).unwrap_or_else(|e| panic!("{e}: {e:?}"))
}

#[tokio::test]
#[ignore = "writes the files that the others read"]
async fn write_the_golden_directory() {
    let dir = TempDir::new().unwrap();
    let opened = opened(dir.path());
    opened
        .disk
        .put(super::keys::ADMISSION, &admission())
        .await
        .unwrap();
    opened.keep(&identity()).await.unwrap();
    let mut log = LogStore::new(opened.disk.clone(), opened.state.clone());
    log.save_vote(&Vote::new_committed(TERM, 1)).await.unwrap();
    let entries = entries();
    log.blocking_append(entries.clone()).await.unwrap();
    let last = id(IN_SNAPSHOT - 1);
    let image = Image {
        applied: Some(last),
        membership: StoredMembership::new(Some(id(0)), membership()),
        ledger: ledger(&entries, IN_SNAPSHOT),
    };
    let sealed = image.encode().unwrap();
    opened
        .snapshots
        .put(&opened.disk, Some(last), sealed)
        .await
        .unwrap();
    log.purge(id(PURGED - 1)).await.unwrap();
    log.save_committed(entries.last().map(|entry| entry.log_id))
        .await
        .unwrap();
    // With the next durable write.
    log.save_vote(&Vote::new_committed(TERM, 1)).await.unwrap();
    drop(log);
    close(dir.path(), opened);
    let to = directory();
    assert!(!to.exists(), "{} is never written anew", to.display());
    copy(dir.path(), &to);
    fs::remove_file(to.join("lock")).unwrap();
    let mut file = Vec::new();
    for entry in &entries {
        let bytes = codec::encode(entry).unwrap();
        file.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
        file.extend_from_slice(&bytes);
    }
    fs::write(to.join("entries"), file).unwrap();
    println!("digest {}", hex(ledger(&entries, u64::MAX).digest()));
}

#[tokio::test]
async fn what_the_first_version_wrote_is_opened_read_and_applied_to_the_same_digest() {
    let dir = TempDir::new().unwrap();
    copy(&directory(), dir.path());
    let opened = opened(dir.path());
    assert_eq!(opened.moved_aside, None);
    assert_eq!(opened.identity, Some(identity()));
    assert_eq!(opened.admission, Some(admission()));
    let written = entries();
    let last = written.last().map(|entry| entry.log_id);
    assert_eq!(opened.state.last, last);
    assert_eq!(opened.state.committed, last);
    assert_eq!(opened.state.purged, Some(id(PURGED - 1)));

    let mut log = LogStore::new(opened.disk.clone(), opened.state.clone());
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new(TERM, 1)));
    let read = log.try_get_log_entries(..).await.unwrap();
    assert_eq!(read, written[PURGED as usize..]);

    let sealed = opened.snapshots.current().await.unwrap().unwrap();
    let image = Image::decode(&sealed).unwrap();
    assert_eq!(image.applied, Some(id(IN_SNAPSHOT - 1)));
    assert_eq!(*image.membership.membership(), membership());
    let mut ledger = image.ledger;
    for entry in &read {
        if let EntryPayload::Normal(batch) = &entry.payload
            && entry.log_id.index >= IN_SNAPSHOT
        {
            for entry in &batch.entries {
                let index = ledger.index + 1;
                ledger.apply(index, entry);
            }
        }
    }
    assert_eq!(hex(ledger.digest()), DIGEST);
    assert_eq!(hex(self::ledger(&written, u64::MAX).digest()), DIGEST);
    drop(log);
    close(dir.path(), opened);
}

/// What is written today has the bytes that were written then.
#[test]
fn entries_are_written_as_the_first_version_wrote_them() {
    let file = fs::read(directory().join("entries")).unwrap();
    let mut rest = file.as_slice();
    for entry in entries() {
        let (length, more) = rest.split_first_chunk::<4>().unwrap();
        let (bytes, more) = more.split_at(u32::from_be_bytes(*length) as usize);
        assert_eq!(codec::encode(&entry).unwrap(), bytes);
        assert_eq!(codec::decode::<RaftEntry>(bytes).unwrap(), entry);
        rest = more;
    }
    assert!(rest.is_empty());
}
