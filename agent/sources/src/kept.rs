//! Connections that stay open between two questions.
//!
//! Comes in: whom a connection is to, in whose name. Goes out: the one that is open, for
//! all who ask the same. Never opens one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

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

    pub(crate) fn forget(&self, whom: &K) {
        self.all().remove(whom);
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
