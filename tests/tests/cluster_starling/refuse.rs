//! What is refused, and where it is said.

use std::thread;
use std::time::Duration;

use starling_tests::installed::{Installed, installed};
use starling_tests::sizes::Sizes;
use starling_tests::workload::{AT_ONCE, cpu_policy, deployment, number_policy};

const SOON: Duration = Duration::from_mins(1);
/// Many passes, and more than one of the HPA's.
const A_WHILE: Duration = Duration::from_secs(12);
/// Growth by HPA's default rate goes on each 15 s.
const MORE_THAN_A_RATE: Duration = Duration::from_secs(18);

/// An HPA for the Deployment of its name, which it gives two replicas at most.
fn hpa(name: &str, replicas_min: u32) -> String {
    format!(
        "
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{name: {name}}}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: {name}}}
  minReplicas: {replicas_min}
  maxReplicas: 2
  metrics:
  - type: Resource
    resource: {{name: cpu, target: {{type: Utilization, averageUtilization: 50}}}}
"
    )
}

#[test]
fn a_second_policy_and_a_target_with_an_hpa_are_refused_by_condition() {
    let Some(installed) = installed() else { return };
    let (cluster, namespace) = (&installed.cluster, "rivals");
    installed.namespace(namespace);
    let first = cpu_policy("Deployment", "web", "");
    installed.apply(namespace, &format!("{}---{first}", deployment("web", 1, 0)));
    installed.await_condition(namespace, "web", "Ready");
    let second = first.replace("metadata: {name: web}", "metadata: {name: again}");
    installed.apply(namespace, &second);
    installed.await_condition(namespace, "again", "Ready=False");

    let yaml = format!("{}---{}", deployment("hpa", 1, 0), hpa("hpa", 1));
    installed.apply(namespace, &yaml);
    let policy = cpu_policy("Deployment", "hpa", "");
    installed.apply(namespace, &policy);
    installed.await_condition(namespace, "hpa", "Ready=False");
    cluster
        .kubectl(["delete", "hpa", "hpa", "-n", namespace])
        .unwrap();
    installed.await_condition(namespace, "hpa", "Ready");
    installed.forget(namespace);
}

#[test]
fn a_target_that_an_hpa_takes_over_is_left_alone_and_sized_on_once_the_hpa_is_gone() {
    let Some(installed) = installed() else { return };
    let (cluster, namespace) = (&installed.cluster, "taken");
    installed.namespace(namespace);
    // Each of its pods uses twice as much as the policy allows, so that it wants to
    // grow whatever size it has.
    let policy = cpu_policy("Deployment", "web", "").replace("\"70\"", "\"20\"");
    installed.apply(
        namespace,
        &format!("{}---{policy}", deployment("web", 1, 45)),
    );
    installed.await_size(namespace, "deploy", "web", SOON, |size| size == 6);
    installed.apply(namespace, &hpa("web", 2));
    installed.await_condition(namespace, "web", "Ready=False");
    installed.await_size(namespace, "deploy", "web", SOON, |size| size == 2);
    let generation = || {
        let found = cluster.get(["deploy", "web", "-n", namespace]).unwrap();
        found["metadata"]["generation"].as_i64()
    };
    let before = generation();
    let later = Sizes::of(cluster, namespace, "web").during(A_WHILE);
    assert!(later.is_empty(), "{later:?}");
    assert_eq!(generation(), before, "somebody else has written it");
    let said = cluster.get(["scalingpolicy", "web", "-n", namespace]);
    let said = said.unwrap()["status"].to_string();
    assert!(said.contains("HorizontalPodAutoscaler taken/web"), "{said}");
    cluster
        .kubectl(["delete", "hpa", "web", "-n", namespace])
        .unwrap();
    installed.await_condition(namespace, "web", "Ready");
    installed.await_size(namespace, "deploy", "web", SOON, |size| size == 6);
    installed.forget(namespace);
}

