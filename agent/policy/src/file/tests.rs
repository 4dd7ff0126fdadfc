//! Policy files that are read, and what they become.

use std::fmt::Write;
use std::path::Path;

use starling_engine::policy::{
    Annotations, Behavior, Fallback, FallbackBehavior, Goal, Rate, RateKind, Rules, Source,
    Strategy,
};

use super::*;

const POLICY: &str = "\
apiVersion: starling.sh/v1alpha1
kind: ScalingPolicy
metadata:
  name: web
spec:
  scaleTargetRef:
    kind: Process
    name: web
  minReplicaCount: 1
  maxReplicaCount: 12
  triggers:
    - type: cpu
      metricType: Utilization
      metadata:
        value: \"70\"
    - type: metrics-api
      metadata:
        url: http://127.0.0.1:8080/stats
        valueLocation: queue.jobs
        targetValue: \"10\"
";

const PROCESS: &str = "\
apiVersion: starling.sh/v1alpha1
kind: Process
metadata:
  name: web
spec:
  command: [/usr/bin/worker, --queue, jobs]
  requests:
    cpu: 100m
";

/// What is wrong with a text, one line for each problem.
fn problems(text: &str) -> String {
    let mut lines = String::new();
    for problem in read(text).problems {
        let Place { line, column } = problem.place;
        writeln!(lines, "{line}:{column}: {problem}").unwrap();
    }
    lines
}

/// `document` with its first `from` replaced must be refused with these lines.
#[track_caller]
fn refused(document: &str, from: &str, to: &str, expected: &[&str]) {
    assert!(document.contains(from), "nothing to replace: {from}");
    let text = document.replacen(from, to, 1);
    let lines = problems(&text);
    assert_eq!(lines.lines().collect::<Vec<_>>(), expected, "in\n{text}");
    let contents = read(&text);
    assert!(contents.policies.is_empty() && contents.processes.is_empty());
}

/// The policy with one line put before `minReplicaCount`.
#[track_caller]
fn refused_with(line: &str, expected: &[&str]) {
    refused(
        POLICY,
        "  minReplicaCount: 1",
        &format!("  {line}\n  minReplicaCount: 1"),
        expected,
    );
}

fn policy(text: &str) -> Policy {
    let contents = read(text);
    assert_eq!(contents.problems, []);
    Arc::unwrap_or_clone(contents.policies.into_iter().next().unwrap().1)
}

#[test]
fn a_sound_policy_and_a_sound_process_are_read_with_their_defaults() {
    let policy = policy(POLICY);
    assert_eq!(policy.name, "web");
    assert_eq!((policy.replicas_min, policy.replicas_max), (1, 12));
    assert_eq!(
        (policy.polling_interval_ms, policy.cooldown_ms),
        (2_000, 300_000)
    );
    assert_eq!(policy.initial_cooldown_ms, 0);
    assert_eq!(policy.behavior, None);
    assert_eq!(policy.strategy, Strategy::Target);
    assert_eq!(policy.triggers[0].name, "cpu");
    assert_eq!(policy.triggers[0].goal, Goal::Utilization { percent: 70 });
    assert_eq!(policy.triggers[1].name, "metrics-api");
    assert_eq!(
        policy.triggers[1].goal,
        Goal::AverageValue { milli: 10_000 }
    );
    assert!(
        matches!(&policy.triggers[1].source, Source::External { kind, .. } if kind == "metrics-api")
    );

    let contents = read(PROCESS);
    assert_eq!(contents.problems, []);
    let (place, process) = &contents.processes[0];
    assert_eq!(place.line, 2);
    assert_eq!(process.command, ["/usr/bin/worker", "--queue", "jobs"]);
    assert_eq!(
        (process.cpu_request_milli, process.memory_request_bytes),
        (Some(100), None)
    );
    assert_eq!(process.stop_after_ms, 10_000);
}

