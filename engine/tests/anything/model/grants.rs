//! What was granted to workloads whose size a platform carries out, and so may be
//! written. Written from the log alone: from what was proposed and what became of it.

use std::collections::BTreeMap;

use starling_engine::ledger::scaled::Seen;
use starling_engine::ledger::{Cause, Command, InForce, Item, Ledger};
use starling_engine::node::platform::Patch;
use starling_engine::policy::{self, Target};
use starling_engine::unit::{Ms, NodeId, Stamp};

use super::super::cluster::Place;
use super::leaders::planned;

/// One size that the log granted.
struct Grant {
    policy: policy::Name,
    revision: u64,
    to: u32,
    /// The object that was seen by then.
    uid: String,
}

#[derive(Default)]
pub struct Grants {
    by_target: BTreeMap<Target, BTreeMap<Stamp, Grant>>,
    /// The last look that the log took in, and the grant that counted after it.
    looks: BTreeMap<Target, (Seen, Stamp)>,
}

impl Grants {
    /// What a leader proposes for scaled workloads must follow from what it was told.
    pub fn check(&self, command: &Command, place: &Place, ledger: &Ledger) {
        for (item, in_force) in planned(command, ledger) {
            let (policy, target) = (&in_force.policy, &in_force.policy.target);
            let workload = &ledger.workloads[target];
            let moves = item.to != item.from || item.shares.is_some();
            assert!(!policy.dry_run || !moves, "a dry run grants: {item:?}");
            self.check_look(item, target, workload.stamp);
            if workload.scaled.is_none() || item.to == item.from {
                continue;
            }
            assert!(policy.bounds().contains(&item.to), "I5: {item:?}");
            assert!(place.line.reaches, "I8: grants while it is away: {item:?}");
            assert!(place.line.knows(target), "nobody has seen it: {item:?}");
            assert!(!place.line.leaves(target), "another's: {item:?}");
        }
    }

    /// I9: what the log knows already isn't told again.
    fn check_look(&self, item: &Item, target: &Target, stamp: Stamp) {
        if let Some((seen, then)) = self.looks.get(target) {
            let again = item.seen.as_ref() == Some(seen) && *then == stamp;
            assert!(!again, "I9: it was told before: {item:?}");
        }
    }

    /// An entry was applied.
    pub fn applied(&mut self, command: &Command, ledger: &Ledger) {
        let stamp = Stamp {
            generation: ledger.generation,
            index: ledger.index,
        };
        for (item, in_force) in planned(command, ledger) {
            let target = &in_force.policy.target;
            let workload = &ledger.workloads[target];
            let Some(scaled) = &workload.scaled else {
                continue;
            };
            if let Some(seen) = &item.seen
                && scaled.carried == Some(seen.replicas)
            {
                let former = self.looks.get(target);
                // A pass that speaks of it twice may find the new object set by hand.
                let mut items = planned(command, ledger);
                let twice =
                    items.any(|(it, _)| !std::ptr::eq(it, item) && it.policy == item.policy);
                if !twice && former.is_some_and(|(former, _)| former.uid != seen.uid) {
                    let mut now = ledger.decisions.iter().rev();
                    let by_hand = now.find(|record| {
                        record.index == ledger.index
                            && record.policy == item.policy
                            && record.cause == Cause::ByHand
                    });
                    assert_eq!(by_hand, None, "it is another object: {item:?}");
                }
                let look = (seen.clone(), workload.stamp);
                self.looks.insert(target.clone(), look);
            }
            let granted = workload.stamp == stamp && workload.size == item.to;
            if item.to == item.from || !granted {
                continue;
            }
            let grant = Grant {
                policy: item.policy.clone(),
                revision: in_force.revision,
                to: item.to,
                uid: scaled.uid.clone(),
            };
            let grants = self.by_target.entry(target.clone()).or_default();
            grants.insert(stamp, grant);
        }
        // What is forgotten is seen for the first time when it comes back.
        self.looks
            .retain(|target, _| ledger.workloads.contains_key(target));
    }

