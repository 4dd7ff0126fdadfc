//! Whether the agents' ledgers agree: which digest each told for which index.

use std::collections::BTreeMap;

use starling_proto::v1;

/// Older indexes are forgotten; a difference that was seen is not.
const INDEXES_MAX: usize = 1_000;

/// A ledger's digest after the entry at `index`, as the agent `node_id` told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    pub node_id: u64,
    pub index: u64,
    /// Hexadecimal.
    pub digest: String,
}

impl From<v1::Checkpoint> for Checkpoint {
    fn from(told: v1::Checkpoint) -> Checkpoint {
        Checkpoint {
            node_id: told.node_id,
            index: told.index,
            digest: told.digest,
        }
    }
}

/// All digests told so far.
#[derive(Debug, Clone, Default)]
pub struct Digests {
    by_index: BTreeMap<u64, BTreeMap<u64, String>>,
    difference: Option<u64>,
}

impl Digests {
    pub fn note(&mut self, told: &Checkpoint) {
        let at_index = self.by_index.entry(told.index).or_default();
        // An agent that tells two digests for one index differs from itself.
        if at_index.values().any(|other| *other != told.digest) {
            self.difference.get_or_insert(told.index);
        }
        at_index.insert(told.node_id, told.digest.clone());
        if self.by_index.len() > INDEXES_MAX {
            self.by_index.pop_first();
        }
    }

    /// The first index at which two digests differed.
    pub fn difference(&self) -> Option<u64> {
        self.difference
    }

    /// The newest index for which `agents` different ones told a digest.
    pub fn told_by(&self, agents: usize) -> Option<u64> {
        let complete = |(index, told): (&u64, &BTreeMap<u64, String>)| {
            (told.len() >= agents).then_some(*index)
        };
        self.by_index.iter().rev().find_map(complete)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(node_id: u64, index: u64, digest: &str) -> Checkpoint {
        Checkpoint {
            node_id,
            index,
            digest: digest.into(),
        }
    }

    #[test]
    fn a_difference_at_one_index_is_never_forgotten() {
        let mut digests = Digests::default();
        for told in [
            told(1, 16, "aa"),
            told(2, 16, "aa"),
            told(1, 32, "bb"),
            told(2, 32, "cc"),
        ] {
            digests.note(&told);
        }
        for index in 3..=INDEXES_MAX as u64 + 10 {
            digests.note(&told(1, index * 16, "dd"));
        }
        assert_eq!(digests.difference(), Some(32));
        assert_eq!(digests.by_index.len(), INDEXES_MAX);
    }

    #[test]
    fn different_indexes_may_have_different_digests() {
        let mut digests = Digests::default();
        for told in [
            told(1, 16, "aa"),
            told(2, 32, "bb"),
            told(2, 16, "aa"),
            told(3, 16, "aa"),
        ] {
            digests.note(&told);
        }
        assert_eq!(digests.difference(), None);
        assert_eq!(digests.told_by(3), Some(16));
        assert_eq!(digests.told_by(4), None);
    }
}
