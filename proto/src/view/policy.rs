//! Policies, their triggers and one-line reasons as the public API shows them.
//!
//! Comes in: a policy in force, the ledger's memory of its workload, reports of
//! decisions. Goes out: messages. What was measured and who asks is added by the
//! caller. Never leaves a field out that a user can state.

use starling_engine::decide::reason::{Outcome, Report};
use starling_engine::history::{Health, History};
use starling_engine::ledger::{InForce, Workload};
use starling_engine::policy::{Goal, Source, Trigger};
use starling_engine::unit::Ms;

use super::explain::{clean, shared};
use super::{duration, settings, target, time};
use crate::v1;

/// A decision's one-line reason is cut beyond this.
pub const SUMMARY_CHARS_MAX: usize = 240;

/// A policy and what the ledger knows of its workload. The caller adds what was
/// measured (`running`, `shares`), wanted, and last read by the triggers, the
/// conditions, how old these are, and what blocks the workload.
pub fn policy(put: &InForce, workload: Option<&Workload>) -> v1::Policy {
    let policy = &put.policy;
    let history = workload.map(|w| &w.history);
    let failing = |threshold: u32| {
        let mut triggers = policy.triggers.iter();
        triggers.any(|t| health(history, &t.name).failures > threshold)
    };
    v1::Policy {
        namespace: policy.name.namespace.clone(),
        name: policy.name.name.clone(),
        target: Some(target(&policy.target)),
        target_version: policy.target_version.clone(),
        replicas_min: policy.replicas_min,
        replicas_max: policy.replicas_max,
        replicas_idle: policy.replicas_idle,
        triggers: (policy.triggers.iter())
            .map(|t| trigger(t, health(history, &t.name)))
            .collect(),
        fallback: (policy.fallback.as_ref())
            .map(|it| settings::fallback(it, failing(it.failure_threshold))),
        behavior: Some(settings::behavior(policy)),
        strategy: settings::strategy(&policy.strategy).into(),
        banded: settings::banded(&policy.strategy),
        objective: settings::objective(&policy.strategy),
        zero_mode: settings::zero_mode(policy.zero).into(),
        annotations: Some(settings::annotations(&policy.annotations)),
        dry_run: policy.dry_run,
        polling_interval: Some(duration(policy.polling_interval_ms)),
        cooldown: Some(duration(policy.cooldown_ms)),
        initial_cooldown: Some(duration(policy.initial_cooldown_ms)),
        cpu_initialization_period: Some(duration(policy.controller.cpu_initialization_ms)),
        stale_after: Some(duration(policy.keeps_ms())),
        initial_readiness_delay: Some(duration(policy.controller.initial_readiness_ms)),
        size: workload.map_or(0, |w| w.size),
        dry_run_size: workload.and_then(|w| w.would),
        active: history.is_some_and(|h| h.activity.active),
        paused: policy.annotations.paused || policy.annotations.paused_replicas.is_some(),
        revision: put.revision,
        source: put.source.clone(),
        create_time: Some(time(put.created_at)),
        ..v1::Policy::default()
    }
}

fn health(history: Option<&History>, trigger: &str) -> Health {
    history
        .and_then(|h| h.health.get(trigger))
        .copied()
        .unwrap_or_default()
}

fn trigger(trigger: &Trigger, health: Health) -> v1::Trigger {
    let mut shown = v1::Trigger {
        name: trigger.name.clone(),
        goal: Some(goal(trigger.goal)),
        activation_milli: trigger.activation_milli,
        failures: health.failures,
        window: trigger.window_ms.map(duration),
        ..v1::Trigger::default()
    };
    shown.source = match &trigger.source {
        Source::Resource(resource) => resource.name().into(),
        Source::Nodes(resource) => {
            shown.of_nodes = true;
            resource.name().into()
        }
        Source::Container {
            resource,
            container,
        } => {
            shown.container.clone_from(container);
            resource.name().into()
        }
        Source::Pods { .. } => {
            shown.metric = trigger.source.series().unwrap_or_default();
            "pods".into()
        }
        Source::Object { .. } => "object".into(),
        Source::Formula { text } => {
            shown.formula.clone_from(text);
            "formula".into()
        }
        Source::Unknown { kind } | Source::External { kind, .. } => kind.clone(),
    };
    shown
}

