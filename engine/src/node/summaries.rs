//! The newest summary of every member, and which of them speak of a workload.
//!
//! Comes in: summaries, each in place of its node's former one. Goes out: all of
//! them, or those that speak of one workload, in the order of their nodes. A pass
//! over thousands of workloads looks only at the latter.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::demand::pods::Sums;
use crate::demand::{Summary, Usage};
use crate::policy::Target;
use crate::unit::NodeId;

/// A metric that has moved by more than this many tenths of what its replicas ask
/// for, or of itself where they ask for nothing, is worth a pass at once: less is
/// within HPA's default tolerance.
const STIR_TENTHS: u128 = 1;

#[derive(Debug, Default)]
pub struct Summaries {
    by_node: BTreeMap<NodeId, Arc<Summary>>,
    /// Never an empty set.
    nodes: BTreeMap<Target, BTreeSet<NodeId>>,
}

impl Summaries {
    pub fn by_node(&self) -> &BTreeMap<NodeId, Arc<Summary>> {
        &self.by_node
    }

    pub fn get(&self, node: NodeId) -> Option<&Summary> {
        self.by_node.get(&node).map(Arc::as_ref)
    }

    /// Those that speak of a workload, with what they say.
    pub fn of(&self, target: &Target) -> impl Iterator<Item = (&Summary, &Usage)> {
        let nodes = self.nodes.get(target).into_iter().flatten();
        nodes.filter_map(|node| {
            let summary = self.get(*node)?;
            Some((summary, summary.workloads.get(target)?))
        })
    }

    /// Whether it says so much else than the node's former one that a decision
    /// may come out differently: see [`STIR_TENTHS`].
    pub fn insert(&mut self, summary: Summary) -> bool {
        let node = summary.node;
        let summary = Arc::new(summary);
        let former = self.by_node.insert(node, Arc::clone(&summary));
        let former = former.as_deref().map(|former| &former.workloads);
        // Which workloads a node has changes seldom.
        if let Some(former) = former
            && former.keys().eq(summary.workloads.keys())
        {
            let mut pairs = former.values().zip(summary.workloads.values());
            return pairs.any(|(former, now)| is_news(former, now));
        }
        for target in former.into_iter().flat_map(BTreeMap::keys) {
            if !summary.workloads.contains_key(target) {
                self.forget(target, node);
            }
        }
        for target in summary.workloads.keys() {
            if let Some(nodes) = self.nodes.get_mut(target) {
                nodes.insert(node);
            } else {
                self.nodes.insert(target.clone(), BTreeSet::from([node]));
            }
        }
        true
    }

    /// Keeps those of these nodes.
    pub fn retain(&mut self, stays: impl Fn(NodeId) -> bool) {
        let gone = self.by_node.extract_if(.., |node, _| !stays(*node));
        for (node, summary) in gone.collect::<Vec<_>>() {
            for target in summary.workloads.keys() {
                self.forget(target, node);
            }
        }
    }

    fn forget(&mut self, target: &Target, node: NodeId) {
        if let Some(nodes) = self.nodes.get_mut(target) {
            nodes.remove(&node);
            if nodes.is_empty() {
                self.nodes.remove(target);
            }
        }
    }
}

/// Replicas came, went, became ready or fell silent, or one metric moved by more
/// than [`STIR_TENTHS`].
fn is_news(former: &Usage, now: &Usage) -> bool {
    let counts = |usage: &Usage| (usage.running, usage.ready);
    let measures = || former.metrics.values().zip(now.metrics.values());
    counts(former) != counts(now)
        || !former.metrics.keys().eq(now.metrics.keys())
        || measures().any(|(former, now)| has_moved(&former.sums, &now.sums))
}

fn has_moved(former: &Sums, now: &Sums) -> bool {
    let counts = |sums: &Sums| (sums.pods, sums.samples, sums.ready, sums.unready);
    let moved = former.ready_newest_milli.abs_diff(now.ready_newest_milli);
    let whole = match now.ready_request_milli {
        0 => former.ready_newest_milli.max(now.ready_newest_milli),
        requested => requested,
    };
    counts(former) != counts(now)
        || u128::from(moved) * 10 > u128::from(whole.unsigned_abs()) * STIR_TENTHS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demand::Measure;

    fn summary(node: u64, workloads: &[&str]) -> Summary {
        let usage = |name: &&str| (Target::process(*name), Usage::default());
        Summary {
            node: NodeId(node),
            workloads: workloads.iter().map(usage).collect(),
            ..Summary::default()
        }
    }

    fn nodes(of: &Summaries, target: &str) -> Vec<u64> {
        let target = Target::process(target);
        let found = of.of(&target);
        found.map(|(summary, _)| summary.node.0).collect()
    }

    #[test]
    fn a_workload_is_found_where_the_newest_summaries_speak_of_it() {
        let mut all = Summaries::default();
        all.insert(summary(2, &["web", "db"]));
        all.insert(summary(1, &["web"]));
        assert_eq!(nodes(&all, "web"), [1, 2]);
        all.insert(summary(2, &["db", "new"]));
        assert_eq!(nodes(&all, "web"), [1]);
        assert_eq!((nodes(&all, "db"), nodes(&all, "new")), (vec![2], vec![2]));
        all.insert(summary(2, &["db", "new"]));
        assert_eq!(nodes(&all, "db"), [2]);
        all.retain(|node| node == NodeId(1));
        assert_eq!(all.nodes.len(), 1, "only web is spoken of");
        assert!(all.get(NodeId(2)).is_none());
    }

    #[test]
    fn what_may_change_a_decision_is_news_and_noise_is_not() {
        let mut all = Summaries::default();
        let mut tell = |usage, ready| {
            let sums = Sums {
                pods: 1,
                samples: ready,
                ready,
                ready_usage_milli: usage,
                ready_newest_milli: usage,
                ready_request_milli: 100_000,
                ..Sums::default()
            };
            let measure = Measure {
                sums,
                ..Measure::default()
            };
            let mut summary = summary(1, &["web"]);
            for usage in summary.workloads.values_mut() {
                usage.metrics.insert("cpu".into(), measure.clone());
            }
            all.insert(summary)
        };
        assert!(tell(5_000, 1), "the first of a node");
        assert!(!tell(5_000, 1));
        assert!(!tell(15_000, 1), "10 % of the request");
        assert!(tell(25_100, 1), "more than that");
        assert!(tell(25_100, 0), "it isn't ready any more");
    }
}
