//! What stands in for triggers that fail (keda.md 1.6).

use super::condition;
use crate::scenario::{Scenario, cpu, failed, fallback, named, queue, ten_each, usage, value};
use starling_engine::decide::{Decision, Reading};
use starling_engine::policy::{Fallback, FallbackBehavior, Goal, RECOVERY};

/// Failing polls, 30 s apart.
fn fail(web: &mut Scenario, times: u32) -> Option<Decision> {
    (0..times)
        .map(|_| {
            web.later(30).read(vec![failed("down")]);
            web.pass()
        })
        .last()
}

/// A fallback of `replicas` for a workload of `current`; nothing is held back.
fn covered(goal: Goal, current: u32, replicas: u32, behavior: FallbackBehavior) -> Scenario {
    Scenario::new(vec![queue(goal)], current).with(|p| {
        p.fallback = Some(fallback(replicas, behavior));
        p.controller.down_window_ms = 0;
        p.replicas_min = 0;
        p.replicas_max = 40;
    })
}

const AVERAGE: Goal = Goal::AverageValue { milli: 10_000 };
const WHOLE: Goal = Goal::Value { milli: 10_000 };

#[test]
fn fallback_examples_hold() {
    // Target 10, threshold 3, the fourth failure falls back; KEDA reports
    // target × replicas, for Value divided by the ready ones, which HPA turns
    // back into the replicas.
    let cases = [
        (FallbackBehavior::Static, 4, 10, 10),
        (FallbackBehavior::Static, 9, 6, 6),
        (FallbackBehavior::CurrentReplicasIfHigher, 4, 10, 10),
        (FallbackBehavior::CurrentReplicasIfHigher, 9, 6, 9),
        (FallbackBehavior::CurrentReplicas, 6, 10, 6),
        (FallbackBehavior::CurrentReplicas, 9, 2, 9),
        (FallbackBehavior::CurrentReplicasIfLower, 4, 10, 4),
        (FallbackBehavior::CurrentReplicasIfLower, 9, 6, 6),
        // Thirds, which neither milli-units nor floats hold exactly.
        (FallbackBehavior::Static, 3, 10, 10),
        (FallbackBehavior::Static, 7, 22, 22),
    ];
    for goal in [AVERAGE, WHOLE] {
        for (behavior, current, replicas, expected) in cases {
            let mut web = covered(goal, current, replicas, behavior);
            fail(&mut web, 3);
            assert_eq!(web.size, current, "below the threshold: {behavior:?}");
            fail(&mut web, 4);
            assert_eq!(web.size, expected, "{behavior:?}, {goal:?}");
        }
    }
}

#[test]
fn the_fallback_needs_more_failures_than_the_threshold() {
    for threshold in [0, 1, 3, 10] {
        let mut web = covered(AVERAGE, 4, 8, FallbackBehavior::Static);
        web.policy.fallback.as_mut().unwrap().failure_threshold = threshold;
        fail(&mut web, threshold);
        assert_eq!(web.size, 4, "{threshold}");
        fail(&mut web, 1);
        assert_eq!(web.size, 8, "{threshold}");
    }
}

#[test]
fn tolerance_applies_to_a_fallback_as_to_any_answer() {
    for (replicas, expected) in [(9, 10), (11, 10), (8, 8), (12, 12)] {
        let mut web = covered(AVERAGE, 10, replicas, FallbackBehavior::Static);
        fail(&mut web, 6);
        assert_eq!(web.size, expected, "{replicas} beside 10");
    }
}

#[test]
fn a_fallback_counts_as_active_and_wakes_a_resting_workload() {
    let cases = [
        (FallbackBehavior::Static, 5, 5),
        (FallbackBehavior::CurrentReplicasIfHigher, 5, 5),
        // Woken with 1, which is then the current size.
        (FallbackBehavior::CurrentReplicas, 5, 1),
        (FallbackBehavior::CurrentReplicasIfLower, 5, 1),
        (FallbackBehavior::Static, 0, 1),
    ];
    for (behavior, replicas, expected) in cases {
        let mut web = covered(AVERAGE, 0, replicas, behavior);
        fail(&mut web, 3);
        assert_eq!(web.size, 0, "{behavior:?}");
        let decision = fail(&mut web, 1).unwrap();
        assert_eq!(web.size, 1, "{behavior:?}\n{}", decision.report);
        let active = condition(&decision, "Active");
        assert_eq!(active, Some(("True", "ScalerActive".to_owned())));
        fail(&mut web, 40);
        assert_eq!(web.size, expected, "{behavior:?}");
    }
}

