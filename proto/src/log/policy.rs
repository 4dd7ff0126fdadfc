//! Policies to and from their messages.
//!
//! Comes in and goes out: each part of a policy. Judges nothing: whether a policy is
//! sound is for the engine to say, in the same words on every agent.

use starling_engine::policy;

use super::stored::stored;
use super::wire;

stored! { struct policy::Name = wire::Name { namespace, name } needed {} }
stored! { struct policy::Target = wire::Target { group, kind, namespace, name } needed {} }
stored! { struct policy::Policy = wire::Policy {
    target_version, replicas_min, replicas_max, replicas_idle, polling_interval_ms, cooldown_ms,
    initial_cooldown_ms, triggers, fallback, behavior, dry_run,
    stale_after_ms,
} needed { name, target, strategy, annotations, zero, controller } }
stored! {
    oneof policy::Zero = wire::Zero, wire::zero::Kind;
    unit { Activation }
    plain {}
    wrapped {}
    fields {
        Hpa = wire::zero::Hpa { allowed } needed {},
    }
}
stored! { struct policy::Controller = wire::Controller {
    down_window_ms, tolerance_up_ppm, tolerance_down_ppm, cpu_initialization_ms,
    initial_readiness_ms,
} needed {} }
stored! { struct policy::Trigger = wire::Trigger { name, activation_milli, window_ms } needed { source, goal } }
stored! { enum policy::Resource = wire::Resource {
    Cpu, Memory, Gpu, GpuMemory, Disk, DiskSpace, Network, PsiCpu, PsiMemory, PsiIo, Throttling,
} }
stored! {
    oneof policy::Source = wire::Source, wire::source::Kind;
    unit {}
    plain { Resource, Nodes }
    wrapped {}
    fields {
        Container = wire::source::Container { resource, container } needed {},
        Pods = wire::source::Pods { metric, selector } needed {},
        Object = wire::source::Object { kind, metadata } needed {},
        External = wire::source::External { kind, metadata } needed {},
        Unknown = wire::source::Unknown { kind } needed {},
        Formula = wire::source::Formula { text } needed {},
    }
}
stored! {
    oneof policy::Goal = wire::Goal, wire::goal::Kind;
    unit {}
    plain {}
    wrapped {}
    fields {
        Utilization = wire::goal::Utilization { percent } needed {},
        AverageValue = wire::goal::AverageValue { milli } needed {},
        Value = wire::goal::Value { milli } needed {},
    }
}
stored! { struct policy::Fallback = wire::Fallback { failure_threshold, replicas, behavior, recovery_threshold } needed {} }
stored! { enum policy::FallbackBehavior = wire::FallbackBehavior {
    Static, CurrentReplicas, CurrentReplicasIfHigher, CurrentReplicasIfLower, ScalingModifiers,
} }
stored! { struct policy::Behavior = wire::Behavior {} needed { up, down } }
stored! { struct policy::Rules = wire::Rules { window_ms, select, rates, tolerance_ppm } needed {} }
stored! { enum policy::Select = wire::Select { Max, Min, Disabled } }
stored! { struct policy::Rate = wire::Rate { kind, value, period_ms } needed {} }
stored! { enum policy::RateKind = wire::RateKind { Pods, Percent } }
stored! {
    oneof policy::Strategy = wire::Strategy, wire::strategy::Kind;
    unit { Target }
    plain { Banded, Objective }
    wrapped {}
    fields {}
}
stored! { struct policy::Banded = wire::Banded {
    high_percent, high_aim_percent, low_percent, low_aim_percent, step_up_percent,
    step_down_percent, cooldown_ms,
} needed {} }
stored! { struct policy::Objective = wire::Objective { wait_ms, miss_ppm, service_ms, slots, arrivals, in_system } needed {} }
stored! { struct policy::Annotations = wire::Annotations {
    paused, paused_replicas, paused_scale_in, paused_scale_out, force_activation,
} needed {} }
