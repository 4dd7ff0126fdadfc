//! The policy directory: looked at about once a second, read where it changed.
//!
//! Comes in: a path, the ledger, the time. Goes out: a [`Scan`]. Blocks for one
//! directory listing and a `stat` for each file, and for reading what changed.

mod files;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use starling_engine::ledger::{Command, Ledger, Outcome};
use starling_engine::policy::Target;
use starling_engine::unit::Ms;

use super::file::Kind;
use super::memory::{self, Loaded, Memory, Seen};
use super::reconcile::{self, Verdict, Wish, Wishes};
use super::yaml::Place;
use crate::process::Spec;
use files::Files;

/// A proposal whose outcome nobody reported is made again after this long.
pub const RETRY_MS: u64 = 5_000;
/// More proposals wait for the next scan.
pub const PROPOSALS_MAX: usize = 100;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "can't read {}; it keeps which policies were applied from this machine. Make it \
         readable, or delete it: differing policies are then reported instead of applied",
        .path.display()
    )]
    Memory { path: PathBuf, source: io::Error },
}

/// What one look at the directory found.
#[derive(Debug, Default)]
pub struct Scan {
    /// To be proposed in this order; report each outcome to [`Directory::answered`].
    pub proposals: Vec<Command>,
    /// What this machine can run now, by name: last good versions included.
    pub processes: BTreeMap<String, Spec>,
    /// What is wrong, by file and line or by policy; gone once it is mended.
    pub problems: BTreeMap<String, String>,
}

/// A directory of YAML files and the memory of what it had acknowledged.
pub struct Directory {
    path: PathBuf,
    data_dir: PathBuf,
    node: String,
    files: Files,
    memory: Memory,
    /// As it is on disk; `None` before the first save.
    saved: Option<Memory>,
    /// Nothing was remembered when this agent started, and not all files have been read since.
    fresh: bool,
    /// Where a memory that couldn't be read was put.
    lost: Option<String>,
    /// By policy: the last proposal and when it was made.
    proposed: BTreeMap<String, (Command, Ms)>,
    /// By policy: a proposal that the ledger refused, and why.
    refused: BTreeMap<String, (Command, String)>,
}

impl Directory {
    /// Remembers what was acknowledged in `data_dir`. `node` is this agent's
    /// name. The directory itself may come, go and come back later.
    pub fn open(path: &Path, data_dir: &Path, node: &str) -> Result<Directory, Error> {
        let loaded = memory::load(data_dir).map_err(|source| Error::Memory {
            path: data_dir.join("policies.json"),
            source,
        })?;
        let (memory, fresh, lost) = match loaded {
            Loaded::Found(memory) => (memory, false, None),
            Loaded::Absent => (Memory::default(), true, None),
            Loaded::Broken(aside, why) => (
                Memory::default(),
                true,
                Some(format!(
                    "the memory of applied policies couldn't be read ({why}) and was moved to {}; \
                     policies that differ from those in force are reported, not applied",
                    aside.display()
                )),
            ),
        };
        Ok(Directory {
            path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
            data_dir: data_dir.to_owned(),
            node: node.to_owned(),
            files: Files::default(),
            saved: (!fresh).then(|| memory.clone()),
            memory,
            fresh,
            lost,
            proposed: BTreeMap::new(),
            refused: BTreeMap::new(),
        })
    }

    /// Looks at the directory. Call it once this agent has applied the log as
    /// far as its own admission, or policies of others look absent. `offered`:
    /// what live nodes can run; this machine's own processes count too. `now`
    /// is the wall clock.
    pub fn scan(&mut self, ledger: &Ledger, offered: &BTreeSet<Target>, now: Ms) -> Scan {
        let mut scan = Scan::default();
        if let Some(lost) = &self.lost {
            scan.problems.insert(
                self.data_dir.join("policies.json").display().to_string(),
                lost.clone(),
            );
        }
        if let Err(why) = self.files.refresh(&self.path, now) {
            scan.problems.insert(
                self.path.display().to_string(),
                format!("{why}; nothing changes until it can be read"),
            );
            scan.processes.clone_from(&self.memory.processes);
            return scan;
        }
        let wishes = self.gather(&mut scan);
        let verdicts = reconcile::verdicts(&wishes, &self.memory, ledger, self.fresh);
        for (name, verdict) in &verdicts {
            self.remember(name, verdict, &wishes);
            if let Verdict::Kept(why) = verdict {
                scan.problems.insert(subject(name), why.clone());
            }
        }
        self.propose(&verdicts, &wishes, now, &mut scan);
        self.report_unrunnable(&wishes, &verdicts, offered, &mut scan);
        self.fresh &= wishes.opaque.is_some();
        self.save(&mut scan);
        scan
    }

