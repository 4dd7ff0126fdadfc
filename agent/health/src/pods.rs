//! What holds this node's pods back, on `/metrics`: their quota of CPU, and the kernel,
//! which kills for want of memory.
//!
//! Comes in: what was measured of them last. Goes out: gauges with namespace and pod as
//! labels, of those pods alone that it happened to. Other nodes' pods never stand here.

use std::fmt;

use crate::machine::family;
use crate::reading::Page;

/// More pods than these have no series: a node runs 110 as a rule.
pub const HELD_MAX: usize = 1_024;

/// A pod that was held back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    pub namespace: String,
    pub pod: String,
    /// Processes that were killed since the pod began.
    pub oom_kills: Option<u64>,
    /// Periods of the quota in which it was used up, of those with work, in thousandths.
    pub throttled_milli: Option<u64>,
}

pub(crate) fn encode(pods: &[Held], page: &mut Page) -> fmt::Result {
    let of_each = |number: fn(&Held) -> Option<f64>| {
        let shown = pods.iter().take(HELD_MAX);
        shown.filter_map(move |held| {
            let labels = vec![
                ("namespace", held.namespace.as_str()),
                ("pod", held.pod.as_str()),
            ];
            Some((labels, number(held)?))
        })
    };
    family(
        page,
        "pod_oom_kills",
        of_each(|held| held.oom_kills.map(|kills| kills as f64)),
        "Processes of a pod of this node that the kernel killed for want of memory",
    )?;
    family(
        page,
        "pod_throttled_ratio",
        of_each(|held| held.throttled_milli.map(|milli| milli as f64 / 1_000.0)),
        "Share of a quota's periods in which a pod of this node used all of it up",
    )
}
