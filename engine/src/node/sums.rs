//! One workload's replicas in the whole cluster, from the nodes' summaries.
//!
//! Comes in: summaries, and where replicas should be. Goes out: sums for HPA's
//! arithmetic, in which each replica stands once: measured, starting, or
//! missing. Never takes silence for zero (I4).

use super::FRESH_MS;
use super::Node;
use super::platform::{Scale, Unscheduled};
use crate::demand::pick::Pick;
use crate::demand::pods::Sums;
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
        let mut sums = match (&workload.scaled, self.scale(target)) {
            (None, _) => self.placed_sums(now, target, workload, &key),
            (Some(_), scale) => self.scaled_sums(now, target, scale, &key),
        };
        sums.settle();
        sums
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

    /// Over all nodes that ever spoke of it. Replicas that the platform counts and no
    /// fresh summary speaks of are on no node yet, as far as the platform says so, and
    /// missing beyond that. Those of a node whose summary has grown old are among them
    /// while the platform counts them: once it has others in their place, they are gone.
    fn scaled_sums(&self, now: Ms, target: &Target, scale: Option<&Scale>, key: &str) -> Sums {
        let mut all = Sums::default();
        let mut request = None;
        let mut known = 0_u32;
        let mut silent = Vec::new();
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
                    silent.push((last, measure.and_then(|m| m.request_milli)));
                }
            }
        }
        // Some kinds don't count their replicas, or only later: no count then says who is gone.
        let counts = scale.filter(|scale| scale.running >= known.max(1));
        let mut unheard = counts.map(|scale| scale.running - known);
        if let (Some(scale), Some(unheard)) = (scale, &mut unheard) {
            let waiting = waiting(&scale.unscheduled, *unheard, key, request);
            *unheard -= waiting.pods;
            all.merge(&waiting);
        }
        for (last, request) in silent {
            // Without a count all of them may be there.
            let missing = unheard.map_or(last, |unheard| unheard.min(last));
            unheard = unheard.map(|unheard| unheard - missing);
            all.add_missing(missing, request);
        }
        all.add_missing(unheard.unwrap_or(0), request);
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

/// At most `most` replicas that are on no node. Where one of them is heard of already, the
/// others ask for their mean.
fn waiting(unscheduled: &Unscheduled, most: u32, key: &str, request_milli: Option<i64>) -> Sums {
    let count = unscheduled.count.min(most);
    let Some(asked) = unscheduled.asked.get(key).filter(|_| count > 0) else {
        return starting(count, request_milli);
    };
    let part = i128::from(asked.milli) * i128::from(count) / i128::from(unscheduled.count);
    Sums {
        unready_request_milli: i64::try_from(part).unwrap_or(i64::MAX),
        without_request: asked.unstated.min(count),
        ..starting(count, Some(0))
    }
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
