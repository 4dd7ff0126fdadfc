//! Workloads: what policies size, and what the agents can run.
//!
//! Comes in: the ledger, what nodes measured, what the platform says. Goes out: one
//! message for each target. Never counts what a node said that is dead by now.

use std::collections::{BTreeMap, BTreeSet};

use starling_engine::demand::Usage;
use starling_engine::node::platform::Observation;
use starling_engine::policy::{Form, Name, Target};
use starling_engine::unit::NodeId;
use starling_proto::{v1, view};
use tonic::{Code, Status};

use super::Sight;
use super::policy::{named, wanted};
use crate::{near, refuse};

/// What has to be looked through once for any number of workloads.
pub(super) struct Sums<'a> {
    /// What the nodes that are alive measured, by workload.
    pub usage: BTreeMap<&'a Target, BTreeMap<NodeId, &'a Usage>>,
    policies: BTreeMap<&'a Target, &'a Name>,
}

impl<'a> Sight<'a> {
    /// By target, beyond `after`; the key is the target's.
    pub fn workloads(
        &self,
        after: Option<&str>,
        namespace: &str,
    ) -> impl Iterator<Item = (String, v1::Workload)> {
        let sums = self.sums();
        let known = self.ledger.workloads.keys();
        let targets: BTreeSet<&Target> = known.chain(sums.usage.keys().copied()).collect();
        let namespace = namespace.to_owned();
        let after = after.map(parse);
        targets
            .into_iter()
            .filter(move |target| wanted(&namespace, &target.namespace))
            .filter(move |target| after.as_ref().is_none_or(|after| *target > after))
            .map(move |target| (key(target), self.workload_shown(target, &sums)))
    }

    /// One workload; `NOT_FOUND` names what is near.
    pub fn workload(&self, asked: &v1::GetWorkloadRequest) -> Result<v1::Workload, Status> {
        if asked.kind.is_empty() || asked.name.is_empty() {
            return Err(refuse::invalid(
                "kind, name: neither may be empty; ListWorkloads shows what there is",
            ));
        }
        let name = named(&asked.namespace, &asked.name);
        let sums = self.sums();
        let known = self.ledger.workloads.keys();
        let targets: BTreeSet<&Target> = known.chain(sums.usage.keys().copied()).collect();
        let fits = |target: &&&Target| {
            target.kind == asked.kind
                && target.namespace == name.namespace
                && target.name == name.name
                && (asked.group.is_empty() || target.group == asked.group)
        };
        let found: Vec<&Target> = targets.iter().filter(fits).copied().collect();
        match found.as_slice() {
            [target] => Ok(self.workload_shown(target, &sums)),
            [] => {
                let known: Vec<String> = targets.iter().map(ToString::to_string).collect();
                let sought = format!("{} {name}", asked.kind);
                let near = near::matches(&sought, known.iter());
                let hint = match near.as_slice() {
                    [] => "ListWorkloads shows what there is".to_owned(),
                    near => format!("did you mean {}?", near.join(", ")),
                };
                let sought: String = sought.chars().take(160).collect();
                let words = format!("nothing sizes or runs {sought}; {hint}");
                Err(refuse::with(Code::NotFound, refuse::NO_WORKLOAD, words))
            }
            several => {
                let groups: Vec<&str> = several.iter().map(|it| it.group.as_str()).collect();
                Err(refuse::invalid(format!(
                    "group: is needed, for several have such a kind: {}",
                    groups.join(", ")
                )))
            }
        }
    }

