//! `starling top nodes` and `starling top workloads`.

use std::collections::BTreeMap;

use serde::Serialize;
use starling_proto::v1;

use super::{Header, notes, target};
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
    pub sample_age_ms: Option<u64>,
    /// Absent without a sample.
    pub totals: Option<Totals>,
    pub workloads: Vec<Usage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Totals {
    pub cpu_used_milli: u64,
    pub cpu_capacity_milli: u64,
    pub memory_used_bytes: u64,
    pub memory_capacity_bytes: u64,
    pub disk_read_bytes_per_s: u64,
    pub disk_write_bytes_per_s: u64,
    pub network_received_bytes_per_s: u64,
    pub network_sent_bytes_per_s: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Usage {
    pub target: String,
    pub running: u32,
    pub granted: u32,
    pub cpu_used_milli: u64,
    pub memory_used_bytes: u64,
}

impl From<v1::NodeTotals> for Totals {
    fn from(totals: v1::NodeTotals) -> Totals {
        Totals {
            cpu_used_milli: totals.cpu_used_milli,
            cpu_capacity_milli: totals.cpu_capacity_milli,
            memory_used_bytes: totals.memory_used_bytes,
            memory_capacity_bytes: totals.memory_capacity_bytes,
            disk_read_bytes_per_s: totals.disk_read_bytes_per_s,
            disk_write_bytes_per_s: totals.disk_write_bytes_per_s,
            network_received_bytes_per_s: totals.network_received_bytes_per_s,
            network_sent_bytes_per_s: totals.network_sent_bytes_per_s,
        }
    }
}

impl From<v1::Node> for Node {
    fn from(node: v1::Node) -> Node {
        Node {
            id: node.id,
            name: node.name,
            alive: node.alive,
            sample_age_ms: node.sample_age_ms,
            totals: node.totals.map(Totals::from),
            workloads: node
                .workloads
                .into_iter()
                .map(|usage| Usage {
                    target: target(usage.target.as_ref()),
                    running: usage.running,
                    granted: usage.granted,
                    cpu_used_milli: usage.cpu_used_milli,
                    memory_used_bytes: usage.memory_used_bytes,
                })
                .collect(),
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
            right("WORKERS"),
            right("AGE"),
            left("ALIVE"),
            right("DISK READ/s").only_wide(),
            right("DISK WRITE/s").only_wide(),
            right("NET IN/s").only_wide(),
            right("NET OUT/s").only_wide(),
        ];
        let rows = self.nodes.iter().map(|node| {
            let with =
                |show: fn(&Totals) -> String| node.totals.as_ref().map(show).unwrap_or_default();
            let workers: u64 = node
                .workloads
                .iter()
                .map(|usage| u64::from(usage.running))
                .sum();
            [
                node.name.clone(),
                with(|t| format!("{}m", t.cpu_used_milli)),
                with(|t| human::percent(t.cpu_used_milli, t.cpu_capacity_milli)),
                with(|t| human::bytes(t.memory_used_bytes)),
                with(|t| human::percent(t.memory_used_bytes, t.memory_capacity_bytes)),
                node.totals.map(|_| workers.to_string()).unwrap_or_default(),
                node.sample_age_ms.map(human::age).unwrap_or_default(),
                if node.alive { "yes" } else { "no" }.into(),
                with(|t| human::bytes(t.disk_read_bytes_per_s)),
                with(|t| human::bytes(t.disk_write_bytes_per_s)),
                with(|t| human::bytes(t.network_received_bytes_per_s)),
                with(|t| human::bytes(t.network_sent_bytes_per_s)),
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

#[derive(Debug, Serialize)]
pub struct Workloads {
    pub header: Header,
    pub workloads: Vec<Workload>,
}

/// Sums over the nodes that are alive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Workload {
    pub target: String,
    pub running: u64,
    pub granted: u64,
    pub cpu_used_milli: u64,
    pub memory_used_bytes: u64,
    /// Nodes that can run it.
    pub nodes: usize,
    /// Of the oldest sample in the sums.
    pub sample_age_ms: u64,
}

impl From<Nodes> for Workloads {
    fn from(nodes: Nodes) -> Workloads {
        let mut workloads: BTreeMap<String, Workload> = BTreeMap::new();
        for node in nodes.nodes.into_iter().filter(|node| node.alive) {
            for usage in node.workloads {
                let sum = workloads.entry(usage.target.clone()).or_default();
                sum.target = usage.target;
                sum.running += u64::from(usage.running);
                sum.granted += u64::from(usage.granted);
                sum.cpu_used_milli = sum.cpu_used_milli.saturating_add(usage.cpu_used_milli);
                sum.memory_used_bytes = sum
                    .memory_used_bytes
                    .saturating_add(usage.memory_used_bytes);
                sum.nodes += 1;
                sum.sample_age_ms = sum
                    .sample_age_ms
                    .max(node.sample_age_ms.unwrap_or_default());
            }
        }
        Workloads {
            header: nodes.header,
            workloads: workloads.into_values().collect(),
        }
    }
}

impl Show for Workloads {
    fn text(&self, style: Style) -> String {
        let columns = [
            left("WORKLOAD"),
            right("RUNNING"),
            right("GRANTED"),
            right("CPU"),
            right("MEMORY"),
            right("NODES"),
            right("AGE"),
        ];
        let rows = self.workloads.iter().map(|workload| {
            [
                workload.target.clone(),
                workload.running.to_string(),
                workload.granted.to_string(),
                format!("{}m", workload.cpu_used_milli),
                human::bytes(workload.memory_used_bytes),
                workload.nodes.to_string(),
                human::age(workload.sample_age_ms),
            ]
        });
        table(columns, rows, style)
    }

    fn note(&self) -> Option<String> {
        let empty = "No node can run a workload; put a `kind: Process` document into an agent's \
                     policy directory.";
        notes(
            self.header.caution(),
            self.workloads.is_empty().then_some(empty),
        )
    }
}
