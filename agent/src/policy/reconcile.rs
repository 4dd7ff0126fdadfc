//! What to propose, given what the files say, what the ledger holds and what
//! this agent remembers of both.
//!
//! A policy is settled once the ledger holds what its file says. From then on
//! only a change of the file is a wish: if the ledger changes, somebody else
//! wished it, and is reported, not overruled. Never does I/O.

use std::collections::BTreeMap;

use starling_engine::ledger::{Command, InForce, Ledger};
use starling_engine::policy::{Policy, Target};

use super::memory::{Memory, Seen, Stamp};

/// A policy that a file asks for.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    pub policy: Policy,
    pub stamp: Stamp,
    /// Node and file, as the ledger keeps it.
    pub source: String,
}

/// What the files say.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    pub policies: BTreeMap<String, Wish>,
    /// Present, but not to be applied as they stand.
    pub held: std::collections::BTreeSet<String>,
    /// A file that may hold anything; nothing counts as absent.
    pub opaque: Option<String>,
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
    /// Nothing is proposed, for this reason.
    Kept(String),
}

/// The verdict on each policy that is in the directory or was. `fresh`: this
/// agent has no memory yet, so a difference may be anyone's wish.
pub(super) fn verdicts(
    wishes: &Wishes,
    memory: &Memory,
    ledger: &Ledger,
    fresh: bool,
) -> BTreeMap<String, Verdict> {
    let mut found: BTreeMap<String, Verdict> = BTreeMap::new();
    for (name, seen) in &memory.policies {
        if !wishes.policies.contains_key(name) && !wishes.held.contains(name) {
            found.insert(
                name.clone(),
                absent(seen, ledger.policies.get(name), wishes.opaque.as_deref()),
            );
        }
    }
    for (name, wish) in &wishes.policies {
        let seen = memory.policies.get(name);
        let verdict = match present(wish, seen, ledger.policies.get(name), fresh) {
            Verdict::Put => {
                rival(name, &wish.policy.target, ledger, &found).unwrap_or(Verdict::Put)
            }
            verdict => verdict,
        };
        found.insert(name.clone(), verdict);
    }
    found
}

fn present(wish: &Wish, seen: Option<&Seen>, in_force: Option<&InForce>, fresh: bool) -> Verdict {
    let unchanged = match seen {
        Some(seen) => seen.policy == wish.policy && seen.stamp == wish.stamp,
        None => fresh && in_force.is_some(),
    };
    match in_force {
        Some(in_force) if in_force.policy == wish.policy => Verdict::Settled,
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

fn absent(seen: &Seen, in_force: Option<&InForce>, opaque: Option<&str>) -> Verdict {
    match in_force {
        // Somebody else's version isn't this file's to remove.
        Some(in_force) if in_force.policy != seen.policy => Verdict::Forgotten,
        None => Verdict::Forgotten,
        Some(_) => match opaque {
            Some(file) => Verdict::Kept(format!(
                "is in no file any more; stays in force until {file} can be read, which may hold it"
            )),
            None => Verdict::Remove,
        },
    }
}

/// Another policy for the same workload. One that is about to be removed is
/// none: removals are proposed first.
fn rival(
    name: &str,
    target: &Target,
    ledger: &Ledger,
    found: &BTreeMap<String, Verdict>,
) -> Option<Verdict> {
    let (rival, in_force) = ledger.policies.iter().find(|(other, in_force)| {
        *other != name
            && in_force.policy.target == *target
            && found.get(*other) != Some(&Verdict::Remove)
    })?;
    Some(Verdict::Kept(format!(
        "is not applied: policy {rival} (put there by {}) already scales {} {}, and a workload \
         can have one policy; remove one of the two, or change scaleTargetRef",
        in_force.source, target.kind, target.name
    )))
}

/// The command that carries out a verdict.
pub(super) fn command(name: &str, verdict: &Verdict, wishes: &Wishes) -> Option<Command> {
    match verdict {
        Verdict::Put => wishes.policies.get(name).map(|wish| Command::PutPolicy {
            policy: wish.policy.clone(),
            source: wish.source.clone(),
        }),
        Verdict::Remove => Some(Command::RemovePolicy {
            name: name.to_owned(),
        }),
        Verdict::Settled | Verdict::Forgotten | Verdict::Kept(_) => None,
    }
}