    /// The size that a scaled workload has outside of its policy's bounds is one that
    /// it was found with, or was granted under other ones (I5).
    pub fn check_size(&self, in_force: &InForce, ledger: &Ledger) {
        let target = &in_force.policy.target;
        let workload = &ledger.workloads[target];
        let Some(scaled) = &workload.scaled else {
            assert!(
                in_force.policy.dry_run,
                "I5: {target} has {}",
                workload.size
            );
            return;
        };
        let found = scaled.carried.is_none() || scaled.carried == Some(workload.size);
        let grants = self.by_target.get(target);
        let grant = grants.and_then(|all| all.get(&workload.stamp));
        let edited = grant.is_some_and(|grant| grant.revision != in_force.revision);
        assert!(found || edited, "I5: {in_force:?} has {workload:?}");
    }

    /// A leader asks for a write.
    pub fn may_write(&self, patch: &Patch, place: &Place, ledger: &Ledger) {
        assert!(place.leads, "it writes without leading: {patch:?}");
        assert!(place.line.reaches, "I8: writes while it is away: {patch:?}");
        let target = &patch.target;
        assert!(!place.line.leaves(target), "another's: {patch:?}");
        let in_force = ledger.policies.get(&patch.policy);
        let policy = &in_force.expect("a policy in force").policy;
        assert_eq!(policy.target, patch.target);
        assert!(!policy.dry_run, "a dry run writes: {patch:?}");
        assert!(policy.bounds().contains(&patch.to), "I5: {patch:?}");
        assert_ne!(patch.from, patch.to, "I9: {patch:?}");
        let workload = &ledger.workloads[&patch.target];
        let committed = (workload.size, workload.stamp);
        assert_eq!((patch.to, patch.stamp), committed, "not committed");
        self.was_granted(patch);
    }

    /// A write has reached the platform: it may be late, but was granted once, to
    /// this very object.
    pub fn was_granted(&self, patch: &Patch) {
        let grants = self.by_target.get(&patch.target);
        let grant = grants.and_then(|all| all.get(&patch.stamp));
        let grant = grant.unwrap_or_else(|| panic!("never granted: {patch:?}"));
        let granted = (&grant.policy, grant.to, &grant.uid);
        assert_eq!((&patch.policy, patch.to, &patch.uid), granted);
    }
}

/// Replicas of which nobody speaks are missing, never left out and never taken to
/// be at rest (I4). Looks at a pass that was made right now.
pub fn silence(place: &Place, now: Ms, ledger: &Ledger) {
    let decisions = place.node.decisions();
    let decisions = decisions.into_iter().flat_map(|all| all.iter());
    for (name, decision) in decisions {
        let Some(in_force) = ledger.policies.get(name) else {
            continue;
        };
        let target = &in_force.policy.target;
        let workload = &ledger.workloads[target];
        if workload.scaled.is_none() {
            continue;
        }
        let inputs = decision.report.inputs.iter();
        for (input, trigger) in inputs.zip(&in_force.policy.triggers) {
            // What others say of all replicas is theirs to answer for.
            let measured = !trigger.source.is_polled();
            let Some(pods) = input.pods.filter(|_| measured) else {
                continue;
            };
            let all = [pods.counted, pods.unready, pods.missing].map(u64::from);
            let told = u64::from(place.line.running(target));
            let sum: u64 = all.iter().sum();
            assert!(sum >= told, "I4: {told} run: {input:?}");
            let measured = samples(place, target, now, &input.source);
            assert!(all[0] <= measured, "I4: {measured} were heard: {input:?}");
        }
    }
}

/// Whether nobody at all speaks of a workload's replicas.
pub fn is_silent(place: &Place, target: &Target, now: Ms, metric: &str) -> bool {
    samples(place, target, now, metric) == 0
}

/// Samples of a workload's replicas that came in lately.
fn samples(place: &Place, target: &Target, now: Ms, metric: &str) -> u64 {
    let summaries: &BTreeMap<NodeId, _> = place.node.summaries();
    let fresh = summaries.values().filter(|it| now.since(it.at) <= 5_000);
    let usages = fresh.filter_map(|it| it.workloads.get(target));
    let measures = usages.filter_map(|usage| usage.metrics.get(metric));
    measures.map(|it| u64::from(it.sums.samples)).sum()
}
