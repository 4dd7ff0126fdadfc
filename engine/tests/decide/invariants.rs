//! Invariants I4, I5, I6 and I9 over random lives of a workload: readings,
//! failures, silence, changes of leader, restarts from disk. The model that says
//! what must hold is written from the rules, not from the engine's code.

use crate::scenario::{Scenario, cpu, failed, named, usage, value};
use proptest::prelude::*;
use starling_engine::decide::Reading;
use starling_engine::history::History;
use starling_engine::policy::{
    Banded, Behavior, Fallback, FallbackBehavior, Goal, Policy, Rate, RateKind, Rules, Select,
    Trigger, Zero,
};

/// One thing that happens before a pass.
#[derive(Debug, Clone)]
pub enum Act {
    /// Every trigger answers with a value of its own.
    Answers(Vec<i64>),
    Fails(usize),
    Silent(usize),
    /// A replica metric loses this many samples.
    Lost(usize, u32),
    /// No new reading comes; the old ones age.
    Nothing,
    NewLeader,
    /// The history goes through its wire form, as in a snapshot.
    Restart,
}

pub fn act() -> impl Strategy<Value = (u64, Act)> {
    let after_s = prop_oneof![4 => 1_u64..5, 4 => 10_u64..90, 1 => 290_u64..700];
    let act = prop_oneof![
        8 => prop::collection::vec(0_i64..300, 3).prop_map(Act::Answers),
        2 => (0_usize..3).prop_map(Act::Fails),
        1 => (0_usize..3).prop_map(Act::Silent),
        1 => (0_usize..3, 0_u32..20).prop_map(|(i, n)| Act::Lost(i, n)),
        1 => Just(Act::Nothing),
        1 => Just(Act::NewLeader),
        1 => Just(Act::Restart),
    ];
    (after_s, act)
}

fn rates() -> impl Strategy<Value = Vec<Rate>> {
    let rate = (any::<bool>(), 1_i32..150, 1_u64..300).prop_map(|(pods, value, s)| Rate {
        kind: if pods {
            RateKind::Pods
        } else {
            RateKind::Percent
        },
        value,
        period_ms: s * 1_000,
    });
    prop::collection::vec(rate, 1..3)
}

fn behavior() -> impl Strategy<Value = Option<Behavior>> {
    let select = || prop::sample::select(vec![Select::Max, Select::Min, Select::Disabled]);
    let rules = move || {
        (prop::option::of(0_u64..600), select(), rates()).prop_map(|(window, select, rates)| {
            Rules {
                window_ms: window.map(|s| s * 1_000),
                select,
                rates,
                tolerance_ppm: None,
            }
        })
    };
    prop::option::of((rules(), rules()).prop_map(|(up, down)| Behavior { up, down }))
}

fn trigger(index: usize, kind: u8) -> Trigger {
    let mut trigger = match kind {
        0 => cpu(60),
        1 => named("", Goal::Value { milli: 40_000 }),
        _ => named("", Goal::AverageValue { milli: 10_000 }),
    };
    trigger.name = format!("t{index}");
    trigger
}

pub fn policy() -> impl Strategy<Value = Policy> {
    let fallback =
        (0_u32..4, 0_u32..12, 0_usize..4).prop_map(|(threshold, replicas, i)| Fallback {
            failure_threshold: threshold,
            replicas,
            behavior: [
                FallbackBehavior::Static,
                FallbackBehavior::CurrentReplicas,
                FallbackBehavior::CurrentReplicasIfHigher,
                FallbackBehavior::CurrentReplicasIfLower,
            ][i],
            recovery_threshold: [None, Some(1), Some(5)][i % 3],
        });
    let bounds = (0_u32..6, 0_u32..20, prop::option::of(0_u32..4));
    let zero = prop_oneof![
        4 => Just(Zero::Activation),
        1 => any::<bool>().prop_map(|allowed| Zero::Hpa { allowed }),
    ];
    let notes = (prop::option::weighted(0.1, 0_u32..30), 0_u8..40);
    let kinds = prop::collection::vec(0_u8..3, 1..4);
    (
        (bounds, zero, kinds, notes),
        (
            prop::option::of(fallback),
            behavior(),
            any::<bool>(),
            0_u64..400,
        ),
    )
        .prop_map(
            |((bounds, zero, kinds, notes), (fallback, behavior, banded, cooldown_s))| {
                let ((min, more, idle), (paused_replicas, note)) = (bounds, notes);
                let mut policy = Policy {
                    replicas_min: min,
                    replicas_max: min + more,
                    replicas_idle: idle.filter(|idle| *idle < min),
                    triggers: kinds
                        .iter()
                        .enumerate()
                        .map(|(i, k)| trigger(i, *k))
                        .collect(),
                    fallback,
                    behavior,
                    zero,
                    cooldown_ms: cooldown_s * 1_000,
                    ..Policy::default()
                };
                if banded {
                    policy.strategy = starling_engine::policy::Strategy::Banded(Banded::default());
                }
                policy.annotations.paused_replicas = paused_replicas;
                policy.annotations.paused_scale_in = note == 0;
                policy.annotations.paused_scale_out = note == 1;
                policy.annotations.force_activation = note == 2;
                policy.annotations.paused = note == 3;
                policy.dry_run = note == 4;
                policy
            },
        )
}

