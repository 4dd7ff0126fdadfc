//! A leader with 5,000 workloads whose size a platform carries out, of 30,000 pods on
//! 3,000 members, as production runs it: through [`Node::step`], from summaries,
//! observations and answers to a plan. Measures one tick with a pass (budget: 50 ms on
//! one core), one between two passes, and all observations as they come at the start.
//! The caches are emptied before each, as other work empties them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use starling_engine::demand::pods::{Metric, Pod, Reading};
use starling_engine::demand::{Sample, Summary};
use starling_engine::ledger::{Admitted, Command, Entry, Ledger, Member};
use starling_engine::node::platform::{Observation, Scale};
use starling_engine::node::{Answer, Input, Node, Output};
use starling_engine::policy::{Goal, Policy, Resource, Source, Target, Trigger};
use starling_engine::unit::{Ms, NodeId};

const START: Ms = Ms(1_700_000_000_000);
const POLICIES: u32 = 5_000;
const MEMBERS: u32 = 3_000;
/// Pods of each workload.
const PODS: u32 = 6;
/// Seconds in which all workloads are adopted and nothing is left to plan.
const SETTLE_S: u32 = 30;
/// More than the caches that one core can count on.
const FOREIGN_BYTES: usize = 256 << 20;
/// One write in each line of a cache empties it.
const LINE_BYTES: usize = 64;

struct Cluster {
    node: Node,
    ledger: Ledger,
    now: Ms,
    /// What each member runs.
    samples: Vec<(NodeId, Sample)>,
}

fn target(number: u32) -> Target {
    Target {
        group: "apps".into(),
        kind: "Deployment".into(),
        namespace: format!("team-{}", number % 50),
        name: format!("workload-{number}"),
    }
}

fn policy(number: u32) -> Policy {
    let target = target(number);
    let trigger = |name: &str, source, goal| Trigger {
        name: name.into(),
        source,
        goal,
        activation_milli: 0,
        window_ms: None,
    };
    let queue = Source::External {
        kind: "metrics-api".into(),
        metadata: BTreeMap::new(),
    };
    Policy {
        name: format!("{}/{}", target.namespace, target.name)
            .as_str()
            .into(),
        target,
        target_version: "v1".into(),
        replicas_min: 1,
        replicas_max: 20,
        triggers: vec![
            trigger(
                "cpu",
                Source::Resource(Resource::Cpu),
                Goal::Utilization { percent: 60 },
            ),
            trigger("queue", queue, Goal::AverageValue { milli: 10_000 }),
        ],
        ..Policy::default()
    }
}

/// Uses what it should, nearly, so that no size changes for good.
fn pod(number: u32) -> Pod {
    Pod {
        ready: Some(true),
        started_at: Some(START.minus(3_600_000)),
        ready_changed_at: Some(START.minus(3_500_000)),
        metrics: [(
            Resource::Cpu,
            Metric {
                request_milli: Some(1_000),
                sample: Some(Reading {
                    milli: i64::from(580 + number % 40),
                    at: START,
                    window_ms: 1_000,
                }),
                ..Metric::default()
            },
        )]
        .into(),
        ..Pod::default()
    }
}

fn observed(number: u32) -> Input {
    let scale = Scale {
        uid: format!("uid-{number}"),
        resource_version: "1".into(),
        replicas: PODS,
        running: PODS,
        selector: format!("app=workload-{number}"),
        ..Scale::default()
    };
    Input::Observed {
        target: target(number),
        observation: Observation::Scale(scale),
    }
}

impl Cluster {
    /// Every policy is in force and every member known; nothing has been seen.
    fn new() -> Cluster {
        let mut ledger = Ledger::default();
        for number in 1..=MEMBERS {
            let member = Member {
                name: format!("node-{number}"),
                ..Member::default()
            };
            let nonce = format!("nonce-{number}");
            let id = NodeId(u64::from(number));
            let admitted = Admitted {
                nonce,
                member,
                away_since: None,
            };
            ledger.members.insert(id, admitted);
        }
        let mut pods: BTreeMap<NodeId, Sample> = BTreeMap::new();
        for number in 0..POLICIES {
            for i in 0..PODS {
                let id = NodeId(u64::from(1 + (number * PODS + i) % MEMBERS));
                let sample = pods.entry(id).or_default();
                let here = sample.workloads.entry(target(number)).or_default();
                here.push(pod(number + i));
            }
        }
        let mut cluster = Cluster {
            node: Node::new(NodeId(1)),
            ledger,
            now: START,
            samples: pods.into_iter().collect(),
        };
        for number in 0..POLICIES {
            let policy = policy(number);
            let source = "bench".into();
            cluster.commit(Command::PutPolicy { policy, source });
        }
        cluster.step(Input::Platform(true));
        let all = (1..=MEMBERS).map(|id| NodeId(u64::from(id))).collect();
        cluster.step(Input::Alive(all));
        cluster.step(Input::Leads(Some(1)));
        cluster
    }

