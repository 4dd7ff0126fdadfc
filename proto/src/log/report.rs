//! The account of a decision to and from its messages.
//!
//! Comes in and goes out: a report, whole. The public API shows the same in another
//! form (`view::explain`), with words, and from which it could not be read back.

use starling_engine::decide::{limit, metric, objective, reason};

use super::stored::{Stored, stored};
use super::{Error, wire};

stored! { struct reason::Report = wire::Report {
    at, from, target, dry_run, inputs, winner, raw, steps, conditions, outlook,
} needed {} }
stored! { struct reason::Input = wire::Input { trigger, source, value, age_ms, pods, band } needed { goal, outcome } }
stored! { struct reason::Pods = wire::InputPods { counted, unready, missing, ignored } needed {} }
stored! {
    oneof reason::Outcome = wire::Said, wire::said::Kind;
    unit { Stale, Unheard, NoReplicas, Composed }
    plain {}
    wrapped {}
    fields {
        Proposes = wire::said::Proposes { replicas, within_tolerance } needed {},
        Fallback = wire::said::Fallback { stated, replicas, failures, successes, behavior, reason, needed } needed {},
        Failed = wire::said::Failed { failures, kept } needed { reason },
    }
}
stored! {
    oneof reason::Failure = wire::Failure, wire::failure::Kind;
    unit { MostlyMissing, UnknownType }
    plain { Source, Metric, Selector }
    wrapped {}
    fields {}
}
stored! { enum metric::Error = wire::MetricError {
    NoMetricsReturned, NoPods, NoMetricsForReadyPods, NoMetricsForKnownPods, MissingRequest,
    ContainerNotFound, ZeroTarget,
} }
stored! {
    oneof reason::Held = wire::Hold, wire::hold::Kind;
    unit { Away, Unseen }
    plain { Gone, Rival }
    wrapped {}
    fields {
        Rebuilt = wire::hold::Rebuilt { left_ms } needed {},
    }
}
stored! {
    oneof reason::Step = wire::Step, wire::step::Kind;
    unit {
        JustChanged, Disabled, AtRest, RestWithheld, NoMetrics, LastReplica,
    }
    plain { Objective, Held }
    wrapped {}
    fields {
        Paused = wire::step::Paused { at } needed {},
        Activated = wire::step::Activated { to, by } needed {},
        Deactivated = wire::step::Deactivated { to, quiet_ms } needed {},
        CoolingDown = wire::step::CoolingDown { left_ms } needed {},
        AboveMax = wire::step::AboveMax { max } needed {},
        BelowMin = wire::step::BelowMin { min } needed {},
        Frozen = wire::step::Frozen { wanted } needed {},
        StepCapped = wire::step::StepCapped { from, to } needed {},
        Settling = wire::step::Settling { wanted, left_ms } needed {},
        Stabilized = wire::step::Stabilized { from, to, window_ms, age_ms } needed {},
        Limited = wire::step::Limited { from, to, by } needed {},
        ScaleInPaused = wire::step::ScaleInPaused { wanted } needed {},
        ScaleOutPaused = wire::step::ScaleOutPaused { wanted } needed {},
        Bounded = wire::step::Bounded { from, to } needed {},
        Blocked = wire::step::Blocked { wanted, why } needed {},
    }
}
stored! { enum limit::Limited = wire::LimitedBy { Within, TooFew, TooMany, Up, Down } }
stored! {
    oneof objective::reason::Reason = wire::ObjectiveReason, wire::objective_reason::Kind;
    unit { ArrivalsUnknown, ServiceUnknown, SlotsUnknown, QueueUnknown }
    plain { Expected }
    wrapped {}
    fields {
        Forecast = wire::objective_reason::Forecast { rate_milli } needed {},
        Staffed = wire::objective_reason::Staffed {
            rate_milli, window_s, service_us, load_milli, peakedness_milli, headroom_milli,
            slots, slots_each, replicas,
        } needed {},
        Queue = wire::objective_reason::Queue { waiting, replicas } needed {},
        Idle = wire::objective_reason::Idle { idle_ms, keep_ms } needed {},
        Bounded = wire::objective_reason::Bounded { min, max } needed {},
        WithinHeadroom = wire::objective_reason::WithinHeadroom { enough } needed {},
        SignalShort = wire::objective_reason::SignalShort { left_ms } needed {},
        Held = wire::objective_reason::Held { held, window_ms, left_ms } needed {},
        StepSmall = wire::objective_reason::StepSmall { wanted } needed {},
    }
}
stored! { struct objective::reason::Expected = wire::ExpectedWork { replicas, at, period_ms } needed {} }
stored! { struct reason::Condition = wire::Condition { kind, status, reason } needed {} }
stored! { enum reason::ConditionKind = wire::ConditionKind {
    AbleToScale, ScalingActive, ScalingLimited, ScaledToZero, Ready, Active, Fallback, Paused,
    Adopted,
} }
stored! { enum reason::Status = wire::ConditionStatus { True, False, Unknown } }
stored! {
    oneof reason::Outlook = wire::Outlook, wire::outlook::Kind;
    unit { Enable, Platform, Room, Bounds }
    plain { Load }
    wrapped {}
    fields {
        Value = wire::outlook::Value { trigger, at_least, at_most } needed {},
        Together = wire::outlook::Together { triggers } needed {},
        Activity = wire::outlook::Activity { trigger, above } needed {},
        Answer = wire::outlook::Answer { trigger } needed {},
        Samples = wire::outlook::Samples { trigger } needed {},
        Recovery = wire::outlook::Recovery { trigger, more } needed {},
        Wait = wire::outlook::Wait { ms } needed {},
        Field = wire::outlook::Field { field, wanted } needed {},
        Annotation = wire::outlook::Annotation { name } needed {},
        Rival = wire::outlook::Rival { by } needed {},
        Quiet = wire::outlook::Quiet { ms } needed {},
        Failures = wire::outlook::Failures { trigger, more } needed {},
    }
}
stored! { struct objective::limits::Limits = wire::ObjectiveLimits {
    replicas, may_grow, may_shrink, slots_each, service_us, wait_ms, miss_ppm, peakedness_milli,
    headroom_milli,
} needed {} }

/// Percentages between which nothing changes.
impl Stored for (u32, u32) {
    type Wire = wire::Band;

    fn out(&self) -> Result<Self::Wire, Error> {
        let (low, high) = *self;
        Ok(wire::Band { low, high })
    }

    fn back(wire: Self::Wire) -> Result<Self, Error> {
        Ok((wire.low, wire.high))
    }
}