pub fn goal(goal: Goal) -> v1::Goal {
    let (kind, milli) = match goal {
        Goal::Utilization { percent } => (v1::GoalType::Utilization, i64::from(percent) * 1_000),
        Goal::AverageValue { milli } => (v1::GoalType::AverageValue, milli),
        Goal::Value { milli } => (v1::GoalType::Value, milli),
    };
    v1::Goal {
        r#type: kind.into(),
        milli,
    }
}

/// A report's value in thousandths, whatever it is held against.
pub fn shown_milli(goal: Goal, value: i64) -> i64 {
    match goal {
        Goal::Utilization { .. } => value.saturating_mul(1_000),
        Goal::AverageValue { .. } | Goal::Value { .. } => value,
    }
}

/// What the triggers said in `report`, added to `triggers` of the same policy. A
/// trigger that the report doesn't know, as after a change of the policy, stays
/// without a value.
pub fn read(triggers: &mut [v1::Trigger], report: &Report, now: Ms) {
    let elapsed_ms = now.since(report.at);
    for (input, (_, words)) in report.inputs.iter().zip(report.reasons()) {
        let Some(trigger) = triggers.iter_mut().find(|t| t.name == input.trigger) else {
            continue;
        };
        trigger.value_milli = input.value.map(|value| shown_milli(input.goal, value));
        trigger.value_shared = shared(input);
        trigger.value_age = input
            .age_ms
            .map(|age_ms| duration(age_ms.saturating_add(elapsed_ms)));
        trigger.error = match input.outcome {
            Outcome::Failed { .. } | Outcome::Fallback { .. } | Outcome::Stale => clean(&words),
            Outcome::Proposes { .. }
            | Outcome::Unheard
            | Outcome::NoReplicas
            | Outcome::Composed => String::new(),
        };
    }
}

/// The report on one line of at most [`SUMMARY_CHARS_MAX`]: the trigger that won
/// and what then moved its wish.
pub fn summary(report: &Report) -> String {
    report.summary(SUMMARY_CHARS_MAX)
}

#[cfg(test)]
mod tests {
    use starling_engine::decide::objective::reason::Reason;
    use starling_engine::decide::reason::{Failure, Input, Step};
    use starling_engine::ledger::InForce;
    use starling_engine::policy::{Goal, Policy, Resource, Strategy, Trigger};

    use super::*;
    use crate::view::explain::explanation;

    fn input(trigger: &str, goal: Goal, value: i64, outcome: Outcome) -> Input {
        Input {
            band: None,
            trigger: trigger.into(),
            source: trigger.to_owned().into(),
            goal,
            value: Some(value),
            age_ms: Some(500),
            pods: None,
            outcome,
        }
    }

    fn report() -> Report {
        let proposes = Outcome::Proposes {
            replicas: 9,
            within_tolerance: false,
        };
        let failed = Outcome::Failed {
            reason: Failure::Source("no\nway".into()),
            failures: 2,
            kept: None,
        };
        Report {
            at: Ms(10_000),
            from: 4,
            target: 6,
            inputs: vec![
                input(
                    "cpu",
                    Goal::Utilization { percent: 70 },
                    91,
                    proposes.clone(),
                ),
                input(
                    "queue",
                    Goal::AverageValue { milli: 5_000 },
                    45_000,
                    proposes,
                ),
                input("other", Goal::Value { milli: 1_000 }, 0, failed),
            ],
            winner: Some(1),
            raw: Some(9),
            steps: vec![Step::Bounded { from: 9, to: 6 }],
            ..Report::default()
        }
    }

