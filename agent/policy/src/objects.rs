//! Policies that are objects of the Kubernetes API: what to propose, given the
//! objects, the ledger, and who else scales workloads.
//!
//! Unlike a file, an object is the only place where its policy is written: where
//! the ledger differs from it, that is a wish. The ledger says by a policy's
//! source which policies are objects', so nothing has to be remembered here, and a
//! new leader goes on from what is. Never does I/O, and removes nothing while not
//! all objects are known.

mod read;
mod standing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use starling_engine::ledger::{Command, InForce, Ledger, OBJECT as SOURCE, Outcome};
use starling_engine::policy::{Form, Name, Policy, Target, Violation};
use starling_engine::unit::Ms;

pub use read::{Written, read};
pub use standing::Standing;

/// A proposal that came to nothing is made again after this long.
pub const RETRY_MS: u64 = 5_000;
/// One that the ledger refused is made again after this long, for what stood in
/// its way (a full ledger) may have gone.
pub const REFUSED_RETRY_MS: u64 = 60_000;
/// More proposals wait for the next plan, at most a second later: thousands of new
/// policies are in force after half a minute, and none of them holds up a pass for long.
pub const PROPOSALS_MAX: usize = 200;

/// Whether an object put this policy into force; a file did otherwise.
pub fn owns(source: &str) -> bool {
    source.starts_with(SOURCE)
}

/// One object as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    pub uid: String,
    pub generation: i64,
    /// When it was made, as the API writes it, which sorts as text does: of two that
    /// want one workload, the older one has it.
    pub created: String,
    /// What it asks for, or all that is wrong with it.
    pub wish: Result<Arc<Policy>, Vec<Violation>>,
}

/// What else scales workloads in this cluster, by workload, in words such as
/// `HorizontalPodAutoscaler shop/web`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rivals {
    /// All of them have been listed; until then any workload may have one.
    pub known: bool,
    pub by_target: BTreeMap<Target, String>,
}

/// All objects, and what was proposed for them.
#[derive(Debug, Default)]
pub struct Objects {
    by_name: BTreeMap<Name, Object>,
    /// All of them have been listed at least once: what isn't there is gone.
    listed: bool,
    /// The last proposal for a policy, when it was made, and why it was refused.
    proposed: BTreeMap<Name, Proposal>,
    standings: BTreeMap<Name, Standing>,
}

#[derive(Debug)]
struct Proposal {
    command: Command,
    at: Ms,
    refused: Option<String>,
}

impl Proposal {
    fn is_open(&self, now: Ms) -> bool {
        let patience_ms = match self.refused {
            None => RETRY_MS,
            Some(_) => REFUSED_RETRY_MS,
        };
        self.at <= now && now.since(self.at) < patience_ms
    }
}

impl Objects {
    /// A whole list, in place of all that was known.
    pub fn replace(&mut self, all: BTreeMap<Name, Object>) {
        self.by_name = all;
        self.listed = true;
    }

    pub fn put(&mut self, name: Name, object: Object) {
        self.by_name.insert(name, object);
    }

    pub fn remove(&mut self, name: &Name) {
        self.by_name.remove(name);
    }

    /// Whether all of them are known.
    pub fn are_listed(&self) -> bool {
        self.listed
    }

    pub fn get(&self, name: &Name) -> Option<&Object> {
        self.by_name.get(name)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Object)> {
        self.by_name.iter()
    }

    /// How each object stood at the last plan.
    pub fn standings(&self) -> &BTreeMap<Name, Standing> {
        &self.standings
    }

    /// What to propose now, in this order: removals come first, so that a renamed
    /// policy finds its workload free. Planning again without news proposes
    /// nothing. What became of a proposal goes to [`Objects::answered`].
    pub fn plan(&mut self, ledger: &Ledger, rivals: &Rivals, now: Ms) -> Vec<Command> {
        self.standings.clear();
        if !self.listed {
            return Vec::new();
        }
        self.proposed
            .retain(|_, proposal| proposal.refused.is_some() || proposal.is_open(now));
        let removals = self.removals(ledger, rivals);
        let puts = self.puts(ledger, rivals, &removals);
        let removals = removals.into_iter().map(|name| {
            let in_force = ledger.policies.get(&name);
            let source = in_force.map(|put| put.source.clone());
            Command::RemovePolicy { name, source }
        });
        let mut plan = Vec::new();
        for command in removals.chain(puts) {
            let Some(name) = name_of(&command) else {
                continue;
            };
            let former = self.proposed.get(name);
            let former = former.filter(|proposal| proposal.command == command);
            let waiting = former.is_some_and(|proposal| proposal.is_open(now));
            if waiting || plan.len() == PROPOSALS_MAX {
                continue;
            }
            let proposal = Proposal {
                command: command.clone(),
                at: now,
                refused: former.and_then(|proposal| proposal.refused.clone()),
            };
            self.proposed.insert(name.clone(), proposal);
            plan.push(command);
        }
        let (objects, ledger) = (&self.by_name, &ledger.policies);
        self.proposed
            .retain(|name, _| objects.contains_key(name) || ledger.contains_key(name));
        plan
    }

