//! Whether a new agent may have the name that it asks for.
//!
//! An agent that lost its disk comes back under its name, and its former id is
//! dropped. Two agents that were given the same name by mistake must not drop
//! each other: as long as the first one answers, the second one is refused.

use std::sync::PoisonError;
use std::time::Duration;

use starling_engine::ledger::Member;
use starling_engine::unit::NodeId;
use starling_proto::raft::IdentifyReply;

use crate::core::{Core, Membership};
use crate::join::identify;

/// An agent is gone once it hasn't answered so often: one that is held up for a moment, by a
/// busy machine or a slow disk, must not lose its place to a copy of itself.
/// In all that takes half of what the agent that asks waits for.
const TRIES: u32 = 3;
const EACH: Duration = Duration::from_millis(800);
const BETWEEN: Duration = Duration::from_millis(300);

/// Refuses where a member of this name was admitted with another nonce and is
/// there; the words are for whoever started the second one.
pub async fn check(
    core: &Core,
    membership: &Membership,
    nonce: &str,
    member: &Member,
) -> Result<(), String> {
    let Some((id, address)) = namesake(core, nonce, &member.name) else {
        return Ok(());
    };
    let address = core.peers.book.find(id.0, &address);
    let there = id.0 == membership.own.id || {
        let ours = [membership.own.cluster_id.as_str(), ""];
        // Whoever asks may be the one that answers there: it has no id. Elsewhere one
        // without an id may have been admitted a moment ago.
        let ids: &[u64] = if address == member.peer_address {
            &[id.0]
        } else {
            &[id.0, 0]
        };
        answer(core, &address).await.is_some_and(|answer| {
            answer.cluster == core.config.cluster
                && ours.contains(&answer.cluster_id.as_str())
                && ids.contains(&answer.id)
        })
    };
    if !there {
        return Ok(());
    }
    let why = format!(
        "an agent called {} belongs to the cluster already, and answers at {address}: give this \
         one a name and keys of its own, or stop the other one",
        member.name
    );
    tracing::error!("another machine asks to be let in, with the same name and keys: {why}");
    Err(why)
}

async fn answer(core: &Core, address: &str) -> Option<IdentifyReply> {
    let mut tries = 1;
    loop {
        let answer = tokio::time::timeout(EACH, identify(core, address)).await;
        if let Ok(Ok(answer)) = answer {
            return Some(answer);
        }
        if tries == TRIES {
            return None;
        }
        tries += 1;
        tokio::time::sleep(BETWEEN).await;
    }
}

fn namesake(core: &Core, nonce: &str, name: &str) -> Option<(NodeId, String)> {
    let ledger = core.ledger.read().unwrap_or_else(PoisonError::into_inner);
    ledger
        .members
        .iter()
        .find(|(_, admitted)| admitted.member.name == name && admitted.nonce != nonce)
        .map(|(id, admitted)| (*id, admitted.member.peer_address.clone()))
}
