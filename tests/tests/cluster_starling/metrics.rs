//! Metrics that an adapter has: of pods, of an object, and of nothing in the cluster. A
//! `HorizontalPodAutoscaler` with the same metrics sizes a twin of each workload.

use std::time::Duration;

use starling_tests::adapter::Adapter;
use starling_tests::installed::{Installed, installed, until};
use starling_tests::workload::{AT_ONCE, deployment};

/// The twin's turn comes every 5 s.
const SOON: Duration = Duration::from_mins(2);
const NAMESPACE: &str = "metrics";

const PODS: &str = "{type: Pods, pods: {metric: {name: requests}, \
                    target: {type: AverageValue, averageValue: 10}}}";
const OBJECT: &str = "{type: Object, object: {describedObject: {apiVersion: v1, kind: Service, \
                      name: front}, metric: {name: hits}, \
                      target: {type: AverageValue, averageValue: 10}}}";
/// Two series, whose values the adapter has from its start: 42 and 43. At 17 for each
/// replica, 42 alone calls for three of them, and 85, the sum, for five. A size that is off by
/// a tenth or less would stay as it is; with one replica fewer either is off by more, since
/// two are enough for 34 and four for 68.
const EXTERNAL: &str = "{type: External, external: {metric: {name: my-external-metric}, \
                        target: {type: AverageValue, averageValue: 17}}}";
/// The one whose value is 42.
const SOME_SERIES: &str = "{name: my-external-metric, selector: {matchLabels: {foo: bar}}}";
const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: front}
spec: {clusterIP: None, selector: {app: none}}
";

/// Ours and its twin.
fn twin(name: &str) -> String {
    format!("{name}-hpa")
}

/// Both are sized by `metric`.
fn size_by(installed: &Installed, name: &str, metric: &str) {
    let twin = twin(name);
    let yaml = format!(
        "
apiVersion: starling.sh/v1alpha1
kind: ScalingPolicy
metadata: {{name: {name}}}
spec:
  scaleTargetRef: {{name: {name}}}
  minReplicaCount: 1
  maxReplicaCount: 6
  pollingInterval: 1
  metrics: [{metric}]
{AT_ONCE}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{name: {twin}}}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: {twin}}}
  minReplicas: 1
  maxReplicas: 6
  metrics: [{metric}]
{AT_ONCE}
"
    );
    installed.apply(NAMESPACE, &yaml);
}

fn await_both(installed: &Installed, name: &str, size: u64) {
    for name in [name, &twin(name)] {
        installed.await_size(NAMESPACE, "deploy", name, SOON, |found| found == size);
    }
}

/// What the adapter says of each pod that there is of both.
fn tell_of_pods(installed: &Installed, adapter: &Adapter, quantities: &[&str]) {
    for name in ["pods", &twin("pods")] {
        installed.await_rollout(NAMESPACE, name);
        let selector = format!("app={name}");
        let pods = until(&installed.cluster, "no pod is leaving", SOON, |_| {
            let found = installed.pods(NAMESPACE, &selector);
            Ok(if found.len() == quantities.len() {
                Ok(found)
            } else {
                Err(format!("{} pods", found.len()))
            })
        });
        for (pod, quantity) in pods.iter().zip(quantities) {
            let pod = pod["metadata"]["name"].as_str().unwrap();
            let metric = format!("namespaces/{NAMESPACE}/pods/{pod}/requests");
            adapter.set(&metric, quantity);
        }
    }
}

/// The policy's condition has this reason.
fn await_scaling_active(installed: &Installed, policy: &str, reason: &str) {
    let what = format!("{policy} says {reason}");
    until(&installed.cluster, &what, SOON, |cluster| {
        let policy = cluster.get(["scalingpolicy", policy, "-n", NAMESPACE])?;
        let conditions = policy["status"]["conditions"].as_array();
        let mut conditions = conditions.into_iter().flatten();
        let found = conditions.find(|it| it["type"] == "ScalingActive");
        Ok(match found {
            Some(found) if found["reason"] == reason => Ok(()),
            _ => Err(policy["status"].to_string()),
        })
    });
}

/// The explanation of a policy's size has these words.
fn await_explained(installed: &Installed, policy: &str, words: &str) {
    let what = format!("{policy} is explained with: {words}");
    until(&installed.cluster, &what, SOON, |_| {
        let said = match installed.ask(&["explain", policy, "-n", NAMESPACE]) {
            Ok(said) => said["live"]["lines"].clone(),
            Err(why) => return Ok(Err(why)),
        };
        let lines = said.as_array().into_iter().flatten();
        let parts = lines.flat_map(|line| line.as_str().unwrap().split_whitespace());
        let text = parts.collect::<Vec<_>>().join(" ");
        Ok(if text.contains(words) {
            Ok(())
        } else {
            Err(text)
        })
    });
}

#[test]
fn what_an_adapter_knows_sizes_workloads_as_hpa_does_and_its_silence_changes_nothing() {
    let Some(installed) = installed() else { return };
    let adapter = Adapter::start(&installed.cluster);
    installed.namespace(NAMESPACE);
    installed.apply(NAMESPACE, SERVICE);
    for (name, replicas) in [("pods", 2), ("object", 1), ("external", 1)] {
        for name in [name, &twin(name)] {
            installed.apply(NAMESPACE, &deployment(name, replicas, 0));
        }
    }
    let hits = format!("namespaces/{NAMESPACE}/services/front/hits");
    let some = EXTERNAL.replace("{name: my-external-metric}", SOME_SERIES);
    adapter.set(&hits, "45");
    tell_of_pods(&installed, &adapter, &["20500m", "0.0295k"]);
    size_by(&installed, "pods", PODS);
    size_by(&installed, "object", OBJECT);
    size_by(&installed, "external", &some);
    // (20.5 + 29.5) / 10; afterwards three pods have no value yet, and keep it there.
    await_both(&installed, "pods", 5);
    await_both(&installed, "object", 5);
    await_both(&installed, "external", 3);

    adapter.set(&hits, "15500m");
    tell_of_pods(&installed, &adapter, &["7"; 5]);
    size_by(&installed, "external", EXTERNAL);
    // By way of 4: three pods are 2.1 by their values, and that is three.
    await_both(&installed, "pods", 3);
    await_both(&installed, "object", 2);
    // (42 + 43) / 17
    await_both(&installed, "external", 5);

    adapter.stop();
    let silent = [
        ("pods", "FailedGetPodsMetric", 3),
        ("object", "FailedGetObjectMetric", 2),
        ("external", "FailedGetExternalMetric", 5),
    ];
    for (policy, reason, size) in silent {
        await_scaling_active(&installed, policy, reason);
        await_explained(&installed, policy, "the adapter that serves the API");
        assert_eq!(
            installed.size(NAMESPACE, "deploy", policy),
            size,
            "{policy}"
        );
    }
    adapter.resume();
    await_scaling_active(&installed, "external", "ValidMetricFound");
    // Of these the new pod of the adapter knows nothing.
    await_explained(&installed, "pods", "has no value for requests");
    await_explained(&installed, "object", "needs an adapter that serves it");
    for (policy, _, size) in silent {
        assert_eq!(
            installed.size(NAMESPACE, "deploy", policy),
            size,
            "{policy}"
        );
    }
    drop(adapter);
    installed.forget(NAMESPACE);
}
