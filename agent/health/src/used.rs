//! What this agent's node and the replicas on it use, by resource, on `/metrics`.
//!
//! Comes in: amounts in base units. Goes out: gauges with the resource as label, and of
//! workloads also namespace and name. Never tells of other nodes: whoever wants the
//! cluster's sum adds up what all agents say.

use std::fmt;
use std::time::Duration;

use crate::machine::{Series, family};
use crate::reading::Page;

/// Series of workloads. Further ones, in the order of their names, are only counted: a
/// scrape of 1,000 is large enough.
pub const SERIES_MAX: usize = 1_000;

/// What is used on one node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Used {
    /// How long ago all of it was measured; none where nothing was yet.
    pub age: Option<Duration>,
    pub of_node: Vec<Amount>,
    /// By workload and resource.
    pub of_workloads: Vec<Workload>,
}

/// Of one resource: cores, bytes, bytes per second, GPUs, or a share of the time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Amount {
    pub resource: String,
    pub used: f64,
    pub allocatable: Option<f64>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Workload {
    pub namespace: String,
    /// `Kind/name`.
    pub name: String,
    pub amount: Amount,
}

pub(crate) fn encode(used: &Used, page: &mut Page) -> fmt::Result {
    family(
        page,
        "node_sample_age_seconds",
        (used.age.iter()).map(|age| (Vec::new(), age.as_secs_f64())),
        "How long ago what this node and its workloads use was measured",
    )?;
    let node = used.of_node.iter();
    family(
        page,
        "node_resource_used",
        node.map(|it| (vec![("resource", it.resource.as_str())], it.used)),
        "What this node uses of a resource: cores, bytes, bytes per second, GPUs, or a share of \
         the time",
    )?;
    let node = used.of_node.iter();
    family(
        page,
        "node_resource_allocatable",
        node.filter_map(|it| Some((vec![("resource", it.resource.as_str())], it.allocatable?))),
        "What this node has of a resource; absent where there is no such limit",
    )?;
    let listed = used.of_workloads.iter().take(SERIES_MAX);
    family(
        page,
        "workload_resource_used",
        listed.map(series),
        "What the replicas of a workload on this node use: sums, and means of shares of the time",
    )?;
    let unlisted = used.of_workloads.len().saturating_sub(SERIES_MAX);
    let unlisted = (unlisted > 0).then_some((Vec::new(), unlisted as f64));
    family(
        page,
        "workload_resources_unlisted",
        unlisted.into_iter(),
        "Series of workloads that are left out here, because there are too many",
    )
}

fn series(of: &Workload) -> Series<'_> {
    let labels = vec![
        ("namespace", of.namespace.as_str()),
        ("workload", of.name.as_str()),
        ("resource", of.amount.resource.as_str()),
    ];
    (labels, of.amount.used)
}
