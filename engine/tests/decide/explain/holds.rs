//! Several holds at once, and the ways out of each.

use super::*;

fn zero_to_ten() -> Scenario {
    Scenario::new(vec![ten_each()], 0).with(|p| p.replicas_min = 0)
}

#[test]
fn every_limit_is_told_in_the_order_in_which_it_applied() {
    let mut web = Scenario::new(vec![ten_each()], 9).with(|p| {
        p.annotations.paused_scale_in = true;
        p.behavior = Some(Behavior {
            down: Rules {
                window_ms: Some(120_000),
                ..one_pod_a_minute(&Rules::default()).down
            },
            ..Behavior::default()
        });
    });
    web.read(vec![value(90)]).pass();
    web.later(1).read(vec![value(60)]).pass();
    web.later(119).read(vec![value(40)]).pass();
    web.later(2).read(vec![value(20)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 9 replicas.

    - queue (metrics-api) asks for 2 replicas: 20 in all, target 10 a replica;
      measured just now.

    Held at 4 rather than 2 by a recommendation made 2 s ago; the stabilization
    window is 2 min. The limit on shrinking allows 8 instead of 4 for now. The
    annotation paused-scale-in forbids shrinking to 8 replicas.

    What would change the size:
    - the annotation autoscaling.keda.sh/paused-scale-in is removed
    [ValidMetricFound ScaleDownStabilized ScaleDownLimit ScaleInPaused]
    "#);
}

#[test]
fn rest_may_be_forbidden_by_an_annotation() {
    let mut web = zero_to_ten().with(|p| p.annotations.paused_scale_in = true);
    web.size = 1;
    web.later(1_000).read(vec![value(0)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 1 replica.

    - queue (metrics-api) asks for 0 replicas: 0 in all, target 10 a replica;
      measured just now.

    The annotation paused-scale-in forbids shrinking to 0 replicas. Held at 1 rather
    than 0 by a recommendation made just now; the stabilization window is 5 min.

    What would change the size:
    - the annotation autoscaling.keda.sh/paused-scale-in is removed
    [ValidMetricFound ScaleInPaused ScaleDownStabilized]
    "#);
}

#[test]
fn waking_may_be_forbidden_by_an_annotation() {
    let mut web = zero_to_ten().with(|p| p.annotations.paused_scale_out = true);
    web.read(vec![value(30)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 0 replicas.

    - queue (metrics-api) asks for 3 replicas: 30 in all, target 10 a replica;
      measured just now.

    The annotation paused-scale-out forbids growing to 1 replica.

    What would change the size:
    - the annotation autoscaling.keda.sh/paused-scale-out is removed
    [ValidMetricFound ScaleOutPaused]
    "#);
}

#[test]
fn two_annotations_may_pause_at_once() {
    let mut web = Scenario::new(vec![ten_each()], 3).with(|p| {
        p.annotations.paused = true;
        p.annotations.paused_replicas = Some(3);
    });
    web.read(vec![value(90)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 3 replicas.

    - queue (metrics-api) asks for 9 replicas: 90 in all, target 10 a replica;
      measured just now.

    The policy is paused at 3 replicas.

    What would change the size:
    - the annotation autoscaling.keda.sh/paused is removed
    - the annotation autoscaling.keda.sh/paused-replicas is removed
    [ValidMetricFound Paused]
    "#);
}

#[test]
fn an_annotation_may_keep_the_last_replica() {
    let mut web = zero_to_ten().with(|p| {
        p.annotations.force_activation = true;
        p.controller.down_window_ms = 0;
    });
    web.size = 1;
    web.read(vec![value(0)]).pass();
    web.later(1).read(vec![value(0)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 1 replica.

    - queue (metrics-api) asks for 0 replicas: 0 in all, target 10 a replica;
      measured just now.

    The last replica stays until the workload rests.

    What would change the size:
    - the annotation autoscaling.keda.sh/force-activation is removed
    [ValidMetricFound TooFewReplicas]
    "#);
}

#[test]
fn the_last_replica_waits_for_the_cooldown() {
    let mut web = zero_to_ten().with(|p| p.controller.down_window_ms = 0);
    web.read(vec![value(9)]).pass();
    web.later(1).read(vec![value(9)]).pass();
    web.later(299).read(vec![value(0)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 1 replica.

    - queue (metrics-api) asks for 0 replicas: 0 in all, target 10 a replica;
      measured just now.

    No trigger is active; the workload rests in 1 s if that stays so. The last
    replica stays until the workload rests.

    What would change the size:
    - 1 s passes
    [ValidMetricFound ScalerCooldown TooFewReplicas]
    "#);
}

#[test]
fn a_workload_at_its_smallest_needs_more_work_or_none() {
    let mut web = zero_to_ten();
    web.size = 1;
    web.read(vec![value(10)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 1 replica.

    - queue (metrics-api) is near enough to its target to keep 1 replica: 10 in all,
      target 10 a replica; measured just now.

    What would change the size:
    - queue goes above 11
    - no trigger is active for 5 min
    [ValidMetricFound]
    "#);
}

#[test]
fn at_the_maximum_only_less_changes_the_size() {
    let mut web = Scenario::new(vec![ten_each()], 10);
    web.read(vec![value(104)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 10 replicas.

    - queue (metrics-api) is near enough to its target to keep 10 replicas: 104 in
      all, target 10 a replica; measured just now.

    What would change the size:
    - queue falls below 90
    [ValidMetricFound]
    "#);
}

#[test]
fn rest_may_be_at_an_idle_size() {
    let mut web = Scenario::new(vec![ten_each()], 5).with(|p| {
        p.replicas_min = 5;
        p.replicas_idle = Some(2);
    });
    web.read(vec![value(50)]).pass();
    web.later(1).read(vec![value(0)]).pass();
    web.later(300).read(vec![value(0)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Shrinks from 5 to 2 replicas.

    - queue (metrics-api) asks for 0 replicas: 0 in all, target 10 a replica;
      measured just now.

    No trigger has been active for 5 min 1 s, so the workload rests at 2 replicas.
    [ValidMetricFound Deactivated]
    "#);
}

#[test]
fn several_triggers_may_wake_a_workload_together() {
    let topic = named("topic", Goal::Value { milli: 5_000 });
    let mut web = Scenario::new(vec![ten_each(), topic], 0).with(|p| p.replicas_min = 0);
    web.read(vec![value(3), value(2)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Grows from 0 to 1 replica.

    - queue (metrics-api) asks for 1 replica: 3 in all, target 10 a replica;
      measured just now.
    - topic (metrics-api) asks for 1 replica: 2, target 5; measured just now.

    The largest request counts: queue, 1 replica. queue and topic are active, which
    wakes the workload with 1 replica.
    [ValidMetricFound ValidMetricFound Activated]
    "#);
}

#[test]
fn a_fallback_may_wake_a_workload() {
    let mut web = zero_to_ten().with(|p| p.fallback = Some(fallback(6, FallbackBehavior::Static)));
    let decision = fail_times(&mut web, 4);
    insta::assert_snapshot!(explain(&decision), @r#"
    Grows from 0 to 1 replica.

    - queue (metrics-api) failed 4 times in a row (connection refused), so the
      fallback of 6 replicas stands in.

    queue counts as active while its fallback stands in, which wakes the workload
    with 1 replica.

    What would change the size:
    - queue gives 3 more good answers
    [FallbackActive Activated]
    "#);
}

#[test]
fn a_fallback_near_the_current_size_keeps_it() {
    let mut web = Scenario::new(vec![ten_each()], 10).with(|p| {
        p.replicas_max = 20;
        p.fallback = Some(fallback(11, FallbackBehavior::CurrentReplicasIfHigher));
    });
    fail_times(&mut web, 4);
    web.later(12);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 10 replicas.

    - queue (metrics-api) failed 4 times in a row (connection refused; asked 12 s
      ago), so the fallback asks for at least its own size: 11 replicas, near enough
      to keep 10 replicas.

    What would change the size:
    - queue gives 3 more good answers
    [FallbackActive]
    "#);
}

#[test]
fn a_new_leader_keeps_a_fallback_that_it_has_not_seen_begin() {
    let mut web = Scenario::new(vec![ten_each()], 4)
        .with(|p| p.fallback = Some(fallback(6, FallbackBehavior::Static)));
    fail_times(&mut web, 4);
    web.later(30).read(vec![value(8)]).pass();
    web.later(1).fail_over();
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 6 replicas.

    - queue (metrics-api) has given 1 of the 3 good answers needed after its
      failures; until then the fallback of 6 replicas stands in.

    What would change the size:
    - queue gives 2 more good answers
    [FallbackActive]
    "#);
}

#[test]
fn a_good_answer_may_outdo_the_fallback() {
    let mut web = Scenario::new(vec![ten_each()], 4)
        .with(|p| p.fallback = Some(fallback(6, FallbackBehavior::Static)));
    fail_times(&mut web, 4);
    web.later(30).read(vec![value(85)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Grows from 6 to 9 replicas.

    - queue (metrics-api) asks for 9 replicas: 85 in all, target 10 a replica;
      measured just now.
    [ValidMetricFound]
    "#);
}

#[test]
fn a_raised_minimum_counts_for_a_failing_workload_too() {
    let mut web = Scenario::new(vec![ten_each()], 0).with(|p| p.replicas_min = 3);
    web.read(vec![failed("connection refused")]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Grows from 0 to 3 replicas.

    - queue (metrics-api) failed: connection refused.

    0 replicas are fewer than the minimum, 3.
    [TriggerFailed BelowMin]
    "#);
}

#[test]
fn samples_may_be_missing_altogether() {
    let mut web = Scenario::new(vec![cpu(60)], 4);
    let mut sums = usage(0, 0);
    sums.add_missing(3, Some(1_000));
    (sums.pods, sums.unready) = (4, 1);
    web.read(vec![Reading::Pods(sums)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 4 replicas.

    - cpu failed: no samples came in; 0 replicas counted, 3 without a fresh sample,
      1 not ready.

    Without a usable answer the workload keeps its 4 replicas.

    What would change the size:
    - cpu can be computed
    [TriggerFailed NoMetrics]
    "#);
}

#[test]
fn bounds_may_leave_no_choice() {
    let mut web = Scenario::new(vec![ten_each()], 3).with(|p| {
        p.replicas_min = 3;
        p.replicas_max = 3;
    });
    web.read(vec![value(31)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 3 replicas.

    - queue (metrics-api) is near enough to its target to keep 3 replicas: 31 in
      all, target 10 a replica; measured just now.

    What would change the size:
    - spec.minReplicaCount and spec.maxReplicaCount leave more than one size
    [ValidMetricFound]
    "#);
}
