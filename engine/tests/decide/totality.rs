//! Any input gives an answer within the bounds: extremes of every number, clocks
//! that jump, more triggers than a policy may have, targets of zero.

use std::collections::BTreeMap;

use crate::scenario::{START, Scenario, cpu, named, usage};
use proptest::prelude::*;
use starling_engine::decide::{Inputs, Platform, Reading, decide};
use starling_engine::demand::pick::Pick;
use starling_engine::demand::pods::{Metric, Pod, Sums};
use starling_engine::history::{Activity, Event, Health, History, Recommendation};
use starling_engine::policy::{
    Annotations, Banded, Behavior, Controller, Fallback, FallbackBehavior, Goal, Policy, Rate,
    RateKind, Resource, Rules, Select, Source, Trigger, Zero,
};
use starling_engine::unit::Ms;

fn i64s() -> impl Strategy<Value = i64> {
    prop_oneof![
        Just(i64::MIN),
        Just(i64::MAX),
        Just(0),
        Just(-1),
        Just(1),
        -10_000_i64..10_000,
        any::<i64>(),
    ]
}

fn i32s() -> impl Strategy<Value = i32> {
    prop_oneof![Just(i32::MIN), Just(i32::MAX), Just(0), -500_i32..500]
}

fn u32s() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(u32::MAX), 0_u32..50, any::<u32>()]
}

fn durations() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(u64::MAX), 0_u64..4_000_000]
}

/// Around the start, an hour before or after it, or anywhere.
fn times() -> impl Strategy<Value = Ms> {
    let hour = 3_600_000;
    prop_oneof![
        Just(START),
        Just(START.minus(hour)),
        Just(START.plus(hour)),
        (0_u64..hour).prop_map(|ms| START.plus(ms)),
        Just(Ms(0)),
        Just(Ms(u64::MAX)),
    ]
}

fn sums() -> impl Strategy<Value = Sums> {
    let counts = (u32s(), u32s(), u32s(), u32s(), u32s(), u32s());
    let missing = prop::collection::btree_map(i64s(), u32s(), 0..4);
    (
        counts,
        (i64s(), i64s(), i64s(), i64s()),
        missing,
        prop::option::of(times()),
    )
        .prop_map(
            |((pods, samples, ready, unready, without, strangers), milli, missing, oldest)| Sums {
                pods,
                samples,
                ready,
                ready_usage_milli: milli.0,
                ready_newest_milli: milli.0,
                ready_before_milli: 0,
                ready_noise: 0,
                ready_request_milli: milli.1,
                unready,
                unready_request_milli: milli.2,
                missing,
                ignored: 0,
                without_request: without % 2,
                strangers,
                strangers_usage_milli: milli.3,
                oldest,
            },
        )
}

fn reading() -> impl Strategy<Value = Reading> {
    prop_oneof![
        Just(Reading::None),
        (i64s(), times()).prop_map(|(milli, at)| Reading::value(milli, at)),
        (".{0,300}", times()).prop_map(|(why, at)| Reading::Failed { why, at }),
        (i64s(), times(), times()).prop_map(|(milli, before, at)| {
            let mut reading = Reading::value(milli, before);
            reading.fail("down".into(), at);
            reading
        }),
        sums().prop_map(Reading::Pods),
    ]
}

fn trigger() -> impl Strategy<Value = Trigger> {
    let goal = prop_oneof![
        i32s().prop_map(|percent| Goal::Utilization { percent }),
        i64s().prop_map(|milli| Goal::AverageValue { milli }),
        i64s().prop_map(|milli| Goal::Value { milli }),
    ];
    let source = prop_oneof![
        Just(Source::Resource(Resource::Cpu)),
        Just(Source::Pods {
            metric: "m".into(),
            selector: None
        }),
        Just(Source::Object {
            kind: "o".into(),
            metadata: BTreeMap::new()
        }),
        Just(Source::External {
            kind: "e".into(),
            metadata: BTreeMap::new()
        }),
        Just(Source::Unknown { kind: "?".into() }),
    ];
    (".{0,20}", source, goal, i64s()).prop_map(|(name, source, goal, activation_milli)| Trigger {
        name,
        source,
        goal,
        activation_milli,
        window_ms: None,
    })
}

fn rules() -> impl Strategy<Value = Rules> {
    let rate = (any::<bool>(), i32s(), durations()).prop_map(|(pods, value, period_ms)| Rate {
        kind: if pods {
            RateKind::Pods
        } else {
            RateKind::Percent
        },
        value,
        period_ms,
    });
    let select = prop::sample::select(vec![Select::Max, Select::Min, Select::Disabled]);
    (
        prop::option::of(durations()),
        select,
        prop::collection::vec(rate, 0..4),
        prop::option::of(u32s()),
    )
        .prop_map(|(window_ms, select, rates, tolerance_ppm)| Rules {
            window_ms,
            select,
            rates,
            tolerance_ppm,
        })
}

