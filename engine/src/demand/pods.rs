//! Replicas sorted by HPA's rule 5 and summed so that rules 4 to 7 can be
//! computed from the sums alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::unit::Ms;

/// One replica as its node sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pod {
    pub phase: Phase,
    pub deleted: bool,
    /// The Ready condition; `None` where it is absent.
    pub ready: Option<bool>,
    pub started_at: Option<Ms>,
    pub ready_changed_at: Option<Ms>,
    pub cpu: Metric,
    pub memory: Metric,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Phase {
    Pending,
    #[default]
    Running,
    Failed,
    Succeeded,
}

/// What a replica asked for and what it used, in milli-units (1 core = 1,000;
/// 1 byte = 1,000).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Metric {
    pub request_milli: Option<i64>,
    pub sample: Option<Reading>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    pub milli: i64,
    /// The end of the window that it covers.
    pub at: Ms,
    pub window_ms: u64,
}

/// The mergeable digest of any number of replicas, for one metric. Addition of
/// every field; the order of merging doesn't matter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// All replicas that were sorted, ignored ones left out.
    pub pods: u32,
    /// Samples that came in, whatever became of them.
    pub samples: u32,
    /// Replicas that count: not pending, not deleted, ready as far as the metric asks.
    pub ready: u32,
    pub ready_usage_milli: i64,
    pub ready_request_milli: i64,
    pub unready: u32,
    pub unready_request_milli: i64,
    /// Replicas without a sample, by their request (rule 6 fills each one in).
    pub missing: BTreeMap<i64, u32>,
    /// Replicas that state no request.
    pub without_request: u32,
    /// The oldest sample among those that count.
    pub oldest: Option<Ms>,
}
