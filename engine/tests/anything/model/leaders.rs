//! What each leader has heard since it leads, and so may not do. Nobody here
//! looks into a node: only what it was told, and what it then proposes.

use std::collections::BTreeMap;

use starling_engine::decide::objective::state::State;
use starling_engine::history::Change;
use starling_engine::ledger::{Command, InForce, Item, Ledger, Outcome, Workload};
use starling_engine::node::Input;
use starling_engine::node::platform::Patch;
use starling_engine::policy::{self, Form, Goal, Source, Target};
use starling_engine::unit::{Ms, NodeId};

use super::super::cluster::Place;
use super::grants::{Grants, is_silent};
use super::{Called, HOLD_MS_MIN, WATCHED_S_MIN, by_objective, ordered};

#[derive(Default)]
pub struct Leaders {
    /// Whether the last answer to a leader was a good one, by policy and trigger.
    answers: BTreeMap<(NodeId, policy::Name, String), bool>,
    /// For how many ticks a leader has known a revision of a policy.
    ticks: BTreeMap<(NodeId, policy::Name), (u64, usize)>,
    /// What `objective` grew a workload to under a revision of its policy.
    called: BTreeMap<Target, (u64, Called)>,
    grants: Grants,
}

impl Leaders {
    /// A leader is about to take an input.
    pub fn takes(&mut self, id: NodeId, input: &Input, ledger: &Ledger) {
        match input {
            Input::Polled {
                policy,
                trigger,
                result,
                ..
            } => {
                let key = (id, policy.clone(), trigger.clone());
                self.answers.insert(key, result.is_ok());
            }
            Input::Tick => {
                for (name, in_force) in &ledger.policies {
                    let known = self.ticks.entry((id, name.clone())).or_default();
                    let seen = if known.0 == in_force.revision {
                        known.1
                    } else {
                        0
                    };
                    *known = (in_force.revision, seen + 1);
                }
            }
            _ => {}
        }
    }

    /// A node begins or ceases to lead; what it had heard before doesn't count.
    pub fn forgets(&mut self, id: NodeId) {
        self.answers.retain(|(node, ..), _| *node != id);
        self.ticks.retain(|(node, _), _| *node != id);
    }

    /// What a leader proposes must follow from what it has heard.
    pub fn check(&self, leader: (NodeId, &Place), now: Ms, command: &Command, ledger: &Ledger) {
        self.grants.check(command, leader.1, ledger);
        for (item, in_force) in planned(command, ledger) {
            let bounds = in_force.policy.bounds();
            let scaled = in_force.policy.target.form() == Form::Scaled;
            let kept = (scaled || in_force.policy.dry_run) && item.to == item.from;
            assert!(bounds.contains(&item.to) || kept, "I5: {item:?}");
            // A scaled one that was found above its maximum comes down to it, whatever
            // is measured.
            if item.to < item.from.min(*bounds.end()) {
                self.check_shrink(leader, now, item, in_force);
            }
        }
    }

    fn check_shrink(&self, leader: (NodeId, &Place), now: Ms, item: &Item, in_force: &InForce) {
        let (id, place) = leader;
        let policy = &in_force.policy;
        let scaled = policy.target.form() == Form::Scaled;
        let unsure = policy.triggers.iter().find(|trigger| match trigger.source {
            Source::External { .. } | Source::Object { .. } | Source::Pods { .. } => {
                let key = (id, policy.name.clone(), trigger.name.clone());
                self.answers.get(&key) != Some(&true)
            }
            Source::Resource(_) if matches!(trigger.goal, Goal::Value { .. }) => false,
            Source::Resource(of) => scaled && is_silent(place, &policy.target, now, of.name()),
            // Nobody here reads them.
            _ => true,
        });
        if !ordered(policy) {
            assert_eq!(unsure, None, "I4: shrinks all the same: {item:?}");
        }
        let report = item.report.as_ref().expect("why it shrinks");
        if !by_objective(report) {
            return;
        }
        let known = self.ticks.get(&(id, policy.name.clone()));
        let watched_s = known.map_or(0, |(_, ticks)| *ticks);
        assert!(watched_s >= WATCHED_S_MIN, "I4: {report}");
        if let Some((_, called)) = self.called.get(&policy.target) {
            let held = called.highest(report.at, HOLD_MS_MIN).min(item.from);
            assert!(item.to >= held, "I6: {held} were called for: {report}");
        }
    }

