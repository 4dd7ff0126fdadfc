//! Policies, triggers and reasons as the public API shows them.

use starling_engine::decide::reason::{Outcome, Report};
use starling_engine::history::{Health, History};
use starling_engine::ledger::{InForce, Workload};
use starling_engine::policy::{
    Fallback, FallbackBehavior, Goal, Resource, Source, Strategy, Trigger,
};

use starling_engine::unit::Ms;

use super::{target, time};
use crate::v1;

/// A decision's one-line reason is cut beyond this.
pub const SUMMARY_CHARS_MAX: usize = 240;

/// A policy and what the ledger knows of its workload. The caller adds what was
/// measured (`running`, `shares`), wanted, and last read by the triggers.
pub fn policy(put: &InForce, workload: Option<&Workload>) -> v1::Policy {
    let policy = &put.policy;
    let history = workload.map(|w| &w.history);
    v1::Policy {
        name: policy.name.to_string(),
        target: Some(target(&policy.target)),
        replicas_min: policy.replicas_min,
        replicas_max: policy.replicas_max,
        replicas_idle: policy.replicas_idle,
        size: workload.map_or(0, |w| w.size),
        triggers: policy
            .triggers
            .iter()
            .map(|t| trigger(t, health(history, &t.name)))
            .collect(),
        active: history.is_some_and(|h| h.activity.active),
        fallback: policy.fallback.as_ref().map(|f| {
            let in_force = policy
                .triggers
                .iter()
                .any(|t| health(history, &t.name).failures > f.failure_threshold);
            fallback(f, in_force)
        }),
        strategy: match policy.strategy {
            Strategy::Target => v1::Strategy::Target,
            Strategy::Banded(_) => v1::Strategy::Banded,
            Strategy::Objective(_) => v1::Strategy::Objective,
        }
        .into(),
        paused: policy.annotations.paused || policy.annotations.paused_replicas.is_some(),
        dry_run: policy.dry_run,
        polling_interval_ms: policy.polling_interval_ms,
        cooldown_ms: policy.cooldown_ms,
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
    v1::Trigger {
        name: trigger.name.clone(),
        source: match &trigger.source {
            Source::Resource(Resource::Cpu) => "cpu".into(),
            Source::Resource(Resource::Memory) => "memory".into(),
            Source::Container { container, .. } => format!("container {container}"),
            Source::Pods { metric } => format!("pods metric {metric}"),
            Source::Object { .. } => "object".into(),
            Source::Unknown { kind } | Source::External { kind, .. } => kind.clone(),
        },
        goal: Some(goal(trigger.goal)),
        failures: health.failures,
        ..v1::Trigger::default()
    }
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

fn fallback(fallback: &Fallback, in_force: bool) -> v1::Fallback {
    v1::Fallback {
        failure_threshold: fallback.failure_threshold,
        replicas: fallback.replicas,
        behavior: match fallback.behavior {
            FallbackBehavior::Static => v1::FallbackBehavior::Static,
            FallbackBehavior::CurrentReplicas => v1::FallbackBehavior::CurrentReplicas,
            FallbackBehavior::CurrentReplicasIfHigher => {
                v1::FallbackBehavior::CurrentReplicasIfHigher
            }
            FallbackBehavior::CurrentReplicasIfLower => {
                v1::FallbackBehavior::CurrentReplicasIfLower
            }
        }
        .into(),
        in_force,
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
        trigger.value_milli = input.value.map(|value| match input.goal {
            Goal::Utilization { .. } => value.saturating_mul(1_000),
            Goal::AverageValue { .. } | Goal::Value { .. } => value,
        });
        trigger.value_in_all =
            matches!(input.goal, Goal::AverageValue { .. }) && input.pods.is_none();
        trigger.value_age_ms = input.age_ms.map(|age_ms| age_ms.saturating_add(elapsed_ms));
        trigger.error = match input.outcome {
            Outcome::Failed { .. } | Outcome::Fallback { .. } | Outcome::Stale => clean(&words),
            Outcome::Proposes { .. } | Outcome::Unheard | Outcome::NoReplicas => String::new(),
        };
    }
}

/// The report on one line of at most [`SUMMARY_CHARS_MAX`]: the trigger that won
/// and what then moved its wish.
pub fn summary(report: &Report) -> String {
    report.summary(SUMMARY_CHARS_MAX)
}

/// The whole account.
pub fn explanation(report: &Report) -> v1::Explanation {
    let reason = |(code, words): (&str, String)| v1::Reason {
        code: code.into(),
        text: clean(&words),
    };
    v1::Explanation {
        lines: report.to_string().lines().map(str::to_owned).collect(),
        reasons: report.reasons().map(reason).collect(),
    }
}

/// On one line, whatever a source put into its words.
fn clean(words: &str) -> String {
    words
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use starling_engine::decide::objective::reason::Reason;
    use starling_engine::decide::reason::{Failure, Input, Step};
    use starling_engine::ledger::InForce;
    use starling_engine::policy::{Goal, Policy, Resource, Trigger};

    use super::*;

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
        };
        let put = InForce {
            policy: Policy {
                triggers: triggers.map(trigger).into(),
                ..Policy::default()
            },
            revision: 7,
            created_at: Ms(1),
            source: "a:x.yaml".into(),
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
        assert_eq!((cpu.value_milli, cpu.value_in_all), (Some(91_000), false));
        assert_eq!(
            (queue.value_milli, queue.value_in_all),
            (Some(45_000), true)
        );
        assert_eq!(queue.value_age_ms, Some(2_500));
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
                .reasons
                .iter()
                .any(|r| r.code == "ObjectiveHeld")
        );
        assert!(explanation.lines.contains(&summary(&report)));
    }

    #[test]
    fn an_explanation_has_a_code_for_each_input_and_step() {
        let explanation = explanation(&report());
        let codes: Vec<&str> = explanation
            .reasons
            .iter()
            .map(|r| r.code.as_str())
            .collect();
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
        assert!(explanation.reasons.iter().all(|r| !r.text.is_empty()));
    }
}
