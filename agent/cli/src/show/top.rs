//! `starling top nodes`: what machines use.
//!
//! Comes in: nodes as the API shows them. Goes out: a table of what most people
//! look for, and all resources by name for programs. Adds nothing up.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use starling_proto::{v1, view};

use super::{Header, Target, arrange, is_stale, notes, sample_age};
use crate::human;
use crate::output::{Show, Style, left, right, table};

#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "it is the JSON's name")]
pub struct Nodes {
    pub header: Header,
    pub nodes: Vec<Node>,
    /// What came of a wish that no row fits, in words.
    #[serde(skip)]
    pub arranged: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Node {
    pub id: u64,
    pub name: String,
    pub alive: bool,
    /// Absent without a sample.
    pub sample_age_ms: Option<u64>,
    /// The sample says little of now.
    pub stale: bool,
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

impl From<v1::Node> for Node {
    fn from(node: v1::Node) -> Node {
        let workloads = node.workloads.into_iter().map(|seen| OnNode {
            target: seen.target.into(),
            running: seen.running,
            ready: seen.ready,
            granted: seen.granted,
            usage: resources(seen.usage),
        });
        let age_ms = node.sample_age.as_ref().map(view::duration_ms);
        Node {
            id: node.id,
            name: node.name,
            alive: node.alive,
            sample_age_ms: age_ms,
            stale: is_stale(age_ms),
            resources: resources(node.resources),
            workloads: workloads.collect(),
        }
    }
}

impl arrange::Row for Node {
    fn resources(&self) -> &Resources {
        &self.resources
    }

    fn names(&self) -> Vec<String> {
        vec![self.name.clone()]
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
                sample_age(node.sample_age_ms),
                if node.alive { "yes" } else { "no" }.into(),
            ]
            .into_iter()
            .chain(arrange::cells(of))
        });
        let columns = columns.into_iter().chain(arrange::columns(&self.nodes));
        table(columns, rows, style)
    }

    fn note(&self) -> Option<String> {
        let empty = self.nodes.is_empty().then_some("No nodes yet.");
        notes(self.header.caution(), self.arranged.as_deref().or(empty))
    }
}
