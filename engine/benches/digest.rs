//! What a checkpoint costs with 10,000 policies and 5,000 members in the ledger: 16
//! commands, after which a digest is due. Beside it the same where those commands change
//! every workload, the digest of a ledger that was just read from a snapshot, and, to
//! compare with, the whole ledger serialized and hashed.

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use sha2::{Digest as _, Sha256};
use starling_engine::decide::reason::{self, Report};
use starling_engine::history::Change;
use starling_engine::ledger::{
    Admitted, CHECKPOINT_EVERY, Command, Entry, Item, Ledger, Member, summed,
};
use starling_engine::policy::{Goal, Policy, Resource, Source, Target, Trigger};
use starling_engine::unit::{Ms, NodeId};

const START: Ms = Ms(1_700_000_000_000);
const POLICIES: u64 = 10_000;
const MEMBERS: u64 = 5_000;

struct Cluster {
    ledger: Ledger,
    /// Whose turn it is.
    next: u64,
}

fn policy(number: u64) -> Policy {
    let queue = Source::External {
        kind: "metrics-api".into(),
        metadata: BTreeMap::from([
            ("url".into(), format!("https://queues/{number}/depth")),
            ("valueLocation".into(), "queue.depth".into()),
        ]),
    };
    let trigger = |name: &str, source, goal| Trigger {
        name: name.into(),
        source,
        goal,
        activation_milli: 0,
        window_ms: None,
    };
    Policy {
        name: format!("team-{}/policy-{number}", number % 50)
            .as_str()
            .into(),
        target: Target {
            group: String::new(),
            kind: "Process".into(),
            namespace: format!("team-{}", number % 50),
            name: format!("workload-{number}"),
        },
        replicas_min: 1,
        replicas_max: 100,
        triggers: vec![
            trigger(
                "cpu",
                Source::Resource(Resource::Cpu),
                Goal::Utilization { percent: 70 },
            ),
            trigger("queue", queue, Goal::AverageValue { milli: 10_000 }),
        ],
        ..Policy::default()
    }
}

fn report(from: u32, to: u32) -> Report {
    let input = |trigger: &str, goal, value| reason::Input {
        trigger: trigger.into(),
        source: trigger.to_owned().into(),
        goal,
        value: Some(value),
        age_ms: Some(800),
        pods: None,
        band: None,
        outcome: reason::Outcome::Proposes {
            replicas: to,
            within_tolerance: false,
        },
    };
    Report {
        at: START,
        from,
        target: to,
        inputs: vec![
            input("cpu", Goal::Utilization { percent: 70 }, 95),
            input("queue", Goal::AverageValue { milli: 10_000 }, 20_000),
        ],
        winner: Some(1),
        raw: Some(to),
        ..Report::default()
    }
}

impl Cluster {
    fn new() -> Cluster {
        let members = (1..=MEMBERS).map(|number| {
            let member = Member {
                name: format!("node-{number}"),
                peer_address: format!("10.0.{}.{}:7101", number / 250, number % 250),
                gossip_address: format!("10.0.{}.{}:7102", number / 250, number % 250),
                api_address: format!("10.0.{}.{}:7103", number / 250, number % 250),
                zone: String::new(),
            };
            let nonce = format!("nonce-{number}");
            let admitted = Admitted {
                nonce,
                member,
                away_since: None,
            };
            (NodeId(number), admitted)
        });
        let mut cluster = Cluster {
            ledger: Ledger {
                members: members.collect(),
                ..Ledger::default()
            },
            next: 0,
        };
        for number in 0..POLICIES {
            let policy = policy(number);
            let source = format!("node-1:/policies/{number}.yaml");
            cluster.commit(Command::PutPolicy { policy, source });
        }
        // Each has been given a replica and has some history; commands and checkpoints
        // begin together.
        for _ in 0..POLICIES / CHECKPOINT_EVERY {
            cluster.pass(CHECKPOINT_EVERY);
        }
        while !cluster.ledger.index.is_multiple_of(CHECKPOINT_EVERY) {
            cluster.pass(1);
        }
        cluster
    }

    fn commit(&mut self, command: Command) {
        let index = self.ledger.index + 1;
        let at = START.plus(index * 1_000);
        let outcome = self.ledger.apply(index, &Entry { at, command });
        assert_eq!(outcome.refused, []);
    }

    /// One command that changes so many sizes.
    fn pass(&mut self, count: u64) {
        let items = (0..count).map(|i| self.item((self.next + i) % POLICIES));
        let items = items.collect();
        self.next += count;
        let by = NodeId(1);
        let moves = Vec::new();
        self.commit(Command::Pass { by, items, moves });
    }

    fn item(&self, number: u64) -> Item {
        let name = policy(number).name;
        let put = &self.ledger.policies[&name];
        let from = self.ledger.workloads[&put.policy.target].size;
        let to = if from == 1 { 2 } else { 1 };
        let node = NodeId(1 + number % MEMBERS);
        let until = None;
        Item {
            policy: name,
            revision: put.revision,
            from,
            to,
            shares: Some([(node, to)].into()),
            seen: None,
            changes: vec![
                Change::Recommended {
                    replicas: to,
                    until,
                },
                Change::Resized { from, to },
            ],
            report: Some(report(from, to)),
        }
    }

    /// As it comes out of a snapshot: nothing of it is hashed yet.
    fn read_back(&self) -> Ledger {
        let ledger = &self.ledger;
        Ledger {
            members: summed::Map::from((*ledger.members).clone()),
            policies: summed::Map::from((*ledger.policies).clone()),
            workloads: summed::Map::from((*ledger.workloads).clone()),
            decisions: summed::Queue::from((*ledger.decisions).clone()),
            ..Ledger::default()
        }
    }
}

fn bench(c: &mut Criterion) {
    let mut cluster = Cluster::new();
    let mut group = c.benchmark_group("digest");
    group.sample_size(10);
    group.bench_function("of the whole ledger serialized", |b| {
        b.iter(|| {
            let bytes = postcard::to_allocvec(&cluster.ledger).unwrap_or_default();
            black_box(Sha256::digest(&bytes))
        });
    });
    let read_back = cluster.read_back();
    group.bench_function("after a snapshot", |b| {
        b.iter(|| black_box(read_back.digest()));
    });
    group.bench_function("16 commands with a checkpoint", |b| {
        b.iter(|| {
            for _ in 0..CHECKPOINT_EVERY {
                cluster.pass(1);
            }
        });
    });
    group.bench_function(
        "16 commands with a checkpoint, every workload changes",
        |b| {
            b.iter(|| {
                for _ in 0..CHECKPOINT_EVERY {
                    cluster.pass(POLICIES / CHECKPOINT_EVERY);
                }
            });
        },
    );
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
