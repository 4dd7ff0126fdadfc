//! What the demo's agents are told: the command that a worker is, and the policy
//! that scales it, as YAML documents that a user could have written.

use std::path::Path;

use super::cluster::files::Documents;

/// The process target's and the policy's name.
pub const NAME: &str = "worker";
pub const REPLICAS_MIN: u32 = 1;
pub const REPLICAS_MAX: u32 = 12;
/// Waiting jobs for each worker that the policy aims at: four jobs wait at most
/// half a second for the worker that does ten a second.
const WAITING_EACH: u32 = 4;
/// Percent of a worker's requested 100 milli-CPU. A worker with nothing but
/// jobs on its hands uses a little over 60, so this is about 70 % busy.
const CPU_PERCENT: u32 = 45;

/// For a worker that takes its jobs from `queue` (a URL) and belongs to the demo
/// in `dir`. Sizes fall after the highest one of `down_window_s` seconds.
pub fn documents(binary: &Path, queue: &str, dir: &Path, down_window_s: u64) -> Documents {
    let dir = dir.to_string_lossy();
    let command = [
        &*binary.to_string_lossy(),
        "demo-worker",
        "--queue",
        queue,
        "--of",
        &dir,
    ];
    // JSON strings are YAML strings, whatever a path holds.
    let command = command
        .map(|word| serde_json::Value::from(word).to_string())
        .join(", ");
    let stats = serde_json::Value::from(format!("{queue}/stats"));
    Documents {
        each: format!(
            "\
apiVersion: starling.sh/v1alpha1
kind: Process
metadata:
  name: {NAME}
spec:
  command: [{command}]
  requests:
    cpu: 100m
    memory: 32Mi
  gracePeriodSeconds: 2
"
        ),
        first: format!(
            "\
apiVersion: starling.sh/v1alpha1
kind: ScalingPolicy
metadata:
  name: {NAME}
spec:
  scaleTargetRef:
    kind: Process
    name: {NAME}
  minReplicaCount: {REPLICAS_MIN}
  maxReplicaCount: {REPLICAS_MAX}
  pollingInterval: 1
  triggers:
    - type: metrics-api
      name: queue
      metadata:
        url: {stats}
        valueLocation: waiting
        targetValue: \"{WAITING_EACH}\"
    - type: cpu
      metricType: Utilization
      metadata:
        value: \"{CPU_PERCENT}\"
  behavior:
    scaleUp:
      stabilizationWindowSeconds: 0
      policies:
        - type: Pods
          value: 4
          periodSeconds: 2
    scaleDown:
      stabilizationWindowSeconds: {down_window_s}
      policies:
        - type: Percent
          value: 100
          periodSeconds: 1
"
        ),
    }
}
