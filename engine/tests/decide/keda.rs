//! KEDA's own worked examples that concern decisions (keda.md section 7), as
//! tables through whole passes, and where Starling differs from KEDA on purpose.

mod executor;
mod fallback;
mod formulas;
mod rest;

use crate::scenario::{Scenario, cpu, failed, fallback, named, queue, ten_each, usage, value};
use starling_engine::decide::{Decision, Reading};
use starling_engine::policy::{Annotations, Behavior, FallbackBehavior, Goal, Policy};

/// Status and reason of one of a decision's conditions.
fn condition(decision: &Decision, kind: &str) -> Option<(&'static str, String)> {
    let mut conditions = decision.report.conditions.iter();
    let found = conditions.find(|c| c.kind.code() == kind)?;
    Some((found.status.code(), found.reason.to_string()))
}

/// A queue in all of 10 for the whole workload, so that HPA's part keeps what is.
fn workload(current: u32, min: u32, idle: Option<u32>) -> Scenario {
    Scenario::new(vec![queue(Goal::Value { milli: 10_000 })], current).with(|p| {
        p.replicas_min = min;
        p.replicas_idle = idle;
    })
}

const ACTIVE: (&str, &str) = ("True", "ScalerActive");
const IDLE: (&str, &str) = ("False", "ScalerNotActive");

#[test]
fn the_executor_s_scaling_examples_hold() {
    let (active, inactive) = (value(10), value(0));
    let plain: fn(&mut Annotations) = |_| {};
    let no_in: fn(&mut Annotations) = |notes| notes.paused_scale_in = true;
    let no_out: fn(&mut Annotations) = |notes| notes.paused_scale_out = true;
    let forced: fn(&mut Annotations) = |notes| notes.force_activation = true;
    // Size, minimum and idle size; annotation; reading; size and condition after
    // the pass; whether the last active time is now.
    let cases = [
        (10, 0, None, plain, &inactive, 0, IDLE, false),
        (1, 5, None, plain, &inactive, 5, IDLE, false),
        (0, 0, None, plain, &active, 1, ACTIVE, true),
        (10, 5, Some(0), plain, &inactive, 0, IDLE, false),
        (0, 5, Some(0), plain, &active, 5, ACTIVE, true),
        (2, 5, Some(0), plain, &active, 5, ACTIVE, true),
        (10, 0, None, no_in, &inactive, 10, IDLE, false),
        (10, 5, Some(0), no_in, &inactive, 10, IDLE, false),
        (0, 0, None, forced, &inactive, 1, ACTIVE, true),
        (0, 0, None, no_out, &active, 0, ACTIVE, false),
        (0, 5, Some(0), no_out, &active, 0, ACTIVE, false),
    ];
    for (current, min, idle, annotate, reading, size, (status, reason), touched) in cases {
        let mut web = workload(current, min, idle).with(|p| annotate(&mut p.annotations));
        web.later(1_000).read(vec![reading.clone()]);
        let decision = web.pass();
        let report = &decision.report;
        assert_eq!(
            web.size, size,
            "{current}, min {min}, idle {idle:?}\n{report}"
        );
        let expected = Some((status, reason.to_owned()));
        assert_eq!(condition(&decision, "Active"), expected, "{report}");
        let activity = web.history.activity;
        assert_eq!(activity.active, touched, "{report}");
        assert_eq!(activity.last_active, touched.then_some(web.now), "{report}");
    }
}

#[test]
fn a_paused_policy_only_says_that_it_is_paused() {
    let mut web = workload(3, 0, None).with(|p| p.annotations.paused_replicas = Some(3));
    web.later(1_000).read(vec![value(0)]);
    let decision = web.pass();
    assert_eq!(web.size, 3);
    let paused = Some(("True", "ScaledObjectPaused".to_owned()));
    assert_eq!(condition(&decision, "Paused"), paused);
    assert_eq!(condition(&decision, "Active"), None);
}

