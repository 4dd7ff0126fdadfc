//! HPA v2's `metrics`: each becomes a trigger, under a name made from its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use starling_engine::policy::{Goal, Resource, Source, Trigger};

use super::{Check, UTILIZATION, trigger};
use crate::schema::limits::{LABEL_BYTES_MAX, SELECTOR_MAX};
use crate::schema::{
    Aim, AimKind, Amount, Described, Metric, MetricKind, Named, Requirement, Selector,
};
use crate::sources::{API_VERSION, CUSTOM_METRICS, EXTERNAL_METRICS, KIND, METRIC, NAME, SELECTOR};
use crate::yaml::clip;
use starling_engine::quantity::Quantity;

const ALLOWED: [&str; 4] = ["In", "NotIn", "Exists", "DoesNotExist"];

/// `taken` holds the names of the triggers beside them.
pub(super) fn metrics(
    check: &mut Check,
    written: &[Metric],
    taken: &mut BTreeSet<String>,
) -> Vec<Trigger> {
    let each = written.iter().enumerate();
    each.filter_map(|(index, metric)| {
        let (base, source, goal) = self::metric(check, &format!("spec.metrics[{index}]"), metric)?;
        Some(Trigger {
            name: trigger::free_name(taken, &label(&base)),
            source,
            goal,
            activation_milli: 0,
            window_ms: None,
        })
    })
    .collect()
}

fn metric(check: &mut Check, field: &str, written: &Metric) -> Option<(String, Source, Goal)> {
    let (own, others) = blocks(written);
    for (name, _) in others.iter().filter(|(_, set)| *set) {
        let why = format!("needs `type: {}` beside it", capital(name));
        check.fails(&format!("{field}.{name}"), why);
    }
    let field = format!("{field}.{own}");
    let per_replica = [AimKind::Utilization, AimKind::AverageValue];
    let whole = [AimKind::Value, AimKind::AverageValue];
    let found = match written.kind {
        MetricKind::Resource => written.resource.as_ref().map(|it| {
            let resource = resource(check, &field, &it.name);
            let goal = aim(check, &field, &it.target, &per_replica);
            (it.name.clone(), Source::Resource(resource), goal)
        }),
        MetricKind::ContainerResource => written.container_resource.as_ref().map(|it| {
            let resource = resource(check, &field, &it.name);
            check.label(&format!("{field}.container"), &it.container);
            let container = it.container.clone();
            let source = Source::Container {
                resource,
                container,
            };
            let goal = aim(check, &field, &it.target, &per_replica);
            (format!("{}-{}", it.name, it.container), source, goal)
        }),
        MetricKind::Pods => written.pods.as_ref().map(|it| {
            let mut metadata = named(check, &field, &it.metric);
            let metric = it.metric.name.clone();
            let selector = metadata.remove(SELECTOR);
            let goal = aim(check, &field, &it.target, &[AimKind::AverageValue]);
            (metric.clone(), Source::Pods { metric, selector }, goal)
        }),
        MetricKind::Object => written.object.as_ref().map(|it| {
            let mut metadata = named(check, &field, &it.metric);
            described(
                check,
                &format!("{field}.describedObject"),
                &it.described_object,
                &mut metadata,
            );
            let kind = CUSTOM_METRICS.to_owned();
            let goal = aim(check, &field, &it.target, &whole);
            (
                it.metric.name.clone(),
                Source::Object { kind, metadata },
                goal,
            )
        }),
        MetricKind::External => written.external.as_ref().map(|it| {
            let metadata = named(check, &field, &it.metric);
            let kind = EXTERNAL_METRICS.to_owned();
            let goal = aim(check, &field, &it.target, &whole);
            (
                it.metric.name.clone(),
                Source::External { kind, metadata },
                goal,
            )
        }),
    };
    if found.is_none() {
        let why = format!("is missing; `type: {:?}` needs it", written.kind);
        check.fails(&field, why);
    }
    found
}

/// The name of the block that the type asks for, and whether each other one is set.
fn blocks(written: &Metric) -> (&'static str, Vec<(&'static str, bool)>) {
    let all = [
        (MetricKind::Resource, "resource", written.resource.is_some()),
        (
            MetricKind::ContainerResource,
            "containerResource",
            written.container_resource.is_some(),
        ),
        (MetricKind::Pods, "pods", written.pods.is_some()),
        (MetricKind::Object, "object", written.object.is_some()),
        (MetricKind::External, "external", written.external.is_some()),
    ];
    let mut own = "";
    let mut others = Vec::new();
    for (kind, name, set) in all {
        if kind == written.kind {
            own = name;
        } else {
            others.push((name, set));
        }
    }
    (own, others)
}

fn capital(name: &str) -> String {
    let (first, rest) = name.split_at(1);
    format!("{}{rest}", first.to_ascii_uppercase())
}

fn resource(check: &mut Check, field: &str, name: &str) -> Resource {
    match name {
        "cpu" => Resource::Cpu,
        "memory" => Resource::Memory,
        other => {
            let why = format!("`{}` is not known; allowed: cpu, memory", clip(other));
            check.fails(&format!("{field}.name"), why);
            Resource::Cpu
        }
    }
}

