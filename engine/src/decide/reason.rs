//! Why a decision came out as it did: typed first, words from the types.
//! Log, API, conditions and `explain` all show these.
//!
//! Comes in: what the parts of a decision noted, in order. Goes out: stable
//! codes, and prose by `Display` that fits 80 columns. Integers only.

pub(crate) mod prose;
pub(crate) mod quantity;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::limit::Limited;
use super::objective::limits::Limits;
use super::{metric, objective};
use crate::policy::{FallbackBehavior, Goal, Source};
use crate::unit::Ms;

/// The whole account of one decision, in the order in which it was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub at: Ms,
    /// The size before.
    pub from: u32,
    /// The size decided on; in a dry run, the size that would have been.
    pub target: u32,
    pub dry_run: bool,
    /// One for each trigger, in the policy's order.
    pub inputs: Vec<Input>,
    /// Index into `inputs` of the largest proposal.
    pub winner: Option<u32>,
    /// The largest proposal, before any limit.
    pub raw: Option<u32>,
    /// All that moved or held the size, in the order applied.
    pub steps: Vec<Step>,
    pub conditions: Vec<Condition>,
    /// What would have to change for the size to change.
    pub outlook: Vec<Outlook>,
}

/// One trigger as it was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    pub trigger: String,
    /// What kind of source: `cpu`, `memory`, or the trigger's type.
    pub source: Cow<'static, str>,
    pub goal: Goal,
    /// Percent for a utilization, else milli-units.
    pub value: Option<i64>,
    pub age_ms: Option<u64>,
    /// Where the value comes from the replicas themselves.
    pub pods: Option<Pods>,
    /// Percentages between which the banded strategy changes nothing.
    pub band: Option<(u32, u32)>,
    pub outcome: Outcome,
}

/// Which replicas an input speaks of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pods {
    pub counted: u32,
    pub unready: u32,
    pub missing: u32,
    pub ignored: u32,
}

/// What came of one trigger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Proposes {
        replicas: u32,
        /// The current size, because the value is close enough to the target.
        within_tolerance: bool,
    },
    /// The fallback's size stands in for a trigger that fails, or has not
    /// answered well often enough since.
    Fallback {
        /// The size that the policy's fallback comes to.
        stated: u32,
        /// The same, or the current size where that is near enough.
        replicas: u32,
        failures: u32,
        successes: u32,
        behavior: FallbackBehavior,
        /// Of the latest failure, where this pass saw one.
        reason: Option<Failure>,
        /// Good answers in a row that end it, where the policy says how many.
        needed: Option<u32>,
    },
    Failed {
        reason: Failure,
        /// In a row, as far as counted.
        failures: u32,
        /// What the answer before asks for, while that isn't too old: the input's value and
        /// age are that one's.
        kept: Option<u32>,
    },
    /// The last answer is too old to act on.
    Stale,
    /// No answer yet.
    Unheard,
    /// There are no replicas to measure.
    NoReplicas,
    /// Its value goes into the policy's formula; by itself it asks for nothing.
    Composed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// In the source's words, cut to [`WHY_BYTES_MAX`].
    Source(String),
    Metric(metric::Error),
    /// More replicas lack a sample than have one.
    MostlyMissing,
    UnknownType,
    /// The target's selector finds no replicas; why, cut to [`WHY_BYTES_MAX`].
    Selector(String),
}

/// Longer words of a source, or its name, are cut.
pub const WHY_BYTES_MAX: usize = 200;

/// Why a workload's size can't be known, or mustn't change just now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Held {
    /// The platform doesn't answer.
    Away,
    /// It hasn't said anything of the workload yet.
    Unseen,
    /// There is no such workload, or it has no size; in its words, cut to
    /// [`WHY_BYTES_MAX`].
    Gone(String),
    /// Something else scales it; its kind and name, cut to [`WHY_BYTES_MAX`].
    Rival(String),
    /// The cluster was rebuilt, and looks around for so long before anything changes.
    Rebuilt { left_ms: u64 },
}

