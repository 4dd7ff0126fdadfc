//! The documents as users write them, field by field, before any check of what
//! the fields say. Names follow KEDA and HPA v2 (DESIGN, section 9).
//!
//! One set of types for files and for objects of the Kubernetes API, whose CRD is
//! generated from them: doc comments here are what `kubectl explain` prints.
//! Numbers are read as i64 so that a wrong one is refused with its range, and
//! amounts as text so that none of their digits is lost.

mod amount;
mod behavior;
pub mod limits;
mod metric;
mod process;
mod strategy;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

pub use amount::Amount;
pub use behavior::{Behavior, Rate, RateKind, Rules, Select};
pub use metric::{Aim, AimKind, Container, Described, External, Metric, MetricKind, Named};
pub use metric::{Object, Pods, Requirement, Resource, Selector};
pub use process::{Process, ProcessSpec, Requests};
pub use strategy::{Banded, Objective, Strategy};

pub const API_VERSION: &str = "starling.sh/v1alpha1";
/// The types that a trigger may have.
pub const TRIGGER_TYPES: [&str; 25] = [
    "cpu",
    "memory",
    "gpu",
    "gpu-memory",
    "disk",
    "network",
    "psi",
    "throttling",
    starling_sources::METRICS_API,
    starling_sources::PROMETHEUS,
    starling_sources::RABBITMQ,
    starling_sources::REDIS,
    starling_sources::REDIS_SENTINEL,
    starling_sources::REDIS_CLUSTER,
    starling_sources::REDIS_STREAMS,
    starling_sources::REDIS_SENTINEL_STREAMS,
    starling_sources::REDIS_CLUSTER_STREAMS,
    starling_sources::NATS_JETSTREAM,
    starling_sources::KAFKA,
    starling_sources::POSTGRESQL,
    starling_sources::KUBERNETES_WORKLOAD,
    starling_sources::MYSQL,
    starling_sources::EXTERNAL,
    starling_sources::EXTERNAL_PUSH,
    starling_sources::CRON,
];

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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    pub name: String,
    pub namespace: Option<String>,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// They mean nothing here, and are no mistake either.
    #[serde(default, rename = "labels")]
    _labels: BTreeMap<String, String>,
}

/// What size a workload may and should have, and by which measures.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PolicySpec {
    pub scale_target_ref: ScaleTargetRef,
    /// The fewest replicas. Left out, it is 0 where a trigger can wake a workload
    /// that has none, else 1; with `metrics` and no `triggers` it is 1.
    #[schemars(range(min = 0, max = limits::REPLICAS_MAX))]
    pub min_replica_count: Option<i64>,
    /// The most replicas; 100 where it is left out.
    #[schemars(range(min = 1, max = limits::REPLICAS_MAX))]
    pub max_replica_count: Option<i64>,
    /// The size while no trigger is active, where it isn't the minimum; below it.
    #[schemars(range(min = 0, max = limits::REPLICAS_MAX))]
    pub idle_replica_count: Option<i64>,
    /// Seconds between two questions to a trigger; 2 where it is left out.
    #[schemars(range(min = 1, max = limits::WAIT_SECONDS_MAX))]
    pub polling_interval: Option<i64>,
    /// Seconds for which the last answer of a trigger that fails still counts: upwards only,
    /// and not where its goal is for all replicas together (`Value`). Three polling intervals
    /// where it is left out; 0 for not at all.
    #[schemars(range(min = 0, max = limits::WAIT_SECONDS_MAX))]
    pub stale_after: Option<i64>,
    /// Seconds for which no trigger must have been active before the size falls to
    /// `idleReplicaCount` or 0; 300 where it is left out.
    #[schemars(range(min = 0, max = limits::WAIT_SECONDS_MAX))]
    pub cooldown_period: Option<i64>,
    /// The same for a policy that has never been active, from its creation on; 0
    /// where it is left out.
    #[schemars(range(min = 0, max = limits::WAIT_SECONDS_MAX))]
    pub initial_cooldown_period: Option<i64>,
    /// Measures of demand, as KEDA writes them. The one that asks for most counts.
    #[serde(default)]
    #[schemars(length(max = limits::TRIGGERS_MAX))]
    pub triggers: Vec<Trigger>,
    /// Measures of demand, as a `HorizontalPodAutoscaler` (autoscaling/v2) writes
    /// them. Without `triggers` beside them, its rules hold at 0 replicas too: a
    /// workload that somebody set to 0 stays there.
    #[serde(default)]
    #[schemars(length(max = limits::TRIGGERS_MAX))]
    pub metrics: Vec<Metric>,
    /// One value in place of those of all triggers that others are asked for, and of
    /// external metrics, as KEDA computes it.
    pub scaling_modifiers: Option<ScalingModifiers>,
    pub fallback: Option<Fallback>,
    pub behavior: Option<Behavior>,
    #[serde(default)]
    pub strategy: Strategy,
    pub banded: Option<Banded>,
    pub objective: Option<Objective>,
    /// Decide and record, but never write.
    #[serde(default)]
    pub dry_run: bool,
}

