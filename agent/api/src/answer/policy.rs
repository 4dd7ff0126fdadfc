//! Policies, and the changes of size that they caused.
//!
//! Comes in: names as they were asked for, and one moment's state. Goes out:
//! messages, or a refusal that names what is near. Never guesses a namespace: the
//! empty one is `default` for one policy, and all for a list.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use starling_engine::decide::conditions::{self, About};
use starling_engine::demand::Summary;
use starling_engine::ledger::{Cause, InForce, Record, node_of};
use starling_engine::policy::{NAMESPACE, Name};
use starling_engine::unit::NodeId;
use starling_proto::{v1, view};
use tonic::{Code, Status};

use super::Sight;
use super::workload::Sums;
use crate::{near, refuse};

/// What has to be looked through once for any number of policies.
struct Index<'a> {
    sums: Sums<'a>,
    last: BTreeMap<&'a Name, &'a Record>,
    members: BTreeSet<&'a str>,
}

/// Which decisions a list or a stream has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    All,
    Namespace(String),
    Policy(Name),
}

/// The policy that a question names; the empty namespace means [`NAMESPACE`].
pub fn named(namespace: &str, name: &str) -> Name {
    let namespace = if namespace.is_empty() {
        NAMESPACE
    } else {
        namespace
    };
    Name::new(namespace, name)
}

/// Whether a list of `namespace` has what is in `of`; the empty one has all.
pub fn wanted(namespace: &str, of: &str) -> bool {
    namespace.is_empty() || namespace == of
}

impl Filter {
    pub fn new(namespace: &str, policy: &str) -> Filter {
        match (namespace, policy) {
            ("", "") => Filter::All,
            (namespace, "") => Filter::Namespace(namespace.into()),
            (namespace, policy) => Filter::Policy(named(namespace, policy)),
        }
    }

    fn takes(&self, record: &Record) -> bool {
        match self {
            Filter::All => true,
            Filter::Namespace(namespace) => record.policy.namespace == *namespace,
            Filter::Policy(name) => record.policy == *name,
        }
    }
}

impl<'a> Sight<'a> {
    /// By namespace and name, beyond `after`; the key is both.
    pub fn policies(
        &self,
        after: Option<&str>,
        namespace: &str,
    ) -> impl Iterator<Item = (String, v1::Policy)> {
        let index = self.index();
        let from = after.map_or(Bound::Unbounded, |name| Bound::Excluded(Name::from(name)));
        let namespace = namespace.to_owned();
        self.ledger
            .policies
            .range((from, Bound::Unbounded))
            .filter(move |(name, _)| wanted(&namespace, &name.namespace))
            .map(move |(name, put)| (name.to_string(), self.shown(put, &index)))
    }

    /// `NOT_FOUND` names what is near.
    pub fn policy(&self, name: &Name) -> Result<v1::Policy, Status> {
        let put = self.put(name)?;
        Ok(self.shown(put, &self.index()))
    }

