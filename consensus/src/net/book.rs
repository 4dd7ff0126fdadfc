//! Addresses that peers said themselves, newer than the log's membership.
//!
//! An agent that comes back at another address can't be reached by a leader
//! that knows only the old one, and no leader can be elected where most agents
//! have moved; so what an agent announces is tried first, until it fails.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// At the bound nothing more is noted until something fails and is forgotten.
const BOOK_MAX: usize = 1_024;

#[derive(Default)]
pub struct Book {
    addresses: Mutex<BTreeMap<u64, String>>,
}

impl Book {
    pub fn note(&self, id: u64, address: &str) {
        self.with(|addresses| {
            if addresses.len() < BOOK_MAX || addresses.contains_key(&id) {
                addresses.insert(id, address.to_owned());
            }
        });
    }

    /// Where to try `id`, which the membership says is at `otherwise`.
    pub fn find(&self, id: u64, otherwise: &str) -> String {
        self.with(|addresses| {
            addresses
                .get(&id)
                .cloned()
                .unwrap_or_else(|| otherwise.to_owned())
        })
    }

    /// `id` was not at `address`.
    pub fn forget(&self, id: u64, address: &str) {
        self.with(|addresses| {
            if addresses.get(&id).is_some_and(|known| known == address) {
                addresses.remove(&id);
            }
        });
    }

    fn with<R>(&self, f: impl FnOnce(&mut BTreeMap<u64, String>) -> R) -> R {
        f(&mut self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announced_address_is_tried_until_it_fails() {
        let book = Book::default();
        assert_eq!(book.find(3, "old:1"), "old:1");
        book.note(3, "new:1");
        assert_eq!(book.find(3, "old:1"), "new:1");
        book.forget(3, "old:1");
        assert_eq!(book.find(3, "old:1"), "new:1");
        book.forget(3, "new:1");
        assert_eq!(book.find(3, "old:1"), "old:1");
    }
}
