//! Workloads that no policy sizes: they keep their last size, so replicas that a lost
//! node had run elsewhere.
//!
//! Comes in: the ledger, and who is alive. Goes out: moves for the pass. Changes no
//! size, and stops nothing that may still run.

use std::collections::BTreeSet;

use super::entry::Entry;
use super::{Lead, Node, PASS_MOVES_MAX, placement};
use crate::ledger::{Ledger, Move, Workload};
use crate::unit::{Ms, NodeId};

impl Node {
    /// What there is room for; the rest is planned anew by the next pass.
    pub(super) fn move_orphans(
        &self,
        lead: &Lead,
        now: Ms,
        ledger: &Ledger,
        entry: &mut Entry<'_>,
    ) {
        if ledger.rests(now.max(ledger.time)) {
            return;
        }
        let orphans = ledger.workloads.iter();
        let orphans = orphans.filter(|(_, workload)| {
            workload.policy.is_none() && workload.scaled.is_none() && !workload.is_ungranted()
        });
        for (target, workload) in orphans {
            if entry.moves() >= PASS_MOVES_MAX || !misses_some(lead, now, workload) {
                continue;
            }
            let eligible = self.eligible(now, target, entry);
            let lost: BTreeSet<NodeId> = workload
                .shares
                .keys()
                .filter(|node| lead.has_lost(now, **node))
                .copied()
                .collect();
            let shares = placement::spread(
                workload.size,
                &workload.shares,
                &eligible,
                &lost,
                entry.placed(),
            );
            // Where nobody can run them, they are left where they were: they may come back.
            if eligible.is_empty() || shares == workload.shares {
                continue;
            }
            let moved = Move {
                target: target.clone(),
                stamp: workload.stamp,
                shares,
            };
            if !entry.moves_on(moved, workload) {
                return;
            }
        }
    }
}

fn misses_some(lead: &Lead, now: Ms, workload: &Workload) -> bool {
    let placed: u64 = workload.shares.values().map(|n| u64::from(*n)).sum();
    let away = |node: &NodeId| lead.has_lost(now, *node);
    placed < u64::from(workload.size) || workload.shares.keys().any(away)
}
