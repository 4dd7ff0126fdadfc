//! Kinds `pod_grouping` and `pod_requests`, and the pod object.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use starling_engine::demand::pick::Pick;
use starling_engine::demand::pods::request::{self, Container, Stated};
use starling_engine::demand::pods::{Group, Metric, Phase, Pod, Reading, Sums, group};
use starling_engine::policy::{Controller, Resource};

use crate::Answer;
use crate::field::{self, NOW, flag, int, list, moment, ms, unreadable};

/// The metric's name for kinds without a resource.
pub const CUSTOM: &str = "custom";

pub fn controller(of: &Value) -> Controller {
    let default = Controller::default();
    Controller {
        cpu_initialization_ms: ms(of, "cpu_initialization_period_s")
            .unwrap_or(default.cpu_initialization_ms),
        initial_readiness_ms: ms(of, "initial_readiness_delay_s")
            .unwrap_or(default.initial_readiness_ms),
        ..default
    }
}

pub fn pick(of: &Value) -> Pick<'static> {
    match of["resource"].as_str() {
        Some("cpu") => Pick::replica(Resource::Cpu),
        // All others are alike: only CPU looks at readiness.
        Some(_) => Pick::replica(Resource::Memory),
        None => Pick::custom(CUSTOM),
    }
}

pub fn pod(of: &Value) -> Pod {
    let sample = of["value_milli"].as_i64().map(|milli| Reading {
        milli,
        at: moment(of, "metric_age_s").unwrap_or(NOW),
        window_ms: ms(of, "metric_window_s").unwrap_or(0),
    });
    let metric = Metric {
        request_milli: of["request_milli"].as_i64(),
        sample,
        ..Metric::default()
    };
    Pod {
        phase: match of["phase"].as_str() {
            Some("Pending") => Phase::Pending,
            Some("Failed") => Phase::Failed,
            Some("Succeeded") => Phase::Succeeded,
            Some("Running") => Phase::Running,
            other => unreadable(format!("unknown phase {other:?}")),
        },
        deleted: flag(of, "deleted"),
        // Only "False" makes a replica unready.
        ready: of["ready"].as_str().map(|status| status != "False"),
        started_at: moment(of, "start_age_s"),
        ready_changed_at: moment(of, "ready_transition_age_s"),
        metrics: [(Resource::Cpu, metric.clone()), (Resource::Memory, metric)].into(),
        custom: sample.into_iter().map(|s| (CUSTOM.to_owned(), s)).collect(),
        ..Pod::default()
    }
}

pub fn all(of: &Value) -> Vec<Pod> {
    list(of, "pods").iter().map(pod).collect()
}

pub fn sums(of: &Value, pick: Pick<'_>) -> Sums {
    let mut sums = Sums::of(&all(of), pick, &controller(of), NOW);
    for stranger in list(of, "extra_metrics") {
        sums.add_stranger(int(stranger, "value_milli"));
    }
    sums
}

pub fn grouping(of: &Value) -> Value {
    let mut names: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for each in list(of, "pods") {
        let group = match group(&pod(each), pick(of), &controller(of), NOW) {
            Group::Ready => "ready",
            Group::Unready => "unready",
            Group::Missing => "missing",
            Group::Ignored => "ignored",
        };
        names
            .entry(group)
            .or_default()
            .push(each["name"].as_str().unwrap());
    }
    let mut sorted = |group| {
        let mut names = names.remove(group).unwrap_or_default();
        names.sort_unstable();
        names
    };
    json!({
        "ready_count": sorted("ready").len(),
        "unready": sorted("unready"),
        "missing": sorted("missing"),
        "ignored": sorted("ignored"),
    })
}

pub fn requests(of: &Value) -> Answer {
    let mut requests = BTreeMap::new();
    for pod in list(of, "pods") {
        let containers = |name| -> Vec<Container> {
            list(pod, name)
                .iter()
                .map(|c| Container {
                    name: c["name"].as_str().unwrap().to_owned(),
                    request_milli: c["request_milli"].as_i64(),
                    restarts: flag(c, "restart_policy_always"),
                })
                .collect()
        };
        let enabled = flag(of, "pod_level_resources_enabled");
        let stated = Stated {
            containers: containers("containers"),
            init_containers: containers("init_containers"),
            pod_milli: pod["pod_level_request_milli"].as_i64().filter(|_| enabled),
        };
        let request = match of["container"].as_str() {
            None => request::of_pod(&stated),
            Some(name) => request::of_container(&stated, name),
        };
        let milli = request.map_err(|error| match error {
            request::Error::Missing => "MISSING_REQUEST",
            request::Error::NoContainer => "CONTAINER_NOT_FOUND",
        })?;
        requests.insert(pod["name"].as_str().unwrap(), milli);
    }
    Ok(json!({ "requests_milli": requests }))
}

/// Pods that an Object or External value is spread over (rule 8).
pub fn ready(of: &Value) -> Option<u32> {
    starling_engine::demand::pods::running_and_ready(&all(of))
}

pub fn tolerance(of: &Value) -> starling_engine::decide::ratio::Tolerance {
    starling_engine::decide::ratio::Tolerance {
        up: field::float(of, "tolerance_up"),
        down: field::float(of, "tolerance_down"),
    }
}
