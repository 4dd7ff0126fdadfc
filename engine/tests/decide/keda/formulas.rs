//! Formulas (keda.md 1.7): what a policy with one does while its triggers answer and fail.

use starling_engine::decide::Reading;
use starling_engine::policy::{Behavior, FallbackBehavior, Goal, Rate, RateKind, Rules};

use super::condition;
use crate::scenario::{Scenario, cpu, failed, fallback, formula, named, queue, usage, value};

const EACH: Goal = Goal::AverageValue { milli: 10_000 };

/// Two queues and a formula over them; nothing is held back.
fn composed(text: &str, size: u32) -> Scenario {
    let triggers = vec![
        named("orders", EACH),
        named("mails", EACH),
        formula(text, EACH),
    ];
    Scenario::new(triggers, size).with(|p| {
        p.replicas_min = 0;
        p.replicas_max = 40;
        p.cooldown_ms = 0;
        let rules = Rules {
            window_ms: Some(0),
            rates: vec![Rate {
                kind: RateKind::Pods,
                value: 100,
                period_ms: 15_000,
            }],
            ..Rules::default()
        };
        p.behavior = Some(Behavior {
            up: rules.clone(),
            down: rules,
        });
    })
}

fn read(web: &mut Scenario, orders: Reading, mails: Reading) -> u32 {
    web.later(30).read(vec![orders, mails]);
    web.pass();
    web.size
}

#[test]
fn the_formula_decides_and_its_triggers_don_t() {
    let mut web = composed("orders + 2 * mails", 1);
    assert_eq!(web.policy.check(), []);
    // 10 and 80 would ask for 1 and 8 by themselves.
    assert_eq!(read(&mut web, value(10), value(80)), 17);
    assert_eq!(read(&mut web, value(10), value(10)), 3);
    let decision = web.look();
    assert_eq!(decision.report.inputs[2].value, Some(30_000));
    assert_eq!(decision.report.winner, Some(2));
    let words = decision.report.to_string();
    let plain = words.split_whitespace().collect::<Vec<_>>().join(" ");
    for said in [
        "mails (metrics-api) goes into the formula: 10; measured just now.",
        "formula (= orders + 2 * mails) is near enough to its target to keep 3 replicas: 30 in all",
    ] {
        assert!(plain.contains(said), "{words}");
    }
}

#[test]
fn a_result_above_its_activation_wakes_and_nothing_puts_to_rest() {
    let mut web = composed("max(orders, mails) - 5", 0);
    // Above zero, each of them; the formula isn't.
    assert_eq!(read(&mut web, value(3), value(5)), 0);
    assert_eq!(read(&mut web, value(3), value(6)), 1);
    assert_eq!(read(&mut web, value(0), value(0)), 0);
}

#[test]
fn what_agents_measure_counts_beside_the_formula() {
    let mut web = composed("orders", 4);
    web.policy.triggers.push(cpu(50));
    web.later(30).read(vec![
        value(10),
        value(0),
        Reading::None,
        Reading::Pods(usage(4, 100)),
    ]);
    let decision = web.pass();
    assert_eq!(decision.report.winner, Some(3));
    assert!(web.size > 4, "{}", decision.report);
}

#[test]
fn i4_a_trigger_that_fails_makes_the_formula_unknown_and_never_zero() {
    let mut web = composed("orders + mails", 1);
    assert_eq!(read(&mut web, value(40), value(40)), 8);
    for _ in 0..10 {
        assert_eq!(read(&mut web, value(0), failed("down")), 8);
    }
    let decision = web.look();
    assert_eq!(
        condition(&decision, "Ready"),
        Some(("False", "TriggerError".to_owned()))
    );
    let words = decision.report.to_string();
    let plain = words.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        plain.contains("failed 3 times in a row: its value isn't known without mails."),
        "{words}"
    );
    // Nor does it grow by what one of them says: the formula may mean the opposite.
    assert_eq!(read(&mut web, value(400), failed("down")), 8);
    // Neither does an answer that is too old, nor one that never came.
    web.later(600).read(vec![value(0), Reading::None]);
    web.pass();
    assert_eq!(web.size, 8);
    assert_eq!(read(&mut web, value(10), value(10)), 2);
}

