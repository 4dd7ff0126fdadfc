//! Bad documents and the words that refuse them.

use super::{POLICY, PROCESS, problems, refused, refused_with};

const MIN: &str = "minReplicaCount: 1";
const NAME: &str = "metadata:\n  name: web";

#[test]
fn counts_that_are_negative_or_too_large_or_no_numbers_are_refused() {
    refused(
        POLICY,
        MIN,
        "minReplicaCount: -1",
        &["9:20: spec.minReplicaCount: must be 0 to 100000, is -1"],
    );
    refused(
        POLICY,
        "maxReplicaCount: 12",
        "maxReplicaCount: 1000000",
        &["10:20: spec.maxReplicaCount: must be 0 to 100000, is 1000000"],
    );
    for wrong in ["one", "1.5", "99999999999999999999", "\"\""] {
        refused(
            POLICY,
            MIN,
            &format!("minReplicaCount: {wrong}"),
            &["9:20: spec.minReplicaCount: must be a whole number"],
        );
    }
    refused(
        POLICY,
        MIN,
        "minReplicaCount: [1]",
        &["9:20: spec.minReplicaCount: must be a single value, not a list or a map"],
    );
}

#[test]
fn a_minimum_above_the_maximum_is_refused() {
    refused(
        POLICY,
        MIN,
        "minReplicaCount: 13",
        &["9:20: spec.minReplicaCount: is 13, more than spec.maxReplicaCount, 12"],
    );
}

#[test]
fn an_idle_count_that_is_not_below_the_minimum_is_refused() {
    refused_with(
        "idleReplicaCount: 1",
        &["9:21: spec.idleReplicaCount: is 1; must be less than spec.minReplicaCount, 1"],
    );
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    refused(
        POLICY,
        MIN,
        "minReplicaCount: -1\n  pollingInterval: 0\n  cooldownPeriod: -5\n  staleAfter: -1",
        &[
            "9:20: spec.minReplicaCount: must be 0 to 100000, is -1",
            "10:20: spec.pollingInterval: must be 1 to 604800, is 0",
            "11:19: spec.cooldownPeriod: must be 0 to 604800, is -5",
            "12:15: spec.staleAfter: must be 0 to 604800, is -1",
        ],
    );
}

#[test]
fn fields_that_are_unknown_missing_or_written_twice_are_refused() {
    refused_with(
        "least: 1",
        &[
            "9:3: spec.least: unknown field `least`; allowed: scaleTargetRef, \
         minReplicaCount, maxReplicaCount, idleReplicaCount, pollingInterval, staleAfter, \
         cooldownPeriod, initialCooldownPeriod, triggers, metrics, scalingModifiers, fallback, behavior, strategy, banded, \
         objective, dryRun",
        ],
    );
    refused(
        POLICY,
        "    name: web\n",
        "",
        &["7:5: spec.scaleTargetRef: `name` is missing"],
    );
    refused(
        POLICY,
        MIN,
        "minReplicaCount: 1\n  minReplicaCount: 2",
        &["10:3: spec.minReplicaCount: is written in line 9 already; leave one of them"],
    );
    refused(
        POLICY,
        "  name: web",
        "  name: web\n  uid: default",
        &["5:3: metadata.uid: unknown field `uid`; allowed: name, namespace, annotations, labels"],
    );
}

#[test]
fn documents_of_another_kind_are_refused() {
    refused(
        POLICY,
        "kind: ScalingPolicy",
        "kind: Deployment",
        &["2:7: kind: `Deployment` is not known; allowed: ScalingPolicy, Process"],
    );
    refused(
        POLICY,
        "kind: ScalingPolicy\n",
        "",
        &["1:1: kind: is missing; allowed: ScalingPolicy, Process"],
    );
    refused(
        POLICY,
        "starling.sh/v1alpha1",
        "keda.sh/v1alpha1",
        &["1:13: apiVersion: `keda.sh/v1alpha1` is not known; allowed: starling.sh/v1alpha1"],
    );
    let expected = "1:1: apiVersion: is missing; allowed: starling.sh/v1alpha1\n";
    assert_eq!(problems("just text"), expected);
    assert_eq!(problems("- a\n- b\n"), expected);
}

#[test]
fn texts_that_are_not_yaml_are_refused() {
    refused(
        POLICY,
        "spec:",
        "spec: [",
        &["7:9: while parsing a flow mapping, did not find expected ',' or '}'"],
    );
    refused(
        POLICY,
        "spec:\n",
        "spec:\n\tx: y\n",
        &["6:2: tabs disallowed within this context (block indentation)"],
    );
    refused(
        POLICY,
        "name: web",
        "name: *web",
        &["4:9: no anchor of this name stands before it"],
    );
}

