//! Which members ask a question: each question has an order of its own among those that are
//! alive, so that questions are spread evenly and stay where they are.
//!
//! Comes in: a question, and who is alive. Goes out: whom to ask, one after the other. Those
//! that couldn't reach the source lately come last. Knows nothing of what was answered.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use starling_engine::unit::NodeId;

/// Members that are asked at most, for one answer.
pub(super) const TRIES_MAX: usize = 3;
/// Whoever couldn't reach a source comes last until nobody was found to for so long.
const SHUNNED: Duration = Duration::from_mins(1);
/// At the bound all are forgotten.
const SHUNNED_MAX: usize = 10_000;

/// A question, without what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark(u64);

impl Mark {
    /// The same for the same question in every agent of a release: a new leader's questions
    /// go where there are connections already.
    pub(super) fn of(question: &impl Hash) -> Mark {
        let mut hasher = DefaultHasher::new();
        question.hash(&mut hasher);
        Mark(hasher.finish())
    }

    fn weight(self, member: NodeId) -> u64 {
        Mark::of(&(self.0, member.0)).0
    }
}

#[derive(Debug, Default)]
pub(super) struct Spread {
    shunned: Mutex<BTreeMap<(Mark, NodeId), Instant>>,
}

impl Spread {
    /// At most [`TRIES_MAX`], of whom the asker itself is one: whatever becomes of the others,
    /// it can ask.
    pub(super) fn order(&self, mark: Mark, alive: &BTreeSet<NodeId>, own: NodeId) -> Vec<NodeId> {
        let others = alive.iter().copied().filter(|member| *member != own);
        let mut members: Vec<NodeId> = others.chain([own]).collect();
        let shunned = self.lock();
        let all = shunned.range((mark, NodeId(0))..=(mark, NodeId(u64::MAX)));
        // One try a minute, of all that couldn't: whoever can isn't left for each of them.
        let last = all.map(|(_, at)| *at).max();
        let lately = last.is_some_and(|at| at.elapsed() < SHUNNED);
        members.sort_by_cached_key(|member| {
            let since = shunned.get(&(mark, *member)).filter(|_| lately);
            (since.copied(), mark.weight(*member))
        });
        // The second, or the last where it couldn't reach it itself.
        let known = lately && shunned.contains_key(&(mark, own));
        let own_at_most = if known { TRIES_MAX - 1 } else { 1 };
        if let Some(place) = members.iter().position(|member| *member == own) {
            members.swap(place, place.min(own_at_most));
        }
        members.truncate(TRIES_MAX);
        members
    }

    pub(super) fn shun(&self, mark: Mark, member: NodeId) {
        let mut shunned = self.lock();
        if shunned.len() >= SHUNNED_MAX {
            shunned.clear();
        }
        shunned.insert((mark, member), Instant::now());
    }

    /// It was answered.
    pub(super) fn heard(&self, mark: Mark, member: NodeId) {
        self.lock().remove(&(mark, member));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Mark, NodeId), Instant>> {
        self.shunned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(ids: impl IntoIterator<Item = u64>) -> BTreeSet<NodeId> {
        ids.into_iter().map(NodeId).collect()
    }

    #[test]
    fn questions_are_spread_and_stay_where_they_are() {
        let spread = Spread::default();
        let (all, own) = (members(1..=5), NodeId(1));
        let first = |alive: &BTreeSet<NodeId>, n: u32| spread.order(Mark::of(&n), alive, own)[0];
        let mut counts = BTreeMap::<NodeId, usize>::new();
        let questions = 0..5_000;
        for n in questions.clone() {
            *counts.entry(first(&all, n)).or_default() += 1;
        }
        // Of a thousand each, by chance.
        let even = |count: &usize| (850..=1_150).contains(count);
        assert!(counts.len() == 5 && counts.values().all(even), "{counts:?}");
        let without = members([1, 2, 4, 5]);
        for n in questions {
            let before = first(&all, n);
            assert!(before == NodeId(3) || first(&without, n) == before);
        }
    }

    #[test]
    fn whoever_could_not_reach_it_comes_last_for_this_question_alone() {
        let spread = Spread::default();
        let (all, own) = (members(1..=3), NodeId(9));
        let (one, other) = (Mark::of(&"one"), Mark::of(&"other"));
        let before = (spread.order(one, &all, own), spread.order(other, &all, own));
        let mut shunned = Vec::new();
        for _ in 0..4 {
            let order = spread.order(one, &all, own);
            assert_eq!(order.len(), TRIES_MAX);
            spread.shun(one, order[0]);
            assert!(!shunned.contains(&order[0]), "{shunned:?}");
            shunned.push(order[0]);
        }
        assert_eq!(shunned[0], before.0[0]);
        assert_eq!(spread.order(other, &all, own), before.1);
        // With all of them shunned it goes round.
        assert_eq!(spread.order(one, &all, own)[0], shunned[0]);
        spread.heard(one, shunned[2]);
        assert_eq!(spread.order(one, &all, own)[0], shunned[2]);
    }

    #[test]
    fn the_asker_itself_is_always_among_them() {
        let spread = Spread::default();
        for n in 0..100 {
            let order = spread.order(Mark::of(&n), &members(1..=50), NodeId(7));
            assert!(order.contains(&NodeId(7)) && order.len() == TRIES_MAX);
        }
        assert_eq!(
            spread.order(Mark::of(&0), &members([]), NodeId(7)),
            [NodeId(7)]
        );
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let spread = Spread::default();
        for n in 0..=SHUNNED_MAX {
            spread.shun(Mark::of(&n), NodeId(1));
        }
        assert_eq!(spread.lock().len(), 1);
    }
}
