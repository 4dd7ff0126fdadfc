//! Triggers on what agents measure: of which resource, of whom, over how long.

use std::collections::BTreeMap;

use starling_engine::demand::series::MEAN_MS_MAX;
use starling_engine::policy::{Goal, Resource, Source};
use starling_engine::quantity::Quantity;

use super::objective::duration;
use super::trigger::{no_authentication, refuse, required};
use super::{Check, UTILIZATION};
use crate::schema::{self, MetricType};
use crate::yaml::clip;

/// What the replicas' usage is held against.
const VALUE: &str = "value";
/// KEDA's setting for what one container of each replica uses.
const CONTAINER: &str = "containerName";
/// The mean over so long.
const WINDOW: &str = "window";
/// Of the replicas, or of the nodes that they run on.
const OF: &str = "of";
/// Which of the things that one type measures.
const WHAT: &str = "what";

/// The types, with what `what` may say of each; the first is meant where it is left out.
const TYPES: [(&str, &[(&str, Resource)]); 8] = [
    ("cpu", &[("usage", Resource::Cpu)]),
    ("memory", &[("usage", Resource::Memory)]),
    ("gpu", &[("usage", Resource::Gpu)]),
    ("gpu-memory", &[("usage", Resource::GpuMemory)]),
    (
        "disk",
        &[
            ("throughput", Resource::Disk),
            ("space", Resource::DiskSpace),
        ],
    ),
    ("network", &[("throughput", Resource::Network)]),
    (
        "psi",
        &[
            ("cpu", Resource::PsiCpu),
            ("memory", Resource::PsiMemory),
            ("io", Resource::PsiIo),
        ],
    ),
    ("throttling", &[("ratio", Resource::Throttling)]),
];

/// What a trigger's type measures; `None` for one whose values others tell.
pub(super) fn measures(kind: &str) -> Option<&'static [(&'static str, Resource)]> {
    let found = TYPES.iter().find(|(name, _)| *name == kind);
    found.map(|(_, measures)| *measures)
}

/// Its source, its goal and its window.
pub(super) fn trigger(
    check: &mut Check,
    field: &str,
    measures: &'static [(&'static str, Resource)],
    written: &schema::Trigger,
) -> (Source, Goal, Option<u64>) {
    no_authentication(check, field, written);
    let metadata = &written.metadata;
    let known = [VALUE, CONTAINER, WINDOW, OF, WHAT];
    let unknown = metadata.keys().filter(|key| !known.contains(&key.as_str()));
    let why = || format!("is not known; allowed: {}", known.join(", "));
    refuse(check, field, unknown.map(|key| (key.clone(), why())));
    let resource = chosen(check, field, metadata, WHAT, measures);
    let of_nodes = chosen(
        check,
        field,
        metadata,
        OF,
        &[("pods", false), ("nodes", true)],
    );
    let container = metadata.get(CONTAINER);
    let source = match container {
        Some(_) if of_nodes => {
            let why = format!("has no place beside `{OF}: nodes`");
            check.fails(&format!("{field}.metadata.{CONTAINER}"), why);
            Source::Nodes(resource)
        }
        Some(container) => {
            check.label(&format!("{field}.metadata.{CONTAINER}"), container);
            let container = container.clone();
            Source::Container {
                resource,
                container,
            }
        }
        None if of_nodes => Source::Nodes(resource),
        None => Source::Resource(resource),
    };
    let window_ms = metadata.get(WINDOW).map(|text| {
        let field = format!("{field}.metadata.{WINDOW}");
        duration(check, &field, text, ("2 min", MEAN_MS_MAX))
    });
    (source, goal(check, field, resource, written), window_ms)
}

fn goal(check: &mut Check, field: &str, resource: Resource, written: &schema::Trigger) -> Goal {
    let value_field = format!("{field}.metadata.{VALUE}");
    let value = required(check, field, &written.metadata, VALUE);
    // Of CPU and memory KEDA wants it said; of the others one of them is plain.
    let plain = match resource {
        Resource::Cpu | Resource::Memory => None,
        _ if resource.has_whole() => Some(MetricType::Utilization),
        _ => Some(MetricType::AverageValue),
    };
    match written.metric_type.or(plain) {
        Some(MetricType::Utilization) => Goal::Utilization {
            percent: value.map_or(1, |text| percent(check, &value_field, text)),
        },
        Some(MetricType::AverageValue) => Goal::AverageValue {
            milli: value.map_or(1, |text| {
                check.some_amount(&value_field, text, Quantity::milli)
            }),
        },
        other => {
            let is = other.map_or("missing", |_| "Value");
            let why = format!(
                "must be Utilization (percent of the requests) or AverageValue (amount for each \
                 replica), is {is}"
            );
            check.fails(&format!("{field}.metricType"), why);
            Goal::AverageValue { milli: 1 }
        }
    }
}

/// One of some words, the first where nothing is written.
fn chosen<T: Copy>(
    check: &mut Check,
    field: &str,
    metadata: &BTreeMap<String, String>,
    key: &str,
    of: &[(&str, T)],
) -> T {
    let first = of[0].1;
    let Some(written) = metadata.get(key) else {
        return first;
    };
    if let Some((_, meant)) = of.iter().find(|(word, _)| word == written) {
        return *meant;
    }
    let words: Vec<&str> = of.iter().map(|(word, _)| *word).collect();
    let why = format!("must be {}, is `{}`", words.join(" or "), clip(written));
    check.fails(&format!("{field}.metadata.{key}"), why);
    first
}

fn percent(check: &mut Check, field: &str, text: &str) -> i32 {
    if let Ok(percent) = text.parse() {
        return check.number(field, percent, UTILIZATION) as i32;
    }
    check.fails(
        field,
        format!(
            "must be a whole number of percent without a sign, is `{}`",
            clip(text)
        ),
    );
    1
}