/// A number calls for twelve replicas, which a rate of 100 % in 15 s would bring in two
/// steps more. What keeps pods from running stops that, and goes on where it ends.
fn grows_no_further_until(installed: &Installed, namespace: &str, words: &str, room: impl Fn()) {
    let cluster = &installed.cluster;
    let address = installed.source(namespace, 120);
    let policy = number_policy("worker", &address, AT_ONCE);
    let policy = policy.replace("maxReplicaCount: 6", "maxReplicaCount: 12");
    installed.apply(namespace, &policy);
    installed.await_words(namespace, "worker", words);
    let mut sizes = Sizes::of(cluster, namespace, "worker");
    let later = sizes.during(MORE_THAN_A_RATE);
    assert!(later.is_empty(), "{later:?}");
    let size = sizes.all()[0];
    assert!(size < 12, "{size}");
    room();
    sizes.next("it grows on", |size| size == 12);
}

/// The three wait most of the time, so they do it together.
#[test]
fn a_target_whose_pods_cannot_be_created_or_scheduled_grows_no_further_until_they_can() {
    let Some(installed) = installed() else { return };
    let installed: &Installed = &installed;
    thread::scope(|all| {
        all.spawn(|| while_a_quota_is_used_up(installed));
        all.spawn(|| while_a_limit_range_refuses(installed));
        all.spawn(|| while_no_node_takes_them(installed));
    });
}

fn while_a_quota_is_used_up(installed: &Installed) {
    let namespace = "quota";
    installed.namespace(namespace);
    let quota = |pods: u32| {
        format!(
            "
apiVersion: v1
kind: ResourceQuota
metadata: {{name: few}}
spec: {{hard: {{pods: \"{pods}\"}}}}
"
        )
    };
    // One of them tells the number.
    let yaml = format!("{}---{}", quota(3), deployment("worker", 1, 0));
    installed.apply(namespace, &yaml);
    grows_no_further_until(installed, namespace, "exceeded quota", || {
        installed.apply(namespace, &quota(20));
    });
    installed.forget(namespace);
}

fn while_a_limit_range_refuses(installed: &Installed) {
    let (cluster, namespace) = (&installed.cluster, "ranges");
    installed.namespace(namespace);
    installed.apply(namespace, &deployment("worker", 1, 0));
    installed.await_rollout(namespace, "worker");
    let address = installed.source(namespace, 0);
    // Its pods ask for 100m.
    let range = "
apiVersion: v1
kind: LimitRange
metadata: {name: small}
spec: {limits: [{type: Container, max: {cpu: 50m}}]}
";
    installed.apply(namespace, range);
    let policy = number_policy("worker", &address, AT_ONCE);
    let policy = policy.replace("minReplicaCount: 0", "minReplicaCount: 1");
    installed.apply(namespace, &policy);
    installed.await_condition(namespace, "worker", "Ready");
    installed.tell(namespace, "source", "number", 60);
    installed.await_words(namespace, "worker", "pods can't be created");
    let mut sizes = Sizes::of(cluster, namespace, "worker");
    let later = sizes.during(MORE_THAN_A_RATE);
    assert!(later.is_empty(), "{later:?}");
    installed.forget(namespace);
}

fn while_no_node_takes_them(installed: &Installed) {
    let (cluster, namespace) = (&installed.cluster, "unscheduled");
    installed.namespace(namespace);
    let fussy = deployment("worker", 1, 0).replace(
        "terminationGracePeriodSeconds",
        "nodeSelector: {room: spare}\n      terminationGracePeriodSeconds",
    );
    installed.apply(namespace, &fussy);
    grows_no_further_until(installed, namespace, "can't be scheduled", || {
        for node in cluster.nodes() {
            let words = ["label", "node", &node, "room=spare"];
            cluster.kubectl(words).unwrap();
        }
    });
    for node in cluster.nodes() {
        cluster.kubectl(["label", "node", &node, "room-"]).unwrap();
    }
    installed.forget(namespace);
}