/// The workload to scale: in the policy's own namespace, with a scale subresource.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ScaleTargetRef {
    /// Such as `apps/v1`, which it is where it is left out.
    #[schemars(length(min = 1, max = limits::API_VERSION_BYTES_MAX))]
    pub api_version: Option<String>,
    /// Such as `StatefulSet`. `Process`, without an `apiVersion`, is a command that
    /// the agents run themselves.
    #[serde(default = "deployment")]
    #[schemars(length(min = 1, max = limits::LABEL_BYTES_MAX))]
    pub kind: String,
    #[schemars(length(min = 1, max = limits::NAME_BYTES_MAX))]
    pub name: String,
    /// Whose variables `env` of a trigger's authentication means where it names no
    /// container; the first one's where this is left out.
    #[schemars(length(min = 1, max = limits::LABEL_BYTES_MAX))]
    pub env_source_container_name: Option<String>,
}

fn deployment() -> String {
    "Deployment".to_owned()
}

/// One measure of demand, as in a KEDA `ScaledObject`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Trigger {
    /// What agents measure (`cpu`, `memory`, `gpu`, `gpu-memory`, `disk`, `network`, `psi`,
    /// `throttling`), `metrics-api`, `prometheus`, `rabbitmq`, `redis`, `redis-sentinel`,
    /// `redis-cluster`, `redis-streams`, `redis-sentinel-streams`, `redis-cluster-streams`,
    /// `nats-jetstream`, `kafka`, `postgresql`, `kubernetes-workload`, `mysql`, `external`,
    /// `external-push` or `cron`.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = limits::LABEL_BYTES_MAX))]
    pub kind: String,
    /// Unique within the policy; the type where it is left out.
    #[schemars(length(min = 1, max = limits::LABEL_BYTES_MAX))]
    pub name: Option<String>,
    /// What the value is held against: an amount for each replica, an amount in
    /// all, or a percentage of what the replicas request.
    pub metric_type: Option<MetricType>,
    /// The type's own settings.
    #[schemars(with = "BTreeMap<String, Setting>")]
    #[schemars(extend("maxProperties" = limits::METADATA_MAX))]
    pub metadata: BTreeMap<String, String>,
    /// What the trigger proves itself with where it asks.
    pub authentication_ref: Option<AuthenticationRef>,
}

/// Parameters that an agent reads when it asks: from the files in NAMESPACE/NAME of its
/// `authentications` directory, one for each parameter, or from KEDA's object of that
/// name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuthenticationRef {
    /// Left out, it is the agent's files where there are some of that name, else a
    /// `TriggerAuthentication`.
    pub kind: Option<AuthenticationKind>,
    #[schemars(length(min = 1, max = limits::NAME_BYTES_MAX))]
    pub name: String,
}

/// KEDA's objects (keda.sh/v1alpha1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum AuthenticationKind {
    TriggerAuthentication,
    ClusterTriggerAuthentication,
}

impl AuthenticationKind {
    pub fn name(self) -> &'static str {
        match self {
            AuthenticationKind::TriggerAuthentication => "TriggerAuthentication",
            AuthenticationKind::ClusterTriggerAuthentication => "ClusterTriggerAuthentication",
        }
    }
}

/// What a trigger's setting may be: a text of bounded length.
#[derive(JsonSchema)]
struct Setting(
    #[expect(dead_code, reason = "its schema is what it is for")]
    #[schemars(length(max = limits::METADATA_BYTES_MAX))]
    String,
);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum MetricType {
    AverageValue,
    Value,
    Utilization,
}

/// A formula over the triggers' values, and what its result is held against. Triggers of
/// what agents measure aren't part of it, and count beside it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ScalingModifiers {
    /// In the language Expr, such as `queue / 2 + max(orders, mails)`; it names triggers
    /// by their names.
    #[schemars(length(min = 1, max = limits::FORMULA_BYTES_MAX))]
    pub formula: String,
    pub target: Amount,
    /// Active means a result strictly above this; 0 where it is left out.
    pub activation_target: Option<Amount>,
    /// Whether the target is for each replica, which it is where this is left out, or in
    /// all.
    pub metric_type: Option<ComposedType>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum ComposedType {
    AverageValue,
    Value,
}

/// The size to hold while a trigger fails.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Fallback {
    /// It applies once more failures than this came in a row.
    #[schemars(range(min = 0, max = limits::FAILURES_MAX))]
    pub failure_threshold: i64,
    #[schemars(range(min = 0, max = limits::REPLICAS_MAX))]
    pub replicas: i64,
    /// `replicas` as it is, the current size, or the larger or smaller of the two.
    #[serde(default)]
    pub behavior: FallbackBehavior,
    /// So many good answers in a row end it; 3 where it is left out.
    #[schemars(range(min = 1, max = limits::FAILURES_MAX))]
    pub recovery_threshold: Option<i64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum FallbackBehavior {
    #[default]
    Static,
    CurrentReplicas,
    CurrentReplicasIfHigher,
    CurrentReplicasIfLower,
    ScalingModifiers,
}
