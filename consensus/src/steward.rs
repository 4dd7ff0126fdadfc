//! The leader's upkeep of the log's membership.
//!
//! Looks at the whole state (ledger, membership, who is reachable), takes one
//! step towards what it should be, and looks again: members of the ledger are
//! in the membership, under their present addresses, and as many of them vote
//! as a cluster of that size should have. One change at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use openraft::ChangeMembers;
use starling_engine::ledger::{Admitted, Command, FOUNDER, Member};
use starling_engine::unit::NodeId;

use crate::core::{Core, Membership};
use crate::store::keys::Identity;
use crate::types::{Metrics, Peer};

/// The founder has its id before there is a log that could give it one: 1, the
/// index of the command that founds the cluster. The ledger gives the same id
/// to the admission with [`FOUNDER`] as its nonce.
pub const FOUNDER_ID: u64 = 1;
/// A cluster's first generation.
pub const FIRST_GENERATION: u64 = 1;

const LOOK: Duration = Duration::from_millis(500);
/// After a failed step.
const PAUSE: Duration = Duration::from_millis(200);
const STEP_DEADLINE: Duration = Duration::from_secs(10);
/// A learner that lags no more entries than this is caught up.
const LAG_MAX: u64 = 64;
/// A learner that has not answered for so long isn't made a voter.
const SILENCE_MAX: Duration = Duration::from_secs(1);

#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// A change that an earlier leader left half-done.
    Settle(BTreeSet<u64>),
    Found,
    AdmitFounder,
    AddLearner(u64, Peer),
    Readdress(u64, Peer),
    /// Votes, but is no member any more: another agent has its name.
    Demote(u64),
    Remove(u64),
    Promote(BTreeSet<u64>),
}

/// As the log tells it.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |ids: &BTreeSet<u64>| {
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            ids.join(", ")
        };
        match self {
            Step::Settle(voters) => write!(f, "settling that {} vote", list(voters)),
            Step::Found => write!(f, "founding the cluster"),
            Step::AdmitFounder => write!(f, "admitting this agent, which founds the cluster"),
            Step::AddLearner(id, peer) => {
                let Peer { name, address } = peer;
                write!(f, "adding member {id}, {name} at {address}, to the log")
            }
            Step::Readdress(id, peer) => {
                write!(f, "calling member {id}, {}, at {}", peer.name, peer.address)
            }
            Step::Demote(id) => write!(f, "taking member {id}'s vote: another has its name"),
            Step::Remove(id) => write!(f, "removing member {id}: another has its name"),
            Step::Promote(ids) => write!(f, "giving members {} a vote", list(ids)),
        }
    }
}

/// What a step is chosen from.
struct View<'a> {
    own: &'a Identity,
    founded: bool,
    admitted: &'a BTreeMap<NodeId, Admitted>,
    configs: &'a [BTreeSet<u64>],
    nodes: BTreeMap<u64, Peer>,
    /// Learners that could vote at once.
    ready: BTreeSet<u64>,
}

/// How many of `members` should vote: odd numbers, because an even one
/// tolerates no more failures than the odd one below it.
fn voters_wanted(members: usize) -> usize {
    match members {
        0..=2 => 1,
        3..=6 => 3,
        _ => 5,
    }
}

fn next_step(view: &View) -> Option<Step> {
    let voters = match view.configs {
        [voters] => voters,
        [.., newest] => return Some(Step::Settle(newest.clone())),
        [] => return None,
    };
    if !view.founded {
        return (view.own.id == FOUNDER_ID).then_some(Step::Found);
    }
    if view.admitted.is_empty() {
        return (view.own.id == FOUNDER_ID).then_some(Step::AdmitFounder);
    }
    for (NodeId(id), admitted) in view.admitted {
        let peer = peer(&admitted.member);
        match view.nodes.get(id) {
            None => return Some(Step::AddLearner(*id, peer)),
            Some(known) if *known != peer => return Some(Step::Readdress(*id, peer)),
            Some(_) => {}
        }
    }
    for id in view.nodes.keys() {
        if !view.admitted.contains_key(&NodeId(*id)) && *id != view.own.id {
            return Some(if voters.contains(id) {
                Step::Demote(*id)
            } else {
                Step::Remove(*id)
            });
        }
    }
    let wanted = voters_wanted(view.nodes.len());
    let missing = wanted.saturating_sub(voters.len());
    // All at once or none: two voters would be worse than one.
    let chosen: BTreeSet<u64> = view.ready.iter().copied().take(missing).collect();
    (missing > 0 && chosen.len() == missing).then_some(Step::Promote(chosen))
}

pub fn peer(member: &Member) -> Peer {
    Peer {
        name: member.name.clone(),
        address: member.peer_address.clone(),
    }
}

