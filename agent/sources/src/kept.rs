//! Connections that stay open between two questions.
//!
//! Comes in: whom a connection is to and in whose name, how one is opened, and what is
//! asked. Goes out: the answer. What is asked twice is only what a connection didn't answer
//! that had been open for a while: servers close those without a word.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::Reason;

/// With one more the one is closed that was asked longest ago; a question that is under way
/// ends over its own.
const CONNECTIONS_MAX: usize = 64;
/// One that nobody has asked over for so long is closed when the next one is opened.
pub(crate) const IDLE_MAX: Duration = Duration::from_mins(5);

/// Each is used by all who ask one server in one name.
pub(crate) struct Kept<K, V> {
    open: Mutex<BTreeMap<K, Open<V>>>,
    opened: AtomicU64,
}

struct Open<V> {
    /// No two have the same.
    id: u64,
    used: Instant,
    connection: V,
}

/// Why a question has no answer, as far as that is of the connection.
pub(crate) trait Lost {
    fn reason(&self) -> Option<&Reason>;
}

impl Lost for Reason {
    fn reason(&self) -> Option<&Reason> {
        Some(self)
    }
}

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Kept {
            open: Mutex::default(),
            opened: AtomicU64::default(),
        }
    }
}

impl<K: fmt::Debug + Ord, V> fmt::Debug for Kept<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all().keys()).finish()
    }
}

impl<K: Ord, V> Kept<K, V> {
    fn all(&self) -> MutexGuard<'_, BTreeMap<K, Open<V>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Ord + Clone, V: Clone> Kept<K, V> {
    pub(crate) async fn ask<T, E, C, Q>(
        &self,
        whom: &K,
        connect: impl Fn() -> C,
        question: impl Fn(V) -> Q,
    ) -> Result<T, E>
    where
        E: Lost,
        C: Future<Output = Result<V, E>>,
        Q: Future<Output = Result<T, E>>,
    {
        if let Some(known) = self.known(whom) {
            match known.ask(&question).await {
                Err(why) if matches!(why.reason(), Some(Reason::Connection(_))) => {}
                answer => return answer,
            }
        }
        let connection = connect().await?;
        self.keep(whom, connection).ask(&question).await
    }

    fn known<'a>(&'a self, whom: &'a K) -> Option<Used<'a, K, V>> {
        let mut all = self.all();
        let open = all.get_mut(whom)?;
        open.used = Instant::now();
        Some(Used {
            all: self,
            whom,
            id: open.id,
            connection: open.connection.clone(),
            answered: false,
        })
    }

    /// Of those who connect at once each has one, and the last one's is kept.
    fn keep<'a>(&'a self, whom: &'a K, connection: V) -> Used<'a, K, V> {
        let id = self.opened.fetch_add(1, Ordering::Relaxed) + 1;
        let mut all = self.all();
        all.retain(|_, open| open.used.elapsed() < IDLE_MAX);
        if all.len() >= CONNECTIONS_MAX && !all.contains_key(whom) {
            let oldest = all.iter().min_by_key(|(_, open)| open.used);
            if let Some(oldest) = oldest.map(|(whom, _)| whom.clone()) {
                all.remove(&oldest);
            }
        }
        let open = Open {
            id,
            used: Instant::now(),
            connection: connection.clone(),
        };
        all.insert(whom.clone(), open);
        Used {
            all: self,
            whom,
            id,
            connection,
            answered: false,
        }
    }
}

/// A connection while something is asked over it. Whoever hangs or is gone is connected to
/// anew, also where nobody waited for the answer to the end.
struct Used<'a, K: Ord, V> {
    all: &'a Kept<K, V>,
    whom: &'a K,
    id: u64,
    connection: V,
    answered: bool,
}

impl<K: Ord, V: Clone> Used<'_, K, V> {
    async fn ask<T, E, Q>(mut self, question: impl Fn(V) -> Q) -> Result<T, E>
    where
        E: Lost,
        Q: Future<Output = Result<T, E>>,
    {
        let answer = question(self.connection.clone()).await;
        let why = answer.as_ref().err().and_then(Lost::reason);
        // Any other failure is an answer.
        self.answered = !matches!(
            why,
            Some(Reason::Connection(_) | Reason::TooLong | Reason::TimedOut { .. })
        );
        answer
    }
}

impl<K: Ord, V> Drop for Used<'_, K, V> {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        let mut all = self.all.all();
        // Another one that was opened meanwhile stays.
        if all.get(self.whom).is_some_and(|open| open.id == self.id) {
            all.remove(self.whom);
        }
    }
}
