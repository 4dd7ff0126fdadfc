//! The replicas of this agent's own node, as others may ask for them.
//!
//! Comes in: a sample. Goes out: what people want to know of each replica, without the
//! readings that came before the newest. Never more than [`REPLICAS_MAX`].

use std::sync::Arc;

use starling_engine::demand::Sample;
use starling_engine::demand::pods::{Phase, Pod};
use starling_engine::policy::{Resource, Target};
use starling_engine::unit::Ms;

/// Further replicas of one node aren't shown, the last by workload first. A kubelet runs
/// 110 pods by default, and an agent knows at most 1,000.
pub const REPLICAS_MAX: usize = 2_000;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replica {
    /// Shared by all of them.
    pub target: Arc<Target>,
    pub name: String,
    pub phase: Phase,
    pub ready: Option<bool>,
    pub started_at: Option<Ms>,
    /// What it uses and what it asks for, in thousandths.
    pub used: Vec<(Resource, i64, Option<i64>)>,
    /// When the oldest reading in `used` was taken.
    pub read_at: Option<Ms>,
}

impl Replica {
    /// By workload.
    pub fn all(sample: &Sample) -> Vec<Replica> {
        let workloads = sample.workloads.iter();
        let replicas = workloads.flat_map(|(target, pods)| {
            let target = Arc::new(target.clone());
            pods.iter().map(move |pod| Replica::of(&target, pod))
        });
        replicas.take(REPLICAS_MAX).collect()
    }

    fn of(target: &Arc<Target>, pod: &Pod) -> Replica {
        let read = || {
            let metrics = pod.metrics.iter();
            metrics.filter_map(|(resource, metric)| Some((*resource, metric, metric.sample?)))
        };
        let used =
            read().map(|(resource, metric, sample)| (resource, sample.milli, metric.request_milli));
        Replica {
            target: Arc::clone(target),
            name: pod.name.clone(),
            phase: pod.phase,
            ready: pod.ready,
            started_at: pod.started_at,
            used: used.collect(),
            read_at: read().map(|(_, _, sample)| sample.at).min(),
        }
    }
}

#[cfg(test)]
mod tests {
    use starling_engine::demand::pods::{Metric, Reading};

    use super::*;

    #[test]
    fn a_replica_is_as_old_as_its_oldest_reading_and_lacks_what_was_not_read() {
        let metric = |milli, at| Metric {
            request_milli: Some(9),
            sample: Some(Reading {
                milli,
                at: Ms(at),
                window_ms: 0,
            }),
            ..Metric::default()
        };
        let pod = Pod {
            name: "web-1".into(),
            metrics: [
                (Resource::Cpu, metric(250, 7)),
                (Resource::Memory, metric(5, 3)),
                (Resource::Gpu, Metric::default()),
            ]
            .into(),
            ..Pod::default()
        };
        let many = vec![pod; REPLICAS_MAX + 1];
        let sample = Sample {
            workloads: [(Target::process("web"), many)].into(),
            ..Sample::default()
        };
        let all = Replica::all(&sample);
        assert_eq!(all.len(), REPLICAS_MAX);
        assert_eq!(all[0].read_at, Some(Ms(3)));
        let used = [
            (Resource::Cpu, 250, Some(9)),
            (Resource::Memory, 5, Some(9)),
        ];
        assert_eq!(all[0].used, used);
    }
}
