//! When this agent stands for election, and whether it may.
//!
//! openraft's own timer is off. A voter stands once its leader has been silent for an
//! election timeout, or its leader's process has ended, and only if a majority of the
//! voters, itself included, would have it: they hear no leader either, and their logs
//! hold no more than its own. Who asks first raises no term, so that a voter that was cut
//! off for an hour comes back without disturbing anybody (the pre-vote of Raft's
//! dissertation, section 9.6, which openraft 0.9 lacks). Who is alone in voting stands
//! unasked. Whoever hands the lead over has its heir stand without all this.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use openraft::CommittedLeaderId;
use starling_proto::raft::{LogPlace, PreVoteReply, PreVoteRequest};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::Code;

use crate::Timing;
use crate::core::{Core, Membership};
use crate::hand_over::Part;
use crate::net::client::Lane;
use crate::net::identity::envelope;
use crate::types::{LogId, ServerMetrics};

/// Whoever isn't elected stands again after this, or up to twice this: survivors
/// may have to connect to each other first.
const AGAIN: Duration = Duration::from_millis(150);
/// Other survivors see a few milliseconds later that the leader's process has ended.
const AGAIN_LOST: Duration = Duration::from_millis(5);
/// Longer than a round trip between zones, shorter than an election timeout.
const CALL_DEADLINE: Duration = Duration::from_millis(250);

/// What others of this agent's tasks tell the one that stands.
#[derive(Default)]
pub struct Standing {
    lost: Mutex<Option<Instant>>,
    news: Notify,
}

impl Standing {
    /// The leader's process has ended: nobody is there to be heard.
    pub fn lost(&self) {
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.look();
    }

    /// What lets this agent stand may have changed.
    pub fn look(&self) {
        self.news.notify_one();
    }
}

/// What this agent has heard of a leader.
#[derive(Debug, Clone, Copy)]
struct Hearing {
    /// When one has called for the last time.
    last: Option<Instant>,
    /// No process has been there since.
    lost: bool,
}

impl Hearing {
    fn of(core: &Core, now: Instant) -> Hearing {
        let silence = core.tally.silence(now);
        let last = silence.and_then(|silence| now.checked_sub(silence));
        let ended = core.standing.lost.lock();
        let ended = *ended.unwrap_or_else(PoisonError::into_inner);
        Hearing {
            last,
            lost: ended.is_some_and(|ended| last.is_none_or(|last| last < ended)),
        }
    }

    /// As long as openraft gives no vote after a leader's last word.
    fn is_live(&self, lease: Duration, now: Instant) -> bool {
        let recent = |last| now.saturating_duration_since(last) <= lease;
        !self.lost && self.last.is_some_and(recent)
    }

    /// From when on to stand, for one that has been able to since `begin`; `chance` is
    /// between 0 and 1.
    fn due(&self, timing: Timing, begin: Instant, chance: f64) -> Instant {
        let ms = Duration::from_millis;
        let spread = ms(timing
            .election_max_ms
            .saturating_sub(timing.election_min_ms));
        let spread = spread.mul_f64(chance);
        match self.last {
            _ if self.lost => begin,
            Some(last) if last > begin => last + ms(timing.election_max_ms) + spread,
            _ => begin + ms(timing.election_min_ms) + spread,
        }
    }
}

/// The other voters, where this agent could come to lead.
fn rivals(core: &Core, membership: &Membership, metrics: &ServerMetrics) -> Option<BTreeSet<u64>> {
    let own = membership.own.id;
    let mut voters: BTreeSet<u64> = metrics.membership_config.membership().voter_ids().collect();
    let takes_part = *core.part.borrow() == Part::Whole && core.recall.is_open();
    let can = takes_part && voters.remove(&own) && !metrics.state.is_leader();
    can.then_some(voters)
}

