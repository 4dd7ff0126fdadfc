use std::fmt::Write;

use super::*;

/// What is wrong with a text, one line for each problem.
fn problems(text: &str) -> String {
    let mut lines = String::new();
    for problem in read(text).problems {
        let Place { line, column } = problem.place;
        writeln!(lines, "{line}:{column}: {problem}").unwrap();
    }
    lines
}

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

#[test]
fn explore() {
    assert_eq!(problems(POLICY), "");
    let cases: &[(&str, &str)] = &[
        (
            "kind: Process\n    name: web\n",
            "kind: Process\n    name: web\n    x: 1\n",
        ),
        ("minReplicaCount: 1", "minReplicaCount: -1"),
        ("minReplicaCount: 1", "minReplicaCount: one"),
        ("minReplicaCount: 1", "minReplicaCount: 1.5"),
        (
            "minReplicaCount: 1",
            "minReplicaCount: 99999999999999999999",
        ),
        ("minReplicaCount: 1", "minReplicaCount: [1]"),
        (
            "minReplicaCount: 1",
            "minReplicaCount: 1\n  minReplicaCount: 2",
        ),
        ("minReplicaCount: 1", "minReplicaCount: 1\n  minReplicas: 2"),
        (
            "minReplicaCount: 1",
            "minReplicaCount: 1\n  behavior:\n    scaleUp:\n      policies: []",
        ),
        (
            "minReplicaCount: 1",
            "minReplicaCount: 1\n  behavior:\n    scaleUp:\n      policies:\n        - {type: Pod, value: 1, periodSeconds: 3}",
        ),
        (
            "minReplicaCount: 1",
            "minReplicaCount: 1\n  behavior:\n    scaleUp:\n      policies:\n        - {type: Pods, value: 0, periodSeconds: 3000}",
        ),
        ("minReplicaCount: 1", "minReplicaCount: 1\n  dryRun: maybe"),
        ("minReplicaCount: 1", "minReplicaCount: 1\n  strategy: best"),
        (
            "minReplicaCount: 1",
            "minReplicaCount: 1\n  fallback: {replicas: 1}",
        ),
        (
            "minReplicaCount: 1",
            "minReplicaCount: 1\n  fallback: {replicas: 1, failureThreshold: 3, behavior: foo}",
        ),
        ("metadata:\n  name: web", "metadata: {}"),
        ("metadata:\n  name: web", "metadata:\n  name:"),
        ("metadata:\n  name: web", "metadata:\n  name: [a]"),
        ("metadata:\n  name: web", "metadata:\n  name: Web_1"),
        ("kind: ScalingPolicy", "kind: Deployment"),
        ("kind: ScalingPolicy\n", ""),
        ("spec:", "spec: ["),
        ("spec:", "spec: *a"),
        ("spec:\n", "spec:\n\tx: y\n"),
        ("value: \"70\"", "value: \"70%\""),
        ("value: \"70\"", "value: {a: b}"),
        ("value: \"70\"", "value:"),
        ("triggers:\n", "triggers:\n    - foo\n"),
        (
            "triggers:\n",
            "triggers:\n    - type: foo\n      metadata: {}\n",
        ),
        ("triggers:\n", "triggers:\n    - metadata: {}\n"),
        ("triggers:\n", "triggers: 5\n  foo:\n"),
        (
            "metadata:\n  name: web",
            "metadata:\n  name: web\n  annotations: {autoscaling.keda.sh/paused-replicas: many, autoscaling.keda.sh/pause: \"true\"}",
        ),
    ];
    for (from, to) in cases {
        println!("=== {to}\n{}", problems(&POLICY.replacen(from, to, 1)));
    }
    println!("{}", problems("just text"));
    println!("{}", problems("- a\n- b"));
    println!(
        "{}",
        problems(&format!("a: {}1{}", "[".repeat(100), "]".repeat(100)))
    );
    println!(
        "{}",
        problems(
            "a: &a [1,1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n"
        )
    );
}
