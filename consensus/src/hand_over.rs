//! Gives the lead to another voter before this agent ends, so that a restart
//! costs the cluster tens of milliseconds and not an election timeout.
//!
//! openraft has no transfer of leadership, but all that one needs. A voter that
//! heard of a leader within its lease (the longest election timeout) votes for
//! nobody else; a leader itself has no such lease. So this leader picks a voter
//! that has all of its log, stops taking commands, and asks it to stand for
//! election at once; that one's vote and this agent's are a majority of three.
//! With more voters, as many others as are still needed are first sent nothing
//! for a lease, while this agent goes on working with the rest.
//!
//! Nothing here elects anybody by itself: votes are given by openraft's rules,
//! and a round that fails costs no more than the death of a leader does.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use starling_engine::unit::NodeId;
use starling_proto::raft::{StandReply, StandRequest};
use tokio::time::{sleep, sleep_until, timeout};

use crate::core::{Core, Membership};
use crate::net::client::Lane;
use crate::net::identity::envelope;
use crate::types::{Metrics, Peer};

/// After this the lead is kept until the agent ends; then the others elect
/// somebody when they miss it.
pub const DEADLINE: Duration = Duration::from_secs(3);
/// A voter that has not answered for so long isn't asked.
const SILENCE_MAX: Duration = Duration::from_secs(1);
/// The wait before looking again for what this agent can't hasten.
const PAUSE: Duration = Duration::from_millis(25);
/// A voter that has not caught up by then, or has been asked to stand and
/// doesn't lead by then, is passed over.
const ROUND: Duration = Duration::from_millis(500);
/// A lease has run out on another machine's clock too, timers being coarse.
const LEASE_MARGIN: Duration = Duration::from_millis(50);

/// How much of its part an agent still takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Part {
    #[default]
    Whole,
    /// It is ending: it doesn't stand for election when asked to.
    Leaving,
    /// It is a leader that another one takes over from: it doesn't act.
    Handing,
}

/// Why this agent has kept the lead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Kept {
    #[error("no other agent votes")]
    Alone,
    #[error("each other voter is silent or ending too")]
    Nobody,
    #[error("member {0} leads already")]
    Leads(u64),
    #[error("member {0} doesn't vote, and only who votes can lead")]
    NoVoter(u64),
    #[error("member {0} doesn't answer, or is ending")]
    Silent(u64),
    #[error("no other voter has come to lead within {} s; {why}", DEADLINE.as_secs())]
    TooSlow { why: String },
}

/// Returns who leads in this agent's place, or nobody where it didn't lead.
/// Either way it doesn't come to lead again before its end. Where it has kept
/// the lead, it acts again.
pub async fn hand_over(core: &Core, membership: &Membership) -> Result<Option<NodeId>, Kept> {
    core.part.send_replace(Part::Leaving);
    if !membership.leads() {
        return Ok(None);
    }
    match within_deadline(core, membership, None).await {
        Ok(leader) => {
            core.part.send_replace(Part::Leaving);
            Ok(Some(leader))
        }
        Err(kept) => {
            core.part.send_replace(Part::Whole);
            Err(kept)
        }
    }
}

/// Gives the lead to that voter, or to any, for an agent that goes on: it may come to
/// lead again. Returns who leads then.
pub async fn transfer(
    core: &Core,
    membership: &Membership,
    to: Option<u64>,
) -> Result<NodeId, Kept> {
    if to == Some(membership.own.id) {
        return Err(Kept::Leads(membership.own.id));
    }
    let given = within_deadline(core, membership, to).await;
    stand_again(core);
    given
}

async fn within_deadline(
    core: &Core,
    membership: &Membership,
    to: Option<u64>,
) -> Result<NodeId, Kept> {
    let mut trouble = String::from("none was asked");
    let given = timeout(DEADLINE, give(core, membership, to, &mut trouble)).await;
    core.peers.rest(BTreeSet::new());
    given.unwrap_or(Err(Kept::TooSlow { why: trouble }))
}

/// For an agent that gave the lead away and doesn't end: from here on it may lead again.
pub fn stand_again(core: &Core) {
    core.part.send_replace(Part::Whole);
    core.standing.look();
}

