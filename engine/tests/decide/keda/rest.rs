//! From nothing to many and back: activity, cooldowns, idle sizes, failures.

use super::{condition, workload};
use crate::scenario::{Scenario, cpu, failed, named, ten_each, usage, value};
use starling_engine::decide::Reading;
use starling_engine::history::Activity;
use starling_engine::policy::{Goal, Policy};
use starling_engine::unit::Ms;

#[test]
fn activity_is_strictly_above_the_threshold() {
    // Redis streams: 4 above an activation of 3 is active, 3 isn't.
    for (number, expected) in [(4, 1), (3, 0)] {
        let mut lag = ten_each();
        lag.activation_milli = 3_000;
        let mut web = Scenario::new(vec![lag.clone()], 0).with(|p| p.replicas_min = 0);
        web.read(vec![value(number)]).pass();
        assert_eq!(web.size, expected, "{number} wakes");
        // The way back goes by the same threshold.
        let mut web = Scenario::new(vec![lag], 1).with(|p| p.replicas_min = 0);
        web.later(1_000).read(vec![value(number)]).pass();
        assert_eq!(web.size, expected, "{number} keeps awake");
    }
}

#[test]
fn a_source_that_says_what_is_active_apart_from_its_number_keeps_a_workload_awake_by_that() {
    // RabbitMQ, mode MessageRate: sixty messages wait, and none come at present.
    let said = |activity_milli: i64, at: Ms| Reading::Value {
        milli: 0,
        activity_milli,
        at,
    };
    for (waiting_milli, size) in [(60_000, 1), (50_000, 0), (0, 0)] {
        let mut rate = ten_each();
        rate.activation_milli = 50_000;
        for from in [0, 1] {
            let triggers = vec![rate.clone()];
            let mut web = Scenario::new(triggers, from).with(|p| p.replicas_min = 0);
            web.later(1_000);
            let at = web.now;
            web.read(vec![said(waiting_milli, at)]).pass();
            assert_eq!(web.size, size, "{waiting_milli} from {from}");
        }
    }
}

#[test]
fn a_failing_trigger_blocks_nobody_and_drops_nothing() {
    let triggers = || {
        vec![
            ten_each(),
            named("topic", Goal::AverageValue { milli: 10_000 }),
        ]
    };
    let mut web = Scenario::new(triggers(), 3).with(|p| p.replicas_min = 0);
    web.read(vec![value(50), failed("down")]).pass();
    assert_eq!(web.size, 5, "the other trigger still grows the workload");
    for _ in 0..100 {
        web.later(30).read(vec![value(0), failed("down")]).pass();
    }
    assert_eq!(web.size, 5, "fifty minutes of failures put nothing to rest");
}

#[test]
fn errors_don_t_use_up_the_cooldown() {
    let mut web = Scenario::new(vec![ten_each()], 1).with(|p| p.replicas_min = 0);
    web.read(vec![value(5)]).pass();
    // Ten minutes of failures, twice the cooldown.
    for _ in 0..20 {
        web.later(30).read(vec![failed("down")]).pass();
    }
    web.later(30).read(vec![value(0)]).pass();
    assert_eq!(web.size, 1, "the cooldown begins when the failures end");
    web.later(260).read(vec![value(0)]).pass();
    assert_eq!(web.size, 1);
    web.later(20).read(vec![value(0)]).pass();
    assert_eq!(web.size, 0);
}

#[test]
fn errors_don_t_use_up_the_initial_cooldown_either() {
    let mut web = workload(2, 0, None).with(|p| p.initial_cooldown_ms = 60_000);
    for _ in 0..10 {
        web.later(30).read(vec![failed("down")]).pass();
    }
    web.later(30).read(vec![value(0)]).pass();
    assert_eq!(web.size, 2, "nobody has seen the workload idle yet");
}

#[test]
fn a_workload_that_was_never_active_waits_for_the_initial_cooldown_only() {
    let mut web = workload(2, 0, None).with(|p| p.initial_cooldown_ms = 60_000);
    web.later(60).read(vec![value(0)]).pass();
    assert_eq!(web.size, 2, "a wait that ends now is not over");
    web.later(1).read(vec![value(0)]).pass();
    assert_eq!(web.size, 0);
}

/// A workload of 2 that was last active at the scenario's start.
fn once_active(cooldown_ms: u64) -> Scenario {
    let mut web = workload(2, 0, None).with(|p| {
        p.cooldown_ms = cooldown_ms;
        p.initial_cooldown_ms = 0;
    });
    web.history.activity = Activity {
        active: false,
        last_active: Some(web.now),
    };
    web
}

