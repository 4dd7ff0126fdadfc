//! What is kept, what is told and in which order, at which size and age.

use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use rand::seq::{IteratorRandom as _, SliceRandom as _};
use starling_engine::demand::pods::Sums;
use starling_engine::demand::{Measure, Usage, WORKLOADS_MAX};
use starling_engine::ledger::Checkpoint;
use starling_engine::policy::Target;

use super::super::outgoing;
use super::*;

const CLOCK: Ms = Ms(1_000_000_000);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A summary with so many workloads, sampled at [`CLOCK`].
fn summary(node: u64, sequence: u64, workloads: usize) -> Summary {
    let sums = Sums {
        pods: 3,
        samples: 3,
        ready: 3,
        ready_usage_milli: 1_234_567,
        ready_newest_milli: 1_250_000,
        ready_noise: 9_000_000,
        ready_request_milli: 3_000_000,
        oldest: Some(CLOCK.minus(900)),
        ..Sums::default()
    };
    // A gauge has no noise.
    let gauge = Sums {
        ready_newest_milli: sums.ready_usage_milli,
        ready_noise: 0,
        ..sums.clone()
    };
    let measure = |sums: &Sums, request| Measure {
        used_milli: 1_234_567,
        sums: sums.clone(),
        request_milli: Some(request),
    };
    let usage = Usage {
        running: 3,
        ready: 3,
        metrics: [
            ("cpu".into(), measure(&sums, 1_000_000)),
            ("memory".into(), measure(&gauge, 64 << 30)),
        ]
        .into(),
        ..Usage::default()
    };
    let target = |n| Target::process(format!("workload-number-{n:04}"));
    Summary {
        node: NodeId(node),
        sequence,
        at: CLOCK,
        workloads: (0..workloads).map(|n| (target(n), usage.clone())).collect(),
        checkpoint: Some(Checkpoint {
            index: 123_456,
            digest: [7; 16],
        }),
        ..Summary::default()
    }
}

/// Hands all of `samples` over; what was news.
fn hand_over(to: &mut Samples, samples: Vec<Vec<wire::Sample>>, now: Instant) -> Vec<Summary> {
    let mut news = Vec::new();
    for sample in samples.into_iter().flatten() {
        match to.take(sample, now, CLOCK) {
            Taken::Newer(summary) => news.push(summary),
            Taken::Nothing => {}
            other => panic!("{other:?}"),
        }
    }
    news
}

#[test]
fn an_age_grows_by_the_time_that_each_holder_held_it() {
    let start = Instant::now();
    let [mut a, mut b, mut c] = [1, 2, 3].map(|node| Samples::new(NodeId(node)));
    a.publish(&summary(1, 1, 1), start, CLOCK.plus(30));
    let news = hand_over(&mut b, a.fill(NodeId(2), start + ms(200)), start + ms(200));
    assert_eq!(news[0].at, CLOCK.minus(230));
    let later = start + ms(500);
    let news = hand_over(&mut c, b.fill(NodeId(3), later), later);
    assert_eq!(news[0].at, CLOCK.minus(530));
    let oldest = news[0].workloads.values().next().unwrap().metrics["cpu"]
        .sums
        .oldest;
    assert_eq!(
        oldest,
        Some(CLOCK.minus(530 + 900)),
        "samples age with their summary"
    );
}

#[test]
fn only_a_higher_sequence_replaces() {
    let now = Instant::now();
    let mut to = Samples::new(NodeId(2));
    let mut tell = |sequence, workloads| {
        let mut from = Samples::new(NodeId(1));
        from.publish(&summary(1, sequence, workloads), now, CLOCK);
        hand_over(&mut to, from.fill(NodeId(2), now), now).len()
    };
    assert_eq!(
        [tell(5, 1), tell(5, 2), tell(4, 2), tell(6, 1)],
        [1, 0, 0, 1]
    );
}

#[test]
fn a_node_hears_nothing_about_itself() {
    let now = Instant::now();
    let [mut a, mut b] = [1, 2].map(|node| Samples::new(NodeId(node)));
    a.publish(&summary(1, 1, 1), now, CLOCK);
    hand_over(&mut b, a.fill(NodeId(2), now), now);
    assert!(
        b.fill(NodeId(1), now).is_empty(),
        "told a node its own summary"
    );
    let forged = wire::Sample {
        node: 1,
        sequence: 99,
        ..wire::Sample::default()
    };
    assert_eq!(a.take(forged, now, CLOCK), Taken::Nothing);
}

