//! KEDA's own worked examples that concern decisions (keda.md section 7), as
//! tables through whole passes, and where Starling differs from KEDA on purpose.

use crate::scenario::{Scenario, cpu, failed, fallback, named, queue, ten_each, usage, value};
use starling_engine::decide::{Decision, Reading, health};
use starling_engine::history::Activity;
use starling_engine::policy::{FallbackBehavior, Goal, Policy};

/// The activation condition and the size after one pass.
fn pass(mut web: Scenario, reading: Reading) -> (u32, Option<(&'static str, String)>) {
    web.later(1_000).read(vec![reading]);
    let decision = web.pass();
    let active = decision
        .report
        .conditions
        .iter()
        .find(|c| c.kind.code() == "Active");
    (
        web.size,
        active.map(|c| (c.status.code(), c.reason.to_string())),
    )
}

/// A queue in all of 10 for the whole workload, so that HPA's part keeps what is.
fn executor(current: u32, min: u32, idle: Option<u32>) -> Scenario {
    Scenario::new(vec![queue(Goal::Value { milli: 10_000 })], current).with(|p| {
        p.replicas_min = min;
        p.replicas_idle = idle;
    })
}

#[test]
fn the_executor_s_scaling_examples_hold() {
    let (active, inactive) = (value(10), value(0));
    let annotate = |web: Scenario, set: fn(&mut Policy)| web.with(set);
    let no_in: fn(&mut Policy) = |p| p.annotations.paused_scale_in = true;
    let no_out: fn(&mut Policy) = |p| p.annotations.paused_scale_out = true;
    let forced: fn(&mut Policy) = |p| p.annotations.force_activation = true;
    let cases = [
        ("inactive 10, min 0", executor(10, 0, None), &inactive, 0),
        ("inactive 1, min 5", executor(1, 5, None), &inactive, 5),
        ("active 0, min 0", executor(0, 0, None), &active, 1),
        (
            "inactive 10, idle 0, min 5",
            executor(10, 5, Some(0)),
            &inactive,
            0,
        ),
        (
            "active 0, idle 0, min 5",
            executor(0, 5, Some(0)),
            &active,
            5,
        ),
        (
            "active 2, idle 0, min 5",
            executor(2, 5, Some(0)),
            &active,
            5,
        ),
        (
            "scale-in paused",
            annotate(executor(10, 0, None), no_in),
            &inactive,
            10,
        ),
        (
            "scale-in paused, idle",
            annotate(executor(10, 5, Some(0)), no_in),
            &inactive,
            10,
        ),
        (
            "force-activation",
            annotate(executor(0, 0, None), forced),
            &inactive,
            1,
        ),
        (
            "scale-out paused",
            annotate(executor(0, 0, None), no_out),
            &active,
            0,
        ),
        (
            "scale-out paused, idle",
            annotate(executor(0, 5, Some(0)), no_out),
            &active,
            0,
        ),
    ];
    for (name, web, reading, expected) in cases {
        let (size, condition) = pass(web, reading.clone());
        assert_eq!(size, expected, "{name}");
        let (status, _) = condition.expect("a condition");
        let wanted = *reading == active || name == "force-activation";
        assert_eq!(status, if wanted { "True" } else { "False" }, "{name}");
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
        let report = web.pass().report;
        let ready = report
            .conditions
            .iter()
            .find(|c| c.kind.code() == "Ready")
            .unwrap();
        assert_eq!(
            (ready.status.code(), ready.reason.as_ref()),
            (status, reason)
        );
    }
}

#[test]
fn an_activation_names_the_triggers_behind_it() {
    let mut web = executor(2, 5, Some(0));
    web.read(vec![value(10)]);
    let report = web.pass().report;
    assert_eq!((report.from, report.target), (2, 5));
    assert!(report.to_string().contains("queue is active"), "{report}");
}

#[test]
fn a_paused_policy_leaves_the_condition_active_alone() {
    let web = executor(3, 0, None).with(|p| p.annotations.paused_replicas = Some(3));
    assert_eq!(pass(web, value(0)), (3, None));
}

#[test]
fn the_metric_types_give_the_documented_sizes() {
    // AverageValue 20 of 5 gives 4; Value of 20 against 5 on 3 ready replicas gives 12.
    let average = queue(Goal::AverageValue { milli: 5_000 });
    let whole = queue(Goal::Value { milli: 5_000 });
    for (trigger, expected) in [(average, 4), (whole, 12)] {
        let mut web = Scenario::new(vec![trigger], 3).with(|p| {
            p.replicas_max = 20;
            p.behavior = Some(starling_engine::policy::Behavior::default());
            let up = &mut p.behavior.as_mut().expect("just set").up;
            up.rates[1].value = 1_000;
        });
        web.read(vec![value(20)]);
        assert_eq!(web.pass().target, expected);
    }
}

#[test]
fn activity_is_strictly_above_the_threshold() {
    // Redis streams: 4 above an activation of 3 is active, 3 isn't.
    for (number, expected) in [(4, 1), (3, 0)] {
        let mut lag = ten_each();
        lag.activation_milli = 3_000;
        let web = Scenario::new(vec![lag], 0).with(|p| p.replicas_min = 0);
        assert_eq!(pass(web, value(number)).0, expected);
    }
}

/// Failing polls, 30 s apart.
fn fail(web: &mut Scenario, times: u32) -> Option<Decision> {
    (0..times)
        .map(|_| {
            web.later(30).read(vec![failed("down")]);
            web.pass()
        })
        .last()
}

#[test]
fn fallback_examples_hold() {
    // Target 10, threshold 3, the fourth failure falls back; KEDA reports
    // target × replicas, which HPA turns back into the replicas.
    let cases = [
        (FallbackBehavior::Static, 4, 10, 10),
        (FallbackBehavior::CurrentReplicasIfHigher, 4, 10, 10),
        (FallbackBehavior::CurrentReplicasIfHigher, 9, 6, 9),
        (FallbackBehavior::CurrentReplicas, 6, 10, 6),
        (FallbackBehavior::CurrentReplicasIfLower, 4, 10, 4),
        (FallbackBehavior::CurrentReplicasIfLower, 9, 6, 6),
    ];
    for (behavior, current, replicas, expected) in cases {
        let mut web = Scenario::new(vec![ten_each()], current).with(|p| {
            p.fallback = Some(fallback(replicas, behavior));
            p.controller.down_window_ms = 0;
            p.behavior = None;
            p.replicas_max = 20;
        });
        fail(&mut web, 3);
        assert_eq!(
            web.size, current,
            "the threshold is not passed: {behavior:?}"
        );
        for _ in 0..3 {
            fail(&mut web, 1);
        }
        assert_eq!(web.size, expected, "{behavior:?}");
    }
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
fn a_fallback_to_zero_never_scales_to_zero() {
    let mut web = Scenario::new(vec![ten_each()], 4).with(|p| {
        p.replicas_min = 0;
        p.cooldown_ms = 0;
        p.fallback = Some(fallback(0, FallbackBehavior::Static));
    });
    fail(&mut web, 200);
    assert!(web.size >= 1, "{}", web.size);
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
fn recovery_needs_several_good_readings() {
    let mut web = Scenario::new(vec![ten_each()], 4).with(|p| {
        p.fallback = Some(fallback(8, FallbackBehavior::Static));
        p.controller.down_window_ms = 0;
    });
    fail(&mut web, 5);
    assert_eq!(web.size, 8);
    for good in 1..health::RECOVERY {
        web.later(30).read(vec![value(20)]).pass();
        assert_eq!(web.size, 8, "after {good} good answers");
    }
    web.later(30).read(vec![value(20)]).pass();
    assert_eq!(web.size, 2);
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

#[test]
fn a_workload_that_was_never_active_waits_for_the_initial_cooldown_only() {
    let mut web = executor(2, 0, None).with(|p| p.initial_cooldown_ms = 60_000);
    web.later(60).read(vec![value(0)]).pass();
    assert_eq!(web.size, 2, "a wait that ends now is not over");
    web.later(1).read(vec![value(0)]).pass();
    assert_eq!(web.size, 0);
    let mut seen = executor(2, 0, None).with(|p| p.initial_cooldown_ms = 0);
    seen.history.activity = Activity {
        active: false,
        last_active: Some(seen.now),
    };
    seen.later(299).read(vec![value(0)]).pass();
    assert_eq!(seen.size, 2, "once active, the ordinary cooldown counts");
}