#[test]
fn a_fallback_is_a_floor_that_other_triggers_may_exceed() {
    let topic = named("topic", AVERAGE);
    let mut web = Scenario::new(vec![ten_each(), topic], 4)
        .with(|p| p.fallback = Some(fallback(6, FallbackBehavior::Static)));
    for (load, expected) in [(90, 9), (10, 9)] {
        for _ in 0..5 {
            web.later(30).read(vec![failed("down"), value(load)]).pass();
        }
        assert_eq!(web.size, expected, "within the stabilization window");
    }
    for _ in 0..12 {
        web.later(30).read(vec![failed("down"), value(10)]).pass();
    }
    assert_eq!(web.size, 6);
}

#[test]
fn the_condition_fallback_tells_whether_one_stands_in() {
    let mut web = covered(AVERAGE, 4, 6, FallbackBehavior::Static);
    let told = |decision: Option<Decision>| condition(&decision.unwrap(), "Fallback").unwrap();
    let (below, above) = (fail(&mut web, 3), fail(&mut web, 1));
    assert_eq!(told(below), ("False", "NoFallbackFound".to_owned()));
    assert_eq!(told(above), ("True", "FallbackExists".to_owned()));
    web.policy.fallback = None;
    assert_eq!(condition(&web.pass(), "Fallback"), None);
}

#[test]
fn i6_a_new_leader_keeps_the_fallback_before_it_has_asked_anybody() {
    let mut web = covered(AVERAGE, 4, 6, FallbackBehavior::Static);
    fail(&mut web, 5);
    web.later(1).fail_over().pass();
    assert_eq!(web.size, 6);
    assert_eq!(web.look().report.raw, Some(6));
}

#[test]
fn a_good_answer_resets_failures_below_the_threshold() {
    let mut web = Scenario::new(vec![ten_each()], 4)
        .with(|p| p.fallback = Some(fallback(10, FallbackBehavior::Static)));
    for _ in 0..5 {
        fail(&mut web, 3);
        web.later(30).read(vec![value(40)]).pass();
    }
    assert_eq!(web.size, 4);
    assert_eq!(web.history.health["queue"].failures, 0);
}

#[test]
fn a_value_fallback_without_ready_replicas_only_holds() {
    let mut web = Scenario::new(vec![queue(Goal::Value { milli: 10_000 })], 0).with(|p| {
        p.replicas_min = 0;
        p.fallback = Some(fallback(5, FallbackBehavior::Static));
    });
    fail(&mut web, 8);
    assert_eq!(web.size, 0);
}

#[test]
fn a_fallback_to_zero_shrinks_to_the_minimum_but_never_to_zero() {
    for (min, expected) in [(0, 1), (1, 1), (3, 3)] {
        let mut web = covered(AVERAGE, 4, 0, FallbackBehavior::Static).with(|p| {
            p.replicas_min = min;
            p.cooldown_ms = 0;
        });
        // KEDA drops to 0 here, below the threshold, because the fallback is 0.
        fail(&mut web, 3);
        assert_eq!(web.size, 4);
        fail(&mut web, 200);
        assert_eq!(web.size, expected, "minimum {min}");
    }
}

#[test]
fn recovery_needs_several_good_readings() {
    let mut web = Scenario::new(vec![ten_each()], 4).with(|p| {
        p.fallback = Some(fallback(8, FallbackBehavior::Static));
        p.controller.down_window_ms = 0;
    });
    fail(&mut web, 5);
    assert_eq!(web.size, 8);
    for good in 1..RECOVERY {
        web.later(30).read(vec![value(20)]).pass();
        assert_eq!(web.size, 8, "after {good} good answers");
    }
    web.later(30).read(vec![value(20)]).pass();
    assert_eq!(web.size, 2);
}

