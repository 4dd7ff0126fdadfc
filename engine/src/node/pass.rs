//! The leader's pass: every policy's demand is gathered and decided on, and what
//! should change becomes one command.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::entry::Entry;
use super::platform::Observation;
use super::watch::{Look, Watch};
use super::{
    FRESH_MS, LOST_AFTER_MS, Lead, Node, Output, PASS_EVERY_MS, PASS_GAP_MS, PROPOSAL_PATIENCE_MS,
    placement,
};
use crate::decide::reason::{Held, Step, clip};
use crate::decide::{self, Decision, Inputs, Platform, Reading};
use crate::demand::pick::Pick;
use crate::ledger::{Command, InForce, Item, Ledger, Move, Workload, version};
use crate::policy::{self, Policy, Resource, Source, Strategy, Target};
use crate::unit::{Ms, NodeId};

impl Node {
    pub(super) fn due_pass(&mut self, now: Ms, ledger: &Ledger) -> Option<Output> {
        let id = self.id;
        let mut lead = self.lead.take()?;
        let output = self.pass(&mut lead, now, ledger);
        self.lead = Some(lead);
        output.map(|(items, moves)| {
            let by = id;
            Output::Propose(Command::Pass { by, items, moves })
        })
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
        watches: &mut BTreeMap<policy::Name, Watch>,
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
            cpu: &self.sums(now, &policy.target, workload, Pick::replica(Resource::Cpu)),
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

    fn pass(&self, lead: &mut Lead, now: Ms, ledger: &Ledger) -> Option<(Vec<Item>, Vec<Move>)> {
        let pending = lead
            .proposed_at
            .is_some_and(|at| now.since(at) < PROPOSAL_PATIENCE_MS);
        if pending || now < lead.next_pass {
            return None;
        }
        lead.planned_at = now;
        lead.next_pass = now.plus(PASS_EVERY_MS);
        self.note_missed(lead, now, ledger);
        let mut entry = Entry::new(ledger);
        // First, so that however much policies change these have their turn.
        self.move_orphans(lead, now, ledger, &mut entry);
        let mut decisions = Vec::with_capacity(ledger.policies.len());
        let first = lead.left_out.take();
        for (name, in_force) in in_turn(&ledger.policies, first.as_ref()) {
            let Some(workload) = ledger.workloads.get(&in_force.policy.target) else {
                continue;
            };
            let decision = self.decide(lead, now, in_force, workload, ledger);
            if lead.left_out.is_none() {
                let item = self.item(lead, now, in_force, workload, &decision, &entry);
                if item.is_some_and(|item| !entry.takes(item, workload)) {
                    lead.left_out = Some(name.clone());
                } else if let Some(watch) = lead.watches.get_mut(name) {
                    watch.forget_started();
                }
            }
            decisions.push((name.clone(), decision));
        }
        if lead.left_out.is_some() {
            lead.next_pass = now.plus(PASS_GAP_MS);
        }
        let (items, moves) = entry.into_parts();
        // From all at once, which leaves no room in the map's nodes.
        lead.decisions = Arc::new(decisions.into_iter().collect());
        lead.passed_at = Some(now.max(ledger.time));
        let changes = !items.is_empty() || !moves.is_empty();
        lead.proposed_at = changes.then_some(now);
        changes.then_some((items, moves))
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
        let target = &policy.target;
        let scale = self.scale(target).filter(|_| workload.scaled.is_some());
        let fault = scale.and_then(|scale| scale.selector_fault.as_deref());
        let readings = policy.triggers.iter().map(|trigger| {
            let source = &trigger.source;
            let pick = Pick::of(trigger);
            let of_replicas = pick.is_some() || matches!(source, Source::Pods { .. });
            match (fault, pick) {
                (Some(fault), _) if of_replicas => Reading::Unselected(fault.to_owned()),
                (_, Some(pick)) => Reading::Pods(self.sums(now, target, workload, pick)),
                (_, None) if source.is_polled() => polled(lead, policy, &trigger.name),
                (_, None) => Reading::None,
            }
        });
        let watch = lead.watches.get(&policy.name);
        let current = self.size(target, workload);
        let rests = ledger.rests_for_ms(policy, now.max(ledger.time));
        decide::decide(Inputs {
            policy,
            now: now.max(ledger.time),
            created_at: in_force.created_at,
            current,
            running: scale.map_or(workload.size, |scale| scale.running),
            ready: self.seen_ready(now, target, workload),
            last_pass: lead.passed_at,
            readings: kept(readings, ledger).collect(),
            signal: watch.and_then(Watch::signal),
            started_ms: watch.map_or(&[], Watch::started_ms),
            history: &workload.history,
            platform: self.allows(policy, workload, rests),
        })
    }

    /// The size that counts as granted, with what the platform shows taken in.
    fn size(&self, target: &Target, workload: &Workload) -> u32 {
        let seen = self.news(target, workload).zip(workload.scaled.as_ref());
        seen.map_or(workload.size, |(seen, scaled)| {
            scaled.size_after(workload.size, &seen)
        })
    }

    /// What a workload's platform allows just now, in a cluster that rests for so long.
    fn allows(&self, policy: &Policy, workload: &Workload, rests_ms: Option<u64>) -> Platform<'_> {
        let rests = rests_ms.map(|left_ms| Held::Rebuilt { left_ms });
        let Some(scaled) = &workload.scaled else {
            return Platform {
                held: rests,
                ..Platform::default()
            };
        };
        let target = &policy.target;
        // A dry run writes nothing, so it may stand beside anything.
        let rival = self.rivals.get(target).filter(|_| !policy.dry_run);
        let mut allows = Platform::default();
        match self.observations.get(target) {
            _ if !self.platform => allows.held = Some(Held::Away),
            None => allows.held = Some(Held::Unseen),
            Some(Observation::Gone(why)) => allows.held = Some(Held::Gone(clip(why))),
            Some(Observation::Scale(scale)) => {
                let after = self.news(target, workload).map(|seen| {
                    let mut after = scaled.clone();
                    after.take_in(workload.size, &seen, Ms::default());
                    after
                });
                let rival = rival.map(|by| Held::Rival(clip(by)));
                allows.held = rival.or(rests);
                allows.off = after.as_ref().unwrap_or(scaled).off;
                allows.blocked = scale.blocked.as_deref();
            }
        }
        allows
    }

