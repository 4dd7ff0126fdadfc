//! What the demo's agents are told: the command that a worker is, and the policy
//! that scales it, as YAML documents that a user could have written.

use std::path::Path;

use crate::cluster::files::Documents;

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

/// What differs between the cases that are shown and measured.
#[derive(Debug, Clone, Copy)]
pub struct Workload<'a> {
    /// The `starling` binary.
    pub binary: &'a Path,
    /// Where the workers get their jobs, `http://HOST:PORT`.
    pub queue: &'a str,
    /// Where the policy asks for `waiting`, a URL.
    pub stats: &'a str,
    /// Also scale by the workers' CPU, as the agents measure it. While it can't
    /// be measured, because an agent is dead, sizes don't fall.
    pub by_cpu: bool,
    /// Sizes fall to the highest one wanted in this time.
    pub down_window_s: u64,
}

pub fn documents(workload: &Workload<'_>) -> Documents {
    let Workload {
        binary,
        queue,
        stats,
        by_cpu,
        down_window_s,
    } = *workload;
    let command = [&*binary.to_string_lossy(), "demo-worker", "--queue", queue];
    // JSON strings are YAML strings, whatever a path holds.
    let command = command
        .map(|word| serde_json::Value::from(word).to_string())
        .join(", ");
    let stats = serde_json::Value::from(stats);
    let cpu = if by_cpu {
        format!(
            "    - type: cpu\n      metricType: Utilization\n      metadata:\n        \
             value: \"{CPU_PERCENT}\"\n"
        )
    } else {
        String::new()
    };
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
{cpu}  behavior:
    scaleUp:
      stabilizationWindowSeconds: 0
      policies:
        - type: Pods
          value: 4
          periodSeconds: 1
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

#[cfg(test)]
mod tests {
    use starling_engine::policy::{Goal, Source};
    use starling_policy::file;

    use super::*;

    #[test]
    fn the_agents_own_reader_accepts_the_documents() {
        let odd = Path::new("/tmp/an odd \"place\": #1");
        let documents = documents(&Workload {
            binary: &odd.join("starling"),
            queue: "http://127.0.0.1:4711",
            stats: "http://127.0.0.1:4711/stats",
            by_cpu: true,
            down_window_s: 3,
        });
        let each = file::read(&documents.each);
        assert_eq!(each.problems, []);
        let process = &each.processes[0].1;
        assert_eq!(process.command[0], "/tmp/an odd \"place\": #1/starling");
        assert_eq!(process.cpu_request_milli, Some(100));

        let first = file::read(&documents.first);
        assert_eq!(first.problems, []);
        let policy = &first.policies[0].1;
        assert_eq!(
            (policy.replicas_min, policy.replicas_max),
            (REPLICAS_MIN, REPLICAS_MAX)
        );
        assert_eq!(policy.polling_interval_ms, 1_000);
        let down = policy
            .behavior
            .as_ref()
            .map(|behavior| behavior.down.window_ms);
        assert_eq!(down, Some(Some(3_000)));
        let [queue, cpu] = &policy.triggers[..] else {
            panic!("{:?}", policy.triggers)
        };
        assert!(matches!(&queue.source, Source::External { kind, .. } if kind == "metrics-api"));
        assert_eq!(queue.goal, Goal::AverageValue { milli: 4_000 });
        assert_eq!(cpu.goal, Goal::Utilization { percent: 45 });
    }
}