#[test]
fn a_target_is_a_deployment_of_the_policy_s_namespace_unless_it_says_otherwise() {
    let with = |reference: &str| {
        let text = POLICY.replace("    kind: Process\n    name: web\n", reference);
        policy(&text.replacen("  name: web\n", "  name: web\n  namespace: shop\n", 1))
    };
    let it = with("    name: web\n");
    assert_eq!(it.name, starling_engine::policy::Name::new("shop", "web"));
    assert_eq!(it.target.to_string(), "Deployment shop/web");
    assert_eq!(
        (it.target.group.as_str(), it.target_version.as_str()),
        ("apps", "v1")
    );
    let it = with("    apiVersion: example.com/v1beta1\n    kind: Process\n    name: web\n");
    assert_eq!(it.target.to_string(), "Process shop/web");
    let seen = (it.target.group.as_str(), it.target_version.as_str());
    assert_eq!(seen, ("example.com", "v1beta1"));
    let it = with("    apiVersion: v1\n    kind: ReplicationController\n    name: web\n");
    assert_eq!(
        (it.target.group.as_str(), it.target_version.as_str()),
        ("", "v1")
    );
    assert_eq!(policy(POLICY).target_version, "");
}

#[test]
fn amounts_may_be_written_without_quotes_and_lose_no_digit() {
    let text = PROCESS.replace("cpu: 100m", "cpu: 0.1\n    memory: 1.5Gi");
    let process = &read(&text).processes[0].1;
    assert_eq!(process.cpu_request_milli, Some(100));
    assert_eq!(process.memory_request_bytes, Some(3 << 29));
    let policy = policy(&POLICY.replace("targetValue: \"10\"", "targetValue: 2.50"));
    assert_eq!(policy.triggers[1].goal, Goal::AverageValue { milli: 2_500 });
}

#[test]
fn a_policy_that_nothing_outside_can_wake_starts_at_one_replica() {
    let (usage_only, _) = POLICY.split_once("    - type: metrics-api").unwrap();
    assert_eq!(
        policy(&usage_only.replace("  minReplicaCount: 1\n", "")).replicas_min,
        1
    );
    assert_eq!(
        policy(&POLICY.replace("  minReplicaCount: 1\n", "")).replicas_min,
        0
    );
}

#[test]
fn triggers_without_a_name_get_one_of_their_own() {
    let more = "  triggers:\n    - {type: cpu, metricType: AverageValue, metadata: {value: 500m}}\n    \
                - {type: cpu, name: cpu-2, metricType: Utilization, metadata: {value: 80}}\n";
    let policy = policy(&POLICY.replace("  triggers:\n", more));
    let names: Vec<_> = policy
        .triggers
        .iter()
        .map(|trigger| trigger.name.as_str())
        .collect();
    assert_eq!(names, ["cpu", "cpu-2", "cpu-3", "metrics-api"]);
}

#[test]
fn what_behavior_leaves_out_is_filled_in_as_hpa_does() {
    let with = |block: &str| {
        policy(&POLICY.replace("  triggers:\n", &format!("{block}\n  triggers:\n"))).behavior
    };
    assert_eq!(with("  behavior: {}"), Some(Behavior::default()));
    let behavior = with(
        "  behavior:\n    scaleUp: {stabilizationWindowSeconds: 30, tolerance: 0.05}\n    \
         scaleDown: {policies: [{type: Pods, value: 2, periodSeconds: 60}]}",
    )
    .unwrap();
    assert_eq!(
        behavior.up,
        Rules {
            window_ms: Some(30_000),
            tolerance_ppm: Some(50_000),
            ..Rules::up()
        }
    );
    let rate = Rate {
        kind: RateKind::Pods,
        value: 2,
        period_ms: 60_000,
    };
    assert_eq!(
        behavior.down,
        Rules {
            rates: vec![rate],
            ..Rules::default()
        }
    );
}

#[test]
fn the_banded_strategy_has_the_stated_defaults() {
    let Strategy::Banded(banded) =
        policy(&POLICY.replace("  triggers:\n", "  strategy: banded\n  triggers:\n")).strategy
    else {
        panic!("not banded")
    };
    let percents = [
        banded.high_percent,
        banded.high_aim_percent,
        banded.low_percent,
        banded.low_aim_percent,
        banded.step_up_percent,
        banded.step_down_percent,
    ];
    assert_eq!(
        (percents, banded.cooldown_ms),
        ([80, 70, 30, 50, 50, 30], 60_000)
    );
}

