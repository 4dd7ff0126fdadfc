//! Three real agents that keep a number of workers, which sleep: what many end-to-end tests
//! begin with.
//!
//! Comes in: how many, and a cluster whose agents may be launched in a way of their own. Goes
//! out: a cluster that has formed, and its workers by pid.
#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "what isn't there fails the test that looks for it"
)]

use std::collections::BTreeSet;

use starling_rig::cluster::Cluster;
use starling_rig::cluster::files::Documents;
use starling_rig::observe::Observer;

use crate::{binary, until};

/// The most that [`start`]'s policy allows.
pub const WORKERS_MAX: u32 = 12;

pub const PROCESS: &str = "\
apiVersion: starling.sh/v1alpha1
kind: Process
metadata: {name: web}
spec:
  command: [sleep, '600']
  requests: {cpu: 100m}
";

/// By their CPU the fewest would do for ever.
pub fn policy(min: u32, max: u32) -> String {
    format!(
        "apiVersion: starling.sh/v1alpha1\nkind: ScalingPolicy\nmetadata: {{name: web}}\nspec:\n  \
         scaleTargetRef: {{kind: Process, name: web}}\n  minReplicaCount: {min}\n  \
         maxReplicaCount: {max}\n  triggers:\n  - type: cpu\n    metricType: Utilization\n    \
         metadata: {{value: '60'}}\n"
    )
}

/// Three agents, none of which has been started.
pub fn three() -> Cluster {
    Cluster::new(&binary(), 3).expect("a cluster")
}

/// Starts the agents, and waits until so many workers run.
pub async fn start(cluster: &mut Cluster, count: usize) -> Observer {
    let documents = Documents {
        each: PROCESS.into(),
        first: policy(count as u32, WORKERS_MAX),
    };
    let observer = cluster.start(&documents).await.expect("it forms");
    until("all workers run", || {
        let pids = workers(cluster);
        async move { (pids.len() == count).then_some(()) }
    })
    .await;
    observer
}

/// The workers that there are, whichever agent they belong to.
pub fn workers(cluster: &mut Cluster) -> BTreeSet<u32> {
    let workers = cluster.sample().workers;
    workers.iter().map(|worker| worker.pid).collect()
}

/// The name of the agent whose worker that is, by where its output goes; `None` where it
/// has ended.
pub fn owner(pid: u32) -> Option<String> {
    let output = std::fs::read_link(format!("/proc/{pid}/fd/1")).ok()?;
    let mut places = output.iter().map(|part| part.to_string_lossy());
    let name = places.find(|part| part.starts_with("agent-"))?;
    Some(name.into_owned())
}
