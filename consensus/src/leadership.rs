//! Keeps [`Leadership`] true.
//!
//! Looks at openraft's metrics when they change. That a quorum falls silent
//! changes no metric, only the time does: an acting leader also looks when the
//! latest answers expire. An agent at rest that doesn't lead has nothing to look at.

use std::sync::Arc;
use std::time::{Duration, Instant};

use starling_engine::unit::NodeId;
use tokio::sync::watch;

use crate::acks::Acks;
use crate::hand_over::Part;
use crate::stats::{Stats, Tally};
use crate::types::{Metrics, Raft};
use crate::{Backing, Leadership, Timing};

/// How often a leader that may not act looks for the answers that it waits for;
/// they change no metric either. Well below any election timeout.
const LOOK: Duration = Duration::from_millis(25);

/// A leader stands behind an agent that it has spoken to within so many of the longest
/// election timeouts, 1.5 s by default: heartbeats come every 0.1 s, and whoever misses them
/// for one timeout elects another one.
const LED_WITHIN_ELECTIONS: u32 = 3;

pub fn led_within(timing: Timing) -> Duration {
    Duration::from_millis(timing.election_max_ms) * LED_WITHIN_ELECTIONS
}

/// What [`Leadership`] is computed from.
#[derive(Clone)]
pub struct Observer {
    pub raft: Raft,
    pub acks: Arc<Acks>,
    pub timing: Timing,
    pub tally: Arc<Tally>,
    pub part: watch::Receiver<Part>,
}

impl Observer {
    /// As it is at this moment.
    pub fn observe(&self) -> Leadership {
        self.see(&self.raft.metrics().borrow(), Instant::now())
    }

    /// Whether a leader stands behind what this agent knows.
    pub fn backing(&self) -> Backing {
        let now = Instant::now();
        let metrics = self.raft.metrics();
        let seen = self.see(&metrics.borrow(), now);
        let within = led_within(self.timing);
        let own = NodeId(metrics.borrow().id);
        self.tally.backing(&seen, own, within, now)
    }

    /// What was counted; the disk counts for itself.
    pub fn stats(&self) -> Stats {
        self.tally
            .stats(&self.raft.metrics().borrow(), Instant::now())
    }

    /// A leader that hands over doesn't act, whatever its quorum says.
    fn see(&self, metrics: &Metrics, now: Instant) -> Leadership {
        let mut seen = observe(metrics, &self.acks, self.timing, now);
        seen.acting &= *self.part.borrow() != Part::Handing;
        seen
    }

