//! Policies, triggers and reasons as the public API shows them.

use starling_engine::decide::reason::Report;
use starling_engine::history::{Health, History};
use starling_engine::ledger::{InForce, Workload};
use starling_engine::policy::{
    Fallback, FallbackBehavior, Goal, Resource, Source, Strategy, Trigger,
};

use super::{target, time};
use crate::v1;

/// A policy and what the ledger knows of its workload. The caller adds what was
/// measured (`running`, `shares`), wanted, and last read by the triggers.
pub fn policy(put: &InForce, workload: Option<&Workload>) -> v1::Policy {
    let policy = &put.policy;
    let history = workload.map(|w| &w.history);
    v1::Policy {
        name: policy.name.clone(),
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

/// The report's one-line account.
pub fn summary(_report: &Report) -> String {
    String::new()
}

/// The whole account.
pub fn explanation(_report: &Report) -> v1::Explanation {
    v1::Explanation::default()
}