fn policy() -> impl Strategy<Value = Policy> {
    let bounds = (u32s(), u32s(), prop::option::of(u32s()));
    let waits = (durations(), durations(), durations(), durations());
    let triggers = prop_oneof![
        9 => prop::collection::vec(trigger(), 0..6),
        1 => prop::collection::vec(trigger(), 100..120),
    ];
    let fallback = prop::option::of((u32s(), u32s(), prop::option::of(u32s())).prop_map(
        |(failure_threshold, replicas, recovery_threshold)| Fallback {
            failure_threshold,
            replicas,
            behavior: FallbackBehavior::CurrentReplicasIfHigher,
            recovery_threshold,
        },
    ));
    let behavior =
        prop::option::of((rules(), rules()).prop_map(|(up, down)| Behavior { up, down }));
    let banded = prop::option::of((u32s(), u32s(), u32s(), u32s(), u32s(), u32s()));
    let flags = (
        any::<bool>(),
        any::<bool>(),
        0_u8..12,
        prop::option::weighted(0.1, u32s()),
    );
    (bounds, waits, triggers, fallback, behavior, banded, flags).prop_map(
        |(bounds, waits, triggers, fallback, behavior, banded, flags)| Policy {
            replicas_min: bounds.0,
            replicas_max: bounds.1,
            replicas_idle: bounds.2,
            polling_interval_ms: waits.0,
            cooldown_ms: waits.1,
            initial_cooldown_ms: waits.2,
            triggers,
            fallback,
            behavior,
            strategy: banded.map_or(starling_engine::policy::Strategy::Target, |b| {
                starling_engine::policy::Strategy::Banded(Banded {
                    high_percent: b.0,
                    high_aim_percent: b.1,
                    low_percent: b.2,
                    low_aim_percent: b.3,
                    step_up_percent: b.4,
                    step_down_percent: b.5,
                    cooldown_ms: waits.3,
                })
            }),
            annotations: Annotations {
                paused: flags.2 == 1,
                paused_replicas: flags.3,
                paused_scale_in: flags.2 == 2,
                paused_scale_out: flags.2 == 3,
                force_activation: flags.2 == 4,
            },
            zero: if flags.0 {
                Zero::Activation
            } else {
                Zero::Hpa { allowed: flags.1 }
            },
            controller: Controller {
                down_window_ms: waits.3,
                ..Controller::default()
            },
            ..Policy::default()
        },
    )
}

fn history() -> impl Strategy<Value = History> {
    let run = (u32s(), times(), prop::option::of(times())).prop_map(|(replicas, from, until)| {
        Recommendation {
            replicas,
            from,
            until,
        }
    });
    let event = || {
        let event = (u32s(), times(), any::<bool>());
        let event = event.prop_map(|(change, at, outdated)| Event {
            change,
            at,
            outdated,
        });
        prop::collection::vec(event, 0..70)
    };
    let health = (u32s(), u32s(), times()).prop_map(|(failures, successes, at)| Health {
        failures,
        successes,
        at,
    });
    (
        prop::collection::vec(run, 0..70),
        event(),
        event(),
        prop::collection::btree_map(".{0,3}", health, 0..4),
        (any::<bool>(), prop::option::of(times())),
        prop::option::of(times()),
    )
        .prop_map(
            |(recommendations, ups, downs, health, activity, changed_at)| History {
                seeded: !recommendations.is_empty(),
                recommendations,
                ups,
                downs,
                health,
                activity: Activity {
                    active: activity.0,
                    last_active: activity.1,
                },
                changed_at,
                scaled_to_zero: activity.0,
                objective: None,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    #[test]
    fn any_input_gives_an_answer_within_the_bounds(
        policy in policy(),
        history in history(),
        (now, created_at, last_pass) in (times(), times(), prop::option::of(times())),
        (current, running, ready) in (u32s(), u32s(), prop::option::of(u32s())),
        readings in prop::collection::vec(reading(), 0..8),
    ) {
        let decision = decide(Inputs {
            policy: &policy, now, created_at, current, running, ready, last_pass, readings,
            signal: None,
            started_ms: &[],
            history: &history,
            platform: Platform::default(),
        });
        prop_assert!(policy.bounds().contains(&decision.target));
        for line in decision.account(&policy).to_string().lines() {
            prop_assert!(line.chars().count() <= 80, "too wide: {line}");
        }
        policy.check();
        let mut after = history.clone();
        for change in &decision.changes {
            after.apply(change, now, &policy);
        }
        prop_assert!(after.recommendations.len() <= 71 && after.ups.len() <= 71);
    }
}

#[test]
fn ten_thousand_replicas_and_a_hundred_triggers_are_decided_on() {
    let mut web = Scenario::new(
        (0..100)
            .map(|i| match i % 2 {
                0 => Trigger {
                    name: format!("t{i}"),
                    ..cpu(60)
                },
                _ => named(&format!("t{i}"), Goal::AverageValue { milli: 1_000 }),
            })
            .collect(),
        10_000,
    )
    .with(|p| p.replicas_max = 20_000);
    let pods = vec![
        Pod {
            metrics: [(
                Resource::Cpu,
                Metric {
                    request_milli: Some(1_000),
                    sample: None,
                    ..Metric::default()
                }
            )]
            .into(),
            ..Pod::default()
        };
        10_000
    ];
    let mut sums = Sums::of(
        &pods,
        Pick::replica(Resource::Cpu),
        &Controller::default(),
        START,
    );
    assert_eq!(sums.missing_count(), 10_000);
    sums.merge(&usage(10_000, 90));
    web.read(
        (0..100)
            .map(|i| match i % 2 {
                0 => Reading::Pods(sums.clone()),
                _ => crate::scenario::value(11_500),
            })
            .collect(),
    );
    assert_eq!(web.pass().target, 11_500);
}

#[test]
fn a_target_of_zero_is_a_failure_that_holds_the_size() {
    for goal in [
        Goal::Utilization { percent: 0 },
        Goal::AverageValue { milli: 0 },
        Goal::Value { milli: -5 },
    ] {
        let mut web = Scenario::new(vec![named("queue", goal)], 4);
        web.read(vec![crate::scenario::value(1)]);
        assert_eq!(web.pass().target, 4);
    }
}
