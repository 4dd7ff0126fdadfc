//! Answers about each replica: how old they may be.

use starling_engine::decide::Reading;
use starling_engine::decide::reason::{ConditionKind, Outcome};
use starling_engine::policy::{Goal, STALE_MS_MIN, Source, Trigger};
use starling_engine::unit::Ms;

use super::scenario::{Scenario, usage};

/// A core for each replica.
fn requests() -> Trigger {
    Trigger {
        name: "requests".into(),
        source: Source::Pods {
            metric: "requests".into(),
            selector: Some("verb=GET".into()),
        },
        goal: Goal::AverageValue { milli: 1_000 },
        activation_milli: 0,
        window_ms: None,
    }
}

fn answered(ready: u32, percent: i64) -> Reading {
    Reading::Answered {
        sums: usage(ready, percent),
        at: Ms(0),
    }
}

#[test]
fn i4_an_old_answer_about_the_replicas_keeps_the_size_and_says_so() {
    let mut web = Scenario::new(vec![requests()], 4).with(|policy| {
        policy.controller.down_window_ms = 0;
        policy.polling_interval_ms = 5_000;
    });
    web.read(vec![answered(4, 100)]).pass();
    web.later(1).read(vec![answered(4, 20)]);
    web.later(STALE_MS_MIN / 1_000 + 1);
    let decision = web.look();
    assert_eq!(decision.target, 4);
    let input = &decision.report.inputs[0];
    assert_eq!(input.outcome, Outcome::Stale);
    assert_eq!(input.age_ms, Some(STALE_MS_MIN + 1_000));
    let mut conditions = decision.report.conditions.iter();
    let active = conditions.find(|it| it.kind == ConditionKind::ScalingActive);
    assert_eq!(active.unwrap().reason, "FailedGetPodsMetric");
    // A new one that says the same shrinks it.
    web.read(vec![answered(4, 20)]);
    assert_eq!(web.look().target, 1);
}

#[test]
fn a_report_names_the_metric_and_its_series() {
    let mut web = Scenario::new(vec![requests()], 4);
    web.read(vec![answered(4, 200)]);
    let report = web.look().report;
    assert_eq!(report.inputs[0].source, "pods' requests{verb=GET}");
    assert_eq!(report.target, 8);
}
