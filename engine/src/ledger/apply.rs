//! The rules by which an entry is granted or refused.

use std::collections::{BTreeMap, BTreeSet};

use super::scaled::{Meaning, Scaled};
use super::{
    Admitted, Authority, Became, Cause, Command, DECISIONS_MAX, Entry, InForce, Item, Ledger, Move,
    Outcome, POLICIES_MAX, Record, Refusal, WORKLOADS_MAX, Why, Workload,
};
use crate::history::History;
use crate::policy::{self, Form, Policy, Target};
use crate::unit::{NodeId, Stamp};

/// Longer words on what is wrong with a policy are cut: they travel to who proposed it.
const UNSOUND_BYTES_MAX: usize = 2_000;

impl Ledger {
    /// Applies the entry at `index`. Total: whatever it holds, the result is a
    /// grant or a refusal, the same on every node.
    pub fn apply(&mut self, index: u64, entry: &Entry) -> Outcome {
        self.time = self.time.max(entry.at);
        let mut outcome = Outcome::default();
        let result = match &self.halted {
            Some(why) => Err(Refusal::new("the cluster", Why::Halted(why.clone()))),
            None => self.carry_out(index, &entry.command, &mut outcome),
        };
        if let Err(refusal) = result {
            outcome.refused.push(refusal);
        }
        self.advance(index);
        outcome
    }

    fn carry_out(
        &mut self,
        index: u64,
        command: &Command,
        outcome: &mut Outcome,
    ) -> Result<(), Refusal> {
        match command {
            Command::Found {
                cluster,
                generation,
                authority,
            } => self.found(cluster, *generation, authority.as_ref()),
            Command::Admit { nonce, member } => {
                outcome.admitted = Some(self.admit(index, nonce, member)?);
                Ok(())
            }
            Command::Readdress { node, member } => self.readdress(*node, member),
            Command::Away { node, away } => self.note_away(*node, *away),
            Command::Remove { node } => self.remove(index, *node),
            Command::PutPolicy { policy, source } => {
                outcome.became = Some(self.put_policy(index, policy, source)?);
                Ok(())
            }
            Command::RemovePolicy { name, source } => {
                outcome.became = Some(self.remove_policy(name, source.as_deref())?);
                Ok(())
            }
            Command::DeleteWorkload { target } => self.delete_workload(target),
            Command::Raise(raised) => self.raise(raised),
            Command::LookAround => {
                self.look_around();
                Ok(())
            }
            Command::Pass { by, items, moves } => {
                for moved in moves {
                    if let Err(refusal) = self.relocate(index, moved) {
                        outcome.refused.push(refusal);
                    }
                }
                for item in items {
                    if let Err(refusal) = self.resize(index, *by, item) {
                        outcome.refused.push(refusal);
                    }
                }
                Ok(())
            }
        }
    }

    fn found(
        &mut self,
        cluster: &str,
        generation: u64,
        authority: Option<&Authority>,
    ) -> Result<(), Refusal> {
        if !self.cluster.is_empty() {
            return Err(Refusal::new(
                cluster,
                Why::OtherCluster(self.cluster.clone()),
            ));
        }
        cluster.clone_into(&mut self.cluster);
        self.generation = generation;
        self.authority = authority.cloned();
        Ok(())
    }

