//! The leader's upkeep of the log's membership.
//!
//! Looks at the whole state (ledger, membership, who is reachable), takes one
//! step towards what it should be, and looks again: members of the ledger are
//! in the membership, under their present addresses, and as many of them vote
//! as a cluster of that size should have. One change at a time. A voter that is
//! dead gives its vote to a member that is there, by the rules of Consul's
//! autopilot: it is taken out first, then another one comes in.

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

/// A voter that has not answered for so long is dead, if somebody can stand in.
const DEAD_AFTER: Duration = Duration::from_secs(10);
/// Who stands in for a dead voter has answered for so long without a gap.
const STEADY_AFTER: Duration = Duration::from_secs(10);
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
    /// Votes, but is no member any more: another agent has its name, or it was removed.
    Demote(u64),
    /// Votes and is dead, while another member could vote in its place.
    Replace(u64),
    /// Votes, and there are more voters than a cluster of this size should have.
    Dismiss(u64),
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
            Step::Demote(id) => write!(f, "taking member {id}'s vote: it is no member any more"),
            Step::Remove(id) => write!(
                f,
                "removing member {id} from the log: it is no member any more"
            ),
            Step::Replace(id) => write!(
                f,
                "taking member {id}'s vote: it has been silent for {} s",
                DEAD_AFTER.as_secs()
            ),
            Step::Dismiss(id) => write!(f, "taking member {id}'s vote: fewer are enough now"),
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
    /// Those of them that have been steady for a while.
    steady: BTreeSet<u64>,
    /// Members that have been silent for a while.
    dead: BTreeSet<u64>,
}

/// How many of `members` should vote: odd numbers, because an even one
/// tolerates no more failures than the odd one below it.
pub fn voters_wanted(members: usize) -> usize {
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
    if voters.len() > wanted {
        return surplus(view, voters).map(Step::Dismiss);
    }
    if let Some(dead) = replaceable(view, voters) {
        return Some(Step::Replace(dead));
    }
    // Growing from one is urgent; later a newcomer shows first that it stays.
    let candidates = if voters.len() == 1 {
        &view.ready
    } else {
        &view.steady
    };
    // All up to an odd number or none: two voters would be worse than one.
    let missing = wanted.saturating_sub(voters.len());
    let mut count = missing.min(candidates.len());
    if (voters.len() + count).is_multiple_of(2) {
        count = count.saturating_sub(1);
    }
    let chosen: BTreeSet<u64> = candidates.iter().copied().take(count).collect();
    (!chosen.is_empty()).then_some(Step::Promote(chosen))
}

/// Whose vote is one too many: a dead one's first, this agent's never.
fn surplus(view: &View, voters: &BTreeSet<u64>) -> Option<u64> {
    let dead = voters.intersection(&view.dead).last();
    let last = || voters.iter().rfind(|id| **id != view.own.id);
    dead.or_else(last).copied()
}

