//! What an API server refuses by itself: rules in CEL, each with words that say
//! what is wrong and what is allowed.
//!
//! They are the agent's own checks as far as one object can tell, no stricter. A
//! rule that is missing here does no harm: the agent says the same in a condition.

mod metric;
mod spec;
mod strategy;
mod trigger;

use serde_json::{Value, json};

/// One rule, at the field that it speaks of.
struct Rule {
    /// Below `spec`, with `[]` for the items of a list.
    at: &'static str,
    cel: String,
    message: String,
    /// The field below `at` that is to blame, such as `.minReplicaCount`.
    blame: Option<&'static str>,
}

impl Rule {
    fn new(at: &'static str, cel: impl Into<String>, message: impl Into<String>) -> Rule {
        Rule {
            at,
            cel: cel.into(),
            message: message.into(),
            blame: None,
        }
    }

    fn blames(self, field: &'static str) -> Rule {
        Rule {
            blame: Some(field),
            ..self
        }
    }
}

/// Puts every rule into the schema of `spec`.
pub(super) fn put(spec: &mut Value) {
    let all = spec::rules()
        .into_iter()
        .chain(strategy::rules())
        .chain(trigger::rules())
        .chain(metric::rules());
    for rule in all {
        let mut written = json!({ "rule": rule.cel, "message": rule.message });
        if let Some(field) = rule.blame {
            written["fieldPath"] = json!(field);
        }
        if let Some(schema) = find(spec, rule.at) {
            let rules = &mut schema["x-kubernetes-validations"];
            match rules {
                Value::Array(rules) => rules.push(written),
                rules => *rules = json!([written]),
            }
        } else {
            debug_assert!(false, "no field {}", rule.at);
        }
    }
}

/// The schema at a path such as `triggers[].metadata`.
fn find<'a>(schema: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    let mut schema = schema;
    for step in path.split('.').filter(|step| !step.is_empty()) {
        let (name, items) = match step.strip_suffix("[]") {
            Some(name) => (name, true),
            None => (step, false),
        };
        schema = schema.get_mut("properties")?.get_mut(name)?;
        if items {
            schema = schema.get_mut("items")?;
        }
    }
    Some(schema)
}

/// CEL for "an amount above 0".
fn above_zero(text: &str) -> String {
    format!("isQuantity({text}) && quantity({text}).isGreaterThan(quantity('0'))")
}

/// The words for it.
const AMOUNT: &str = "must be an amount above 0, such as 10, 0.5, 500m or 1Gi";