    fn put_policy(&mut self, index: u64, policy: &Policy, source: &str) -> Result<Became, Refusal> {
        let refuse = |why| Err(Refusal::of(&policy.name, why));
        let violations = policy.check();
        if !violations.is_empty() {
            let all: Vec<String> = violations.iter().map(ToString::to_string).collect();
            let mut all = all.join("; ");
            all.truncate(all.floor_char_boundary(UNSOUND_BYTES_MAX));
            return refuse(Why::Unsound(all));
        }
        let workload = self.workloads.get(&policy.target);
        let taken = workload.and_then(|workload| workload.policy.as_ref());
        if let Some(by) = taken.filter(|by| **by != policy.name) {
            return refuse(Why::TargetTaken {
                by: Box::new(by.clone()),
                target: Box::new(policy.target.clone()),
            });
        }
        if let Some(same) = self.policies.get_mut(&policy.name)
            && same.policy == *policy
        {
            let known = same.sources().any(|it| it == source) || !same.has_room();
            if known {
                return Ok(Became::Same);
            }
            same.copies.insert(source.to_owned());
            return Ok(Became::Copied);
        }
        let former = self.policies.get(&policy.name);
        let created_at = former.map_or(self.time, |p| p.created_at);
        let left = former.map(|p| &p.policy.target);
        let left = left.filter(|left| **left != policy.target).cloned();
        let was_dry = former.is_some_and(|p| p.policy.target == policy.target && p.policy.dry_run);
        let same_strategy = former.is_some_and(|p| {
            p.policy.target == policy.target && p.policy.strategy == policy.strategy
        });
        if former.is_none() && self.policies.len() >= POLICIES_MAX {
            return refuse(Why::Full(POLICIES_MAX));
        }
        if !self.workloads.contains_key(&policy.target) && self.workloads.len() >= WORKLOADS_MAX {
            return refuse(Why::Full(WORKLOADS_MAX));
        }
        self.policies.insert(
            policy.name.clone(),
            InForce {
                policy: policy.clone(),
                revision: index,
                created_at,
                source: source.to_owned(),
                copies: BTreeSet::new(),
            },
        );
        if let Some(left) = left {
            self.leave(&left);
        }
        if let Some(workload) = self.workloads.get_mut(&policy.target) {
            // What was learned under other settings says nothing under these.
            if !same_strategy {
                workload.history.objective = None;
            }
            if was_dry && !policy.dry_run {
                workload.acts_from_now_on();
            }
        }
        if policy.dry_run {
            self.look_only(policy);
        } else {
            self.bring_into_bounds(index, policy);
        }
        Ok(Became::Put)
    }

    /// A dry run grants nothing, changes nothing that was granted, and leaves
    /// nothing behind. A workload that is new starts at its minimum as if it had it;
    /// one that has a size is looked at with that.
    fn look_only(&mut self, policy: &Policy) {
        let workload = self.workloads.get_or_default(&policy.target);
        workload.policy = Some(policy.name.clone());
        match (policy.target.form(), &mut workload.scaled) {
            (Form::Placed, _) => {
                if workload.is_ungranted() {
                    workload.size = policy.replicas_min;
                }
            }
            (Form::Scaled, None) => workload.scaled = Some(Scaled::default()),
            (Form::Scaled, Some(scaled)) => workload.size = scaled.void(workload.size),
        }
    }

    /// I5 holds from the moment at which a policy is in force. A new workload
    /// starts at its minimum. A scaled one is taken at the size that it has; the
    /// next pass brings it within the bounds, as HPA does.
    fn bring_into_bounds(&mut self, index: u64, policy: &Policy) {
        let (floor, cap) = policy.bounds().into_inner();
        let stamp = Stamp {
            generation: self.generation,
            index,
        };
        let form = policy.target.form();
        let Some(workload) = self.workloads.get_mut(&policy.target) else {
            let workload = match form {
                Form::Placed => Workload {
                    policy: Some(policy.name.clone()),
                    size: policy.replicas_min,
                    stamp,
                    ..Workload::default()
                },
                Form::Scaled => Workload {
                    policy: Some(policy.name.clone()),
                    scaled: Some(Scaled::default()),
                    ..Workload::default()
                },
            };
            self.workloads.insert(policy.target.clone(), workload);
            return;
        };
        workload.policy = Some(policy.name.clone());
        workload.would = None;
        if form == Form::Scaled {
            return;
        }
        if workload.is_ungranted() {
            workload.size = policy.replicas_min;
            workload.stamp = stamp;
            return;
        }
        let (from, to) = (workload.size, workload.size.clamp(floor, cap));
        if from != to {
            workload.size = to;
            workload.stamp = stamp;
            trim(&mut workload.shares, to);
            let cause = Cause::Bounds { floor, cap };
            self.remember(index, &policy.name, from, to, cause);
        }
    }

    fn remove_policy(
        &mut self,
        name: &policy::Name,
        source: Option<&str>,
    ) -> Result<Became, Refusal> {
        let Some(in_force) = self.policies.get_mut(name) else {
            return Err(Refusal::of(name, Why::UnknownPolicy));
        };
        if let Some(source) = source {
            if source != in_force.source {
                in_force.copies.remove(source);
                let by = in_force.source.clone();
                return Ok(Became::Kept { by });
            }
            if let Some(heir) = in_force.copies.pop_first() {
                in_force.source.clone_from(&heir);
                return Ok(Became::Handed { to: heir });
            }
        }
        let target = in_force.policy.target.clone();
        self.policies.remove(name);
        self.leave(&target);
        Ok(Became::Removed)
    }

