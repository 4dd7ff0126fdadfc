//! Whatever has the scale subresource is a target; what happens to it is said.

use std::time::Duration;

use starling_tests::installed::{installed, until};
use starling_tests::workload::{AT_ONCE, cpu_policy, deployment, number_policy, workload};

const SOON: Duration = Duration::from_mins(1);

#[test]
fn a_stateful_set_is_a_target_too() {
    let Some(installed) = installed() else { return };
    let namespace = "stateful";
    installed.namespace(namespace);
    let yaml = format!(
        "{}---{}",
        workload("StatefulSet", "db", 1, 200),
        cpu_policy("StatefulSet", "db", AT_ONCE)
    );
    installed.apply(namespace, &yaml);
    installed.await_size(namespace, "sts", "db", SOON, |size| size >= 2);
    installed.forget(namespace);
}

#[test]
fn a_target_that_is_scaled_by_hand_or_disappears_gets_a_condition() {
    let Some(installed) = installed() else { return };
    let (cluster, namespace) = (&installed.cluster, "hands");
    installed.namespace(namespace);
    // A size that somebody else sets stands, whatever its pods use.
    let stands = "  behavior:
    scaleUp: {selectPolicy: Disabled}
    scaleDown: {selectPolicy: Disabled}";
    let policy = cpu_policy("Deployment", "web", stands);
    let yaml = format!("{}---{policy}", deployment("web", 2, 0));
    installed.apply(namespace, &yaml);
    installed.await_condition(namespace, "web", "AbleToScale");
    let says = |words: &str| installed.await_words(namespace, "web", words);
    let scale = |replicas: &str| {
        let words = ["scale", "deploy/web", "-n", namespace, replicas];
        cluster.kubectl(words).unwrap();
    };
    scale("--replicas=5");
    says("ScaledByHand");
    scale("--replicas=0");
    says("ScalingDisabled");
    assert_eq!(installed.size(namespace, "deploy", "web"), 0);
    cluster
        .kubectl(["delete", "deploy/web", "-n", namespace])
        .unwrap();
    says("FailedGetScale");
    installed.apply(namespace, &deployment("web", 3, 0));
    says("TargetRecreated");
    installed.await_condition(namespace, "web", "AbleToScale");
    installed.forget(namespace);
}

/// The kubelet of one node sees why; whoever is asked anywhere says it.
#[test]
fn what_keeps_replicas_from_running_is_said_wherever_somebody_asks() {
    let Some(installed) = installed() else { return };
    let (cluster, namespace) = (&installed.cluster, "images");
    installed.namespace(namespace);
    let worker = deployment("worker", 1, 0).replace("starling-test/load:1", "nobody/has:this");
    let address = installed.source(namespace, 25);
    let policy = number_policy("worker", &address, AT_ONCE);
    installed.apply(namespace, &format!("{worker}---{policy}"));
    installed.await_size(namespace, "deploy", "worker", SOON, |size| size == 3);
    for node in cluster.nodes() {
        let what = format!("{node} says that the image isn't there");
        until(cluster, &what, SOON, |_| {
            let words = ["explain", "worker", "-n", namespace, "--agent", &node];
            Ok(installed.starling(&words).and_then(|told| {
                let said = told.to_string().contains("ErrImageNeverPull");
                said.then_some(()).ok_or_else(|| told.to_string())
            }))
        });
    }
    installed.forget(namespace);
}

/// A kind that the agents know nothing of, and may scale by a ClusterRole that is given to
/// them as README says. Nothing stands behind it: its size is what counts.
#[test]
fn a_custom_resource_with_a_scale_is_a_target_once_the_agents_may_scale_it() {
    let Some(installed) = installed() else { return };
    let (cluster, namespace) = (&installed.cluster, "custom");
    installed.namespace(namespace);
    cluster.apply(HERDS).unwrap();
    cluster.await_established("herds.example.com").unwrap();
    let herd = "
apiVersion: example.com/v1
kind: Herd
metadata: {name: worker}
spec: {count: 1}
";
    installed.apply(namespace, herd);
    let address = installed.source(namespace, 35);
    let policy = number_policy("worker", &address, AT_ONCE).replace(
        "scaleTargetRef: {name: worker}",
        "scaleTargetRef: {apiVersion: example.com/v1, kind: Herd, name: worker}",
    );
    installed.apply(namespace, &policy);
    let size = |wanted: u64| {
        let what = format!("the herd has {wanted}");
        until(cluster, &what, SOON, |cluster| {
            let herd = cluster.get(["herd", "worker", "-n", namespace])?;
            let right = herd["spec"]["count"] == wanted;
            Ok(right.then_some(()).ok_or_else(|| herd.to_string()))
        });
    };
    size(4);
    installed.tell(namespace, "source", "number", 15);
    size(2);
    installed.forget(namespace);
    cluster
        .kubectl(["delete", "crd", "herds.example.com"])
        .unwrap();
    let role = ["delete", "clusterrole", "starling-targets-herds"];
    cluster.kubectl(role).unwrap();
}

const HERDS: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: herds.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: herds, singular: herd, kind: Herd}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, properties: {count: {type: integer}}}
          status:
            type: object
            properties: {count: {type: integer}, selector: {type: string}}
    subresources:
      status: {}
      scale:
        specReplicasPath: .spec.count
        statusReplicasPath: .status.count
        labelSelectorPath: .status.selector
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: starling-targets-herds
  labels: {starling.sh/targets: \"true\"}
rules:
- apiGroups: [example.com]
  resources: [herds]
  verbs: [get, list, watch]
- apiGroups: [example.com]
  resources: [herds/scale]
  verbs: [get, patch, update]
";
