//! The scale of a built-in kind, taken from the object itself.
//!
//! Comes in: a Deployment, StatefulSet, ReplicaSet or ReplicationController as the
//! watch brings it, of which only these fields are read. Goes out: the same
//! [`Scale`] that its `scale` subresource would answer, without asking for it, and
//! why its pods can't be created where its conditions say so.

use std::collections::BTreeMap;

use kube::core::Object as CoreObject;
use serde::Deserialize;
use starling_engine::node::platform::{Scale, Unscheduled};

use crate::scale::count;

/// Longer reasons are cut.
pub const WORDS_MAX: usize = 256;

/// Group and kind of what is derived; all other kinds are asked for their scale.
const BUILT_IN: [(&str, &str); 4] = [
    ("apps", "Deployment"),
    ("apps", "StatefulSet"),
    ("apps", "ReplicaSet"),
    ("", "ReplicationController"),
];

pub fn is_built_in(group: &str, kind: &str) -> bool {
    BUILT_IN.contains(&(group, kind))
}

pub type Object = CoreObject<Spec, Status>;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Spec {
    replicas: Option<i32>,
    selector: LabelSelector,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Status {
    replicas: Option<i32>,
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    type_: String,
    status: String,
    message: String,
}

/// A label selector, or the plain labels of a ReplicationController.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LabelSelector {
    match_labels: Option<BTreeMap<String, String>>,
    match_expressions: Vec<Expression>,
    #[serde(flatten)]
    labels: BTreeMap<String, serde_json::Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Expression {
    key: String,
    operator: String,
    values: Vec<String>,
}

pub fn scale(object: Object) -> Scale {
    let status = object.status.unwrap_or_default();
    let failing = status
        .conditions
        .iter()
        .find(|c| c.type_ == "ReplicaFailure" && c.status == "True");
    Scale {
        uid: object.metadata.uid.unwrap_or_default(),
        resource_version: object.metadata.resource_version.unwrap_or_default(),
        replicas: count(object.spec.replicas),
        running: count(status.replicas),
        selector: object.spec.selector.text(),
        selector_fault: None,
        unscheduled: Unscheduled::default(),
        blocked: failing.map(|condition| cannot_create(&condition.message)),
    }
}

/// Why pods can't be created, without the name of the single pod that was tried:
/// it is another one each time.
pub fn cannot_create(message: &str) -> String {
    let why = match message.split_once(" is forbidden: ") {
        Some((_, why)) => why,
        None => message,
    };
    cut(&format!("pods can't be created: {why}"))
}

/// Why pods can't be put on a node; what the scheduler thought of evicting others
/// changes from try to try and is left out.
pub fn cannot_schedule(message: &str) -> String {
    let why = message.split(" preemption: ").next().unwrap_or(message);
    cut(&format!("pods can't be scheduled: {}", why.trim_end()))
}

fn cut(text: &str) -> String {
    text.chars().take(WORDS_MAX).collect()
}

impl LabelSelector {
    /// As the API server writes it into `status.selector`: by key, sets sorted.
    fn text(&self) -> String {
        let equal = |(key, value): (&String, &str)| (key.clone(), format!("{key}={value}"));
        let labels = self.match_labels.iter().flatten();
        let mut parts: Vec<(String, String)> = labels
            .map(|(key, value)| equal((key, value)))
            .chain(
                self.labels
                    .iter()
                    .filter_map(|(key, value)| Some(equal((key, value.as_str()?)))),
            )
            .chain(self.match_expressions.iter().map(Expression::text))
            .collect();
        parts.sort_by(|a, b| a.0.cmp(&b.0));
        let parts: Vec<String> = parts.into_iter().map(|(_, text)| text).collect();
        parts.join(",")
    }
}

impl Expression {
    fn text(&self) -> (String, String) {
        let key = &self.key;
        let set = || {
            let mut values = self.values.clone();
            values.sort();
            values.join(",")
        };
        let text = match self.operator.as_str() {
            "In" => format!("{key} in ({})", set()),
            "NotIn" => format!("{key} notin ({})", set()),
            "DoesNotExist" => format!("!{key}"),
            _ => key.clone(),
        };
        (key.clone(), text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: serde_json::Value) -> Scale {
        scale(serde_json::from_value(value).expect("an object"))
    }

    #[test]
    fn a_deployment_holds_its_own_scale() {
        let scale = of(serde_json::json!({
            "metadata": {"uid": "u", "resourceVersion": "7", "name": "web"},
            "spec": {
                "replicas": 3,
                "selector": {
                    "matchLabels": {"tier": "front", "app": "web"},
                    "matchExpressions": [
                        {"key": "b", "operator": "In", "values": ["z", "a"]},
                        {"key": "z", "operator": "DoesNotExist"},
                        {"key": "a", "operator": "Exists"},
                    ],
                },
                "template": {"spec": {"containers": []}},
            },
            "status": {
                "replicas": 2,
                "conditions": [
                    {"type": "Available", "status": "True", "message": "fine"},
                    {"type": "ReplicaFailure", "status": "True", "message":
                     "pods \"web-5d-x\" is forbidden: exceeded quota: small, used: pods=2"},
                ],
            },
        }));
        assert_eq!((scale.replicas, scale.running), (3, 2));
        assert_eq!(scale.selector, "a,app=web,b in (a,z),tier=front,!z");
        assert_eq!(
            scale.blocked.as_deref(),
            Some("pods can't be created: exceeded quota: small, used: pods=2")
        );
    }

    #[test]
    fn a_replication_controller_selects_by_plain_labels() {
        let scale = of(serde_json::json!({
            "metadata": {}, "spec": {"replicas": 1, "selector": {"b": "2", "a": "1"}},
        }));
        assert_eq!(scale.selector, "a=1,b=2");
        assert_eq!((scale.running, scale.blocked), (0, None));
    }

    #[test]
    fn the_schedulers_words_are_kept_without_what_changes_from_try_to_try() {
        let message = "0/5 nodes are available: 5 Insufficient cpu. preemption: 0/5 nodes are \
                       available: 5 No preemption victims found for incoming pod.";
        assert_eq!(
            cannot_schedule(message),
            "pods can't be scheduled: 0/5 nodes are available: 5 Insufficient cpu."
        );
    }
}
