//! What has to be remembered about a workload to decide well, across leader
//! changes and restarts (I6). Replicated: it changes only through [`History::apply`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::unit::Ms;

/// One workload's memory. Bounded: see the constants.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Unstabilized recommendations, run-length coded.
    pub recommendations: Vec<Recommendation>,
    pub ups: Vec<Event>,
    pub downs: Vec<Event>,
    /// By trigger name.
    pub health: BTreeMap<String, Health>,
    pub activity: Activity,
    /// The last change of size by a decision.
    pub changed_at: Option<Ms>,
    /// HPA's condition `ScaledToZero`.
    pub scaled_to_zero: bool,
}

/// `replicas` was recommended from `from` to `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recommendation {
    pub replicas: u32,
    pub from: Ms,
    pub until: Ms,
}

/// A change of size, for rate limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Absolute number of replicas.
    pub change: u32,
    pub at: Ms,
    pub outdated: bool,
}

/// How a trigger has answered lately. Both counts stop at a bound, so that a
/// source that stays up or down costs no log entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    pub failures: u32,
    pub successes: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    pub active: bool,
    /// When `active` was last true; while it is true, now.
    pub last_active: Option<Ms>,
}

/// One thing to remember.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {}
