//! How long the cluster goes without decisions when its leader is killed.
//!
//! The time runs from just before the SIGKILL until a surviving agent first
//! answers with a change of size that another leader committed. Where no size
//! needs to change for a while, it ends with the commit of the new leader's own
//! first log entry: from then on it could have decided. Survivors are asked
//! every 10 ms, so a result is late by at most that and an answer's way.

use std::time::{Duration, Instant};

use super::{Decision, Observer, Status};

/// How often the survivors are asked.
const ASK_EVERY: Duration = Duration::from_millis(10);
/// Once a new leader could decide, it is given this long to need to. It
/// covers a trigger's shortest polling interval and a few passes.
const DECISION_WITHIN: Duration = Duration::from_secs(5);

/// What was known of the leader before it was killed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Before {
    pub leader_id: u64,
    pub term: u64,
    /// The newest index that any agent had applied.
    pub applied_index: u64,
}

impl Before {
    /// From the agents' answers; `None` if no two of them agree on a leader.
    pub fn from(statuses: &[Option<Status>]) -> Option<Before> {
        let known = || statuses.iter().flatten();
        let newest = known().max_by_key(|status| status.term)?;
        let leader_id = newest.leader_id?;
        let agreeing = known()
            .filter(|status| status.leader_id == Some(leader_id))
            .count();
        (agreeing * 2 > statuses.len()).then_some(Before {
            leader_id,
            term: newest.term,
            applied_index: known()
                .map(|status| status.applied_index)
                .max()
                .unwrap_or_default(),
        })
    }
}

/// A new leader's first act, and how long after the kill it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failover {
    pub after: Duration,
    /// `None`: no size had to change, and `after` is the commit of the new
    /// leader's own first entry.
    pub decision: Option<Decision>,
    pub leader: String,
    pub term: u64,
    /// When the new leader's own first entry was seen committed, if it was.
    pub able_after: Option<Duration>,
}

/// Asks `survivors` (positions) until one answers with the new leader's first
/// act; `None` if there is none by `deadline`.
pub async fn watch(
    observer: &Observer,
    survivors: &[usize],
    before: Before,
    killed_at: Instant,
    deadline: Instant,
) -> Option<Failover> {
    let mut next = Next::new(before);
    let mut asked = tokio::time::interval(ASK_EVERY);
    asked.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while Instant::now() < deadline {
        asked.tick().await;
        for &survivor in survivors {
            let (decisions, status) = tokio::join!(
                observer.latest_decisions(survivor, 1),
                observer.status(survivor)
            );
            let after = killed_at.elapsed();
            let newest = decisions.ok().and_then(|newest| newest.into_iter().next());
            if let Some(failover) = next.heard(after, newest, status.ok()) {
                return Some(failover);
            }
        }
    }
    None
}

/// The rule itself, without the asking.
#[derive(Debug)]
struct Next {
    before: Before,
    /// The new leader, and the end of its log when it was first heard of as
    /// such: its own first entry is at or before that.
    elected: Option<(Status, u64)>,
    able_after: Option<Duration>,
}

impl Next {
    fn new(before: Before) -> Next {
        Next {
            before,
            elected: None,
            able_after: None,
        }
    }

    fn heard(
        &mut self,
        after: Duration,
        newest: Option<Decision>,
        status: Option<Status>,
    ) -> Option<Failover> {
        if let Some(status) = status {
            self.follow(after, &status);
        }
        let fresh = newest.filter(|decision| {
            decision.index > self.before.applied_index && decision.by != self.before.leader_id
        });
        let patience_ended = (self.able_after).is_some_and(|able| after > able + DECISION_WITHIN);
        let able_after = self.able_after;
        let (leader, term) = match &self.elected {
            Some((status, _)) => (status.name.clone(), status.term),
            None => (fresh.as_ref()?.by_name.clone(), self.before.term + 1),
        };
        match fresh {
            Some(decision) => {
                let decision = Some(decision);
                Some(Failover {
                    after,
                    decision,
                    leader,
                    term,
                    able_after,
                })
            }
            None if patience_ended => Some(Failover {
                after: able_after?,
                decision: None,
                leader,
                term,
                able_after,
            }),
            None => None,
        }
    }