    /// What became of a proposal of [`Objects::plan`].
    pub fn answered(&mut self, command: &Command, outcome: &Outcome) {
        let Some(proposal) = name_of(command).and_then(|name| self.proposed.get_mut(name)) else {
            return;
        };
        if proposal.command == *command {
            let why: Vec<_> = outcome.refused.iter().map(|r| r.why.to_string()).collect();
            proposal.refused = (!why.is_empty()).then(|| why.join("; "));
        }
    }

    /// Policies of objects that are gone, or that somebody else has begun to scale
    /// the workloads of.
    fn removals(&self, ledger: &Ledger, rivals: &Rivals) -> BTreeSet<Name> {
        let owned = ledger.policies.iter().filter(|(_, put)| owns(&put.source));
        let gone = owned.filter(|(name, put)| {
            let rival = !put.policy.dry_run && rivals.by_target.contains_key(&put.policy.target);
            rival || !self.by_name.contains_key(*name)
        });
        gone.map(|(name, _)| name.clone()).collect()
    }

    /// Settles how each object stands; those that are to be put into force.
    fn puts(
        &mut self,
        ledger: &Ledger,
        rivals: &Rivals,
        removals: &BTreeSet<Name>,
    ) -> Vec<Command> {
        let mut owners = owners(ledger, removals);
        let mut by_age: Vec<(&Name, &Object)> = self.by_name.iter().collect();
        by_age.sort_by_key(|(name, object)| (&object.created, *name));
        let mut puts = Vec::new();
        for (name, object) in by_age {
            let in_force = ledger.policies.get(name);
            let claim = Claim {
                name,
                object,
                in_force,
                proposal: self.proposed.get(name),
            };
            let standing = claim.standing(rivals, &owners);
            let open = matches!(standing, Standing::Wanted | Standing::Refused(_));
            if let (true, Ok(policy)) = (open, &object.wish) {
                owners.insert(&policy.target, name);
                puts.push(Command::PutPolicy {
                    policy: Policy::clone(policy),
                    source: source(name, object),
                });
            }
            self.standings.insert(name.clone(), standing);
        }
        puts
    }
}

/// One object and what is known of its policy.
struct Claim<'a> {
    name: &'a Name,
    object: &'a Object,
    in_force: Option<&'a InForce>,
    proposal: Option<&'a Proposal>,
}

impl Claim<'_> {
    fn standing(&self, rivals: &Rivals, owners: &BTreeMap<&Target, &Name>) -> Standing {
        let policy = match &self.object.wish {
            Ok(policy) => policy,
            Err(violations) => {
                return Standing::Invalid {
                    violations: violations.clone(),
                    former: self.in_force.is_some_and(|put| owns(&put.source)),
                };
            }
        };
        if let Some(put) = self.in_force.filter(|put| !owns(&put.source)) {
            return Standing::NameTaken {
                source: put.source.clone(),
            };
        }
        let may_act = !policy.dry_run && policy.target.form() == Form::Scaled;
        if may_act && let Some(by) = rivals.by_target.get(&policy.target) {
            return Standing::AlreadyScaled {
                target: policy.target.clone(),
                by: by.clone(),
            };
        }
        let owner = owners.get(&policy.target);
        if let Some(by) = owner.copied().filter(|by| *by != self.name) {
            return Standing::TargetTaken {
                target: policy.target.clone(),
                by: by.clone(),
            };
        }
        if self.in_force.is_some_and(|put| put.policy == **policy) {
            return Standing::InForce;
        }
        if may_act && !rivals.known {
            return Standing::Unsure;
        }
        let refused = self.proposal.filter(|proposal| {
            matches!(&proposal.command, Command::PutPolicy { policy: it, .. } if it == &**policy)
        });
        match refused.and_then(|proposal| proposal.refused.as_ref()) {
            Some(why) => Standing::Refused(why.clone()),
            None => Standing::Wanted,
        }
    }
}

/// Who has which workload once the removals are done.
fn owners<'a>(ledger: &'a Ledger, removals: &BTreeSet<Name>) -> BTreeMap<&'a Target, &'a Name> {
    let staying = ledger.policies.iter();
    staying
        .filter(|(name, _)| !removals.contains(*name))
        .map(|(name, put)| (&put.policy.target, name))
        .collect()
}

/// Names the object, and which of its versions.
fn source(name: &Name, object: &Object) -> String {
    let Name { namespace, name } = name;
    format!(
        "{SOURCE}{namespace}/{name} generation {}",
        object.generation
    )
}

fn name_of(command: &Command) -> Option<&Name> {
    match command {
        Command::PutPolicy { policy, .. } => Some(&policy.name),
        Command::RemovePolicy { name, .. } => Some(name),
        _ => None,
    }
}
