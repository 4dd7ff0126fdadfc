//! Other agents' peer addresses, by which an agent finds its cluster.
//!
//! Comes in: a list that stays, or one that somebody keeps up to date. Goes out:
//! the list as it is now, bounded.

use tokio::sync::watch;

/// Of more, only so many are asked; a few are enough to find the rest.
pub const SEEDS_MAX: usize = 64;

/// `host:port` of each. Clones see the same list.
#[derive(Debug, Clone)]
pub struct Seeds {
    list: watch::Receiver<Vec<String>>,
}

impl Seeds {
    /// As the list is now.
    pub fn now(&self) -> Vec<String> {
        self.list.borrow().iter().take(SEEDS_MAX).cloned().collect()
    }

    /// Returns when the list has changed since this clone last waited; never, if
    /// nobody changes it.
    pub async fn changed(&mut self) {
        if self.list.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl From<Vec<String>> for Seeds {
    fn from(list: Vec<String>) -> Seeds {
        Seeds {
            list: watch::channel(list).1,
        }
    }
}

impl From<watch::Receiver<Vec<String>>> for Seeds {
    fn from(list: watch::Receiver<Vec<String>>) -> Seeds {
        Seeds { list }
    }
}
