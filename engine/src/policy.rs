//! What a user asked for, after it was read and checked.
//!
//! Comes in: fields already parsed by a host (YAML, a custom resource).
//! Goes out: a [`Policy`] that [`Policy::check`] found sound. Field names in
//! violations are the ones the user wrote. Never does I/O.

mod check;
mod defaults;
pub mod resource;
mod target;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

pub use resource::Resource;
pub use target::{Form, NAMESPACE, Name, PROCESS, Target};

/// A policy names one workload and says how large it may and should be. The
/// default has KEDA's defaults and no trigger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Unique in the cluster; each part at most [`NAME_BYTES_MAX`] bytes.
    pub name: Name,
    /// In the policy's own namespace.
    pub target: Target,
    /// The version of the target's API, such as `v1`, for the host to find it by.
    pub target_version: String,
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
    pub zero: Zero,
    pub controller: Controller,
    /// How long an answer counts once its trigger fails; see [`Policy::keeps_ms`].
    pub stale_after_ms: Option<u64>,
}

/// Who decides between nothing and something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Zero {
    /// KEDA's activation: idle or 0 while no trigger is active (keda.md 2.2).
    #[default]
    Activation,
    /// HPA's: 0 means that a human switched the workload off, unless `allowed`
    /// and HPA itself went there (hpa.md rule 17).
    Hpa { allowed: bool },
}

/// What a cluster sets once for all autoscalers, as flags of
/// kube-controller-manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Controller {
    pub down_window_ms: u64,
    pub tolerance_up_ppm: u32,
    pub tolerance_down_ppm: u32,
    /// For this long after its start a replica's CPU counts only while it is ready.
    pub cpu_initialization_ms: u64,
    /// A replica that became unready within this time of its start was never ready.
    pub initial_readiness_ms: u64,
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
    /// Of what agents measure, the mean over so long; `None` for one that is neither
    /// noisy nor late (see [`series`](crate::demand::series)).
    #[serde(default)]
    pub window_ms: Option<u64>,
}

/// Where a trigger's value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// What the agents measured of the workload's own replicas.
    Resource(Resource),
    /// What they measured of the nodes on which those run, each node as often as it
    /// has replicas.
    Nodes(Resource),
    /// The same of one container of each replica.
    Container {
        resource: Resource,
        container: String,
    },
    /// A metric that each replica has, as the platform's metrics API says.
    Pods {
        metric: String,
        /// Which of its series count, in Kubernetes' notation; `None` for all.
        selector: Option<String>,
    },
    /// One value that describes another object.
    Object {
        kind: String,
        metadata: BTreeMap<String, String>,
    },
    /// Asked for by the leader's host; the engine doesn't look inside.
    External {
        /// KEDA's trigger type, such as `metrics-api`.
        kind: String,
        metadata: BTreeMap<String, String>,
    },
    /// A type that this version doesn't know. It counts as failing.
    Unknown { kind: String },
    /// What a formula makes of the external triggers beside it, which then say nothing
    /// by themselves (KEDA's `scalingModifiers`). One of them at most.
    Formula { text: String },
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
    /// Good readings in a row that end it; `None` means [`RECOVERY`].
    pub recovery_threshold: Option<u32>,
}

impl Fallback {
    /// Good readings in a row that end it.
    pub fn recovery(&self) -> u32 {
        self.recovery_threshold.unwrap_or(RECOVERY)
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FallbackBehavior {
    #[default]
    Static,
    CurrentReplicas,
    CurrentReplicasIfHigher,
    CurrentReplicasIfLower,
    /// What fails is nil in the formula, whose `??` says what counts instead; where the
    /// formula comes to nil, as `Static`.
    ScalingModifiers,
}

/// HPA v2's `behavior`, with its defaults filled in (hpa.md rules 12 and 14).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Behavior {
    pub up: Rules,
    pub down: Rules,
}

/// One direction of [`Behavior`]. The default is HPA's for the way down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// `None` means [`Controller::down_window_ms`] on the way down and 0 on the way up.
    pub window_ms: Option<u64>,
    pub select: Select,
    pub rates: Vec<Rate>,
    /// In millionths (100,000 = 10 %); `None` means the controller's.
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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Strategy {
    /// HPA's and KEDA's arithmetic.
    #[default]
    Target,
    /// Usage bands with capped steps.
    Banded(Banded),
    /// Work seldom waits longer than it may.
    Objective(Box<Objective>),
}

/// How long work may wait, and where to read how much of it there is. While the
/// arrivals, the service time or the slots aren't known, the triggers' goals decide as
/// under [`Strategy::Target`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Objective {
    /// How long work may wait for a slot; 1 ms to [`OBJECTIVE_WAIT_MS_MAX`].
    pub wait_ms: u64,
    /// The part of it that may wait longer, in millionths; up to
    /// [`MISS_PPM_MAX`], more than 0.
    pub miss_ppm: u32,
    /// How long a piece of work keeps a slot; measured where it isn't stated.
    pub service_ms: Option<u64>,
    /// Pieces of work that one replica does at a time, 1 to [`SLOTS_MAX`];
    /// measured where it isn't stated.
    pub slots: Option<u32>,
    /// The external trigger whose value is the work that arrives each second.
    pub arrivals: Option<String>,
    /// The external trigger whose value is the work in service or waiting.
    pub in_system: Option<String>,
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
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an annotation of its own"
)]
pub struct Annotations {
    pub paused: bool,
    pub paused_replicas: Option<u32>,
    pub paused_scale_in: bool,
    pub paused_scale_out: bool,
    pub force_activation: bool,
}