fn answer(web: &Scenario, index: usize, number: i64) -> Reading {
    if web.policy.triggers[index].source.is_outside() {
        value(number)
    } else {
        Reading::Pods(usage(web.size, number))
    }
}

pub fn happen(web: &mut Scenario, after_s: u64, act: &Act) {
    web.later(after_s);
    let triggers = web.policy.triggers.len();
    let mut readings = web.readings.clone();
    readings.resize(triggers, Reading::None);
    match act {
        Act::Answers(numbers) => {
            readings = (0..triggers).map(|i| answer(web, i, numbers[i])).collect();
        }
        Act::Fails(i) => readings[i % triggers].fail("down".into(), web.now),
        Act::Silent(i) => readings[i % triggers] = Reading::None,
        Act::Lost(i, n) => {
            let i = i % triggers;
            if !web.policy.triggers[i].source.is_outside() {
                let mut sums = usage(web.size.saturating_sub(*n), 90);
                sums.add_missing((*n).min(web.size), Some(1_000));
                readings[i] = Reading::Pods(sums);
            }
        }
        Act::Nothing => {}
        Act::NewLeader => {
            web.fail_over();
            readings.clear();
        }
        Act::Restart => {
            let bytes = postcard::to_allocvec(&web.history).unwrap();
            web.history = postcard::from_bytes::<History>(&bytes).unwrap();
            web.fail_over();
            readings.clear();
        }
    }
    web.read(readings);
}

