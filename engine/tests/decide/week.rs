//! A policy's memory stays small over a week of noisy load, and a new leader
//! that has only this memory decides as the old one would.

use crate::scenario::{Scenario, cpu, fallback, ten_each, usage};
use sha2::{Digest, Sha256};
use starling_engine::decide::Reading;
use starling_engine::policy::{Behavior, FallbackBehavior, Rules};

const WEEK_S: u64 = 7 * 24 * 3_600;
/// What one policy's history may take in a snapshot.
const HISTORY_BYTES_MAX: usize = 4_096;

#[derive(Debug, Default, PartialEq, Eq)]
struct Week {
    bytes_max: usize,
    passes: u64,
    /// Passes that had something to remember.
    writes: u64,
    /// Of all sizes and counts of changes.
    digest: [u8; 8],
}

/// A week in steps of 5 s: a daily curve, noise, and a source that fails at times.
fn week(web: &mut Scenario) -> Week {
    let mut week = Week::default();
    let mut sizes = Sha256::new();
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
        sizes.update(decision.target.to_be_bytes());
        sizes.update([u8::try_from(decision.changes.len()).unwrap()]);
        week.passes += 1;
        week.writes += u64::from(!decision.changes.is_empty());
        if second % 3_600 == 0 {
            week.bytes_max = week
                .bytes_max
                .max(postcard::to_allocvec(&web.history).unwrap().len());
        }
    }
    week.digest = sizes.finalize()[..8].try_into().unwrap();
    week
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
        let Week {
            bytes_max,
            passes,
            writes,
            ..
        } = week(&mut web);
        println!("{name}: at most {bytes_max} bytes; {writes} of {passes} passes wrote");
        assert!(bytes_max <= HISTORY_BYTES_MAX, "{name}: {bytes_max} bytes");
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

#[test]
fn the_same_week_gives_the_same_sizes_in_every_build() {
    let mut web = Scenario::new(vec![cpu(60), ten_each()], 5).with(|p| {
        p.replicas_max = 200;
        p.behavior = Some(Behavior::default());
    });
    insta::assert_snapshot!(format!("{:02x?}", week(&mut web).digest), @"[10, 17, dc, 2f, 1d, e9, 0e, ab]");
}
