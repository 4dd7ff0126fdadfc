//! Growth, shrinking, and what limits them.

use super::*;

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
    - queue goes above 55 or falls to 40
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
        p.behavior = Some(one_pod_a_minute(&Rules::up()));
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
                ..one_pod_a_minute(&Rules::up()).down
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

    14 replicas are more than the maximum, 10.
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

    2 replicas are fewer than the minimum, 4.
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
