//! Rest, waking and pauses.

use super::*;

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

    queue is active, which wakes the workload with 1 replica.
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

    The answers there are would allow 0 replicas, but nothing shrinks until every
    trigger answers.

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

    Until every trigger answers nobody knows whether there is work; the workload
    stays at rest.

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
    - the annotation autoscaling.keda.sh/paused-replicas is removed
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

    The policy is paused at 50 replicas. The policy's bounds hold all the same: 10
    rather than 50.

    What would change the size:
    - the annotation autoscaling.keda.sh/paused-replicas is removed
    - spec.maxReplicaCount allows 50
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
