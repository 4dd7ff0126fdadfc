//! What an agent needs to know to do its part: its own shares, which workloads
//! to measure and how.
//!
//! Comes in: the ledger. Goes out: a view that borrows from it. Everything that
//! an agent does on its own node goes by this view, so that agents may one day
//! follow a stream of it in place of the log. Decides nothing.

use std::collections::BTreeMap;

use super::Ledger;
use crate::demand::pick::{Of, Pick};
use crate::policy::{Controller, Form, Resource, Target};
use crate::unit::{NodeId, Stamp};

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Part<'a> {
    /// Placed workloads that were granted a size and aren't dry runs.
    pub shares: BTreeMap<&'a Target, Share>,
    /// Placed workloads that nobody may touch: never granted, or a dry run.
    pub untouched: Vec<&'a Target>,
    /// Workloads under a policy.
    pub measured: BTreeMap<&'a Target, Wanted<'a>>,
    /// How far the ledger is.
    pub now: Stamp,
}

/// This node's part of one placed workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    pub stamp: Stamp,
    pub count: u32,
}

/// CPU and memory of whole replicas.
fn is_always_measured(pick: Pick<'_>) -> bool {
    matches!(pick.of, Of::Replica(Resource::Cpu | Resource::Memory)) && pick.window_ms.is_none()
}

/// What to measure of one workload's replicas.
#[derive(Debug, Clone, Default)]
pub struct Wanted<'a> {
    pub controller: Controller,
    /// Besides CPU and memory of whole replicas, which everybody measures.
    pub picks: Vec<Pick<'a>>,
    /// Which pods belong to a scaled workload; empty where it isn't known yet.
    pub selector: &'a str,
}

impl Ledger {
    /// The part of the agent `me`.
    pub fn part(&self, me: NodeId) -> Part<'_> {
        let mut part = Part {
            now: Stamp {
                generation: self.generation,
                index: self.index,
            },
            ..Part::default()
        };
        for policy in self.policies.values().map(|put| &put.policy) {
            let picks = policy.triggers.iter().filter_map(Pick::of);
            let scaled = self
                .workloads
                .get(&policy.target)
                .and_then(|w| w.scaled.as_ref());
            let wanted = Wanted {
                controller: policy.controller,
                picks: picks.filter(|pick| !is_always_measured(*pick)).collect(),
                selector: scaled.map_or("", |scaled| &scaled.selector),
            };
            part.measured.insert(&policy.target, wanted);
            if policy.dry_run && policy.target.form() == Form::Placed {
                part.untouched.push(&policy.target);
            }
        }
        for (target, workload) in &self.workloads {
            if target.form() != Form::Placed || part.untouched.contains(&target) {
                continue;
            }
            if workload.stamp == Stamp::default() {
                part.untouched.push(target);
                continue;
            }
            let count = workload.shares.get(&me).copied().unwrap_or(0);
            let stamp = workload.stamp;
            part.shares.insert(target, Share { stamp, count });
        }
        part
    }
}
