//! Which step the leader takes next towards the membership that should be.
//!
//! Comes in: a [`View`] of ledger, membership and who answers, at one moment. Goes
//! out: one [`Step`], or none. Pure. By the rules of Consul's autopilot: one change
//! at a time, the dead are taken out first, nobody comes in and goes out in one
//! step, and the living stay a majority of those that vote.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use starling_engine::ledger::{Admitted, Member};
use starling_engine::unit::{Ms, NodeId};

use crate::types::Peer;

/// The founder has its id before there is a log that could give it one: 1, the
/// index of the command that founds the cluster. The ledger gives the same id
/// to the admission with [`FOUNDER`](starling_engine::ledger::FOUNDER) as its nonce.
pub const FOUNDER_ID: u64 = 1;
/// A voter that has not answered for so long is dead, if somebody can stand in; and
/// any member that hasn't is noted as away.
pub const DEAD_AFTER: Duration = Duration::from_secs(10);
/// So many get a vote in one step; more follow in the next ones.
const PROMOTIONS_MAX: usize = 2;

#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// A change that an earlier leader left half-done.
    Settle(BTreeSet<u64>),
    Found,
    AdmitFounder,
    AddLearner(u64, Peer),
    Readdress(u64, Peer),
    /// The cluster was rebuilt, and this agent is the first to lead it.
    LookAround,
    /// This agent leads and is no member any more.
    HandOver,
    /// Votes, but is no member any more: another agent has its name, or it was removed.
    Demote(u64),
    Remove(u64),
    /// Has been silent for [`DEAD_AFTER`], or answers again.
    Away(u64, bool),
    /// Has been away for as long as members are remembered.
    Forget(u64, String),
    /// Votes and is dead, while another member could vote in its place.
    Replace(u64),
    /// Votes, and there are more voters than a cluster of this size should have.
    Dismiss(u64),
    Promote(BTreeSet<u64>),
}

/// As the log tells it.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |ids: &BTreeSet<u64>| {
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            ids.join(", ")
        };
        let silence_s = DEAD_AFTER.as_secs();
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
            Step::LookAround => write!(
                f,
                "looking around in the rebuilt cluster: nothing changes until two windows were seen"
            ),
            Step::HandOver => write!(f, "giving the lead away: this agent is no member any more"),
            Step::Demote(id) => write!(f, "taking member {id}'s vote: it is no member any more"),
            Step::Remove(id) => write!(
                f,
                "removing member {id} from the log: it is no member any more"
            ),
            Step::Away(id, true) => {
                write!(
                    f,
                    "noting that member {id} has been silent for {silence_s} s"
                )
            }
            Step::Away(id, false) => write!(f, "noting that member {id} answers again"),
            Step::Forget(id, name) => write!(
                f,
                "forgetting member {id}, {name}: it has been away for as long as members are \
                 remembered (`forgetAfter`); what it ran is placed anew, and it may join again"
            ),
            Step::Replace(id) => write!(
                f,
                "taking member {id}'s vote: it has been silent for {silence_s} s"
            ),
            Step::Dismiss(id) => write!(f, "taking member {id}'s vote: others vote in its place"),
            Step::Promote(ids) => write!(f, "giving members {} a vote", list(ids)),
        }
    }
}

/// What a step is chosen from.
pub struct View<'a> {
    /// This agent's id.
    pub own: u64,
    pub founded: bool,
    /// The ledger takes nothing more.
    pub halted: bool,
    /// The cluster was rebuilt, and nobody has led it yet.
    pub rebuilt: bool,
    pub admitted: &'a BTreeMap<NodeId, Admitted>,
    pub configs: &'a [BTreeSet<u64>],
    pub nodes: BTreeMap<u64, Peer>,
    /// Learners that could vote at once.
    pub ready: BTreeSet<u64>,
    /// Those of them that have been steady for a while.
    pub steady: BTreeSet<u64>,
    /// Members that answer just now; this agent does.
    pub answering: BTreeSet<u64>,
    /// Members that have been silent for [`DEAD_AFTER`].
    pub dead: BTreeSet<u64>,
    /// Those of them that had time enough to come back under this leader, whatever
    /// the ledger says of the time before it.
    pub lost: BTreeSet<u64>,
    /// By the log's clock.
    pub now: Ms,
    pub voters_max: usize,
    pub forget_after_ms: u64,
}

