//! How an agent learns that it is no member any more, or that its cluster goes on
//! without its log.
//!
//! Whoever is removed from the cluster is sent nothing from then on, and nobody takes
//! its votes, so it would wait for a leader for ever. While it hears of none it asks
//! the members that it knows. One that has applied both its admission and its removal
//! says so: then the log is given up, and the next start joins as a new member.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use starling_engine::unit::NodeId;

use crate::beat::beat;
use crate::core::{Core, Membership};
use crate::join::identify;
use crate::meet::{Other, meet};
use crate::recall::{self, Told};
use crate::store::open::Doubt;
use crate::types::Peer;

/// An agent that has heard no leader for so long asks.
const SILENCE: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// So many are asked in a round, the next ones in the next round.
const ASKED_MAX: usize = 8;

pub fn words(by: u64) -> String {
    format!("agent {by} says that this one was removed from the cluster, or another has its name")
}

/// Whether `id` was a member once and is none any more, as far as what is committed
/// here says. An id is the index of its admission, so a ledger that is further knows.
pub fn is_removed(core: &Core, id: u64) -> bool {
    let Some(membership) = core.member.get() else {
        return false;
    };
    let takes_part = {
        let metrics = membership.raft.metrics();
        let metrics = metrics.borrow();
        let known = metrics.membership_config.membership();
        known.get_node(&id).is_some()
    };
    let ledger = core.ledger.read().unwrap_or_else(PoisonError::into_inner);
    !takes_part
        && id != 0
        && ledger.index >= id
        && !ledger.members.is_empty()
        && !ledger.members.contains_key(&NodeId(id))
}

/// Runs until this agent is told that it was removed, and then tells why it must end.
pub async fn run(core: Arc<Core>, doubt: Doubt) {
    let Some(membership) = core.member.get() else {
        return;
    };
    let begin = Instant::now();
    let mut pause = LOOK;
    let mut from = 0;
    let mut later = core.later.subscribe();
    loop {
        let told = tokio::select! {
            told = later.wait_for(Option::is_some) => told.ok().and_then(|told| told.clone()),
            () = beat(pause) => None,
        };
        if let Some(why) = told {
            come_over(&core, &doubt, &why).await;
            std::future::pending::<()>().await;
        }
        let now = Instant::now();
        let silence = core.tally.silence(now);
        let silence = silence.unwrap_or(now.saturating_duration_since(begin));
        // A leader that no majority answers is told nothing either.
        let (leads, acting) = (membership.leads(), core.leadership.borrow().acting);
        if acting || (!leads && silence < SILENCE) {
            pause = LOOK;
            continue;
        }
        let others = others(membership);
        for (id, peer) in others
            .iter()
            .cycle()
            .skip(from)
            .take(ASKED_MAX.min(others.len()))
        {
            look_for_later(&core, *id, peer).await;
            if leads {
                continue;
            }
            let asked = recall::question(&core, &membership.own, *id, peer);
            if let (by, Ok(Told::Removed)) = asked.await {
                give_up(&core, &doubt, &words(by)).await;
                std::future::pending::<()>().await;
            }
        }
        from = (from + ASKED_MAX) % others.len().max(1);
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Where this agent hears of no leader, no majority could have gone on with its log.
async fn look_for_later(core: &Core, id: u64, peer: &Peer) {
    let address = core.peers.book.find(id, &peer.address);
    if let Ok(answer) = identify(core, &address).await
        && answer.id != 0
    {
        meet(
            core,
            &Other {
                name: &answer.name,
                place: &address,
                cluster: &answer.cluster,
                cluster_id: &answer.cluster_id,
                generation: answer.generation,
                members: answer.members,
            },
        );
    }
}

async fn come_over(core: &Core, doubt: &Doubt, why: &str) {
    if let Err(error) = doubt.note_rebuilt(why).await {
        tracing::error!(%error, "{why}; that can't be noted in the data directory");
    }
    core.stop(format!(
        "{why}; start this agent again: it joins that one and takes the log from there"
    ));
}

fn others(membership: &Membership) -> Vec<(u64, Peer)> {
    let metrics = membership.metrics();
    let known = metrics.membership_config.membership();
    let others = known.nodes().filter(|(id, _)| **id != membership.own.id);
    others.map(|(id, peer)| (*id, peer.clone())).collect()
}

async fn give_up(core: &Core, doubt: &Doubt, why: &str) {
    if let Err(error) = doubt.note(why).await {
        tracing::error!(%error, "{why}; that can't be noted in the data directory");
    }
    core.failed.tell(recall::farewell(why));
}