/// Tries until somebody else leads.
async fn give(
    core: &Core,
    membership: &Membership,
    to: Option<u64>,
    trouble: &mut String,
) -> Result<NodeId, Kept> {
    let own = membership.own.id;
    let lease = Duration::from_millis(core.config.timing.election_max_ms) + LEASE_MARGIN;
    let mut passed_over = BTreeSet::new();
    let mut ending = BTreeSet::new();
    loop {
        core.part.send_replace(Part::Leaving);
        let metrics = membership.metrics();
        if !metrics.state.is_leader() {
            // A round that failed has deposed this agent, or another one did.
            match metrics.current_leader.filter(|leader| *leader != own) {
                Some(leader) => return Ok(NodeId(leader)),
                None => sleep(PAUSE).await,
            }
            continue;
        }
        // A leader that is younger than its lease has one.
        if let Some(since) = core.tally.led_since(metrics.current_term) {
            sleep_until((since + lease).into()).await;
        }
        let voters = metrics.membership_config.membership().get_joint_config();
        let [voters] = voters.as_slice() else {
            "the set of voters is changing".clone_into(trouble);
            sleep(PAUSE).await;
            continue;
        };
        if voters.iter().all(|voter| *voter == own) {
            return Err(Kept::Alone);
        }
        let answering = answering(core, &metrics, voters, &ending);
        let asked = match to {
            Some(to) if !voters.contains(&to) => return Err(Kept::NoVoter(to)),
            Some(to) if !answering.contains(&to) => return Err(Kept::Silent(to)),
            Some(to) => BTreeSet::from([to]),
            None => answering.clone(),
        };
        if asked.is_empty() {
            return Err(Kept::Nobody);
        }
        let Some(next) = fullest(&metrics, &asked, &passed_over) else {
            passed_over.clear();
            sleep(PAUSE).await;
            continue;
        };
        let resting = others_needed(voters, own, next, &answering);
        if !resting.is_empty() {
            core.peers.rest(resting);
            sleep(lease).await;
        }
        match round(core, membership, next).await {
            Ok(leader) => return Ok(leader),
            Err(Round::Ends) => {
                ending.insert(next);
            }
            Err(Round::Fails(why)) => {
                *trouble = format!("agent {next}: {why}");
                passed_over.insert(next);
            }
        }
    }
}

/// Voters that answer and aren't ending.
fn answering(
    core: &Core,
    metrics: &Metrics,
    voters: &BTreeSet<u64>,
    ending: &BTreeSet<u64>,
) -> BTreeSet<u64> {
    let now = Instant::now();
    let answers = |voter: &&u64| {
        let last = core.acks.last(metrics.current_term, **voter);
        **voter != metrics.id
            && !ending.contains(*voter)
            && last.is_some_and(|last| now.saturating_duration_since(last) < SILENCE_MAX)
    };
    voters.iter().filter(answers).copied().collect()
}

/// The one with the most of the log.
fn fullest(
    metrics: &Metrics,
    answering: &BTreeSet<u64>,
    passed_over: &BTreeSet<u64>,
) -> Option<u64> {
    let candidates = answering.difference(passed_over);
    // Of equals the one with the lowest id.
    candidates
        .copied()
        .min_by_key(|id| (std::cmp::Reverse(matched(metrics, *id)), *id))
}

fn matched(metrics: &Metrics, id: u64) -> Option<u64> {
    let replication = metrics.replication.as_ref()?;
    Some((*replication.get(&id)?)?.index)
}

/// Those whose votes are needed beside the next leader's and this agent's.
fn others_needed(
    voters: &BTreeSet<u64>,
    own: u64,
    next: u64,
    answering: &BTreeSet<u64>,
) -> BTreeSet<u64> {
    let majority = voters.len() / 2 + 1;
    let sure = 1 + usize::from(voters.contains(&own));
    let others = answering.iter().filter(|voter| **voter != next);
    others
        .take(majority.saturating_sub(sure))
        .copied()
        .collect()
}

/// Why a round has come to nothing.
enum Round {
    /// The voter is ending itself.
    Ends,
    Fails(String),
}

