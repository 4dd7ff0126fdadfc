//! One workload's replicas in the whole cluster, from the nodes' summaries.
//!
//! Comes in: summaries, and where replicas should be. Goes out: sums for HPA's
//! arithmetic, in which each replica stands once: measured, starting, or
//! missing. Never takes silence for zero (I4).

use super::FRESH_MS;
use super::Node;
use super::platform::Scale;
use crate::demand::pods::{Pick, Sums};
use crate::demand::{Measure, Usage};
use crate::ledger::Workload;
use crate::policy::Target;
use crate::unit::{Ms, NodeId};

impl Node {
    /// The replicas for one metric.
    pub(super) fn sums(
        &self,
        now: Ms,
        target: &Target,
        workload: &Workload,
        pick: Pick<'_>,
    ) -> Sums {
        let key = pick.key();
        match (&workload.scaled, self.scale(target)) {
            (None, _) => self.placed_sums(now, target, workload, &key),
            (Some(_), Some(scale)) => self.scaled_sums(now, target, scale, &key),
            (Some(_), None) => self.scaled_sums(now, target, &Scale::default(), &key),
        }
    }

    /// Over the nodes that should run them. A replica that a node was given but
    /// doesn't report yet is starting; those of a node without a fresh summary
    /// are missing.
    fn placed_sums(&self, now: Ms, target: &Target, workload: &Workload, key: &str) -> Sums {
        let mut all = Sums::default();
        let mut silent = 0;
        let mut unplaced = workload.size;
        let mut request = None;
        for (node, share) in &workload.shares {
            unplaced = unplaced.saturating_sub(*share);
            let measure = self
                .fresh_usage(*node, now, target)
                .and_then(|usage| usage.metrics.get(key));
            let Some(measure) = measure else {
                silent += share;
                continue;
            };
            let (sums, asked) = (&measure.sums, measure.request_milli);
            request = request.or(asked);
            all.merge(sums);
            all.merge(&starting(share.saturating_sub(sums.pods), asked));
        }
        all.add_missing(silent, request);
        all.merge(&starting(unplaced, request));
        all
    }

    /// Over all nodes that ever spoke of it. Those of a node whose summary has
    /// grown old are missing. Replicas that the platform counts and no node
    /// speaks of are on no node yet, as far as the platform says so, and missing
    /// beyond that.
    fn scaled_sums(&self, now: Ms, target: &Target, scale: &Scale, key: &str) -> Sums {
        let mut all = Sums::default();
        let mut request = None;
        let mut known = 0_u32;
        for (summary, usage) in self.summaries.of(target) {
            let fresh = now.since(summary.at) <= FRESH_MS;
            match usage.metrics.get(key) {
                Some(measure) if fresh => {
                    request = request.or(measure.request_milli);
                    known = known.saturating_add(living(measure));
                    all.merge(&measure.sums);
                }
                measure => {
                    let last = measure.map_or(usage.running, living);
                    known = known.saturating_add(last);
                    all.add_missing(last, measure.and_then(|m| m.request_milli));
                }
            }
        }
        let unheard = scale.running.saturating_sub(known);
        let unscheduled = unheard.min(scale.unscheduled);
        all.merge(&starting(unscheduled, request));
        all.add_missing(unheard - unscheduled, request);
        all
    }

    /// Replicas that are seen to serve, where any summary speaks of them.
    pub(super) fn seen_ready(&self, now: Ms, target: &Target, workload: &Workload) -> Option<u32> {
        if workload.scaled.is_none() {
            // A process that runs is ready.
            return self.seen_running(now, target, workload);
        }
        let usages = self.usages(now, target);
        usages.map(|usage| usage.ready).reduce(u32::saturating_add)
    }

    /// Replicas that fresh summaries speak of; `None` where there is none.
    pub(super) fn seen_running(
        &self,
        now: Ms,
        target: &Target,
        workload: &Workload,
    ) -> Option<u32> {
        let sum = |usages: &mut dyn Iterator<Item = &Usage>| {
            usages
                .map(|usage| usage.running)
                .reduce(u32::saturating_add)
        };
        if workload.scaled.is_some() {
            return sum(&mut self.usages(now, target));
        }
        let nodes = workload.shares.keys();
        sum(&mut nodes.filter_map(|node| self.fresh_usage(*node, now, target)))
    }

    fn usages(&self, now: Ms, target: &Target) -> impl Iterator<Item = &Usage> {
        let of_target = self.summaries.of(target);
        let fresh = of_target.filter(move |(summary, _)| now.since(summary.at) <= FRESH_MS);
        fresh.map(|(_, usage)| usage)
    }

    pub(super) fn fresh_usage(&self, node: NodeId, now: Ms, target: &Target) -> Option<&Usage> {
        let summary = self.summaries.get(node)?;
        if now.since(summary.at) > FRESH_MS {
            return None;
        }
        summary.workloads.get(target)
    }
}

/// Those that the platform still counts.
fn living(measure: &Measure) -> u32 {
    measure.sums.pods.saturating_sub(measure.sums.ignored)
}

/// Replicas that exist and don't run yet.
fn starting(count: u32, request_milli: Option<i64>) -> Sums {
    let request = request_milli.unwrap_or(0);
    Sums {
        pods: count,
        unready: count,
        unready_request_milli: request.saturating_mul(i64::from(count)),
        without_request: request_milli.map_or(count, |_| 0),
        ..Sums::default()
    }
}
