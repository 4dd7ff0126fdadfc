//! `starling top nodes`: what machines use.
//!
//! Comes in: nodes as the API shows them. Goes out: a table of what most people
//! look for, and all resources by name for programs. Adds nothing up.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use starling_proto::{v1, view};

use super::{Header, Target, notes};
use crate::human;
use crate::output::{Show, Style, left, right, table};

#[derive(Debug, Serialize)]
pub struct Nodes {
    pub header: Header,
    pub nodes: Vec<Node>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Node {
    pub id: u64,
    pub name: String,
    pub alive: bool,
    /// Absent without a sample.
    pub sample_age_ms: Option<u64>,
    pub resources: Resources,
    pub workloads: Vec<OnNode>,
}

/// By name.
pub type Resources = BTreeMap<String, Amount>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Amount {
    pub used: u64,
    pub requested: Option<u64>,
    pub allocatable: Option<u64>,
    pub unit: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OnNode {
    pub target: Target,
    pub running: u32,
    pub ready: u32,
    pub granted: u32,
    pub usage: Resources,
}

pub fn resources(of: HashMap<String, v1::ResourceAmount>) -> Resources {
    let amounts = of.into_iter().map(|(name, amount)| {
        let unit = match amount.unit() {
            v1::Unit::Unspecified => "unknown",
            v1::Unit::MilliCores => "milli_cores",
            v1::Unit::Bytes => "bytes",
            v1::Unit::BytesPerSecond => "bytes_per_second",
            v1::Unit::Count => "count",
            v1::Unit::Milli => "milli",
        };
        let amount = Amount {
            used: amount.used,
            requested: amount.requested,
            allocatable: amount.allocatable,
            unit,
        };
        (name, amount)
    });
    amounts.collect()
}

/// `250m`, or nothing where it isn't known.
pub fn cpu(of: &Resources) -> String {
    let cpu = of.get("cpu");
    cpu.map(|it| format!("{}m", it.used)).unwrap_or_default()
}

/// A resource in bytes, or nothing where it isn't known.
pub fn bytes(of: &Resources, name: &str) -> String {
    let amount = of.get(name);
    amount.map(|it| human::bytes(it.used)).unwrap_or_default()
}

fn percent(of: &Resources, name: &str) -> String {
    let parts = of.get(name).and_then(|it| Some((it.used, it.allocatable?)));
    parts
        .map(|(used, whole)| human::percent(used, whole))
        .unwrap_or_default()
}

/// Devices and the like: `nvidia.com/gpu 1/4`.
fn extended(of: &Resources) -> String {
    let counted = of.iter().filter(|(_, amount)| amount.unit == "count");
    let shown = counted.map(|(name, amount)| match amount.allocatable {
        Some(all) => format!("{name} {}/{all}", amount.used),
        None => format!("{name} {}", amount.used),
    });
    shown.collect::<Vec<_>>().join(", ")
}

impl From<v1::Node> for Node {
    fn from(node: v1::Node) -> Node {
        let workloads = node.workloads.into_iter().map(|seen| OnNode {
            target: seen.target.into(),
            running: seen.running,
            ready: seen.ready,
            granted: seen.granted,
            usage: resources(seen.usage),
        });
        Node {
            id: node.id,
            name: node.name,
            alive: node.alive,
            sample_age_ms: node.sample_age.as_ref().map(view::duration_ms),
            resources: resources(node.resources),
            workloads: workloads.collect(),
        }
    }
}

impl Show for Nodes {
    fn text(&self, style: Style) -> String {
        let columns = [
            left("NAME"),
            right("CPU"),
            right("CPU%"),
            right("MEMORY"),
            right("MEMORY%"),
            right("REPLICAS"),
            right("AGE"),
            left("ALIVE"),
            right("DISK READ/s").only_wide(),
            right("DISK WRITE/s").only_wide(),
            right("NET IN/s").only_wide(),
            right("NET OUT/s").only_wide(),
            left("OTHERS").only_wide(),
        ];
        let rows = self.nodes.iter().map(|node| {
            let of = &node.resources;
            let running = node.workloads.iter().map(|seen| u64::from(seen.running));
            let workers: u64 = running.sum();
            [
                node.name.clone(),
                cpu(of),
                percent(of, "cpu"),
                bytes(of, "memory"),
                percent(of, "memory"),
                node.sample_age_ms
                    .map(|_| workers.to_string())
                    .unwrap_or_default(),
                node.sample_age_ms.map(human::age).unwrap_or_default(),
                if node.alive { "yes" } else { "no" }.into(),
                bytes(of, "disk-read"),
                bytes(of, "disk-write"),
                bytes(of, "network-received"),
                bytes(of, "network-sent"),
                extended(of),
            ]
        });
        table(columns, rows, style)
    }

    fn note(&self) -> Option<String> {
        notes(
            self.header.caution(),
            self.nodes.is_empty().then_some("No nodes yet."),
        )
    }
}
