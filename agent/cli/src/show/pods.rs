//! `starling top pods`: what single replicas use, pods or processes.
//!
//! Comes in: replicas as the API shows them, and the nodes that didn't answer. Goes out:
//! a table, and all that is known for programs. Adds nothing up.

use serde::Serialize;
use starling_proto::{v1, view};

use super::top::{Resources, bytes, cpu, resources};
use super::{Header, Target, arrange, is_stale, notes, sample_age, time};
use crate::output::{Show, Style, left, right, table};

/// Nodes that are missing and named to people; programs are told of all.
const SILENT_NAMED_MAX: usize = 5;

#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "it is the JSON's name")]
pub struct Pods {
    pub header: Header,
    pub pods: Vec<Pod>,
    pub silent_nodes: Vec<Silent>,
    #[serde(skip)]
    pub all_namespaces: bool,
    /// What came of a wish that no row fits, in words.
    #[serde(skip)]
    pub arranged: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pod {
    pub namespace: String,
    /// A pod's name, or a process's id.
    pub name: String,
    pub node: String,
    pub node_id: u64,
    pub target: Target,
    pub phase: &'static str,
    /// Absent where nobody says.
    pub ready: Option<bool>,
    pub started: Option<String>,
    pub usage: Resources,
    /// Of the oldest reading in `usage`.
    pub sample_age_ms: Option<u64>,
    pub stale: bool,
}

/// A node whose pods are missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Silent {
    pub node: String,
    pub node_id: u64,
    pub reason: String,
}

impl From<v1::Replica> for Pod {
    fn from(replica: v1::Replica) -> Pod {
        let age_ms = replica.sample_age.as_ref().map(view::duration_ms);
        Pod {
            phase: match replica.phase() {
                v1::ReplicaPhase::Unspecified => "unknown",
                v1::ReplicaPhase::Pending => "pending",
                v1::ReplicaPhase::Running => "running",
                v1::ReplicaPhase::Failed => "failed",
                v1::ReplicaPhase::Succeeded => "succeeded",
            },
            namespace: replica.namespace,
            name: replica.name,
            node: replica.node_name,
            node_id: replica.node_id,
            target: replica.target.into(),
            ready: replica.ready,
            started: time(replica.start_time.as_ref()),
            usage: resources(replica.usage),
            sample_age_ms: age_ms,
            stale: is_stale(age_ms),
        }
    }
}

impl From<v1::SilentNode> for Silent {
    fn from(node: v1::SilentNode) -> Silent {
        Silent {
            node: node.node_name,
            node_id: node.node_id,
            reason: node.reason,
        }
    }
}

impl arrange::Row for Pod {
    fn resources(&self) -> &Resources {
        &self.usage
    }

    fn names(&self) -> Vec<String> {
        let name = format!("{}/{}", self.namespace, self.name);
        vec![name, self.target.to_string()]
    }
}

impl Show for Pods {
    fn text(&self, style: Style) -> String {
        let columns = [
            left("NAMESPACE").only_if(self.all_namespaces),
            left("POD"),
            left("NODE"),
            left("WORKLOAD"),
            right("CPU"),
            right("MEMORY"),
            right("AGE"),
            left("PHASE").only_wide(),
            left("READY").only_wide(),
            left("STARTED").only_wide(),
        ];
        let rows = self.pods.iter().map(|pod| {
            let ready = pod.ready.map(|ready| if ready { "yes" } else { "no" });
            [
                pod.namespace.clone(),
                pod.name.clone(),
                pod.node.clone(),
                pod.target.to_string(),
                cpu(&pod.usage),
                bytes(&pod.usage, "memory"),
                sample_age(pod.sample_age_ms),
                pod.phase.into(),
                ready.unwrap_or_default().into(),
                pod.started.clone().unwrap_or_default(),
            ]
            .into_iter()
            .chain(arrange::cells(&pod.usage))
        });
        let columns = columns.into_iter().chain(arrange::columns(&self.pods));
        table(columns, rows, style)
    }

    fn note(&self) -> Option<String> {
        let empty = if self.all_namespaces {
            "No pod or process of a workload runs."
        } else {
            "No pod or process of a workload runs in this namespace; -A shows all namespaces."
        };
        let empty = self.pods.is_empty().then_some(empty);
        let said = self.arranged.as_deref().or(empty);
        let named = self.silent_nodes.iter().take(SILENT_NAMED_MAX);
        let named = named.map(|it| format!("Missing are those of {}: {}.", it.node, it.reason));
        let more = self.silent_nodes.len().saturating_sub(SILENT_NAMED_MAX);
        let more = (more > 0).then(|| format!("Missing are those of {more} nodes more."));
        let silent = named.chain(more);
        let lines: Vec<String> = silent.chain(said.map(str::to_owned)).collect();
        let lines = (!lines.is_empty()).then(|| lines.join("\n"));
        notes(self.header.caution(), lines.as_deref())
    }
}
