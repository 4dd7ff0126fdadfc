//! `starling decisions`: what changed its size, when, and why.

use serde::Serialize;
use starling_engine::unit::Ms;
use starling_proto::{v1, view};

use super::{Header, notes};
use crate::human;
use crate::output::{Show, Style, left, right, table};

#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "it is the JSON's name")]
pub struct Decisions {
    pub header: Header,
    pub decisions: Vec<Decision>,
    #[serde(skip)]
    pub all_namespaces: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    pub index: u64,
    pub time: String,
    pub namespace: String,
    pub policy: String,
    pub previous_size: u32,
    pub size: u32,
    pub node_id: u64,
    pub node: String,
    pub reason: String,
    /// Made for an earlier version of the policy, whose target may have been another one.
    pub earlier_policy: bool,
    #[serde(skip)]
    pub(super) at: Ms,
}

impl From<v1::Decision> for Decision {
    fn from(decision: v1::Decision) -> Decision {
        let at = decision.time.as_ref().map(view::ms).unwrap_or_default();
        Decision {
            index: decision.index,
            time: human::time(at),
            at,
            namespace: decision.namespace,
            policy: decision.policy,
            previous_size: decision.previous_size,
            size: decision.size,
            node_id: decision.node_id,
            node: decision.node_name,
            reason: decision.reason,
            earlier_policy: decision.earlier_policy,
        }
    }
}

impl Show for Decisions {
    fn text(&self, style: Style) -> String {
        let columns = [
            right("INDEX"),
            right("AGE"),
            left("NAMESPACE").only_if(self.all_namespaces),
            left("POLICY"),
            right("FROM"),
            right("TO"),
            left("BY"),
            left("TIME").only_wide(),
            left("REASON"),
        ];
        let rows = self.decisions.iter().cloned().map(|decision| {
            [
                decision.index.to_string(),
                self.header.age(decision.at),
                decision.namespace,
                decision.policy,
                decision.previous_size.to_string(),
                decision.size.to_string(),
                decision.node,
                decision.time,
                decision.reason,
            ]
        });
        table(columns, rows, style)
    }

    fn note(&self) -> Option<String> {
        let empty = if self.all_namespaces {
            "No workload has changed its size yet."
        } else {
            "No workload of this namespace has changed its size yet; -A shows all namespaces."
        };
        notes(
            self.header.caution(),
            self.decisions.is_empty().then_some(empty),
        )
    }
}
