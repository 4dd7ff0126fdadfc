//! Whether a caller is the agent that it says it is.
//!
//! A certificate names a node, the membership and the ledger say which id that
//! name has. An id that isn't known here may be younger than this agent's log;
//! then others are asked, so that nobody is deposed by who holds a member's key.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use starling_engine::unit::NodeId;
use tonic::Status;

use super::identity::Caller;
use crate::core::Core;
use crate::join::identify;
use crate::types::Metrics;

/// An agent that has heard no leader for so many election timeouts gives its vote
/// to one that it doesn't know: those who do may all be gone.
const TIMEOUTS: u32 = 10;
/// So many others are asked about an unknown leader.
const ASKED_MAX: usize = 8;
/// At the bound all are forgotten, and asked about again.
const VOUCHED_MAX: usize = 16;

/// What a caller of an unknown id wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// To be elected.
    Vote,
    /// To add to this agent's log.
    Lead,
    Other,
}

/// Ids that a known member has called the leader.
#[derive(Default)]
pub struct Vouched {
    ids: Mutex<BTreeSet<u64>>,
}

impl Vouched {
    fn has(&self, id: u64) -> bool {
        let ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.contains(&id)
    }

    fn add(&self, id: u64) {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if ids.len() >= VOUCHED_MAX {
            ids.clear();
        }
        ids.insert(id);
    }
}

/// Refuses a caller that says it is agent `id` where that is another's.
pub async fn check(core: &Core, caller: &Caller, id: u64, wish: Wish) -> Result<(), Status> {
    match name_of(core, id) {
        Some(name) if caller.is_called(&name) => Ok(()),
        Some(name) => Err(refusal(
            id,
            &format!(
                "which is called {name}, and its certificate is for another: give each agent keys \
                 and a data directory of its own"
            ),
        )),
        None if believed(core, caller, id, wish).await => Ok(()),
        None => Err(refusal(id, "which is no member of the cluster")),
    }
}

fn refusal(id: u64, what: &str) -> Status {
    Status::permission_denied(format!("the caller says that it is agent {id}, {what}"))
}

fn name_of(core: &Core, id: u64) -> Option<String> {
    // Asked at each append: borrowed, not copied.
    let metrics = core.member.get()?.raft.metrics();
    let name = |metrics: &Metrics| {
        let known = metrics.membership_config.membership();
        known.get_node(&id).map(|peer| peer.name.clone())
    };
    let known = name(&metrics.borrow());
    if known.is_some() {
        return known;
    }
    let ledger = core.ledger.read().unwrap_or_else(PoisonError::into_inner);
    let admitted = ledger.members.get(&NodeId(id))?;
    Some(admitted.member.name.clone())
}

async fn believed(core: &Core, caller: &Caller, id: u64, wish: Wish) -> bool {
    let Some(membership) = core.member.get() else {
        return false;
    };
    let metrics = membership.metrics();
    // A new agent knows nobody, and has nothing to lose.
    let known = metrics.membership_config.membership();
    if known.nodes().all(|(known, _)| *known == membership.own.id) && !membership.leads() {
        return !membership.own.founder;
    }
    match wish {
        Wish::Other => false,
        Wish::Vote => {
            let timeout = Duration::from_millis(core.config.timing.election_max_ms) * TIMEOUTS;
            let silence = core.tally.silence(Instant::now());
            !membership.leads() && silence.is_none_or(|silence| silence > timeout)
        }
        Wish::Lead => {
            metrics.vote.leader_id().voted_for() == Some(id)
                || core.vouched.has(id)
                || vouch(core, caller, id).await
        }
    }
}

/// Whether a member that this agent knows says that `id` leads. The caller may
/// hold the key of one of them, whose word doesn't count.
async fn vouch(core: &Core, caller: &Caller, id: u64) -> bool {
    let Some(membership) = core.member.get() else {
        return false;
    };
    let metrics = membership.metrics();
    let known = metrics.membership_config.membership();
    let others = known
        .nodes()
        .filter(|(other, peer)| **other != membership.own.id && !caller.is_called(&peer.name))
        .take(ASKED_MAX);
    for (other, peer) in others {
        let address = core.peers.book.find(*other, &peer.address);
        let Ok(answer) = identify(core, &address).await else {
            continue;
        };
        if answer.cluster_id == membership.own.cluster_id
            && answer.id == *other
            && answer.leader.is_some_and(|leader| leader.id == id)
        {
            core.vouched.add(id);
            return true;
        }
    }
    false
}
