//! Kinds `reconcile` and `keda_activation`: whole passes.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use starling_engine::decide::activation::{self, Situation, Write};
use starling_engine::decide::reason::Outcome;
use starling_engine::decide::{Inputs, Platform, Reading, decide, metric};
use starling_engine::demand::pick::Pick;
use starling_engine::history::History;
use starling_engine::policy::{
    Annotations, Controller, Fallback, FallbackBehavior, Goal, Policy, Resource, Source, Trigger,
    Zero,
};

use crate::field::{NOW, count, flag, float, int, list, moment, ms, optional, unreadable};
use crate::histories::{behavior_of, recommendations};
use crate::pods::{CUSTOM, controller, ready, sums};

pub fn pass(of: &Value) -> Value {
    let ppm = |name| (float(of, name) * 1e6).round() as u32;
    let (triggers, readings) = list(of, "metrics")
        .iter()
        .enumerate()
        .map(|(i, metric)| trigger(i, metric, of))
        .unzip();
    let policy = Policy {
        // Unset means 1 (rule 1).
        replicas_min: optional(of, "min_replicas").unwrap_or(1),
        replicas_max: count(of, "max_replicas"),
        triggers,
        behavior: behavior_of(&of["behavior"]),
        zero: Zero::Hpa {
            allowed: flag(of, "scale_to_zero_gate"),
        },
        controller: Controller {
            down_window_ms: ms(of, "downscale_stabilization_s").unwrap(),
            tolerance_up_ppm: ppm("tolerance_up"),
            tolerance_down_ppm: ppm("tolerance_down"),
            ..controller(of)
        },
        ..Policy::default()
    };
    let history = History {
        seeded: !of["recommendations"].is_null(),
        recommendations: recommendations(of),
        scaled_to_zero: flag(of, "initial_scaled_to_zero"),
        ..History::default()
    };
    let decision = decide(Inputs {
        policy: &policy,
        now: NOW,
        created_at: NOW,
        current: count(of, "spec_replicas"),
        running: count(of, "status_replicas"),
        ready: ready(of),
        last_pass: None,
        readings,
        signal: None,
        started_ms: &[],
        history: &history,
        platform: Platform::default(),
    });
    let report = &decision.report;
    let current = count(of, "spec_replicas");
    let computed = report.winner.is_some()
        || report
            .conditions
            .iter()
            .any(|c| c.reason.starts_with("Failed") || c.reason.starts_with("Invalid"));
    let short = report
        .steps
        .iter()
        .any(|s| matches!(s.code(), "AboveMax" | "BelowMin" | "ScalingDisabled"));
    let failed = report
        .inputs
        .iter()
        .any(|i| matches!(i.outcome, Outcome::Failed { .. }));
    let conditions: BTreeMap<&str, [&str; 2]> = report
        .conditions
        .iter()
        .map(|c| (c.kind.code(), [c.status.code(), c.reason.as_ref()]))
        .collect();
    json!({
        "replicas": decision.target,
        "rescaled": decision.target != current,
        "error": computed && failed && !short,
        "conditions": conditions,
    })
}

fn trigger(index: usize, metric: &Value, of: &Value) -> (Trigger, Reading) {
    let kind = metric["type"].as_str().unwrap_or_default();
    let resource = match metric["resource"].as_str() {
        Some("cpu") | None => Resource::Cpu,
        Some(_) => Resource::Memory,
    };
    let pods = |pick| Reading::Pods(sums(of, pick));
    let metadata = BTreeMap::new();
    let outside = || Source::External {
        kind: kind.into(),
        metadata: metadata.clone(),
    };
    let object = || Source::Object {
        kind: kind.into(),
        metadata: metadata.clone(),
    };
    let average = || Goal::AverageValue {
        milli: int(metric, "target_average_milli"),
    };
    let whole = || Goal::Value {
        milli: int(metric, "target_value_milli"),
    };
    let single = || Reading::value(int(metric, "metric_value_milli"), NOW);
    let series = || {
        let values: Vec<i64> = list(metric, "metric_values_milli")
            .iter()
            .map(|v| v.as_i64().unwrap())
            .collect();
        metric::series(&values).map_or_else(
            |error| Reading::Failed {
                why: error.to_string(),
                at: NOW,
            },
            |milli| Reading::value(milli, NOW),
        )
    };
    let failing = metric["fetch_error"] == true;
    let (source, goal, reading) = match kind {
        _ if metric["invalid_type"] == true => (
            Source::Unknown { kind: kind.into() },
            Goal::Value { milli: 1 },
            Reading::None,
        ),
        "resource_utilization" => (
            Source::Resource(resource),
            Goal::Utilization {
                percent: i32::try_from(int(metric, "target_utilization_percent")).unwrap(),
            },
            pods(Pick::replica(resource)),
        ),
        "resource_value" => (
            Source::Resource(resource),
            average(),
            pods(Pick::replica(resource)),
        ),
        "pods" => (
            Source::Pods {
                metric: CUSTOM.into(),
                selector: None,
            },
            average(),
            Reading::Answered {
                sums: sums(of, Pick::custom(CUSTOM)),
                at: NOW,
            },
        ),
        "object" if failing => (object(), whole(), Reading::None),
        "object" => (object(), whole(), single()),
        "object_per_pod" if failing => (object(), average(), Reading::None),
        "object_per_pod" => (object(), average(), single()),
        "external" => (outside(), whole(), series()),
        "external_per_pod" => (outside(), average(), series()),
        other => unreadable(format!("unknown metric {other}")),
    };
    let reading = if failing {
        Reading::Failed {
            why: "fetch error".into(),
            at: NOW,
        }
    } else {
        reading
    };
    let trigger = Trigger {
        name: format!("metric-{index}"),
        source,
        goal,
        activation_milli: 0,
        window_ms: None,
    };
    (trigger, reading)
}

pub fn activation(of: &Value) -> Value {
    let flag = |name: &str| flag(of, name);
    let optional = |name: &str| optional(of, name);
    let default = Policy::default();
    let policy = Policy {
        replicas_min: optional("min_replicas").unwrap_or(0),
        replicas_idle: optional("idle_replicas"),
        cooldown_ms: ms(of, "cooldown_s").unwrap_or(default.cooldown_ms),
        initial_cooldown_ms: ms(of, "initial_cooldown_s").unwrap_or(default.initial_cooldown_ms),
        fallback: optional("fallback_replicas").map(|replicas| Fallback {
            failure_threshold: 3,
            replicas,
            behavior: FallbackBehavior::Static,
            recovery_threshold: None,
        }),
        annotations: Annotations {
            paused: flag("paused"),
            paused_replicas: None,
            paused_scale_in: flag("paused_scale_in"),
            paused_scale_out: flag("paused_scale_out"),
            force_activation: flag("force_activation"),
        },
        ..default
    };
    let step = activation::step(&Situation {
        policy: &policy,
        current: count(of, "current_replicas"),
        created_at: moment(of, "created_age_s").unwrap(),
        last_active: moment(of, "last_active_age_s"),
        now: NOW,
        active: flag("triggers_active"),
        failing: flag("triggers_failing"),
    });
    let write = match step.write {
        Write::Size(size) => json!(size),
        Write::Stay | Write::Continue => Value::Null,
    };
    let condition = step.condition.map(|active| {
        let status = if active.status() { "True" } else { "False" };
        json!([status, active.code()])
    });
    json!({
        "write": write,
        "active_until_now": step.active_until_now,
        "active_condition": condition,
    })
}
