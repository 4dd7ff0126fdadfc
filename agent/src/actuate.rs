//! Carries out on this machine what the ledger granted to it.
//!
//! Comes in: the agent's part of the ledger. Goes out: one count for each workload, with the stamp
//! of its grant. One path for start, failover and steady state: it derives all
//! counts anew, and doing so twice changes nothing. Contains no rule about numbers.

use starling_engine::ledger::part::Part;
use starling_engine::policy::Target;
use starling_engine::unit::Stamp;
use starling_process::Supervisor;

/// Tells the supervisor this node's share of each workload. Call it only with a
/// part of a ledger that has caught up with the cluster: workers of a workload
/// that isn't in it are stopped. A workload whose policy is a dry run, or that
/// was never granted a size, is left as it is. Of a workload for which `keeps` holds
/// nothing that runs is ended.
pub fn apply(part: &Part<'_>, supervisor: &Supervisor, keeps: &dyn Fn(&Target) -> bool) {
    let known = supervisor.names();
    let mut gone = known.clone();
    for target in &part.untouched {
        gone.remove(&target.name);
    }
    for (target, share) in &part.shares {
        gone.remove(&target.name);
        let mut count = share.count;
        if keeps(target) {
            count = count.max(running(supervisor, &target.name));
        }
        // What never ran here and needn't is no business of this machine's.
        if count > 0 || known.contains(&target.name) {
            set(supervisor, share.stamp, &target.name, count);
        }
    }
    for name in gone {
        if !keeps(&Target::process(&name)) {
            set(supervisor, part.now, &name, 0);
        }
    }
}

fn running(supervisor: &Supervisor, name: &str) -> u32 {
    let workers = supervisor.workers();
    let running = workers.iter().filter(|worker| worker.name == name);
    u32::try_from(running.count()).unwrap_or(u32::MAX)
}

fn set(supervisor: &Supervisor, stamp: Stamp, name: &str, count: u32) {
    if let Err(refused) = supervisor.set(stamp, name, count) {
        tracing::warn!("{refused}");
    }
}
