//! The leader's pass: every policy's demand is gathered and decided on, and what
//! should change becomes one command.

use std::collections::{BTreeMap, BTreeSet};

use super::watch::{Look, Watch};
use super::{
    FRESH_MS, LOST_AFTER_MS, Lead, Node, Output, PASS_EVERY_MS, PASS_ITEMS_MAX,
    PROPOSAL_PATIENCE_MS, placement,
};
use crate::decide::{self, Decision, Inputs, Reading};
use crate::demand::{Usage, pods::Sums};
use crate::ledger::{Command, InForce, Item, Ledger, Workload};
use crate::policy::{Policy, Resource, Source, Strategy, Target};
use crate::unit::{Ms, NodeId};

impl Node {
    pub(super) fn due_pass(&mut self, now: Ms, ledger: &Ledger) -> Option<Output> {
        let id = self.id;
        let mut lead = self.lead.take()?;
        let output = self.pass(&mut lead, now, ledger);
        self.lead = Some(lead);
        output.map(|items| Output::Propose(Command::Pass { by: id, items }))
    }

    /// Each second, also while a proposal is under way: what decisions look at
    /// is counted in seconds.
    pub(super) fn look(&mut self, now: Ms, ledger: &Ledger) {
        let Some(mut lead) = self.lead.take() else {
            return;
        };
        if now >= lead.next_look {
            lead.next_look = now.plus(PASS_EVERY_MS);
            let mut watches = std::mem::take(&mut lead.watches);
            watches.retain(|name, watch| {
                let put = ledger.policies.get(name);
                put.is_some_and(|p| p.revision == watch.revision)
            });
            for in_force in ledger.policies.values() {
                self.look_at(&lead, &mut watches, now, in_force, ledger);
            }
            lead.watches = watches;
        }
        self.lead = Some(lead);
    }

    fn look_at(
        &self,
        lead: &Lead,
        watches: &mut BTreeMap<String, Watch>,
        now: Ms,
        in_force: &InForce,
        ledger: &Ledger,
    ) {
        let policy = &in_force.policy;
        let Strategy::Objective(objective) = &policy.strategy else {
            return;
        };
        let Some(workload) = ledger.workloads.get(&policy.target) else {
            return;
        };
        let read = |trigger: &Option<String>| match trigger {
            Some(name) => polled(lead, policy, name),
            None => Reading::None,
        };
        let look = Look {
            arrivals: &read(&objective.arrivals),
            in_system: &read(&objective.in_system),
            cpu: &self.sums(now, &policy.target, workload, Resource::Cpu),
            size: workload.size,
            resized_at: workload.history.changed_at,
            running: self.seen_running(now, &policy.target, workload),
        };
        let name = policy.name.clone();
        let watch = watches.entry(name);
        watch.or_insert_with(|| Watch::new(in_force.revision)).look(
            objective,
            &look,
            now.max(ledger.time),
        );
    }

    fn pass(&self, lead: &mut Lead, now: Ms, ledger: &Ledger) -> Option<Vec<Item>> {
        let pending = lead
            .proposed_at
            .is_some_and(|at| now.since(at) < PROPOSAL_PATIENCE_MS);
        if pending || now < lead.next_pass {
            return None;
        }
        lead.planned_at = now;
        lead.next_pass = now.plus(PASS_EVERY_MS);
        self.note_missed(lead, now, ledger);
        let placed = placed(ledger);
        let mut items = Vec::new();
        let mut decisions = BTreeMap::new();
        for in_force in ledger.policies.values() {
            let Some(workload) = ledger.workloads.get(&in_force.policy.target) else {
                continue;
            };
            let decision = self.decide(lead, now, in_force, workload, ledger);
            let item = self.item(lead, now, in_force, workload, &decision, &placed);
            if items.len() < PASS_ITEMS_MAX {
                items.extend(item);
            }
            decisions.insert(in_force.policy.name.clone(), decision);
        }
        for watch in lead.watches.values_mut() {
            watch.forget_started();
        }
        lead.decisions = decisions;
        lead.passed_at = Some(now.max(ledger.time));
        lead.proposed_at = (!items.is_empty()).then_some(now);
        (!items.is_empty()).then_some(items)
    }

    fn note_missed(&self, lead: &mut Lead, now: Ms, ledger: &Ledger) {
        lead.missed_since
            .retain(|node, _| ledger.members.contains_key(node) && !self.alive.contains(node));
        for node in ledger.members.keys() {
            if !self.alive.contains(node) {
                lead.missed_since.entry(*node).or_insert(now);
            }
        }
    }

