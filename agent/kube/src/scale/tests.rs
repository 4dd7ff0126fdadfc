//! What a write states, and what refusals mean.

use super::*;

fn web() -> Target {
    Target {
        group: "apps".into(),
        kind: "Deployment".into(),
        namespace: "shop".into(),
        name: "web".into(),
    }
}

#[test]
fn a_write_states_the_object_that_was_seen() {
    let seen = Scale {
        uid: "u".into(),
        resource_version: "7".into(),
        replicas: 2,
        ..Scale::default()
    };
    let body = serde_json::to_value(precondition(&web(), &seen, 5)).expect("JSON");
    assert_eq!(
        body,
        serde_json::json!({
            "apiVersion": "autoscaling/v1",
            "kind": "Scale",
            "metadata": {"name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "7"},
            "spec": {"replicas": 5},
        })
    );
}

#[test]
fn a_size_beyond_what_kubernetes_counts_is_its_largest() {
    let body = precondition(&web(), &Scale::default(), u32::MAX);
    let replicas = body.spec.and_then(|spec| spec.replicas);
    assert_eq!(replicas, Some(i32::MAX));
    assert_eq!((count(None), count(Some(-1)), count(Some(3))), (0, 0, 3));
}

#[test]
fn missing_rights_are_told_from_rules_of_admission() {
    assert!(is_about_rights(
        "deployments.apps \"web\" is forbidden: User \"u\" cannot get resource \
         \"deployments/scale\" in API group \"apps\" in the namespace \"shop\""
    ));
    assert!(!is_about_rights(
        "admission webhook \"limits\" denied the request: replicas cannot exceed 5"
    ));
}
