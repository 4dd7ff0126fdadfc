//! When a quorum last acknowledged this leader.
//!
//! Comes in: for each answered append, when it was *sent*. A follower grants no
//! other candidate a vote for an election timeout after it got the append,
//! which is later still; so a leader that stops acting within the shortest
//! election timeout after the sending is never a second one (I1).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

#[derive(Default)]
pub struct Acks {
    inner: Mutex<Term>,
}

#[derive(Default)]
struct Term {
    term: u64,
    /// As many as members that this leader replicates to.
    sent: BTreeMap<u64, Instant>,
}

impl Acks {
    /// `from` has acknowledged what this leader of `term` sent at `sent`.
    pub fn record(&self, term: u64, from: u64, sent: Instant) {
        self.with(|inner| {
            if term > inner.term {
                *inner = Term {
                    term,
                    sent: BTreeMap::new(),
                };
            }
            if term == inner.term {
                let latest = inner.sent.entry(from).or_insert(sent);
                *latest = sent.max(*latest);
            }
        });
    }

    /// The latest time at which a majority of each of `configs` had not heard of
    /// another leader; `own` is this agent, `now` its own answer.
    pub fn quorum(
        &self,
        term: u64,
        own: u64,
        configs: &[BTreeSet<u64>],
        now: Instant,
    ) -> Option<Instant> {
        self.with(|inner| {
            let answered = |voter: &u64| {
                if *voter == own {
                    Some(now)
                } else if inner.term == term {
                    inner.sent.get(voter).copied()
                } else {
                    None
                }
            };
            let by_config = configs.iter().map(|voters| {
                let mut times: Vec<Option<Instant>> = voters.iter().map(answered).collect();
                times.sort_unstable_by(|a, b| b.cmp(a));
                // With n voters, n / 2 + 1 are a majority.
                times.get(voters.len() / 2).copied().flatten()
            });
            // `None` is less than any time; no voters at all are no quorum.
            by_config.min().flatten()
        })
    }

    /// When `from` last acknowledged this leader of `term`.
    pub fn last(&self, term: u64, from: u64) -> Option<Instant> {
        self.with(|inner| {
            (inner.term == term)
                .then(|| inner.sent.get(&from).copied())
                .flatten()
        })
    }

    fn with<R>(&self, f: impl FnOnce(&mut Term) -> R) -> R {
        f(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_quorum_is_as_old_as_its_oldest_needed_answer() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let voters = |ids: &[u64]| ids.iter().copied().collect::<BTreeSet<u64>>();
        let acks = Acks::default();
        let five = [voters(&[1, 2, 3, 4, 5])];

        assert_eq!(acks.quorum(7, 1, &five, at(100)), None);
        assert_eq!(acks.quorum(7, 1, &[voters(&[1])], at(100)), Some(at(100)));
        acks.record(7, 2, at(10));
        assert_eq!(acks.quorum(7, 1, &five, at(100)), None);
        acks.record(7, 3, at(20));
        assert_eq!(acks.quorum(7, 1, &five, at(100)), Some(at(10)));
        acks.record(7, 4, at(30));
        assert_eq!(acks.quorum(7, 1, &five, at(100)), Some(at(20)));

        // A joint configuration needs both majorities.
        let joint = [voters(&[1, 2, 3]), voters(&[1, 5, 6])];
        assert_eq!(acks.quorum(7, 1, &joint, at(100)), None);
        acks.record(7, 6, at(5));
        assert_eq!(acks.quorum(7, 1, &joint, at(100)), Some(at(5)));

        // Answers to an earlier term count for nothing.
        assert_eq!(acks.quorum(8, 1, &five, at(100)), None);
        acks.record(6, 5, at(90));
        assert_eq!(acks.quorum(7, 1, &five, at(100)), Some(at(20)));
        assert_eq!(acks.quorum(7, 1, &[], at(100)), None);
    }
}