/// A dead voter, where the others are enough to go on without it and one can
/// stand in. An even number of voters means that one is being replaced already.
fn replaceable(view: &View, voters: &BTreeSet<u64>) -> Option<u64> {
    let dead: BTreeSet<u64> = voters.intersection(&view.dead).copied().collect();
    let living = voters.len() - dead.len();
    let left = voters.len().saturating_sub(1);
    let may = voters.len() % 2 == 1 && living > left / 2 && !view.steady.is_empty();
    dead.first().copied().filter(|_| may)
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
    let mut steady = Steady::default();
    loop {
        let acting = leadership.borrow_and_update().acting;
        let mut failed = false;
        if let (true, Some(membership)) = (acting, core.member.get()) {
            if let Some(step) = choose(&core, membership, &mut steady) {
                failed = !take(&core, membership, step).await;
            }
        } else {
            steady = Steady::default();
        }
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

/// Since when each learner could vote at once, without a gap.
#[derive(Default)]
struct Steady {
    since: BTreeMap<u64, Instant>,
}

impl Steady {
    /// Those that have been ready for long enough by `now`.
    fn look(&mut self, ready: &BTreeSet<u64>, now: Instant) -> BTreeSet<u64> {
        self.since.retain(|id, _| ready.contains(id));
        for id in ready {
            self.since.entry(*id).or_insert(now);
        }
        let long = |since: &Instant| now.saturating_duration_since(*since) >= STEADY_AFTER;
        let steady = self.since.iter().filter(|(_, since)| long(since));
        steady.map(|(id, _)| *id).collect()
    }
}

fn choose(core: &Core, membership: &Membership, steady: &mut Steady) -> Option<Step> {
    let metrics = membership.metrics();
    let ledger = core.ledger.read().unwrap_or_else(PoisonError::into_inner);
    let known = metrics.membership_config.membership();
    let now = Instant::now();
    let ready: BTreeSet<u64> = known
        .learner_ids()
        .filter(|id| ready(core, &metrics, *id, now))
        .collect();
    next_step(&View {
        own: &membership.own,
        founded: !ledger.cluster.is_empty(),
        admitted: &ledger.members,
        configs: known.get_joint_config(),
        nodes: known
            .nodes()
            .map(|(id, peer)| (*id, peer.clone()))
            .collect(),
        steady: steady.look(&ready, now),
        ready,
        dead: known
            .voter_ids()
            .filter(|id| dead(core, &metrics, *id, now))
            .collect(),
    })
}

/// A new leader waits for as long as if all had answered when it came to lead.
fn dead(core: &Core, metrics: &Metrics, id: u64, now: Instant) -> bool {
    let answered = core.acks.last(metrics.current_term, id);
    let since = answered.max(core.tally.led_since(metrics.current_term));
    let silence = since.map(|since| now.saturating_duration_since(since));
    id != metrics.id && silence.is_some_and(|silence| silence >= DEAD_AFTER)
}

fn ready(core: &Core, metrics: &Metrics, id: u64, now: Instant) -> bool {
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
        .is_some_and(|last| now.saturating_duration_since(last) < SILENCE_MAX);
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
        steady: Vec<u64>,
        dead: Vec<u64>,
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
                cluster_id: "1".into(),
                generation: 1,
                id: 1,
                founder: true,
            },
            founded: true,
            admitted: &admitted,
            configs: &[scenario.voters.iter().copied().collect()],
            nodes,
            ready: scenario.ready.iter().copied().collect(),
            steady: scenario.steady.iter().copied().collect(),
            dead: scenario.dead.iter().copied().collect(),
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
            steady: ready.to_vec(),
            dead: vec![],
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
        check(&scenario(7, 3, &[4]), None);
        check(
            &scenario(7, 4, &[6, 7]),
            Some(&Step::Promote(BTreeSet::from([6]))),
        );
        let young = Scenario {
            steady: vec![],
            ..scenario(7, 3, &[4, 5])
        };
        check(&young, None);
    }

    #[test]
    fn a_dead_voter_is_taken_out_before_another_comes_in_and_only_if_one_can() {
        let scenario = |voters: &[u64], learners: &[u64], steady: &[u64], dead: &[u64]| {
            let mut admitted: Vec<u64> = voters.iter().chain(learners).copied().collect();
            admitted.sort_unstable();
            Scenario {
                admitted,
                voters: voters.to_vec(),
                learners: learners.to_vec(),
                ready: steady.to_vec(),
                steady: steady.to_vec(),
                dead: dead.to_vec(),
            }
        };
        let replace = |id| Some(Step::Replace(id));
        let promote = |id| Some(Step::Promote(BTreeSet::from([id])));
        check(
            &scenario(&[1, 2, 3], &[4, 5], &[4, 5], &[3]),
            replace(3).as_ref(),
        );
        check(
            &scenario(&[1, 2], &[3, 4, 5], &[4, 5], &[]),
            promote(4).as_ref(),
        );
        // Nobody can stand in.
        check(&scenario(&[1, 2, 3], &[], &[], &[3]), None);
        check(&scenario(&[1, 2, 3], &[4], &[], &[3]), None);
        // Of two that are dead one after the other.
        let voters = [1, 2, 3, 4, 5];
        check(
            &scenario(&voters, &[6, 7], &[6, 7], &[2, 5]),
            replace(2).as_ref(),
        );
        check(
            &scenario(&[1, 3, 4, 5], &[2, 6, 7], &[6, 7], &[5]),
            promote(6).as_ref(),
        );
        // The living would not be a majority of those that are left.
        check(&scenario(&voters, &[6, 7], &[6, 7], &[2, 3, 4, 5]), None);
    }

    #[test]
    fn members_that_are_gone_leave_fewer_voters_and_this_agent_keeps_its_vote() {
        let scenario = |voters: &[u64], dead: &[u64]| Scenario {
            admitted: voters.to_vec(),
            voters: voters.to_vec(),
            learners: vec![],
            ready: vec![],
            steady: vec![],
            dead: dead.to_vec(),
        };
        check(&scenario(&[1, 2], &[]), Some(&Step::Dismiss(2)));
        check(&scenario(&[1, 2, 3, 4], &[]), Some(&Step::Dismiss(4)));
        check(&scenario(&[1, 2, 3, 4], &[2]), Some(&Step::Dismiss(2)));
    }

    #[test]
    fn a_learner_is_steady_once_it_was_ready_for_a_while_without_a_gap() {
        let mut steady = Steady::default();
        let begin = Instant::now();
        let both = BTreeSet::from([4, 5]);
        assert!(steady.look(&both, begin).is_empty());
        let gap = steady.look(&BTreeSet::from([4]), begin + STEADY_AFTER / 2);
        assert!(gap.is_empty());
        assert_eq!(
            steady.look(&both, begin + STEADY_AFTER),
            BTreeSet::from([4])
        );
        assert_eq!(steady.look(&both, begin + STEADY_AFTER * 2), both);
    }

    #[test]
    fn the_membership_follows_the_ledger_one_step_at_a_time() {
        let scenario = |admitted: &[u64], voters: &[u64], learners: &[u64]| Scenario {
            admitted: admitted.to_vec(),
            voters: voters.to_vec(),
            learners: learners.to_vec(),
            ready: vec![],
            steady: vec![],
            dead: vec![],
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
                cluster_id: "1".into(),
                generation: 1,
                id: 1,
                founder: true,
            },
            founded: false,
            admitted: &admitted,
            configs: &[BTreeSet::from([1]), BTreeSet::from([1, 2, 3])],
            nodes,
            ready: BTreeSet::new(),
            steady: BTreeSet::new(),
            dead: BTreeSet::new(),
        };
        assert_eq!(
            next_step(&view),
            Some(Step::Settle(BTreeSet::from([1, 2, 3])))
        );
    }
}
