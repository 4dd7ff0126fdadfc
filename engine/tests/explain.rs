//! What `explain` prints: one situation each, with the words for it. Every
//! paragraph fits a terminal of 80 columns.

#[path = "play/scenario.rs"]
mod scenario;

use scenario::{Scenario, cpu, failed, fallback, named, ten_each, usage, value};
use starling_engine::decide::{Decision, Reading};
use starling_engine::policy::{
    Banded, Behavior, FallbackBehavior, Goal, Rate, RateKind, Resource, Rules, Select, Source,
    Strategy, Trigger, Zero,
};

/// The report's words, followed by its codes.
fn explain(decision: &Decision) -> String {
    let report = &decision.report;
    let text = report.to_string();
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "too wide: {line}");
    }
    let codes: Vec<&str> = report
        .inputs
        .iter()
        .map(|input| input.outcome.code())
        .chain(
            report
                .steps
                .iter()
                .map(starling_engine::decide::reason::Step::code),
        )
        .collect();
    format!("{text}[{}]", codes.join(" "))
}

fn one_pod_a_minute(rules: Rules) -> Behavior {
    let rates = vec![Rate {
        kind: RateKind::Pods,
        value: 1,
        period_ms: 60_000,
    }];
    let rules = Rules { rates, ..rules };
    Behavior {
        up: rules.clone(),
        down: rules,
    }
}

/// Polls that fail every 30 s; the last pass but one may change the size.
fn fail_times(web: &mut Scenario, times: u32) -> Decision {
    let mut last = web.look();
    for _ in 0..times {
        web.later(30).read(vec![failed("connection refused")]);
        last = web.pass();
    }
    last
}

