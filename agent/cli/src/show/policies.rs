//! `starling policies`: bounds, sizes, triggers.

use serde::Serialize;
use starling_proto::v1;

use super::decisions::Decision;
use super::{Header, notes, some, target, time};
use crate::human;
use crate::output::{Show, Style, left, right, table};

#[derive(Debug, Serialize)]
pub struct Policies {
    pub header: Header,
    pub policies: Vec<Policy>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Policy {
    pub name: String,
    pub target: String,
    pub strategy: &'static str,
    pub replicas_min: u32,
    pub replicas_max: u32,
    pub replicas_idle: Option<u32>,
    /// Granted by the log.
    pub size: u32,
    pub running: u32,
    /// Only the leader knows.
    pub wanted: Option<u32>,
    pub active: bool,
    pub paused: bool,
    pub dry_run: bool,
    pub triggers: Vec<Trigger>,
    pub fallback: Option<Fallback>,
    pub polling_interval_ms: u64,
    pub cooldown_ms: u64,
    pub last_change: Option<Decision>,
    pub revision: u64,
    pub source: String,
    pub created_at: Option<String>,
    pub shares: Vec<Share>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trigger {
    pub name: String,
    pub source: String,
    pub goal: &'static str,
    /// Percent or units, each in thousandths.
    pub goal_milli: i64,
    pub value_milli: Option<i64>,
    pub value_age_ms: Option<u64>,
    /// The value is that of all replicas together, the goal for each.
    pub value_in_all: bool,
    pub failures: u32,
    pub error: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fallback {
    pub failure_threshold: u32,
    pub replicas: u32,
    pub behavior: &'static str,
    pub in_force: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Share {
    pub node_id: u64,
    pub node: String,
    pub granted: u32,
    pub running: u32,
}

impl From<v1::Policy> for Policy {
    fn from(policy: v1::Policy) -> Policy {
        Policy {
            strategy: match policy.strategy() {
                v1::Strategy::Unspecified => "unknown",
                v1::Strategy::Target => "target",
                v1::Strategy::Banded => "banded",
                v1::Strategy::Objective => "objective",
            },
            target: target(policy.target.as_ref()),
            created_at: time(policy.create_time.as_ref()),
            name: policy.name,
            replicas_min: policy.replicas_min,
            replicas_max: policy.replicas_max,
            replicas_idle: policy.replicas_idle,
            size: policy.size,
            running: policy.running,
            wanted: policy.wanted,
            active: policy.active,
            paused: policy.paused,
            dry_run: policy.dry_run,
            triggers: policy.triggers.into_iter().map(Trigger::from).collect(),
            fallback: policy.fallback.map(Fallback::from),
            polling_interval_ms: policy.polling_interval_ms,
            cooldown_ms: policy.cooldown_ms,
            last_change: policy.last_change.map(Decision::from),
            revision: policy.revision,
            source: policy.source,
            shares: policy
                .shares
                .into_iter()
                .map(|share| Share {
                    node_id: share.node_id,
                    node: share.node_name,
                    granted: share.granted,
                    running: share.running,
                })
                .collect(),
        }
    }
}

impl From<v1::Trigger> for Trigger {
    fn from(trigger: v1::Trigger) -> Trigger {
        let goal = trigger.goal.unwrap_or_default();
        Trigger {
            goal: match goal.r#type() {
                v1::GoalType::Unspecified => "unknown",
                v1::GoalType::Utilization => "utilization",
                v1::GoalType::AverageValue => "average_value",
                v1::GoalType::Value => "value",
            },
            goal_milli: goal.milli,
            name: trigger.name,
            source: trigger.source,
            value_milli: trigger.value_milli,
            value_age_ms: trigger.value_age_ms,
            value_in_all: trigger.value_in_all,
            failures: trigger.failures,
            error: some(trigger.error),
        }
    }
}

impl From<v1::Fallback> for Fallback {
    fn from(fallback: v1::Fallback) -> Fallback {
        Fallback {
            behavior: match fallback.behavior() {
                v1::FallbackBehavior::Unspecified => "unknown",
                v1::FallbackBehavior::Static => "static",
                v1::FallbackBehavior::CurrentReplicas => "current_replicas",
                v1::FallbackBehavior::CurrentReplicasIfHigher => "current_replicas_if_higher",
                v1::FallbackBehavior::CurrentReplicasIfLower => "current_replicas_if_lower",
            },
            failure_threshold: fallback.failure_threshold,
            replicas: fallback.replicas,
            in_force: fallback.in_force,
        }
    }
}

impl Trigger {
    /// Value against goal, as kubectl shows an HPA's: `cpu 40%/70%`, and for a
    /// value that the replicas share `queue 60/5 each`.
    fn short(&self) -> String {
        let unit = if self.goal == "utilization" { "%" } else { "" };
        let value = match self.value_milli {
            Some(value) => human::milli(value) + unit,
            None => "?".into(),
        };
        let each = if self.value_in_all { " each" } else { "" };
        let failing = if self.failures > 0 { " failing" } else { "" };
        format!(
            "{} {value}/{}{unit}{each}{failing}",
            self.name,
            human::milli(self.goal_milli)
        )
    }
}

impl Policy {
    /// One word on what it is doing.
    fn state(&self) -> &'static str {
        if self.paused {
            "paused"
        } else if self
            .fallback
            .as_ref()
            .is_some_and(|fallback| fallback.in_force)
        {
            "fallback"
        } else if self.dry_run {
            "dry run"
        } else if self.active {
            "active"
        } else {
            "idle"
        }
    }
}

impl Show for Policies {
    fn text(&self, style: Style) -> String {
        let columns = [
            left("NAME"),
            left("TARGET"),
            right("MIN"),
            right("MAX"),
            right("SIZE"),
            right("RUNNING"),
            right("WANTED").only_wide(),
            left("STATE"),
            left("TRIGGERS"),
            right("CHANGED"),
            left("STRATEGY").only_wide(),
            right("REVISION").only_wide(),
            left("SOURCE").only_wide(),
        ];
        let rows = self.policies.iter().map(|policy| {
            let triggers: Vec<String> = policy.triggers.iter().map(Trigger::short).collect();
            let changed = policy
                .last_change
                .as_ref()
                .map(|change| self.header.age(change.at));
            [
                policy.name.clone(),
                policy.target.clone(),
                policy.replicas_min.to_string(),
                policy.replicas_max.to_string(),
                policy.size.to_string(),
                policy.running.to_string(),
                policy
                    .wanted
                    .map(|wanted| wanted.to_string())
                    .unwrap_or_default(),
                policy.state().into(),
                triggers.join(", "),
                changed.unwrap_or_default(),
                policy.strategy.into(),
                policy.revision.to_string(),
                policy.source.clone(),
            ]
        });
        table(columns, rows, style)
    }

    fn note(&self) -> Option<String> {
        let empty = "No policy is in force; put one into an agent's policy directory.";
        notes(
            self.header.caution(),
            self.policies.is_empty().then_some(empty),
        )
    }
}
