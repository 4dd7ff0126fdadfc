//! A policy's memory stays small over a week of noisy load, and a new leader
//! that has only this memory decides as the old one would.

use crate::scenario::{Scenario, cpu, fallback, ten_each, usage};
use starling_engine::decide::Reading;
use starling_engine::policy::{Behavior, FallbackBehavior, Rules};

const WEEK_S: u64 = 7 * 24 * 3_600;
/// What one policy's history may take in a snapshot.
const HISTORY_BYTES_MAX: usize = 4_096;

/// A week in steps of 5 s: a daily curve, noise, and a source that fails at times.
fn week(web: &mut Scenario) -> (usize, u64, u64) {
    let (mut largest, mut passes, mut writes) = (0, 0, 0);
    let mut noise = 0x9e37_79b9_u64;
    for second in (0..WEEK_S).step_by(5) {
        noise = noise
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let jitter = i64::try_from(noise >> 40).unwrap() % 400;
        let hour = i64::try_from(second / 3_600 % 24).unwrap();
        let load = 20 + 60 * (12 - (hour - 12).abs()) + jitter;
        let queue = if noise >> 60 == 0 {
            crate::scenario::failed("HTTP 503")
        } else {
            crate::scenario::value(load)
        };
        let percent = (load * 6 / i64::from(web.size.max(1))).min(400);
        let size = web.size;
        web.later(5)
            .read(vec![Reading::Pods(usage(size, percent)), queue]);
        let decision = web.pass();
        passes += 1;
        writes += u64::from(!decision.changes.is_empty());
        if second % 3_600 == 0 {
            largest = largest.max(postcard::to_allocvec(&web.history).unwrap().len());
        }
    }
    (largest, passes, writes)
}

#[test]
fn a_week_of_noisy_load_leaves_a_small_history() {
    let policies: [(&str, Option<Behavior>); 3] = [
        ("no behavior", None),
        ("default behavior", Some(Behavior::default())),
        (
            "an hour both ways",
            Some(Behavior {
                up: Rules {
                    window_ms: Some(3_600_000),
                    ..Rules::up()
                },
                down: Rules {
                    window_ms: Some(3_600_000),
                    ..Rules::default()
                },
            }),
        ),
    ];
    for (name, behavior) in policies {
        let mut web = Scenario::new(vec![cpu(60), ten_each()], 5).with(|p| {
            p.replicas_max = 200;
            p.behavior = behavior;
            p.fallback = Some(fallback(20, FallbackBehavior::CurrentReplicasIfHigher));
        });
        let (largest, passes, writes) = week(&mut web);
        println!("{name}: at most {largest} bytes; {writes} of {passes} passes wrote");
        assert!(largest <= HISTORY_BYTES_MAX, "{name}: {largest} bytes");
        assert!(web.history.recommendations.len() <= 64, "{name}");
    }
}

#[test]
fn a_steady_workload_writes_nothing() {
    let mut web = Scenario::new(vec![cpu(60), ten_each()], 5);
    web.read(vec![
        Reading::Pods(usage(5, 58)),
        crate::scenario::value(50),
    ])
    .pass();
    for _ in 0..1_000 {
        web.later(1).read(vec![
            Reading::Pods(usage(5, 58)),
            crate::scenario::value(50),
        ]);
        assert_eq!(web.pass().changes, vec![]);
    }
}
