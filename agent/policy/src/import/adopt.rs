//! A `ScaledObject` that stays what it is, and is decided for as a policy.
//!
//! Comes in: the object, as the API server prints it. Goes out: the policy that does
//! the same, or why there is none. Stricter than the conversion that people read:
//! an object of which a trigger would be left out isn't decided for at all, since
//! nobody is there to judge whether the rest is enough.

use std::sync::Arc;

use starling_engine::policy::{Name, Policy, Violation};

use super::{Import, Warning};
use crate::file;

/// What stands behind the object's name in that of its policy, so that policies of
/// both kinds never meet.
const SUFFIX: &str = ".scaledobject";

/// What becomes of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    pub wish: Result<Arc<Policy>, Vec<Violation>>,
    /// What of it has no equivalent, and keeps nothing from being decided.
    pub left_out: Vec<String>,
}

/// What the policy of a `ScaledObject` is called.
pub fn name(namespace: &str, object: &str) -> Name {
    Name::new(namespace, format!("{object}{SUFFIX}"))
}

/// What a policy's object is called: that of a `ScaledObject`, or the policy itself.
pub fn object(policy: &Name) -> &str {
    policy.name.strip_suffix(SUFFIX).unwrap_or(&policy.name)
}

/// Reads one object.
pub fn read(object: &str) -> Adopted {
    let mut import = Import::default();
    import.read("", object);
    let (blocking, left_out): (Vec<_>, Vec<_>) = import.warnings.into_iter().partition(blocks);
    let violation = |warning: Warning| Violation {
        field: warning.field,
        why: warning.why.replace(", and is left out", ""),
    };
    let wish = match import.policies.first() {
        Some(made) if blocking.is_empty() => policy(&made.yaml),
        _ => {
            // That nothing is left says nothing beside what was left out.
            let said = |it: &Warning| !it.field.is_empty();
            let telling = blocking.iter().any(said);
            let told = blocking.into_iter().filter(|it| said(it) || !telling);
            Err(told.map(violation).collect())
        }
    };
    let words = |warning: Warning| format!("{}: {}", warning.field, warning.why);
    Adopted {
        wish,
        left_out: left_out.into_iter().map(words).collect(),
    }
}

fn policy(yaml: &str) -> Result<Arc<Policy>, Vec<Violation>> {
    match file::policy(yaml) {
        Ok(mut policy) => {
            policy.name = name(&policy.name.namespace, &policy.name.name);
            Ok(Arc::new(policy))
        }
        Err(problems) => Err(problems
            .into_iter()
            .map(|problem| Violation {
                field: problem.field,
                why: problem.why,
            })
            .collect()),
    }
}

/// Whether a warning means that a size would come of less than the object says.
fn blocks(warning: &Warning) -> bool {
    let field = warning.field.as_str();
    let measures = field.starts_with("spec.triggers");
    measures || field.is_empty() || field.contains("scalingModifiers") || field.contains("fallback")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(triggers: &serde_json::Value) -> String {
        json!({
            "apiVersion": "keda.sh/v1alpha1",
            "kind": "ScaledObject",
            "metadata": { "name": "web", "namespace": "shop" },
            "spec": {
                "scaleTargetRef": { "name": "web" },
                "advanced": { "restoreToOriginalReplicaCount": true },
                "triggers": triggers,
            },
        })
        .to_string()
    }

    #[test]
    fn an_object_is_decided_for_under_a_name_of_its_own() {
        let cpu =
            json!({ "type": "cpu", "metricType": "Utilization", "metadata": { "value": "70" } });
        let adopted = read(&object(&json!([cpu])));
        let policy = adopted.wish.unwrap();
        assert_eq!(policy.name, Name::new("shop", "web.scaledobject"));
        assert_eq!(super::object(&policy.name), "web");
        assert_eq!(super::object(&Name::new("shop", "web")), "web");
        assert_eq!(policy.target.name, "web");
        assert_eq!(adopted.left_out.len(), 1, "{:?}", adopted.left_out);
    }

    #[test]
    fn an_object_with_a_trigger_that_isn_t_known_is_not_decided_for_by_the_rest() {
        let cpu =
            json!({ "type": "cpu", "metricType": "Utilization", "metadata": { "value": "70" } });
        let unknown = json!({ "type": "aws-sqs-queue", "metadata": { "topic": "a" } });
        let wrong = read(&object(&json!([cpu, unknown]))).wish.unwrap_err();
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert_eq!(wrong[0].field, "spec.triggers[1].type");
        assert!(
            wrong[0]
                .why
                .starts_with("`aws-sqs-queue` isn't a type of trigger in this version; "),
            "{}",
            wrong[0].why
        );
        let alone = read(&object(&json!([unknown]))).wish.unwrap_err();
        assert_eq!(alone.len(), 1, "{alone:?}");
    }
}
