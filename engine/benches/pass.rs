//! A leader's pass over all policies: 5,000 with 30,000 replicas, and up to ten
//! times as many, to see that the cost grows linearly; once under strategy
//! `target` and once under `objective` with minutes of arrivals behind it and
//! all that it has learned from them. Budget: 50 ms for the smallest on one
//! core. The caches are emptied before each pass, as other work empties them in
//! the second between two passes; with them warm the smallest size alone would
//! fit, and the growth would be the machine's.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use starling_engine::decide::objective::reason::Reason;
use starling_engine::decide::objective::signal::SECONDS_MAX;
use starling_engine::decide::reason::Step;
use starling_engine::decide::{Decision, Inputs, Platform, Reading, decide};
use starling_engine::demand::pick::Pick;
use starling_engine::demand::pods::{Metric, Pod, Reading as Sample, Sums};
use starling_engine::history::{Change, History};
use starling_engine::node::watch::{Look, Watch};
use starling_engine::policy::{
    Behavior, Controller, Fallback, FallbackBehavior, Goal, Objective, Policy, Resource, Source,
    Strategy, Target, Trigger,
};
use starling_engine::unit::Ms;

const START: Ms = Ms(1_700_000_000_000);
/// Replicas of each policy.
const REPLICAS: u32 = 6;
/// More than the caches that one core can count on.
const FOREIGN_BYTES: usize = 256 << 20;
/// One write in each line of a cache empties it.
const LINE_BYTES: usize = 64;
/// Of the seconds before the first pass that counts, one in so many is decided
/// on, which is often enough to learn from each.
const LEARN_EVERY: u64 = 16;

/// When each workload was granted its replicas and when they ran, so that their
/// start-up time was learned.
const GRANTED_MS: u64 = 20_000;
const RUNNING_MS: u64 = 45_000;

struct Workload {
    number: u32,
    policy: Policy,
    history: History,
    pods: Vec<Pod>,
    watch: Watch,
}

fn external(name: &str) -> Trigger {
    Trigger {
        name: name.into(),
        source: Source::External {
            kind: "metrics-api".into(),
            metadata: BTreeMap::new(),
        },
        goal: Goal::AverageValue { milli: 10_000 },
        activation_milli: 0,
        window_ms: None,
    }
}

fn objective() -> Strategy {
    Strategy::Objective(Box::new(Objective {
        wait_ms: 250,
        miss_ppm: 30_000,
        // Measured all the same, but where a replica lacks a sample.
        service_ms: Some(50),
        slots: Some(4),
        arrivals: Some("arrivals".into()),
        in_system: Some("queue".into()),
    }))
}

fn workload(number: u32, strategy: &Strategy) -> Workload {
    let mut triggers = vec![
        Trigger {
            name: "cpu".into(),
            source: Source::Resource(Resource::Cpu),
            goal: Goal::Utilization { percent: 60 },
            activation_milli: 0,
            window_ms: None,
        },
        external("queue"),
    ];
    if let Strategy::Objective(_) = strategy {
        triggers.push(external("arrivals"));
    }
    let policy = Policy {
        strategy: strategy.clone(),
        name: format!("workload-{number}").as_str().into(),
        target: Target::process(format!("workload-{number}")),
        replicas_min: 1,
        triggers,
        behavior: number.is_multiple_of(2).then(Behavior::default),
        fallback: number.is_multiple_of(3).then_some(Fallback {
            failure_threshold: 3,
            replicas: 5,
            behavior: FallbackBehavior::Static,
            recovery_threshold: None,
        }),
        ..Policy::default()
    };
    let pod = |i: u32| Pod {
        ready: Some(true),
        started_at: Some(START.minus(3_600_000)),
        ready_changed_at: Some(START.minus(3_500_000)),
        metrics: [(
            Resource::Cpu,
            Metric {
                request_milli: Some(1_000),
                sample: (!(number + i).is_multiple_of(20)).then_some(Sample {
                    milli: i64::from((number * 7 + i * 13) % 1_100),
                    at: START,
                    window_ms: 1_000,
                }),
                ..Metric::default()
            },
        )]
        .into(),
        ..Pod::default()
    };
    Workload {
        number,
        policy,
        history: History::default(),
        pods: (0..REPLICAS).map(pod).collect(),
        watch: Watch::new(1),
    }
}

impl Workload {
    /// Work that waits or is done now, and work that arrives in a second: up to
    /// what the replicas can do, and different in each second.
    fn readings(&self, now: Ms) -> (Reading, Reading) {
        let noise = (now.0 / 1_000).wrapping_mul(u64::from(self.number) | 1) >> 3;
        let noise = i64::try_from(noise % 30).unwrap_or(0);
        let level = i64::from(self.number % 100);
        let value = |milli| Reading::value(milli, now);
        (
            value(level * 100 + noise * 50),
            value(level * 2_000 + noise * 1_000),
        )
    }