    /// Only one that no policy sizes: another pass would bring the others back.
    fn delete_workload(&mut self, target: &Target) -> Result<(), Refusal> {
        let refuse = |why| Err(Refusal::new(&target.to_string(), why));
        match self.workloads.get(target) {
            None => refuse(Why::UnknownWorkload),
            Some(Workload {
                policy: Some(by), ..
            }) => refuse(Why::Sized {
                by: Box::new(by.clone()),
            }),
            Some(_) => {
                self.workloads.remove(target);
                Ok(())
            }
        }
    }

    /// A workload that no policy sizes any more keeps its last size, as one does
    /// whose HPA or `ScaledObject` is deleted; one that no node was given any replica
    /// of is forgotten, as is one whose size the platform keeps.
    fn leave(&mut self, target: &Target) {
        let Some(workload) = self.workloads.get_mut(target) else {
            return;
        };
        workload.policy = None;
        if workload.shares.is_empty() || workload.scaled.is_some() {
            self.workloads.remove(target);
        }
    }

    fn resize(&mut self, index: u64, by: NodeId, item: &Item) -> Result<(), Refusal> {
        let refuse = |why| Err(Refusal::of(&item.policy, why));
        let Some(in_force) = self.policies.get(&item.policy) else {
            return refuse(Why::UnknownPolicy);
        };
        if item.revision != in_force.revision {
            return refuse(Why::StaleRevision {
                decided: item.revision,
                now: in_force.revision,
            });
        }
        self.take_in(index, item)?;
        // Looked up anew, for what was seen is on record by now.
        let (Some(in_force), now) = (self.policies.get(&item.policy), self.time) else {
            return refuse(Why::UnknownPolicy);
        };
        let policy = &in_force.policy;
        let Some(workload) = self.workloads.get_mut(&policy.target) else {
            return refuse(Why::UnknownPolicy);
        };
        if item.from != workload.size {
            return refuse(Why::StaleSize {
                decided: item.from,
                now: workload.size,
            });
        }
        if policy.dry_run && (item.to != item.from || item.shares.is_some()) {
            return refuse(Why::DryRun);
        }
        let (floor, cap) = policy.bounds().into_inner();
        // A scaled workload may be found outside the bounds, and stays there while
        // it is switched off or can't be written; so does any under a dry run.
        let kept = (workload.scaled.is_some() || policy.dry_run) && item.to == item.from;
        if !kept && !(floor..=cap).contains(&item.to) {
            let to = item.to;
            return refuse(Why::OutOfBounds { to, floor, cap });
        }
        if let Some(shares) = &item.shares {
            if workload.scaled.is_some() {
                return refuse(Why::NotPlaced(Box::new(policy.target.clone())));
            }
            if let Some(why) = unsound(shares, item.to, &self.members) {
                return refuse(why);
            }
        }

        for change in &item.changes {
            workload.history.apply(change, now, policy);
        }
        let moved = item.shares.as_ref().is_some_and(|s| *s != workload.shares);
        if item.to != item.from || moved {
            if let Some(scaled) = &mut workload.scaled {
                scaled.granted_anew(workload.size);
            }
            workload.size = item.to;
            workload.stamp = Stamp {
                generation: self.generation,
                index,
            };
            if let Some(shares) = &item.shares {
                workload.shares.clone_from(shares);
            }
            trim(&mut workload.shares, item.to);
        }
        let would = item.report.as_ref().filter(|_| policy.dry_run);
        workload.would = would.map_or(workload.would, |report| Some(report.target));
        if item.to != item.from || would.is_some() {
            let to = would.map_or(item.to, |report| report.target);
            let report = item.report.clone().unwrap_or_default();
            let cause = Cause::Decided { by, report };
            self.remember(index, &item.policy, item.from, to, cause);
        }
        if !kept {
            self.audit(&item.policy);
        }
        Ok(())
    }

    /// Replicas that a node has lost, of a workload that no policy sizes, run elsewhere.
    fn relocate(&mut self, index: u64, moved: &Move) -> Result<(), Refusal> {
        let refuse = |why| Err(Refusal::new(&moved.target.to_string(), why));
        let Some(workload) = self.workloads.get_mut(&moved.target) else {
            return refuse(Why::UnknownWorkload);
        };
        if let Some(by) = &workload.policy {
            return refuse(Why::Sized {
                by: Box::new(by.clone()),
            });
        }
        if workload.scaled.is_some() {
            return refuse(Why::NotPlaced(Box::new(moved.target.clone())));
        }
        if workload.stamp != moved.stamp {
            return refuse(Why::StaleShares);
        }
        if let Some(why) = unsound(&moved.shares, workload.granted(), &self.members) {
            return refuse(why);
        }
        workload.shares.clone_from(&moved.shares);
        workload.shares.retain(|_, n| *n > 0);
        workload.stamp = Stamp {
            generation: self.generation,
            index,
        };
        Ok(())
    }