/// Runs as long as the agent does; idle where it doesn't lead.
pub async fn run(core: Arc<Core>) {
    let mut leadership = core.leadership.clone();
    let mut applied = core.applied.clone();
    loop {
        let acting = leadership.borrow_and_update().acting;
        let failed = match (acting, core.member.get()) {
            (true, Some(membership)) => match choose(&core, membership) {
                Some(step) => !take(&core, membership, step).await,
                None => false,
            },
            _ => false,
        };
        if failed {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        tokio::select! {
            changed = leadership.changed() => if changed.is_err() { return },
            changed = applied.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

fn choose(core: &Core, membership: &Membership) -> Option<Step> {
    let metrics = membership.metrics();
    let ledger = core.ledger.read().unwrap_or_else(PoisonError::into_inner);
    let known = metrics.membership_config.membership();
    next_step(&View {
        own: &membership.own,
        founded: !ledger.cluster.is_empty(),
        admitted: &ledger.members,
        configs: known.get_joint_config(),
        nodes: known
            .nodes()
            .map(|(id, peer)| (*id, peer.clone()))
            .collect(),
        ready: known
            .learner_ids()
            .filter(|id| ready(core, &metrics, *id))
            .collect(),
    })
}

fn ready(core: &Core, metrics: &Metrics, id: u64) -> bool {
    let matched = metrics
        .replication
        .as_ref()
        .and_then(|all| all.get(&id).copied())
        .flatten()
        .map(|matched| matched.index);
    let caught_up = matched
        .is_some_and(|matched| matched + LAG_MAX >= metrics.last_log_index.unwrap_or(u64::MAX));
    let answers = core
        .acks
        .last(metrics.current_term, id)
        .is_some_and(|last| Instant::now().saturating_duration_since(last) < SILENCE_MAX);
    caught_up && answers
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
        Step::Settle(voters) => ChangeMembers::ReplaceAllVoters(voters.clone()),
        Step::AddLearner(id, peer) => {
            ChangeMembers::AddNodes(BTreeMap::from([(*id, peer.clone())]))
        }
        // Not able to split the log: each call names the agent that it is for.
        Step::Readdress(id, peer) => ChangeMembers::SetNodes(BTreeMap::from([(*id, peer.clone())])),
        Step::Demote(id) => ChangeMembers::RemoveVoters(BTreeSet::from([*id])),
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

    fn member(id: u64) -> Admitted {
        Admitted {
            nonce: format!("n{id}"),
            member: Member {
                name: format!("agent-{id}"),
                peer_address: format!("host-{id}:1"),
                ..Member::default()
            },
        }
    }

    struct Scenario {
        admitted: Vec<u64>,
        voters: Vec<u64>,
        learners: Vec<u64>,
        ready: Vec<u64>,
    }

    fn check(scenario: &Scenario, expected: Option<&Step>) {
        let admitted = scenario
            .admitted
            .iter()
            .map(|id| (NodeId(*id), member(*id)))
            .collect();
        let nodes = scenario
            .voters
            .iter()
            .chain(&scenario.learners)
            .map(|id| (*id, peer(&member(*id).member)))
            .collect();
        let view = View {
            own: &Identity {
                cluster: "c".into(),
                generation: 1,
                id: 1,
                founder: true,
            },
            founded: true,
            admitted: &admitted,
            configs: &[scenario.voters.iter().copied().collect()],
            nodes,
            ready: scenario.ready.iter().copied().collect(),
        };
        assert_eq!(next_step(&view).as_ref(), expected);
    }

    #[test]
    fn voters_grow_from_one_to_three_to_five_in_single_changes() {
        let scenario = |members: u64, voters: u64, ready: &[u64]| Scenario {
            admitted: (1..=members).collect(),
            voters: (1..=voters).collect(),
            learners: (voters + 1..=members).collect(),
            ready: ready.to_vec(),
        };
        check(&scenario(1, 1, &[]), None);
        check(&scenario(2, 1, &[2]), None);
        check(&scenario(3, 1, &[2]), None);
        check(
            &scenario(3, 1, &[2, 3]),
            Some(&Step::Promote(BTreeSet::from([2, 3]))),
        );
        check(&scenario(6, 3, &[4, 5, 6]), None);
        check(
            &scenario(7, 3, &[4, 6, 7]),
            Some(&Step::Promote(BTreeSet::from([4, 6]))),
        );
        check(&scenario(9, 5, &[6, 7, 8, 9]), None);
    }

    #[test]
    fn the_membership_follows_the_ledger_one_step_at_a_time() {
        let scenario = |admitted: &[u64], voters: &[u64], learners: &[u64]| Scenario {
            admitted: admitted.to_vec(),
            voters: voters.to_vec(),
            learners: learners.to_vec(),
            ready: vec![],
        };
        check(&scenario(&[], &[1], &[]), Some(&Step::AdmitFounder));
        check(
            &scenario(&[1, 3, 4], &[1], &[]),
            Some(&Step::AddLearner(3, peer(&member(3).member))),
        );
        check(&scenario(&[1, 3], &[1], &[3, 4]), Some(&Step::Remove(4)));
        check(
            &scenario(&[1, 3, 5], &[1, 3, 4], &[5]),
            Some(&Step::Demote(4)),
        );
    }

    #[test]
    fn a_half_done_change_is_settled_before_anything_else() {
        let nodes = BTreeMap::new();
        let admitted = BTreeMap::new();
        let view = View {
            own: &Identity {
                cluster: "c".into(),
                generation: 1,
                id: 1,
                founder: true,
            },
            founded: false,
            admitted: &admitted,
            configs: &[BTreeSet::from([1]), BTreeSet::from([1, 2, 3])],
            nodes,
            ready: BTreeSet::new(),
        };
        assert_eq!(
            next_step(&view),
            Some(Step::Settle(BTreeSet::from([1, 2, 3])))
        );
    }
}
