//! HPA v2's `metrics` block, field by field.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Amount;
use super::limits::{
    API_VERSION_BYTES_MAX, LABEL_BYTES_MAX, LABEL_KEY_BYTES_MAX, NAME_BYTES_MAX, SELECTOR_MAX,
    UTILIZATION_MAX,
};

/// One measure of demand, as in a `HorizontalPodAutoscaler` (autoscaling/v2).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Metric {
    /// Which of the fields below is set.
    #[serde(rename = "type")]
    pub kind: MetricKind,
    pub resource: Option<Resource>,
    pub container_resource: Option<Container>,
    pub pods: Option<Pods>,
    pub object: Option<Object>,
    pub external: Option<External>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum MetricKind {
    Resource,
    ContainerResource,
    Pods,
    Object,
    External,
}

/// What the replicas use, as the agents measure it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    /// `cpu` or `memory`.
    #[schemars(length(min = 1, max = LABEL_BYTES_MAX))]
    pub name: String,
    pub target: Aim,
}

/// What one container of each replica uses, as the agents measure it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// `cpu` or `memory`.
    #[schemars(length(min = 1, max = LABEL_BYTES_MAX))]
    pub name: String,
    #[schemars(length(min = 1, max = LABEL_BYTES_MAX))]
    pub container: String,
    pub target: Aim,
}

/// A metric that each replica has, from the API custom.metrics.k8s.io.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pods {
    pub metric: Named,
    pub target: Aim,
}

/// A metric of one object, from the API custom.metrics.k8s.io.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Object {
    pub described_object: Described,
    pub metric: Named,
    pub target: Aim,
}

/// A metric that belongs to no object, from the API external.metrics.k8s.io.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct External {
    pub metric: Named,
    pub target: Aim,
}

/// An object in the policy's namespace.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Described {
    #[schemars(length(min = 1, max = API_VERSION_BYTES_MAX))]
    pub api_version: Option<String>,
    #[schemars(length(min = 1, max = LABEL_BYTES_MAX))]
    pub kind: String,
    #[schemars(length(min = 1, max = NAME_BYTES_MAX))]
    pub name: String,
}

/// A metric's name, and which of its series count.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Named {
    #[schemars(length(min = 1, max = NAME_BYTES_MAX))]
    pub name: String,
    pub selector: Option<Selector>,
}

/// A label selector.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Selector {
    /// Labels that a series must have, with these values.
    #[serde(default)]
    #[schemars(extend("maxProperties" = SELECTOR_MAX))]
    pub match_labels: BTreeMap<String, String>,
    /// Further conditions on a series' labels.
    #[serde(default)]
    #[schemars(length(max = SELECTOR_MAX))]
    pub match_expressions: Vec<Requirement>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    #[schemars(length(min = 1, max = LABEL_KEY_BYTES_MAX))]
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    #[schemars(length(min = 1, max = LABEL_BYTES_MAX))]
    pub operator: String,
    #[serde(default)]
    #[schemars(length(max = SELECTOR_MAX))]
    pub values: Vec<String>,
}

/// What the metric's value is held against. `type` says which field is set.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Aim {
    #[serde(rename = "type")]
    pub kind: AimKind,
    /// Percent of what the replicas request.
    #[schemars(range(min = 1, max = UTILIZATION_MAX))]
    pub average_utilization: Option<i64>,
    /// For each replica.
    pub average_value: Option<Amount>,
    /// In all.
    pub value: Option<Amount>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum AimKind {
    Utilization,
    AverageValue,
    Value,
}