/// The type says which field counts; another one beside it is a mistake.
fn aim(check: &mut Check, field: &str, written: &Aim, allowed: &[AimKind]) -> Goal {
    let field = format!("{field}.target");
    if !allowed.contains(&written.kind) {
        let names: Vec<_> = allowed.iter().map(|kind| format!("{kind:?}")).collect();
        let why = format!("must be {}, is {:?}", names.join(" or "), written.kind);
        check.fails(&format!("{field}.type"), why);
    }
    let fields = [
        (
            AimKind::Utilization,
            "averageUtilization",
            written.average_utilization.is_some(),
        ),
        (
            AimKind::AverageValue,
            "averageValue",
            written.average_value.is_some(),
        ),
        (AimKind::Value, "value", written.value.is_some()),
    ];
    for (kind, name, set) in fields {
        if set && kind != written.kind {
            let why = format!("needs `type: {kind:?}`, which is {:?}", written.kind);
            check.fails(&format!("{field}.{name}"), why);
        }
        if !set && kind == written.kind {
            let why = format!("`{name}` is missing; `type: {kind:?}` needs it");
            check.fails(&field, why);
        }
    }
    let mut amount = |name, text: &Option<Amount>| {
        let field = format!("{field}.{name}");
        text.as_ref().map_or(1, |text| {
            check.some_amount(&field, text.as_str(), Quantity::milli)
        })
    };
    match written.kind {
        AimKind::AverageValue => Goal::AverageValue {
            milli: amount("averageValue", &written.average_value),
        },
        AimKind::Value => Goal::Value {
            milli: amount("value", &written.value),
        },
        AimKind::Utilization => Goal::Utilization {
            percent: check.number(
                &format!("{field}.averageUtilization"),
                written.average_utilization.unwrap_or(1),
                UTILIZATION,
            ) as i32,
        },
    }
}

fn named(check: &mut Check, field: &str, written: &Named) -> BTreeMap<String, String> {
    check.text(&format!("{field}.metric.name"), &written.name);
    let mut metadata = BTreeMap::from([(METRIC.to_owned(), written.name.clone())]);
    if let Some(selector) = &written.selector {
        let field = format!("{field}.metric.selector");
        let text = self::selector(check, &field, selector);
        if !text.is_empty() {
            metadata.insert(SELECTOR.to_owned(), text);
        }
    }
    metadata
}

fn described(
    check: &mut Check,
    field: &str,
    written: &Described,
    metadata: &mut BTreeMap<String, String>,
) {
    let api_version = written.api_version.as_deref().unwrap_or("v1");
    for (name, key, text) in [
        ("apiVersion", API_VERSION, api_version),
        ("kind", KIND, &written.kind),
        ("name", NAME, &written.name),
    ] {
        check.text(&format!("{field}.{name}"), text);
        metadata.insert(key.to_owned(), text.to_owned());
    }
}

/// In the notation that the API takes: `app=web,tier in (a,b),!old`.
fn selector(check: &mut Check, field: &str, written: &Selector) -> String {
    let mut terms = Vec::new();
    for (key, value) in &written.match_labels {
        let field = format!("{field}.matchLabels[{key}]");
        word(check, &field, key);
        word(check, &field, value);
        terms.push(format!("{key}={value}"));
    }
    for (index, requirement) in written.match_expressions.iter().enumerate() {
        terms.extend(expression(
            check,
            &format!("{field}.matchExpressions[{index}]"),
            requirement,
        ));
    }
    if written.match_labels.len() > SELECTOR_MAX || terms.len() > 2 * SELECTOR_MAX {
        let why = format!("holds more than {SELECTOR_MAX} labels or expressions");
        check.fails(field, why);
    }
    terms.join(",")
}

fn expression(check: &mut Check, field: &str, written: &Requirement) -> Option<String> {
    word(check, &format!("{field}.key"), &written.key);
    for (index, value) in written.values.iter().enumerate() {
        word(check, &format!("{field}.values[{index}]"), value);
    }
    let listed = matches!(written.operator.as_str(), "In" | "NotIn");
    if ALLOWED.contains(&written.operator.as_str()) && listed == written.values.is_empty() {
        let must = if listed { "must name" } else { "takes no" };
        check.fails(
            &format!("{field}.values"),
            format!("{must} values with operator {}", written.operator),
        );
    }
    let (key, values) = (&written.key, written.values.join(","));
    Some(match written.operator.as_str() {
        "In" => format!("{key} in ({values})"),
        "NotIn" => format!("{key} notin ({values})"),
        "Exists" => key.clone(),
        "DoesNotExist" => format!("!{key}"),
        other => {
            let allowed = ALLOWED.join(", ");
            let why = format!("`{}` is not known; allowed: {allowed}", clip(other));
            check.fails(&format!("{field}.operator"), why);
            return None;
        }
    })
}

/// A part of a selector, in which other characters would mean something.
fn word(check: &mut Check, field: &str, text: &str) {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if !text.chars().all(allowed) {
        let why = format!(
            "`{}` is not part of a label: only letters, digits and - _ . / are",
            clip(text)
        );
        check.fails(field, why);
    }
}

/// A metric's name as a trigger's: one DNS label, with room for a number behind it.
fn label(name: &str) -> String {
    const BYTES_MAX: usize = LABEL_BYTES_MAX - 4;
    let mut label = String::new();
    for c in name.chars().take(BYTES_MAX) {
        let c = c.to_ascii_lowercase();
        let _ = label.write_char(if c.is_ascii_alphanumeric() { c } else { '-' });
    }
    match label.trim_matches('-') {
        "" => "metric".to_owned(),
        label => label.to_owned(),
    }
}