    /// What a leader does each second: looks, forms sums from the replicas, and
    /// decides.
    fn decide(&mut self, now: Ms) -> Decision {
        let sums = self.look(now);
        let (queue, arrivals) = self.readings(now);
        let decision = decide(Inputs {
            policy: &self.policy,
            now,
            created_at: START,
            current: REPLICAS,
            running: REPLICAS,
            ready: Some(REPLICAS),
            last_pass: Some(now.minus(1_000)),
            readings: vec![Reading::Pods(sums), queue, arrivals],
            signal: self.watch.signal(),
            started_ms: self.watch.started_ms(),
            history: &self.history,
            platform: Platform::default(),
        });
        self.watch.forget_started();
        decision
    }

    fn look(&mut self, now: Ms) -> Sums {
        let pick = Pick::replica(Resource::Cpu);
        let sums = Sums::of(&self.pods, pick, &Controller::default(), now);
        let (in_system, arrivals) = self.readings(now);
        if let Strategy::Objective(objective) = &self.policy.strategy {
            let watched_ms = now.since(START);
            let grown = |after_ms| if watched_ms < after_ms { 1 } else { REPLICAS };
            let look = Look {
                arrivals: &arrivals,
                in_system: &in_system,
                cpu: &sums,
                size: grown(GRANTED_MS),
                resized_at: None,
                running: Some(grown(RUNNING_MS)),
            };
            self.watch.look(objective, &look, now);
        }
        sums
    }

    /// What the ledger does with a decision, but for the size, which stays.
    fn commit(&mut self, decision: &Decision, now: Ms) {
        for change in &decision.changes {
            if !matches!(change, Change::Resized { .. }) {
                self.history.apply(change, now, &self.policy);
            }
        }
    }
}

/// A leader's workloads and what it last decided on each.
struct Leader {
    workloads: Vec<Workload>,
    live: Vec<Decision>,
    now: Ms,
}

impl Leader {
    /// Has watched for as long as it remembers, and learned from it.
    fn new(policies: u32, strategy: &Strategy) -> Leader {
        let mut leader = Leader {
            workloads: (0..policies).map(|n| workload(n, strategy)).collect(),
            live: Vec::new(),
            now: START,
        };
        for second in 0..SECONDS_MAX as u64 {
            leader.now = START.plus(second * 1_000);
            if second.is_multiple_of(LEARN_EVERY) {
                leader.pass();
                leader.commit();
            } else {
                for workload in &mut leader.workloads {
                    workload.look(leader.now);
                }
            }
        }
        if let Strategy::Objective(_) = strategy {
            leader.assert_learned();
        }
        leader
    }

    /// Each size is the strategy's own, and most rest on measured work.
    fn assert_learned(&self) {
        let staffed = |decision: &Decision| {
            let mut steps = decision.report.steps.iter();
            steps.any(|step| matches!(step, Step::Objective(Reason::Staffed { .. })))
        };
        assert!(self.live.iter().all(staffed));
        let learned = self.workloads.iter().filter(|workload| {
            let learned = workload.history.objective.as_ref();
            learned.is_some_and(|l| l.service.is_some() && !l.starts_ms.is_empty())
        });
        assert!(learned.count() * 2 > self.workloads.len());
    }

    /// Decides on each; a decision takes the place of the last one.
    fn pass(&mut self) {
        for (i, workload) in self.workloads.iter_mut().enumerate() {
            let decision = workload.decide(self.now);
            match self.live.get_mut(i) {
                Some(last) => *last = decision,
                None => self.live.push(decision),
            }
        }
    }

    fn commit(&mut self) {
        for (workload, decision) in self.workloads.iter_mut().zip(&self.live) {
            workload.commit(decision, self.now);
        }
    }
}

fn bench(criterion: &mut Criterion) {
    let mut foreign = vec![0_u8; FOREIGN_BYTES];
    for (name, strategy) in [("pass", Strategy::Target), ("objective", objective())] {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(20);
        for policies in [5_000_u32, 10_000, 25_000, 50_000] {
            let id = BenchmarkId::from_parameter(policies);
            let leader = RefCell::new(Leader::new(policies, &strategy));
            group.bench_with_input(id, &leader, |bencher, leader| {
                let a_second_passes = || {
                    let leader = &mut *leader.borrow_mut();
                    leader.commit();
                    leader.now = leader.now.plus(1_000);
                    for byte in foreign.iter_mut().step_by(LINE_BYTES) {
                        *byte = black_box(*byte).wrapping_add(1);
                    }
                };
                let pass = |()| black_box(leader).borrow_mut().pass();
                bencher.iter_batched(a_second_passes, pass, BatchSize::PerIteration);
            });
        }
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
