//! Counts what came, what went, and why something was dropped.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Datagrams and what became of them, since the start.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
        }

        #[derive(Debug, Default)]
        pub struct Counters {
            $(pub $name: Counter,)*
        }

        impl Counters {
            pub fn read(&self) -> Stats {
                Stats { $($name: self.$name.read(),)* }
            }
        }
    };
}

counters! {
    sent,
    sent_bytes,
    /// Everything that arrived, dropped or not.
    received,
    received_bytes,
    /// Summaries that were newer than what was known.
    heard,
    /// Sealed with a key that isn't in the ring.
    unknown_key,
    /// Damaged, or of another cluster or generation.
    unsealable,
    /// Seen before, or too old to tell.
    replayed,
    /// Sealed well, but no message.
    malformed,
    /// Meant for another node, or for an earlier life of this one.
    misdirected,
    /// From a node that uses this one's id.
    own_id,
    /// About a node beyond [`super::NODES_MAX`].
    full,
    /// Not sent: no address, or no room in the socket and in the queue behind it.
    unsent,
    /// Not kept: the queue of timers was full.
    timers_dropped,
    /// Workloads that had no room in this node's last summary; no count of datagrams.
    left_out,
}

#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    pub fn one(&self) {
        self.add(1);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
