//! The leader's upkeep of the log's membership.
//!
//! Looks at the whole state (ledger, membership, who answers), takes one step towards
//! what it should be ([`choose`]), and looks again: members of the ledger are in the
//! membership, under their present addresses, as many of them vote as a cluster of
//! that size should have, and who has been away for long enough is forgotten.

mod choose;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use openraft::ChangeMembers;
use starling_engine::ledger::rebuilt::Rebuilt;
use starling_engine::ledger::{Command, FOUNDER};
use starling_engine::unit::NodeId;

use crate::beat::beat;
use crate::core::{Core, Membership};
use crate::hand_over;
use crate::types::Metrics;

use choose::{DEAD_AFTER, Step, View, next_step};
pub use choose::{FOUNDER_ID, peer, voters_wanted};

/// A cluster's first generation.
pub const FIRST_GENERATION: u64 = 1;

/// Who stands in for a dead voter has answered for so long without a gap.
const STEADY_AFTER: Duration = Duration::from_secs(10);
/// A member that was away before this agent came to lead has so long to come back,
/// or as long as members are remembered, whichever is less.
const LOST_AFTER: Duration = Duration::from_mins(5);
const LOOK: Duration = Duration::from_millis(500);
/// After a failed step.
const PAUSE: Duration = Duration::from_millis(200);
const STEP_DEADLINE: Duration = Duration::from_secs(10);
/// A learner that lags no more entries than this is caught up.
const LAG_MAX: u64 = 64;
/// A learner that has not answered for so long isn't made a voter.
const SILENCE_MAX: Duration = Duration::from_secs(1);

