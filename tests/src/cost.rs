//! What agents cost over a while: CPU, memory, and requests to the Kubernetes API
//! by verb, as each agent tells Prometheus.
//!
//! Comes in: the agents of a cluster. Goes out: a line for each. Changes nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use crate::installed::{Installed, SOON, until};

/// One agent's.
#[derive(Debug, Clone, Default)]
pub struct Cost {
    /// Percent of one core.
    pub cpu: f64,
    /// At the end.
    pub resident_mib: f64,
    /// A second, by verb.
    pub requests: BTreeMap<String, f64>,
}

/// By node, over so long from now.
pub fn over(installed: &Installed, how_long: Duration) -> BTreeMap<String, Cost> {
    let began = Instant::now();
    let before: BTreeMap<_, _> = numbers(installed).collect();
    std::thread::sleep(how_long);
    let seconds = began.elapsed().as_secs_f64();
    let mut costs: BTreeMap<String, Cost> = BTreeMap::new();
    for ((node, name), value) in numbers(installed) {
        let cost = costs.entry(node.clone()).or_default();
        let verb = verb(&name);
        let former = before.get(&(node, name.clone())).copied();
        let each_second = (value - former.unwrap_or(0.0)) / seconds;
        if name.starts_with("process_cpu_seconds_total") {
            cost.cpu = each_second * 100.0;
        } else if name.starts_with("process_resident_memory_bytes") {
            cost.resident_mib = value / f64::from(1 << 20);
        } else if let Some(verb) = verb {
            *cost.requests.entry(verb).or_default() += each_second;
        }
    }
    costs
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cpu, memory) = (self.cpu, self.resident_mib);
        write!(f, "{cpu:.2} % of a core, {memory:.1} MiB")?;
        let asked = self.requests.iter().filter(|(_, each)| **each > 0.0);
        for (verb, each_second) in asked {
            write!(f, ", {verb} {each_second:.2}/s")?;
        }
        Ok(())
    }
}

impl Cost {
    /// Requests that change something in the cluster, a second. A token is
    /// reviewed by a `create` that stores nothing, and is counted all the same.
    pub fn writes(&self) -> f64 {
        let writes = ["create", "patch", "update", "delete"];
        let of = writes.iter().filter_map(|verb| self.requests.get(*verb));
        of.sum()
    }
}

fn numbers(installed: &Installed) -> impl Iterator<Item = ((String, String), f64)> {
    // An agent that starts tells nothing yet.
    let told = until(&installed.cluster, "each agent tells", SOON, |_| {
        installed.metrics().map(Ok)
    });
    told.into_iter()
        .map(|(node, name, value)| ((node, name), value))
}

/// `get` of `starling_kubernetes_requests_total{verb="get",code="200"}`.
fn verb(name: &str) -> Option<String> {
    let labels = name.strip_prefix("starling_kubernetes_requests_total{verb=\"")?;
    labels.split('"').next().map(str::to_owned)
}
