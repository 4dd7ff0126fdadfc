//! HPA v2's `metrics`: what they become, and the words that refuse them.

use starling_engine::policy::{Resource, Zero};

use super::*;

const METRICS: &str = "\
apiVersion: starling.sh/v1alpha1
kind: ScalingPolicy
metadata:
  name: web
  labels: {team: shop}
spec:
  scaleTargetRef: {name: web}
  maxReplicaCount: 12
  metrics:
    - type: Resource
      resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}
    - type: Resource
      resource: {name: memory, target: {type: AverageValue, averageValue: 64Mi}}
";

/// The same with other metrics.
fn with(metrics: &str) -> String {
    let (before, _) = METRICS.split_once("    - type").unwrap();
    format!("{before}{metrics}")
}

/// One metric must be refused with these lines, without their places.
#[track_caller]
fn refused_metric(metric: &str, expected: &[&str]) {
    let contents = read(&with(&format!("    - {metric}\n")));
    let lines: Vec<String> = contents.problems.iter().map(ToString::to_string).collect();
    assert_eq!(lines, expected, "{metric}");
    assert!(contents.policies.is_empty());
}

#[test]
fn metrics_alone_ask_for_hpas_rules_at_zero_and_start_at_one() {
    let alone = policy(METRICS);
    assert_eq!(alone.zero, Zero::Hpa { allowed: true });
    assert_eq!(alone.replicas_min, 1);
    let names: Vec<_> = alone.triggers.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["cpu", "memory"]);
    assert_eq!(alone.triggers[0].source, Source::Resource(Resource::Cpu));
    assert_eq!(alone.triggers[0].goal, Goal::Utilization { percent: 70 });
    let milli = 64 * 1_024 * 1_024 * 1_000;
    assert_eq!(alone.triggers[1].goal, Goal::AverageValue { milli });

    let beside = policy(&format!(
        "{METRICS}  triggers:\n    - {{type: cpu, metricType: Utilization, metadata: {{value: 80}}}}\n"
    ));
    assert_eq!(beside.zero, Zero::Activation);
    let names: Vec<_> = beside.triggers.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["cpu", "cpu-2", "memory"]);
}

#[test]
fn a_container_is_meant_by_metrics_and_by_kedas_container_name() {
    let by_metric = policy(&with(
        "    - type: ContainerResource\n      containerResource: {name: cpu, container: app, \
         target: {type: AverageValue, averageValue: 0.5}}\n",
    ));
    let expected = Source::Container {
        resource: Resource::Cpu,
        container: "app".to_owned(),
    };
    assert_eq!(by_metric.triggers[0].source, expected);
    assert_eq!(by_metric.triggers[0].name, "cpu-app");
    assert_eq!(
        by_metric.triggers[0].goal,
        Goal::AverageValue { milli: 500 }
    );
    let deployment = POLICY.replace("    kind: Process\n", "");
    let by_trigger = policy(&deployment.replace(
        "        value: \"70\"\n",
        "        value: \"70\"\n        containerName: app\n",
    ));
    assert_eq!(by_trigger.triggers[0].source, expected);
}

