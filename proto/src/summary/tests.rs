//! Summaries there and back, damaged, forged, and beyond the bounds.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;

fn sums(at: u64) -> impl Strategy<Value = Sums> {
    (
        any::<[u32; 7]>(),
        any::<[i64; 6]>(),
        any::<u64>(),
        btree_map(any::<i64>(), any::<u32>(), 0..=MISSING_MAX),
        proptest::option::of(0..=at),
    )
        .prop_map(|(counts, milli, noise, missing, oldest)| Sums {
            pods: counts[0],
            samples: counts[1],
            ready: counts[2],
            ready_usage_milli: milli[0],
            ready_newest_milli: milli[4],
            ready_before_milli: milli[5],
            ready_noise: noise,
            ready_request_milli: milli[1],
            unready: counts[3],
            unready_request_milli: milli[2],
            missing,
            ignored: counts[4],
            without_request: counts[5],
            strangers: counts[6],
            strangers_usage_milli: milli[3],
            oldest: oldest.map(Ms),
        })
}

fn usage(at: u64) -> impl Strategy<Value = Usage> {
    let metrics = btree_map("\\PC{1,63}", measure(at), 0..4);
    (any::<[u32; 2]>(), metrics, "\\PC{0,50}").prop_map(|(counts, metrics, trouble)| Usage {
        running: counts[0],
        ready: counts[1],
        metrics,
        trouble,
    })
}

fn measure(at: u64) -> impl Strategy<Value = Measure> {
    (any::<u64>(), sums(at), any::<Option<i64>>()).prop_map(|(used_milli, sums, request_milli)| {
        Measure {
            used_milli,
            sums,
            request_milli,
        }
    })
}

fn target() -> impl Strategy<Value = Target> {
    (
        "[a-z.]{0,63}",
        "[A-Za-z]{1,63}",
        "[a-z]{1,63}",
        "\\PC{1,63}",
    )
        .prop_map(|(group, kind, namespace, name)| Target {
            group,
            kind,
            namespace,
            name,
        })
}

fn amount() -> impl Strategy<Value = Amount> {
    any::<(u64, Option<u64>, Option<u64>)>().prop_map(|(used, requested, allocatable)| Amount {
        used,
        requested,
        allocatable,
    })
}

fn about() -> impl Strategy<Value = About> {
    let second = 0..=CALENDAR_END_S;
    ("[0-9a-z.+-]{0,32}", any::<u32>(), second.clone(), second).prop_map(
        |(release, ledger_version, certificate_from_s, certificate_until_s)| About {
            release,
            ledger_version,
            certificate_from_s,
            certificate_until_s,
        },
    )
}

fn summary(workloads_max: usize) -> impl Strategy<Value = Summary> {
    (0..=u64::MAX / 2).prop_flat_map(move |at| {
        (
            any::<([u64; 2], u32)>(),
            btree_map("[a-z.]{1,63}", amount(), 0..4),
            btree_map(target(), usage(at), 0..=workloads_max),
            proptest::option::of(any::<(u64, [u8; 16])>()),
            proptest::option::of(about()),
        )
            .prop_map(
                move |((ids, left_out), totals, workloads, checkpoint, about)| Summary {
                    node: NodeId(ids[0]),
                    sequence: ids[1],
                    at: Ms(at),
                    totals: Totals(totals),
                    workloads,
                    left_out,
                    checkpoint: checkpoint.map(|(index, digest)| Checkpoint { index, digest }),
                    about,
                },
            )
    })
}

fn of_cpu(sums: Sums) -> Usage {
    let measure = Measure {
        sums,
        ..Measure::default()
    };
    Usage {
        metrics: BTreeMap::from([("cpu".into(), measure)]),
        ..Usage::default()
    }
}

fn named(name: String, usage: Usage) -> Summary {
    let target = Target::process(name);
    Summary {
        workloads: BTreeMap::from([(target, usage)]),
        ..Summary::default()
    }
}

proptest! {
    #[test]
    fn a_summary_comes_back_as_it_was(summary in summary(8)) {
        let bytes = encode(&summary).bytes;
        let back = decode(summary.node, summary.sequence, summary.at, &bytes);
        prop_assert_eq!(back, Ok(summary));
    }

    #[test]
    fn on_another_clock_only_the_times_move(summary in summary(4), ahead in 0..=1_000_000_000_u64) {
        let there = summary.at.plus(ahead);
        let back = decode(summary.node, summary.sequence, there, &encode(&summary).bytes).unwrap();
        let mut expected = summary;
        expected.at = there;
        for usage in expected.workloads.values_mut() {
            for sums in usage.metrics.values_mut().map(|measure| &mut measure.sums) {
                sums.oldest = sums.oldest.map(|oldest| oldest.plus(ahead));
            }
        }
        prop_assert_eq!(back, expected);
    }

    #[test]
    fn any_bytes_give_an_answer(bytes in vec(any::<u8>(), 0..2_000)) {
        if let Ok(summary) = decode(NodeId(1), 1, Ms(0), &bytes) {
            prop_assert!(summary.workloads.len() <= WORKLOADS_MAX);
        }
    }

    #[test]
    fn a_damaged_summary_gives_an_answer(
        summary in summary(3), at in any::<proptest::sample::Index>(), byte in any::<u8>()
    ) {
        let mut bytes = encode(&summary).bytes;
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(back) = decode(summary.node, summary.sequence, summary.at, &bytes) {
            prop_assert!(back.workloads.len() <= WORKLOADS_MAX);
        }
    }
}

