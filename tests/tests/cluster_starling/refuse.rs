//! What is refused, and where it is said.

use std::time::{Duration, Instant};

use starling_tests::installed::{installed, until};
use starling_tests::workload::{cpu_policy, deployment};

const SOON: Duration = Duration::from_mins(1);
/// Many passes, and more than one of the HPA's.
const A_WHILE: Duration = Duration::from_secs(12);

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
    let (before, began) = (generation(), Instant::now());
    while began.elapsed() < A_WHILE {
        assert_eq!(generation(), before, "somebody else has written it");
    }
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

#[test]
fn a_quota_of_the_namespace_keeps_a_target_from_growing_and_the_reason_says_so() {
    let Some(installed) = installed() else { return };
    let (cluster, namespace) = (&installed.cluster, "quota");
    installed.namespace(namespace);
    let quota = "
apiVersion: v1
kind: ResourceQuota
metadata: {name: few}
spec: {hard: {pods: \"2\"}}
---";
    let yaml = format!(
        "{quota}{}---{}",
        deployment("web", 1, 150),
        cpu_policy("Deployment", "web", "").replace("Count: 6", "Count: 50")
    );
    installed.apply(namespace, &yaml);
    until(cluster, "the reason names the quota", SOON, |cluster| {
        let policy = cluster.get(["scalingpolicy", "web", "-n", namespace])?;
        let status = policy["status"].to_string();
        Ok(if status.contains("exceeded quota") {
            Ok(())
        } else {
            Err(status)
        })
    });
    // The load would call for all 50; a step or two are made before the API server
    // says that no pod can be.
    let size = installed.size(namespace, "deploy", "web");
    assert!(size < 50, "{size}");
    installed.forget(namespace);
}