    fn decide(
        &self,
        lead: &Lead,
        now: Ms,
        in_force: &InForce,
        workload: &Workload,
        ledger: &Ledger,
    ) -> Decision {
        let policy = &in_force.policy;
        let readings = policy.triggers.iter().map(|trigger| match &trigger.source {
            Source::Resource(resource) => {
                Reading::Pods(self.sums(now, &policy.target, workload, *resource))
            }
            Source::External { .. } => polled(lead, policy, &trigger.name),
            // What a Kubernetes host reads; summaries don't carry it.
            Source::Container { .. }
            | Source::Pods { .. }
            | Source::Object { .. }
            | Source::Unknown { .. } => Reading::None,
        });
        let watch = lead.watches.get(&policy.name);
        decide::decide(&Inputs {
            policy,
            now: now.max(ledger.time),
            created_at: in_force.created_at,
            current: workload.size,
            running: workload.size,
            ready: self.seen_running(now, &policy.target, workload),
            last_pass: lead.passed_at,
            readings: readings.collect(),
            signal: watch.and_then(Watch::signal),
            started_ms: watch.map_or(&[], Watch::started_ms),
            history: &workload.history,
        })
    }

    /// The workload's replicas, summed over the nodes that should run them. A
    /// replica that a node was given but doesn't report yet is starting; those
    /// of a node without a fresh summary are missing.
    fn sums(&self, now: Ms, target: &Target, workload: &Workload, resource: Resource) -> Sums {
        let mut all = Sums::default();
        let mut silent = 0;
        let mut unplaced = workload.size;
        let mut request = None;
        for (node, share) in &workload.shares {
            unplaced = unplaced.saturating_sub(*share);
            let Some(usage) = self.fresh_usage(*node, now, target) else {
                silent += share;
                continue;
            };
            let (sums, asked) = usage.of_resource(resource);
            request = request.or(asked);
            all.merge(sums);
            all.merge(&starting(share.saturating_sub(sums.pods), asked));
        }
        all.add_missing(silent, request);
        all.merge(&starting(unplaced, request));
        all
    }

    /// Replicas that fresh summaries speak of; `None` where there is none.
    fn seen_running(&self, now: Ms, target: &Target, workload: &Workload) -> Option<u32> {
        let nodes = workload.shares.keys();
        nodes
            .filter_map(|node| self.fresh_usage(*node, now, target))
            .map(|usage| usage.running)
            .reduce(u32::saturating_add)
    }

    fn fresh_usage(&self, node: NodeId, now: Ms, target: &Target) -> Option<&Usage> {
        let summary = self.summaries.get(&node)?;
        if now.since(summary.at) > FRESH_MS {
            return None;
        }
        summary.workloads.get(target)
    }

    fn item(
        &self,
        lead: &Lead,
        now: Ms,
        in_force: &InForce,
        workload: &Workload,
        decision: &Decision,
        placed: &BTreeMap<NodeId, u32>,
    ) -> Option<Item> {
        let policy = &in_force.policy;
        let to = decision.target;
        let shares = self.place(lead, now, policy, workload, to, placed);
        let moved = shares != workload.shares;
        let resized = to != workload.size;
        (resized || moved || !decision.changes.is_empty()).then(|| Item {
            policy: policy.name.clone(),
            revision: in_force.revision,
            from: workload.size,
            to,
            shares: moved.then_some(shares),
            changes: decision.changes.clone(),
            report: resized.then(|| decision.report.clone()),
        })
    }

    fn place(
        &self,
        lead: &Lead,
        now: Ms,
        policy: &Policy,
        workload: &Workload,
        size: u32,
        placed: &BTreeMap<NodeId, u32>,
    ) -> BTreeMap<NodeId, u32> {
        let offers = |node: &&NodeId| self.fresh_usage(**node, now, &policy.target).is_some();
        let eligible: BTreeSet<NodeId> = self.alive.iter().filter(offers).copied().collect();
        let lost = |node: &&NodeId| self.lost(lead, now, **node, &policy.target);
        let lost: BTreeSet<NodeId> = workload.shares.keys().filter(lost).copied().collect();
        placement::spread(size, &workload.shares, &eligible, &lost, placed)
    }

    /// Whether a node's replicas have to run elsewhere: it has been away for
    /// long enough, is no member, or says itself that it can't run them.
    fn lost(&self, lead: &Lead, now: Ms, node: NodeId, target: &Target) -> bool {
        if let Some(since) = lead.missed_since.get(&node) {
            return now.since(*since) >= LOST_AFTER_MS;
        }
        let Some(summary) = self.summaries.get(&node) else {
            return !self.alive.contains(&node);
        };
        now.since(summary.at) <= FRESH_MS && !summary.workloads.contains_key(target)
    }
}

/// The latest answer of an external trigger.
fn polled(lead: &Lead, policy: &Policy, trigger: &str) -> Reading {
    let key = (policy.name.clone(), trigger.to_owned());
    let poll = lead.polls.get(&key);
    poll.map_or(Reading::None, |poll| poll.reading.clone())
}

/// Replicas of all workloads by node.
fn placed(ledger: &Ledger) -> BTreeMap<NodeId, u32> {
    let mut placed = BTreeMap::new();
    for workload in ledger.workloads.values() {
        for (node, n) in &workload.shares {
            let sum: &mut u32 = placed.entry(*node).or_default();
            *sum = sum.saturating_add(*n);
        }
    }
    placed
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