    /// An entry was applied, whoever proposed it.
    pub fn applied(&mut self, command: &Command, ledger: &Ledger) {
        for (item, in_force) in planned(command, ledger) {
            if item.seen.as_ref().is_some_and(|seen| seen.ruled) {
                self.called.remove(&in_force.policy.target);
            }
        }
        self.grants.applied(command, ledger);
    }

    /// A size is outside of the bounds.
    pub fn check_size(&self, in_force: &InForce, ledger: &Ledger) {
        self.grants.check_size(in_force, ledger);
    }

    /// A leader asks for a write.
    pub fn may_write(&self, patch: &Patch, place: &Place, ledger: &Ledger) {
        self.grants.may_write(patch, place, ledger);
    }

    /// A write has reached the platform.
    pub fn was_granted(&self, patch: &Patch) {
        self.grants.was_granted(patch);
    }

    /// A proposal was applied.
    pub fn granted(&mut self, command: &Command, outcome: &Outcome, ledger: &Ledger) {
        for (item, in_force) in planned(command, ledger) {
            let refused = outcome
                .refused
                .iter()
                .any(|no| no.subject == item.policy.to_string());
            let report = item.report.as_ref().filter(|report| by_objective(report));
            if let Some(report) = report.filter(|_| !refused && item.to > item.from) {
                let target = in_force.policy.target.clone();
                let entry = self.called.entry(target).or_default();
                if entry.0 != in_force.revision {
                    *entry = (in_force.revision, Called::default());
                }
                entry.1.for_size(report.at, report.raw.unwrap_or(0));
            }
        }
    }

    /// Entries from anybody are about to teach workloads anything.
    pub fn astray(&mut self, items: &[Item], ledger: &Ledger) {
        for in_force in items.iter().filter_map(|i| ledger.policies.get(&i.policy)) {
            self.called.remove(&in_force.policy.target);
        }
    }
}

/// What every workload of a pass will have learned once it is granted, for the
/// next leader to know (I6).
pub fn lessons(
    command: &Command,
    ledger: &Ledger,
) -> Vec<(policy::Name, Target, Option<Box<State>>)> {
    let lessons = planned(command, ledger).map(|(item, in_force)| {
        let target = in_force.policy.target.clone();
        let mut known = ledger.workloads[&target].history.objective.clone();
        if forgets(item, &ledger.workloads[&target]) {
            known = None;
        }
        for change in &item.changes {
            if let Change::Objective(lesson) = change {
                known.get_or_insert_default().apply(lesson);
            }
        }
        (item.policy.clone(), target, known)
    });
    lessons.collect()
}

/// Whether a workload is found to be another's, so that nothing counts any more of
/// what was learned of it.
fn forgets(item: &Item, workload: &Workload) -> bool {
    let ruled = workload.scaled.as_ref().map(|scaled| scaled.ruled);
    ruled == Some(false) && item.seen.as_ref().is_some_and(|seen| seen.ruled)
}

/// The items whose policies are in force as they were decided on.
pub fn planned<'a>(
    command: &'a Command,
    ledger: &'a Ledger,
) -> impl Iterator<Item = (&'a Item, &'a InForce)> {
    let items: &[Item] = match command {
        Command::Pass { items, .. } => items,
        _ => &[],
    };
    items.iter().filter_map(|item| {
        let in_force = ledger.policies.get(&item.policy)?;
        (in_force.revision == item.revision).then_some((item, in_force))
    })
}