    pub(super) fn put(&self, name: &Name) -> Result<&'a InForce, Status> {
        if name.name.is_empty() {
            return Err(refuse::invalid(
                "name: is empty; give the name of a policy, such as one that ListPolicies shows",
            ));
        }
        self.ledger
            .policies
            .get(name)
            .ok_or_else(|| self.unknown_policy(name))
    }

    fn unknown_policy(&self, name: &Name) -> Status {
        let policies = &self.ledger.policies;
        // The same name elsewhere is nearer than another one here.
        let elsewhere = policies.keys().filter(|it| it.name == name.name);
        let elsewhere: Vec<String> = elsewhere.map(Name::to_string).take(3).collect();
        let known: Vec<String> = policies.keys().map(Name::to_string).collect();
        let sought = name.to_string();
        let near = if elsewhere.is_empty() {
            near::matches(&sought, known.iter())
        } else {
            elsewhere.iter().map(String::as_str).collect()
        };
        let shown: String = sought.chars().take(80).collect();
        let words = match near.as_slice() {
            [] if policies.is_empty() => format!(
                "no policy is called {shown:?}, and none is in force; apply a ScalingPolicy, or \
                 put one into an agent's policy directory"
            ),
            [] => format!("no policy is called {shown:?}; ListPolicies shows those in force"),
            near => format!(
                "no policy is called {shown:?}; did you mean {}?",
                near.join(", ")
            ),
        };
        refuse::with(Code::NotFound, refuse::NO_POLICY, words)
    }

    /// Newest first, older than `before`; the key is the index. A policy that is
    /// neither in force nor remembered is `NOT_FOUND`.
    pub fn decisions(
        &self,
        before: Option<u64>,
        filter: &Filter,
    ) -> Result<impl Iterator<Item = (String, v1::Decision)>, Status> {
        self.check_filter(filter)?;
        let filter = filter.clone();
        Ok(self
            .ledger
            .decisions
            .iter()
            .rev()
            .filter(move |record| before.is_none_or(|before| record.index < before))
            .filter(move |record| filter.takes(record))
            .map(|record| (record.index.to_string(), self.decision(record))))
    }

    /// Oldest first, newer than `after`.
    pub fn decisions_after(&self, after: u64, filter: &Filter) -> Vec<v1::Decision> {
        let fresh = self
            .ledger
            .decisions
            .partition_point(|record| record.index <= after);
        self.ledger
            .decisions
            .range(fresh..)
            .filter(|record| filter.takes(record))
            .map(|record| self.decision(record))
            .collect()
    }

    /// A policy to filter by must be in force, or its decisions remembered.
    pub fn check_filter(&self, filter: &Filter) -> Result<(), Status> {
        let Filter::Policy(name) = filter else {
            return Ok(());
        };
        let known = self.ledger.policies.contains_key(name)
            || self
                .ledger
                .decisions
                .iter()
                .any(|record| record.policy == *name);
        if known {
            Ok(())
        } else {
            Err(self.unknown_policy(name))
        }
    }

    pub(super) fn decision(&self, record: &Record) -> v1::Decision {
        let by = match &record.cause {
            Cause::Decided { by, .. } => self.name(*by),
            Cause::Bounds { .. } | Cause::ByHand | Cause::Recreated => String::new(),
        };
        let put = self.ledger.policies.get(&record.policy);
        v1::Decision {
            earlier_policy: put.is_some_and(|put| record.index < put.revision),
            ..view::decision(record, by)
        }
    }

    /// Summaries of nodes that are alive: what a dead one said no longer runs.
    pub(super) fn seen(&self) -> impl Iterator<Item = (NodeId, &'a Summary)> {
        let snapshot = self.snapshot;
        let alive: BTreeSet<NodeId> = snapshot.alive.iter().copied().chain([self.me]).collect();
        snapshot
            .summaries
            .iter()
            .filter(move |(id, _)| alive.contains(*id))
            .map(|(id, summary)| (*id, &**summary))
    }

    fn index(&self) -> Index<'a> {
        let records = self.ledger.decisions.iter();
        Index {
            sums: self.sums(),
            last: records.map(|r| (&r.policy, r)).collect(),
            members: (self.ledger.members.values())
                .map(|admitted| admitted.member.name.as_str())
                .collect(),
        }
    }

    fn shown(&self, put: &InForce, index: &Index<'_>) -> v1::Policy {
        let policy = &put.policy;
        let workload = self.ledger.workloads.get(&policy.target);
        let last = index.last.get(&policy.name).copied();
        let live = self.live(&policy.name);
        // What was found for an earlier version, perhaps of another target, is not this one's.
        let own = last.filter(|record| record.index >= put.revision);
        let report = live.map(|d| &d.report).or(own.and_then(view::report));
        let empty = BTreeMap::new();
        let usage = index.sums.usage.get(&policy.target).unwrap_or(&empty);
        let mut shown = view::policy::policy(put, workload);
        shown.running = self.running_of(&policy.target, usage);
        shown.shares = self.shares(&policy.target, usage);
        shown.wanted = live.map(|decision| decision.target);
        shown.last_change = last.map(|record| self.decision(record));
        shown.blocked_reason = self.blocked(&policy.target).unwrap_or_default();
        shown.warnings = self.troubles(&policy.target);
        let write_failure = self.snapshot.write_failures.get(&policy.target);
        let stated = conditions::conditions(&About {
            policy,
            workload,
            report,
            write_failure: write_failure.map(String::as_str),
        });
        shown.conditions = stated.iter().map(view::explain::condition).collect();
        if let Some(report) = report {
            view::policy::read(&mut shown.triggers, report, self.now);
        }
        shown.evaluated_age = report.map(|report| view::duration(self.now.since(report.at)));
        shown.evaluated_now = live.is_some();
        shown.platform_silent = self.platform_silent(&policy.target).map(view::duration);
        let gone = |source| node_of(source).is_some_and(|node| !index.members.contains(node));
        shown.ownerless = put.sources().all(gone);
        shown
    }
}
