//! Metrics that the platform has of each replica: asked for as others are, judged as
//! what the agents measure is.

use starling_engine::demand::pick::Pick;
use starling_engine::demand::pods::{Phase, Sums};
use starling_engine::policy::Controller;

use super::*;

const METRIC: &str = "requests";

/// 10 for each replica.
fn requests() -> Trigger {
    Trigger {
        name: METRIC.into(),
        source: Source::Pods {
            metric: METRIC.into(),
            selector: None,
        },
        goal: Goal::AverageValue { milli: 10_000 },
        activation_milli: 0,
        window_ms: None,
    }
}

fn pod(whole: Option<i64>) -> Pod {
    let reading = whole.map(|whole| Reading {
        milli: whole * 1_000,
        ..Reading::default()
    });
    Pod {
        custom: reading
            .map(|it| (METRIC.to_owned(), it))
            .into_iter()
            .collect(),
        ..Pod::default()
    }
}

#[expect(clippy::unnecessary_wraps, reason = "as the queue has it")]
fn answered(pods: &[Pod]) -> Option<Result<Answer, String>> {
    let pick = Pick::custom(METRIC);
    let sums = Sums::of(pods, pick, &Controller::default(), Ms::default());
    Some(Ok(Answer::Pods(sums)))
}

/// Without a wait before shrinking.
fn world() -> World {
    let mut policy = policy(vec![requests()]);
    policy.controller.down_window_ms = 0;
    World::new(policy)
}

#[test]
fn the_mean_over_the_replicas_sizes_the_workload() {
    let mut world = world();
    world.queue = answered(&[pod(Some(20)), pod(Some(30))]);
    world.seconds(5);
    assert_eq!(world.size(), 5, "2.5 times as many as there are");
    world.queue = answered(&vec![pod(Some(4)); 5]);
    world.seconds(3);
    assert_eq!(world.size(), 2);
}

#[test]
fn replicas_that_start_count_as_unused_while_it_grows() {
    let mut world = world();
    world.queue = answered(&vec![pod(Some(10)); 4]);
    world.seconds(3);
    world.queue = answered(&vec![pod(Some(20)); 4]);
    world.seconds(3);
    assert_eq!(world.size(), 8);
    let pending = Pod {
        phase: Phase::Pending,
        ..pod(None)
    };
    // The load of four is on four still: eight are on their way already.
    world.queue = answered(&[vec![pod(Some(20)); 4], vec![pending; 4]].concat());
    world.seconds(5);
    assert_eq!(world.size(), 8);
}

#[test]
fn i4_replicas_without_a_value_count_as_busy_before_it_shrinks_and_as_idle_before_it_grows() {
    let mut world = world();
    world.queue = answered(&vec![pod(Some(40)); 1]);
    world.seconds(3);
    assert_eq!(world.size(), 4);
    // By those that have a value one would do; (1 + 3 * 10) / 4 is 7.75.
    world.queue = answered(&[pod(Some(1)), pod(None), pod(None), pod(None)]);
    world.seconds(5);
    assert_eq!(world.size(), 4);
    // By those that have a value 12 would do; (30 + 3 * 0) / 4 is 7.5, on the other
    // side of the target.
    world.queue = answered(&[pod(Some(30)), pod(None), pod(None), pod(None)]);
    world.seconds(5);
    assert_eq!(world.size(), 4);
}

#[test]
fn i4_an_answer_without_any_value_or_none_at_all_keeps_the_size() {
    let mut world = world();
    world.queue = answered(&vec![pod(Some(40)); 1]);
    world.seconds(3);
    for silence in [
        answered(&vec![pod(None); 4]),
        Some(Err("no adapter".into())),
        None,
    ] {
        world.queue = silence;
        world.seconds(120);
        assert_eq!(world.size(), 4);
        let failed = &world.ledger.workloads[&target()].history.health[METRIC];
        assert!(failed.failures > 0, "{:?}", world.queue);
        world.queue = answered(&vec![pod(Some(10)); 4]);
        world.seconds(5);
    }
}

#[test]
fn no_agent_measures_what_is_asked_for() {
    let world = world();
    let part = world.ledger.part(A);
    assert_eq!(part.measured[&target()].picks, []);
}
