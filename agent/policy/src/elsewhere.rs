//! Where things are here that KEDA and HPAs call otherwise.
//!
//! Comes in: the path of a field that a document of ours doesn't have, or a
//! document of theirs. Goes out: what to write instead, in words. Changes nothing:
//! whole documents are converted elsewhere.

use super::yaml::Outline;

/// What to type about a document of KEDA's or an HPA; who knows the file's name
/// puts it in FILE's place.
pub const IMPORT: &str = "starling import -f FILE";

/// The fields of a policy's `spec`; a test holds them against the schema.
const SPEC: [&str; 17] = [
    "scaleTargetRef",
    "minReplicaCount",
    "maxReplicaCount",
    "idleReplicaCount",
    "pollingInterval",
    "cooldownPeriod",
    "initialCooldownPeriod",
    "triggers",
    "metrics",
    "scalingModifiers",
    "staleAfter",
    "fallback",
    "behavior",
    "strategy",
    "banded",
    "objective",
    "dryRun",
];

/// What to say of a document that isn't ours but can be converted, or will be.
pub(crate) fn document(outline: &Outline) -> Option<String> {
    let group = outline
        .text(&["apiVersion"])?
        .split_once('/')
        .map(|(group, _)| group)?;
    let kind = match (group, outline.text(&["kind"])?) {
        ("autoscaling", "HorizontalPodAutoscaler") => "a `HorizontalPodAutoscaler`",
        ("keda.sh", "ScaledObject") => "KEDA's `ScaledObject`",
        ("keda.sh", "ScaledJob") => {
            return Some(
                "is KEDA's `ScaledJob`, which starts Jobs; a ScalingPolicy sizes what runs on. \
                 Leave it to KEDA"
                    .to_owned(),
            );
        }
        ("keda.sh", kind @ ("TriggerAuthentication" | "ClusterTriggerAuthentication")) => {
            return Some(format!(
                "is KEDA's `{kind}`, which is no policy; it stays an object, and a policy's \
                 `authenticationRef` names it"
            ));
        }
        _ => return None,
    };
    Some(format!(
        "is {kind}; `{IMPORT}` prints the ScalingPolicy that does the same"
    ))
}

/// What to say of an unknown field of a ScalingPolicy.
pub(crate) fn in_a_policy(path: &str) -> Option<String> {
    let says = match without_indexes(path).as_str() {
        "spec.minReplicas" => "is `spec.minReplicaCount` here",
        "spec.maxReplicas" => "is `spec.maxReplicaCount` here",
        "spec.targetCPUUtilizationPercentage" => {
            "is a trigger here: `type: cpu`, `metricType: Utilization`, `metadata: {value: \"80\"}`"
        }
        "spec.advanced.horizontalPodAutoscalerConfig.behavior"
        | "spec.horizontalPodAutoscalerConfig.behavior"
        | "spec.advanced.behavior" => "is `spec.behavior` here",
        "spec.advanced.horizontalPodAutoscalerConfig.name"
        | "spec.horizontalPodAutoscalerConfig.name" => {
            "names an HPA, and none is made here; leave it out"
        }
        "spec.advanced.restoreToOriginalReplicaCount" => {
            "has no equivalent: a workload keeps the size that it has when its policy is removed; \
             leave it out"
        }
        "spec.advanced.scalingModifiers" => "is `spec.scalingModifiers` here",
        "spec.triggers[].useCachedMetrics" => {
            "isn't needed: each answer of a trigger serves the whole way from 0 to many; leave it \
             out"
        }
        "spec.jobTargetRef" | "spec.scalingStrategy" | "spec.rollout" => {
            "is a ScaledJob's; a ScalingPolicy sizes what runs on. Leave Jobs to KEDA"
        }
        _ => return belongs(path),
    };
    Some(says.to_owned())
}

/// A field of `spec` that was written somewhere else.
fn belongs(path: &str) -> Option<String> {
    let name = path.rsplit('.').next()?;
    let astray = SPEC.contains(&name) && path.strip_prefix("spec.") != Some(name);
    astray.then(|| format!("stands in the wrong place; it is `spec.{name}`"))
}

/// What to say of an unknown field of a Process.
pub(crate) fn in_a_process(_: &str) -> Option<String> {
    None
}

/// `a[3].b` becomes `a[].b`.
fn without_indexes(path: &str) -> String {
    let mut plain = String::new();
    let mut within = false;
    for c in path.chars() {
        within &= c != ']';
        if !within {
            plain.push(c);
        }
        within |= c == '[';
    }
    plain
}

#[cfg(test)]
mod tests {
    use schemars::schema_for;

    use super::*;

    #[test]
    fn the_fields_of_spec_are_those_of_the_schema() {
        let schema = schema_for!(crate::schema::PolicySpec);
        let fields = schema.get("properties").unwrap().as_object().unwrap();
        let mut known: Vec<&str> = fields.keys().map(String::as_str).collect();
        let mut listed = SPEC.to_vec();
        known.sort_unstable();
        listed.sort_unstable();
        assert_eq!(listed, known);
    }

    #[test]
    fn an_index_is_no_part_of_where_a_field_stands() {
        assert_eq!(without_indexes("a[3].b[12][0]"), "a[].b[][]");
    }
}
