//! The status of a `ScalingPolicy` object: what a person sees of it with `kubectl`.
//!
//! Field names follow HPA v2 where it has the field. Kept small: the whole account
//! of a decision is what `starling explain` shows.

pub mod desk;
pub mod keda;
pub mod tell;
pub mod write;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What Starling makes of the policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// The generation of the object that the rest speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What is true of the policy (Ready: it is in force as it is written) and of its
    /// workload, with HPA's types and reasons where it has them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The fewest replicas, as in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_replicas: Option<i64>,
    /// The most replicas, as in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_replicas: Option<i64>,
    /// Replicas that exist, as the workload's scale says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_replicas: Option<i64>,
    /// The size that is wanted now; in a dry run, the one that would be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired_replicas: Option<i64>,
    /// The size that was granted last, which is what the workload is to have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<i64>,
    /// When Starling last changed the size.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub last_scale_time: Option<String>,
    /// The cluster's generation and the log index at which `size` was granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_grant: Option<String>,
    /// What was measured, and its goals, such as `cpu: 82%/70%`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub triggers: Option<String>,
    /// Why the workload has this size, in one sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Status {
    /// The fields' names, as they are written.
    const FIELDS: [&str; 11] = [
        "observedGeneration",
        "conditions",
        "minReplicas",
        "maxReplicas",
        "currentReplicas",
        "desiredReplicas",
        "size",
        "lastScaleTime",
        "lastGrant",
        "triggers",
        "reason",
    ];

    /// The condition of a type.
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|it| it.kind == kind)
    }
}

/// A status in few bytes: one is kept of each policy, and seldom looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packed(Box<[u8]>);

impl Packed {
    pub fn of(status: &Status) -> Packed {
        // Names and texts alone can always be written.
        Packed(serde_json::to_vec(status).unwrap_or_default().into())
    }

    /// The default status where nothing was packed.
    pub fn status(&self) -> Status {
        serde_json::from_slice(&self.0).unwrap_or_default()
    }
}

/// As in all of Kubernetes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    /// True, False or Unknown.
    pub status: String,
    /// For machines.
    pub reason: String,
    /// For people.
    pub message: String,
    /// When `status` last changed.
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: String,
}
