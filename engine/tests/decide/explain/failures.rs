//! Triggers that fail, are silent or old, and what stands in for them.

use super::*;

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

    The answers there are would allow 1 replica, but nothing shrinks until every
    trigger answers.

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

    The answers there are would allow 0 replicas, but nothing shrinks until every
    trigger answers.

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

    - queue (metrics-api) last answered 4 min ago, too long ago to act on: 5 in all,
      target 10 a replica.

    Without a usable answer the workload keeps its 4 replicas.

    What would change the size:
    - queue answers again
    [TriggerStale NoMetrics]
    "#);
}

#[test]
fn a_fallback_stands_in_for_a_trigger_that_keeps_failing() {
    let mut web = Scenario::new(vec![ten_each()], 4)
        .with(|p| p.fallback = Some(fallback(6, FallbackBehavior::Static)));
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
        .with(|p| p.fallback = Some(fallback(6, FallbackBehavior::CurrentReplicas)));
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
        .with(|p| p.fallback = Some(fallback(6, FallbackBehavior::CurrentReplicasIfHigher)));
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
        .with(|p| p.fallback = Some(fallback(6, FallbackBehavior::CurrentReplicasIfLower)));
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
        .with(|p| p.fallback = Some(fallback(6, FallbackBehavior::Static)));
    let decision = fail_times(&mut web, 3);
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 4 replicas.

    - queue (metrics-api) failed 3 times in a row: connection refused.

    Without a usable answer the workload keeps its 4 replicas.

    What would change the size:
    - queue answers again
    - queue fails once more, so that the fallback stands in
    [TriggerFailed NoMetrics]
    "#);
}

#[test]
fn recovery_takes_several_good_answers() {
    let mut web = Scenario::new(vec![ten_each()], 4)
        .with(|p| p.fallback = Some(fallback(6, FallbackBehavior::Static)));
    fail_times(&mut web, 4);
    web.later(30).read(vec![value(8)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 6 replicas.

    - queue (metrics-api) answers again (8 in all, target 10 a replica; measured
      just now), 1 of the 3 good answers needed so far; until then the fallback of 6
      replicas stands in.

    What would change the size:
    - queue gives 2 more good answers
    [FallbackActive]
    "#);
}

#[test]
fn most_samples_missing_counts_as_a_failure() {
    let mut web = Scenario::new(vec![cpu(60)], 6)
        .with(|p| p.fallback = Some(fallback(8, FallbackBehavior::Static)));
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

    - cpu failed 4 times in a row (too few samples: 2 replicas counted, 4 without a
      fresh sample), so the fallback of 8 replicas stands in.

    What would change the size:
    - cpu gives 3 more good answers
    [FallbackActive]
    "#);
}
