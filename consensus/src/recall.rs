//! What agents know of each other's logs, and what one that starts makes of it.
//!
//! A disk can come back as it was before, guard included: a machine's image, a
//! copied directory. Its owner can't see that, but those that it answered can.
//! So everybody remembers in memory how far the others were, and whoever starts
//! asks. Until a majority of the voters has answered (without one nobody leads
//! anyway) it neither votes nor takes entries. If all who knew have ended too,
//! nobody can tell.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use openraft::Vote;
use starling_proto::raft::{RecallReply, RecallRequest};

use crate::codec;
use crate::core::Core;
use crate::net::client::Lane;
use crate::net::identity::envelope;
use crate::removed;
use crate::store::keys::Identity;
use crate::types::{LogId, Metrics, Peer, Raft};

/// At the bound nothing is remembered of further agents.
const AGENTS_MAX: usize = 1_024;
const CALL_DEADLINE: Duration = Duration::from_secs(1);
/// Between two rounds of asking those that haven't answered, and at most; it grows.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Once a majority has answered, the rest gets until so long after the start.
const PATIENCE: Duration = Duration::from_secs(1);

/// How far another agent's log was, at least.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known {
    pub vote: Vote<u64>,
    /// Its log held this under that vote: no other leader has cut it since.
    pub last: Option<LogId>,
    /// The furthest that it ever held; [`Recall::of`] leaves only what is committed.
    pub furthest: Option<LogId>,
}

/// Cheap to ask and to tell: each append tells it something.
pub struct Recall {
    agents: Mutex<BTreeMap<u64, Known>>,
    /// Whether this agent may vote and take entries.
    open: AtomicBool,
}

impl Default for Recall {
    fn default() -> Self {
        Recall {
            agents: Mutex::default(),
            open: AtomicBool::new(true),
        }
    }
}

impl Recall {
    /// Agent `id` had durably voted so, and its log ended with `last` or more.
    pub fn note(&self, id: u64, vote: &Vote<u64>, last: Option<LogId>) {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if agents.len() >= AGENTS_MAX && !agents.contains_key(&id) {
            return;
        }
        let known = agents.entry(id).or_default();
        known.furthest = known.furthest.max(last);
        if vote.leader_id() > known.vote.leader_id() {
            known.last = last;
            known.vote = *vote;
        } else if vote.leader_id() == known.vote.leader_id() {
            known.last = known.last.max(last);
        }
    }

    /// `None` where this agent has never spoken with `id`.
    pub fn of(&self, id: u64, committed: Option<LogId>) -> Option<Known> {
        let agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        let known = agents.get(&id)?;
        Some(Known {
            furthest: known.furthest.filter(|last| Some(*last) <= committed),
            ..*known
        })
    }

    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }
}

/// Where this agent's own log stands as it starts.
#[derive(Debug, Clone, Copy)]
pub struct Own {
    pub vote: Vote<u64>,
    pub last: Option<LogId>,
}

/// Why this agent's log is behind what `who` knows it to have held.
fn behind(own: &Own, known: &Known, who: u64) -> Option<String> {
    let end = |last: Option<LogId>| last.map_or_else(|| "nothing".into(), |last| last.to_string());
    let (mine, theirs) = (own.vote.leader_id(), known.vote.leader_id());
    if mine < theirs {
        return Some(format!(
            "agent {who} knows that this one has voted in term {}, and on this disk it is in term {}",
            theirs.get_term(),
            mine.get_term()
        ));
    }
    let held = if mine == theirs {
        known.last.max(known.furthest)
    } else {
        known.furthest
    };
    (own.last < held).then(|| {
        format!(
            "agent {who} knows that this one's log held {}, and on this disk it ends with {}",
            end(held),
            end(own.last)
        )
    })
}

/// What came of asking.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nobody who answered knows this agent to have been further.
    Sound,
    /// The log must not be used: it went back, or this agent is no member any more.
    Behind(String),
}