/// How many of `members` should vote, at most `most`: odd numbers, because an even one
/// tolerates no more failures than the odd one below it.
pub fn voters_wanted(members: usize, most: usize) -> usize {
    let wanted = match members {
        0..=2 => 1,
        3..=6 => 3,
        7..=8 => 5,
        _ => 7,
    };
    wanted.min(most)
}

pub fn next_step(view: &View<'_>) -> Option<Step> {
    let voters = match view.configs {
        [voters] => voters,
        [.., newest] => return Some(Step::Settle(newest.clone())),
        [] => return None,
    };
    if !view.founded {
        return (view.own == FOUNDER_ID).then_some(Step::Found);
    }
    if view.admitted.is_empty() {
        return (view.own == FOUNDER_ID).then_some(Step::AdmitFounder);
    }
    if view.rebuilt && !view.halted {
        return Some(Step::LookAround);
    }
    for (NodeId(id), admitted) in view.admitted {
        let peer = peer(&admitted.member);
        match view.nodes.get(id) {
            None => return Some(Step::AddLearner(*id, peer)),
            Some(known) if *known != peer => return Some(Step::Readdress(*id, peer)),
            Some(_) => {}
        }
    }
    stranger(view, voters)
        .or_else(|| attendance(view))
        .or_else(|| votes(view, voters))
}

/// Whoever is no member leaves the log, the dead first. A voter whose vote the others
/// can't go on without keeps it until they can.
fn stranger(view: &View<'_>, voters: &BTreeSet<u64>) -> Option<Step> {
    let is_member = |id: &u64| view.admitted.contains_key(&NodeId(*id));
    if !is_member(&view.own) && voters.iter().any(|id| *id != view.own) {
        return Some(Step::HandOver);
    }
    let strangers = view.nodes.keys();
    let mut strangers: Vec<u64> = strangers
        .filter(|id| !is_member(id) && **id != view.own)
        .copied()
        .collect();
    strangers.sort_by_key(|id| !view.dead.contains(id));
    strangers.into_iter().find_map(|id| {
        if !voters.contains(&id) {
            return Some(Step::Remove(id));
        }
        stays_whole(view, voters, id).then_some(Step::Demote(id))
    })
}

/// Whether the living are a majority of those that vote once `id` doesn't.
fn stays_whole(view: &View<'_>, voters: &BTreeSet<u64>, id: u64) -> bool {
    let left = voters.iter().filter(|voter| **voter != id);
    let (mut all, mut living) = (0, 0);
    for voter in left {
        all += 1;
        living += usize::from(!view.dead.contains(voter));
    }
    living > all / 2
}

/// What the ledger should know of who is away, and who has been for too long.
fn attendance(view: &View<'_>) -> Option<Step> {
    if view.halted {
        return None;
    }
    view.admitted.iter().find_map(|(NodeId(id), admitted)| {
        let is = |set: &BTreeSet<u64>| set.contains(id);
        match admitted.away_since {
            None if is(&view.dead) => Some(Step::Away(*id, true)),
            Some(_) if is(&view.answering) => Some(Step::Away(*id, false)),
            Some(since) if is(&view.lost) && view.now.since(since) >= view.forget_after_ms => {
                Some(Step::Forget(*id, admitted.member.name.clone()))
            }
            _ => None,
        }
    })
}

