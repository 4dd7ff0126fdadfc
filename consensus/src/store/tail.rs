//! The newest entries, in memory: replication and applying read what was just
//! appended, and shall not queue behind the disk for it.

use std::collections::VecDeque;
use std::ops::Range;

use crate::types::RaftEntry;

/// At either bound the oldest entries go; they are still read from disk. In memory an
/// entry takes about three times as much as encoded.
const TAIL_ENTRIES_MAX: usize = 1_024;
const TAIL_BYTES_MAX: usize = 1 << 20;

/// A gapless run of entries that ends with the log's last one.
#[derive(Default)]
pub struct Tail {
    entries: VecDeque<(RaftEntry, usize)>,
    bytes: usize,
}

impl Tail {
    /// `size` is the entry's encoded length in bytes.
    pub fn push(&mut self, entry: RaftEntry, size: usize) {
        let follows = self
            .entries
            .back()
            .is_none_or(|(last, _)| last.log_id.index + 1 == entry.log_id.index);
        if !follows {
            self.clear();
        }
        self.bytes += size;
        self.entries.push_back((entry, size));
        while self.entries.len() > TAIL_ENTRIES_MAX || self.bytes > TAIL_BYTES_MAX {
            let Some((_, size)) = self.entries.pop_front() else {
                break;
            };
            self.bytes -= size;
        }
    }

    /// Forgets `index` and what follows.
    pub fn truncate(&mut self, index: u64) {
        while let Some((_, size)) = self
            .entries
            .pop_back_if(|(entry, _)| entry.log_id.index >= index)
        {
            self.bytes -= size;
        }
    }

    /// Forgets what comes before `index`, and `index`.
    pub fn purge(&mut self, index: u64) {
        while let Some((_, size)) = self
            .entries
            .pop_front_if(|(entry, _)| entry.log_id.index <= index)
        {
            self.bytes -= size;
        }
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    /// The entries of `range` (the first of them, up to `bytes_max`, but at
    /// least one), if all of them are here.
    pub fn get(&self, range: Range<u64>, bytes_max: usize) -> Option<Vec<RaftEntry>> {
        let first = self.entries.front()?.0.log_id.index;
        let next = first + self.entries.len() as u64;
        if range.start < first || range.end > next {
            return None;
        }
        let mut bytes = 0;
        let mut found = Vec::new();
        for (entry, size) in self
            .entries
            .range((range.start - first) as usize..(range.end - first) as usize)
        {
            bytes += size;
            if bytes > bytes_max && !found.is_empty() {
                break;
            }
            found.push(entry.clone());
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::LogId;
    use openraft::CommittedLeaderId;

    fn entry(index: u64) -> RaftEntry {
        RaftEntry {
            log_id: LogId::new(CommittedLeaderId::new(1, 1), index),
            payload: openraft::EntryPayload::Blank,
        }
    }

    fn indexes(found: Option<Vec<RaftEntry>>) -> Option<Vec<u64>> {
        found.map(|entries| entries.iter().map(|e| e.log_id.index).collect())
    }

    #[test]
    fn the_tail_answers_only_for_ranges_that_it_holds_whole() {
        let mut tail = Tail::default();
        for index in 5..10 {
            tail.push(entry(index), 10);
        }
        assert_eq!(indexes(tail.get(5..8, 1_000)), Some(vec![5, 6, 7]));
        assert_eq!(indexes(tail.get(5..8, 20)), Some(vec![5, 6]));
        assert_eq!(indexes(tail.get(5..8, 1)), Some(vec![5]));
        assert_eq!(indexes(tail.get(4..8, 1_000)), None);
        assert_eq!(indexes(tail.get(9..11, 1_000)), None);

        tail.truncate(8);
        assert_eq!(indexes(tail.get(7..9, 1_000)), None);
        tail.purge(5);
        assert_eq!(indexes(tail.get(5..6, 1_000)), None);
        assert_eq!(indexes(tail.get(6..8, 1_000)), Some(vec![6, 7]));
    }

    #[test]
    fn the_tail_is_bounded_by_number_and_by_bytes() {
        let mut tail = Tail::default();
        for index in 0..TAIL_ENTRIES_MAX as u64 * 2 {
            tail.push(entry(index), 1);
        }
        assert_eq!(tail.entries.len(), TAIL_ENTRIES_MAX);
        for index in 0..4 {
            tail.push(
                entry(TAIL_ENTRIES_MAX as u64 * 2 + index),
                TAIL_BYTES_MAX / 2,
            );
        }
        assert!(tail.bytes <= TAIL_BYTES_MAX);
        assert_eq!(tail.entries.len(), 2);
    }
}