/// Asks the others until enough have answered. Elections are off until then.
pub async fn ask(core: &Core, raft: &Raft, identity: &Identity, own: Own) -> Answer {
    let begin = Instant::now();
    // Until then openraft shows a membership of nobody. A founder may be further already.
    let read = |metrics: &Metrics| metrics.last_log_index >= own.last.map(|last| last.index);
    if raft.metrics().wait_for(read).await.is_err() {
        return Answer::Sound;
    }
    let mut answered = BTreeSet::from([identity.id]);
    let mut said = false;
    let mut pause = PAUSE_FIRST;
    loop {
        let membership = raft.metrics().borrow().membership_config.clone();
        let membership = membership.membership();
        let mut all = true;
        let asked = membership
            .nodes()
            .filter(|(id, _)| !answered.contains(id))
            .map(|(id, peer)| question(core, identity, *id, peer));
        let answers = all_at_once(asked).await;
        for (id, answer) in answers {
            match answer {
                Ok(Told::Removed) => return Answer::Behind(removed::words(id)),
                Ok(Told::Known(known)) => {
                    answered.insert(id);
                    let why = known.and_then(|known| behind(&own, &known, id));
                    if let Some(why) = why {
                        return Answer::Behind(why);
                    }
                }
                Err(why) => {
                    tracing::debug!(id, why, "an agent doesn't say how far this one was");
                    all = false;
                }
            }
        }
        let majority = membership.get_joint_config().iter().all(|voters| {
            let known = voters.intersection(&answered).count();
            known > voters.len() / 2 || voters.is_empty()
        });
        if all || (majority && begin.elapsed() >= PATIENCE) {
            return Answer::Sound;
        }
        if !said && begin.elapsed() >= PATIENCE {
            said = true;
            tracing::info!(
                "waiting for a majority of the voters to say how far this agent's log was"
            );
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(PAUSE_MAX);
    }
}

/// Each has a deadline of its own.
async fn all_at_once<T: Send + 'static>(
    questions: impl Iterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let mut set = tokio::task::JoinSet::new();
    for question in questions {
        set.spawn(question);
    }
    let mut answers = Vec::new();
    while let Some(answer) = set.join_next().await {
        answers.extend(answer);
    }
    answers
}

/// What another agent says of this one.
pub enum Told {
    /// `None` where the two have never spoken.
    Known(Option<Known>),
    /// It was a member once.
    Removed,
}

type Replied = (u64, Result<Told, String>);

pub fn question(
    core: &Core,
    own: &Identity,
    id: u64,
    peer: &Peer,
) -> impl Future<Output = Replied> + Send + 'static {
    let address = core.peers.book.find(id, &peer.address);
    let client = core.peers.client(&address, Lane::Raft);
    let request = RecallRequest {
        envelope: Some(envelope(own, id)),
    };
    async move {
        let ask = async {
            let mut client = client.map_err(|e| e.to_string())?;
            let call = tokio::time::timeout(CALL_DEADLINE, client.recall(request));
            let reply = call.await.map_err(|_| "no answer in time".to_owned())?;
            let reply = reply.map_err(|status| status.message().to_owned())?;
            let RecallReply { known, removed } = reply.into_inner();
            if removed {
                return Ok(Told::Removed);
            }
            if known.is_empty() {
                return Ok(Told::Known(None));
            }
            let known = codec::decode(&known).map_err(|e| e.to_string())?;
            Ok(Told::Known(Some(known)))
        };
        (id, ask.await)
    }
}

/// For an agent whose log must not be used any more.
pub fn farewell(why: &str) -> String {
    format!(
        "the log on this disk can't be used any more ({why}); start this agent again: it joins as \
         a new member and takes the log from the others"
    )
}

/// Closed while it asks, open for good afterwards.
pub fn close(recall: &Recall) {
    recall.open.store(false, Ordering::Release);
}

pub fn open(recall: &Recall) {
    recall.open.store(true, Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::*;
    use openraft::CommittedLeaderId;

    fn at(term: u64, index: u64) -> LogId {
        LogId::new(CommittedLeaderId::new(term, 1), index)
    }

    fn judge(own: (u64, LogId), known: &Known) -> bool {
        let own = Own {
            vote: Vote::new(own.0, 1),
            last: Some(own.1),
        };
        behind(&own, known, 9).is_some()
    }

    #[test]
    fn a_vote_or_entries_that_were_acknowledged_and_are_missing_are_noticed() {
        let recall = Recall::default();
        assert_eq!(recall.of(2, None), None);
        recall.note(2, &Vote::new_committed(4, 1), Some(at(4, 20)));
        recall.note(2, &Vote::new_committed(4, 1), Some(at(4, 10)));
        let known = recall.of(2, Some(at(4, 5))).unwrap();
        assert!(!judge((4, at(4, 20)), &known));
        assert!(judge((4, at(4, 19)), &known));
        assert!(judge((3, at(4, 20)), &known));
        // A later leader may have cut what was never committed.
        assert!(!judge((5, at(3, 7)), &known));
        // What was committed nobody cuts.
        let known = recall.of(2, Some(at(4, 20))).unwrap();
        assert!(judge((5, at(3, 7)), &known));

        // A vote alone says nothing about the log.
        recall.note(2, &Vote::new(6, 1), None);
        let known = recall.of(2, Some(at(4, 5))).unwrap();
        assert!(judge((5, at(4, 20)), &known));
        assert!(!judge((6, at(3, 7)), &known));
    }
}
