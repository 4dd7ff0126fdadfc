//! Connections that stay open between two questions.
//!
//! Comes in: whom a connection is to, in whose name. Goes out: the one that is open, for
//! all who ask the same. Never opens one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::Reason;
use crate::http::within;
use crate::settings::TIMEOUT_DEFAULT_MS;

/// With one more all are begun anew: those that are kept end with their last question.
const CONNECTIONS_MAX: usize = 64;

pub(crate) struct Kept<K, V>(Mutex<BTreeMap<K, V>>);

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Kept(Mutex::default())
    }
}

impl<K: fmt::Debug + Ord, V> fmt::Debug for Kept<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all().keys()).finish()
    }
}

impl<K: Ord, V> Kept<K, V> {
    fn all(&self) -> MutexGuard<'_, BTreeMap<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks over the connection that is open, and once more over a new one where that one
    /// turns out to be gone: servers close those that were idle for long.
    pub(crate) async fn ask<T, F>(&self, whom: &K, once: impl Fn() -> F) -> Result<T, Reason>
    where
        F: Future<Output = Result<T, Reason>>,
    {
        let was_open = self.all().contains_key(whom);
        let both = async {
            match once().await {
                Err(Reason::Connection(_)) if was_open => {
                    self.all().remove(whom);
                    once().await
                }
                answer => answer,
            }
        };
        let answer = within(TIMEOUT_DEFAULT_MS, both).await;
        // Whoever hangs or is gone is connected to anew. Any other failure is an answer.
        if matches!(
            answer,
            Err(Reason::TimedOut { .. } | Reason::Connection(_) | Reason::TooLong)
        ) {
            self.all().remove(whom);
        }
        answer
    }
}

impl<K: Ord + Clone, V: Clone> Kept<K, V> {
    /// The open one, or the one that `connect` opens. Two who connect at once connect
    /// twice, and one of the two is kept.
    pub(crate) async fn of<E>(
        &self,
        whom: &K,
        connect: impl Future<Output = Result<V, E>>,
    ) -> Result<V, E> {
        let open = self.all().get(whom).cloned();
        if let Some(open) = open {
            return Ok(open);
        }
        let connection = connect.await?;
        let mut all = self.all();
        if all.len() >= CONNECTIONS_MAX {
            all.clear();
        }
        all.insert(whom.clone(), connection.clone());
        Ok(connection)
    }
}
