//! The kinds that compute one metric's proposal.

use serde_json::{Value, json};
use starling_engine::decide::metric::{self, Error, Scale};

use crate::Answer;
use crate::field::{int, list, optional};
use crate::pods::{CUSTOM, pick, ready, sums, tolerance};

pub fn answer(kind: &str, of: &Value) -> Answer {
    let count = |name: &str| optional(of, name).unwrap_or(0);
    let scale = Scale {
        current: count("current_replicas"),
        running: count("status_replicas"),
        ready: ready(of),
        tolerance: tolerance(of),
    };
    compute(kind, of, &scale).map_err(class)
}

fn compute(kind: &str, of: &Value, scale: &Scale) -> Result<Value, Error> {
    let series = || -> Result<i64, Error> {
        let values: Vec<i64> = list(of, "metric_values_milli")
            .iter()
            .map(|v| v.as_i64().unwrap())
            .collect();
        metric::series(&values)
    };
    let target = int(
        of,
        match kind {
            "resource_utilization" => "target_utilization_percent",
            "object" | "external" => "target_value_milli",
            _ => "target_average_milli",
        },
    );
    let single = || int(of, "metric_value_milli");
    let proposal = match kind {
        "resource_utilization" => {
            let percent = i32::try_from(target).unwrap();
            metric::utilization(&sums(of, pick(of)), percent, scale)
        }
        "resource_value" => metric::average(&sums(of, pick(of)), target, scale),
        "pods" => {
            let custom = starling_engine::demand::pick::Pick::custom(CUSTOM);
            metric::average(&sums(of, custom), target, scale)
        }
        "object" => metric::value(single(), target, scale),
        "object_per_pod" => metric::value_per_replica(single(), target, scale),
        "external" => metric::value(series()?, target, scale),
        _ => metric::value_per_replica(series()?, target, scale),
    }?;
    Ok(json!({
        "replicas": proposal.replicas,
        "utilization_percent": proposal.value,
        "raw_average_milli": proposal.average_milli,
        "average_milli": proposal.average_milli,
        "value_milli": proposal.value,
    }))
}

fn class(error: Error) -> &'static str {
    match error {
        Error::NoMetricsReturned => "NO_METRICS_RETURNED",
        Error::NoPods => "NO_PODS",
        Error::NoMetricsForReadyPods => "NO_METRICS_FOR_READY_PODS",
        Error::NoMetricsForKnownPods => "NO_METRICS_FOR_KNOWN_PODS",
        Error::MissingRequest => "MISSING_REQUEST",
        Error::ContainerNotFound => "CONTAINER_NOT_FOUND",
        Error::ZeroTarget => "ZERO_TARGET",
    }
}
