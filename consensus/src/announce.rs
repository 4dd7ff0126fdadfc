//! Tells the others where this agent listens now, where they know otherwise.
//!
//! After a restart at another address nobody can reach it, and it hears of no
//! leader; so it tells all the agents that it has ever known, and the seeds,
//! until its own ledger shows the new address.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use starling_engine::ledger::{Command, Member};
use starling_engine::unit::NodeId;
use starling_proto::raft::ReaddressRequest;

use crate::core::{Core, Membership};
use crate::join::wire_member;
use crate::net::client::Lane;

/// An agent that has just been let in learns of it in this time.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(8);
const CALL_DEADLINE: Duration = Duration::from_secs(2);
/// So many addresses are tried in a round; the rest has to wait for a leader.
const TARGETS_MAX: usize = 32;

/// Returns when the ledger knows this agent as it is configured now.
pub async fn run(core: Arc<Core>) {
    let Some(membership) = core.member.get() else {
        return;
    };
    let mut pause = PAUSE_FIRST;
    if shown(&core, membership).is_none() {
        tokio::time::sleep(pause).await;
    }
    loop {
        if shown(&core, membership).as_ref() == Some(&core.config.member) {
            return;
        }
        if membership.leads() {
            let readdress = Command::Readdress {
                node: NodeId(membership.own.id),
                member: core.config.member.clone(),
            };
            if let Err(error) = core.propose_here(readdress).await {
                tracing::debug!(%error, "the new address is not in the ledger yet");
            }
        }
        for address in targets(&core, membership) {
            if let Err(why) = announce(&core, membership, &address).await {
                tracing::debug!(address, why, "an agent doesn't take the new address");
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// This agent as its own ledger has it; that may be behind, or empty at first.
fn shown(core: &Core, membership: &Membership) -> Option<Member> {
    let ledger = core.ledger.read().unwrap_or_else(PoisonError::into_inner);
    let admitted = ledger.members.get(&NodeId(membership.own.id))?;
    Some(admitted.member.clone())
}

fn targets(core: &Core, membership: &Membership) -> BTreeSet<String> {
    let metrics = membership.metrics();
    let own = &core.config.member.peer_address;
    metrics
        .membership_config
        .membership()
        .nodes()
        .filter(|(id, _)| **id != membership.own.id)
        .map(|(id, peer)| core.peers.book.find(*id, &peer.address))
        .chain(core.config.seeds.now())
        .filter(|address| address != own)
        .take(TARGETS_MAX)
        .collect()
}

async fn announce(core: &Core, membership: &Membership, address: &str) -> Result<(), String> {
    let mut client = core
        .peers
        .client(address, Lane::Bulk)
        .map_err(|e| e.to_string())?;
    let request = ReaddressRequest {
        cluster: membership.own.cluster.clone(),
        generation: membership.own.generation,
        sender: membership.own.id,
        member: Some(wire_member(core)),
        cluster_id: membership.own.cluster_id.clone(),
    };
    match tokio::time::timeout(CALL_DEADLINE, client.readdress(request)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(status)) => Err(status.message().to_owned()),
        Err(_) => Err("no answer in time".into()),
    }
}