#[test]
fn the_fallback_stands_in_for_the_whole_formula() {
    let mut web = composed("orders + mails", 2);
    web.policy.fallback = Some(fallback(6, FallbackBehavior::Static));
    for _ in 0..3 {
        assert_eq!(read(&mut web, value(20), failed("down")), 2);
    }
    assert_eq!(read(&mut web, value(20), failed("down")), 6);
    // Good answers may raise the size at once, and lower it once there are three.
    assert_eq!(read(&mut web, value(20), value(60)), 8);
    assert_eq!(read(&mut web, value(10), value(10)), 6);
    assert_eq!(read(&mut web, value(10), value(10)), 2);
}

#[test]
fn a_formula_may_say_itself_what_counts_where_a_trigger_fails() {
    let mut web = composed("orders + (mails ?? 30)", 2);
    web.policy.fallback = Some(fallback(6, FallbackBehavior::ScalingModifiers));
    assert_eq!(web.policy.check(), []);
    // Below the threshold it is unknown, as everywhere.
    for _ in 0..3 {
        assert_eq!(read(&mut web, value(20), failed("down")), 2);
    }
    assert_eq!(read(&mut web, value(20), failed("down")), 5);
    assert_eq!(read(&mut web, value(50), failed("down")), 8);
    assert_eq!(read(&mut web, value(10), value(10)), 2);
    // Where it comes to nil, its own size stands in.
    let mut nil = composed("orders ?? mails", 2);
    nil.policy.fallback = Some(fallback(6, FallbackBehavior::ScalingModifiers));
    for _ in 0..4 {
        read(&mut nil, failed("down"), failed("down"));
    }
    assert_eq!(nil.size, 6);
}

#[test]
fn a_formula_without_a_result_holds_the_size_until_the_fallback() {
    let mut web = composed("100 / orders", 1);
    assert_eq!(read(&mut web, value(1), value(0)), 10);
    for _ in 0..10 {
        assert_eq!(read(&mut web, value(0), value(0)), 10);
    }
    let words = web.look().report.to_string();
    let plain = words.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(plain.contains("the formula gives inf"), "{words}");
    web.policy.fallback = Some(fallback(3, FallbackBehavior::Static));
    for _ in 0..5 {
        read(&mut web, value(0), value(0));
    }
    assert_eq!(web.size, 3);
}

#[test]
fn i9_planning_twice_changes_nothing_with_a_formula() {
    let mut web = composed("orders / mails", 3);
    web.policy.fallback = Some(fallback(6, FallbackBehavior::Static));
    for (orders, mails) in [(90, 3), (0, 0), (10, 5)] {
        web.later(30).read(vec![value(orders), value(mails)]);
        web.pass();
        let again = web.pass();
        assert_eq!(again.changes, [], "{orders} {mails}");
    }
}

#[test]
fn a_policy_with_a_formula_that_can_t_work_is_refused() {
    let wrong = |web: Scenario| -> Vec<String> {
        let violations = web.policy.check().into_iter();
        violations.map(|it| it.to_string()).collect()
    };
    assert_eq!(
        wrong(composed("orders + carts", 1)),
        [
            "spec.scalingModifiers.formula: names `carts`, which is no trigger that is asked; \
             there are orders, mails (at character 10)"
        ]
    );
    let alone = Scenario::new(vec![cpu(50), formula("1", EACH)], 1);
    assert!(wrong(alone)[0].starts_with("spec.scalingModifiers: needs triggers"));
    let twice = composed("orders", 1).with(|p| {
        let mut other = formula("mails", EACH);
        other.name = "other".into();
        p.triggers.push(other);
    });
    assert_eq!(wrong(twice), ["spec.scalingModifiers: stands twice"]);
    let nothing = composed("orders", 1).with(|p| {
        p.triggers[2].goal = Goal::Value { milli: 0 };
    });
    assert!(wrong(nothing)[0].starts_with("spec.scalingModifiers.target: must be more than 0"));
    let without = Scenario::new(vec![queue(EACH)], 1).with(|p| {
        p.fallback = Some(fallback(6, FallbackBehavior::ScalingModifiers));
    });
    assert!(wrong(without)[0].starts_with("spec.fallback.behavior: needs spec.scalingModifiers"));
}