#[test]
fn a_long_queue_makes_the_workload_grow() {
    let mut web = Scenario::new(vec![ten_each()], 3);
    web.read(vec![value(52)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Grows from 3 to 6 replicas.

    - queue (metrics-api) asks for 6 replicas: 52 in all, target 10 a replica;
      measured just now.
    [ValidMetricFound]
    "#);
}

#[test]
fn a_value_near_its_target_changes_nothing() {
    let mut web = Scenario::new(vec![ten_each()], 5);
    web.read(vec![value(52)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 5 replicas.

    - queue (metrics-api) is near enough to its target to keep 5 replicas: 52 in
      all, target 10 a replica; measured just now.

    What would change the size:
    - queue goes above 55 or below 45
    [ValidMetricFound]
    "#);
}

#[test]
fn a_shrink_waits_for_the_stabilization_window() {
    let mut web = Scenario::new(vec![ten_each()], 6);
    web.read(vec![value(60)]).pass();
    web.later(40).read(vec![value(20)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 6 replicas.

    - queue (metrics-api) asks for 2 replicas: 20 in all, target 10 a replica;
      measured just now.

    Held at 6 rather than 2 by a recommendation made 40 s ago; the stabilization
    window is 5 min.

    What would change the size:
    - 4 min 20 s pass
    [ValidMetricFound ScaleDownStabilized]
    "#);
}

#[test]
fn a_shrink_goes_through_once_the_window_has_passed() {
    let mut web = Scenario::new(vec![ten_each()], 6);
    web.read(vec![value(60)]).pass();
    web.later(1).read(vec![value(20)]).pass();
    web.later(301).read(vec![value(20)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Shrinks from 6 to 2 replicas.

    - queue (metrics-api) asks for 2 replicas: 20 in all, target 10 a replica;
      measured just now.
    [ValidMetricFound]
    "#);
}

#[test]
fn growth_waits_for_its_own_window() {
    let mut web = Scenario::new(vec![ten_each()], 3).with(|p| {
        p.behavior = Some(Behavior {
            up: Rules {
                window_ms: Some(60_000),
                ..Rules::up()
            },
            ..Behavior::default()
        });
    });
    web.read(vec![value(30)]).pass();
    web.later(20).read(vec![value(70)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 3 replicas.

    - queue (metrics-api) asks for 7 replicas: 70 in all, target 10 a replica;
      measured just now.

    Held at 3 rather than 7 by a recommendation made 20 s ago; the stabilization
    window is 1 min.

    What would change the size:
    - 40 s pass
    [ValidMetricFound ScaleUpStabilized]
    "#);
}

#[test]
fn without_behavior_growth_doubles_at_most() {
    let mut web = Scenario::new(vec![ten_each()], 3).with(|p| p.replicas_max = 100);
    web.read(vec![value(400)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Grows from 3 to 6 replicas.

    - queue (metrics-api) asks for 40 replicas: 400 in all, target 10 a replica;
      measured just now.

    The limit on growth allows 6 of 40 for now.
    [ValidMetricFound ScaleUpLimit]
    "#);
}

#[test]
fn a_rate_policy_holds_growth_until_its_period_is_over() {
    let mut web = Scenario::new(vec![ten_each()], 2).with(|p| {
        p.behavior = Some(one_pod_a_minute(Rules::up()));
    });
    web.read(vec![value(80)]).pass();
    web.later(15).read(vec![value(80)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 3 replicas.

    - queue (metrics-api) asks for 8 replicas: 80 in all, target 10 a replica;
      measured just now.

    The limit on growth allows 3 of 8 for now.

    What would change the size:
    - 45 s pass
    [ValidMetricFound ScaleUpLimit]
    "#);
}

#[test]
fn a_rate_policy_slows_a_shrink() {
    let mut web = Scenario::new(vec![ten_each()], 8).with(|p| {
        p.behavior = Some(Behavior {
            down: Rules {
                window_ms: Some(0),
                ..one_pod_a_minute(Rules::up()).down
            },
            ..Behavior::default()
        });
    });
    web.read(vec![value(20)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Shrinks from 8 to 7 replicas.

    - queue (metrics-api) asks for 2 replicas: 20 in all, target 10 a replica;
      measured just now.

    The limit on shrinking allows 7 instead of 2 for now.
    [ValidMetricFound ScaleDownLimit]
    "#);
}

#[test]
fn a_direction_may_be_switched_off() {
    let mut web = Scenario::new(vec![ten_each()], 8).with(|p| {
        p.behavior = Some(Behavior {
            down: Rules {
                select: Select::Disabled,
                window_ms: Some(0),
                ..Rules::default()
            },
            ..Behavior::default()
        });
    });
    web.read(vec![value(20)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 8 replicas.

    - queue (metrics-api) asks for 2 replicas: 20 in all, target 10 a replica;
      measured just now.

    The limit on shrinking allows 8 instead of 2 for now.

    What would change the size:
    - spec.behavior.scaleDown.selectPolicy allows 2
    [ValidMetricFound ScaleDownLimit]
    "#);
}

#[test]
fn the_maximum_stops_growth() {
    let mut web = Scenario::new(vec![ten_each()], 10);
    web.read(vec![value(173)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 10 replicas.

    - queue (metrics-api) asks for 18 replicas: 173 in all, target 10 a replica;
      measured just now.

    The maximum is 10; 18 would be needed.

    What would change the size:
    - spec.maxReplicaCount allows 18
    [ValidMetricFound TooManyReplicas]
    "#);
}

#[test]
fn the_minimum_stops_a_shrink() {
    let mut web = Scenario::new(vec![ten_each()], 3).with(|p| {
        p.replicas_min = 3;
        p.controller.down_window_ms = 0;
    });
    web.read(vec![value(30)]).pass();
    web.later(1).read(vec![value(12)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 3 replicas.

    - queue (metrics-api) asks for 2 replicas: 12 in all, target 10 a replica;
      measured just now.

    The minimum is 3; 2 would do.

    What would change the size:
    - spec.minReplicaCount allows 2
    [ValidMetricFound TooFewReplicas]
    "#);
}

#[test]
fn a_lowered_maximum_applies_at_once() {
    let mut web = Scenario::new(vec![ten_each()], 14);
    web.read(vec![value(140)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Shrinks from 14 to 10 replicas.

    - queue (metrics-api) is near enough to its target to keep 14 replicas: 140 in
      all, target 10 a replica; measured just now.

    That is more than the maximum, 10.
    [ValidMetricFound AboveMax]
    "#);
}

#[test]
fn a_raised_minimum_applies_at_once() {
    let mut web = Scenario::new(vec![ten_each()], 2).with(|p| p.replicas_min = 4);
    web.read(vec![value(1)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Grows from 2 to 4 replicas.

    - queue (metrics-api) asks for 1 replica: 1 in all, target 10 a replica;
      measured just now.

    That is less than the minimum, 4.
    [ValidMetricFound BelowMin]
    "#);
}

#[test]
fn the_largest_of_two_requests_counts() {
    let mut web = Scenario::new(vec![cpu(60), ten_each()], 4);
    web.read(vec![Reading::Pods(usage(4, 93)), value(55)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Grows from 4 to 7 replicas.

    - cpu asks for 7 replicas: 93 % of requests used, target 60 %; 4 replicas
      counted; measured just now.
    - queue (metrics-api) asks for 6 replicas: 55 in all, target 10 a replica;
      measured just now.

    The largest request counts: cpu, 7 replicas.
    [ValidMetricFound ValidMetricFound]
    "#);
}

#[test]
fn a_failing_trigger_doesn_t_keep_the_others_from_growing() {
    let mut web = Scenario::new(vec![cpu(60), ten_each()], 4);
    web.read(vec![Reading::Pods(usage(4, 93)), failed("HTTP 503")]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Grows from 4 to 7 replicas.

    - cpu asks for 7 replicas: 93 % of requests used, target 60 %; 4 replicas
      counted; measured just now.
    - queue (metrics-api) failed: HTTP 503.
    [ValidMetricFound TriggerFailed]
    "#);
}

#[test]
fn nothing_shrinks_while_a_trigger_fails() {
    let mut web = Scenario::new(vec![cpu(60), ten_each()], 4);
    web.read(vec![Reading::Pods(usage(4, 12)), failed("HTTP 503")]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 4 replicas.

    - cpu asks for 1 replica: 12 % of requests used, target 60 %; 4 replicas
      counted; measured just now.
    - queue (metrics-api) failed: HTTP 503.

    The answers there are would allow 1 replica, but nothing shrinks while a trigger
    fails.

    What would change the size:
    - queue answers again
    [ValidMetricFound TriggerFailed FrozenByFailure]
    "#);
}

#[test]
fn without_any_answer_the_size_stays() {
    let mut web = Scenario::new(vec![ten_each()], 4);
    web.read(vec![failed("connection refused")]).pass();
    web.later(30).read(vec![failed("connection refused")]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 4 replicas.

    - queue (metrics-api) failed 2 times in a row: connection refused.

    Without a usable answer the workload keeps its 4 replicas.

    What would change the size:
    - queue answers again
    [TriggerFailed NoMetrics]
    "#);
}

#[test]
fn a_source_s_own_words_are_tamed() {
    let mut web = Scenario::new(vec![ten_each()], 4);
    let words = format!("bad gateway\u{1b}[31m\n{}", "<html> ".repeat(60));
    web.read(vec![failed(&words)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 4 replicas.

    - queue (metrics-api) failed: bad gateway [31m <html> <html> <html> <html>
      <html> <html> <html> <html> <html> <html> <html> <html> <html> <html> <html>
      <html> <html> <html> <html> <html> <html> <html> <html> <html> <html> <html>
      <.

    Without a usable answer the workload keeps its 4 replicas.

    What would change the size:
    - queue answers again
    [TriggerFailed NoMetrics]
    "#);
}

#[test]
fn a_new_leader_waits_for_its_first_answer() {
    let mut web = Scenario::new(vec![ten_each()], 4);
    web.read(vec![value(40)]).pass();
    web.later(2).fail_over();
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 4 replicas.

    - queue (metrics-api) has not answered yet.

    Without a usable answer the workload keeps its 4 replicas.

    What would change the size:
    - queue answers
    [TriggerUnheard NoMetrics]
    "#);
}

#[test]
fn a_long_word_is_broken() {
    let mut web = Scenario::new(vec![ten_each()], 4);
    web.read(vec![failed(&"x".repeat(300))]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 4 replicas.

    - queue (metrics-api) failed:
      xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
      xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
      xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.

    Without a usable answer the workload keeps its 4 replicas.

    What would change the size:
    - queue answers again
    [TriggerFailed NoMetrics]
    "#);
}

#[test]
fn one_failing_trigger_can_keep_a_workload_from_resting() {
    let mut web = Scenario::new(
        vec![ten_each(), named("topic", Goal::Value { milli: 5_000 })],
        1,
    )
    .with(|p| p.replicas_min = 0);
    web.later(900)
        .read(vec![value(0), failed("timed out after 3 s")]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 1 replica.

    - queue (metrics-api) asks for 0 replicas: 0 in all, target 10 a replica;
      measured just now.
    - topic (metrics-api) failed: timed out after 3 s.

    The answers there are would allow 0 replicas, but nothing shrinks while a
    trigger fails.

    What would change the size:
    - topic answers again
    [ValidMetricFound TriggerFailed FrozenByFailure]
    "#);
}

#[test]
fn an_old_answer_is_no_answer() {
    let mut web = Scenario::new(vec![ten_each()], 4);
    web.read(vec![value(5)]);
    web.later(240);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 4 replicas.

    - queue (metrics-api) last answered 4 min ago, too long ago to act on.

    Without a usable answer the workload keeps its 4 replicas.

    What would change the size:
    - queue answers again
    [TriggerStale NoMetrics]
    "#);
}

#[test]
fn a_fallback_stands_in_for_a_trigger_that_keeps_failing() {
    let mut web = Scenario::new(vec![ten_each()], 4)
        .with(|p| p.fallback = fallback(6, FallbackBehavior::Static));
    let decision = fail_times(&mut web, 4);
    insta::assert_snapshot!(explain(&decision), @r#"
    Grows from 4 to 6 replicas.

    - queue (metrics-api) failed 4 times in a row (connection refused), so the
      fallback of 6 replicas stands in.

    What would change the size:
    - queue gives 3 more good answers
    [FallbackActive]
    "#);
}

#[test]
fn a_fallback_may_keep_the_current_size() {
    let mut web = Scenario::new(vec![ten_each()], 4)
        .with(|p| p.fallback = fallback(6, FallbackBehavior::CurrentReplicas));
    let decision = fail_times(&mut web, 4);
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 4 replicas.

    - queue (metrics-api) failed 4 times in a row (connection refused), so the
      fallback keeps the current 4 replicas.

    What would change the size:
    - queue gives 3 more good answers
    [FallbackActive]
    "#);
}

#[test]
fn a_fallback_may_be_a_floor() {
    let mut web = Scenario::new(vec![ten_each()], 4)
        .with(|p| p.fallback = fallback(6, FallbackBehavior::CurrentReplicasIfHigher));
    let decision = fail_times(&mut web, 4);
    insta::assert_snapshot!(explain(&decision), @r#"
    Grows from 4 to 6 replicas.

    - queue (metrics-api) failed 4 times in a row (connection refused), so the
      fallback asks for at least its own size: 6 replicas.

    What would change the size:
    - queue gives 3 more good answers
    [FallbackActive]
    "#);
}

#[test]
fn a_fallback_may_be_a_ceiling() {
    let mut web = Scenario::new(vec![ten_each()], 4)
        .with(|p| p.fallback = fallback(6, FallbackBehavior::CurrentReplicasIfLower));
    let decision = fail_times(&mut web, 4);
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 4 replicas.

    - queue (metrics-api) failed 4 times in a row (connection refused), so the
      fallback asks for at most its own size: 4 replicas.

    What would change the size:
    - queue gives 3 more good answers
    [FallbackActive]
    "#);
}

#[test]
fn a_failure_below_the_threshold_only_holds() {
    let mut web = Scenario::new(vec![ten_each()], 4)
        .with(|p| p.fallback = fallback(6, FallbackBehavior::Static));
    let decision = fail_times(&mut web, 3);
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 4 replicas.

    - queue (metrics-api) failed 3 times in a row: connection refused.

    Without a usable answer the workload keeps its 4 replicas.

    What would change the size:
    - queue answers again
    [TriggerFailed NoMetrics]
    "#);
}

#[test]
fn recovery_takes_several_good_answers() {
    let mut web = Scenario::new(vec![ten_each()], 4)
        .with(|p| p.fallback = fallback(6, FallbackBehavior::Static));
    fail_times(&mut web, 4);
    web.later(30).read(vec![value(8)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 6 replicas.

    - queue (metrics-api) answers again, 1 of the 3 good answers needed so far;
      until then the fallback of 6 replicas stands in.

    What would change the size:
    - queue gives 2 more good answers
    [FallbackActive]
    "#);
}

#[test]
fn most_samples_missing_counts_as_a_failure() {
    let mut web = Scenario::new(vec![cpu(60)], 6)
        .with(|p| p.fallback = fallback(8, FallbackBehavior::Static));
    for _ in 0..4 {
        web.later(30);
        let mut sums = usage(2, 20);
        sums.add_missing(4, Some(1_000));
        web.read(vec![Reading::Pods(sums)]).pass();
    }
    web.later(1);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 8 replicas.

    - cpu failed 4 times in a row (most replicas have no fresh sample), so the
      fallback of 8 replicas stands in.

    What would change the size:
    - cpu gives 3 more good answers
    [FallbackActive]
    "#);
}

#[test]
fn an_idle_workload_rests() {
    let mut web = Scenario::new(vec![ten_each()], 0).with(|p| p.replicas_min = 0);
    web.read(vec![value(0)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 0 replicas.

    - queue (metrics-api) asks for 0 replicas: 0 in all, target 10 a replica;
      measured just now.

    No trigger is active, so the workload rests.

    What would change the size:
    - queue rises above 0
    [ValidMetricFound AtRest]
    "#);
}

#[test]
fn work_wakes_a_resting_workload() {
    let mut web = Scenario::new(vec![ten_each()], 0).with(|p| p.replicas_min = 0);
    web.read(vec![value(37)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Grows from 0 to 1 replica.

    - queue (metrics-api) asks for 4 replicas: 37 in all, target 10 a replica;
      measured just now.

    A trigger is active, which wakes the workload with 1 replica.
    [ValidMetricFound Activated]
    "#);
}

#[test]
fn the_annotation_force_activation_wakes_it_too() {
    let mut web = Scenario::new(vec![ten_each()], 0).with(|p| {
        p.replicas_min = 0;
        p.annotations.force_activation = true;
    });
    web.read(vec![value(0)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Grows from 0 to 1 replica.

    - queue (metrics-api) asks for 0 replicas: 0 in all, target 10 a replica;
      measured just now.

    The annotation force-activation wakes the workload with 1 replica.
    [ValidMetricFound Activated]
    "#);
}

#[test]
fn a_quiet_workload_cools_down_before_it_rests() {
    let mut web = Scenario::new(vec![ten_each()], 1).with(|p| p.replicas_min = 0);
    web.read(vec![value(9)]).pass();
    web.later(100).read(vec![value(0)]).pass();
    web.later(60).read(vec![value(0)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 1 replica.

    - queue (metrics-api) asks for 0 replicas: 0 in all, target 10 a replica;
      measured just now.

    No trigger is active; the workload rests in 2 min 20 s if that stays so. Held at
    1 rather than 0 by a recommendation made 2 min 40 s ago; the stabilization
    window is 5 min.

    What would change the size:
    - 2 min 20 s pass
    [ValidMetricFound ScalerCooldown ScaleDownStabilized]
    "#);
}

#[test]
fn after_the_cooldown_it_rests() {
    let mut web = Scenario::new(vec![ten_each()], 1).with(|p| p.replicas_min = 0);
    web.read(vec![value(9)]).pass();
    web.later(1).read(vec![value(0)]).pass();
    web.later(301).read(vec![value(0)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Shrinks from 1 to 0 replicas.

    - queue (metrics-api) asks for 0 replicas: 0 in all, target 10 a replica;
      measured just now.

    No trigger has been active for 5 min 2 s, so the workload rests at 0 replicas.
    [ValidMetricFound Deactivated]
    "#);
}

#[test]
fn a_workload_that_was_never_active_rests_after_its_own_wait() {
    let mut web = Scenario::new(vec![ten_each()], 1).with(|p| p.replicas_min = 0);
    web.later(1).read(vec![value(0)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Shrinks from 1 to 0 replicas.

    - queue (metrics-api) asks for 0 replicas: 0 in all, target 10 a replica;
      measured just now.

    No trigger has ever been active, so the workload rests at 0 replicas.
    [ValidMetricFound Deactivated]
    "#);
}

#[test]
fn a_failing_trigger_puts_nothing_to_rest() {
    let mut web = Scenario::new(
        vec![ten_each(), named("topic", Goal::Value { milli: 5_000 })],
        2,
    )
    .with(|p| p.replicas_min = 0);
    web.later(900)
        .read(vec![value(0), failed("timed out after 3 s")]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 2 replicas.

    - queue (metrics-api) asks for 0 replicas: 0 in all, target 10 a replica;
      measured just now.
    - topic (metrics-api) failed: timed out after 3 s.

    The answers there are would allow 0 replicas, but nothing shrinks while a
    trigger fails.

    What would change the size:
    - topic answers again
    [ValidMetricFound TriggerFailed FrozenByFailure]
    "#);
}

#[test]
fn a_failing_trigger_wakes_nothing_either() {
    let mut web = Scenario::new(vec![ten_each()], 0).with(|p| p.replicas_min = 0);
    web.read(vec![failed("timed out after 3 s")]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 0 replicas.

    - queue (metrics-api) failed: timed out after 3 s.

    A trigger fails, so nobody knows whether the workload may rest; it keeps its
    size.

    What would change the size:
    - queue answers again
    [TriggerFailed RestWithheld]
    "#);
}

#[test]
fn an_idle_size_other_than_zero_is_kept_at_rest() {
    let mut web = Scenario::new(vec![ten_each()], 2).with(|p| {
        p.replicas_min = 5;
        p.replicas_idle = Some(2);
    });
    web.read(vec![value(0)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 2 replicas.

    - queue (metrics-api) asks for 0 replicas: 0 in all, target 10 a replica;
      measured just now.

    No trigger is active, so the workload rests.

    What would change the size:
    - queue rises above 0
    [ValidMetricFound AtRest]
    "#);
}

#[test]
fn a_paused_policy_changes_nothing() {
    let mut web = Scenario::new(vec![ten_each()], 3).with(|p| p.annotations.paused = true);
    web.read(vec![value(90)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 3 replicas.

    - queue (metrics-api) asks for 9 replicas: 90 in all, target 10 a replica;
      measured just now.

    The policy is paused, so the size is left alone.

    What would change the size:
    - the annotation autoscaling.keda.sh/paused is removed
    [ValidMetricFound Paused]
    "#);
}

#[test]
fn a_policy_paused_at_a_size_goes_there() {
    let mut web =
        Scenario::new(vec![ten_each()], 3).with(|p| p.annotations.paused_replicas = Some(7));
    web.read(vec![value(90)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Grows from 3 to 7 replicas.

    - queue (metrics-api) asks for 9 replicas: 90 in all, target 10 a replica;
      measured just now.

    The policy is paused at 7 replicas.

    What would change the size:
    - the annotation autoscaling.keda.sh/paused is removed
    [ValidMetricFound Paused]
    "#);
}

#[test]
fn not_even_a_pause_leaves_the_bounds() {
    let mut web =
        Scenario::new(vec![ten_each()], 3).with(|p| p.annotations.paused_replicas = Some(50));
    web.read(vec![value(90)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Grows from 3 to 10 replicas.

    - queue (metrics-api) asks for 9 replicas: 90 in all, target 10 a replica;
      measured just now.

    The policy is paused at 50 replicas. The policy's bounds turn 50 into 10.

    What would change the size:
    - the annotation autoscaling.keda.sh/paused is removed
    [ValidMetricFound Paused Bounded]
    "#);
}

#[test]
fn scale_in_may_be_paused_alone() {
    let mut web = Scenario::new(vec![ten_each()], 6).with(|p| {
        p.annotations.paused_scale_in = true;
        p.controller.down_window_ms = 0;
    });
    web.read(vec![value(60)]).pass();
    web.later(1).read(vec![value(10)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 6 replicas.

    - queue (metrics-api) asks for 1 replica: 10 in all, target 10 a replica;
      measured just now.

    The annotation paused-scale-in forbids shrinking to 1 replica.

    What would change the size:
    - the annotation autoscaling.keda.sh/paused-scale-in is removed
    [ValidMetricFound ScaleInPaused]
    "#);
}

#[test]
fn scale_out_may_be_paused_alone() {
    let mut web =
        Scenario::new(vec![ten_each()], 3).with(|p| p.annotations.paused_scale_out = true);
    web.read(vec![value(90)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 3 replicas.

    - queue (metrics-api) asks for 9 replicas: 90 in all, target 10 a replica;
      measured just now.

    The limit on growth allows 6 of 9 for now. The annotation paused-scale-out
    forbids growing to 6 replicas.

    What would change the size:
    - the annotation autoscaling.keda.sh/paused-scale-out is removed
    [ValidMetricFound ScaleUpLimit ScaleOutPaused]
    "#);
}

#[test]
fn replicas_without_samples_are_told() {
    let mut web = Scenario::new(vec![cpu(60)], 8);
    let mut sums = usage(5, 97);
    sums.oldest = Some(web.now.minus(2_300));
    sums.add_missing(2, Some(1_000));
    sums.unready = 1;
    sums.unready_request_milli = 1_000;
    web.read(vec![Reading::Pods(sums)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 8 replicas.

    - cpu would keep 8 replicas, judging cautiously what isn't measured: 97 % of
      requests used, target 60 %; 5 replicas counted, 2 without a fresh sample, 1
      not ready; measured 3 s ago.

    What would change the size:
    - more replicas are ready and have fresh samples of cpu
    [ValidMetricFound]
    "#);
}

#[test]
fn utilization_needs_requests() {
    let mut web = Scenario::new(vec![cpu(60)], 2);
    let mut sums = usage(2, 97);
    sums.without_request = 2;
    web.read(vec![Reading::Pods(sums)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 2 replicas.

    - cpu failed: a replica states no request, so its utilization is undefined.

    Without a usable answer the workload keeps its 2 replicas.

    What would change the size:
    - cpu can be computed
    [TriggerFailed NoMetrics]
    "#);
}

#[test]
fn memory_is_shown_in_bytes() {
    let goal = Goal::AverageValue {
        milli: 512 * 1_048_576 * 1_000,
    };
    let memory = Trigger {
        name: "heap".into(),
        source: Source::Resource(Resource::Memory),
        goal,
        activation_milli: 0,
    };
    let mut web = Scenario::new(vec![memory], 2);
    let mut sums = usage(2, 0);
    sums.ready_usage_milli = 2 * 800 * 1_048_576 * 1_000;
    web.read(vec![Reading::Pods(sums)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Grows from 2 to 4 replicas.

    - heap (memory) asks for 4 replicas: 800 MiB a replica, target 512 MiB; 2
      replicas counted; measured just now.
    [ValidMetricFound]
    "#);
}

#[test]
fn one_container_s_cores_can_be_the_measure() {
    let proxy = Trigger {
        name: "proxy".into(),
        source: Source::Container {
            resource: Resource::Cpu,
            container: "envoy".into(),
        },
        goal: Goal::AverageValue { milli: 250 },
        activation_milli: 0,
    };
    let mut web = Scenario::new(vec![proxy], 2);
    web.read(vec![Reading::Pods(usage(2, 40))]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Grows from 2 to 4 replicas.

    - proxy (cpu of container envoy) asks for 4 replicas: 0.4 cores a replica,
      target 0.25 cores; 2 replicas counted; measured just now.
    [ValidMetricFound]
    "#);
}

#[test]
fn a_value_in_all_is_spread_over_ready_replicas() {
    let latency = named("latency", Goal::Value { milli: 250 });
    let mut web = Scenario::new(vec![latency], 4);
    web.read(vec![Reading::Value {
        milli: 375,
        at: web.now.minus(7_000),
    }]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Grows from 4 to 6 replicas.

    - latency (metrics-api) asks for 6 replicas: 0.375, target 0.25; measured 7 s
      ago.
    [ValidMetricFound]
    "#);
}

#[test]
fn an_unknown_trigger_type_counts_as_failing() {
    let odd = Trigger {
        source: Source::Unknown {
            kind: "tarot".into(),
        },
        ..named("odd", Goal::Value { milli: 1_000 })
    };
    let mut web = Scenario::new(vec![odd], 4);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 4 replicas.

    - odd (tarot) failed: this version doesn't know such a trigger.

    Without a usable answer the workload keeps its 4 replicas.

    What would change the size:
    - odd has a type that the leader knows
    [TriggerFailed NoMetrics]
    "#);
}

#[test]
fn above_the_bands_the_step_is_capped() {
    let mut web = Scenario::new(vec![cpu(70)], 10).with(|p| {
        p.strategy = Strategy::Banded(Banded::default());
        p.replicas_max = 40;
    });
    web.read(vec![Reading::Pods(usage(10, 140))]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Grows from 10 to 15 replicas.

    - cpu asks for 20 replicas: 140 % of requests used, band 30 % to 80 %; 10
      replicas counted; measured just now.

    One step goes no further than 15 on the way to 20.
    [ValidMetricFound StepCapped]
    "#);
}

#[test]
fn between_the_bands_nothing_changes() {
    let mut web = Scenario::new(vec![cpu(70)], 10).with(|p| {
        p.strategy = Strategy::Banded(Banded::default());
        p.replicas_max = 40;
    });
    web.read(vec![Reading::Pods(usage(10, 55))]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 10 replicas.

    - cpu is near enough to its target to keep 10 replicas: 55 % of requests used,
      band 30 % to 80 %; 10 replicas counted; measured just now.

    What would change the size:
    - cpu goes above 80 % or below 30 %
    [ValidMetricFound]
    "#);
}

#[test]
fn below_the_bands_the_workload_shrinks_in_steps() {
    let mut web = Scenario::new(vec![cpu(70)], 10).with(|p| {
        p.strategy = Strategy::Banded(Banded::default());
        p.replicas_max = 40;
    });
    web.read(vec![Reading::Pods(usage(10, 10))]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Shrinks from 10 to 7 replicas.

    - cpu asks for 2 replicas: 10 % of requests used, band 30 % to 80 %; 10 replicas
      counted; measured just now.

    One step goes no further than 7 on the way to 2.
    [ValidMetricFound StepCapped]
    "#);
}

#[test]
fn the_bands_wait_after_a_change() {
    let mut web = Scenario::new(vec![cpu(70)], 10).with(|p| {
        p.strategy = Strategy::Banded(Banded::default());
        p.replicas_max = 40;
    });
    web.read(vec![Reading::Pods(usage(10, 90))]).pass();
    web.later(60).read(vec![Reading::Pods(usage(13, 90))]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 13 replicas.

    - cpu asks for 17 replicas: 90 % of requests used, band 30 % to 80 %; 13
      replicas counted; measured just now.

    The last change is too recent: 17 replicas must wait 4 min more.

    What would change the size:
    - 4 min pass
    [ValidMetricFound Settling]
    "#);
}

#[test]
fn a_dry_run_says_what_it_would_do() {
    let mut web = Scenario::new(vec![ten_each()], 3).with(|p| p.dry_run = true);
    web.read(vec![value(52)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Would grow from 3 to 6 replicas (dry run: nothing is written).

    - queue (metrics-api) asks for 6 replicas: 52 in all, target 10 a replica;
      measured just now.
    [ValidMetricFound]
    "#);
}

#[test]
fn under_hpa_s_rules_zero_is_a_human_s_decision() {
    let mut web =
        Scenario::new(vec![ten_each()], 0).with(|p| p.zero = Zero::Hpa { allowed: false });
    web.read(vec![value(52)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 0 replicas.

    - queue (metrics-api) asks for 6 replicas: 52 in all, target 10 a replica;
      measured just now.

    Somebody set the size to 0, which switches scaling off until a size is set.

    What would change the size:
    - somebody sets a size above 0
    [ValidMetricFound ScalingDisabled]
    "#);
}

#[test]
fn a_second_pass_in_the_same_instant_changes_nothing() {
    let mut web = Scenario::new(vec![ten_each()], 3).with(|p| p.replicas_max = 100);
    web.read(vec![value(400)]).pass();
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 6 replicas.

    - queue (metrics-api) asks for 40 replicas: 400 in all, target 10 a replica;
      measured just now.

    The size has changed at this very moment.
    [ValidMetricFound JustChanged]
    "#);
}