#[test]
fn a_summary_that_is_too_large_loses_its_last_workloads() {
    let usage = of_cpu(Sums {
        missing: (0..32).map(|n| (i64::MAX - n, u32::MAX)).collect(),
        ..Sums::default()
    });
    let mut large = Summary::default();
    for n in 0..WORKLOADS_MAX {
        let target = Target::process(format!("{n:0>NAME_BYTES_MAX$}"));
        large.workloads.insert(target, usage.clone());
    }
    let Encoded { bytes, left_out } = encode(&large);
    assert!(bytes.len() <= BYTES_MAX, "{} bytes", bytes.len());
    let back = decode(NodeId(0), 0, Ms(0), &bytes).unwrap();
    assert!(!back.workloads.is_empty());
    assert!(back.workloads.len() < WORKLOADS_MAX);
    let gone = WORKLOADS_MAX - back.workloads.len();
    assert_eq!((left_out as usize, back.left_out as usize), (gone, gone));
    let unsaid = large.workloads.keys().filter(|it| back.leaves_out(it));
    assert_eq!(unsaid.count(), gone);
    assert!(
        large
            .workloads
            .keys()
            .zip(back.workloads.keys())
            .all(|(a, b)| a == b)
    );
}

#[test]
fn too_many_different_requests_count_as_the_largest() {
    let sums = Sums {
        missing: (1..=40).map(|request| (request * 100, 2)).collect(),
        ..Sums::default()
    };
    let summary = named("web".into(), of_cpu(sums));
    let back = decode(NodeId(0), 0, Ms(0), &encode(&summary).bytes).unwrap();
    let missing = &back.workloads.values().next().unwrap().metrics["cpu"]
        .sums
        .missing;
    assert_eq!(missing.len(), MISSING_MAX);
    assert_eq!(missing.values().sum::<u32>(), 80);
    assert_eq!(missing.last_key_value(), Some((&4_000, &18)));
}

#[test]
fn a_workload_whose_name_is_too_long_is_left_out_and_refused() {
    let long = "x".repeat(NAME_BYTES_MAX + 1);
    let summary = named(long.clone(), Usage::default());
    assert!(
        decode(NodeId(0), 0, Ms(0), &encode(&summary).bytes)
            .unwrap()
            .workloads
            .is_empty()
    );
    let forged = wire::Summary {
        workloads: vec![wire::Workload {
            kind: "Process".into(),
            name: long,
            ..wire::Workload::default()
        }],
        ..wire::Summary::default()
    };
    assert_eq!(
        decode(NodeId(0), 0, Ms(0), &forged.encode_to_vec()),
        Err(Error::TooMany {
            what: "bytes in a name",
            found: NAME_BYTES_MAX + 1,
            max: NAME_BYTES_MAX
        })
    );
}

#[test]
fn counts_beyond_the_bounds_are_refused() {
    let workload = |n: usize| wire::Workload {
        kind: "Process".into(),
        name: format!("w{n}"),
        ..wire::Workload::default()
    };
    let refused = |workloads: Vec<wire::Workload>| {
        let message = wire::Summary {
            workloads,
            ..wire::Summary::default()
        };
        decode(NodeId(0), 0, Ms(0), &message.encode_to_vec()).unwrap_err()
    };
    assert!(matches!(
        refused((0..=WORKLOADS_MAX).map(workload).collect()),
        Error::TooMany {
            what: "workloads",
            ..
        }
    ));
    assert_eq!(
        refused(vec![workload(1), workload(1)]),
        Error::Twice("workload")
    );
    let missing = (0..=MISSING_MAX as i64)
        .map(|request_milli| wire::Missing {
            request_milli,
            pods: 1,
        })
        .collect();
    let greedy = wire::Workload {
        metrics: vec![wire::Metric {
            sums: Some(wire::Sums {
                missing,
                ..wire::Sums::default()
            }),
            ..wire::Metric::default()
        }],
        ..workload(1)
    };
    assert!(matches!(
        refused(vec![greedy]),
        Error::TooMany {
            what: "different requests",
            ..
        }
    ));
    assert_eq!(refused(vec![wire::Workload::default()]), Error::Nameless);
    assert!(matches!(
        decode(NodeId(0), 0, Ms(0), &vec![0; BYTES_MAX + 1]),
        Err(Error::TooLarge(_))
    ));
}

#[test]
fn of_an_older_agent_the_newest_is_the_mean() {
    let sums = wire::Sums {
        pods: 2,
        ready: 2,
        ready_usage_milli: 700,
        ..wire::Sums::default()
    };
    // What is 0 isn't written, so these are the bytes of an agent that doesn't know it.
    let newer = wire::Sums {
        ready_newest_more_milli: 1,
        ready_before_milli: -1,
        ready_noise: 1,
        ..sums.clone()
    };
    assert_eq!(newer.encode_to_vec().len(), sums.encode_to_vec().len() + 7);
    let read = sums_in(sums, Ms(0)).unwrap();
    let read = (
        read.ready_newest_milli,
        read.ready_before_milli,
        read.ready_noise,
    );
    assert_eq!(read, (700, 0, 0));
}