impl Policy {
    /// Everything that is wrong with the policy; empty where it is sound.
    pub fn check(&self) -> Vec<Violation> {
        check::policy(self)
    }

    /// The sizes that may ever be granted (I5): from the idle size (or the
    /// minimum, where there is none) to the maximum. Under HPA's rules 0 is
    /// always among them: it means that a human switched the workload off. Total even for a policy
    /// that [`Policy::check`] would refuse: the floor then gives way.
    pub fn bounds(&self) -> RangeInclusive<u32> {
        let cap = self.replicas_max.min(REPLICAS_MAX);
        let floor = match (self.zero, self.replicas_idle) {
            (Zero::Hpa { .. }, _) => 0,
            (Zero::Activation, Some(idle)) => idle.min(self.replicas_min),
            (Zero::Activation, None) => self.replicas_min,
        };
        floor.min(cap)..=cap
    }

    /// How long the last answer of a trigger that fails still counts, upwards only.
    pub fn keeps_ms(&self) -> u64 {
        let intervals = self.polling_interval_ms.saturating_mul(STALE_INTERVALS);
        self.stale_after_ms.unwrap_or(intervals)
    }

    /// How old an answer may become that no failure followed: one that is merely late has a
    /// minute.
    pub fn stale_ms(&self) -> u64 {
        self.keeps_ms().max(STALE_MS_MIN)
    }

    /// Whether it says for how long answers count, or when a fallback ends.
    pub fn has_patience(&self) -> bool {
        let recovers = |it: Fallback| it.recovery_threshold.is_some();
        self.stale_after_ms.is_some() || self.fallback.is_some_and(recovers)
    }

    /// Whether it has a formula, or what only a formula gives a meaning.
    pub fn has_formula_parts(&self) -> bool {
        let fallback = self.fallback.as_ref();
        let routed = fallback.is_some_and(|it| it.behavior == FallbackBehavior::ScalingModifiers);
        routed || self.formula().is_some()
    }

    /// The formula that stands in for the external triggers, and its place among the
    /// triggers.
    pub fn formula(&self) -> Option<(usize, &str)> {
        let triggers = self.triggers.iter().enumerate();
        let mut formulas = triggers.filter_map(|(at, trigger)| match &trigger.source {
            Source::Formula { text } => Some((at, text.as_str())),
            _ => None,
        });
        formulas.next()
    }

    /// Whether there is a size for the time when no trigger is active (KEDA).
    pub(crate) fn may_rest(&self) -> bool {
        self.zero == Zero::Activation && (self.replicas_min == 0 || self.replicas_idle.is_some())
    }

    /// How far back recommendations still hold the size, up and down.
    pub fn windows(&self) -> Windows {
        let down_default = self.controller.down_window_ms;
        match &self.behavior {
            None => Windows {
                up_ms: 0,
                down_ms: down_default,
            },
            Some(b) => Windows {
                up_ms: b.up.window_ms.unwrap_or(0),
                down_ms: b.down.window_ms.unwrap_or(down_default),
            },
        }
    }
}

/// Both stabilization windows, resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    pub up_ms: u64,
    pub down_ms: u64,
}

pub const NAME_BYTES_MAX: usize = 253;
pub const TRIGGERS_MAX: usize = 100;
/// Rates in one direction of `behavior`.
pub const RATES_MAX: usize = 16;
pub const REPLICAS_MAX: u32 = 100_000;
/// HPA's `--horizontal-pod-autoscaler-downscale-stabilization`.
pub const DOWN_WINDOW_MS: u64 = 300_000;
/// The longest stabilization window that HPA allows.
pub const WINDOW_MS_MAX: u64 = 3_600_000;
/// The longest period of a rate that HPA allows.
pub const PERIOD_MS_MAX: u64 = 1_800_000;
/// Cooldowns and polling intervals: a week.
pub const WAIT_MS_MAX: u64 = 604_800_000;
/// More failures in a row than this needn't be told apart.
pub const FAILURES_MAX: u32 = 10_000;
/// Good readings in a row that end a fallback.
pub const RECOVERY: u32 = 3;
/// An answer counts for so many polling intervals once its source fails.
pub const STALE_INTERVALS: u64 = 3;
/// One that no failure followed counts at least for so long.
pub const STALE_MS_MIN: u64 = 60_000;
/// HPA's `--horizontal-pod-autoscaler-tolerance`, 0.1.
pub const TOLERANCE_PPM: u32 = 100_000;

/// Work that may wait longer than an hour needs no objective.
pub const OBJECTIVE_WAIT_MS_MAX: u64 = 3_600_000;
/// Half of the work.
pub const MISS_PPM_MAX: u32 = 500_000;
/// Slots of one replica.
pub const SLOTS_MAX: u32 = 10_000;

/// One thing that is wrong with a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct Violation {
    /// As the user wrote it, such as `spec.minReplicaCount`.
    pub field: String,
    pub why: String,
}