    /// Only what a new leader says of itself counts: a follower may still be
    /// applying what the old one had committed.
    fn follow(&mut self, after: Duration, status: &Status) {
        let leads = status.leader_id == Some(status.node_id);
        if !leads || status.term <= self.before.term || status.node_id == self.before.leader_id {
            return;
        }
        let newer = (self.elected.as_ref()).is_none_or(|(elected, _)| status.term > elected.term);
        if newer {
            self.able_after = None;
            self.elected = Some((status.clone(), status.last_log_index));
        }
        if let Some((_, end)) = &self.elected
            && status.committed_index >= *end
        {
            self.able_after.get_or_insert(after);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: Before = Before {
        leader_id: 1,
        term: 4,
        applied_index: 100,
    };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[expect(clippy::unnecessary_wraps, reason = "what is heard may be nothing")]
    fn decision(index: u64, by: u64) -> Option<Decision> {
        let (policy, reason) = (String::from("worker"), String::new());
        let by_name = format!("agent-{by}");
        Some(Decision {
            index,
            policy,
            from: 4,
            to: 8,
            by,
            by_name,
            reason,
        })
    }

    #[expect(clippy::unnecessary_wraps, reason = "what is heard may be nothing")]
    fn leads(node_id: u64, term: u64, committed_index: u64, last_log_index: u64) -> Option<Status> {
        Some(Status {
            node_id,
            name: format!("agent-{node_id}"),
            term,
            leader_id: Some(node_id),
            applied_index: committed_index,
            committed_index,
            last_log_index,
            ..Status::default()
        })
    }

    #[test]
    fn what_the_killed_leader_had_committed_is_not_the_next_decision() {
        let mut next = Next::new(BEFORE);
        assert_eq!(next.heard(ms(10), decision(101, 1), None), None);
        assert_eq!(next.heard(ms(20), decision(99, 2), None), None);
        let failover = next
            .heard(ms(700), decision(103, 2), leads(2, 5, 103, 103))
            .unwrap();
        assert_eq!((failover.after, failover.term), (ms(700), 5));
        assert_eq!(failover.leader, "agent-2");
    }

    #[test]
    fn where_no_size_changes_the_new_leaders_own_first_entry_counts() {
        let mut next = Next::new(BEFORE);
        assert_eq!(next.heard(ms(500), None, leads(3, 6, 101, 102)), None);
        assert_eq!(next.able_after, None, "its first entry isn't committed yet");
        assert_eq!(next.heard(ms(520), None, leads(3, 6, 102, 102)), None);
        assert_eq!(next.heard(ms(530), None, leads(3, 6, 102, 103)), None);
        let failover = next
            .heard(ms(520) + DECISION_WITHIN + ms(1), None, None)
            .unwrap();
        assert_eq!((failover.after, failover.decision), (ms(520), None));
    }

    #[test]
    fn a_follower_that_applies_old_entries_under_a_new_term_shows_nothing() {
        let mut next = Next::new(BEFORE);
        let mut follower = leads(2, 5, 102, 102).unwrap();
        follower.leader_id = Some(3);
        next.heard(ms(400), None, Some(follower));
        assert_eq!(next.able_after, None);
    }

    #[test]
    fn a_leader_is_known_only_when_more_than_half_agree() {
        let status = leads(1, 4, 100, 100);
        assert_eq!(
            Before::from(&[status.clone(), status.clone(), None]),
            Some(BEFORE)
        );
        assert_eq!(Before::from(&[status, None, None]), None);
        assert_eq!(Before::from(&[]), None);
    }
}