fn votes(view: &View<'_>, voters: &BTreeSet<u64>) -> Option<Step> {
    let wanted = voters_wanted(view.admitted.len(), view.voters_max);
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
    let candidates: BTreeSet<u64> = candidates
        .iter()
        .filter(|id| view.admitted.contains_key(&NodeId(**id)))
        .copied()
        .collect();
    // All up to an odd number or none: two voters would be worse than one.
    let missing = wanted.saturating_sub(voters.len());
    let mut count = missing.min(candidates.len()).min(PROMOTIONS_MAX);
    if (voters.len() + count).is_multiple_of(2) {
        count = count.saturating_sub(1);
    }
    let chosen = spread(view, voters, &candidates, count);
    if !chosen.is_empty() {
        return Some(Step::Promote(chosen));
    }
    let better = (missing == 0).then(|| better_spread(view, voters, &candidates));
    better.flatten().map(|id| Step::Promote([id].into()))
}

/// Whose vote is one too many: a dead one's first, then one in the zone with most of
/// them; this agent's never.
fn surplus(view: &View<'_>, voters: &BTreeSet<u64>) -> Option<u64> {
    let zones = by_zone(view, voters);
    let others = voters.iter().filter(|id| **id != view.own);
    let others = others.filter(|id| stays_whole(view, voters, **id));
    let crowd = |id: u64| zones.get(zone(view, id)).copied().unwrap_or_default();
    others
        .max_by_key(|id| (view.dead.contains(id), crowd(**id), **id))
        .copied()
}

/// A dead voter, where the others are enough to go on without it and one can
/// stand in. An even number of voters means that one is being replaced already.
fn replaceable(view: &View<'_>, voters: &BTreeSet<u64>) -> Option<u64> {
    let may = voters.len() % 2 == 1 && !view.steady.is_empty();
    let dead = voters.intersection(&view.dead).next().copied();
    dead.filter(|id| may && stays_whole(view, voters, *id))
}

/// The zone that a member states; empty where it states none.
fn zone<'a>(view: &'a View<'_>, id: u64) -> &'a str {
    let admitted = view.admitted.get(&NodeId(id));
    admitted.map_or("", |admitted| admitted.member.zone.as_str())
}

/// How many of `ids` each zone has.
fn by_zone<'a>(view: &'a View<'_>, ids: &BTreeSet<u64>) -> BTreeMap<&'a str, usize> {
    let mut zones = BTreeMap::new();
    for id in ids {
        *zones.entry(zone(view, *id)).or_default() += 1;
    }
    zones
}

/// So many of the candidates, each from the zone with the fewest voters by then; of
/// equals the eldest members.
fn spread(
    view: &View<'_>,
    voters: &BTreeSet<u64>,
    candidates: &BTreeSet<u64>,
    count: usize,
) -> BTreeSet<u64> {
    let mut zones = by_zone(view, voters);
    let mut chosen = BTreeSet::new();
    while chosen.len() < count {
        let left = candidates.iter().filter(|id| !chosen.contains(*id));
        let crowd = |id: u64| zones.get(zone(view, id)).copied().unwrap_or_default();
        let Some(next) = left.copied().min_by_key(|id| (crowd(*id), *id)) else {
            break;
        };
        *zones.entry(zone(view, next)).or_default() += 1;
        chosen.insert(next);
    }
    chosen
}

/// A candidate whose zone has at least two voters fewer than another one. It gets a
/// vote; then there is one too many, and the crowded zone gives one up. It never goes
/// back and forth: each time the zones come closer to each other.
fn better_spread(
    view: &View<'_>,
    voters: &BTreeSet<u64>,
    candidates: &BTreeSet<u64>,
) -> Option<u64> {
    if voters.iter().any(|id| view.dead.contains(id)) {
        return None;
    }
    let zones = by_zone(view, voters);
    let named = zones.iter().filter(|(zone, _)| !zone.is_empty());
    let most = named.map(|(_, count)| *count).max()?;
    let crowd = |id: u64| zones.get(zone(view, id)).copied().unwrap_or_default();
    let placed = candidates.iter().copied();
    let placed = placed.filter(|id| !zone(view, *id).is_empty());
    let best = placed.min_by_key(|id| (crowd(*id), *id))?;
    (crowd(best) + 2 <= most).then_some(best)
}

pub fn peer(member: &Member) -> Peer {
    Peer {
        name: member.name.clone(),
        address: member.peer_address.clone(),
    }
}

#[cfg(test)]
mod tests;
