//! What this agent's end of the log has counted, for those who watch over it.
//!
//! Comes in: what the observer sees change, and what a leader says. Goes out:
//! [`Stats`]. Decides nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use starling_engine::unit::NodeId;

use crate::types::Metrics;
use crate::{Backing, Leadership};

/// Since the start of this agent, unless it says otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Terms that have begun.
    pub elections: u64,
    /// How often another agent came to lead.
    pub leader_changes: u64,
    /// How often the log was synced to disk.
    pub disk_syncs: u64,
    /// Entries written to the log.
    pub entries_written: u64,
    /// Log index up to which entries are known here to be committed, applied or not.
    pub committed_index: u64,
    /// Since a leader was heard of; `None` where none was, or this agent leads.
    pub leader_silence: Option<Duration>,
}

/// Counts what changes.
#[derive(Default)]
pub struct Tally {
    seen: Mutex<Seen>,
    /// What a leader has said to be committed; never less than before.
    committed: AtomicU64,
    heard: Mutex<Heard>,
}

/// When a leader last spoke here.
#[derive(Debug, Clone, Copy, Default)]
struct Heard {
    /// Any that leads, in name at least.
    any: Option<Instant>,
    /// One that a majority answers, which may be this agent.
    led: Option<Instant>,
    /// The last one that spoke was answered by no majority.
    alone: bool,
}

#[derive(Default)]
struct Seen {
    term: Option<u64>,
    leader: Option<u64>,
    elections: u64,
    leader_changes: u64,
    /// The term that this agent leads in, and since when.
    leads: Option<(u64, Instant)>,
}

impl Tally {
    /// Called whenever openraft's metrics have changed.
    pub fn look(&self, metrics: &Metrics, now: Instant) {
        let mut seen = self.seen();
        let before = seen.term.replace(metrics.current_term);
        if let Some(before) = before {
            seen.elections += metrics.current_term.saturating_sub(before);
        }
        if metrics.current_leader.is_some() && metrics.current_leader != seen.leader {
            if seen.leader.is_some() {
                seen.leader_changes += 1;
            }
            seen.leader = metrics.current_leader;
        }
        seen.leads = match seen.leads {
            _ if !metrics.state.is_leader() => None,
            Some((term, since)) if term == metrics.current_term => Some((term, since)),
            _ => Some((metrics.current_term, now)),
        };
    }

    /// A leader has called, and says what is committed, and whether it is `alone`: no
    /// majority answers it.
    pub fn heard(&self, committed: Option<u64>, alone: bool, now: Instant) {
        self.committed
            .fetch_max(committed.unwrap_or(0), Ordering::Relaxed);
        let mut heard = self.last();
        heard.any = Some(now);
        heard.alone = alone;
        if !alone {
            heard.led = Some(now);
        }
    }

    /// This agent leads, and a majority answers it.
    pub fn leads(&self, now: Instant) {
        let mut heard = self.last();
        heard.led = Some(now);
        heard.alone = false;
    }

    /// How long no leader has called; `None` where none ever has.
    pub fn silence(&self, now: Instant) -> Option<Duration> {
        let any = self.last().any;
        any.map(|heard| now.saturating_duration_since(heard))
    }

    /// Whether a leader that a majority answers stands behind this agent.
    pub fn backing(
        &self,
        seen: &Leadership,
        own: NodeId,
        within: Duration,
        now: Instant,
    ) -> Backing {
        let heard = *self.last();
        let age = heard.led.map(|led| now.saturating_duration_since(led));
        let fresh = age.is_some_and(|age| age <= within);
        let called = heard.any.map(|any| now.saturating_duration_since(any));
        let leads = seen.leader == Some(own);
        Backing {
            led: seen.acting || (fresh && !leads && seen.leader.is_some()),
            age: if seen.acting {
                Some(Duration::ZERO)
            } else {
                age
            },
            alone: if leads {
                !seen.acting
            } else {
                heard.alone && called.is_some_and(|called| called <= within)
            },
        }
    }

