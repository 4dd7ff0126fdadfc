//! Metrics as autoscaling/v2beta1 wrote them, and as the API server still writes
//! them into a v1 object's annotations; behavior likewise.
//!
//! Comes in: one metric's JSON. Goes out: v2's form. What it doesn't know stays as
//! it is, and is told when the policy is checked.

use serde_json::{Map, Value, json};

/// One metric in v2's form.
pub(super) fn metric(old: &Value) -> Value {
    let Some(kind) = old.get("type").and_then(Value::as_str) else {
        return old.clone();
    };
    let block = match kind {
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        "Pods" => "pods",
        "Object" => "object",
        "External" => "external",
        _ => return old.clone(),
    };
    let Some(was) = old.get(block).and_then(Value::as_object) else {
        return old.clone();
    };
    // v2 already: the target is what has the type.
    if was.get("target").is_some_and(|it| it.get("type").is_some()) {
        return old.clone();
    }
    let mut now = Map::new();
    match kind {
        "Resource" | "ContainerResource" => {
            copy(
                was,
                &mut now,
                &[("name", "name"), ("container", "container")],
            );
        }
        _ => {
            now.insert("metric".into(), named(was));
        }
    }
    if kind == "Object" {
        let described = was.get("target").cloned().unwrap_or_default();
        now.insert("describedObject".into(), described);
    }
    now.insert("target".into(), target(kind, was));
    json!({ "type": kind, block: now })
}

fn copy(was: &Map<String, Value>, now: &mut Map<String, Value>, names: &[(&str, &str)]) {
    for (old, new) in names {
        if let Some(value) = was.get(*old).filter(|value| !value.is_null()) {
            now.insert((*new).to_owned(), value.clone());
        }
    }
}

fn named(was: &Map<String, Value>) -> Value {
    let mut metric = Map::new();
    let names = [
        ("metricName", "name"),
        ("selector", "selector"),
        ("metricSelector", "selector"),
    ];
    copy(was, &mut metric, &names);
    Value::Object(metric)
}

/// v2beta1 says what kind of target it is by the field that is set.
fn target(kind: &str, was: &Map<String, Value>) -> Value {
    let set = |name: &str| was.get(name).filter(|value| !value.is_null());
    if let Some(percent) = set("targetAverageUtilization") {
        return json!({ "type": "Utilization", "averageUtilization": percent });
    }
    // An Object's `averageValue` has no `target` before its name; its `targetValue`
    // is written, as nothing, beside it.
    if let Some(average) = set("targetAverageValue").or(set("averageValue")) {
        return json!({ "type": "AverageValue", "averageValue": average });
    }
    match (kind, set("targetValue")) {
        (_, Some(value)) => json!({ "type": "Value", "value": value }),
        _ => json!({}),
    }
}

/// The API server writes v1's annotation with Go's names, which begin with capitals.
pub(super) fn behavior(was: Value) -> Value {
    match was {
        Value::Object(fields) => fields
            .into_iter()
            .map(|(key, value)| {
                let mut letters = key.chars();
                let small = letters.next().map(|first| first.to_ascii_lowercase());
                let key: String = small.into_iter().chain(letters).collect();
                (key, behavior(value))
            })
            .collect(),
        Value::Array(items) => items.into_iter().map(behavior).collect(),
        other => other,
    }
}