#[test]
fn metrics_of_pods_objects_and_others_keep_what_is_needed_to_ask_for_them() {
    let policy = policy(&with(
        "    - type: Pods\n      pods: {metric: {name: packets_per_second, selector: {matchLabels: {verb: GET}}}, target: {type: AverageValue, averageValue: 1k}}\n    \
         - type: Object\n      object:\n        describedObject: {apiVersion: networking.k8s.io/v1, kind: Ingress, name: main}\n        \
         metric: {name: requests, selector: {matchLabels: {verb: GET}}}\n        target: {type: Value, value: 2k}\n    \
         - type: External\n      external:\n        metric:\n          name: requests\n          selector:\n            \
         matchExpressions: [{key: queue, operator: In, values: [a, b]}, {key: old, operator: DoesNotExist}]\n        \
         target: {type: AverageValue, averageValue: 30}\n",
    ));
    let pods = Source::Pods {
        metric: "packets_per_second".to_owned(),
        selector: Some("verb=GET".to_owned()),
    };
    assert_eq!(policy.triggers[0].source, pods);
    assert_eq!(policy.triggers[0].name, "packets-per-second");
    let Source::Object { kind, metadata } = &policy.triggers[1].source else {
        panic!("not an object: {:?}", policy.triggers[1]);
    };
    assert_eq!(kind, "custom-metrics-api");
    let all: Vec<_> = metadata.iter().map(|(k, v)| format!("{k} {v}")).collect();
    assert_eq!(
        all,
        [
            "apiVersion networking.k8s.io/v1",
            "kind Ingress",
            "metric requests",
            "name main",
            "selector verb=GET"
        ]
    );
    let Source::External { kind, metadata } = &policy.triggers[2].source else {
        panic!("not external: {:?}", policy.triggers[2]);
    };
    assert_eq!(kind, "external-metrics-api");
    assert_eq!(metadata["selector"], "queue in (a,b),!old");
    assert_eq!(policy.triggers[2].name, "requests-2");
    assert_eq!(
        policy.triggers[2].goal,
        Goal::AverageValue { milli: 30_000 }
    );
}

#[test]
fn zero_needs_a_metric_that_is_there_without_replicas() {
    let zero = METRICS.replace(
        "  maxReplicaCount",
        "  minReplicaCount: 0\n  maxReplicaCount",
    );
    assert_eq!(
        problems(&zero),
        "8:20: spec.minReplicaCount: 0 needs at least one Object or External metric: the \
         replicas' own metrics are gone when there are no replicas\n"
    );
    let external = "    - type: External\n      external: {metric: {name: q}, target: {type: Value, value: 3}}\n";
    assert_eq!(policy(&format!("{zero}{external}")).replicas_min, 0);
}

#[test]
fn what_only_kedas_rules_know_is_refused_beside_metrics_alone() {
    let line = METRICS.replace(
        "  maxReplicaCount",
        "  cooldownPeriod: 5\n  maxReplicaCount",
    );
    assert_eq!(
        problems(&line),
        "8:19: spec.cooldownPeriod: needs `triggers`: with `metrics` alone HPA's rules hold, \
         which know no rest\n"
    );
}

#[test]
fn metrics_that_contradict_themselves_are_refused() {
    refused_metric(
        "{type: Pods, resource: {name: cpu, target: {type: Utilization, averageUtilization: 7}}}",
        &[
            "spec.metrics[0].resource: needs `type: Resource` beside it",
            "spec.metrics[0].pods: is missing; `type: Pods` needs it",
        ],
    );
    refused_metric(
        "{type: Resource, resource: {name: gpu, target: {type: Value, value: 0}}}",
        &[
            "spec.metrics[0].resource.name: `gpu` is not known; allowed: cpu, memory",
            "spec.metrics[0].resource.target.type: must be Utilization or AverageValue, is Value",
            "spec.metrics[0].resource.target.value: must be above 0, is 0",
        ],
    );
    refused_metric(
        "{type: Resource, resource: {name: cpu, target: {type: Utilization, averageValue: 1}}}",
        &[
            "spec.metrics[0].resource.target: `averageUtilization` is missing; \
             `type: Utilization` needs it",
            "spec.metrics[0].resource.target.averageValue: needs `type: AverageValue`, which is \
             Utilization",
        ],
    );
    refused_metric(
        "{type: External, external: {metric: {name: q, selector: {matchExpressions: \
         [{key: a, operator: In}, {key: 'b,c', operator: Near}]}}, target: {type: Value, value: 1}}}",
        &[
            "spec.metrics[0].external.metric.selector.matchExpressions[0].values: must name values \
             with operator In",
            "spec.metrics[0].external.metric.selector.matchExpressions[1].key: `b,c` is not part \
             of a label: only letters, digits and - _ . / are",
            "spec.metrics[0].external.metric.selector.matchExpressions[1].operator: `Near` is not \
             known; allowed: In, NotIn, Exists, DoesNotExist",
        ],
    );
    refused_metric(
        "{type: Disk}",
        &[
            "spec.metrics[0].type: `Disk` is not known; allowed: Resource, ContainerResource, Pods, \
         Object, External",
        ],
    );
}