/// Runs until openraft ends.
pub async fn run(core: Arc<Core>) {
    let Some(membership) = core.member.get() else {
        return;
    };
    let timing = core.config.timing;
    // Since when it could stand, and before when it doesn't stand again.
    let (mut begin, mut again) = (Instant::now(), Instant::now());
    let mut passed_over = None;
    let mut chance = rand::random::<f64>();
    let mut server = membership.raft.server_metrics();
    let mut part = core.part.subscribe();
    loop {
        if membership.raft.metrics().borrow().running_state.is_err() {
            return;
        }
        part.mark_unchanged();
        let metrics = server.borrow_and_update().clone();
        let now = Instant::now();
        let Some(rivals) = rivals(&core, membership, &metrics) else {
            // It can't stand at all until one of these changes.
            let ended = tokio::select! {
                changed = server.changed() => changed.is_err(),
                changed = part.changed() => changed.is_err(),
                () = core.standing.news.notified() => false,
            };
            if ended {
                return;
            }
            begin = Instant::now();
            continue;
        };
        let hearing = Hearing::of(&core, now);
        let due = if rivals.is_empty() {
            again
        } else {
            hearing.due(timing, begin, chance).max(again)
        };
        if now < due {
            pause(&core, due - now).await;
            continue;
        }
        chance = rand::random();
        let asks = timing.pre_vote && !rivals.is_empty();
        if asks && !is_wanted(&core, membership, &metrics, &rivals, hearing.lost).await {
            let pause = if hearing.lost { AGAIN_LOST } else { AGAIN };
            again = Instant::now() + pause.mul_f64(1.0 + chance);
            continue;
        }
        let now = Instant::now();
        if Hearing::of(&core, now).last > hearing.last {
            // Somebody has come to lead meanwhile.
            continue;
        }
        again = now + AGAIN.mul_f64(1.0 + chance);
        let vote = membership.metrics().vote;
        let voted_for = vote
            .leader_id()
            .voted_for()
            .filter(|_| !vote.is_committed());
        let another = voted_for.filter(|voted| rivals.contains(voted));
        // Whoever has this agent's vote gets the time to win.
        if another.is_none() || another == passed_over {
            let ended = hearing.lost;
            tracing::info!(leader_ended = ended, "standing for election");
            if membership.raft.trigger().elect().await.is_err() {
                return;
            }
        }
        passed_over = another;
    }
}

/// Until so long has passed, or there is news.
async fn pause(core: &Core, longest: Duration) {
    let _ = timeout(longest, core.standing.news.notified()).await;
}

/// Whether a majority of the voters, itself included, hears no leader and would vote for
/// this agent. Where the leader's process has ended (`lost`), their logs don't matter: who
/// has not voted for itself keeps the dead one's lease, so all have to stand.
async fn is_wanted(
    core: &Core,
    membership: &Membership,
    metrics: &ServerMetrics,
    rivals: &BTreeSet<u64>,
    lost: bool,
) -> bool {
    let known = metrics.membership_config.membership();
    let mut asked = JoinSet::new();
    for id in rivals {
        let Some(peer) = known.get_node(id) else {
            continue;
        };
        let address = core.peers.book.find(*id, &peer.address);
        let Ok(mut client) = core.peers.client(&address, Lane::Raft) else {
            continue;
        };
        let request = PreVoteRequest {
            envelope: Some(envelope(&membership.own, *id)),
            last: place(membership),
        };
        let id = *id;
        asked.spawn(async move {
            let call = timeout(CALL_DEADLINE, client.pre_vote(request)).await;
            let would = match call {
                Ok(Ok(reply)) => {
                    let reply = reply.into_inner();
                    reply.leaderless && (lost || reply.behind)
                }
                // An agent of before this question gives its vote as it always did.
                Ok(Err(status)) => status.code() == Code::Unimplemented,
                Err(_) => false,
            };
            (id, would)
        });
    }
    let mut willing = BTreeSet::from([membership.own.id]);
    loop {
        let configs = known.get_joint_config();
        let enough =
            |voters: &BTreeSet<u64>| voters.intersection(&willing).count() > voters.len() / 2;
        if configs.iter().all(enough) {
            return true;
        }
        match asked.join_next().await {
            Some(Ok((id, true))) => _ = willing.insert(id),
            Some(_) => {}
            None => return false,
        }
    }
}

/// Where this agent's log ends.
pub fn place(membership: &Membership) -> Option<LogPlace> {
    last_log(membership).map(|last| LogPlace {
        term: last.leader_id.term,
        node: last.leader_id.node_id,
        index: last.index,
    })
}

fn last_log(membership: &Membership) -> Option<LogId> {
    membership.raft.data_metrics().borrow().last_log
}

/// What this agent would say to one that stands, and whose log ends with `last`.
pub fn pre_vote(core: &Core, membership: &Membership, last: Option<LogPlace>) -> PreVoteReply {
    let leader = |last: &LogPlace| CommittedLeaderId::new(last.term, last.node);
    let last = last.map(|last| LogId::new(leader(&last), last.index));
    let now = Instant::now();
    let lease = Duration::from_millis(core.config.timing.election_max_ms);
    let leads = core.leadership.borrow().acting;
    PreVoteReply {
        leaderless: !leads && !Hearing::of(core, now).is_live(lease, now),
        behind: last_log(membership) <= last,
    }
}