    fn shown() -> v1::Policy {
        let triggers = [
            ("cpu", Goal::Utilization { percent: 70 }),
            ("queue", Goal::AverageValue { milli: 5_000 }),
            ("other", Goal::Value { milli: 1_000 }),
            ("new", Goal::Value { milli: 1_000 }),
        ];
        let trigger = |(name, goal): (&str, Goal)| Trigger {
            name: name.into(),
            source: Source::Resource(Resource::Cpu),
            goal,
            activation_milli: 0,
            window_ms: None,
        };
        let put = InForce {
            policy: Policy {
                triggers: triggers.map(trigger).into(),
                ..Policy::default()
            },
            revision: 7,
            created_at: Ms(1),
            source: "a:x.yaml".into(),
            copies: std::collections::BTreeSet::new(),
        };
        policy(&put, None)
    }

    #[test]
    fn triggers_show_what_the_report_knows_of_them() {
        let mut shown = shown();
        read(&mut shown.triggers, &report(), Ms(12_000));
        let [cpu, queue, other, new] = shown.triggers.as_slice() else {
            panic!("{shown:?}")
        };
        assert_eq!((cpu.value_milli, cpu.value_shared), (Some(91_000), false));
        assert_eq!(
            (queue.value_milli, queue.value_shared),
            (Some(45_000), true)
        );
        assert_eq!(queue.value_age, Some(duration(2_500)));
        assert!(other.error.contains("no way"), "{}", other.error);
        assert_eq!((new.value_milli, new.error.as_str()), (None, ""));
    }

    #[test]
    fn a_summary_tells_of_the_winner_and_of_what_moved_its_wish_on_one_line() {
        let line = summary(&report());
        assert!(line.starts_with("queue asks for 9 replicas"), "{line}");
        assert!(!line.contains("cpu") && !line.contains('\n'), "{line}");
        let mut long = report();
        long.inputs[1].trigger = "q".repeat(1_000);
        assert_eq!(summary(&long).chars().count(), SUMMARY_CHARS_MAX);
        assert_eq!(summary(&Report::default()), "");
    }

    #[test]
    fn the_objectives_account_is_shown_with_its_codes() {
        let put = InForce {
            policy: Policy {
                strategy: Strategy::Objective(Box::default()),
                ..Policy::default()
            },
            revision: 7,
            created_at: Ms(1),
            source: "a:x.yaml".into(),
            copies: std::collections::BTreeSet::new(),
        };
        assert_eq!(policy(&put, None).strategy(), v1::Strategy::Objective);
        let held = Reason::Held {
            held: 9,
            window_ms: 60_000,
            left_ms: None,
        };
        let report = Report {
            winner: None,
            steps: vec![Step::Objective(held)],
            ..report()
        };
        assert_eq!(summary(&report), "9 replicas were needed in the last 60 s.");
        let explanation = explanation(&report);
        assert!(
            explanation
                .limits
                .iter()
                .any(|it| it.code == "ObjectiveHeld")
        );
        assert!(explanation.lines.contains(&summary(&report)));
    }

    #[test]
    fn an_explanation_has_a_code_for_each_input_and_step() {
        let explanation = explanation(&report());
        let inputs = explanation.inputs.iter().map(|it| it.code.as_str());
        let limits = explanation.limits.iter().map(|it| it.code.as_str());
        let codes: Vec<&str> = inputs.chain(limits).collect();
        assert_eq!(
            codes,
            [
                "ValidMetricFound",
                "ValidMetricFound",
                "TriggerFailed",
                "Bounded"
            ]
        );
        assert!(
            explanation
                .lines
                .iter()
                .all(|line| line.chars().count() <= 80)
        );
        assert!(explanation.inputs.iter().all(|it| !it.text.is_empty()));
        assert!(explanation.limits.iter().all(|it| !it.detail.is_empty()));
    }
}
