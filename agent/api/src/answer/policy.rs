//! Policies, and the changes of size that they caused.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use starling_engine::demand::Summary;
use starling_engine::ledger::{Cause, InForce, Record};
use starling_engine::policy::{Name, Target};
use starling_engine::unit::NodeId;
use starling_proto::{v1, view};
use tonic::Status;

use super::Sight;
use crate::near;

/// What has to be looked through once for any number of policies.
struct Index<'a> {
    /// Running replicas by workload and node.
    running: BTreeMap<&'a Target, BTreeMap<NodeId, u32>>,
    last: BTreeMap<&'a Name, &'a Record>,
}

impl<'a> Sight<'a> {
    /// By name, beyond `after`; the key is the name.
    pub fn policies(&self, after: Option<&str>) -> impl Iterator<Item = (String, v1::Policy)> {
        let index = self.index();
        let from = after.map_or(Bound::Unbounded, |name| Bound::Excluded(Name::from(name)));
        self.ledger
            .policies
            .range((from, Bound::Unbounded))
            .map(move |(name, put)| (name.to_string(), self.shown(put, &index)))
    }

    /// `NOT_FOUND` names what is near.
    pub fn policy(&self, name: &str) -> Result<v1::Policy, Status> {
        let put = self.put(name)?;
        Ok(self.shown(put, &self.index()))
    }

    pub(super) fn put(&self, name: &str) -> Result<&'a InForce, Status> {
        if name.is_empty() {
            return Err(Status::invalid_argument(
                "name: is empty; give the name of a policy, such as one that ListPolicies shows",
            ));
        }
        self.ledger
            .policies
            .get(&Name::from(name))
            .ok_or_else(|| self.unknown_policy(name))
    }

    fn unknown_policy(&self, name: &str) -> Status {
        let known: Vec<String> = self.ledger.policies.keys().map(Name::to_string).collect();
        let near = near::matches(name, known.iter());
        let shown: String = name.chars().take(80).collect();
        Status::not_found(match near.as_slice() {
            [] if self.ledger.policies.is_empty() => format!(
                "no policy is called {shown:?}, and none is in force; put one into an agent's \
                 policy directory"
            ),
            [] => format!("no policy is called {shown:?}; ListPolicies shows those in force"),
            near => format!(
                "no policy is called {shown:?}; did you mean {}?",
                near.join(", ")
            ),
        })
    }

    /// Newest first, older than `before`; the key is the index. `policy` empty
    /// means all; one that is neither in force nor remembered is `NOT_FOUND`.
    pub fn decisions(
        &self,
        before: Option<u64>,
        policy: &str,
    ) -> Result<impl Iterator<Item = (String, v1::Decision)>, Status> {
        self.check_filter(policy)?;
        let only = (!policy.is_empty()).then(|| Name::from(policy));
        Ok(self
            .ledger
            .decisions
            .iter()
            .rev()
            .filter(move |record| before.is_none_or(|before| record.index < before))
            .filter(move |record| only.as_ref().is_none_or(|only| record.policy == *only))
            .map(|record| (record.index.to_string(), self.decision(record))))
    }

    /// Oldest first, newer than `after`.
    pub fn decisions_after(&self, after: u64, policy: &str) -> Vec<v1::Decision> {
        let only = (!policy.is_empty()).then(|| Name::from(policy));
        let fresh = self
            .ledger
            .decisions
            .partition_point(|record| record.index <= after);
        self.ledger
            .decisions
            .range(fresh..)
            .filter(|record| only.as_ref().is_none_or(|only| record.policy == *only))
            .map(|record| self.decision(record))
            .collect()
    }

    /// A policy to filter by must be in force, or its decisions remembered.
    pub fn check_filter(&self, policy: &str) -> Result<(), Status> {
        let name = Name::from(policy);
        let known = policy.is_empty()
            || self.ledger.policies.contains_key(&name)
            || self
                .ledger
                .decisions
                .iter()
                .any(|record| record.policy == name);
        if known {
            Ok(())
        } else {
            Err(self.unknown_policy(policy))
        }
    }

    pub(super) fn decision(&self, record: &Record) -> v1::Decision {
        let by = match &record.cause {
            Cause::Decided { by, .. } => self.name(*by),
            Cause::Bounds { .. } | Cause::ByHand | Cause::Recreated => String::new(),
        };
        view::decision(record, by)
    }

    /// Summaries of nodes that are alive: what a dead one said no longer runs.
    pub(super) fn seen(&self) -> impl Iterator<Item = (NodeId, &'a Summary)> {
        let snapshot = self.snapshot;
        let alive: BTreeSet<NodeId> = snapshot.alive.iter().copied().chain([self.me]).collect();
        snapshot
            .summaries
            .iter()
            .filter(move |(id, _)| alive.contains(*id))
            .map(|(id, summary)| (*id, summary))
    }

    fn index(&self) -> Index<'a> {
        let mut running: BTreeMap<&Target, BTreeMap<NodeId, u32>> = BTreeMap::new();
        for (id, summary) in self.seen() {
            for (target, usage) in &summary.workloads {
                running.entry(target).or_default().insert(id, usage.running);
            }
        }
        let records = self.ledger.decisions.iter();
        Index {
            running,
            last: records.map(|r| (&r.policy, r)).collect(),
        }
    }

    fn shown(&self, put: &InForce, index: &Index<'_>) -> v1::Policy {
        let workload = self.ledger.workloads.get(&put.policy.target);
        let running = index.running.get(&put.policy.target);
        let last = index.last.get(&put.policy.name).copied();
        let live = self.live(&put.policy.name);
        let mut shown = view::policy::policy(put, workload);
        shown.running = running.map_or(0, |nodes| nodes.values().sum());
        shown.wanted = live.map(|decision| decision.target);
        shown.last_change = last.map(|record| self.decision(record));
        let empty = BTreeMap::new();
        let (granted, running) = (
            workload.map_or(&empty, |w| &w.shares),
            running.unwrap_or(&empty),
        );
        let nodes: BTreeSet<NodeId> = granted.keys().chain(running.keys()).copied().collect();
        shown.shares = nodes
            .into_iter()
            .map(|id| v1::Share {
                node_id: id.0,
                node_name: self.name(id),
                granted: granted.get(&id).copied().unwrap_or(0),
                running: running.get(&id).copied().unwrap_or(0),
            })
            .collect();
        if let Some(report) = live.map(|d| &d.report).or(last.and_then(view::report)) {
            view::policy::read(&mut shown.triggers, report, self.now);
        }
        shown
    }
}
