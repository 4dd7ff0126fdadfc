//! How each member's copy of the log stands, as this agent knows it.
//!
//! Comes in: openraft's metrics. Goes out: a [`Holder`] for each member of the
//! membership. Only a leader knows how far the others are.

use std::collections::BTreeSet;

use starling_engine::unit::NodeId;

use crate::types::Metrics;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub id: NodeId,
    pub name: String,
    /// `host:port` of its peer listener.
    pub address: String,
    pub leads: bool,
    pub votes: bool,
    /// Log index up to which it is known to have all entries.
    pub index: Option<u64>,
}

/// By id.
pub fn of(metrics: &Metrics) -> Vec<Holder> {
    let membership = metrics.membership_config.membership();
    let voters: BTreeSet<u64> = membership.voter_ids().collect();
    let index = |id: u64| {
        if id == metrics.id {
            return metrics.last_log_index;
        }
        let replication = metrics.replication.as_ref()?;
        Some((*replication.get(&id)?)?.index)
    };
    let holders = membership.nodes().map(|(id, peer)| Holder {
        id: NodeId(*id),
        name: peer.name.clone(),
        address: peer.address.clone(),
        leads: metrics.current_leader == Some(*id),
        votes: voters.contains(id),
        index: index(*id),
    });
    holders.collect()
}
