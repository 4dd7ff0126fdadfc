//! What a user asked for, after it was read and checked.
//!
//! Comes in: fields already parsed by a host (YAML, a custom resource).
//! Goes out: a [`Policy`] that [`Policy::check`] found sound. Field names in
//! violations are the ones the user wrote. Never does I/O.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A policy names one workload and says how large it may and should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Unique in the cluster; at most [`NAME_BYTES_MAX`] bytes.
    pub name: String,
    pub target: Target,
    pub replicas_min: u32,
    pub replicas_max: u32,
    /// The size while no trigger is active, where it differs from the minimum (KEDA).
    pub replicas_idle: Option<u32>,
    /// How often external triggers are asked.
    pub polling_interval_ms: u64,
    /// How long nothing must have been active before the size falls to idle or 0.
    pub cooldown_ms: u64,
    /// The same, for a policy that has never been active; counted from its creation.
    pub initial_cooldown_ms: u64,
    pub triggers: Vec<Trigger>,
    pub fallback: Option<Fallback>,
    /// `None` follows HPA's rules without `behavior` (hpa.md rules 11 and 13).
    pub behavior: Option<Behavior>,
    pub strategy: Strategy,
    pub annotations: Annotations,
    /// Decides and records, writes nothing.
    pub dry_run: bool,
}

/// The workload that a policy sizes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Target {
    /// `Process` on bare machines.
    pub kind: String,
    pub name: String,
}

/// One source of demand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// Unique within the policy.
    pub name: String,
    pub source: Source,
    pub goal: Goal,
    /// Active means a value strictly above this (KEDA), in milli-units.
    pub activation_milli: i64,
}

/// Where a trigger's value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// What the agents measured of the workload's own replicas.
    Resource(Resource),
    /// Asked for by the leader's host; the engine doesn't look inside.
    External {
        /// KEDA's trigger type, such as `metrics-api`.
        kind: String,
        metadata: BTreeMap<String, String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Resource {
    Cpu,
    Memory,
}

/// What a trigger's value is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Goal {
    /// Percent of the replicas' requests.
    Utilization { percent: i32 },
    /// Value for each replica, in milli-units.
    AverageValue { milli: i64 },
    /// Value in all, in milli-units.
    Value { milli: i64 },
}

/// The size to hold while a trigger fails (keda.md 1.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fallback {
    /// Applies once more failures than this came in a row.
    pub failure_threshold: u32,
    pub replicas: u32,
    pub behavior: FallbackBehavior,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FallbackBehavior {
    #[default]
    Static,
    CurrentReplicas,
    CurrentReplicasIfHigher,
    CurrentReplicasIfLower,
}

/// HPA v2's `behavior`, with its defaults filled in (hpa.md rules 12 and 14).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Behavior {
    pub up: Rules,
    pub down: Rules,
}

/// One direction of [`Behavior`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// `None` on the way down means [`DOWN_WINDOW_MS`].
    pub window_ms: Option<u64>,
    pub select: Select,
    pub rates: Vec<Rate>,
    /// In millionths (100,000 = 10 %); `None` means [`TOLERANCE_PPM`].
    pub tolerance_ppm: Option<u32>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Select {
    #[default]
    Max,
    Min,
    Disabled,
}

/// A limit on how much may change within a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    pub kind: RateKind,
    pub value: i32,
    /// 1 s to 30 min.
    pub period_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RateKind {
    Pods,
    Percent,
}

/// How a wanted size is computed from demand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Strategy {
    /// HPA's and KEDA's arithmetic.
    Target,
    /// Usage bands with capped steps.
    Banded(Banded),
}

/// Usage is the percentage of requests; the larger of CPU and memory counts.
/// Above `high` the wanted size is current × usage / `high_aim`, below `low` it
/// is current × usage / `low_aim`, rounded up; between them nothing changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Banded {
    pub high_percent: u32,
    pub high_aim_percent: u32,
    pub low_percent: u32,
    pub low_aim_percent: u32,
    /// The largest step up, of the current size; at least one replica.
    pub step_up_percent: u32,
    /// The largest step down, of the current size; at least one replica.
    pub step_down_percent: u32,
    /// No further change for this long after one.
    pub cooldown_ms: u64,
}

/// KEDA's annotations that change what a policy does (keda.md 1.3).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Annotations {
    pub paused: bool,
    pub paused_replicas: Option<u32>,
    pub paused_scale_in: bool,
    pub paused_scale_out: bool,
    pub force_activation: bool,
}

pub const NAME_BYTES_MAX: usize = 253;
pub const TRIGGERS_MAX: usize = 100;
pub const REPLICAS_MAX: u32 = 100_000;
/// HPA's `--horizontal-pod-autoscaler-downscale-stabilization`.
pub const DOWN_WINDOW_MS: u64 = 300_000;
/// HPA's `--horizontal-pod-autoscaler-tolerance`, 0.1.
pub const TOLERANCE_PPM: u32 = 100_000;

/// One thing that is wrong with a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct Violation {
    /// As the user wrote it, such as `spec.minReplicaCount`.
    pub field: String,
    pub why: String,
}
