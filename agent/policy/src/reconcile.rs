//! What to propose, given what the files say, what the ledger holds and what
//! this agent remembers of both.
//!
//! A policy is settled once the ledger holds what its file says. From then on
//! only a change of the file is a wish: if the ledger changes, somebody else
//! wished it, and is reported, not overruled. Never does I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use starling_engine::ledger::{InForce, Ledger};
use starling_engine::policy::{Name, Policy, Target};

use super::memory::{Memory, Seen, Stamp};
use super::objects;

/// A policy that a file asks for.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    pub policy: Arc<Policy>,
    pub stamp: Stamp,
    pub file: PathBuf,
}

/// What the files say.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    pub policies: BTreeMap<Name, Wish>,
    /// Present, but not to be applied as they stand.
    pub held: BTreeSet<Name>,
    pub legible: Legible,
}

/// Whether all that the directory holds is known; otherwise nothing counts as absent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Legible {
    #[default]
    Yes,
    /// Something is being written; soon.
    NotYet,
    /// This file may hold anything.
    Not(String),
}

/// What should happen to one policy.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The ledger and the file agree.
    Settled,
    Put,
    Remove,
    /// Gone from both; nothing to remember any more.
    Forgotten,
    /// Nothing is proposed: what is in force stays, for this reason.
    Kept(String),
    /// Nothing is proposed before something else changes, for this reason.
    Blocked(String),
    /// Nothing is proposed yet.
    Unclear,
}

/// The verdict on each policy that is in the directory or was. `fresh`: this
/// agent has no memory yet, so a difference may be anyone's wish.
pub(super) fn verdicts(
    wishes: &Wishes,
    memory: &Memory,
    ledger: &Ledger,
    fresh: bool,
) -> BTreeMap<Name, Verdict> {
    let mut found: BTreeMap<Name, Verdict> = BTreeMap::new();
    for (name, seen) in &memory.policies {
        if !wishes.policies.contains_key(name) && !wishes.held.contains(name) {
            found.insert(
                name.clone(),
                absent(seen, ledger.policies.get(name), &wishes.legible),
            );
        }
    }
    let mut owners: BTreeMap<&Target, Vec<(&Name, &InForce)>> = BTreeMap::new();
    for (name, in_force) in &ledger.policies {
        owners
            .entry(&in_force.policy.target)
            .or_default()
            .push((name, in_force));
    }
    for (name, wish) in &wishes.policies {
        let seen = memory.policies.get(name);
        let in_force = ledger.policies.get(name);
        if let Some(in_force) = in_force.filter(|it| objects::owns(&it.source)) {
            found.insert(name.clone(), named_by_an_object(in_force));
            continue;
        }
        let verdict = match present(wish, seen, in_force, fresh) {
            Verdict::Put => {
                rival(name, &wish.policy.target, &owners, &found).unwrap_or(Verdict::Put)
            }
            verdict => verdict,
        };
        found.insert(name.clone(), verdict);
    }
    found
}

fn present(wish: &Wish, seen: Option<&Seen>, in_force: Option<&InForce>, fresh: bool) -> Verdict {
    let unchanged = match seen {
        Some(seen) => seen.policy == *wish.policy && seen.stamp == wish.stamp,
        None => fresh && in_force.is_some(),
    };
    match in_force {
        Some(in_force) if in_force.policy == *wish.policy => Verdict::Settled,
        _ if !unchanged => Verdict::Put,
        Some(in_force) => Verdict::Kept(format!(
            "differs from the one in force, put there by {}; edit or touch the file to apply it",
            in_force.source
        )),
        None => Verdict::Kept(
            "was removed from the cluster, not by this file; edit or touch the file to apply it, \
             or delete the file"
                .to_owned(),
        ),
    }
}

/// Of a file and an object of one name, whichever was first counts; neither
/// overrules the other.
fn named_by_an_object(in_force: &InForce) -> Verdict {
    Verdict::Blocked(format!(
        "is not applied: a policy of this name is in force already, put there by {}; remove one \
         of the two, or rename it",
        in_force.source
    ))
}

fn absent(seen: &Seen, in_force: Option<&InForce>, legible: &Legible) -> Verdict {
    match in_force {
        Some(in_force) if objects::owns(&in_force.source) => Verdict::Forgotten,
        // Somebody else's version isn't this file's to remove.
        Some(in_force) if in_force.policy != seen.policy => Verdict::Forgotten,
        None => Verdict::Forgotten,
        Some(_) => match legible {
            Legible::Yes => Verdict::Remove,
            Legible::NotYet => Verdict::Unclear,
            Legible::Not(file) => Verdict::Kept(format!(
                "is in no file any more; stays in force until {file} can be read, which may hold it"
            )),
        },
    }
}

/// Another policy for the same workload. One that is about to be removed is
/// none: removals are proposed first.
fn rival(
    name: &Name,
    target: &Target,
    owners: &BTreeMap<&Target, Vec<(&Name, &InForce)>>,
    found: &BTreeMap<Name, Verdict>,
) -> Option<Verdict> {
    let (rival, in_force) = owners
        .get(target)?
        .iter()
        .find(|(other, _)| *other != name && found.get(*other) != Some(&Verdict::Remove))?;
    Some(Verdict::Blocked(format!(
        "is not applied: policy {rival} (put there by {}) already scales {}, and a workload \
         can have one policy; remove one of the two, or change scaleTargetRef",
        in_force.source, target
    )))
}
