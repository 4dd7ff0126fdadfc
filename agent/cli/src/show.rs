//! Replies as the command line prints them: one plain struct for each, whose
//! field names are the JSON's and stay as they are.

pub mod arrange;
pub mod cluster;
pub mod decisions;
pub mod explain;
pub mod granted;
pub mod pods;
pub mod policies;
mod settings;
pub mod top;
pub mod workloads;

use serde::Serialize;
use starling_engine::unit::Ms;
use starling_proto::{v1, view};

use super::human;

/// People are told of data that is older.
const STALE_MS: u64 = 5_000;

/// Whether a sample says little of now. Nodes tell theirs once a second.
fn is_stale(age_ms: Option<u64>) -> bool {
    age_ms.is_some_and(|age_ms| age_ms > STALE_MS)
}

/// How old a row's sample is: `12s stale`, or nothing where there is none.
fn sample_age(age_ms: Option<u64>) -> String {
    let stale = if is_stale(age_ms) { " stale" } else { "" };
    let shown = age_ms.map(|age_ms| format!("{}{stale}", human::age(age_ms)));
    shown.unwrap_or_default()
}

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
    pub leading: bool,
    /// A leader stands behind the answer; absent where the agent's version doesn't say.
    pub led: Option<bool>,
    /// Since the last word of a leader; absent where none has spoken since the start.
    pub led_age_ms: Option<u64>,
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
            leading: header.leading,
            led: header.led,
            led_age_ms: header.led_age.as_ref().map(view::duration_ms),
            data_age_ms: span_ms(header.data_age.as_ref()),
        }
    }
}

impl Header {
    /// How long ago something was, by the clock of whoever answered.
    fn age(&self, of: Ms) -> String {
        human::age(self.now.since(of))
    }

    /// What people should know before they believe the data.
    pub(crate) fn caution(&self) -> Option<String> {
        let node = human::clean(&self.node);
        let stale = (self.data_age_ms > STALE_MS).then(|| {
            format!(
                "Note: {node}'s data is {} old; ask another agent with --agent, or with \
                 --consistency leader.",
                human::age(self.data_age_ms)
            )
        });
        let unled = (self.led == Some(false)).then(|| {
            let since = match self.led_age_ms {
                Some(age_ms) => format!("has heard none for {}", human::age(age_ms)),
                None => "has heard none since its start".into(),
            };
            format!(
                "Note: no leader stands behind this: {node} {since}. Sizes and decisions are as \
                 of then; `starling status` says what is missing."
            )
        });
        match (stale, unled) {
            (Some(stale), Some(unled)) => Some(format!("{stale}\n{unled}")),
            (stale, unled) => stale.or(unled),
        }
    }
}

/// How old a value is, where it is too old for one of now: ` 3h ago`.
fn ago(age_ms: Option<u64>) -> String {
    let old = age_ms.filter(|age_ms| is_stale(Some(*age_ms)));
    old.map_or_else(String::new, |age_ms| format!(" {} ago", human::age(age_ms)))
}

fn time(time: Option<&prost_types::Timestamp>) -> Option<String> {
    time.map(|time| human::time(view::ms(time)))
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// A span of time that is always there.
fn span_ms(span: Option<&prost_types::Duration>) -> u64 {
    span.map(view::duration_ms).unwrap_or_default()
}

/// What has a size.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Target {
    pub group: String,
    pub kind: String,
    pub namespace: String,
    pub name: String,
}

impl From<Option<v1::Target>> for Target {
    fn from(target: Option<v1::Target>) -> Target {
        let target = target.unwrap_or_default();
        Target {
            group: target.group,
            kind: target.kind,
            namespace: target.namespace,
            name: target.name,
        }
    }
}

/// As people write it, `Process/checkout`: the namespace is the policy's.
impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
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