    fn last(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since when this agent leads in `term`, where it does.
    pub fn led_since(&self, term: u64) -> Option<Instant> {
        let leads = self.seen().leads;
        leads
            .filter(|(led, _)| *led == term)
            .map(|(_, since)| since)
    }

    /// All but what the disk counts.
    pub fn stats(&self, metrics: &Metrics, now: Instant) -> Stats {
        let applied = metrics.last_applied.map_or(0, |applied| applied.index);
        let seen = self.seen();
        Stats {
            elections: seen.elections,
            leader_changes: seen.leader_changes,
            committed_index: self.committed.load(Ordering::Relaxed).max(applied),
            leader_silence: self.silence(now).filter(|_| !metrics.state.is_leader()),
            ..Stats::default()
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use openraft::ServerState;

    use super::*;

    fn at(term: u64, leader: Option<u64>) -> Metrics {
        let mut metrics = Metrics::new_initial(1);
        metrics.current_term = term;
        metrics.current_leader = leader;
        if leader == Some(1) {
            metrics.state = ServerState::Leader;
        }
        metrics
    }

    #[test]
    fn terms_and_leaders_are_counted_from_the_first_look_on() {
        let tally = Tally::default();
        let now = Instant::now();
        let counted = |metrics: &Metrics| {
            tally.look(metrics, now);
            let stats = tally.stats(metrics, now);
            (stats.elections, stats.leader_changes)
        };
        assert_eq!(counted(&at(7, None)), (0, 0), "it began before");
        assert_eq!(counted(&at(7, Some(2))), (0, 0), "the first is no change");
        assert_eq!(counted(&at(8, None)), (1, 0));
        assert_eq!(counted(&at(9, None)), (2, 0));
        assert_eq!(counted(&at(9, Some(2))), (2, 0), "the same one again");
        assert_eq!(counted(&at(10, Some(3))), (3, 1));
    }

    #[test]
    fn a_leader_knows_since_when_it_leads() {
        let tally = Tally::default();
        let begin = Instant::now();
        let later = begin + Duration::from_secs(1);
        tally.look(&at(3, Some(1)), begin);
        tally.look(&at(3, Some(1)), later);
        assert_eq!(tally.led_since(3), Some(begin));
        assert_eq!(tally.led_since(2), None);
        tally.look(&at(4, Some(2)), later);
        assert_eq!(tally.led_since(4), None);
    }

    #[test]
    fn what_a_leader_said_is_committed_stays_so() {
        let tally = Tally::default();
        let begin = Instant::now();
        let follower = at(3, Some(2));
        assert_eq!(tally.stats(&follower, begin).leader_silence, None);
        tally.heard(Some(12), false, begin);
        tally.heard(None, false, begin + Duration::from_secs(1));
        let stats = tally.stats(&follower, begin + Duration::from_secs(3));
        assert_eq!(stats.committed_index, 12);
        assert_eq!(stats.leader_silence, Some(Duration::from_secs(2)));
        let leader = tally.stats(&at(4, Some(1)), begin + Duration::from_secs(3));
        assert_eq!(leader.leader_silence, None);
    }

    #[test]
    fn a_leader_stands_behind_an_agent_while_it_speaks_and_a_majority_answers_it() {
        const WITHIN: Duration = Duration::from_millis(1_500);
        let tally = Tally::default();
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let own = NodeId(1);
        let follows = Leadership {
            leader: Some(NodeId(2)),
            ..Leadership::default()
        };
        let backing = |seen: &Leadership, ms| {
            let Backing { led, age, alone } = tally.backing(seen, own, WITHIN, at(ms));
            (led, age.map(|age| age.as_millis()), alone)
        };
        assert_eq!(
            backing(&follows, 0),
            (false, None, false),
            "none has spoken"
        );
        tally.heard(None, false, at(0));
        assert_eq!(backing(&follows, 1_500), (true, Some(1_500), false));
        assert_eq!(backing(&follows, 1_501), (false, Some(1_501), false));
        tally.heard(None, false, at(2_000));
        tally.heard(None, true, at(4_000));
        assert_eq!(backing(&follows, 4_000), (false, Some(2_000), true));
        let stands = Leadership::default();
        tally.heard(None, false, at(5_000));
        assert!(!backing(&stands, 5_000).0, "an election is under way");

        let acts = Leadership {
            leader: Some(own),
            acting: true,
            ..Leadership::default()
        };
        tally.leads(at(6_000));
        assert_eq!(backing(&acts, 9_000), (true, Some(0), false));
        let alone = Leadership {
            acting: false,
            ..acts
        };
        assert_eq!(backing(&alone, 6_100), (false, Some(100), true));
    }
}
