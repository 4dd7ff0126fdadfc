//! Documents with several things wrong, and fields of KEDA's and HPA's.

use std::fmt::Write as _;

use crate::file::read;
use crate::yaml::PROBLEMS_MAX;

use super::{POLICY, PROCESS, problems, refused, refused_with};

const MIN: &str = "minReplicaCount: 1";

#[test]
fn all_schema_errors_are_said_at_once_with_those_of_the_fields() {
    refused(
        POLICY,
        MIN,
        "minReplicaCount: many\n  pollingInterval: 0\n  cooldownPeriod: [5]\n  strategy: bandd\n  \
         fallback: {replicas: x}\n  behavior: {scaleUp: {selectPolicy: Maximum, policies: 3}}\n  \
         dryRun: perhaps",
        &[
            "9:20: spec.minReplicaCount: must be a whole number",
            "11:19: spec.cooldownPeriod: must be a single value, not a list or a map",
            "12:13: spec.strategy: `bandd` is not known; did you mean `banded`? allowed: target, \
             banded, objective",
            "13:13: spec.fallback: `failureThreshold` is missing",
            "13:24: spec.fallback.replicas: must be a whole number",
            "14:38: spec.behavior.scaleUp.selectPolicy: `Maximum` is not known; allowed: Max, Min, \
             Disabled",
            "14:57: spec.behavior.scaleUp.policies: must be a list",
            "15:11: spec.dryRun: must be true or false",
        ],
    );
    // With the form of all fields right but one, their ranges are told as well.
    refused(
        POLICY,
        MIN,
        "minReplicaCount: many\n  pollingInterval: 0\n  maxReplicas: 3",
        &[
            "9:20: spec.minReplicaCount: must be a whole number",
            "10:20: spec.pollingInterval: must be 1 to 604800, is 0",
            "11:3: spec.maxReplicas: is `spec.maxReplicaCount` here",
        ],
    );
}

#[test]
fn what_is_written_twice_is_said_with_all_else_and_the_first_counts() {
    refused(
        POLICY,
        MIN,
        "minReplicaCount: many\n  minReplicaCount: 2\n  cooldownPeriod: -5\n  cooldownPeriod: \
         many\n  cooldownPeriod: 5\n  fallback: {replicas: 1, replicas: x, failureThreshold: 3}",
        &[
            "9:20: spec.minReplicaCount: must be a whole number",
            "10:3: spec.minReplicaCount: is written in line 9 already; leave one of them",
            "11:19: spec.cooldownPeriod: must be 0 to 604800, is -5",
            "12:3: spec.cooldownPeriod: is written in line 11 already; leave one of them",
            "13:3: spec.cooldownPeriod: is written in line 11 already; leave one of them",
            "14:27: spec.fallback.replicas: is written in line 14 already; leave one of them",
        ],
    );
}

#[test]
fn a_document_that_says_twice_what_it_is_called_may_be_any() {
    let of = |from: &str, to: &str| {
        let contents = read(&POLICY.replacen(from, to, 1));
        assert_eq!(contents.problems.len(), 1);
        (contents.opaque, contents.refused.len())
    };
    assert_eq!(
        of(MIN, "minReplicaCount: 1\n  minReplicaCount: 1"),
        (false, 1)
    );
    assert_eq!(
        of("  name: web\n", "  name: web\n  name: other\n"),
        (true, 0)
    );
    let metadata = "metadata:\n  name: web\n";
    assert_eq!(of(metadata, &metadata.repeat(2)), (true, 0));
}

