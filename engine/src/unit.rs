//! The units that the engine counts in, as types of their own.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Milliseconds: a point in log time (since the Unix epoch) or, where a name
/// ends in `_ms`, a plain `u64` duration.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Ms(pub u64);

impl Ms {
    /// How long ago `earlier` was, in milliseconds; 0 if it lies ahead.
    pub fn since(self, earlier: Ms) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This point moved forward by `duration_ms`.
    #[must_use]
    pub fn plus(self, duration_ms: u64) -> Ms {
        Ms(self.0.saturating_add(duration_ms))
    }

    /// This point moved back by `duration_ms`, not before the epoch.
    #[must_use]
    pub fn minus(self, duration_ms: u64) -> Ms {
        Ms(self.0.saturating_sub(duration_ms))
    }
}

/// An agent's number: the ledger index of the entry that admitted it, so it is
/// never given twice. 0 is nobody.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a leader's writes carry: the cluster's generation and the ledger index of
/// the grant. A write is refused where a newer one has been seen (I1).
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Stamp {
    pub generation: u64,
    pub index: u64,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.generation, self.index)
    }
}
