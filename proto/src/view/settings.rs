//! How a policy is set, as the public API shows it: every field that a user can
//! state, with the defaults filled in.
//!
//! Comes in: a policy in force. Goes out: messages. Never decides what a default
//! is: the policy knows.

use starling_engine::policy::{
    Annotations, Banded, Fallback, FallbackBehavior, Objective, Policy, Rate, RateKind, Rules,
    Select, Strategy, Zero,
};

use super::duration;
use crate::v1;

pub fn behavior(policy: &Policy) -> v1::Behavior {
    let (windows, controller) = (policy.windows(), policy.controller);
    let stated = policy.behavior.as_ref();
    v1::Behavior {
        stated: stated.is_some(),
        scale_up: Some(rules(
            stated.map(|it| &it.up),
            windows.up_ms,
            controller.tolerance_up_ppm,
        )),
        scale_down: Some(rules(
            stated.map(|it| &it.down),
            windows.down_ms,
            controller.tolerance_down_ppm,
        )),
    }
}

fn rules(stated: Option<&Rules>, window_ms: u64, tolerance_ppm: u32) -> v1::ScalingRules {
    v1::ScalingRules {
        stabilization_window: Some(duration(window_ms)),
        select_policy: match stated.map(|it| it.select).unwrap_or_default() {
            Select::Max => v1::SelectPolicy::Max,
            Select::Min => v1::SelectPolicy::Min,
            Select::Disabled => v1::SelectPolicy::Disabled,
        }
        .into(),
        rates: stated.map_or_else(Vec::new, |it| it.rates.iter().map(rate).collect()),
        tolerance_ppm: stated
            .and_then(|it| it.tolerance_ppm)
            .unwrap_or(tolerance_ppm),
    }
}

fn rate(rate: &Rate) -> v1::ScalingRate {
    v1::ScalingRate {
        r#type: match rate.kind {
            RateKind::Pods => v1::RateType::Pods,
            RateKind::Percent => v1::RateType::Percent,
        }
        .into(),
        value: rate.value,
        period: Some(duration(rate.period_ms)),
    }
}

pub fn strategy(strategy: &Strategy) -> v1::Strategy {
    match strategy {
        Strategy::Target => v1::Strategy::Target,
        Strategy::Banded(_) => v1::Strategy::Banded,
        Strategy::Objective(_) => v1::Strategy::Objective,
    }
}

pub fn banded(strategy: &Strategy) -> Option<v1::BandedSettings> {
    let Strategy::Banded(bands) = strategy else {
        return None;
    };
    let Banded {
        high_percent,
        high_aim_percent,
        low_percent,
        low_aim_percent,
        step_up_percent,
        step_down_percent,
        cooldown_ms,
    } = *bands;
    Some(v1::BandedSettings {
        high_percent,
        high_aim_percent,
        low_percent,
        low_aim_percent,
        step_up_percent,
        step_down_percent,
        cooldown: Some(duration(cooldown_ms)),
    })
}

pub fn objective(strategy: &Strategy) -> Option<v1::ObjectiveSettings> {
    let Strategy::Objective(objective) = strategy else {
        return None;
    };
    let Objective {
        wait_ms,
        miss_ppm,
        service_ms,
        slots,
        ref arrivals,
        ref in_system,
    } = **objective;
    Some(v1::ObjectiveSettings {
        wait: Some(duration(wait_ms)),
        miss_ppm,
        service: service_ms.map(duration),
        slots,
        arrivals_trigger: arrivals.clone().unwrap_or_default(),
        in_system_trigger: in_system.clone().unwrap_or_default(),
    })
}

pub fn zero_mode(zero: Zero) -> v1::ZeroMode {
    match zero {
        Zero::Activation => v1::ZeroMode::Activation,
        Zero::Hpa { allowed: false } => v1::ZeroMode::Manual,
        Zero::Hpa { allowed: true } => v1::ZeroMode::Metrics,
    }
}

pub fn annotations(annotations: &Annotations) -> v1::PolicyAnnotations {
    v1::PolicyAnnotations {
        paused: annotations.paused,
        paused_replicas: annotations.paused_replicas,
        paused_scale_in: annotations.paused_scale_in,
        paused_scale_out: annotations.paused_scale_out,
        force_activation: annotations.force_activation,
    }
}

pub fn fallback(fallback: &Fallback, active: bool) -> v1::Fallback {
    v1::Fallback {
        failure_threshold: fallback.failure_threshold,
        replicas: fallback.replicas,
        behavior: match fallback.behavior {
            FallbackBehavior::Static => v1::FallbackBehavior::Static,
            FallbackBehavior::CurrentReplicas => v1::FallbackBehavior::CurrentReplicas,
            FallbackBehavior::CurrentReplicasIfHigher => {
                v1::FallbackBehavior::CurrentReplicasIfHigher
            }
            FallbackBehavior::CurrentReplicasIfLower => {
                v1::FallbackBehavior::CurrentReplicasIfLower
            }
            FallbackBehavior::ScalingModifiers => v1::FallbackBehavior::ScalingModifiers,
        }
        .into(),
        active,
        recovery_threshold: Some(fallback.recovery()),
    }
}

#[cfg(test)]
mod tests {
    use starling_engine::policy::Behavior;

    use super::*;

    fn window_s(rules: Option<&v1::ScalingRules>) -> i64 {
        let window = rules.unwrap().stabilization_window;
        window.unwrap().seconds
    }

    #[test]
    fn without_behavior_hpas_defaults_are_filled_in_and_said_to_be_defaults() {
        let shown = behavior(&Policy::default());
        assert!(!shown.stated);
        assert_eq!(
            (
                window_s(shown.scale_up.as_ref()),
                window_s(shown.scale_down.as_ref())
            ),
            (0, 300)
        );
        assert_eq!(shown.scale_down.unwrap().tolerance_ppm, 100_000);
    }

    #[test]
    fn a_stated_behavior_is_shown_as_it_is_stated() {
        let policy = Policy {
            behavior: Some(Behavior {
                up: Rules {
                    tolerance_ppm: Some(50_000),
                    select: Select::Min,
                    ..Rules::up()
                },
                down: Rules {
                    window_ms: Some(7_000),
                    ..Rules::default()
                },
            }),
            ..Policy::default()
        };
        let shown = behavior(&policy);
        assert!(shown.stated);
        assert_eq!(window_s(shown.scale_down.as_ref()), 7);
        let up = shown.scale_up.unwrap();
        assert_eq!(up.select_policy(), v1::SelectPolicy::Min);
        assert_eq!(up.tolerance_ppm, 50_000);
        let rates: Vec<_> = up.rates.iter().map(|it| (it.r#type(), it.value)).collect();
        assert_eq!(
            rates,
            [(v1::RateType::Pods, 4), (v1::RateType::Percent, 100)]
        );
    }
}
