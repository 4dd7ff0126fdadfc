//! `starling policies`: bounds, sizes, triggers.

use serde::Serialize;
use starling_proto::{v1, view};

use super::cluster::Warning;
use super::decisions::Decision;
use super::settings::Settings;
use super::{Header, Target, ago, notes, some, time};
use crate::human;
use crate::output::{Show, Style, left, right, table};

#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "it is the JSON's name")]
pub struct Policies {
    pub header: Header,
    pub policies: Vec<Policy>,
    #[serde(skip)]
    pub all_namespaces: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "they are the JSON's fields")]
pub struct Policy {
    pub namespace: String,
    pub name: String,
    pub target: Target,
    pub strategy: &'static str,
    pub replicas_min: u32,
    pub replicas_max: u32,
    pub replicas_idle: Option<u32>,
    /// Granted by the log.
    pub size: u32,
    pub running: u32,
    /// Only the leader knows.
    pub wanted: Option<u32>,
    /// What a dry run was last recorded to want.
    pub dry_run_size: Option<u32>,
    pub active: bool,
    pub paused: bool,
    pub dry_run: bool,
    pub triggers: Vec<Trigger>,
    pub fallback: Option<Fallback>,
    #[serde(flatten)]
    pub settings: Settings,
    pub conditions: Vec<Condition>,
    /// How old the triggers' values and errors and the conditions are; absent where nobody
    /// has decided for this version of the policy yet.
    pub evaluated_age_ms: Option<u64>,
    /// They are of the leader's last pass. Otherwise they are of the last recorded change.
    pub evaluated_now: bool,
    /// For how long the platform, which says how many run, hasn't answered.
    pub platform_silent_ms: Option<u64>,
    /// Why no more replicas can run, or the size can't be written or read.
    pub blocked_reason: Option<String>,
    pub warnings: Vec<Warning>,
    pub last_change: Option<Decision>,
    pub revision: u64,
    pub source: String,
    /// That is on a machine that is no member any more.
    pub ownerless: bool,
    pub created_at: Option<String>,
    pub shares: Vec<Share>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trigger {
    pub name: String,
    pub source: String,
    pub container: Option<String>,
    /// Of the nodes that replicas run on.
    pub of_nodes: bool,
    /// The mean over so long; absent where it adapts.
    pub window_ms: Option<u64>,
    pub metric: Option<String>,
    /// What it makes of the external triggers' values.
    pub formula: Option<String>,
    pub goal: &'static str,
    /// Percent or units, each in thousandths.
    pub goal_milli: i64,
    pub activation_milli: i64,
    pub value_milli: Option<i64>,
    pub value_age_ms: Option<u64>,
    /// The value is that of all replicas together, the goal for each.
    pub value_shared: bool,
    pub failures: u32,
    pub error: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fallback {
    pub failure_threshold: u32,
    pub replicas: u32,
    pub behavior: &'static str,
    pub active: bool,
    pub recovery_threshold: Option<u32>,
}

/// As Kubernetes states it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: &'static str,
    pub reason: String,
    pub message: String,
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
            settings: Settings::from(&policy),
            strategy: match policy.strategy() {
                v1::Strategy::Unspecified => "unknown",
                v1::Strategy::Target => "target",
                v1::Strategy::Banded => "banded",
                v1::Strategy::Objective => "objective",
            },
            target: policy.target.into(),
            created_at: time(policy.create_time.as_ref()),
            namespace: policy.namespace,
            name: policy.name,
            replicas_min: policy.replicas_min,
            replicas_max: policy.replicas_max,
            replicas_idle: policy.replicas_idle,
            size: policy.size,
            running: policy.running,
            wanted: policy.wanted,
            dry_run_size: policy.dry_run_size,
            active: policy.active,
            paused: policy.paused,
            dry_run: policy.dry_run,
            triggers: policy.triggers.into_iter().map(Trigger::from).collect(),
            fallback: policy.fallback.map(Fallback::from),
            conditions: policy.conditions.into_iter().map(Condition::from).collect(),
            evaluated_age_ms: policy.evaluated_age.as_ref().map(view::duration_ms),
            evaluated_now: policy.evaluated_now,
            platform_silent_ms: policy.platform_silent.as_ref().map(view::duration_ms),
            blocked_reason: some(policy.blocked_reason),
            warnings: policy.warnings.into_iter().map(Warning::from).collect(),
            last_change: policy.last_change.map(Decision::from),
            revision: policy.revision,
            source: policy.source,
            ownerless: policy.ownerless,
            shares: policy.shares.into_iter().map(Share::from).collect(),
        }
    }
}

impl From<v1::Share> for Share {
    fn from(share: v1::Share) -> Share {
        Share {
            node_id: share.node_id,
            node: share.node_name,
            granted: share.granted,
            running: share.running,
        }
    }
}

