//! The engine's part of an agent on a full node: 110 pods of two containers, measured
//! once a second, under a policy that looks at five of their metrics, one of them over a
//! minute. Measures one second's sample, from readings to the summary that is told. The
//! caches are emptied before each, as other work empties them.

use std::cell::RefCell;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use starling_engine::demand::pods::{Metric, Metrics, Pod, Reading};
use starling_engine::demand::{self, Sample, Totals};
use starling_engine::ledger::{Command, Entry, Ledger};
use starling_engine::node::{Input, Node, Output};
use starling_engine::policy::{Goal, Policy, Resource, Source, Target, Trigger};
use starling_engine::unit::{Ms, NodeId};

const START: Ms = Ms(1_700_000_000_000);
const PODS: u64 = 110;
const CONTAINERS: [&str; 2] = ["app", "proxy"];
/// All readings that are kept are there, and the oldest go.
const SETTLE_S: u64 = 130;
/// More than the caches that one core can count on.
const FOREIGN_BYTES: usize = 256 << 20;
/// One write in each line of a cache empties it.
const LINE_BYTES: usize = 64;

struct Agent {
    node: Node,
    ledger: Ledger,
    second: u64,
}

impl Agent {
    /// It follows: another one leads.
    fn settled() -> Agent {
        let mut agent = Agent {
            node: Node::new(NodeId(1)),
            ledger: Ledger::default(),
            second: 0,
        };
        let command = Command::PutPolicy {
            policy: policy(),
            source: "bench".into(),
        };
        let entry = Entry { at: START, command };
        let outcome = agent.ledger.apply(1, &entry);
        assert_eq!(outcome.refused, []);
        for _ in 0..SETTLE_S {
            let sample = agent.next();
            agent.step(sample);
        }
        agent
    }

    fn next(&mut self) -> Sample {
        self.second += 1;
        sample(self.second)
    }

    fn step(&mut self, sample: Sample) -> Vec<Output> {
        let now = START.plus(self.second * 1_000);
        let input = Input::Sampled(sample);
        self.node.step(now, input, &self.ledger)
    }
}

fn target() -> Target {
    Target {
        group: "apps".into(),
        kind: "Deployment".into(),
        namespace: "shop".into(),
        name: "web".into(),
    }
}

fn policy() -> Policy {
    let trigger = |resource: Resource, window_ms| Trigger {
        name: resource.name().into(),
        source: Source::Resource(resource),
        goal: Goal::AverageValue { milli: 1_000_000 },
        activation_milli: 0,
        window_ms,
    };
    Policy {
        name: "shop/web".into(),
        target: target(),
        target_version: "v1".into(),
        replicas_min: 1,
        replicas_max: 200,
        triggers: vec![
            trigger(Resource::Cpu, None),
            trigger(Resource::Memory, None),
            trigger(Resource::Disk, None),
            trigger(Resource::Network, None),
            trigger(Resource::Throttling, Some(60_000)),
        ],
        ..Policy::default()
    }
}

/// All that cgroups tell, as agents have it of each pod.
fn sample(second: u64) -> Sample {
    let pod = |number: u64| Pod {
        id: format!("5e4c0d1e-0000-4000-8000-{number:012}"),
        ready: Some(true),
        started_at: Some(START.minus(3_600_000)),
        ready_changed_at: Some(START.minus(3_500_000)),
        metrics: read(second, number, true),
        containers: (CONTAINERS.iter())
            .map(|name| ((*name).to_owned(), read(second, number, false)))
            .collect(),
        ..Pod::default()
    };
    let mut totals = Totals::default();
    for name in [demand::CPU, demand::MEMORY, demand::PSI_CPU] {
        totals.set(name, second, Some(1_000_000));
    }
    Sample {
        totals,
        workloads: [(target(), (0..PODS).map(pod).collect())].into(),
        ..Sample::default()
    }
}

fn read(second: u64, number: u64, whole: bool) -> Metrics {
    let mut resources = vec![
        Resource::Cpu,
        Resource::Memory,
        Resource::Disk,
        Resource::PsiCpu,
        Resource::PsiMemory,
        Resource::PsiIo,
        Resource::Throttling,
    ];
    resources.extend(whole.then_some(Resource::Network));
    let metric = |resource: Resource| Metric {
        request_milli: Some(100_000),
        sample: Some(Reading {
            milli: ((second * 7_919 + number * 104_729) % 1_000) as i64,
            at: START.plus(second * 1_000),
            window_ms: if resource == Resource::Memory {
                0
            } else {
                1_000
            },
        }),
        ..Metric::default()
    };
    let metrics = resources.into_iter().map(|it| (it, metric(it)));
    metrics.collect()
}

fn bench(criterion: &mut Criterion) {
    let mut foreign = vec![0_u8; FOREIGN_BYTES];
    let mut cool = || {
        for byte in foreign.iter_mut().step_by(LINE_BYTES) {
            *byte = black_box(*byte).wrapping_add(1);
        }
    };
    let mut group = criterion.benchmark_group("full_node");
    group.sample_size(50);
    let agent = RefCell::new(Agent::settled());
    group.bench_function("sample", |bencher| {
        let prepare = || {
            let sample = agent.borrow_mut().next();
            cool();
            sample
        };
        let step = |sample| agent.borrow_mut().step(black_box(sample));
        bencher.iter_batched(prepare, step, BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