    fn item(
        &self,
        lead: &Lead,
        now: Ms,
        in_force: &InForce,
        workload: &Workload,
        decision: &Decision,
        entry: &Entry<'_>,
    ) -> Option<Item> {
        let policy = &in_force.policy;
        let (from, to) = (decision.report.from, decision.target);
        let (shares, seen) = match &workload.scaled {
            // A dry run moves nothing either.
            None if policy.dry_run => (None, None),
            // Nor does a cluster that has just been rebuilt.
            None if rests(decision) => (None, None),
            None => {
                let shares = self.place(lead, now, policy, workload, to, entry);
                ((shares != workload.shares).then_some(shares), None)
            }
            Some(scaled) => {
                let seen = self.news(&policy.target, workload);
                if scaled.carried.is_none() && seen.is_none() {
                    return None;
                }
                let news = seen.filter(|seen| scaled.is_news(workload.size, seen));
                (None, news)
            }
        };
        let resized = to != from;
        let would = decision.report.target;
        let told = policy.dry_run && workload.would.unwrap_or(from) != would;
        let news = resized || told || shares.is_some() || seen.is_some();
        (news || !decision.changes.is_empty()).then(|| Item {
            policy: policy.name.clone(),
            revision: in_force.revision,
            from,
            to,
            shares,
            seen,
            changes: decision.changes.clone(),
            report: (resized || told).then(|| decision.account(policy)),
        })
    }

    fn place(
        &self,
        lead: &Lead,
        now: Ms,
        policy: &Policy,
        workload: &Workload,
        size: u32,
        entry: &Entry<'_>,
    ) -> BTreeMap<NodeId, u32> {
        let eligible = self.eligible(now, &policy.target, entry);
        let lost = |node: &&NodeId| {
            !entry.has_member(**node) || self.lost(lead, now, **node, &policy.target)
        };
        let lost: BTreeSet<NodeId> = workload.shares.keys().filter(lost).copied().collect();
        placement::spread(size, &workload.shares, &eligible, &lost, entry.placed())
    }

    /// Members that are alive and say that they can run it.
    pub(super) fn eligible(&self, now: Ms, target: &Target, entry: &Entry<'_>) -> BTreeSet<NodeId> {
        let offers = |node: &&NodeId| {
            self.fresh_usage(**node, now, target).is_some() && entry.has_member(**node)
        };
        self.alive.iter().filter(offers).copied().collect()
    }

    /// Whether a node's replicas have to run elsewhere: it has been away for
    /// long enough, is no member, or says itself that it can't run them. One that
    /// had no room to say so may well run them.
    fn lost(&self, lead: &Lead, now: Ms, node: NodeId, target: &Target) -> bool {
        if lead.missed_since.contains_key(&node) {
            return lead.has_lost(now, node);
        }
        let Some(summary) = self.summaries.get(node) else {
            return !self.alive.contains(&node);
        };
        let is_told_of = summary.workloads.contains_key(target);
        now.since(summary.at) <= FRESH_MS && !is_told_of && !summary.leaves_out(target)
    }
}

impl Lead {
    /// Whether a node has been away for long enough that its replicas count as gone.
    pub(super) fn has_lost(&self, now: Ms, node: NodeId) -> bool {
        let missed = self.missed_since.get(&node);
        missed.is_some_and(|since| now.since(*since) >= LOST_AFTER_MS)
    }
}

/// Nothing changes before a rebuilt cluster has looked around.
fn rests(decision: &Decision) -> bool {
    let steps = &decision.report.steps;
    let rebuilt = |step: &Step| matches!(step, Step::Held(Held::Rebuilt { .. }));
    steps.iter().any(rebuilt)
}

/// All policies, from the one on that had no place in the last pass, so that everybody
/// has a turn however much there is to say.
fn in_turn<'a>(
    policies: &'a BTreeMap<policy::Name, InForce>,
    first: Option<&policy::Name>,
) -> impl Iterator<Item = (&'a policy::Name, &'a InForce)> {
    let start = first.map_or(Bound::Unbounded, Bound::Included);
    let before = first.map(|first| policies.range::<policy::Name, _>(..first));
    let rest = policies.range::<policy::Name, _>((start, Bound::Unbounded));
    rest.chain(before.into_iter().flatten())
}

/// What a trigger said before it failed, only where all agents know of that.
fn kept(readings: impl Iterator<Item = Reading>, ledger: &Ledger) -> impl Iterator<Item = Reading> {
    let known = ledger.version() >= version::PATIENCE;
    readings.map(move |it| if known { it } else { it.forgetful() })
}

/// The latest answer of an external trigger.
fn polled(lead: &Lead, policy: &Policy, trigger: &str) -> Reading {
    let polls = lead.polls.get(&policy.name);
    let poll = polls
        .into_iter()
        .flatten()
        .find(|poll| poll.trigger == trigger);
    poll.map_or(Reading::None, |poll| poll.reading.clone())
}