#[test]
fn what_is_too_old_is_neither_told_nor_believed_nor_kept() {
    let start = Instant::now();
    let [mut a, mut b] = [1, 2].map(|node| Samples::new(NodeId(node)));
    a.publish(&summary(1, 1, 1), start, CLOCK);
    let told = a.fill(NodeId(2), start + AGE_MAX);
    assert_eq!(told.len(), 1);
    let stale = wire::Sample {
        age_ms: AGE_MAX.as_millis() as u64 + 1,
        ..told[0][0].clone()
    };
    assert_eq!(b.take(stale, start, CLOCK), Taken::Nothing);
    assert!(a.fill(NodeId(2), start + AGE_MAX + ms(1)).is_empty());
    a.expire(start + AGE_MAX);
    assert_eq!(a.held.len(), 1);
    a.expire(start + AGE_MAX + ms(1));
    assert!(a.held.is_empty());
}

#[test]
fn a_large_summary_arrives_from_parts_in_any_order_and_from_several_nodes() {
    let now = Instant::now();
    let large = summary(1, 9, WORKLOADS_MAX);
    let [mut a, mut b, mut c] = [1, 2, 3].map(|node| Samples::new(NodeId(node)));
    a.publish(&large, now, CLOCK);
    let told = a.fill(NodeId(2), now);
    assert!(told.len() > 1, "fits one datagram");
    assert_eq!(hand_over(&mut b, told, now), std::slice::from_ref(&large));

    let mut first = a.fill(NodeId(3), now).concat();
    let second = b.fill(NodeId(3), now + ms(100)).concat();
    assert_eq!(first.len(), second.len());
    let half = first.len() / 2;
    first.truncate(half);
    first.reverse();
    assert!(
        hand_over(&mut c, vec![first], now).is_empty(),
        "made of half the parts"
    );
    let news = hand_over(&mut c, vec![second], now + ms(100));
    assert_eq!(news.len(), 1);
    assert_eq!(news[0].at, CLOCK.minus(100), "younger than its oldest part");
    assert_eq!(news[0].workloads.len(), large.workloads.len());
    assert!(c.assemblies.is_empty());
}

#[test]
fn a_newer_summary_replaces_the_parts_of_an_older_one() {
    let now = Instant::now();
    let parts = |sequence| {
        let mut from = Samples::new(NodeId(1));
        from.publish(&summary(1, sequence, WORKLOADS_MAX), now, CLOCK);
        from.fill(NodeId(2), now).concat()
    };
    let (old, new) = (parts(1), parts(2));
    let mut to = Samples::new(NodeId(2));
    assert!(hand_over(&mut to, vec![old[..1].to_vec(), new[1..].to_vec()], now).is_empty());
    assert!(
        hand_over(&mut to, vec![old], now).is_empty(),
        "went back to the old one"
    );
    assert_eq!(hand_over(&mut to, vec![new[..1].to_vec()], now).len(), 1);
}

#[test]
fn malformed_samples_are_told_apart() {
    let (now, mut to) = (Instant::now(), Samples::new(NodeId(2)));
    let sample = wire::Sample {
        node: 1,
        sequence: 1,
        part: 0,
        parts: 2,
        summary: vec![0; PART_BYTES],
        ..wire::Sample::default()
    };
    let malformed = [
        wire::Sample {
            node: 0,
            ..sample.clone()
        },
        wire::Sample {
            part: 2,
            ..sample.clone()
        },
        wire::Sample {
            parts: PARTS_MAX as u32 + 1,
            ..sample.clone()
        },
        wire::Sample {
            parts: u32::MAX,
            part: u32::MAX,
            ..sample.clone()
        },
        wire::Sample {
            summary: vec![0; 10],
            ..sample.clone()
        },
        wire::Sample {
            summary: vec![0; PART_BYTES + 1],
            ..sample.clone()
        },
        wire::Sample {
            parts: 0,
            summary: vec![0xff],
            ..sample
        },
    ];
    for sample in malformed {
        let shown = format!(
            "{:?}",
            (sample.node, sample.part, sample.parts, sample.summary.len())
        );
        assert_eq!(to.take(sample, now, CLOCK), Taken::Malformed, "{shown}");
    }
    assert!(to.held.is_empty());
}

#[test]
fn tables_stay_within_their_bounds() {
    let (now, mut to) = (Instant::now(), Samples::new(NodeId(1)));
    let whole = |node| wire::Sample {
        node,
        sequence: 1,
        summary: summary::encode(&Summary::default()).bytes,
        ..wire::Sample::default()
    };
    for node in 2..2 + NODES_MAX as u64 {
        assert!(matches!(to.take(whole(node), now, CLOCK), Taken::Newer(_)));
    }
    assert_eq!(to.take(whole(999_999), now, CLOCK), Taken::Full);
    for node in 2..500 {
        let part = wire::Sample {
            node,
            sequence: 2,
            parts: 2,
            summary: vec![0; PART_BYTES],
            ..wire::Sample::default()
        };
        assert_eq!(to.take(part, now, CLOCK), Taken::Nothing);
    }
    assert_eq!(to.assemblies.len(), ASSEMBLIES_MAX);
}