#[test]
fn each_way_to_pause_sets_the_condition() {
    type Write = fn(&mut Annotations);
    let cases: [(Write, bool); 6] = [
        (|notes| notes.paused = true, true),
        (|notes| notes.paused_replicas = Some(4), true),
        (|notes| notes.paused_scale_in = true, true),
        (|notes| notes.paused_scale_out = true, true),
        (|notes| notes.force_activation = true, false),
        (|_| {}, false),
    ];
    for (annotate, paused) in cases {
        let mut web = workload(4, 1, None).with(|p| annotate(&mut p.annotations));
        web.read(vec![value(10)]);
        let decision = web.pass();
        let expected = paused.then(|| ("True", "ScaledObjectPaused".to_owned()));
        assert_eq!(condition(&decision, "Paused"), expected);
    }
}

#[test]
fn the_condition_ready_tells_who_can_be_trusted() {
    let both = || {
        vec![
            ten_each(),
            named("topic", Goal::AverageValue { milli: 10_000 }),
        ]
    };
    let covered = Some(fallback(3, FallbackBehavior::Static));
    let cases = [
        (value(10), value(10), None, "True", "ScaledObjectReady"),
        (value(0), failed("down"), None, "False", "TriggerError"),
        (
            value(10),
            failed("down"),
            None,
            "Unknown",
            "PartialTriggerError",
        ),
        (
            value(0),
            failed("down"),
            covered,
            "True",
            "ScaledObjectReady",
        ),
    ];
    for (first, second, fallback, status, reason) in cases {
        let mut web = Scenario::new(both(), 2).with(|p| p.fallback = fallback);
        web.read(vec![first, second]);
        let expected = Some((status, reason.to_owned()));
        assert_eq!(condition(&web.pass(), "Ready"), expected);
    }
}

#[test]
fn an_activation_names_the_triggers_behind_it() {
    let mut web = workload(2, 5, Some(0));
    web.read(vec![value(10)]);
    let report = web.pass().report;
    assert_eq!((report.from, report.target), (2, 5));
    assert!(report.to_string().contains("queue is active"), "{report}");
}

#[test]
fn the_metric_types_give_the_documented_sizes() {
    // AverageValue 20 of 5 gives 4; Value of 20 against 5 on 3 ready replicas gives 12.
    let average = queue(Goal::AverageValue { milli: 5_000 });
    let whole = queue(Goal::Value { milli: 5_000 });
    for (trigger, expected) in [(average, 4), (whole, 12)] {
        let mut web = Scenario::new(vec![trigger], 3).with(|p| {
            let mut behavior = Behavior::default();
            behavior.up.rates[1].value = 1_000;
            p.behavior = Some(behavior);
            p.replicas_max = 20;
        });
        web.read(vec![value(20)]);
        assert_eq!(web.pass().target, expected);
    }
    // Utilization of 90 % against 60 % on 4 replicas gives 6.
    let mut web = Scenario::new(vec![cpu(60)], 4);
    web.read(vec![Reading::Pods(usage(4, 90))]);
    assert_eq!(web.pass().target, 6);
}

#[test]
fn values_below_zero_count_as_zero() {
    for goal in [
        Goal::AverageValue { milli: 5_000 },
        Goal::Value { milli: 5_000 },
    ] {
        let mut web = Scenario::new(vec![queue(goal)], 3).with(|p| p.replicas_min = 0);
        web.later(1_000).read(vec![value(-20)]);
        let decision = web.pass();
        assert_eq!(decision.report.raw, Some(0));
        assert_eq!(web.size, 0);
    }
}

#[test]
fn the_defaults_are_keda_s() {
    let policy = Policy::default();
    assert_eq!((policy.replicas_min, policy.replicas_max), (0, 100));
    assert_eq!(policy.replicas_idle, None);
    assert_eq!(policy.polling_interval_ms, 30_000);
    assert_eq!(
        (policy.cooldown_ms, policy.initial_cooldown_ms),
        (300_000, 0)
    );
    assert_eq!(FallbackBehavior::default(), FallbackBehavior::Static);
}