#[test]
fn names_that_are_none_are_refused() {
    for wrong in ["Web", "web_1", "-web", "web.", "\"\"", "\"we b\"", "wéb"] {
        let shown = wrong.trim_matches('"');
        refused(
            POLICY,
            NAME,
            &format!("metadata:\n  name: {wrong}"),
            &[&format!(
                "4:9: metadata.name: `{shown}` is not a name: at most 253 of a-z, 0-9, `-` and `.`, \
             beginning and ending with a letter or digit"
            )],
        );
    }
    refused(
        POLICY,
        NAME,
        "metadata:\n  name:",
        &["4:7: metadata.name: is empty; write a text, or leave the field out"],
    );
    let long = "a".repeat(64);
    refused(
        PROCESS,
        NAME,
        &format!("metadata:\n  name: {long}"),
        &[&format!(
            "4:9: metadata.name: `{long}` is not a name: at most 63 of a-z, 0-9 and `-`, beginning \
         and ending with a letter or digit"
        )],
    );
    let endless = "a".repeat(10_000);
    refused(
        PROCESS,
        NAME,
        &format!("metadata:\n  name: {endless}"),
        &[&format!(
            "4:9: metadata.name: `{}…` is not a name: at most 63 of a-z, 0-9 and `-`, beginning and \
         ending with a letter or digit",
            "a".repeat(80)
        )],
    );
}

#[test]
fn targets_that_no_api_can_have_are_refused() {
    let with = |kind: &str, why: &[&str]| refused(POLICY, "    kind: Process", kind, why);
    with(
        "    kind: apps/Deployment",
        &["7:11: spec.scaleTargetRef.kind: `apps/Deployment` is not a kind, such as Deployment"],
    );
    with(
        "    apiVersion: apps/v1/x\n    kind: Deployment",
        &[
            "7:17: spec.scaleTargetRef.apiVersion: `apps/v1/x` is not an API's version, such as \
         apps/v1 or v1",
        ],
    );
    with(
        "    apiVersion: v1\n    kind: Process",
        &[
            "7:17: spec.scaleTargetRef.apiVersion: must be left out for `kind: Process`, which no \
         API serves",
        ],
    );
    refused(
        POLICY,
        "  name: web\n",
        "  name: web\n  namespace: shop\n",
        &[
            "5:14: metadata.namespace: must be default, where the processes are that agents run, \
         is `shop`",
        ],
    );
    refused(
        PROCESS,
        "  name: web\n",
        "  name: web\n  namespace: shop\n",
        &[
            "5:14: metadata.namespace: must be default or left out, is `shop`: a process is a \
         machine's, not a namespace's",
        ],
    );
    refused(
        POLICY,
        "        value: \"70\"",
        "        value: \"70\"\n        containerName: app",
        &[
            "7:11: spec.scaleTargetRef.kind: is a Process, which has no containers, as trigger cpu \
         needs",
        ],
    );
}

#[test]
fn annotations_of_keda_that_are_misspelt_are_refused() {
    refused(
        POLICY,
        NAME,
        "metadata:\n  name: web\n  annotations:\n    autoscaling.keda.sh/pause: x",
        &[
            "6:32: metadata.annotations[autoscaling.keda.sh/pause]: is not known; allowed after \
         autoscaling.keda.sh/: paused, paused-replicas, paused-scale-in, paused-scale-out, \
         force-activation",
        ],
    );
    refused(
        POLICY,
        NAME,
        "metadata:\n  name: web\n  annotations:\n    autoscaling.keda.sh/paused-replicas: many",
        &[
            "6:42: metadata.annotations[autoscaling.keda.sh/paused-replicas]: must be a whole number, \
         is `many`",
        ],
    );
}

#[test]
fn behavior_beyond_what_hpa_takes_is_refused() {
    let up = |rules: &str| format!("behavior: {{scaleUp: {{{rules}}}}}");
    refused_with(
        &up("stabilizationWindowSeconds: 3601"),
        &["9:52: spec.behavior.scaleUp.stabilizationWindowSeconds: must be 0 to 3600, is 3601"],
    );
    refused_with(
        &up("policies: []"),
        &["9:34: spec.behavior.scaleUp.policies: must name at least one policy"],
    );
    refused_with(
        &up("policies: [{type: Pod, value: 1, periodSeconds: 1}]"),
        &[
            "9:42: spec.behavior.scaleUp.policies[0].type: `Pod` is not known; did you mean `Pods`? \
             allowed: Pods, Percent",
        ],
    );
    refused_with(
        &up("policies: [{type: Pods, value: 0, periodSeconds: 3000}]"),
        &[
            "9:55: spec.behavior.scaleUp.policies[0].value: must be 1 to 2147483647, is 0",
            "9:73: spec.behavior.scaleUp.policies[0].periodSeconds: must be 1 to 1800, is 3000",
        ],
    );
    refused_with(
        &up("tolerance: -0.1"),
        &["9:35: spec.behavior.scaleUp.tolerance: must not be negative, is -0.1"],
    );
    refused_with(
        &up("selectPolicy: None"),
        &[
            "9:38: spec.behavior.scaleUp.selectPolicy: `None` is not known; allowed: Max, Min, Disabled",
        ],
    );
}