    /// Everything has been seen, adopted and decided on, and rests.
    fn settled() -> Cluster {
        let mut cluster = Cluster::new();
        for number in 0..POLICIES {
            cluster.step(observed(number));
        }
        for _ in 0..SETTLE_S {
            cluster.pass_time(1_000);
            cluster.hear();
            cluster.step(Input::Tick);
        }
        let decisions = cluster.node.decisions().map_or(0, |all| all.len());
        assert_eq!(decisions, POLICIES as usize);
        let adopted = cluster.ledger.workloads.values();
        assert!(adopted.into_iter().all(|it| it.size == PODS));
        cluster
    }

    fn commit(&mut self, command: Command) {
        let index = self.ledger.index + 1;
        let entry = Entry {
            at: self.now,
            command,
        };
        let outcome = self.ledger.apply(index, &entry);
        assert_eq!(outcome.refused, []);
    }

    fn pass_time(&mut self, ms: u64) {
        self.now = self.now.plus(ms);
    }

    /// A second's gossip.
    fn hear(&mut self) {
        let part = self.ledger.part(NodeId(1));
        let summaries = self
            .samples
            .iter()
            .map(|(id, sample)| Summary::of(*id, self.now.0, self.now, sample, None, &part));
        let summaries: Vec<Summary> = summaries.collect();
        for summary in summaries {
            self.step(Input::Heard(summary));
        }
        let own = self.samples[0].1.clone();
        self.step(Input::Sampled(own));
    }

    fn step(&mut self, input: Input) {
        let outputs = self.node.step(self.now, input, &self.ledger);
        self.carry_out(outputs);
    }

    /// Every proposal is granted, and every queue answers what is wanted.
    fn carry_out(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Propose(command) => {
                    self.commit(command);
                    self.step(Input::Proposed);
                }
                Output::Poll {
                    policy, trigger, ..
                } => {
                    let answer = Answer::value(i64::from(PODS) * 10_000);
                    let (trigger, result) = (trigger.name, Ok(answer));
                    self.step(Input::Polled {
                        policy,
                        trigger,
                        age_ms: 0,
                        result,
                    });
                }
                Output::Patch(patch) => panic!("it rests: {patch:?}"),
                Output::Publish(_) => {}
                Output::Halt(why) => panic!("{why}"),
            }
        }
    }
}

fn bench(criterion: &mut Criterion) {
    let mut foreign = vec![0_u8; FOREIGN_BYTES];
    let mut cool = || {
        for byte in foreign.iter_mut().step_by(LINE_BYTES) {
            *byte = black_box(*byte).wrapping_add(1);
        }
    };
    let mut group = criterion.benchmark_group("scaled");
    group.sample_size(20);
    let cluster = RefCell::new((Cluster::settled(), Vec::new()));
    for (name, ms) in [("pass", 1_000), ("tick", 200)] {
        group.bench_function(name, |bencher| {
            let prepare = || {
                let (cluster, outputs) = &mut *cluster.borrow_mut();
                cluster.carry_out(std::mem::take(outputs));
                if ms < 1_000 {
                    // The pass that is due is made before.
                    cluster.pass_time(1_000);
                    cluster.hear();
                    cluster.step(Input::Tick);
                }
                cluster.pass_time(ms);
                if ms == 1_000 {
                    cluster.hear();
                }
                cool();
            };
            let tick = |()| {
                let (cluster, outputs) = &mut *black_box(&cluster).borrow_mut();
                *outputs = cluster.node.step(cluster.now, Input::Tick, &cluster.ledger);
            };
            bencher.iter_batched(prepare, tick, BatchSize::PerIteration);
        });
    }
    group.bench_function("start", |bencher| {
        let prepare = || {
            let observed: Vec<Input> = (0..POLICIES).map(observed).collect();
            cool();
            observed
        };
        let observe = |observed: Vec<Input>| {
            let (cluster, _) = &mut *black_box(&cluster).borrow_mut();
            for input in observed {
                cluster.step(input);
            }
        };
        bencher.iter_batched(prepare, observe, BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
