//! A leader's pass over all policies: 5,000 with 30,000 replicas, and up to ten
//! times as many, to see that the cost grows linearly. Budget: 50 ms for the
//! first on one core. The caches are emptied before each pass, as other work
//! empties them in the second between two passes; with them warm the smallest
//! size alone would fit, and the growth would be the machine's.

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use starling_engine::decide::{Decision, Inputs, Reading, decide};
use starling_engine::demand::pods::{Metric, Pick, Pod, Reading as Sample, Sums};
use starling_engine::history::History;
use starling_engine::policy::{
    Behavior, Controller, Fallback, FallbackBehavior, Goal, Policy, Resource, Source, Target,
    Trigger,
};
use starling_engine::unit::Ms;

const START: Ms = Ms(1_700_000_000_000);
/// Replicas of each policy.
const REPLICAS: u32 = 6;
/// More than the caches that one core can count on.
const FOREIGN_BYTES: usize = 256 << 20;
/// One write in each line of a cache empties it.
const LINE_BYTES: usize = 64;

struct Workload {
    policy: Policy,
    history: History,
    pods: Vec<Pod>,
    queue_milli: i64,
}

fn workload(number: u32) -> Workload {
    let triggers = vec![
        Trigger {
            name: "cpu".into(),
            source: Source::Resource(Resource::Cpu),
            goal: Goal::Utilization { percent: 60 },
            activation_milli: 0,
        },
        Trigger {
            name: "queue".into(),
            source: Source::External {
                kind: "metrics-api".into(),
                metadata: BTreeMap::new(),
            },
            goal: Goal::AverageValue { milli: 10_000 },
            activation_milli: 0,
        },
    ];
    let policy = Policy {
        name: format!("workload-{number}"),
        target: Target {
            kind: "Process".into(),
            name: format!("workload-{number}"),
        },
        replicas_min: 1,
        triggers,
        behavior: number.is_multiple_of(2).then(Behavior::default),
        fallback: number.is_multiple_of(3).then_some(Fallback {
            failure_threshold: 3,
            replicas: 5,
            behavior: FallbackBehavior::Static,
        }),
        ..Policy::default()
    };
    let pod = |i: u32| Pod {
        ready: Some(true),
        started_at: Some(START.minus(3_600_000)),
        ready_changed_at: Some(START.minus(3_500_000)),
        cpu: Metric {
            request_milli: Some(1_000),
            sample: (!(number + i).is_multiple_of(20)).then_some(Sample {
                milli: i64::from((number * 7 + i * 13) % 1_100),
                at: START,
                window_ms: 1_000,
            }),
        },
        ..Pod::default()
    };
    Workload {
        policy,
        history: History::default(),
        pods: (0..REPLICAS).map(pod).collect(),
        queue_milli: i64::from(number % 100) * 1_000,
    }
}

/// What a leader does each second: sums from the replicas, then a decision that
/// takes the place of the last one.
fn pass(workloads: &[Workload], now: Ms, live: &mut Vec<Decision>) {
    let pick = Pick::Resource(Resource::Cpu);
    for (i, workload) in workloads.iter().enumerate() {
        let sums = Sums::of(&workload.pods, pick, &Controller::default(), now);
        let decision = decide(&Inputs {
            policy: &workload.policy,
            now,
            created_at: START,
            current: REPLICAS,
            running: REPLICAS,
            ready: Some(REPLICAS),
            last_pass: Some(now.minus(1_000)),
            readings: vec![
                Reading::Pods(sums),
                Reading::Value {
                    milli: workload.queue_milli,
                    at: now,
                },
            ],
            signal: None,
            started_ms: &[],
            history: &workload.history,
        });
        match live.get_mut(i) {
            Some(last) => *last = decision,
            None => live.push(decision),
        }
    }
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pass");
    group.sample_size(20);
    let mut foreign = vec![0_u8; FOREIGN_BYTES];
    for policies in [5_000_u32, 10_000, 25_000, 50_000] {
        let mut workloads: Vec<Workload> = (0..policies).map(workload).collect();
        // One pass that counts, so that every history holds something.
        let mut live = Vec::new();
        pass(&workloads, START, &mut live);
        for (workload, decision) in workloads.iter_mut().zip(&live) {
            for change in &decision.changes {
                workload.history.apply(change, START, &workload.policy);
            }
        }
        let now = START.plus(1_000);
        group.bench_with_input(
            BenchmarkId::from_parameter(policies),
            &workloads,
            |bencher, workloads| {
                let others_work = || {
                    for byte in foreign.iter_mut().step_by(LINE_BYTES) {
                        *byte = black_box(*byte).wrapping_add(1);
                    }
                };
                let pass = |()| pass(black_box(workloads), now, &mut live);
                bencher.iter_batched(others_work, pass, BatchSize::PerIteration);
            },
        );
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
