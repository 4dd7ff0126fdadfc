//! The replicas of the answering agent's own node.
//!
//! Comes in: what it last measured. Goes out: one message for each replica, and whom to
//! ask about the other nodes. Never speaks for another node.

use starling_engine::demand::pods::Phase;
use starling_engine::unit::NodeId;
use starling_proto::{v1, view};

use super::Sight;
use super::policy::wanted;
use crate::view::Replica;

/// A node whose agent can be asked about its replicas.
#[derive(Debug, Clone)]
pub struct Askable {
    pub id: NodeId,
    pub name: String,
    pub api_address: String,
    pub alive: bool,
}

/// What a page token remembers. No part of a name holds this sign.
const SEPARATOR: &str = "|";

/// What tells a replica apart on its node, and by what replicas are in order.
pub fn key(of: &v1::Replica) -> String {
    let target = of.target.clone().unwrap_or_default();
    let parts = [
        &of.namespace,
        &of.name,
        &target.group,
        &target.kind,
        &target.name,
    ];
    parts.map(String::as_str).join(SEPARATOR)
}

impl Sight<'_> {
    /// By [`key`], beyond `after`.
    pub fn replicas(&self, after: Option<&str>, namespace: &str) -> Vec<(String, v1::Replica)> {
        let all = self.snapshot.replicas.iter();
        let asked = all.filter(|it| wanted(namespace, &it.target.namespace));
        let shown = asked.map(|it| self.replica(it));
        let keyed = shown.map(|it| (key(&it), it));
        let mut beyond: Vec<_> = keyed
            .filter(|(key, _)| after.is_none_or(|after| key.as_str() > after))
            .collect();
        beyond.sort_by(|(a, _), (b, _)| a.cmp(b));
        beyond
    }

    fn replica(&self, of: &Replica) -> v1::Replica {
        let phase = match of.phase {
            Phase::Pending => v1::ReplicaPhase::Pending,
            Phase::Running => v1::ReplicaPhase::Running,
            Phase::Failed => v1::ReplicaPhase::Failed,
            Phase::Succeeded => v1::ReplicaPhase::Succeeded,
        };
        v1::Replica {
            namespace: of.target.namespace.clone(),
            name: of.name.clone(),
            node_id: self.me.0,
            node_name: self.name(self.me),
            target: Some(view::target(&of.target)),
            phase: phase.into(),
            ready: of.ready,
            start_time: of.started_at.map(view::time),
            usage: view::workload::replica(of.used.iter().copied()),
            sample_age: of.read_at.map(|at| view::duration(self.now.since(at))),
        }
    }

    /// All members, by id.
    pub fn askable(&self) -> Vec<Askable> {
        let members = self.ledger.members.iter();
        let askable = members.map(|(id, admitted)| Askable {
            id: *id,
            name: admitted.member.name.clone(),
            api_address: admitted.member.api_address.clone(),
            alive: self.alive(*id),
        });
        askable.collect()
    }
}
