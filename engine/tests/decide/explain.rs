//! What `explain` prints: one situation each, with the words for it. Every
//! paragraph fits a terminal of 80 columns.

mod bands;
mod failures;
mod holds;
mod limits;
mod measures;
mod objective;
mod rest;

use crate::scenario::{Scenario, cpu, failed, fallback, named, ten_each, usage, value};
use starling_engine::decide::{Decision, Reading};
use starling_engine::policy::{
    Banded, Behavior, FallbackBehavior, Goal, Rate, RateKind, Resource, Rules, Select, Source,
    Strategy, Trigger, Zero,
};

/// The report's words, followed by its codes.
fn explain(decision: &Decision) -> String {
    let report = &decision.report;
    let text = report.to_string();
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "too wide: {line}");
    }
    let codes: Vec<&str> = report
        .inputs
        .iter()
        .map(|input| input.outcome.code())
        .chain(
            report
                .steps
                .iter()
                .map(starling_engine::decide::reason::Step::code),
        )
        .collect();
    format!("{text}[{}]", codes.join(" "))
}

fn one_pod_a_minute(rules: &Rules) -> Behavior {
    let rates = vec![Rate {
        kind: RateKind::Pods,
        value: 1,
        period_ms: 60_000,
    }];
    let rules = Rules {
        rates,
        ..rules.clone()
    };
    Behavior {
        up: rules.clone(),
        down: rules,
    }
}

/// Polls that fail every 30 s; the last pass but one may change the size.
fn fail_times(web: &mut Scenario, times: u32) -> Decision {
    let mut last = web.look();
    for _ in 0..times {
        web.later(30).read(vec![failed("connection refused")]);
        last = web.pass();
    }
    last
}