#[test]
fn fallbacks_that_are_incomplete_or_out_of_bounds_are_refused() {
    refused_with(
        "fallback: {replicas: 3}",
        &["9:13: spec.fallback: `failureThreshold` is missing"],
    );
    refused_with(
        "fallback: {replicas: 3, failureThreshold: -1}",
        &["9:45: spec.fallback.failureThreshold: must be 0 to 1000, is -1"],
    );
    refused_with(
        "fallback: {replicas: 3, failureThreshold: 3, recoveryThreshold: 0}",
        &["9:67: spec.fallback.recoveryThreshold: must be 1 to 1000, is 0"],
    );
    refused_with(
        "fallback: {replicas: 30, failureThreshold: 3}",
        &["9:24: spec.fallback.replicas: is 30, more than spec.maxReplicaCount, 12"],
    );
    refused_with(
        "fallback: {replicas: 3, failureThreshold: 3, behavior: scalingModifiers}",
        &[
            "9:58: spec.fallback.behavior: needs spec.scalingModifiers, whose formula says what \
             counts instead",
        ],
    );
    refused_with(
        "fallback: {replicas: 3, failureThreshold: 3, behavior: guess}",
        &[
            "9:58: spec.fallback.behavior: `guess` is not known; allowed: static, \
         currentReplicas, currentReplicasIfHigher, currentReplicasIfLower, scalingModifiers",
        ],
    );
}

#[test]
fn strategies_that_are_unknown_or_contradict_themselves_are_refused() {
    refused_with(
        "strategy: guess",
        &["9:13: spec.strategy: `guess` is not known; allowed: target, banded, objective"],
    );
    refused_with(
        "banded: {highPercent: 90}",
        &["9:11: spec.banded: needs `strategy: banded` beside it"],
    );
    refused_with(
        "strategy: banded\n  banded: {lowPercent: 85}",
        &["10:24: spec.banded.lowPercent: is 85; must be less than highPercent, 80"],
    );
    refused_with(
        "dryRun: maybe",
        &["9:11: spec.dryRun: must be true or false"],
    );
}

#[test]
fn processes_that_could_not_run_are_refused() {
    let command = "  command: [/usr/bin/worker, --queue, jobs]\n";
    refused(PROCESS, command, "", &["6:3: spec: `command` is missing"]);
    refused(
        PROCESS,
        command,
        "  command: []\n",
        &["6:12: spec.command: must hold the program and its arguments, 1 to 1000 texts; holds 0"],
    );
    refused(
        PROCESS,
        command,
        "  command: /usr/bin/worker\n",
        &["6:12: spec.command: must be a list"],
    );
    refused(
        PROCESS,
        command,
        "  command: [\"\"]\n",
        &["6:13: spec.command[0]: must name a program, is empty"],
    );
    refused(
        PROCESS,
        command,
        "  command: [a, \"b\\0\"]\n",
        &["6:16: spec.command[1]: holds a NUL character"],
    );
    refused(
        PROCESS,
        command,
        "  command: [a]\n  env: {A=B: x}\n",
        &["7:8: spec.env: `A=B` can't name a variable: it is empty or holds `=` or NUL"],
    );
    refused(
        PROCESS,
        command,
        "  command: [a]\n  directory: work\n",
        &["7:14: spec.directory: must be an absolute path, is `work`"],
    );
    refused(
        PROCESS,
        command,
        "  command: [a]\n  gracePeriodSeconds: -1\n",
        &["7:23: spec.gracePeriodSeconds: must be 0 to 3600, is -1"],
    );
    refused(
        PROCESS,
        "cpu: 100m",
        "cpu: 0",
        &["8:10: spec.requests.cpu: must be above 0, is 0"],
    );
    refused(
        PROCESS,
        "cpu: 100m",
        "memory: 64MiB",
        &[
            "8:13: spec.requests.memory: `64MiB` is not a quantity; write a number such as 10, 0.5 or \
         1e3, or one with a suffix (n u m k M G T P E, Ki Mi Gi Ti Pi Ei)",
        ],
    );
}
