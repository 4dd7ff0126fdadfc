//! A policy in the making, and what becomes of it once it is checked.
//!
//! Comes in: what a conversion wrote. Goes out: the policy as YAML, if it is
//! sound. A measure that this version doesn't take is left out with a warning; of
//! anything else that is wrong the whole object is refused.

mod text;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::Told;
use crate::file;
use crate::schema::API_VERSION;
use text::{json, map, option, text};

/// Field by field what is printed, in the order in which it is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Draft {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata,
    pub spec: Spec,
}

#[derive(Debug, Serialize)]
struct Metadata {
    #[serde(serialize_with = "text")]
    name: String,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "option")]
    namespace: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", serialize_with = "map")]
    labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", serialize_with = "map")]
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    pub scale_target_ref: TargetRef,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_replica_count: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_replica_count: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_replica_count: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub polling_interval: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cooldown_period: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_cooldown_period: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub triggers: Vec<Trigger>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<Metric>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaling_modifiers: Option<Modifiers>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
    #[serde(skip_serializing_if = "absent", serialize_with = "json")]
    pub behavior: Value,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TargetRef {
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "option")]
    pub api_version: Option<String>,
    #[serde(serialize_with = "text")]
    pub kind: String,
    #[serde(serialize_with = "text")]
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "option")]
    pub env_source_container_name: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Trigger {
    #[serde(rename = "type", serialize_with = "text")]
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "option")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "option")]
    pub metric_type: Option<String>,
    #[serde(serialize_with = "map")]
    pub metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication_ref: Option<AuthenticationRef>,
    /// Where the object has it.
    #[serde(skip)]
    pub from: String,
}

#[derive(Debug, Serialize)]
pub(super) struct AuthenticationRef {
    #[serde(serialize_with = "text")]
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "option")]
    pub kind: Option<String>,
}

/// HPA's form, as it is.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Metric {
    #[serde(serialize_with = "json")]
    pub written: Value,
    #[serde(skip)]
    pub from: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Modifiers {
    #[serde(serialize_with = "text")]
    pub formula: String,
    #[serde(serialize_with = "text")]
    pub target: String,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "option")]
    pub activation_target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "option")]
    pub metric_type: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Fallback {
    pub failure_threshold: i64,
    pub replicas: i64,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "option")]
    pub behavior: Option<String>,
}

fn absent(value: &Value) -> bool {
    value.is_null()
}

impl Draft {
    pub(super) fn new(metadata: &super::metadata::Metadata, spec: Spec) -> Draft {
        Draft {
            api_version: API_VERSION,
            kind: file::POLICY,
            metadata: Metadata {
                name: metadata.name.clone(),
                namespace: metadata.namespace.clone(),
                labels: metadata.kept_labels(),
                annotations: BTreeMap::new(),
            },
            spec,
        }
    }

    pub(super) fn annotate(&mut self, annotations: BTreeMap<String, String>) {
        self.metadata.annotations = annotations;
    }

    /// What nobody else may have, and which field says so.
    pub(super) fn claims(&self) -> [(&'static str, String); 2] {
        let namespace = self.metadata.namespace.as_deref();
        let within = namespace.map_or(String::new(), |it| format!("{it}/"));
        let target = &self.spec.scale_target_ref;
        [
            (
                "metadata.name",
                format!("the name {within}{}", self.metadata.name),
            ),
            (
                "spec.scaleTargetRef",
                format!("the target {} {within}{}", target.kind, target.name),
            ),
        ]
    }

    /// The policy as YAML. Each round leaves out the measures that the one before
    /// was refused for, so the last one has none left.
    pub(super) fn settle(mut self, told: &mut Told<'_>) -> Option<String> {
        loop {
            if self.spec.triggers.is_empty() && self.spec.metrics.is_empty() {
                told.warn(
                    "",
                    "isn't converted: nothing is left of it that this version can measure",
                );
                return None;
            }
            self.keep_awake(told);
            let yaml = match serde_saphyr::to_string(&self) {
                Ok(yaml) => yaml,
                Err(error) => {
                    told.warn("", format!("isn't converted: can't be written: {error}"));
                    return None;
                }
            };
            let Err(problems) = file::policy(&yaml) else {
                return Some(yaml);
            };
            let mut refused = BTreeSet::new();
            for problem in &problems {
                let Some((measure, rest)) = Measure::of(&problem.field) else {
                    continue;
                };
                let Some(from) = self.from(measure) else {
                    continue;
                };
                told.warn(
                    &format!("{from}{rest}"),
                    format!("{}; this {} is left out", problem.why, measure.word()),
                );
                refused.insert(measure);
            }
            if refused.is_empty() {
                for problem in problems {
                    told.warn("", format!("isn't converted: {problem}"));
                }
                return None;
            }
            for measure in refused.into_iter().rev() {
                match measure {
                    Measure::Trigger(index) => drop(self.spec.triggers.remove(index)),
                    Measure::Metric(index) => drop(self.spec.metrics.remove(index)),
                }
            }
        }
    }

    /// Replicas that are gone use nothing, so their usage alone never brings a workload
    /// back from 0. KEDA refuses such an object; here it may be what is left of one.
    fn keep_awake(&mut self, told: &mut Told<'_>) {
        let spec = &mut self.spec;
        let usage = |trigger: &Trigger| matches!(trigger.kind.as_str(), "cpu" | "memory");
        if !spec.metrics.is_empty() || !spec.triggers.iter().all(usage) {
            return;
        }
        let rests = [
            ("spec.minReplicaCount", spec.min_replica_count == Some(0)),
            ("spec.idleReplicaCount", spec.idle_replica_count.is_some()),
        ];
        for (field, _) in rests.iter().filter(|(_, rests)| *rests) {
            told.warn(
                field,
                "needs a trigger that can wake a workload which has no replicas; the least size is \
                 1 instead",
            );
        }
        spec.idle_replica_count = None;
        spec.min_replica_count = spec.min_replica_count.map(|count| count.max(1));
    }

    fn from(&self, measure: Measure) -> Option<&str> {
        match measure {
            Measure::Trigger(index) => self.spec.triggers.get(index).map(|it| it.from.as_str()),
            Measure::Metric(index) => self.spec.metrics.get(index).map(|it| it.from.as_str()),
        }
    }
}

/// Which of a policy's measures a field belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Measure {
    Trigger(usize),
    Metric(usize),
}

impl Measure {
    /// With the rest of the field's path.
    fn of(field: &str) -> Option<(Measure, &str)> {
        let (made, rest): (fn(usize) -> Measure, &str) = match field.strip_prefix("spec.triggers[")
        {
            Some(rest) => (Measure::Trigger, rest),
            None => (Measure::Metric, field.strip_prefix("spec.metrics[")?),
        };
        let (index, rest) = rest.split_once(']')?;
        Some((made(index.parse().ok()?), rest))
    }

    fn word(self) -> &'static str {
        match self {
            Measure::Trigger(_) => "trigger",
            Measure::Metric(_) => "metric",
        }
    }
}