#[test]
fn a_cooldown_must_be_over_not_just_end() {
    // Cooldown, time since the last activity, size after the pass.
    let cases = [
        (300_000, 299_999, 2),
        (300_000, 300_000, 2),
        (300_000, 300_001, 0),
        (0, 0, 2),
        (0, 1, 0),
    ];
    for (cooldown_ms, after_ms, expected) in cases {
        let mut web = once_active(cooldown_ms);
        web.now = web.now.plus(after_ms);
        web.read(vec![value(0)]).pass();
        assert_eq!(web.size, expected, "{cooldown_ms} ms, after {after_ms} ms");
    }
}

#[test]
fn one_loop_owns_the_way_from_zero_to_many_and_back() {
    let mut web = Scenario::new(vec![ten_each()], 0).with(|p| {
        p.replicas_min = 0;
        p.replicas_max = 8;
    });
    // After so many seconds, so long a queue takes the workload to this size.
    let life = [
        (1, 0, 0),
        (1, 95, 1),
        (1, 95, 4),
        (1, 95, 8),
        (1, 75, 8),
        (301, 30, 3),
        (1, 0, 3),
        (299, 0, 3),
        (1, 0, 0),
        (600, 0, 0),
        (1, 12, 1),
        (1, 12, 2),
    ];
    for (step, (after_s, load, expected)) in life.into_iter().enumerate() {
        web.later(after_s).read(vec![value(load)]);
        let report = web.pass().report;
        assert_eq!(web.size, expected, "step {step}\n{report}");
    }
}

#[test]
fn an_idle_size_above_zero_is_where_the_workload_rests() {
    let mut web = workload(10, 5, Some(2));
    web.later(1_000).read(vec![value(0)]).pass();
    assert_eq!(web.size, 2);
    for _ in 0..10 {
        web.later(600).read(vec![value(0)]).pass();
        assert_eq!(web.size, 2, "neither the minimum nor 0 pulls at it");
    }
    web.later(1).read(vec![failed("down")]).pass();
    assert_eq!(web.size, 2);
    web.later(1).read(vec![value(10)]).pass();
    assert_eq!(web.size, 5, "work takes it to the minimum at once");
}

#[test]
fn any_active_trigger_keeps_the_workload_awake() {
    let topic = named("topic", Goal::AverageValue { milli: 10_000 });
    for (queue, topic_value, expected) in [(0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 1)] {
        let triggers = vec![ten_each(), topic.clone()];
        let mut web = Scenario::new(triggers, 0).with(|p| p.replicas_min = 0);
        web.read(vec![value(queue), value(topic_value)]).pass();
        assert_eq!(web.size, expected, "queue {queue}, topic {topic_value}");
    }
}

#[test]
fn usage_alone_counts_as_active_and_beside_others_wakes_nothing() {
    let mut web = Scenario::new(vec![cpu(60)], 3);
    web.read(vec![Reading::Pods(usage(3, 0))]);
    let active = condition(&web.pass(), "Active");
    assert_eq!(active, Some(("True", "ScalerActive".to_owned())));
    web.later(1).read(vec![failed("down")]);
    let active = condition(&web.pass(), "Active");
    assert_eq!(active, Some(("False", "ScalerNotActive".to_owned())));

    let mut web = Scenario::new(vec![cpu(60), ten_each()], 3).with(|p| p.replicas_min = 0);
    web.later(1_000);
    web.read(vec![Reading::Pods(usage(3, 60)), value(0)]).pass();
    assert_eq!(web.size, 0, "busy replicas with an empty queue may rest");
}

#[test]
fn an_answer_counts_for_three_intervals_and_at_least_a_minute() {
    // Polling interval, age of the answer, size after the pass.
    let cases = [
        (30, 90_000, 6),
        (30, 90_001, 3),
        (1, 60_000, 6),
        (1, 60_001, 3),
    ];
    for (interval_s, age_ms, expected) in cases {
        let mut web = Scenario::new(vec![ten_each()], 3);
        web.policy.polling_interval_ms = interval_s * 1_000;
        web.read(vec![value(60)]);
        web.now = web.now.plus(age_ms);
        web.pass();
        assert_eq!(
            web.size, expected,
            "asked each {interval_s} s, {age_ms} ms old"
        );
    }
}

#[test]
fn i5_not_even_pauses_and_failures_leave_the_bounds() {
    type Write = fn(&mut Policy);
    let cases: [(u32, Write, Reading, u32); 6] = [
        (0, |p| p.annotations.paused = true, value(0), 3),
        (0, |p| p.annotations.paused_scale_out = true, value(50), 3),
        (0, |_| {}, failed("down"), 3),
        (14, |p| p.annotations.paused = true, value(0), 10),
        (14, |p| p.annotations.paused_scale_in = true, value(0), 10),
        (14, |_| {}, failed("down"), 10),
    ];
    for (current, write, reading, expected) in cases {
        let mut web = Scenario::new(vec![ten_each()], current).with(|p| {
            p.replicas_min = 3;
            write(p);
        });
        web.later(1_000).read(vec![reading]);
        let report = web.pass().report;
        assert_eq!(web.size, expected, "{report}");
    }
}