/// Runs as long as the agent does; idle where it doesn't lead.
pub async fn run(core: Arc<Core>) {
    let mut leadership = core.leadership.clone();
    let mut applied = core.applied.clone();
    let mut seen = Seen::default();
    loop {
        let acting = leadership.borrow_and_update().acting;
        let mut failed = false;
        if let (true, Some(membership)) = (acting, core.member.get()) {
            if let Some(step) = choose(&core, membership, &mut seen) {
                failed = !take(&core, membership, step).await;
            }
        } else {
            seen = Seen::default();
        }
        if failed {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        tokio::select! {
            changed = leadership.changed() => if changed.is_err() { return },
            changed = applied.changed() => if changed.is_err() { return },
            () = beat(LOOK) => {}
        }
    }
}

/// What a leader has seen since it leads.
#[derive(Default)]
struct Seen {
    /// Since when each learner could vote at once, without a gap.
    ready: BTreeMap<u64, Instant>,
    /// Since when each member is in the log's membership: nobody is silent before.
    known: BTreeMap<u64, Instant>,
}

impl Seen {
    /// Those that have been ready for long enough by `now`.
    fn steady(&mut self, ready: &BTreeSet<u64>, now: Instant) -> BTreeSet<u64> {
        since(&mut self.ready, ready, now);
        let long = |since: &Instant| now.saturating_duration_since(*since) >= STEADY_AFTER;
        let steady = self.ready.iter().filter(|(_, since)| long(since));
        steady.map(|(id, _)| *id).collect()
    }
}

fn since(times: &mut BTreeMap<u64, Instant>, ids: &BTreeSet<u64>, now: Instant) {
    times.retain(|id, _| ids.contains(id));
    for id in ids {
        times.entry(*id).or_insert(now);
    }
}

fn choose(core: &Core, membership: &Membership, seen: &mut Seen) -> Option<Step> {
    let metrics = membership.metrics();
    let ledger = core.ledger.read().unwrap_or_else(PoisonError::into_inner);
    let known = metrics.membership_config.membership();
    let now = Instant::now();
    let nodes: BTreeSet<u64> = known.nodes().map(|(id, _)| *id).collect();
    since(&mut seen.known, &nodes, now);
    let silence = |id: u64| {
        let answered = core.acks.last(metrics.current_term, id);
        let since = answered
            .max(core.tally.led_since(metrics.current_term))
            .max(seen.known.get(&id).copied());
        since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    };
    let silent = |at_least: Duration| -> BTreeSet<u64> {
        let others = nodes.iter().copied().filter(|id| *id != metrics.id);
        others.filter(|id| silence(*id) >= at_least).collect()
    };
    let answers = |id: &u64| {
        let last = core.acks.last(metrics.current_term, *id);
        *id == metrics.id
            || last.is_some_and(|last| now.saturating_duration_since(last) < SILENCE_MAX)
    };
    let answering: BTreeSet<u64> = nodes.iter().filter(|id| answers(id)).copied().collect();
    let ready: BTreeSet<u64> = known
        .learner_ids()
        .filter(|id| answering.contains(id) && caught_up(&metrics, *id))
        .collect();
    let upkeep = core.config.upkeep;
    let (dead, lost) = (
        silent(DEAD_AFTER),
        silent(upkeep.forget_after.min(LOST_AFTER).max(DEAD_AFTER)),
    );
    next_step(&View {
        own: membership.own.id,
        founded: !ledger.cluster.is_empty(),
        halted: ledger.halted.is_some(),
        rebuilt: ledger.rebuilt == Some(Rebuilt::Begins),
        admitted: &ledger.members,
        configs: known.get_joint_config(),
        nodes: known
            .nodes()
            .map(|(id, peer)| (*id, peer.clone()))
            .collect(),
        steady: seen.steady(&ready, now),
        ready,
        answering,
        dead,
        lost,
        now: core.clock.now(),
        voters_max: upkeep.voters_max,
        forget_after_ms: u64::try_from(upkeep.forget_after.as_millis()).unwrap_or(u64::MAX),
    })
}

fn caught_up(metrics: &Metrics, id: u64) -> bool {
    let matched = metrics
        .replication
        .as_ref()
        .and_then(|all| all.get(&id).copied())
        .flatten()
        .map(|matched| matched.index);
    matched.is_some_and(|matched| matched + LAG_MAX >= metrics.last_log_index.unwrap_or(u64::MAX))
}

/// Whether the step was taken.
async fn take(core: &Core, membership: &Membership, step: Step) -> bool {
    tracing::info!("{step}");
    let taken = tokio::time::timeout(STEP_DEADLINE, attempt(core, membership, &step)).await;
    match taken {
        Ok(Ok(())) => true,
        Ok(Err(why)) => {
            tracing::warn!(%why, "not done, and tried again: {step}");
            false
        }
        Err(_) => {
            tracing::warn!("not done in time, and tried again: {step}");
            false
        }
    }
}

async fn attempt(core: &Core, membership: &Membership, step: &Step) -> Result<(), String> {
    let change = match step {
        Step::Found => {
            let found = Command::Found {
                cluster: membership.own.cluster.clone(),
                generation: membership.own.generation,
                authority: core.config.authority.clone(),
            };
            return propose(core, found).await;
        }
        Step::AdmitFounder => {
            let admit = Command::Admit {
                nonce: FOUNDER.into(),
                member: core.config.member.clone(),
            };
            return propose(core, admit).await;
        }
        Step::Away(id, away) => {
            let (node, away) = (NodeId(*id), *away);
            return propose(core, Command::Away { node, away }).await;
        }
        Step::LookAround => return propose(core, Command::LookAround).await,
        Step::Forget(id, _) => return propose(core, Command::Remove { node: NodeId(*id) }).await,
        Step::HandOver => {
            let given = hand_over::hand_over(core, membership).await;
            return given.map(|_| ()).map_err(|kept| kept.to_string());
        }
        Step::Settle(voters) => ChangeMembers::ReplaceAllVoters(voters.clone()),
        Step::AddLearner(id, peer) => {
            ChangeMembers::AddNodes(BTreeMap::from([(*id, peer.clone())]))
        }
        // Not able to split the log: each call names the agent that it is for.
        Step::Readdress(id, peer) => ChangeMembers::SetNodes(BTreeMap::from([(*id, peer.clone())])),
        Step::Demote(id) | Step::Replace(id) | Step::Dismiss(id) => {
            ChangeMembers::RemoveVoters(BTreeSet::from([*id]))
        }
        Step::Remove(id) => ChangeMembers::RemoveNodes(BTreeSet::from([*id])),
        Step::Promote(ids) => ChangeMembers::AddVoterIds(ids.clone()),
    };
    // Voters that stop voting stay as learners; removing is a step of its own.
    membership
        .raft
        .change_membership(change, true)
        .await
        .map(|_| ())
        .map_err(|e| e.to_string())
}

async fn propose(core: &Core, command: Command) -> Result<(), String> {
    let outcome = core
        .propose_here(command)
        .await
        .map_err(|e| e.to_string())?;
    match outcome.refused.first() {
        None => Ok(()),
        Some(refusal) => Err(refusal.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_learner_is_steady_once_it_was_ready_for_a_while_without_a_gap() {
        let mut seen = Seen::default();
        let begin = Instant::now();
        let both = BTreeSet::from([4, 5]);
        assert!(seen.steady(&both, begin).is_empty());
        let gap = seen.steady(&BTreeSet::from([4]), begin + STEADY_AFTER / 2);
        assert!(gap.is_empty());
        assert_eq!(
            seen.steady(&both, begin + STEADY_AFTER),
            BTreeSet::from([4])
        );
        assert_eq!(seen.steady(&both, begin + STEADY_AFTER * 2), both);
    }
}
