//! The arithmetic from merged sums equals the arithmetic per replica, on random
//! clusters. The per-replica arithmetic here follows hpa.md rules 4 to 7 line by
//! line and shares nothing with the engine but the replicas.

use std::collections::BTreeMap;

use proptest::prelude::*;
use starling_engine::decide::metric::{self, Error, Scale};
use starling_engine::decide::ratio::Tolerance;
use starling_engine::demand::pick::{Of, Pick};
use starling_engine::demand::pods::{Group, Metric, Phase, Pod, Reading, Sums, group};
use starling_engine::policy::{Controller, Resource};
use starling_engine::unit::Ms;

const NOW: Ms = Ms(1_700_000_000_000);
const CPU: Pick<'static> = Pick {
    of: Of::Replica(Resource::Cpu),
    window_ms: None,
};

fn pod() -> impl Strategy<Value = Pod> {
    let phase = prop_oneof![
        8 => Just(Phase::Running),
        1 => Just(Phase::Pending),
        1 => Just(Phase::Failed),
        1 => Just(Phase::Succeeded),
    ];
    let sample = prop::option::weighted(0.8, (0_i64..4_000, 0_u64..90, 0_u64..60));
    let ready = prop::option::weighted(0.95, prop::bool::weighted(0.9));
    let started = prop::option::weighted(0.95, 0_u64..1_000);
    let request = prop::option::weighted(
        0.99,
        prop::sample::select(vec![100, 250, 999, 1_000, 1_333]),
    );
    (
        phase,
        prop::bool::weighted(0.05),
        ready,
        started,
        0_u64..1_000,
        sample,
        request,
    )
        .prop_map(
            |(phase, deleted, ready, started, changed, sample, request_milli)| {
                let ago = |s: u64| NOW.minus(s * 1_000);
                let cpu = Metric {
                    request_milli,
                    sample: sample.map(|(milli, age, window)| Reading {
                        milli,
                        at: ago(age),
                        window_ms: window * 1_000,
                    }),
                    ..Metric::default()
                };
                Pod {
                    phase,
                    deleted,
                    ready,
                    started_at: started.map(ago),
                    ready_changed_at: started.map(|s| ago(s.min(changed))),
                    metrics: [(Resource::Cpu, cpu)].into(),
                    ..Pod::default()
                }
            },
        )
}

fn groups(pods: &[Pod]) -> BTreeMap<u8, Vec<&Pod>> {
    let mut groups: BTreeMap<u8, Vec<&Pod>> = BTreeMap::new();
    for pod in pods {
        let key = match group(pod, CPU, &Controller::default(), NOW) {
            Group::Ready => 0,
            Group::Unready => 1,
            Group::Missing => 2,
            Group::Ignored => 3,
        };
        groups.entry(key).or_default().push(pod);
    }
    groups
}

fn cpu(pod: &Pod) -> Option<&Metric> {
    pod.metrics.get(&Resource::Cpu)
}

fn request(pod: &Pod) -> i64 {
    cpu(pod).and_then(|cpu| cpu.request_milli).unwrap_or(0)
}

/// The ratio over replicas that are given a usage each.
type Ratio<'a> = dyn Fn(&[(i64, &Pod)]) -> f64 + 'a;

/// Rules 6 and 7 with one entry for each replica.
fn per_pod(pods: &[Pod], scale: &Scale, ratio: &Ratio<'_>, full: &dyn Fn(&Pod) -> i64) -> u32 {
    let groups = groups(pods);
    let of = |key: u8| groups.get(&key).cloned().unwrap_or_default();
    let ready: Vec<(i64, &Pod)> = of(0)
        .into_iter()
        .map(|pod| {
            (
                cpu(pod).and_then(|cpu| cpu.sample).map_or(0, |s| s.milli),
                pod,
            )
        })
        .collect();
    let (unready, missing) = (of(1), of(2));
    let first = ratio(&ready);
    let near = |r: f64| 1.0 - scale.tolerance.down <= r && r <= 1.0 + scale.tolerance.up;
    let rebalance = !unready.is_empty() && first > 1.0;
    if missing.is_empty() && !rebalance {
        return if near(first) {
            scale.current
        } else {
            (first * ready.len() as f64).ceil() as u32
        };
    }
    let mut filled = ready;
    if first < 1.0 {
        filled.extend(missing.iter().map(|pod| (full(pod), *pod)));
    } else if first > 1.0 {
        filled.extend(missing.iter().map(|pod| (0, *pod)));
    }
    if rebalance {
        filled.extend(unready.iter().map(|pod| (0, *pod)));
    }
    let second = ratio(&filled);
    if near(second) || (first < 1.0 && second > 1.0) || (first > 1.0 && second < 1.0) {
        return scale.current;
    }
    let replicas = (second * filled.len() as f64).ceil() as u32;
    if (second < 1.0 && replicas > scale.current) || (second > 1.0 && replicas < scale.current) {
        return scale.current;
    }
    replicas
}

