//! Carries out on this machine what the ledger granted to it.
//!
//! Comes in: the ledger. Goes out: one count for each workload, with the stamp
//! of its grant. One path for start, failover and steady state: it derives all
//! counts anew, and doing so twice changes nothing. Contains no rule about numbers.

use std::collections::BTreeSet;

use starling_engine::ledger::Ledger;
use starling_engine::policy::Target;
use starling_engine::unit::{NodeId, Stamp};
use starling_process::Supervisor;
use starling_process::spec::KIND;

/// Tells the supervisor this node's share of each workload. Call it only with a
/// ledger that has caught up with the cluster: workers of a workload that isn't
/// in it are stopped. A workload whose policy is a dry run, or that was never
/// granted a size, is left as it is.
pub fn apply(ledger: &Ledger, me: NodeId, supervisor: &Supervisor) {
    let policies = ledger.policies.values().map(|put| &put.policy);
    let dry: BTreeSet<&Target> = policies
        .filter(|policy| policy.dry_run)
        .map(|policy| &policy.target)
        .collect();
    let known = supervisor.names();
    let mut gone = known.clone();
    let here = ledger.workloads.iter();
    for (target, workload) in here.filter(|(target, _)| target.kind == KIND) {
        gone.remove(&target.name);
        let granted = workload.stamp != Stamp::default();
        let share = workload.shares.get(&me).copied().unwrap_or(0);
        // What never ran here and needn't is no business of this machine's.
        let ours = share > 0 || known.contains(&target.name);
        if ours && granted && !dry.contains(target) {
            set(supervisor, workload.stamp, &target.name, share);
        }
    }
    let now = Stamp {
        generation: ledger.generation,
        index: ledger.index,
    };
    for name in gone {
        set(supervisor, now, &name, 0);
    }
}

fn set(supervisor: &Supervisor, stamp: Stamp, name: &str, count: u32) {
    if let Err(refused) = supervisor.set(stamp, name, count) {
        tracing::warn!("{refused}");
    }
}