/// A trigger that says nothing certain now: no answer, a failure, an answer of
/// over 90 s ago, or no sample of any replica.
fn uncertain(web: &Scenario, index: usize) -> bool {
    match web.readings.get(index).unwrap_or(&Reading::None) {
        Reading::None | Reading::Unselected(_) | Reading::Failed { .. } | Reading::Kept { .. } => {
            true
        }
        Reading::Value { at, .. } => web.now.since(*at) > 90_000,
        Reading::Answered { sums, at } => web.now.since(*at) > 90_000 || sums.ready == 0,
        Reading::Pods(sums) => web.size > 0 && sums.ready == 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn i5_every_size_lies_within_the_bounds(
        policy in policy(),
        size in 0_u32..40,
        life in prop::collection::vec(act(), 1..40),
    ) {
        let mut web = Scenario::new(Vec::new(), size).with(|p| *p = policy);
        for (after_s, act) in &life {
            happen(&mut web, *after_s, act);
            let decision = web.pass();
            let bounds = web.policy.bounds();
            prop_assert!(
                bounds.contains(&decision.report.target),
                "{} is not within {bounds:?}", decision.report.target
            );
            prop_assert!(web.policy.dry_run || decision.target == decision.report.target);
        }
    }

    #[test]
    fn i9_planning_again_without_new_input_changes_nothing(
        policy in policy(),
        size in 0_u32..40,
        life in prop::collection::vec(act(), 1..40),
    ) {
        let mut web = Scenario::new(Vec::new(), size).with(|p| *p = policy);
        for (after_s, act) in &life {
            happen(&mut web, *after_s, act);
            web.pass();
            let again = web.look();
            prop_assert_eq!(again.target, web.size);
            prop_assert_eq!(again.changes, vec![]);
        }
    }

    #[test]
    fn i4_what_isn_t_known_never_shrinks_a_workload(
        policy in policy(),
        size in 0_u32..40,
        life in prop::collection::vec(act(), 1..60),
    ) {
        let mut web = Scenario::new(Vec::new(), size).with(|p| {
            *p = policy;
            p.fallback = None;
            p.annotations = starling_engine::policy::Annotations::default();
        });
        for (after_s, act) in &life {
            happen(&mut web, *after_s, act);
            let before = web.size.min(*web.policy.bounds().end());
            let unsure = (0..web.policy.triggers.len()).any(|i| uncertain(&web, i));
            let decision = web.pass();
            if unsure {
                prop_assert!(
                    decision.target >= before,
                    "shrank from {before} to {}:\n{}", decision.target, decision.report
                );
            }
        }
    }
}

/// A life of one queue with 10 for each replica, no tolerance, and a model that
/// remembers everything itself.
struct Model {
    /// Every recommendation ever, with its time.
    wanted: Vec<(u64, u32)>,
    /// The size after every pass, with its time.
    sizes: Vec<(u64, u32)>,
    busy_at: u64,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn i6_windows_rates_and_cooldowns_hold_across_leader_changes_and_restarts(
        life in prop::collection::vec(
            (1_u64..120, 0_i64..400, prop::bool::weighted(0.3), prop::bool::weighted(0.1)), 1..80,
        ),
        window_s in 60_u64..600,
        pods in 1_i32..8,
        cooldown_s in 10_u64..400,
    ) {
        let mut queue = crate::scenario::ten_each();
        queue.activation_milli = 20_000;
        let mut web = Scenario::new(vec![queue], 1).with(|p| {
            p.replicas_min = 0;
            p.replicas_max = 30;
            p.cooldown_ms = cooldown_s * 1_000;
            p.initial_cooldown_ms = p.cooldown_ms;
            p.controller.tolerance_up_ppm = 0;
            p.controller.tolerance_down_ppm = 0;
            let rates = vec![Rate { kind: RateKind::Pods, value: pods, period_ms: 60_000 }];
            p.behavior = Some(Behavior {
                up: Rules { rates, ..Rules::up() },
                down: Rules { window_ms: Some(window_s * 1_000), ..Rules::default() },
            });
        });
        let mut model = Model { wanted: Vec::new(), sizes: Vec::new(), busy_at: web.now.0 };
        for (after_s, load, new_leader, fails) in life {
            web.later(after_s);
            if new_leader {
                let bytes = postcard::to_allocvec(&web.history).unwrap();
                web.history = postcard::from_bytes(&bytes).unwrap();
                web.fail_over();
            }
            web.read(vec![if fails { failed("down") } else { value(load) }]);
            let (before, now) = (web.size, web.now.0);
            web.pass();
            let after = web.size;
            model.sizes.push((now, after));
            if fails {
                prop_assert!(after >= before);
                continue;
            }
            if load > 20 {
                model.busy_at = now;
            }
            let wanted = u32::try_from(load).unwrap().div_ceil(10);
            let recent = |(at, n): &(u64, u32)| (now - at < window_s * 1_000).then_some(*n);
            let floor = model.wanted.iter().filter_map(recent).max().unwrap_or(0).max(wanted);
            if after == 0 && before > 0 {
                prop_assert!(now - model.busy_at > cooldown_s * 1_000, "rested too early");
            } else if after < before {
                prop_assert!(after >= floor.min(30).min(before), "{after} < {floor} in the window");
            }
            if after > before && before > 0 {
                let then = model.sizes.iter().rfind(|(at, _)| now - at >= 60_000);
                let start = then.map_or(1, |(_, size)| *size);
                let limit = start + pods.unsigned_abs();
                prop_assert!(after <= limit, "grew from {start} to {after} within a minute");
            }
            // At rest nobody recommends anything.
            if before > 0 && after > 0 {
                model.wanted.push((now, wanted));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn i4_failures_hold_up_to_the_threshold_and_then_the_fallback_applies_until_recovery(
        polls in prop::collection::vec((any::<bool>(), 0_i64..300), 1..60),
        threshold in 0_u32..5,
        replicas in 1_u32..20,
        leader_changes in prop::collection::vec(any::<bool>(), 60),
    ) {
        let mut web = Scenario::new(vec![crate::scenario::ten_each()], 5).with(|p| {
            p.replicas_max = 50;
            p.controller.tolerance_up_ppm = 0;
            p.controller.tolerance_down_ppm = 0;
            p.fallback = Some(Fallback {
                failure_threshold: threshold,
                replicas,
                behavior: FallbackBehavior::Static,
                recovery_threshold: None,
            });
        });
        // Failures in a row, and good answers since, as a person would count them.
        let (mut bad, mut good) = (0, 0);
        for ((fails, load), leader_changes) in polls.into_iter().zip(leader_changes) {
            web.later(30);
            if leader_changes {
                web.fail_over();
            }
            web.read(vec![if fails { failed("down") } else { value(load) }]);
            let before = web.size;
            let decision = web.pass();
            if fails {
                (bad, good) = (bad + 1, 0);
            } else {
                good += 1;
                if bad <= threshold || good >= 3 {
                    (bad, good) = (0, 0);
                }
            }
            let own = (!fails).then(|| u32::try_from(load).unwrap().div_ceil(10));
            let stand_in = (bad > threshold).then_some(replicas);
            prop_assert_eq!(decision.report.raw, own.max(stand_in), "{}", decision.report);
            if fails && stand_in.is_none() {
                prop_assert!(web.size >= before);
            }
        }
    }
}