#[test]
fn kedas_annotations_are_understood_and_others_are_left_alone() {
    let annotations = "metadata:\n  name: web\n  annotations:\n    example.org/owner: ops\n    \
                       autoscaling.keda.sh/paused: \"yes\"\n    autoscaling.keda.sh/paused-replicas: \"3\"\n    \
                       autoscaling.keda.sh/paused-scale-in: \"false\"\n";
    let annotations =
        policy(&POLICY.replacen("metadata:\n  name: web\n", annotations, 1)).annotations;
    assert!(annotations.paused && !annotations.paused_scale_in);
    assert_eq!(annotations.paused_replicas, Some(3));
}

#[test]
fn each_annotation_of_keda_means_one_thing() {
    type Set = fn(&mut Annotations);
    let written = |lines: &str| {
        let metadata = format!("metadata:\n  name: web\n  annotations:\n{lines}");
        policy(&POLICY.replacen("metadata:\n  name: web\n", &metadata, 1)).annotations
    };
    let flags: [(&str, Set); 4] = [
        ("paused", |notes| notes.paused = true),
        ("paused-scale-in", |notes| notes.paused_scale_in = true),
        ("paused-scale-out", |notes| notes.paused_scale_out = true),
        ("force-activation", |notes| notes.force_activation = true),
    ];
    for (name, set) in flags {
        let line = |value| format!("    autoscaling.keda.sh/{name}: \"{value}\"\n");
        let mut expected = Annotations::default();
        for value in ["0", "f", "F", "false", "FALSE", "False"] {
            assert_eq!(written(&line(value)), expected, "{name}: {value}");
        }
        set(&mut expected);
        for value in ["1", "t", "true", "TRUE", "yes", "no", "fAlse"] {
            assert_eq!(written(&line(value)), expected, "{name}: {value}");
        }
    }
    let at_two = "    autoscaling.keda.sh/paused: \"false\"\n    \
                  autoscaling.keda.sh/paused-replicas: \"2\"\n";
    let expected = Annotations {
        paused_replicas: Some(2),
        ..Annotations::default()
    };
    assert_eq!(written(at_two), expected);
}

#[test]
fn kedas_fields_keep_their_numbers() {
    let with = |block: &str| policy(&POLICY.replace("  minReplicaCount: 1\n", block));
    let waits = with(
        "  minReplicaCount: 4\n  idleReplicaCount: 2\n  pollingInterval: 86400\n  \
         cooldownPeriod: 0\n  initialCooldownPeriod: 90\n  staleAfter: 86400\n",
    );
    assert_eq!(waits.stale_after_ms, Some(86_400_000));
    assert_eq!((waits.replicas_min, waits.replicas_idle), (4, Some(2)));
    assert_eq!(waits.polling_interval_ms, 86_400_000);
    assert_eq!((waits.cooldown_ms, waits.initial_cooldown_ms), (0, 90_000));
    assert_eq!(
        with("  minReplicaCount: 0\n  idleReplicaCount: 0\n").replicas_idle,
        Some(0)
    );
    let behaviors = [
        ("", FallbackBehavior::Static),
        (", behavior: static", FallbackBehavior::Static),
        (
            ", behavior: currentReplicas",
            FallbackBehavior::CurrentReplicas,
        ),
        (
            ", behavior: currentReplicasIfHigher",
            FallbackBehavior::CurrentReplicasIfHigher,
        ),
        (
            ", behavior: currentReplicasIfLower",
            FallbackBehavior::CurrentReplicasIfLower,
        ),
    ];
    for (written, behavior) in behaviors {
        let block = format!("  fallback: {{failureThreshold: 0, replicas: 7{written}}}\n");
        let expected = Fallback {
            failure_threshold: 0,
            replicas: 7,
            behavior,
            recovery_threshold: None,
        };
        assert_eq!(with(&block).fallback, Some(expected), "{written}");
    }
    let recovers = "  fallback: {failureThreshold: 0, replicas: 7, recoveryThreshold: 9}\n";
    let fallback = with(recovers).fallback.unwrap();
    assert_eq!(fallback.recovery_threshold, Some(9));
}

