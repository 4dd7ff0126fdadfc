//! Asks once what several policies want to know.
//!
//! Comes in: a question, how old an answer may be, since when nothing has changed that is
//! known, and how it is asked. Goes out: the answer, and when it was asked for. Whoever comes
//! while a question is under way waits for its answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;

/// Answers are kept for so long at most.
pub(super) const AGE_MAX: Duration = Duration::from_secs(1);

/// Which question of somebody else's serves too.
#[derive(Debug, Clone, Copy)]
pub(super) enum Serves {
    /// Whose answer isn't older, and any that waits for its answer.
    Within(Duration),
    /// One that was asked for later: what it says from before is wrong.
    Since(Instant),
}

pub(in crate::run) struct Once<Q, A> {
    asked: Mutex<Asked<Q, A>>,
}

struct Asked<Q, A> {
    /// By question. What was asked for longer than [`AGE_MAX`] ago goes at the next look.
    under_way: BTreeMap<Q, Arc<Entry<A>>>,
    looked: Instant,
}

struct Entry<A> {
    begun: Instant,
    answer: OnceCell<A>,
}

impl<Q, A> Default for Once<Q, A> {
    fn default() -> Self {
        let asked = Asked {
            under_way: BTreeMap::new(),
            looked: Instant::now(),
        };
        Once {
            asked: Mutex::new(asked),
        }
    }
}

impl<Q: Ord, A: Clone> Once<Q, A> {
    pub(super) async fn ask(
        &self,
        question: Q,
        serves: Serves,
        asked: impl Future<Output = A>,
    ) -> (A, Instant) {
        let entry = self.entry(question, serves);
        // Where whoever asks is given up, the next one that waits asks.
        let answer = entry.answer.get_or_init(|| asked).await;
        (answer.clone(), entry.begun)
    }

    fn entry(&self, question: Q, serves: Serves) -> Arc<Entry<A>> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let Asked { under_way, looked } = &mut *asked;
        let now = Instant::now();
        if now.duration_since(*looked) >= AGE_MAX {
            *looked = now;
            under_way.retain(|_, entry| {
                entry.answer.get().is_none() && Arc::strong_count(entry) > 1
                    || now.duration_since(entry.begun) < AGE_MAX
            });
        }
        let serves = |entry: &&Arc<Entry<A>>| match serves {
            Serves::Within(age_max) => {
                let age_max = age_max.min(AGE_MAX);
                entry.answer.get().is_none() || now.duration_since(entry.begun) < age_max
            }
            Serves::Since(change) => entry.begun >= change,
        };
        if let Some(entry) = under_way.get(&question).filter(serves) {
            return entry.clone();
        }
        let entry = Arc::new(Entry {
            begun: now,
            answer: OnceCell::new(),
        });
        under_way.insert(question, entry.clone());
        entry
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    const LONG: Serves = Serves::Within(Duration::from_mins(10));
    const NOW: Serves = Serves::Within(Duration::ZERO);

    /// Time passes.
    fn pass<Q: Ord, A>(once: &Once<Q, A>) {
        let mut asked = once.asked.lock().unwrap();
        let ago = |at: Instant| at.checked_sub(2 * AGE_MAX).unwrap();
        asked.looked = ago(asked.looked);
        for entry in asked.under_way.values_mut() {
            let entry = Arc::get_mut(entry).unwrap();
            entry.begun = ago(entry.begun);
        }
    }

    #[tokio::test]
    async fn whoever_comes_meanwhile_has_the_same_answer() {
        let once = Once::<&str, u32>::default();
        let (answer, answered) = oneshot::channel();
        let first = once.ask("depth", NOW, async { answered.await.unwrap() });
        let second = once.ask("depth", NOW, async { unreachable!() });
        let other = once.ask("age", NOW, async {
            answer.send(7).unwrap();
            9
        });
        let (first, second, other) = tokio::join!(first, second, other);
        assert_eq!((first.0, second, other.0), (7, first, 9));
    }

    #[tokio::test]
    async fn an_answer_serves_until_it_is_too_old_for_who_asks() {
        let once = Once::<(), u32>::default();
        let count = AtomicU32::new(0);
        let asked = || async { count.fetch_add(1, Ordering::Relaxed) };
        let (first, begun) = once.ask((), LONG, asked()).await;
        assert_eq!(first, 0);
        assert!(once.ask((), NOW, asked()).await.0 == 1, "too old");
        // However long somebody may wait, it isn't kept for more than a second.
        while begun.elapsed() < 2 * AGE_MAX {
            tokio::time::sleep(AGE_MAX).await;
        }
        assert_eq!(once.ask((), LONG, asked()).await.0, 2);
    }

    #[tokio::test]
    async fn what_was_asked_before_a_change_doesn_t_serve_for_it() {
        let once = Once::<(), u32>::default();
        let (answer, answered) = oneshot::channel();
        let before = once.ask((), NOW, async { answered.await.unwrap() });
        let mut before = std::pin::pin!(before);
        let waits = tokio::time::timeout(Duration::ZERO, before.as_mut()).await;
        assert!(waits.is_err(), "it has no answer yet");
        let change = Instant::now();
        let after = once.ask((), Serves::Since(change), async { 8 }).await;
        assert_eq!(after.0, 8);
        // And the next one who heard of it has that.
        let same = once.ask((), Serves::Since(change), async { unreachable!() });
        assert_eq!(same.await, after);
        answer.send(7).unwrap();
        assert_eq!(before.await.0, 7);
        assert_eq!(once.ask((), LONG, async { unreachable!() }).await.0, 8);
    }

    #[tokio::test]
    async fn one_that_is_given_up_is_asked_by_the_next() {
        let once = Once::<(), u32>::default();
        let given_up = once.ask((), LONG, async { pending().await });
        let given_up = tokio::time::timeout(Duration::from_millis(1), given_up).await;
        assert!(given_up.is_err());
        assert_eq!(once.ask((), LONG, async { 3 }).await.0, 3);
    }

    #[tokio::test]
    async fn nothing_old_is_kept() {
        let once = Once::<u32, u32>::default();
        for question in 0..100 {
            once.ask(question, LONG, async { 0 }).await;
        }
        pass(&once);
        once.ask(100, LONG, async { 0 }).await;
        assert_eq!(once.asked.lock().unwrap().under_way.len(), 1);
    }
}
