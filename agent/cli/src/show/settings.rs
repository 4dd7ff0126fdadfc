//! How a policy is set, for programs: every field, with the defaults filled in.
//!
//! Comes in: a policy as the API shows it. Goes out: plain structs whose field names
//! are the JSON's. Tables show none of it.

use serde::Serialize;
use starling_proto::{v1, view};

use super::{some, span_ms};

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Settings {
    pub target_version: Option<String>,
    pub behavior: Behavior,
    pub banded: Option<Banded>,
    pub objective: Option<Objective>,
    pub zero_mode: &'static str,
    pub annotations: Annotations,
    pub polling_interval_ms: u64,
    pub cooldown_ms: u64,
    pub initial_cooldown_ms: u64,
    pub cpu_initialization_period_ms: u64,
    pub initial_readiness_delay_ms: u64,
    pub stale_after_ms: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Behavior {
    pub stated: bool,
    pub scale_up: Rules,
    pub scale_down: Rules,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rules {
    pub stabilization_window_ms: u64,
    pub select_policy: &'static str,
    pub rates: Vec<Rate>,
    pub tolerance_ppm: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rate {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub value: i32,
    pub period_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Banded {
    pub high_percent: u32,
    pub high_aim_percent: u32,
    pub low_percent: u32,
    pub low_aim_percent: u32,
    pub step_up_percent: u32,
    pub step_down_percent: u32,
    pub cooldown_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Objective {
    pub wait_ms: u64,
    pub miss_ppm: u32,
    pub service_ms: Option<u64>,
    pub slots: Option<u32>,
    pub arrivals_trigger: Option<String>,
    pub in_system_trigger: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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

impl From<&v1::Policy> for Settings {
    fn from(policy: &v1::Policy) -> Settings {
        let behavior = policy.behavior.clone().unwrap_or_default();
        let annotations = policy.annotations.unwrap_or_default();
        Settings {
            target_version: some(policy.target_version.clone()),
            behavior: Behavior {
                stated: behavior.stated,
                scale_up: behavior.scale_up.unwrap_or_default().into(),
                scale_down: behavior.scale_down.unwrap_or_default().into(),
            },
            banded: policy.banded.map(Banded::from),
            objective: policy.objective.clone().map(Objective::from),
            zero_mode: match policy.zero_mode() {
                v1::ZeroMode::Unspecified => "unknown",
                v1::ZeroMode::Activation => "activation",
                v1::ZeroMode::Manual => "manual",
                v1::ZeroMode::Metrics => "metrics",
            },
            annotations: Annotations {
                paused: annotations.paused,
                paused_replicas: annotations.paused_replicas,
                paused_scale_in: annotations.paused_scale_in,
                paused_scale_out: annotations.paused_scale_out,
                force_activation: annotations.force_activation,
            },
            polling_interval_ms: span_ms(policy.polling_interval.as_ref()),
            cooldown_ms: span_ms(policy.cooldown.as_ref()),
            initial_cooldown_ms: span_ms(policy.initial_cooldown.as_ref()),
            cpu_initialization_period_ms: span_ms(policy.cpu_initialization_period.as_ref()),
            initial_readiness_delay_ms: span_ms(policy.initial_readiness_delay.as_ref()),
            stale_after_ms: policy.stale_after.as_ref().map(|it| span_ms(Some(it))),
        }
    }
}

impl From<v1::ScalingRules> for Rules {
    fn from(rules: v1::ScalingRules) -> Rules {
        Rules {
            stabilization_window_ms: span_ms(rules.stabilization_window.as_ref()),
            select_policy: match rules.select_policy() {
                v1::SelectPolicy::Unspecified => "unknown",
                v1::SelectPolicy::Max => "max",
                v1::SelectPolicy::Min => "min",
                v1::SelectPolicy::Disabled => "disabled",
            },
            tolerance_ppm: rules.tolerance_ppm,
            rates: rules.rates.into_iter().map(Rate::from).collect(),
        }
    }
}

impl From<v1::ScalingRate> for Rate {
    fn from(rate: v1::ScalingRate) -> Rate {
        Rate {
            kind: match rate.r#type() {
                v1::RateType::Unspecified => "unknown",
                v1::RateType::Pods => "pods",
                v1::RateType::Percent => "percent",
            },
            value: rate.value,
            period_ms: span_ms(rate.period.as_ref()),
        }
    }
}

impl From<v1::BandedSettings> for Banded {
    fn from(bands: v1::BandedSettings) -> Banded {
        Banded {
            high_percent: bands.high_percent,
            high_aim_percent: bands.high_aim_percent,
            low_percent: bands.low_percent,
            low_aim_percent: bands.low_aim_percent,
            step_up_percent: bands.step_up_percent,
            step_down_percent: bands.step_down_percent,
            cooldown_ms: span_ms(bands.cooldown.as_ref()),
        }
    }
}

impl From<v1::ObjectiveSettings> for Objective {
    fn from(objective: v1::ObjectiveSettings) -> Objective {
        Objective {
            wait_ms: span_ms(objective.wait.as_ref()),
            miss_ppm: objective.miss_ppm,
            service_ms: objective.service.as_ref().map(view::duration_ms),
            slots: objective.slots,
            arrivals_trigger: some(objective.arrivals_trigger),
            in_system_trigger: some(objective.in_system_trigger),
        }
    }
}
