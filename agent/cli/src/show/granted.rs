//! `starling workloads`: what has a size, who sizes it, and what has one that nobody
//! sizes any more.
//!
//! Comes in: workloads as the API shows them. Goes out: a table, and all that is
//! known for programs.

use serde::Serialize;

use super::workloads::Workload;
use super::{Header, notes};
use crate::output::{Show, Style, left, right, table};

#[derive(Debug, Serialize)]
pub struct Granted {
    pub header: Header,
    pub workloads: Vec<Workload>,
    #[serde(skip)]
    pub all_namespaces: bool,
}

impl Granted {
    fn left_over(&self) -> usize {
        let all = self.workloads.iter();
        all.filter(|it| it.policy.is_none() && it.size > 0).count()
    }
}

impl Show for Granted {
    fn text(&self, style: Style) -> String {
        let columns = [
            left("NAMESPACE").only_if(self.all_namespaces),
            left("WORKLOAD"),
            left("POLICY"),
            right("GRANTED"),
            right("RUNNING"),
            left("NODES"),
            left("FORM").only_wide(),
            left("BLOCKED").only_wide(),
        ];
        let rows = self.workloads.iter().map(|workload| {
            let shares = workload.shares.iter().filter(|it| it.granted > 0);
            let nodes: Vec<&str> = shares.map(|it| it.node.as_str()).collect();
            [
                workload.target.namespace.clone(),
                workload.target.to_string(),
                workload.policy.clone().unwrap_or_else(|| "-".into()),
                workload.size.to_string(),
                workload.running(),
                nodes.join(","),
                workload.form.into(),
                workload.blocked_reason.clone().unwrap_or_default(),
            ]
        });
        table(columns, rows, style)
    }

    fn note(&self) -> Option<String> {
        let left_over = match self.left_over() {
            0 => None,
            n => Some(format!(
                "{n} of them {} a size and no policy, and keeps what it has; `starling workloads \
                 delete NAME` ends it.",
                if n == 1 { "has" } else { "have each" }
            )),
        };
        let empty = self.workloads.is_empty().then_some("Nothing has a size.");
        notes(self.header.caution(), left_over.as_deref().or(empty))
    }
}
