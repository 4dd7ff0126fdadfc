//! What to propose, given what the files say, what the ledger holds and what
//! this agent remembers of both.
//!
//! A policy is settled once the ledger holds what its file says. From then on
//! only another content of the file is a wish: if the ledger changes, somebody else
//! wished it, and is reported, not overruled. A policy belongs to the file that put
//! it; files that say the same are noted beside it. Never does I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
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
    /// They do, and the ledger is to know that this file says the same.
    Copy,
    Put,
    /// This file of this node asks for it no more, as the ledger calls it.
    Remove(String),
    /// Gone from both; nothing to remember any more.
    Forgotten,
    /// Nothing is proposed: what is in force stays, for this reason.
    Kept(String),
    /// Nothing is proposed before something else changes, for this reason.
    Blocked(String),
    /// Nothing is proposed yet.
    Unclear,
}

/// How the ledger calls a file of a node.
pub(super) fn source(node: &str, file: &Path) -> String {
    format!("{node}:{}", file.display())
}

/// The first place of this node that the ledger has for a policy, but `here`.
fn elsewhere<'a>(in_force: &'a InForce, node: &str, here: Option<&str>) -> Option<&'a str> {
    let mut own = in_force.sources().filter(|source| {
        let file = source.strip_prefix(node);
        file.is_some_and(|file| file.starts_with(':'))
    });
    own.find(|source| Some(*source) != here)
}

/// The verdict on each policy that is in the directory or was. `fresh`: this
/// agent has no memory yet, so a difference may be anyone's wish.
pub(super) fn verdicts(
    wishes: &Wishes,
    memory: &Memory,
    ledger: &Ledger,
    node: &str,
    fresh: bool,
) -> BTreeMap<Name, Verdict> {
    let mut found: BTreeMap<Name, Verdict> = BTreeMap::new();
    for name in memory.policies.keys() {
        if !wishes.policies.contains_key(name) && !wishes.held.contains(name) {
            let in_force = ledger.policies.get(name);
            found.insert(name.clone(), absent(in_force, node, &wishes.legible));
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
        let verdict = match present(wish, seen, in_force, (node, &wishes.legible), fresh) {
            Verdict::Put => {
                rival(name, &wish.policy.target, &owners, &found).unwrap_or(Verdict::Put)
            }
            verdict => verdict,
        };
        found.insert(name.clone(), verdict);
    }
    found
}

fn present(
    wish: &Wish,
    seen: Option<&Seen>,
    in_force: Option<&InForce>,
    (node, legible): (&str, &Legible),
    fresh: bool,
) -> Verdict {
    // A file that is only touched says what it said before, which may be old by now.
    let unchanged = match seen {
        Some(seen) => seen.policy == *wish.policy,
        None => fresh && in_force.is_some(),
    };
    match in_force {
        Some(in_force) if in_force.policy == *wish.policy => {
            let here = source(node, &wish.file);
            let is_known = in_force.sources().any(|it| it == here);
            match elsewhere(in_force, node, Some(&here)) {
                // It has moved to another file.
                Some(former) if is_known && *legible == Legible::Yes => {
                    Verdict::Remove(former.to_owned())
                }
                _ if !is_known && in_force.has_room() => Verdict::Copy,
                _ => Verdict::Settled,
            }
        }
        _ if !unchanged => Verdict::Put,
        Some(in_force) => Verdict::Kept(format!(
            "differs from the one in force, put there by {}; to apply it, change what it says, or \
             take the file away and, once this is gone, put it back",
            in_force.source
        )),
        None => Verdict::Kept(
            "was removed from the cluster, not by this file; delete the file, or, to apply it \
             again, change what it says"
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

/// Only what a file of this node asked for is taken back: the rest is somebody else's.
fn absent(in_force: Option<&InForce>, node: &str, legible: &Legible) -> Verdict {
    let Some(here) = in_force.and_then(|it| elsewhere(it, node, None)) else {
        return Verdict::Forgotten;
    };
    match legible {
        Legible::Yes => Verdict::Remove(here.to_owned()),
        Legible::NotYet => Verdict::Unclear,
        Legible::Not(file) => Verdict::Kept(format!(
            "is in no file any more; stays in force until {file} can be read, which may hold it"
        )),
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
        .find(|(other, _)| *other != name && !is_removed(found.get(*other)))?;
    Some(Verdict::Blocked(format!(
        "is not applied: policy {rival} (put there by {}) already scales {}, and a workload \
         can have one policy; remove one of the two, or change scaleTargetRef",
        in_force.source, target
    )))
}

fn is_removed(verdict: Option<&Verdict>) -> bool {
    matches!(verdict, Some(Verdict::Remove(_)))
}
