//! Workloads and policies of the tests.

/// Pods that burn `milli` thousandths of a core from their start; each asks for 100.
pub fn deployment(name: &str, replicas: u32, milli: u32) -> String {
    workload("Deployment", name, replicas, milli)
}

pub fn workload(kind: &str, name: &str, replicas: u32, milli: u32) -> String {
    let service = if kind == "StatefulSet" {
        format!("\n  serviceName: {name}")
    } else {
        String::new()
    };
    format!(
        r#"
apiVersion: apps/v1
kind: {kind}
metadata: {{name: {name}}}
spec:{service}
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: load
        image: localhost/starling-test/load:1
        imagePullPolicy: Never
        env: [{{name: MILLI, value: "{milli}"}}]
        resources: {{requests: {{cpu: 100m, memory: 16Mi}}}}
"#
    )
}

/// A pod that tells a number, and its Service.
pub fn source(number: u32) -> String {
    let told = format!("env: [{{name: NUMBER, value: \"{number}\"}}, ");
    let source = deployment("source", 1, 0).replace("env: [", &told);
    format!(
        "{source}---
apiVersion: v1
kind: Service
metadata: {{name: source}}
spec: {{selector: {{app: source}}, ports: [{{port: 8080}}]}}
"
    )
}

/// Keeps a workload at 70 % of the CPU that its pods ask for.
pub fn cpu_policy(kind: &str, name: &str, more: &str) -> String {
    format!(
        r#"
apiVersion: starling.sh/v1alpha1
kind: ScalingPolicy
metadata: {{name: {name}}}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: {kind}, name: {name}}}
  minReplicaCount: 1
  maxReplicaCount: 6
  triggers:
  - type: cpu
    metricType: Utilization
    metadata: {{value: "70"}}
{more}
"#
    )
}

/// Sizes a Deployment by the number that the Service of `source` tells: one replica
/// for each 10.
pub fn number_policy(name: &str, address: &str, more: &str) -> String {
    format!(
        r#"
apiVersion: starling.sh/v1alpha1
kind: ScalingPolicy
metadata: {{name: {name}}}
spec:
  scaleTargetRef: {{name: {name}}}
  minReplicaCount: 0
  maxReplicaCount: 6
  pollingInterval: 1
  cooldownPeriod: 2
  triggers:
  - type: metrics-api
    metadata:
      url: http://{address}/cgi-bin/get
      valueLocation: number
      targetValue: "10"
{more}
"#
    )
}

/// A policy of some 200 KiB, which kubectl can still note beside it; it never acts. What
/// little an agent writes else fits for hours into room that its log's file already has;
/// only something large needs more of a full disk.
pub fn large_policy(kind: &str, generation: u32) -> String {
    let path = "a".repeat(2_000);
    let trigger = format!(
        "  - type: metrics-api
    metadata: {{url: \"http://127.0.0.1:1/{path}\", valueLocation: v, targetValue: \"{generation}\"}}
"
    );
    format!(
        "apiVersion: starling.sh/v1alpha1
kind: ScalingPolicy
metadata: {{name: large}}
spec:
  scaleTargetRef: {{kind: {kind}, name: large}}
  dryRun: true
  pollingInterval: 3600
  triggers:
{}",
        trigger.repeat(100)
    )
}

/// No wait before shrinking, so that a test needn't.
pub const AT_ONCE: &str = "  behavior: {scaleDown: {stabilizationWindowSeconds: 0}}";
