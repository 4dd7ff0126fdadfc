//! Replies as the command line prints them: one plain struct for each, whose
//! field names are the JSON's and stay as they are.

pub mod cluster;
pub mod decisions;
pub mod explain;
pub mod policies;
pub mod top;

use serde::Serialize;
use starling_engine::unit::Ms;
use starling_proto::{v1, view};

use super::human;

/// People are told of data that is older.
const STALE_MS: u64 = 5_000;

/// Who answered, and how fresh the answer is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Header {
    pub node_id: u64,
    pub node: String,
    pub cluster: String,
    pub generation: u64,
    pub applied_index: u64,
    pub applied_time: Option<String>,
    pub term: u64,
    pub leader_id: Option<u64>,
    pub leader: Option<String>,
    pub answered_by_leader: bool,
    pub data_age_ms: u64,
    pub consistency: &'static str,
    pub time: Option<String>,
    #[serde(skip)]
    now: Ms,
}

impl From<Option<v1::ReplyHeader>> for Header {
    fn from(header: Option<v1::ReplyHeader>) -> Header {
        let header = header.unwrap_or_default();
        Header {
            consistency: match header.consistency() {
                v1::Consistency::Unspecified | v1::Consistency::Stale => "stale",
                v1::Consistency::Leader => "leader",
                v1::Consistency::Linearizable => "linearizable",
            },
            now: header
                .answer_time
                .as_ref()
                .map(view::ms)
                .unwrap_or_default(),
            time: time(header.answer_time.as_ref()),
            applied_time: time(header.applied_time.as_ref()),
            node_id: header.node_id,
            node: header.node_name,
            cluster: header.cluster,
            generation: header.generation,
            applied_index: header.applied_index,
            term: header.term,
            leader_id: header.leader_id,
            leader: some(header.leader_name),
            answered_by_leader: header.answered_by_leader,
            data_age_ms: header.data_age_ms,
        }
    }
}

impl Header {
    /// How long ago something was, by the clock of whoever answered.
    fn age(&self, of: Ms) -> String {
        human::age(self.now.since(of))
    }

    /// What people should know before they believe the data.
    fn caution(&self) -> Option<String> {
        (self.data_age_ms > STALE_MS).then(|| {
            format!(
                "Note: {}'s data is {} old; ask another agent with --agent, or with \
                 --consistency leader.",
                self.node,
                human::age(self.data_age_ms)
            )
        })
    }
}

fn time(time: Option<&prost_types::Timestamp>) -> Option<String> {
    time.map(|time| human::time(view::ms(time)))
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// A workload's name as people write it, `Process/checkout`.
fn target(target: Option<&v1::Target>) -> String {
    target
        .map(|target| format!("{}/{}", target.kind, target.name))
        .unwrap_or_default()
}

/// The two notes, whichever there are.
fn notes(caution: Option<String>, empty: Option<&str>) -> Option<String> {
    match (caution, empty) {
        (Some(caution), Some(empty)) => Some(format!("{caution}\n{empty}")),
        (caution, empty) => caution.or(empty.map(str::to_owned)),
    }
}

#[cfg(test)]
mod tests;