    /// Runs until openraft has ended; then nobody leads as far as this agent knows.
    pub async fn run(mut self, leadership: watch::Sender<Leadership>) {
        let mut metrics = self.raft.metrics();
        loop {
            let now = Instant::now();
            let (seen, look_at) = {
                let metrics = metrics.borrow_and_update();
                self.tally.look(&metrics, now);
                let seen = self.see(&metrics, now);
                if seen.acting {
                    self.tally.leads(now);
                }
                let look_at = look_at(&metrics, &seen, &self.acks, self.timing, now);
                (seen, look_at)
            };
            leadership.send_if_modified(|known| {
                let changed = *known != seen;
                *known = seen;
                changed
            });
            let due = async {
                match look_at {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = metrics.changed() => if changed.is_err() {
                    leadership.send_modify(|known| {
                        known.leader = None;
                        known.acting = false;
                    });
                    return;
                },
                Ok(()) = self.part.changed() => {}
                () = due => {}
            }
        }
    }
}

/// When time alone may change what was `seen` at `now`; `None` if it can't.
fn look_at(
    metrics: &Metrics,
    seen: &Leadership,
    acks: &Acks,
    timing: Timing,
    now: Instant,
) -> Option<Instant> {
    if seen.acting {
        return fresh_until(metrics, acks, timing, now);
    }
    metrics.state.is_leader().then(|| now + LOOK)
}

/// When the latest answers of a quorum are too old for a leader to act on.
fn fresh_until(metrics: &Metrics, acks: &Acks, timing: Timing, now: Instant) -> Option<Instant> {
    let configs = metrics.membership_config.membership().get_joint_config();
    let acknowledged = acks.quorum(metrics.current_term, metrics.id, configs, now)?;
    Some(acknowledged + Duration::from_millis(timing.election_min_ms))
}

fn observe(metrics: &Metrics, acks: &Acks, timing: Timing, now: Instant) -> Leadership {
    let membership = metrics.membership_config.membership();
    let running = metrics.running_state.is_ok();
    let applied_own = metrics.last_applied.is_some_and(|applied| {
        applied.leader_id.term == metrics.current_term && applied.leader_id.node_id == metrics.id
    });
    let fresh = || fresh_until(metrics, acks, timing, now).is_some_and(|until| now < until);
    Leadership {
        term: metrics.current_term,
        leader: metrics.current_leader.filter(|_| running).map(NodeId),
        acting: running && metrics.state.is_leader() && applied_own && fresh(),
        voters: membership.voter_ids().map(NodeId).collect(),
        learners: membership.learner_ids().map(NodeId).collect(),
        last_log_index: metrics.last_log_index.unwrap_or(0),
        committed_index: metrics.last_applied.map_or(0, |applied| applied.index),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{LogId, Peer};
    use openraft::{CommittedLeaderId, Membership, ServerState, StoredMembership};
    use std::collections::BTreeMap;

    fn leader_of_three() -> Metrics {
        let nodes: BTreeMap<u64, Peer> = (1..=3).map(|id| (id, Peer::default())).collect();
        let voters = nodes.keys().copied().collect();
        let mut metrics = Metrics::new_initial(1);
        metrics.current_term = 4;
        metrics.state = ServerState::Leader;
        metrics.current_leader = Some(1);
        metrics.last_applied = Some(LogId::new(CommittedLeaderId::new(4, 1), 9));
        metrics.membership_config = Arc::new(StoredMembership::new(
            None,
            Membership::new(vec![voters], nodes),
        ));
        metrics
    }

    #[test]
    fn a_leader_acts_only_with_its_own_term_applied_and_a_fresh_quorum() {
        let timing = Timing::default();
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let acks = Acks::default();
        let acting = |metrics: &Metrics, ms| observe(metrics, &acks, timing, at(ms)).acting;

        let metrics = leader_of_three();
        assert!(!acting(&metrics, 0), "nobody has answered yet");
        acks.record(4, 2, at(10));
        assert!(acting(&metrics, 309));
        assert!(
            !acting(&metrics, 310),
            "the quorum is an election timeout old"
        );
        acks.record(4, 3, at(200));
        assert!(acting(&metrics, 499));

        let mut behind = leader_of_three();
        behind.last_applied = Some(LogId::new(CommittedLeaderId::new(3, 1), 8));
        assert!(
            !acting(&behind, 250),
            "its term's first entry isn't applied"
        );
        let mut follower = leader_of_three();
        follower.state = ServerState::Follower;
        assert!(!acting(&follower, 250));
        let mut stopped = leader_of_three();
        stopped.running_state = Err(openraft::error::Fatal::Stopped);
        assert!(!acting(&stopped, 250));
    }

    #[test]
    fn only_a_leader_looks_again_unasked_and_an_acting_one_when_its_quorum_expires() {
        let timing = Timing::default();
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let acks = Acks::default();
        let look = |metrics: &Metrics, ms| {
            let seen = observe(metrics, &acks, timing, at(ms));
            look_at(metrics, &seen, &acks, timing, at(ms))
        };

        let leader = leader_of_three();
        assert_eq!(look(&leader, 0), Some(at(25)), "it waits for answers");
        acks.record(4, 2, at(10));
        assert_eq!(look(&leader, 40), Some(at(310)));
        assert!(!observe(&leader, &acks, timing, at(310)).acting);
        assert_eq!(look(&leader, 310), Some(at(335)));
        let mut follower = leader_of_three();
        follower.state = ServerState::Follower;
        assert_eq!(look(&follower, 40), None);
    }
}
