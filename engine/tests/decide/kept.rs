//! What a trigger said before it failed: how long that counts, and for what.

use starling_engine::decide::Reading;
use starling_engine::decide::reason::{ConditionKind, Outcome, Outlook, Status};
use starling_engine::policy::{FallbackBehavior, Goal, STALE_INTERVALS, Source, Trigger};

use super::scenario::{Scenario, cpu, fallback, formula, named, queue, ten_each, usage, value};

/// Nothing is held back, and one question each 30 s.
fn web(triggers: Vec<Trigger>, size: u32) -> Scenario {
    Scenario::new(triggers, size).with(|policy| {
        policy.controller.down_window_ms = 0;
        policy.cooldown_ms = 0;
        policy.replicas_max = 100;
    })
}

/// The first trigger fails now.
fn fail(web: &mut Scenario) {
    let now = web.now;
    let mut readings = web.readings.clone();
    readings[0].fail("down".into(), now);
    web.read(readings);
}

fn kept(web: &Scenario) -> Option<u32> {
    match web.look().report.inputs[0].outcome {
        Outcome::Failed { kept, .. } => kept,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn a_growth_goes_on_by_what_was_said_last() {
    let mut web = web(vec![ten_each()], 1);
    web.read(vec![value(400)]).pass();
    // HPA lets it at most add four or double, and that in 15 s.
    let began = web.size;
    assert!((2..40).contains(&began), "{began}");
    web.later(15);
    fail(&mut web);
    web.pass();
    assert!(web.size > began, "{} after {began}", web.size);
    let report = web.look().report.to_string();
    let plain = report.split_whitespace().collect::<Vec<_>>().join(" ");
    let said = "failed: down; what it said before still counts and asks for 40 replicas: 400 in \
                all, target 10 a replica; measured 15 s ago.";
    assert!(plain.contains(said), "{report}");
}

#[test]
fn i4_what_was_said_last_shrinks_nothing_and_puts_nothing_to_rest() {
    let mut web = web(vec![ten_each()], 4).with(|policy| policy.replicas_min = 0);
    web.read(vec![value(40)]).pass();
    // Not seen by any pass while it was fresh.
    web.later(30).read(vec![value(0)]);
    fail(&mut web);
    for _ in 0..1_000 {
        web.later(1).pass();
        assert_eq!(web.size, 4);
    }
}

#[test]
fn it_counts_for_three_intervals_or_for_as_long_as_the_policy_says() {
    for (stale_after_ms, seconds) in [(None, STALE_INTERVALS * 30), (Some(200_000), 200)] {
        let mut web = web(vec![ten_each()], 4);
        web.policy.stale_after_ms = stale_after_ms;
        assert_eq!(web.policy.check(), []);
        web.read(vec![value(60)]).later(1);
        fail(&mut web);
        assert_eq!(kept(&web), Some(6));
        web.later(seconds - 1);
        // More failures change nothing about when it was said.
        fail(&mut web);
        assert_eq!(kept(&web), Some(6), "after {seconds} s");
        web.later(1);
        assert_eq!(kept(&web), None, "after {seconds} s");
        assert_eq!(web.look().target, 4, "{}", web.look().report);
    }
}

#[test]
fn an_answer_that_is_merely_late_has_a_minute_or_as_long_as_a_failure_leaves_it() {
    for (stale_after_s, limit_s) in [(0, 60), (40, 60), (200, 200)] {
        let mut web = web(vec![ten_each()], 4);
        web.policy.stale_after_ms = Some(stale_after_s * 1_000);
        web.read(vec![value(20)]).later(limit_s);
        assert_eq!(web.look().report.raw, Some(2));
        web.later(1);
        assert_eq!(web.look().report.inputs[0].outcome, Outcome::Stale);
    }
}

/// The conditions, and what would have to happen for the size to change.
#[test]
fn a_size_that_rests_on_it_is_said_to() {
    for (asked_for, size) in [(40, 4), (20, 4), (5, 1)] {
        let mut web = web(vec![ten_each()], size);
        web.policy.replicas_min = 1;
        web.read(vec![value(asked_for)]).pass();
        (web.size, web.history.changed_at) = (size, None);
        web.later(1);
        fail(&mut web);
        let report = web.look().report;
        assert_eq!(report.target, size, "{report}");
        let mut conditions = report.conditions.iter();
        let active = conditions.find(|it| it.kind == ConditionKind::ScalingActive);
        let active = active.unwrap();
        assert_eq!(
            (active.status, active.reason.as_ref()),
            (Status::False, "FailedGetExternalMetric"),
            "{report}"
        );
        let answer = Outlook::Answer {
            trigger: "queue".into(),
        };
        assert!(report.outlook.contains(&answer), "{:?}", report.outlook);
    }
}

#[test]
fn it_wakes_nothing() {
    let mut web = web(vec![ten_each()], 0).with(|policy| policy.replicas_min = 0);
    web.read(vec![value(40)]).later(1);
    fail(&mut web);
    for _ in 0..100 {
        web.later(1).pass();
        assert_eq!(web.size, 0);
    }
}

#[test]
fn a_policy_may_have_it_count_for_no_time() {
    let mut web = web(vec![ten_each()], 4);
    web.policy.stale_after_ms = Some(0);
    assert_eq!(web.policy.check(), []);
    web.read(vec![value(60)]).later(1);
    fail(&mut web);
    assert_eq!(kept(&web), None);
}

/// A ratio would be applied again to the size that it has led to.
#[test]
fn a_goal_for_all_replicas_together_keeps_nothing() {
    let mut web = web(vec![queue(Goal::Value { milli: 10_000 })], 4);
    web.read(vec![value(20)]).pass();
    assert_eq!(web.size, 8);
    web.later(1);
    fail(&mut web);
    assert_eq!(kept(&web), None);
    web.pass();
    assert_eq!(web.size, 8);
}

#[test]
fn of_replicas_too() {
    let requests = Trigger {
        name: "requests".into(),
        source: Source::Pods {
            metric: "requests".into(),
            selector: None,
        },
        goal: Goal::AverageValue { milli: 1_000 },
        activation_milli: 0,
        window_ms: None,
    };
    let mut web = web(vec![requests], 4);
    let at = web.now;
    let sums = usage(4, 200);
    web.read(vec![Reading::Answered { sums, at }]).later(1);
    fail(&mut web);
    assert_eq!(kept(&web), Some(8));
    let report = web.look().report;
    assert_eq!(report.inputs[0].pods.map(|pods| pods.counted), Some(4));
}

#[test]
fn the_fallback_goes_before_what_was_said_last() {
    let mut web = web(vec![ten_each()], 4);
    web.policy.fallback = Some(fallback(2, FallbackBehavior::Static));
    web.policy.stale_after_ms = Some(3_600_000);
    web.read(vec![value(40)]).pass();
    for failures in 1..=4 {
        web.later(30);
        fail(&mut web);
        web.pass();
        // Three failures don't make a fallback yet.
        assert_eq!(web.size, if failures > 3 { 2 } else { 4 });
    }
}

#[test]
fn healthy_triggers_grow_the_workload_beside_it() {
    let mut web = web(vec![ten_each(), cpu(50)], 4);
    let busy = Reading::Pods(usage(4, 100));
    web.read(vec![value(50), busy]).later(1);
    fail(&mut web);
    assert_eq!(kept(&web), Some(5));
    assert_eq!(web.look().target, 8);
}

#[test]
fn a_formula_is_computed_with_it_and_counts_as_failing() {
    let each = Goal::AverageValue { milli: 10_000 };
    let formula = formula("queue + mails", each);
    let mut web = web(vec![queue(each), named("mails", each), formula], 4);
    web.read(vec![value(40), value(0)]).pass();
    assert_eq!(web.size, 4);
    web.later(1);
    fail(&mut web);
    // Less than before, of which nobody knows whether it is true.
    assert_eq!(web.look().target, 4);
    let mut readings = web.readings.clone();
    readings[1] = Reading::value(30_000, web.now);
    web.read(readings);
    let report = web.look().report;
    assert_eq!(report.target, 7, "{report}");
    let plain = report.to_string();
    let plain = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    let said = "failed: it is computed with what queue said before it failed; what it said \
                before still counts and asks for 7 replicas";
    assert!(plain.contains(said), "{plain}");
    assert!(
        plain.contains("queue (metrics-api) failed: down. "),
        "{plain}"
    );
    web.later(STALE_INTERVALS * 30);
    assert_eq!(web.look().report.raw, None);
}

/// What counts the replicas would multiply what was said with itself.
#[test]
fn a_formula_with_the_number_of_replicas_keeps_nothing() {
    let each = Goal::AverageValue { milli: 10_000 };
    let formula = formula("queue * pods", each);
    let mut pods = named("pods", each);
    if let Source::External { kind, .. } = &mut pods.source {
        *kind = "kubernetes-workload".into();
    }
    let mut web = web(vec![queue(each), pods, formula], 4);
    web.read(vec![value(15), value(4)]).pass();
    web.later(1);
    fail(&mut web);
    assert_eq!(web.look().report.raw, None);
}

/// The fallback of a formula ends by answers alone.
#[test]
fn what_was_said_before_a_failure_is_no_answer_that_ends_a_fallback() {
    let each = Goal::AverageValue { milli: 10_000 };
    let formula = formula("100 / queue", each);
    let mut web = web(vec![queue(each), formula], 8);
    web.policy.fallback = Some(fallback(8, FallbackBehavior::Static));
    for _ in 0..5 {
        web.later(30).read(vec![value(0)]).pass();
    }
    assert_eq!(web.size, 8);
    web.later(30).read(vec![value(50)]).pass();
    for _ in 0..2 {
        web.later(30);
        fail(&mut web);
        web.pass();
    }
    web.later(30).read(vec![value(50)]).pass();
    assert_eq!(web.size, 8, "{}", web.look().report);
    for _ in 0..3 {
        web.later(30).read(vec![value(50)]).pass();
    }
    assert_eq!(web.size, 1, "{}", web.look().report);
}
