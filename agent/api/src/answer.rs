//! Answers, computed from one moment's state.
//!
//! Comes in: the ledger, who leads, and the loop's last snapshot. Goes out:
//! messages of the API. Never waits and never reads a clock.

mod cluster;
mod explain;
mod policy;
mod replica;
mod state;
mod workload;

pub use policy::{Filter, named};
pub use replica::{Askable, key};

use starling_consensus::{Backing, Leadership};
use starling_engine::ledger::Ledger;
use starling_engine::unit::{Ms, NodeId};
use starling_proto::{v1, view};

use crate::view::Snapshot;

/// All that an answer depends on.
#[derive(Clone, Copy)]
pub struct Sight<'a> {
    /// The answering agent.
    pub me: NodeId,
    /// Its clock.
    pub now: Ms,
    pub ledger: &'a Ledger,
    pub leadership: &'a Leadership,
    /// Whether a leader stands behind all this.
    pub backing: Backing,
    /// No more vote, however many members there are.
    pub voters_max: usize,
    pub snapshot: &'a Snapshot,
}

impl Sight<'_> {
    pub fn header(&self, consistency: v1::Consistency) -> v1::ReplyHeader {
        v1::ReplyHeader {
            node_id: self.me.0,
            node_name: self.name(self.me),
            cluster: self.ledger.cluster.clone(),
            generation: self.ledger.generation,
            applied_index: self.ledger.index,
            applied_time: Some(view::time(self.ledger.time)),
            term: self.leadership.term,
            leader_id: self.leadership.leader.map(|id| id.0),
            leader_name: self.leader_name(),
            leading: self.leadership.acting,
            data_age: Some(view::duration(self.now.since(self.snapshot.at))),
            consistency: consistency.into(),
            answer_time: Some(view::time(self.now)),
            led: Some(self.backing.led),
            led_age: (self.backing.age)
                .map(|age| view::duration(u64::try_from(age.as_millis()).unwrap_or(u64::MAX))),
        }
    }

    fn leader_name(&self) -> String {
        self.leadership
            .leader
            .map_or_else(String::new, |id| self.name(id))
    }

    /// Empty where the node isn't a member: it has never been, or this agent
    /// hasn't applied its admission yet.
    fn name(&self, id: NodeId) -> String {
        self.ledger
            .members
            .get(&id)
            .map_or_else(String::new, |m| m.member.name.clone())
    }

    /// Whether gossip believes that a node is alive; whoever asks itself is.
    fn alive(&self, id: NodeId) -> bool {
        id == self.me || self.snapshot.alive.contains(&id)
    }
}

#[cfg(test)]
mod tests;