/// One thing that moved or held the size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// The size has changed at this very instant.
    JustChanged,
    /// The annotation `paused`, with the size to keep where it names one.
    Paused {
        at: Option<u32>,
    },
    /// Size 0 that HPA did not choose (rule 17).
    Disabled,
    /// From rest to work, by these triggers; by an annotation where there is none.
    Activated {
        to: u32,
        by: Vec<String>,
    },
    /// No trigger has been active for the whole cooldown.
    Deactivated {
        to: u32,
        quiet_ms: Option<u64>,
    },
    /// No trigger is active, but the cooldown runs.
    CoolingDown {
        left_ms: u64,
    },
    /// At rest, and nothing wakes the workload.
    AtRest,
    /// A trigger fails, so the workload isn't put to rest.
    RestWithheld,
    /// Short circuits of rule 1.
    AboveMax {
        max: u32,
    },
    BelowMin {
        min: u32,
    },
    /// No trigger says anything.
    NoMetrics,
    /// A trigger fails, so the others may not shrink the workload (rule 10).
    Frozen {
        wanted: u32,
    },
    /// The banded strategy's largest step.
    StepCapped {
        from: u32,
        to: u32,
    },
    /// The banded strategy's wait after a change.
    Settling {
        wanted: u32,
        left_ms: u64,
    },
    /// A stabilization window.
    Stabilized {
        from: u32,
        to: u32,
        window_ms: u64,
        age_ms: u64,
    },
    /// A bound or a rate policy.
    Limited {
        from: u32,
        to: u32,
        by: Limited,
    },
    /// The annotations `paused-scale-in` and `paused-scale-out`.
    ScaleInPaused {
        wanted: u32,
    },
    ScaleOutPaused {
        wanted: u32,
    },
    /// The policy's bounds, whatever was decided before (I5).
    Bounded {
        from: u32,
        to: u32,
    },
    /// The objective strategy's account of its size.
    Objective(objective::reason::Reason),
    /// The limits go no lower than 1 while the workload isn't at rest.
    LastReplica,
    /// The platform can't say or take a size.
    Held(Held),
    /// More replicas couldn't run; why in the platform's words, cut to
    /// [`WHY_BYTES_MAX`].
    Blocked {
        wanted: u32,
        why: String,
    },
}

/// As HPA's and KEDA's conditions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    pub kind: ConditionKind,
    pub status: Status,
    /// The stable code.
    pub reason: Cow<'static, str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ConditionKind {
    AbleToScale,
    ScalingActive,
    ScalingLimited,
    ScaledToZero,
    Ready,
    Active,
    Fallback,
    Paused,
    /// The size is one that somebody else chose.
    Adopted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    True,
    False,
    Unknown,
}

/// What would have to change for the size to change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outlook {
    /// A trigger's value would have to be at least or at most so much, where there is
    /// room that way; percent for a utilization, else milli-units. With these values
    /// the size changes, with those between them it doesn't.
    Value {
        trigger: String,
        at_least: Option<i64>,
        at_most: Option<i64>,
    },
    /// Each of these triggers would have to ask for fewer replicas.
    Together { triggers: Vec<String> },
    /// A trigger would have to rise above its activation threshold.
    Activity { trigger: String, above: i64 },
    /// A trigger would have to answer.
    Answer { trigger: String },
    /// More of the replicas would have to be ready and have fresh samples.
    Samples { trigger: String },
    /// It would have to answer well so many times more.
    Recovery { trigger: String, more: u32 },
    /// The load of an objective would have to leave these limits.
    Load(Limits),
    /// So much time would have to pass.
    Wait { ms: u64 },
    /// A field would have to allow it.
    Field { field: String, wanted: u32 },
    /// An annotation would have to go.
    Annotation { name: String },
    /// Somebody would have to set a size above 0.
    Enable,
    /// The platform would have to answer, or have the workload.
    Platform,
    /// What scales the workload already would have to go.
    Rival { by: String },
    /// What keeps more replicas from running would have to go.
    Room,
    /// The bounds would have to leave more than one size.
    Bounds,
    /// No trigger would have to be active for so much time.
    Quiet { ms: u64 },
    /// A trigger would have to fail so many times more for its fallback.
    Failures { trigger: String, more: u32 },
}

impl Outlook {
    /// Stable; for machines.
    pub fn code(&self) -> &'static str {
        match self {
            Outlook::Value { .. } => "Value",
            Outlook::Together { .. } => "Together",
            Outlook::Activity { .. } => "Activity",
            Outlook::Answer { .. } => "Answer",
            Outlook::Samples { .. } => "Samples",
            Outlook::Recovery { .. } => "Recovery",
            Outlook::Load(_) => "Load",
            Outlook::Wait { .. } => "Wait",
            Outlook::Field { .. } => "Field",
            Outlook::Annotation { .. } => "Annotation",
            Outlook::Enable => "Enable",
            Outlook::Platform => "Platform",
            Outlook::Rival { .. } => "Rival",
            Outlook::Room => "Room",
            Outlook::Bounds => "Bounds",
            Outlook::Quiet { .. } => "Quiet",
            Outlook::Failures { .. } => "Failures",
        }
    }
}

impl Step {
    /// Stable; for metrics, logs and machines.
    pub fn code(&self) -> &'static str {
        match self {
            Step::JustChanged => "JustChanged",
            Step::Paused { .. } => "Paused",
            Step::Disabled => "ScalingDisabled",
            Step::Activated { .. } => "Activated",
            Step::Deactivated { .. } => "Deactivated",
            Step::CoolingDown { .. } => "ScalerCooldown",
            Step::AtRest => "AtRest",
            Step::RestWithheld => "RestWithheld",
            Step::AboveMax { .. } => "AboveMax",
            Step::BelowMin { .. } => "BelowMin",
            Step::NoMetrics => "NoMetrics",
            Step::Frozen { .. } => "FrozenByFailure",
            Step::StepCapped { .. } => "StepCapped",
            Step::Settling { .. } => "Settling",
            Step::Stabilized { from, to, .. } if to > from => "ScaleDownStabilized",
            Step::Stabilized { .. } => "ScaleUpStabilized",
            Step::Limited { by, .. } => by.code(),
            Step::ScaleInPaused { .. } => "ScaleInPaused",
            Step::ScaleOutPaused { .. } => "ScaleOutPaused",
            Step::Bounded { .. } => "Bounded",
            Step::Objective(reason) => reason.code(),
            Step::LastReplica => Limited::TooFew.code(),
            Step::Held(Held::Away) => "PlatformAway",
            Step::Held(Held::Unseen) => "TargetUnseen",
            Step::Held(Held::Gone(_)) => "TargetGone",
            Step::Held(Held::Rival(_)) => "AlreadyScaled",
            Step::Held(Held::Rebuilt { .. }) => "ClusterRebuilt",
            Step::Blocked { .. } => "ReplicasBlocked",
        }
    }
}