#[test]
fn several_documents_stand_in_one_file() {
    let text = format!("# both\n---\n{POLICY}---\n# nothing\n--- # the command\n{PROCESS}...\n");
    let contents = read(&text);
    assert_eq!(contents.problems, []);
    assert_eq!((contents.policies.len(), contents.processes.len()), (1, 1));
    assert_eq!(contents.policies[0].0.line, 4);
    assert_eq!(contents.processes[0].0.line, 27);
}

#[test]
fn a_wrong_document_refuses_itself_alone() {
    let text = format!(
        "{}---\n{PROCESS}",
        POLICY.replace("minReplicaCount: 1", "minReplicaCount: -1")
    );
    let contents = read(&text);
    assert_eq!(
        problems(&text),
        "9:20: spec.minReplicaCount: must be 0 to 100000, is -1\n"
    );
    assert_eq!((contents.policies.len(), contents.processes.len()), (0, 1));
    assert!(contents.refused.contains(&(Kind::Policy, "web".to_owned())));
    assert!(!contents.opaque);
}

#[test]
fn a_text_that_is_not_yaml_refuses_the_whole_file() {
    let text = format!("{PROCESS}---\n{}", POLICY.replace("spec:", "spec: ["));
    let contents = read(&text);
    assert_eq!((contents.policies.len(), contents.processes.len()), (0, 0));
    assert!(contents.opaque);
    assert_eq!(contents.problems.len(), 1);
    assert!(
        contents.problems[0].place.line > 9,
        "lines count from the file's start"
    );
}

#[test]
fn a_file_with_too_many_documents_is_refused() {
    let text = format!("{PROCESS}---\n").repeat(DOCUMENTS_MAX + 1);
    assert_eq!(
        problems(&text),
        "0:0: holds 101 documents; at most 100 are allowed in a file\n"
    );
}

#[test]
fn nesting_and_aliases_are_bounded() {
    let deep = format!("a: {}1{}", "[".repeat(10_000), "]".repeat(10_000));
    let limit = "is too large or nested too deeply; a document may hold 20000 values, 32 levels \
                 and 256 aliases\n";
    assert!(problems(&deep).ends_with(limit), "{}", problems(&deep));
    let block: String = (0..100).fold(String::new(), |text, level| {
        text + &" ".repeat(level) + "a:\n"
    });
    assert!(problems(&block).ends_with(limit), "{}", problems(&block));
    let mut bomb = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n".to_owned();
    for level in 1..10 {
        let alias = format!("*a{}, ", level - 1).repeat(10);
        writeln!(bomb, "a{level}: &a{level} [{alias}]").unwrap();
    }
    assert!(problems(&bomb).ends_with(limit), "{}", problems(&bomb));
    let wide = format!("a: [{}]", "1, ".repeat(100_000));
    assert!(problems(&wide).ends_with(limit), "{}", problems(&wide));
}

#[test]
fn the_examples_for_kubernetes_are_sound() {
    let examples =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../daemonset/examples/kubernetes");
    let mut read_all = 0;
    for entry in std::fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().ends_with("-policy.yaml") {
            let contents = read(&std::fs::read_to_string(&path).unwrap());
            assert_eq!(contents.problems, [], "{}", path.display());
            read_all += contents.policies.len();
        }
    }
    assert!(read_all > 3, "only {read_all}");
}

#[test]
fn the_examples_are_sound() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../daemonset/examples/policies");
    let mut read_all = 0;
    for entry in std::fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        let contents = read(&std::fs::read_to_string(&path).unwrap());
        assert_eq!(contents.problems, [], "{}", path.display());
        for (_, policy) in &contents.policies {
            let named = |(_, process): &(Place, Spec)| process.name == policy.target.name;
            assert!(contents.processes.iter().any(named), "{}", path.display());
        }
        read_all += contents.policies.len();
    }
    assert!(read_all > 0);
}

mod metrics;
mod objective;
mod refusals;
mod several;
mod triggers;
