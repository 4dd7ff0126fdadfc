//! KEDA's `ScaledObject` (keda.sh/v1alpha1), field by field (keda.md 1.1 to 1.3).
//!
//! What KEDA does with two loops, its own and an HPA's, one policy does. Sizes,
//! waits, fallback and behavior are taken as they are; triggers that this version
//! doesn't have are left out with a warning each.

mod trigger;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::draft::{Draft, Fallback, Spec, TargetRef};
use super::{Told, draft, metadata};
use crate::convert::ANNOTATIONS;

/// KEDA's default for `pollingInterval`, and how often its HPA asks besides.
const POLLING_DEFAULT: i64 = 30;
const POLLING_OF_HPA: i64 = 15;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ScaledObject {
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    metadata: metadata::Metadata,
    spec: Wanted,
    #[serde(default, rename = "status")]
    _status: IgnoredAny,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    scale_target_ref: Reference,
    polling_interval: Option<i64>,
    initial_cooldown_period: Option<i64>,
    cooldown_period: Option<i64>,
    idle_replica_count: Option<i64>,
    min_replica_count: Option<i64>,
    max_replica_count: Option<i64>,
    fallback: Option<WantedFallback>,
    advanced: Option<Advanced>,
    triggers: Vec<trigger::Written>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    name: String,
    api_version: Option<String>,
    kind: Option<String>,
    env_source_container_name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WantedFallback {
    failure_threshold: i64,
    replicas: i64,
    behavior: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Advanced {
    restore_to_original_replica_count: bool,
    horizontal_pod_autoscaler_config: Option<AutoscalerConfig>,
    scaling_modifiers: Option<Modifiers>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AutoscalerConfig {
    /// What the HPA is called that KEDA makes; none is made here.
    #[serde(rename = "name")]
    _name: IgnoredAny,
    behavior: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Modifiers {
    formula: Option<String>,
    target: Option<String>,
    activation_target: Option<String>,
    metric_type: Option<String>,
}

pub(super) fn draft(told: &mut Told<'_>) -> Option<Draft> {
    let object: ScaledObject = told.read()?;
    let ScaledObject { metadata, spec, .. } = object;
    let advanced = spec.advanced.unwrap_or_default();
    if advanced.restore_to_original_replica_count {
        told.warn(
            "spec.advanced.restoreToOriginalReplicaCount",
            "has no equivalent: a workload keeps the size that it has when its policy is removed; \
             set the size that you want after it with `kubectl scale`",
        );
    }
    let modifiers = advanced.scaling_modifiers.and_then(modifiers);
    let cached = trigger::all_cached(&spec.triggers);
    let mut triggers = Vec::new();
    for (index, written) in spec.triggers.into_iter().enumerate() {
        let from = format!("spec.triggers[{index}]");
        triggers.extend(trigger::trigger(told, from, written, modifiers.is_some()));
    }
    let asked = triggers.iter().any(|it| trigger::is_asked(&it.kind));
    let target = spec.scale_target_ref;
    let mut draft = Draft::new(
        &metadata,
        Spec {
            scale_target_ref: TargetRef {
                api_version: target.api_version,
                kind: target.kind.unwrap_or_else(|| "Deployment".to_owned()),
                name: target.name,
                env_source_container_name: (target.env_source_container_name)
                    .filter(|name| !name.is_empty()),
            },
            min_replica_count: spec.min_replica_count,
            max_replica_count: spec.max_replica_count,
            idle_replica_count: spec.idle_replica_count,
            polling_interval: asked.then(|| polling(spec.polling_interval, cached)),
            cooldown_period: spec.cooldown_period,
            initial_cooldown_period: spec.initial_cooldown_period,
            triggers,
            scaling_modifiers: modifiers,
            fallback: spec.fallback.map(fallback),
            behavior: advanced
                .horizontal_pod_autoscaler_config
                .map(|it| it.behavior)
                .unwrap_or_default(),
            ..Spec::default()
        },
    );
    draft.annotate(annotations(told, &metadata.annotations));
    Some(draft)
}

/// KEDA asks every `pollingInterval` whether to wake the workload, and its HPA every
/// 15 s for how many replicas, unless the former's answers are kept for it. One
/// question serves both here, so it is asked as often as the more frequent of the
/// two.
fn polling(written: Option<i64>, cached: bool) -> i64 {
    let written = written.unwrap_or(POLLING_DEFAULT);
    if cached {
        written
    } else {
        written.min(POLLING_OF_HPA)
    }
}

/// The target is checked with all the rest.
fn modifiers(written: Modifiers) -> Option<draft::Modifiers> {
    let given = |text: &String| !text.is_empty();
    Some(draft::Modifiers {
        formula: written.formula.filter(given)?,
        target: written.target.unwrap_or_default(),
        activation_target: written.activation_target.filter(given),
        metric_type: written.metric_type.filter(given),
    })
}

fn fallback(written: WantedFallback) -> Fallback {
    Fallback {
        failure_threshold: written.failure_threshold,
        replicas: written.replicas,
        behavior: written.behavior,
    }
}

/// Those that change what KEDA does; others stay with the object.
fn annotations(
    told: &mut Told<'_>,
    written: &BTreeMap<String, Option<String>>,
) -> BTreeMap<String, String> {
    let mut kept = BTreeMap::new();
    for (key, value) in written {
        let Some(name) = key.strip_prefix(ANNOTATIONS) else {
            continue;
        };
        if crate::convert::knows_annotation(name) {
            kept.insert(key.clone(), value.clone().unwrap_or_default());
        } else {
            let why = "isn't known to this version, and is left out";
            told.warn(&format!("metadata.annotations[{key}]"), why);
        }
    }
    kept
}