impl Step {
    /// Whether the triggers' proposals have no say.
    pub(crate) fn overrules(&self) -> bool {
        match self {
            Step::JustChanged
            | Step::Paused { .. }
            | Step::Disabled
            | Step::Held(_)
            | Step::AtRest
            | Step::Frozen { .. }
            | Step::NoMetrics => true,
            Step::Objective(reason) => !reason.falls_back(),
            _ => false,
        }
    }
}

impl Outcome {
    /// Stable; for metrics, logs and machines.
    pub fn code(&self) -> &'static str {
        match self {
            Outcome::Proposes { .. } => "ValidMetricFound",
            Outcome::Fallback { .. } => "FallbackActive",
            Outcome::Failed { .. } => "TriggerFailed",
            Outcome::Stale => "TriggerStale",
            Outcome::Unheard => "TriggerUnheard",
            Outcome::NoReplicas => "NoReplicas",
            Outcome::Composed => "FormulaInput",
        }
    }

    /// The size that the trigger asks for, where it asks for one.
    pub fn proposal(&self) -> Option<u32> {
        match self {
            Outcome::Proposes { replicas, .. } | Outcome::Fallback { replicas, .. } => {
                Some(*replicas)
            }
            Outcome::Failed { kept, .. } => *kept,
            _ => None,
        }
    }
}

impl ConditionKind {
    pub fn code(self) -> &'static str {
        match self {
            ConditionKind::AbleToScale => "AbleToScale",
            ConditionKind::ScalingActive => "ScalingActive",
            ConditionKind::ScalingLimited => "ScalingLimited",
            ConditionKind::ScaledToZero => "ScaledToZero",
            ConditionKind::Ready => "Ready",
            ConditionKind::Active => "Active",
            ConditionKind::Fallback => "Fallback",
            ConditionKind::Paused => "Paused",
            ConditionKind::Adopted => "Adopted",
        }
    }
}

impl Status {
    pub fn code(self) -> &'static str {
        match self {
            Status::True => "True",
            Status::False => "False",
            Status::Unknown => "Unknown",
        }
    }

    pub(crate) fn of(truth: bool) -> Status {
        if truth { Status::True } else { Status::False }
    }
}

impl Failure {
    /// The source's own words, cut at a character.
    pub(crate) fn source(why: &str) -> Failure {
        Failure::Source(clip(why))
    }
}

/// At most [`WHY_BYTES_MAX`] of somebody else's words, cut at a character.
pub(crate) fn clip(why: &str) -> String {
    why[..why.floor_char_boundary(WHY_BYTES_MAX)].to_owned()
}

/// How a source is called in reports; at most [`WHY_BYTES_MAX`] bytes.
pub(crate) fn source_name(source: &Source) -> Cow<'static, str> {
    match source {
        Source::Resource(resource) => resource.name().into(),
        Source::Nodes(resource) => format!("{}{}", resource.name(), quantity::OF_NODES).into(),
        Source::Container {
            resource,
            container,
        } => format!("{} of container {container}", resource.name()).into(),
        Source::Pods { .. } => {
            clip(&format!("pods' {}", source.series().unwrap_or_default())).into()
        }
        Source::Object { kind, .. } | Source::External { kind, .. } | Source::Unknown { kind } => {
            clip(kind).into()
        }
        // What agents measure has no such name.
        Source::Formula { text } => clip(&format!("= {text}")).into(),
    }
}

/// HPA's reason for a trigger that can't be read (rule 16).
pub(crate) fn failure_code(source: &Source, outcome: Option<&Outcome>) -> &'static str {
    if let Some(Outcome::Failed {
        reason: Failure::Selector(_),
        ..
    }) = outcome
    {
        return "InvalidSelector";
    }
    match source {
        Source::Resource(_) | Source::Nodes(_) => "FailedGetResourceMetric",
        Source::Container { .. } => "FailedGetContainerResourceMetric",
        Source::Pods { .. } => "FailedGetPodsMetric",
        Source::Object { .. } => "FailedGetObjectMetric",
        Source::External { .. } | Source::Formula { .. } => "FailedGetExternalMetric",
        Source::Unknown { .. } => "InvalidMetricSourceType",
    }
}