/// 256 nodes with a few workloads each, as DESIGN's budget has it.
#[test]
fn with_256_nodes_every_datagram_stays_within_its_bound_and_all_nodes_get_their_turn() {
    let now = Instant::now();
    let mut samples = Samples::new(NodeId(1));
    samples.publish(&summary(1, 1, 2), now, CLOCK);
    for node in 2..=256 {
        let mut other = Samples::new(NodeId(node));
        other.publish(&summary(node, 1, 2), now, CLOCK);
        hand_over(&mut samples, other.fill(NodeId(1), now), now);
    }
    // What clearly rises takes five bytes more, while it does.
    let encoded = summary::encode(&summary(2, 1, 2)).bytes.len();
    assert!(encoded <= 256, "a summary of {encoded} bytes");
    let (mut told, mut rounds) = (std::collections::BTreeSet::new(), 0);
    while told.len() < 256 && rounds < 20 {
        rounds += 1;
        let datagrams = samples.fill(NodeId(999), now);
        assert_eq!(datagrams.len(), 1);
        assert_eq!(datagrams[0][0].node, 1, "its own comes first");
        told.extend(datagrams[0].iter().map(|sample| sample.node));
        for datagram in datagrams {
            let bytes = outgoing::sealed_bytes(datagram);
            assert!(bytes <= SAMPLES_BYTES_MAX, "{bytes} bytes");
            assert!(
                bytes > SAMPLES_BYTES_MAX * 9 / 10,
                "only {bytes} bytes used"
            );
        }
    }
    assert_eq!(told.len(), 256);
    assert!(rounds <= 256_usize.div_ceil(28), "{rounds} datagrams");
}

#[test]
fn the_largest_summaries_stay_within_the_datagrams_bound() {
    let now = Instant::now();
    let mut samples = Samples::new(NodeId(u64::MAX));
    samples.publish(&summary(u64::MAX, u64::MAX, WORKLOADS_MAX), now, CLOCK);
    let mut other = Samples::new(NodeId(u64::MAX - 1));
    other.publish(&summary(u64::MAX - 1, u64::MAX, WORKLOADS_MAX), now, CLOCK);
    hand_over(&mut samples, other.fill(NodeId(u64::MAX), now), now);
    let datagrams = samples.fill(NodeId(1), now);
    assert!(datagrams.len() > 2);
    for datagram in datagrams {
        let bytes = outgoing::sealed_bytes(datagram);
        assert!(bytes <= SAMPLES_BYTES_MAX, "{bytes} bytes");
    }
}

/// 256 nodes, a new summary each second, fanout 3 each 200 ms, one datagram in
/// twenty lost: the ages that DESIGN promises, from a fixed seed.
#[test]
fn with_256_nodes_ages_stay_within_the_promise() {
    const NODES: u64 = 256;
    const WARM: u64 = 125;
    const TICKS: u64 = 175;
    let (mut rng, start) = (SmallRng::seed_from_u64(7), Instant::now());
    let mut nodes: Vec<Samples> = (1..=NODES).map(|node| Samples::new(NodeId(node))).collect();
    let mut ages = Vec::new();
    // A tick is 40 ms. Every node's place within the second and the 200 ms differs.
    for tick in 0..TICKS {
        let now = start + ms(tick * 40);
        let mut order: Vec<u64> = (0..NODES).filter(|node| node % 5 == tick % 5).collect();
        order.shuffle(&mut rng);
        for from in order {
            if (tick / 5 + from) % 5 == 0 {
                let fresh = summary(from + 1, tick + 1, 2);
                nodes[from as usize].publish(&fresh, now, CLOCK);
            }
            let peers = (0..NODES).filter(|&node| node != from);
            for to in peers.sample(&mut rng, 3) {
                let told = nodes[from as usize].fill(NodeId(to + 1), now);
                if !rand::RngExt::random_ratio(&mut rng, 1, 20) {
                    hand_over(&mut nodes[to as usize], told, now);
                }
            }
        }
        if tick >= WARM && tick % 5 == 0 {
            let held = nodes.iter().flat_map(|node| node.held.values());
            ages.extend(held.map(|held| held.age.now(now).as_millis()));
        }
    }
    // What a node has never heard of is older than anything.
    ages.resize(((TICKS - WARM) / 5 * NODES * NODES) as usize, u128::MAX);
    ages.sort_unstable();
    let at = |percent: usize| ages[(ages.len() - 1) * percent / 100];
    println!("256 nodes: age p50 {} ms, p99 {} ms", at(50), at(99));
    assert!(
        at(50) < 2_000 && at(99) < 4_000,
        "p50 {} ms, p99 {} ms",
        at(50),
        at(99)
    );
}
