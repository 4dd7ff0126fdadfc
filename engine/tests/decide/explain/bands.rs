//! The banded strategy, dry runs and special cases.

use super::*;

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
    - cpu reaches 81 % or falls to 29 %
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

    What would change the size:
    - 1 s passes
    [ValidMetricFound JustChanged]
    "#);
}