    pub(super) fn sums(&self) -> Sums<'a> {
        let mut usage: BTreeMap<&Target, BTreeMap<NodeId, &Usage>> = BTreeMap::new();
        for (id, summary) in self.seen() {
            for (target, seen) in &summary.workloads {
                usage.entry(target).or_default().insert(id, seen);
            }
        }
        let policies = self.ledger.policies.values();
        Sums {
            usage,
            policies: policies
                .map(|put| (&put.policy.target, &put.policy.name))
                .collect(),
        }
    }

    fn workload_shown(&self, target: &Target, sums: &Sums<'_>) -> v1::Workload {
        let known = self.ledger.workloads.get(target);
        let mut shown = view::workload::workload(target, known);
        let policy = sums.policies.get(target);
        shown.policy = policy.map(|name| name.name.clone()).unwrap_or_default();
        let empty = BTreeMap::new();
        let usage = sums.usage.get(target).unwrap_or(&empty);
        shown.running = self.running_of(target, usage);
        shown.ready = usage.values().map(|seen| seen.ready).sum();
        shown.usage = view::workload::usage(usage.values().copied());
        let ages = usage
            .keys()
            .filter_map(|id| self.snapshot.summaries.get(id));
        let oldest = ages.map(|summary| self.now.since(summary.at)).max();
        shown.sample_age = oldest.map(view::duration);
        shown.shares = self.shares(target, usage);
        shown.blocked_reason = self.blocked(target).unwrap_or_default();
        shown.platform_silent = self.platform_silent(target).map(view::duration);
        shown
    }

    /// How many milliseconds old at least it is what the platform said of a target here.
    pub(super) fn platform_silent(&self, target: &Target) -> Option<u64> {
        self.snapshot.observations.get(target)?;
        self.snapshot.platform_silent_ms
    }

    /// Of a placed workload the nodes' parts, of a scaled one where it runs.
    pub(super) fn shares(
        &self,
        target: &Target,
        usage: &BTreeMap<NodeId, &Usage>,
    ) -> Vec<v1::Share> {
        let known = self.ledger.workloads.get(target);
        let granted = |id: &NodeId| known.and_then(|it| it.shares.get(id)).copied();
        let shared = known.into_iter().flat_map(|it| it.shares.keys());
        let nodes: BTreeSet<&NodeId> = shared.chain(usage.keys()).collect();
        nodes
            .into_iter()
            .map(|id| v1::Share {
                node_id: id.0,
                node_name: self.name(*id),
                granted: granted(id).unwrap_or(0),
                running: usage.get(id).map_or(0, |seen| seen.running),
            })
            .collect()
    }

    /// Of a scaled workload what the platform says, where it has said it here; else
    /// what the nodes have seen.
    pub(super) fn running_of(&self, target: &Target, usage: &BTreeMap<NodeId, &Usage>) -> u32 {
        match self.snapshot.observations.get(target) {
            Some(Observation::Scale(scale)) if target.form() == Form::Scaled => scale.running,
            _ => usage.values().map(|seen| seen.running).sum(),
        }
    }

    /// Running replicas of every workload that is known of.
    pub(super) fn running(&self) -> BTreeMap<&'a Target, u32> {
        let sums = self.sums();
        let known = self.ledger.workloads.keys();
        let targets: BTreeSet<&Target> = known.chain(sums.usage.keys().copied()).collect();
        let empty = BTreeMap::new();
        let running = targets.into_iter().map(|target| {
            let usage = sums.usage.get(target).unwrap_or(&empty);
            (target, self.running_of(target, usage))
        });
        running.collect()
    }

    /// Why no more replicas can run, or the size can't be written or read.
    pub(super) fn blocked(&self, target: &Target) -> Option<String> {
        let snapshot = self.snapshot;
        match snapshot.observations.get(target) {
            Some(Observation::Gone(why)) => Some(why.clone()),
            Some(Observation::Scale(scale)) => scale.blocked.clone(),
            None => None,
        }
        .or_else(|| snapshot.write_failures.get(target).cloned())
    }

    /// What keeps a workload's replicas from running, by node: each agent tells
    /// the others of its own. At most [`TROUBLES_MAX`].
    pub(super) fn troubles(&self, target: &Target) -> Vec<v1::Warning> {
        let of_nodes = self.seen().filter_map(|(id, summary)| {
            let usage = summary.workloads.get(target)?;
            let text = Some(&usage.trouble).filter(|words| !words.is_empty())?;
            Some(v1::Warning {
                subject: format!("on node {}", self.name(id)),
                text: text.clone(),
            })
        });
        of_nodes.take(TROUBLES_MAX).collect()
    }
}

/// What keeps replicas from running is shown of so many nodes; on others it is
/// mostly the same.
const TROUBLES_MAX: usize = 5;

/// What a page token remembers. No part of a target holds this sign.
const SEPARATOR: char = '|';

fn key(target: &Target) -> String {
    let Target {
        group,
        kind,
        namespace,
        name,
    } = target;
    [group.as_str(), kind, namespace, name].join(&SEPARATOR.to_string())
}

fn parse(key: &str) -> Target {
    let mut parts = key.splitn(4, SEPARATOR).map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    Target {
        group: next(),
        kind: next(),
        namespace: next(),
        name: next(),
    }
}
