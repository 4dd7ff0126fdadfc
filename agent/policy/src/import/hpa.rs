//! `HorizontalPodAutoscaler`s: autoscaling/v2 and v1, and the betas between them.
//!
//! `metrics` and `behavior` are taken as they are. In v1 both stand in annotations,
//! where the API server puts what v1 has no fields for.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::draft::{Draft, Metric, Spec, TargetRef};
use super::{Told, legacy, metadata};

/// Where the API server keeps, in v1, what only v2 has fields for.
const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
/// What an HPA without metrics is scaled by (hpa.md rule 18).
const CPU_PERCENT_DEFAULT: i64 = 80;
/// HPA's default for `minReplicas`.
const MIN_DEFAULT: i64 = 1;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Autoscaler {
    api_version: String,
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
    min_replicas: Option<i64>,
    max_replicas: i64,
    #[serde(default)]
    metrics: Option<Vec<Value>>,
    #[serde(default)]
    behavior: Value,
    /// v1's only metric.
    #[serde(rename = "targetCPUUtilizationPercentage")]
    cpu_percent: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    api_version: Option<String>,
    kind: String,
    name: String,
}

pub(super) fn draft(told: &mut Told<'_>) -> Option<Draft> {
    let hpa: Autoscaler = told.read()?;
    let mut spec = hpa.spec;
    let beta1 = hpa.api_version.ends_with("/v2beta1");
    let mut from = "spec.metrics".to_owned();
    let mut metrics = spec.metrics.take().unwrap_or_default();
    if beta1 {
        metrics = metrics.iter().map(legacy::metric).collect();
    }
    if let Some(written) = annotation(told, &hpa.metadata, METRICS) {
        from = format!("metadata.annotations[{METRICS}]");
        let listed = written.as_array().map(Vec::as_slice).unwrap_or_default();
        metrics.extend(listed.iter().map(legacy::metric));
    }
    let mut measures: Vec<Metric> = metrics
        .into_iter()
        .enumerate()
        .map(|(index, written)| Metric {
            written,
            from: format!("{from}[{index}]"),
        })
        .collect();
    if let Some(percent) = spec.cpu_percent {
        measures.insert(0, cpu(percent, "spec.targetCPUUtilizationPercentage"));
    }
    if measures.is_empty() {
        measures.push(cpu(CPU_PERCENT_DEFAULT, "spec.metrics"));
    }
    let mut behavior = spec.behavior;
    if let Some(written) = annotation(told, &hpa.metadata, BEHAVIOR) {
        behavior = legacy::behavior(written);
    }
    let target = spec.scale_target_ref;
    Some(Draft::new(
        &hpa.metadata,
        Spec {
            scale_target_ref: TargetRef {
                // An HPA that names none means the core group; a policy apps/v1.
                api_version: Some(target.api_version.unwrap_or_else(|| "v1".to_owned())),
                kind: target.kind,
                name: target.name,
                env_source_container_name: None,
            },
            min_replica_count: Some(spec.min_replicas.unwrap_or(MIN_DEFAULT)),
            max_replica_count: Some(spec.max_replicas),
            metrics: measures,
            behavior,
            ..Spec::default()
        },
    ))
}

fn cpu(percent: i64, from: &str) -> Metric {
    Metric {
        written: json!({
            "type": "Resource",
            "resource": {
                "name": "cpu",
                "target": { "type": "Utilization", "averageUtilization": percent },
            },
        }),
        from: from.to_owned(),
    }
}

/// JSON that stands in an annotation.
fn annotation(told: &mut Told<'_>, metadata: &metadata::Metadata, key: &str) -> Option<Value> {
    let text = metadata.annotations.get(key)?.as_deref()?;
    match serde_json::from_str(text) {
        Ok(value) => Some(value),
        Err(error) => {
            let why = format!("isn't JSON, and is left out: {error}");
            told.warn(&format!("metadata.annotations[{key}]"), why);
            None
        }
    }
}
