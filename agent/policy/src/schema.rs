//! The documents as users write them, field by field, before any check of what
//! the fields say. Names follow KEDA and HPA v2 (DESIGN, section 9).
//!
//! Numbers are read as i64 so that a wrong one is refused with its range, and
//! amounts as text so that none of their digits is lost.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

pub const API_VERSION: &str = "starling.sh/v1alpha1";

/// `kind: ScalingPolicy`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ScalingPolicy {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    pub metadata: Metadata,
    pub spec: PolicySpec,
}

/// `kind: Process`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Process {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    pub metadata: Metadata,
    pub spec: ProcessSpec,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    pub name: String,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PolicySpec {
    pub scale_target_ref: ScaleTargetRef,
    pub min_replica_count: Option<i64>,
    pub max_replica_count: Option<i64>,
    pub idle_replica_count: Option<i64>,
    /// Seconds, as are the two below.
    pub polling_interval: Option<i64>,
    pub cooldown_period: Option<i64>,
    pub initial_cooldown_period: Option<i64>,
    #[serde(default)]
    pub triggers: Vec<Trigger>,
    pub fallback: Option<Fallback>,
    pub behavior: Option<Behavior>,
    #[serde(default)]
    pub strategy: Strategy,
    pub banded: Option<Banded>,
    pub objective: Option<Objective>,
    #[serde(default)]
    pub dry_run: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaleTargetRef {
    pub kind: String,
    pub name: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Trigger {
    #[serde(rename = "type")]
    pub kind: String,
    pub name: Option<String>,
    pub metric_type: Option<MetricType>,
    pub metadata: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum MetricType {
    AverageValue,
    Value,
    Utilization,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Fallback {
    pub failure_threshold: i64,
    pub replicas: i64,
    #[serde(default)]
    pub behavior: FallbackBehavior,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FallbackBehavior {
    #[default]
    Static,
    CurrentReplicas,
    CurrentReplicasIfHigher,
    CurrentReplicasIfLower,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Behavior {
    pub scale_up: Option<Rules>,
    pub scale_down: Option<Rules>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Rules {
    pub stabilization_window_seconds: Option<i64>,
    pub select_policy: Option<Select>,
    pub policies: Option<Vec<Rate>>,
    pub tolerance: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub enum Select {
    Max,
    Min,
    Disabled,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Rate {
    #[serde(rename = "type")]
    pub kind: RateKind,
    pub value: i64,
    pub period_seconds: i64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub enum RateKind {
    Pods,
    Percent,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Strategy {
    #[default]
    Target,
    Banded,
    Objective,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Banded {
    pub high_percent: Option<i64>,
    pub high_aim_percent: Option<i64>,
    pub low_percent: Option<i64>,
    pub low_aim_percent: Option<i64>,
    pub step_up_percent: Option<i64>,
    pub step_down_percent: Option<i64>,
    /// Seconds.
    pub cooldown_period: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Objective {
    /// A duration such as `250ms`, as is `serviceTime`.
    pub wait: String,
    /// `3%` or `0.03`.
    pub miss_ratio: String,
    pub service_time: Option<String>,
    pub slots: Option<i64>,
    /// Names of triggers.
    pub arrivals: Option<String>,
    pub in_system: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ProcessSpec {
    pub command: Vec<String>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    pub directory: Option<PathBuf>,
    #[serde(default)]
    pub requests: Requests,
    pub grace_period_seconds: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requests {
    pub cpu: Option<String>,
    pub memory: Option<String>,
}