/// From the last command that is taken here to the next leader.
async fn round(core: &Core, membership: &Membership, next: u64) -> Result<NodeId, Round> {
    core.part.send_replace(Part::Handing);
    // Nothing may be added to this agent's log behind the next leader's back:
    // with more in it than that one has, this agent could not vote for it.
    let Ok(_closed) = timeout(ROUND, core.gate.write()).await else {
        return Err(Round::Fails("commands that wait are not committed".into()));
    };
    let mut metrics = membership.raft.metrics();
    let whole = metrics.wait_for(|metrics| {
        !metrics.state.is_leader()
            || (matched(metrics, next) == metrics.last_log_index
                && metrics.last_applied.map(|applied| applied.index) == metrics.last_log_index)
    });
    let (term, last_index, address) = match timeout(ROUND, whole).await {
        Ok(Ok(metrics)) => {
            let known = metrics.membership_config.membership();
            let address = known
                .get_node(&next)
                .map_or_else(String::new, |peer: &Peer| peer.address.clone());
            (
                metrics.current_term,
                metrics.last_log_index.unwrap_or(0),
                address,
            )
        }
        _ => return Err(Round::Fails("it has not the whole log yet".into())),
    };
    ask(core, membership, next, &address, (term, last_index)).await?;
    let own = membership.own.id;
    let other = |metrics: &Metrics| metrics.current_leader.filter(|leader| *leader != own);
    let elected = metrics.wait_for(|metrics| other(metrics).is_some());
    match timeout(ROUND, elected).await {
        Ok(Ok(metrics)) => Ok(NodeId(other(&metrics).unwrap_or(next))),
        _ => Err(Round::Fails("it was not elected in time".into())),
    }
}

async fn ask(
    core: &Core,
    membership: &Membership,
    next: u64,
    address: &str,
    (term, last_index): (u64, u64),
) -> Result<(), Round> {
    let failed = |why: &dyn std::fmt::Display| Round::Fails(why.to_string());
    let request = StandRequest {
        envelope: Some(envelope(&membership.own, next)),
        term,
        last_index,
    };
    let address = core.peers.book.find(next, address);
    let mut client = core
        .peers
        .client(&address, Lane::Raft)
        .map_err(|why| failed(&why))?;
    let reply = timeout(ROUND, client.stand(request))
        .await
        .map_err(|_| failed(&"it gave no answer"))?
        .map_err(|status| failed(&status.message()))?
        .into_inner();
    match reply {
        StandReply { ending: true, .. } => Err(Round::Ends),
        StandReply { refusal, .. } if refusal.is_empty() => Ok(()),
        StandReply { refusal, .. } => Err(Round::Fails(refusal)),
    }
}

/// The other side: stands for election, if `sender` leads and this agent has
/// all that it has. Whoever doesn't lead can't disturb the one who does.
pub async fn stand(
    core: &Core,
    membership: &Membership,
    sender: u64,
    asked: &StandRequest,
) -> StandReply {
    let refuse = |refusal: &str| StandReply {
        refusal: refusal.to_owned(),
        ending: false,
    };
    if *core.part.borrow() != Part::Whole {
        return StandReply {
            refusal: "this agent is ending".into(),
            ending: true,
        };
    }
    let metrics = membership.metrics();
    if metrics.current_leader != Some(sender) || metrics.current_term != asked.term {
        return refuse("whoever asks doesn't lead, as far as this agent knows");
    }
    let known = metrics.membership_config.membership();
    if !known.voter_ids().any(|voter| voter == metrics.id) {
        return refuse("this agent doesn't vote");
    }
    if metrics.last_log_index < Some(asked.last_index) {
        return refuse("this agent has not the whole log");
    }
    match membership.raft.trigger().elect().await {
        Ok(()) => StandReply::default(),
        Err(why) => refuse(&why.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_voters_rest_as_are_needed_for_a_majority() {
        let ids = |ids: std::ops::RangeInclusive<u64>| ids.collect::<BTreeSet<u64>>();
        let needed = |voters, answering| others_needed(&voters, 1, 2, &answering).len();
        assert_eq!(needed(ids(1..=2), ids(2..=2)), 0);
        assert_eq!(needed(ids(1..=3), ids(2..=3)), 0);
        assert_eq!(needed(ids(1..=5), ids(2..=5)), 1);
        assert_eq!(needed(ids(1..=7), ids(2..=7)), 2);
        // A leader that is about to leave the log has no vote.
        assert_eq!(others_needed(&ids(2..=4), 1, 2, &ids(2..=4)), ids(3..=3));
    }
}