    /// What became of a proposal of [`Scan::proposals`]. A refused one is not
    /// made again until its file changes.
    pub fn answered(&mut self, command: &Command, outcome: &Outcome) {
        let Some(name) = name_of(command).map(str::to_owned) else {
            return;
        };
        let Some((asked, _)) = self.proposed.get(&name) else {
            return;
        };
        if asked != command {
            return;
        }
        self.proposed.remove(&name);
        if !outcome.refused.is_empty() {
            let why: Vec<String> = outcome
                .refused
                .iter()
                .map(|refusal| refusal.why.to_string())
                .collect();
            self.refused.insert(name, (command.clone(), why.join("; ")));
        }
    }

    /// Sorts out what the files say; reports what they say wrongly.
    fn gather(&mut self, scan: &mut Scan) -> Wishes {
        let mut wishes = Wishes {
            opaque: self
                .files
                .opaque()
                .or((!self.files.are_settled()).then_some(&self.path))
                .map(|path| path.display().to_string()),
            ..Wishes::default()
        };
        if let Some(overflow) = self.files.overflow() {
            for problem in &overflow.problems {
                scan.problems
                    .insert(self.path.display().to_string(), problem.to_string());
            }
        }
        let mut policies: BTreeMap<&str, Vec<(&Path, Place)>> = BTreeMap::new();
        let mut targets: BTreeMap<&Target, Vec<(&str, &Path, Place)>> = BTreeMap::new();
        let mut processes: BTreeMap<&str, Vec<(&Path, Place, &Spec)>> = BTreeMap::new();
        let mut kept: BTreeSet<&str> = BTreeSet::new();
        for file in self.files.iter() {
            for problem in &file.contents.problems {
                let subject = located(file.path, problem.place);
                let words = scan.problems.entry(subject).or_default();
                if !words.is_empty() {
                    words.push_str("; ");
                }
                words.push_str(&problem.to_string());
            }
            for (kind, name) in &file.contents.refused {
                match kind {
                    Kind::Policy => _ = wishes.held.insert(name.clone()),
                    Kind::Process => _ = kept.insert(name),
                }
            }
            for (place, policy) in &file.contents.policies {
                policies
                    .entry(&policy.name)
                    .or_default()
                    .push((file.path, *place));
                targets
                    .entry(&policy.target)
                    .or_default()
                    .push((&policy.name, file.path, *place));
                wishes.policies.insert(
                    policy.name.clone(),
                    Wish {
                        policy: policy.clone(),
                        stamp: file.stamp,
                        source: format!("{}:{}", self.node, file.path.display()),
                    },
                );
            }
            for (place, spec) in &file.contents.processes {
                processes
                    .entry(&spec.name)
                    .or_default()
                    .push((file.path, *place, spec));
            }
        }
        for (name, places) in &policies {
            // A broken document of the same name may be the newer one of the two.
            if places.len() > 1 || wishes.held.contains(*name) {
                wishes.policies.remove(*name);
                wishes.held.insert((*name).to_owned());
            }
            if places.len() > 1 {
                scan.problems
                    .insert(subject(name), twice("this policy", places));
            }
        }
        for (target, found) in &targets {
            if found.len() < 2 || found.iter().all(|(name, ..)| *name == found[0].0) {
                continue;
            }
            let places: Vec<_> = found
                .iter()
                .map(|(_, path, place)| (*path, *place))
                .collect();
            for (name, ..) in found {
                wishes.policies.remove(*name);
                wishes.held.insert((*name).to_owned());
                scan.problems.insert(
                    subject(name),
                    twice(
                        &format!("a policy for {} {}", target.kind, target.name),
                        &places,
                    ),
                );
            }
        }
        for (name, found) in &processes {
            match found.as_slice() {
                [(_, _, spec)] if !kept.contains(name) => {
                    scan.processes.insert((*name).to_owned(), (*spec).clone());
                }
                several => {
                    kept.insert(name);
                    if several.len() > 1 {
                        let places: Vec<_> = several
                            .iter()
                            .map(|(path, place, _)| (*path, *place))
                            .collect();
                        scan.problems
                            .insert(format!("process {name}"), twice("this process", &places));
                    }
                }
            }
        }
        // Last good versions: of what was refused, and of all where a file may hold anything.
        for (name, spec) in &self.memory.processes {
            if kept.contains(name.as_str()) || wishes.opaque.is_some() {
                scan.processes
                    .entry(name.clone())
                    .or_insert_with(|| spec.clone());
            }
        }
        self.memory.processes.clone_from(&scan.processes);
        wishes
    }

