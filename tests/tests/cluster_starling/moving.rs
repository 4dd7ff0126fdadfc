//! Coming from an HPA or from KEDA: what runs is handed over as it runs.

use std::process::Command;
use std::time::{Duration, Instant};

use starling_kubernetes_rig::shell;
use starling_tests::installed::{Installed, installed};
use starling_tests::workload::deployment;

/// An answer of the command line, with an API server that is busy.
const ANSWER: Duration = Duration::from_mins(1);
/// Many passes.
const A_WHILE: Duration = Duration::from_secs(15);

/// What `starling import` prints of a namespace, by the user's kubeconfig.
fn import(installed: &Installed, namespace: &str) -> String {
    let mut command = Command::new(starling_tests::binary());
    command
        .args(["import", "--from-cluster", "--strict", "-n", namespace])
        .env("KUBECONFIG", installed.cluster.kubeconfig());
    shell::finish(&mut command, "", ANSWER).unwrap()
}

/// How often the Deployment was written, and the size that it has.
fn written(installed: &Installed, namespace: &str) -> (i64, u64) {
    let found = installed.cluster.get(["deploy", "web", "-n", namespace]);
    let found = found.unwrap();
    let generation = found["metadata"]["generation"].as_i64().unwrap();
    (generation, installed.size(namespace, "deploy", "web"))
}

/// Three pods that use what the policy allows, so that it has nothing to change.
fn three(namespace: &str, installed: &Installed) {
    installed.namespace(namespace);
    installed.apply(namespace, &deployment("web", 3, 70));
    installed.await_rollout(namespace, "web");
}

#[track_caller]
fn stays(installed: &Installed, namespace: &str, as_it_was: (i64, u64)) {
    let began = Instant::now();
    while began.elapsed() < A_WHILE {
        assert_eq!(written(installed, namespace), as_it_was);
    }
}

#[test]
fn an_hpa_is_imported_while_it_runs_and_hands_over_without_a_change_of_size() {
    let Some(installed) = installed() else { return };
    let namespace = "moving";
    three(namespace, &installed);
    installed.apply(
        namespace,
        "
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 2
  maxReplicas: 6
  metrics:
  - type: Resource
    resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}
  behavior:
    scaleDown: {stabilizationWindowSeconds: 60}
",
    );
    let policies = import(&installed, namespace);
    assert!(policies.contains("minReplicaCount: 2"), "{policies}");
    assert!(policies.contains("averageUtilization: 70"), "{policies}");
    installed.apply(namespace, &policies);
    installed.await_condition(namespace, "web", "Ready=False");
    let before = written(&installed, namespace);
    assert_eq!(before.1, 3);
    let cluster = &installed.cluster;
    cluster
        .kubectl(["delete", "hpa", "web", "-n", namespace])
        .unwrap();
    installed.await_condition(namespace, "web", "Ready");
    stays(&installed, namespace, before);
    installed.forget(namespace);
}

/// As much of KEDA as there is without its operator.
const SCALED_OBJECTS: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: scaledobjects.keda.sh}
spec:
  group: keda.sh
  scope: Namespaced
  names: {kind: ScaledObject, plural: scaledobjects, singular: scaledobject}
  versions:
  - name: v1alpha1
    served: true
    storage: true
    subresources: {status: {}}
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

#[test]
fn a_scaled_object_is_imported_and_hands_over_without_a_change_of_size() {
    let Some(installed) = installed() else { return };
    let (cluster, namespace) = (&installed.cluster, "moving-keda");
    cluster.apply(SCALED_OBJECTS).unwrap();
    let there = "crd/scaledobjects.keda.sh";
    cluster
        .kubectl(["wait", "--for=condition=Established", there])
        .unwrap();
    three(namespace, &installed);
    installed.apply(
        namespace,
        "
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: web}
spec:
  scaleTargetRef: {name: web}
  minReplicaCount: 1
  maxReplicaCount: 6
  triggers:
  - type: cpu
    metricType: Utilization
    metadata: {value: '70'}
",
    );
    installed.apply(namespace, &import(&installed, namespace));
    // A kind that is new is found within a minute.
    installed.await_condition(namespace, "web", "Ready=False");
    let before = written(&installed, namespace);
    let object = ["delete", "scaledobject", "web", "-n", namespace];
    cluster.kubectl(object).unwrap();
    installed.await_condition(namespace, "web", "Ready");
    stays(&installed, namespace, before);
    assert_eq!(written(&installed, namespace).1, 3);
    cluster.kubectl(["delete", there]).unwrap();
    installed.forget(namespace);
}