    /// Takes in what the platform says of a scaled workload. It counts whatever
    /// becomes of the rest of the item.
    fn take_in(&mut self, index: u64, item: &Item) -> Result<(), Refusal> {
        let Some(in_force) = self.policies.get(&item.policy) else {
            return Ok(());
        };
        let target = &in_force.policy.target;
        let stamp = Stamp {
            generation: self.generation,
            index,
        };
        let refuse = |why| Err(Refusal::of(&item.policy, why));
        let Some(workload) = self.workloads.get_mut(target) else {
            return refuse(Why::UnknownPolicy);
        };
        let (from, Some(scaled)) = (workload.size, &mut workload.scaled) else {
            return match item.seen {
                Some(_) => refuse(Why::NotPlaced(Box::new(target.clone()))),
                None => Ok(()),
            };
        };
        let Some(seen) = &item.seen else {
            return match scaled.carried {
                Some(_) => Ok(()),
                None => refuse(Why::Unseen(Box::new(target.clone()))),
            };
        };
        let meaning = scaled.meaning(from, seen);
        let ruled = std::mem::replace(&mut scaled.ruled, seen.ruled);
        let to = scaled.take_in(from, seen, self.time);
        if seen.ruled && !ruled {
            // What was decided until now says nothing once the other one is gone, as
            // where a policy is removed and comes back.
            workload.history = History::default();
        }
        if to != from || workload.stamp == Stamp::default() {
            workload.size = to;
            workload.stamp = stamp;
        }
        let anew = scaled.by_hand.is_some_and(|it| it.anew);
        let cause = match meaning {
            Meaning::ByHand => Some(Cause::ByHand),
            Meaning::Adopted if anew && to != from => Some(Cause::Recreated),
            _ => None,
        };
        if let Some(cause) = cause {
            self.remember(index, &item.policy, from, to, cause);
        }
        Ok(())
    }

    fn remember(&mut self, index: u64, policy: &policy::Name, from: u32, to: u32, cause: Cause) {
        if self.decisions.len() == DECISIONS_MAX {
            self.decisions.pop_front();
        }
        self.decisions.push_back(Record {
            index,
            at: self.time,
            policy: policy.clone(),
            from,
            to,
            cause,
        });
    }

    /// What must be true after every grant. A breach is a bug: it panics where
    /// bugs are looked for, and elsewhere halts the cluster's scaling, on every
    /// node at the same entry.
    fn audit(&mut self, policy: &policy::Name) {
        let Some(in_force) = self.policies.get(policy) else {
            return;
        };
        let Some(workload) = self.workloads.get(&in_force.policy.target) else {
            return;
        };
        let placed: u64 = workload.shares.values().map(|n| u64::from(*n)).sum();
        let sound =
            in_force.policy.bounds().contains(&workload.size) && placed <= u64::from(workload.size);
        debug_assert!(sound, "policy {policy}: {workload:?}");
        if !sound {
            self.halted = Some(format!(
                "policy {policy} was granted {} replicas with {placed} placed",
                workload.size
            ));
        }
    }
}

impl Refusal {
    pub(super) fn new(subject: &str, why: Why) -> Self {
        Refusal {
            subject: subject.to_owned(),
            why,
        }
    }

    fn of(policy: &policy::Name, why: Why) -> Self {
        Refusal::new(&policy.to_string(), why)
    }
}

/// What is wrong with the shares of a workload of so many replicas.
fn unsound(
    shares: &BTreeMap<NodeId, u32>,
    size: u32,
    members: &BTreeMap<NodeId, Admitted>,
) -> Option<Why> {
    let sum: u64 = shares.values().map(|n| u64::from(*n)).sum();
    if sum > u64::from(size) {
        return Some(Why::TooManyShares { sum, size });
    }
    let stranger = shares.keys().find(|node| !members.contains_key(node));
    stranger.map(|node| Why::ShareOfStranger(*node))
}

/// Takes replicas from the nodes with the most until at most `size` are left.
fn trim(shares: &mut BTreeMap<NodeId, u32>, size: u32) {
    let mut placed: u64 = shares.values().map(|n| u64::from(*n)).sum();
    while placed > u64::from(size) {
        let Some(most) = shares.values_mut().max_by_key(|n| **n) else {
            return;
        };
        *most -= 1;
        placed -= 1;
    }
    shares.retain(|_, n| *n > 0);
}