/// Each node sums its own, and the nodes' sums are merged in some order.
fn merged(pods: &[Pod], nodes: &[usize], reverse: bool) -> Sums {
    let mut parts: BTreeMap<usize, Vec<&Pod>> = BTreeMap::new();
    for (i, pod) in pods.iter().enumerate() {
        parts.entry(nodes[i % nodes.len()]).or_default().push(pod);
    }
    let sums = parts
        .values()
        .map(|pods| Sums::of(pods.iter().copied(), CPU, &Controller::default(), NOW));
    let mut sums: Vec<Sums> = sums.collect();
    if reverse {
        sums.reverse();
    }
    // Half of them first among themselves, as gossip may do.
    let mut second = Sums::default();
    for part in sums.split_off(sums.len() / 2) {
        second.merge(&part);
    }
    let mut first = Sums::default();
    for part in sums {
        first.merge(&part);
    }
    first.merge(&second);
    first
}

fn scale(current: u32, up: u32, down: u32) -> Scale {
    Scale {
        current,
        running: current,
        ready: Some(current),
        tolerance: Tolerance {
            up: f64::from(up) / 100.0,
            down: f64::from(down) / 100.0,
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn utilization_from_merged_sums_equals_utilization_per_replica(
        pods in prop::collection::vec(pod(), 0..60),
        nodes in prop::collection::vec(0_usize..9, 1..60),
        (target, current, up, down) in (1_i32..250, 0_u32..80, 0_u32..40, 0_u32..40),
    ) {
        let scale = scale(current, up, down);
        let got = metric::utilization(&merged(&pods, &nodes, false), target, &scale);
        let percent = |filled: &[(i64, &Pod)]| {
            let usage: i64 = filled.iter().map(|(milli, _)| milli).sum();
            let request: i64 = filled.iter().map(|(_, pod)| request(pod)).sum();
            f64::from((usage * 100 / request) as i32) / f64::from(target)
        };
        let full = |pod: &Pod| request(pod) * i64::from(target.max(100)) / 100;
        match got {
            Ok(proposal) => {
                prop_assert_eq!(proposal.replicas, per_pod(&pods, &scale, &percent, &full));
            }
            Err(Error::MissingRequest) => {
                prop_assert!(pods.iter().any(|p| cpu(p).is_none_or(|cpu| cpu.request_milli.is_none())));
            }
            Err(_) => {
                let counts = groups(&pods).contains_key(&0);
                prop_assert!(!counts, "an error although a replica counts: {got:?}");
            }
        }
    }

    #[test]
    fn means_from_merged_sums_equal_means_per_replica(
        pods in prop::collection::vec(pod(), 0..60),
        nodes in prop::collection::vec(0_usize..9, 1..60),
        (target, current, up, down) in (1_i64..3_000, 0_u32..80, 0_u32..40, 0_u32..40),
    ) {
        let scale = scale(current, up, down);
        let got = metric::average(&merged(&pods, &nodes, false), target, &scale);
        let mean = |filled: &[(i64, &Pod)]| {
            let usage: i64 = filled.iter().map(|(milli, _)| milli).sum();
            (usage / filled.len() as i64) as f64 / target as f64
        };
        match got {
            Ok(proposal) => {
                prop_assert_eq!(proposal.replicas, per_pod(&pods, &scale, &mean, &|_| target));
            }
            Err(_) => prop_assert!(!groups(&pods).contains_key(&0)),
        }
    }

    #[test]
    fn the_order_of_merging_doesn_t_matter(
        pods in prop::collection::vec(pod(), 0..60),
        nodes in prop::collection::vec(0_usize..9, 1..60),
    ) {
        let sums = merged(&pods, &nodes, false);
        prop_assert_eq!(&sums, &merged(&pods, &nodes, true));
        prop_assert_eq!(&sums, &Sums::of(&pods, CPU, &Controller::default(), NOW));
    }
}
