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
use crate::http::within;
use crate::settings::TIMEOUT_DEFAULT_MS;

/// With one more all are begun anew; a question that is under way ends over its own.
const CONNECTIONS_MAX: usize = 64;
/// One that nobody has asked over for so long is closed when the next one is opened.
pub(crate) const IDLE_MAX: Duration = Duration::from_mins(5);

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

    /// Another one that was opened meanwhile stays.
    fn forget(&self, whom: &K, id: u64) {
        let mut all = self.all();
        if all.get(whom).is_some_and(|open| open.id == id) {
            all.remove(whom);
        }
    }
}

impl<K: Ord + Clone, V: Clone> Kept<K, V> {
    /// Within [`TIMEOUT_DEFAULT_MS`], whatever it takes.
    pub(crate) async fn ask<T, C, Q>(
        &self,
        whom: &K,
        connect: impl Fn() -> C,
        question: impl Fn(V) -> Q,
    ) -> Result<T, Reason>
    where
        C: Future<Output = Result<V, Reason>>,
        Q: Future<Output = Result<T, Reason>>,
    {
        let asked_over = AtomicU64::new(0);
        let both = async {
            let known = self.known(whom);
            if let Some((id, connection)) = known {
                asked_over.store(id, Ordering::Relaxed);
                match question(connection).await {
                    Err(Reason::Connection(_)) => self.forget(whom, id),
                    answer => return answer,
                }
            }
            let connection = connect().await?;
            let id = self.keep(whom, connection.clone());
            asked_over.store(id, Ordering::Relaxed);
            question(connection).await
        };
        let answer = within(TIMEOUT_DEFAULT_MS, both).await;
        // Whoever hangs or is gone is connected to anew. Any other failure is an answer.
        if matches!(
            answer,
            Err(Reason::TimedOut { .. } | Reason::Connection(_) | Reason::TooLong)
        ) {
            self.forget(whom, asked_over.load(Ordering::Relaxed));
        }
        answer
    }

    fn known(&self, whom: &K) -> Option<(u64, V)> {
        let mut all = self.all();
        let open = all.get_mut(whom)?;
        open.used = Instant::now();
        Some((open.id, open.connection.clone()))
    }

    /// Of those who connect at once each has one, and the last one's is kept.
    fn keep(&self, whom: &K, connection: V) -> u64 {
        let id = self.opened.fetch_add(1, Ordering::Relaxed) + 1;
        let mut all = self.all();
        all.retain(|_, open| open.used.elapsed() < IDLE_MAX);
        if all.len() >= CONNECTIONS_MAX && !all.contains_key(whom) {
            all.clear();
        }
        let open = Open {
            id,
            used: Instant::now(),
            connection,
        };
        all.insert(whom.clone(), open);
        id
    }
}
