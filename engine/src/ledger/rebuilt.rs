//! A cluster that lost most of its voters and goes on from what one agent had, or from
//! a saved snapshot.
//!
//! Comes in: the ledger as it was. Goes out: the same in a later generation, in which
//! nothing changes until whoever leads has looked around: what was decided last may be
//! lost, and nobody has been heard yet.

use serde::{Deserialize, Serialize};

use super::Ledger;
use super::version::{REBUILT, Raised};
use crate::policy::{Policy, Target};
use crate::unit::{Ms, NodeId};

/// Measurements of less than this are no window: see [`crate::demand::series`].
pub const WINDOW_MS_MIN: u64 = 15_000;
/// So many windows are looked at before anything changes.
pub const WINDOWS: u64 = 2;

/// How far a rebuilt cluster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rebuilt {
    /// Nobody leads it yet.
    Begins,
    /// Its first leader has looked around since then, by the log's time.
    Since(Ms),
}

impl Ledger {
    /// Makes this that of a later generation, by an agent of `release`. Old leaders'
    /// decisions are refused from here on, and whoever isn't there is away. Whoever does
    /// this holds the only log that counts, so all its holders support the version that
    /// it takes.
    pub fn rebuild(&mut self, generation: u64, release: &str) {
        self.generation = generation;
        self.rebuilt = Some(Rebuilt::Begins);
        if self.version() < REBUILT {
            self.raised = Some(Raised {
                version: REBUILT,
                release: release.to_owned(),
            });
        }
        let now = self.time;
        let ids: Vec<NodeId> = self.members.keys().copied().collect();
        for id in ids {
            if let Some(admitted) = self.members.get_mut(&id) {
                admitted.away_since.get_or_insert(now);
            }
        }
        // A grant that was made and carried out after this ledger's end is on the platform
        // alone. So the platform's word counts, as where a workload is first seen.
        let scaled = self.workloads.iter().filter(|(_, it)| it.scaled.is_some());
        for target in scaled.map(|(target, _)| target.clone()).collect::<Vec<_>>() {
            let workload = self.workloads.get_mut(&target);
            if let Some(scaled) = workload.and_then(|it| it.scaled.as_mut()) {
                scaled.carried = None;
                scaled.superseded = None;
            }
        }
    }

    /// The first word counts: a second leader's doesn't make it begin anew.
    pub(super) fn look_around(&mut self) {
        if self.rebuilt == Some(Rebuilt::Begins) {
            self.rebuilt = Some(Rebuilt::Since(self.time));
        }
    }

    /// For how long a policy's workload still stays as it is; `None` once two of its
    /// windows were seen, and wherever nothing was rebuilt.
    pub fn rests_for_ms(&self, policy: &Policy, now: Ms) -> Option<u64> {
        self.left_ms(window_ms(policy), now)
    }

    /// Whether what no policy sizes stays where it is.
    pub fn rests(&self, now: Ms) -> bool {
        self.left_ms(WINDOW_MS_MIN, now).is_some()
    }

    /// Whether nothing that runs of a workload is ended yet, whatever the shares say: what
    /// they were last may be lost.
    pub fn keeps(&self, target: &Target, now: Ms) -> bool {
        if self.rebuilt.is_none() {
            return false;
        }
        let workload = self.workloads.get(target);
        let policy = workload.and_then(|it| self.policies.get(it.policy.as_ref()?));
        match policy {
            Some(put) => self.rests_for_ms(&put.policy, now).is_some(),
            None => self.rests(now),
        }
    }

    /// For how long any workload still stays as it is.
    pub fn all_act_in_ms(&self, now: Ms) -> Option<u64> {
        self.rebuilt?;
        let windows = self.policies.values().map(|put| window_ms(&put.policy));
        self.left_ms(windows.max().unwrap_or(WINDOW_MS_MIN), now)
    }

    fn left_ms(&self, window_ms: u64, now: Ms) -> Option<u64> {
        let whole_ms = window_ms.saturating_mul(WINDOWS);
        let left_ms = match self.rebuilt? {
            Rebuilt::Begins => whole_ms,
            Rebuilt::Since(since) => whole_ms.saturating_sub(now.since(since)),
        };
        (left_ms > 0).then_some(left_ms)
    }
}

/// The longest over which anything of a policy is measured.
fn window_ms(policy: &Policy) -> u64 {
    let windows = policy.triggers.iter().filter_map(|it| it.window_ms);
    let window_ms = windows.max().unwrap_or_default();
    window_ms.max(policy.polling_interval_ms).max(WINDOW_MS_MIN)
}