#[test]
fn recovery_needs_as_many_good_readings_as_the_policy_says() {
    for needed in [1, 2, 10] {
        let mut web = Scenario::new(vec![ten_each()], 4).with(|p| {
            p.fallback = Some(Fallback {
                recovery_threshold: Some(needed),
                ..fallback(8, FallbackBehavior::Static)
            });
            p.controller.down_window_ms = 0;
        });
        fail(&mut web, 5);
        for good in 1..needed {
            web.later(30).read(vec![value(20)]);
            let report = web.look().report.to_string();
            let plain = report.split_whitespace().collect::<Vec<_>>().join(" ");
            let so_far = format!("{good} of the {needed} good answers needed so far");
            assert!(plain.contains(&so_far), "{report}");
            web.pass();
            assert_eq!(web.size, 8, "after {good} of {needed} good answers");
        }
        web.later(30).read(vec![value(20)]).pass();
        assert_eq!(web.size, 2, "{needed}");
    }
}

#[test]
fn a_flapping_source_stays_in_fallback_but_may_grow_the_workload() {
    let mut web = Scenario::new(vec![ten_each()], 4).with(|p| {
        p.fallback = Some(fallback(6, FallbackBehavior::Static));
        p.controller.down_window_ms = 0;
    });
    fail(&mut web, 5);
    for _ in 0..10 {
        web.later(30).read(vec![value(1)]).pass();
        fail(&mut web, 1);
        assert_eq!(web.size, 6);
    }
    web.later(30).read(vec![value(90)]).pass();
    assert_eq!(web.size, 9);
}

#[test]
fn one_poll_counts_once_however_many_passes_see_it() {
    let mut web = Scenario::new(vec![ten_each()], 4)
        .with(|p| p.fallback = Some(fallback(8, FallbackBehavior::Static)));
    web.later(30).read(vec![failed("down")]);
    for _ in 0..29 {
        web.pass();
        web.later(1);
    }
    assert_eq!(web.history.health["queue"].failures, 1);
}

#[test]
fn a_clock_that_was_set_back_neither_counts_twice_nor_stops_counting() {
    let mut web = Scenario::new(vec![ten_each()], 4)
        .with(|p| p.fallback = Some(fallback(8, FallbackBehavior::Static)));
    web.later(30).read(vec![failed("down")]).pass();
    web.now = web.now.minus(3_600_000);
    for _ in 0..20 {
        web.later(1).pass();
    }
    assert_eq!(web.history.health["queue"].failures, 1);
    for failures in 2..=4 {
        web.later(30).read(vec![failed("down")]).pass();
        assert_eq!(web.history.health["queue"].failures, failures);
    }
}

#[test]
fn a_source_that_stays_down_costs_no_log_entries() {
    let mut web = Scenario::new(vec![ten_each()], 4)
        .with(|p| p.fallback = Some(fallback(4, FallbackBehavior::Static)));
    fail(&mut web, 6);
    let quiet = (0..100).all(|_| fail(&mut web, 1).is_some_and(|d| d.changes.is_empty()));
    assert!(quiet);
}

#[test]
fn fallback_covers_lost_samples_and_several_triggers() {
    let mut web = Scenario::new(vec![cpu(60), ten_each()], 4)
        .with(|p| p.fallback = Some(fallback(7, FallbackBehavior::Static)));
    for _ in 0..6 {
        web.later(30);
        let mut sums = usage(1, 50);
        sums.add_missing(3, Some(1_000));
        web.read(vec![Reading::Pods(sums), value(45)]).pass();
    }
    assert_eq!(
        web.size, 7,
        "the queue asks for 5, the fallback of cpu for 7"
    );
    for _ in 0..6 {
        web.later(30);
        let mut sums = usage(1, 50);
        sums.add_missing(6, Some(1_000));
        web.read(vec![Reading::Pods(sums), failed("down")]).pass();
    }
    assert_eq!(web.size, 7);
}