impl From<v1::Condition> for Condition {
    fn from(condition: v1::Condition) -> Condition {
        Condition {
            status: match condition.status() {
                v1::ConditionStatus::Unspecified | v1::ConditionStatus::Unknown => "Unknown",
                v1::ConditionStatus::True => "True",
                v1::ConditionStatus::False => "False",
            },
            kind: condition.r#type,
            reason: condition.reason,
            message: condition.message,
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
            activation_milli: trigger.activation_milli,
            name: trigger.name,
            source: trigger.source,
            container: some(trigger.container),
            of_nodes: trigger.of_nodes,
            window_ms: trigger.window.as_ref().map(view::duration_ms),
            metric: some(trigger.metric),
            formula: some(trigger.formula),
            value_milli: trigger.value_milli,
            value_age_ms: trigger.value_age.as_ref().map(view::duration_ms),
            value_shared: trigger.value_shared,
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
                v1::FallbackBehavior::ScalingModifiers => "scaling_modifiers",
            },
            failure_threshold: fallback.failure_threshold,
            replicas: fallback.replicas,
            active: fallback.active,
            recovery_threshold: fallback.recovery_threshold,
        }
    }
}

impl Trigger {
    /// Value against goal, as kubectl shows an HPA's: `cpu 40%/70%`, and for a
    /// value that the replicas share `queue 60/5 each`. An old value has its age.
    fn short(&self) -> String {
        let unit = if self.goal == "utilization" { "%" } else { "" };
        let value = match self.value_milli {
            Some(value) => human::milli(value) + unit,
            None => "?".into(),
        };
        let each = if self.value_shared { " each" } else { "" };
        let failing = if self.failures > 0 { " failing" } else { "" };
        let old = ago(self.value_age_ms.filter(|_| self.value_milli.is_some()));
        format!(
            "{} {value}/{}{unit}{each}{failing}{old}",
            self.name,
            human::milli(self.goal_milli)
        )
    }
}

impl Policy {
    /// What keeps replicas from running, one thing after the other.
    pub(super) fn blocked(&self) -> impl Iterator<Item = &str> {
        let warnings = self.warnings.iter().map(|warning| warning.text.as_str());
        self.blocked_reason.as_deref().into_iter().chain(warnings)
    }

    /// How many run, and since when that is not known any better.
    pub(super) fn running(&self) -> String {
        format!("{}{}", self.running, ago(self.platform_silent_ms))
    }

    /// What it is doing, and whether anybody asks for it.
    fn state(&self) -> String {
        let owner = if self.ownerless { ", ownerless" } else { "" };
        format!("{}{owner}", self.doing())
    }

    /// One word on what it is doing.
    fn doing(&self) -> &'static str {
        if self.paused {
            "paused"
        } else if self
            .fallback
            .as_ref()
            .is_some_and(|fallback| fallback.active)
        {
            "fallback"
        } else if self.blocked().next().is_some() {
            "blocked"
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
            left("NAMESPACE").only_if(self.all_namespaces),
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
            left("BLOCKED").only_wide(),
        ];
        let rows = self.policies.iter().map(|policy| {
            let triggers: Vec<String> = policy.triggers.iter().map(Trigger::short).collect();
            let changed = policy
                .last_change
                .as_ref()
                .map(|change| self.header.age(change.at));
            [
                policy.namespace.clone(),
                policy.name.clone(),
                policy.target.to_string(),
                policy.replicas_min.to_string(),
                policy.replicas_max.to_string(),
                policy.size.to_string(),
                policy.running(),
                policy
                    .wanted
                    // A dry run's wish is recorded, and so known everywhere.
                    .or(policy.dry_run_size)
                    .map(|wanted| wanted.to_string())
                    .unwrap_or_default(),
                policy.state(),
                triggers.join(", "),
                changed.unwrap_or_default(),
                policy.strategy.into(),
                policy.revision.to_string(),
                policy.source.clone(),
                policy.blocked().collect::<Vec<_>>().join("; "),
            ]
        });
        table(columns, rows, style)
    }

    fn note(&self) -> Option<String> {
        let empty = if self.all_namespaces {
            "No policy is in force; apply a ScalingPolicy, or put one into an agent's policy \
             directory."
        } else {
            "No policy is in force in this namespace; -A shows all namespaces."
        };
        let said = notes(
            self.header.caution(),
            self.policies.is_empty().then_some(empty),
        );
        notes(said, self.ownerless().as_deref())
    }
}

/// More of them are not named.
const OWNERLESS_MAX: usize = 10;

impl Policies {
    /// What to do about those that no machine asks for any more.
    fn ownerless(&self) -> Option<String> {
        let ownerless = self.policies.iter().filter(|policy| policy.ownerless);
        let lines = ownerless.take(OWNERLESS_MAX).map(|policy| {
            let words = human::clean(&format!(
                "{} belongs to {}, on a machine that is no member any more, and stays in force. \
                 `starling policies delete {} -n {}` removes it; the same file on another machine \
                 takes it over.",
                policy.name, policy.source, policy.name, policy.namespace
            ));
            format!("Note: {words}")
        });
        let lines: Vec<String> = lines.collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}