#[test]
fn everything_that_is_missing_is_said_at_once() {
    refused(
        POLICY,
        "    - type: cpu\n      metricType: Utilization\n      metadata:\n        value: \"70\"\n",
        "    - name: one\n    - type: cpu\n      metadta: {}\n",
        &[
            "12:7: spec.triggers[0]: `type` is missing",
            "12:7: spec.triggers[0]: `metadata` is missing",
            "13:7: spec.triggers[1]: `metadata` is missing",
            "13:7: spec.triggers[1].metricType: must be Utilization (percent of the requests) or \
             AverageValue (amount for each replica), is missing",
            "14:7: spec.triggers[1].metadta: unknown field `metadta`; did you mean `metadata`? \
             allowed: type, name, metricType, metadata, authenticationRef",
        ],
    );
    assert_eq!(
        problems("apiVersion: starling.sh/v1alpha1\nkind: ScalingPolicy\n"),
        "1:1: `metadata` is missing\n1:1: `spec` is missing\n"
    );
    refused(
        PROCESS,
        "  command: [/usr/bin/worker, --queue, jobs]\n",
        "  comand: [x]\n  env: [x]\n  gracePeriodSeconds: 2m\n",
        &[
            "6:3: spec: `command` is missing",
            "6:3: spec.comand: unknown field `comand`; did you mean `command`? allowed: command, \
             env, directory, requests, gracePeriodSeconds",
            "7:8: spec.env: must be a map of fields",
            "8:23: spec.gracePeriodSeconds: must be a whole number",
        ],
    );
}

#[test]
fn a_placeholder_is_never_complained_about() {
    // Its target's type is what the other fields of it hang on.
    refused_with(
        "metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilisation, value: 1}}}]",
        &[
            "9:67: spec.metrics[0].resource.target.type: `Utilisation` is not known; did you mean \
             `Utilization`? allowed: Utilization, AverageValue, Value",
        ],
    );
    refused(
        POLICY,
        "    kind: Process",
        "    kind: [Process]",
        &["7:11: spec.scaleTargetRef.kind: must be a single value, not a list or a map"],
    );
}

#[test]
fn a_document_of_many_mistakes_tells_a_bounded_number_of_them() {
    let mut wrong = String::new();
    for number in 0..PROBLEMS_MAX * 3 {
        write!(wrong, "field{number}: 1\n  ").unwrap();
    }
    let text = POLICY.replacen(MIN, &format!("{wrong}{MIN}"), 1);
    let lines = problems(&text);
    assert_eq!(lines.lines().count(), PROBLEMS_MAX);
    assert_eq!(
        lines.lines().last(),
        Some("0:0: there is more wrong than the 49 things above")
    );
}

#[test]
fn fields_of_keda_and_hpa_say_where_they_are_here() {
    refused_with(
        "advanced:\n    restoreToOriginalReplicaCount: true\n    horizontalPodAutoscalerConfig:\n      \
         name: web-hpa\n      behavior: {scaleDown: {stabilizationWindowSeconds: 60}}",
        &[
            "10:5: spec.advanced.restoreToOriginalReplicaCount: has no equivalent: a workload keeps \
             the size that it has when its policy is removed; leave it out",
            "12:7: spec.advanced.horizontalPodAutoscalerConfig.name: names an HPA, and none is made \
             here; leave it out",
            "13:7: spec.advanced.horizontalPodAutoscalerConfig.behavior: is `spec.behavior` here",
        ],
    );
    refused(
        POLICY,
        MIN,
        "minReplicas: 1",
        &["9:3: spec.minReplicas: is `spec.minReplicaCount` here"],
    );
    refused(
        POLICY,
        "    kind: Process\n",
        "    kind: Process\n    cooldownPeriod: 5\n",
        &[
            "8:5: spec.scaleTargetRef.cooldownPeriod: stands in the wrong place; it is \
           `spec.cooldownPeriod`",
        ],
    );
}

#[test]
fn whole_documents_of_keda_and_hpa_are_said_to_be_importable() {
    refused(
        POLICY,
        "apiVersion: starling.sh/v1alpha1\nkind: ScalingPolicy",
        "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject",
        &[
            "2:7: kind: is KEDA's `ScaledObject`; `starling import -f FILE` prints the ScalingPolicy \
           that does the same",
        ],
    );
    refused(
        POLICY,
        "apiVersion: starling.sh/v1alpha1\nkind: ScalingPolicy",
        "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler",
        &[
            "2:7: kind: is a `HorizontalPodAutoscaler`; `starling import -f FILE` prints the \
           ScalingPolicy that does the same",
        ],
    );
}
