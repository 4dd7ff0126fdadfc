//! What the collector shall measure, from what may run on this machine and what does.
//!
//! Comes in: the commands that are offered, the supervisor's workers and what is
//! wrong with them. Goes out: targets and replicas, as the collector takes them, and
//! troubles, as a sample and the log have them. Reads nothing.

use std::collections::{BTreeMap, BTreeSet};

use starling_collect::Replica;
use starling_collect::proc::{Id, ticks_to_ms};
use starling_engine::demand::Sample;
use starling_engine::policy::{Form, Target};
use starling_engine::unit::Ms;
use starling_process::spec::Spec;
use starling_process::worker::{READY_AFTER_MS, Worker};

/// All that can run here, whether it does or not.
pub fn offered(specs: &BTreeMap<String, Spec>) -> BTreeSet<Target> {
    specs.keys().map(|name| target(name)).collect()
}

/// What keeps workers of what is offered from running here.
pub fn troubles(
    specs: &BTreeMap<String, Spec>,
    mut troubles: BTreeMap<String, String>,
) -> BTreeMap<Target, String> {
    troubles.retain(|name, _| specs.contains_key(name));
    let of_target = |(name, words): (String, String)| (target(&name), words);
    troubles.into_iter().map(of_target).collect()
}

/// What keeps pods from running here, by the name of their target.
pub fn scaled_troubles(sample: &Sample) -> BTreeMap<String, String> {
    let scaled = sample.troubles.iter();
    let scaled = scaled.filter(|(target, _)| target.form() == Form::Scaled);
    scaled
        .map(|(target, words)| (target.to_string(), words.clone()))
        .collect()
}

/// One moment, on the agent's clock and in milliseconds since boot.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub now: Ms,
    pub boot_ms: u64,
}

/// The workers; those of a command that isn't offered any more request nothing. How
/// long one has run is counted since boot, and set off against the agent's clock: the
/// machine's may be hours away from that.
pub fn replicas(
    specs: &BTreeMap<String, Spec>,
    workers: &[Worker],
    Moment { now, boot_ms }: Moment,
) -> Vec<Replica> {
    let replica = |worker: &Worker| {
        let spec = specs.get(&worker.name);
        let ran_ms = boot_ms.saturating_sub(ticks_to_ms(worker.start_ticks));
        let started_at = now.minus(ran_ms);
        Replica {
            target: target(&worker.name),
            root: Id {
                pid: worker.pid,
                start_ticks: worker.start_ticks,
            },
            started_at,
            ready: worker.ready,
            ready_changed_at: if worker.ready {
                started_at.plus(READY_AFTER_MS)
            } else {
                started_at
            },
            cpu_request_milli: spec.and_then(|spec| spec.cpu_request_milli),
            memory_request_bytes: spec.and_then(|spec| spec.memory_request_bytes),
        }
    };
    workers.iter().map(replica).collect()
}

fn target(name: &str) -> Target {
    Target::process(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_a_replica_of_what_is_offered_under_its_name() {
        let spec = Spec {
            name: "web".into(),
            cpu_request_milli: Some(250),
            ..Spec::default()
        };
        let specs = BTreeMap::from([("web".to_owned(), spec)]);
        let worker = |name: &str, ready| Worker {
            name: name.into(),
            pid: 10,
            start_ticks: 7,
            ready,
        };
        let workers = [
            worker("web", true),
            worker("web", false),
            worker("old", true),
        ];
        // It started 4 s ago, whatever hour either clock shows.
        let moment = Moment {
            now: Ms(9_000),
            boot_ms: ticks_to_ms(7) + 4_000,
        };
        let seen = replicas(&specs, &workers, moment);
        let changes: Vec<Ms> = seen
            .iter()
            .map(|replica| replica.ready_changed_at)
            .collect();
        assert_eq!(changes, [Ms(6_000), Ms(5_000), Ms(6_000)]);
        let requests: Vec<_> = seen
            .iter()
            .map(|replica| replica.cpu_request_milli)
            .collect();
        assert_eq!(requests, [Some(250), Some(250), None]);
        let id = Id {
            pid: 10,
            start_ticks: 7,
        };
        assert!(seen.iter().all(|replica| replica.root == id));
        let offered = offered(&specs);
        assert!(offered.contains(&seen[0].target) && !offered.contains(&seen[2].target));
    }
}