    fn remember(&mut self, name: &str, verdict: &Verdict, wishes: &Wishes) {
        match (verdict, wishes.policies.get(name)) {
            (Verdict::Forgotten, _) => _ = self.memory.policies.remove(name),
            // A difference that was there first counts as seen, so that it isn't
            // applied after a restart either.
            (Verdict::Kept(_), Some(wish)) if self.fresh => {
                self.memory
                    .policies
                    .entry(name.to_owned())
                    .or_insert_with(|| Seen {
                        policy: wish.policy.clone(),
                        stamp: wish.stamp,
                    });
            }
            (Verdict::Settled, Some(wish)) => {
                let known = self.memory.policies.get(name);
                if known.is_none_or(|seen| seen.stamp != wish.stamp || seen.policy != wish.policy) {
                    let seen = Seen {
                        policy: wish.policy.clone(),
                        stamp: wish.stamp,
                    };
                    self.memory.policies.insert(name.to_owned(), seen);
                }
            }
            _ => {}
        }
    }

    fn propose(
        &mut self,
        verdicts: &BTreeMap<String, Verdict>,
        wishes: &Wishes,
        now: Ms,
        scan: &mut Scan,
    ) {
        let open =
            |name: &String| matches!(verdicts.get(name), Some(Verdict::Put | Verdict::Remove));
        self.proposed.retain(|name, _| open(name));
        self.refused.retain(|name, _| open(name));
        let removals = verdicts
            .iter()
            .filter(|(_, verdict)| **verdict == Verdict::Remove);
        let puts = verdicts
            .iter()
            .filter(|(_, verdict)| **verdict == Verdict::Put);
        for (name, verdict) in removals.chain(puts) {
            let Some(command) = reconcile::command(name, verdict, wishes) else {
                continue;
            };
            if let Some((_, why)) = self
                .refused
                .get(name)
                .filter(|(refused, _)| *refused == command)
            {
                scan.problems.insert(
                    subject(name),
                    format!("was refused by the cluster: {why}; edit the file to try again"),
                );
                continue;
            }
            let waiting = self
                .proposed
                .get(name)
                .is_some_and(|(asked, at)| *asked == command && now.since(*at) < RETRY_MS);
            if !waiting && scan.proposals.len() < PROPOSALS_MAX {
                self.proposed.insert(name.clone(), (command.clone(), now));
                scan.proposals.push(command);
            }
        }
    }

    fn report_unrunnable(
        &self,
        wishes: &Wishes,
        verdicts: &BTreeMap<String, Verdict>,
        offered: &BTreeSet<Target>,
        scan: &mut Scan,
    ) {
        for (name, wish) in &wishes.policies {
            let target = &wish.policy.target;
            let settled = verdicts.get(name) == Some(&Verdict::Settled);
            if settled && !offered.contains(target) && !scan.processes.contains_key(&target.name) {
                scan.problems.insert(
                    subject(name),
                    format!(
                        "no live node can run {} {}; write a `kind: {}` document of that name on \
                         the machines that should",
                        target.kind, target.name, target.kind
                    ),
                );
            }
        }
    }

    fn save(&mut self, scan: &mut Scan) {
        if self.fresh || self.saved.as_ref() == Some(&self.memory) {
            return;
        }
        match memory::save(&self.data_dir, &self.memory) {
            Ok(()) => self.saved = Some(self.memory.clone()),
            Err(error) => {
                scan.problems.insert(
                    self.data_dir.join("policies.json").display().to_string(),
                    format!(
                        "can't be written ({error}); after a restart, files that were deleted \
                         meanwhile won't be noticed"
                    ),
                );
            }
        }
    }
}

fn name_of(command: &Command) -> Option<&str> {
    match command {
        Command::PutPolicy { policy, .. } => Some(&policy.name),
        Command::RemovePolicy { name, .. } => Some(name),
        _ => None,
    }
}

fn subject(policy: &str) -> String {
    format!("policy {policy}")
}

fn located(path: &Path, place: Place) -> String {
    match place {
        Place { line: 0, .. } => path.display().to_string(),
        Place { line, column } => format!("{}:{line}:{column}", path.display()),
    }
}

fn twice(what: &str, places: &[(&Path, Place)]) -> String {
    let places: Vec<String> = places
        .iter()
        .map(|(path, place)| located(path, *place))
        .collect();
    format!(
        "{what} is written more than once: {}; none is applied, and what was in force stays. \
         Remove all but one",
        places.join(" and ")
    )
}
