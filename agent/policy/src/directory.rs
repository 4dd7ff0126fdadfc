//! The policy directory: looked at about once a second, read where it changed.
//!
//! Comes in: a path, the ledger, the time. Goes out: a [`Scan`]. What waits for a disk
//! is apart from the rest, to be run where waiting does no harm: a [`Look`] (one
//! directory listing, a `stat` for each file, and reading what changed) and a [`Save`].
//! Everything else only computes.

mod files;
mod gather;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use starling_engine::ledger::{Command, Ledger, Outcome};
use starling_engine::policy::{Form, Name, Policy, Target};
use starling_engine::unit::Ms;

use super::memory::{self, Loaded, Memory, Seen, Stamp};
use super::reconcile::{self, Legible, Verdict, Wish, Wishes};
use files::Files;
pub use files::{ENTRIES_MAX, FILES_MAX, READ_MAX, SETTLE_MS};
use starling_process::spec::Spec;

/// A proposal that came to nothing is made again after this long.
pub const RETRY_MS: u64 = 5_000;
/// Files that can't be read in so many scans aren't waited for.
const SCANS_MAX: u32 = 5;
/// More proposals wait for the next scan.
pub const PROPOSALS_MAX: usize = 100;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "can't read {}, which keeps what was applied from the policy directory; make it readable, \
         or delete it: policies that differ from those in force are then reported, not applied",
        .path.display()
    )]
    Memory { path: PathBuf, source: io::Error },
}

/// What one look at the directory found.
#[derive(Debug, Default)]
pub struct Scan {
    /// To be proposed in this order. What became of each goes to [`Directory::answered`].
    pub proposals: Vec<Command>,
    /// What this machine can run now, by name: last good versions included.
    pub processes: BTreeMap<String, Spec>,
    /// What is wrong, by file and line or by policy; gone once it is mended.
    pub problems: BTreeMap<String, String>,
}

/// A directory of YAML files, and the memory of what it had acknowledged.
pub struct Directory {
    path: PathBuf,
    data_dir: PathBuf,
    node: String,
    /// This agent has a platform that carries sizes out, so that policies may name
    /// its workloads.
    platform: bool,
    files: Files,
    under_way: UnderWay,
    memory: Memory,
    /// As it is on disk; `None` where nothing is.
    saved: Option<Memory>,
    /// Why it couldn't be written the last time.
    unsaved: Option<String>,
    /// Nothing was remembered at the start, and not every file has been read since.
    fresh: bool,
    scans: u32,
    /// What became of a memory that couldn't be read.
    lost: Option<String>,
    /// By policy: the last proposal and when it was made.
    proposed: BTreeMap<Name, (Proposal, Ms)>,
    /// By policy: the proposal that the ledger refused, and why.
    refused: BTreeMap<Name, (Proposal, String)>,
}

/// What waits for a disk just now, elsewhere.
#[derive(Debug, Default)]
struct UnderWay {
    /// It has the files.
    look: bool,
    save: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Proposal {
    command: Command,
    /// The file's; `None` for a removal.
    stamp: Option<Stamp>,
}

impl Directory {
    /// Remembers what was acknowledged in `data_dir`. `node` is this agent's
    /// name. The directory itself may come, go and come back later.
    pub fn open(path: &Path, data_dir: &Path, node: &str) -> Result<Directory, Error> {
        let loaded = memory::load(data_dir).map_err(|source| Error::Memory {
            path: memory::path(data_dir),
            source,
        })?;
        let (saved, lost) = match loaded {
            Loaded::Found(memory) => (Some(memory), None),
            Loaded::Absent => (None, None),
            Loaded::Broken { aside, why } => (
                None,
                Some(format!(
                    "what was applied from the policy directory couldn't be read ({why}) and was \
                     moved to {}; policies that differ from those in force are reported, not \
                     applied",
                    aside.display()
                )),
            ),
        };
        Ok(Directory {
            path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
            data_dir: data_dir.to_owned(),
            node: node.to_owned(),
            platform: false,
            files: Files::default(),
            under_way: UnderWay::default(),
            memory: saved.clone().unwrap_or_default(),
            fresh: saved.is_none(),
            scans: 0,
            saved,
            unsaved: None,
            lost,
            proposed: BTreeMap::new(),
            refused: BTreeMap::new(),
        })
    }

    /// Lets policies name workloads of Kubernetes; without it only processes.
    #[must_use]
    pub fn on_kubernetes(self) -> Directory {
        Directory {
            platform: true,
            ..self
        }
    }

    /// What this machine can run, as far as that is known: as it was remembered
    /// until the first scan. `None` before anything is known; an agent that said
    /// that it can run nothing would have its workers moved away from it.
    pub fn processes(&self) -> Option<&BTreeMap<String, Spec>> {
        let known = !self.fresh || self.scans >= SCANS_MAX;
        known.then_some(&self.memory.processes)
    }

    /// Begins to look at the directory; `None` while a look is under way. What comes
    /// of it goes to [`Directory::scan`], or, where it broke off, to
    /// [`Directory::broke_off`]. `now` is the wall clock.
    pub fn look(&mut self, now: Ms) -> Option<Look> {
        if std::mem::replace(&mut self.under_way.look, true) {
            return None;
        }
        Some(Look {
            files: std::mem::take(&mut self.files),
            path: self.path.clone(),
            now,
        })
    }

    /// A look has come to nothing. The next one reads all files anew; until it has,
    /// what was read before stays in force.
    pub fn broke_off(&mut self) {
        self.under_way.look = false;
    }

    /// Takes what a look has found. Call it once this agent has applied the log as
    /// far as its own admission; before that, policies of others look absent.
    /// `offered` is what live nodes can run; this machine's own processes count
    /// too. `rivals` is what else scales workloads, as far as this agent knows.
    pub fn scan(
        &mut self,
        looked: Looked,
        ledger: &Ledger,
        offered: &BTreeSet<Target>,
        rivals: &BTreeMap<Target, String>,
    ) -> Scan {
        let Looked { files, now, listed } = looked;
        self.files = files;
        self.under_way.look = false;
        let mut scan = Scan::default();
        self.scans = self.scans.saturating_add(1);
        let remembered = memory::path(&self.data_dir).display().to_string();
        if let Some(unsaved) = &self.unsaved {
            let words = format!(
                "can't be written ({unsaved}); until it can, files that are deleted while this \
                 agent is down go unnoticed"
            );
            scan.problems.insert(remembered.clone(), words);
        }
        if let Some(lost) = &self.lost {
            scan.problems.insert(remembered, lost.clone());
        }
        if let Err(why) = listed {
            let words = format!("{why}; what was read from it before stays in force");
            scan.problems.insert(self.path.display().to_string(), words);
            scan.processes.clone_from(&self.memory.processes);
            return scan;
        }
        let mut wishes = self.gather(&mut scan);
        self.distrust_a_missing_mount(&mut wishes, &mut scan);
        self.memory.processes.clone_from(&scan.processes);
        let verdicts = reconcile::verdicts(&wishes, &self.memory, ledger, &self.node, self.fresh);
        self.proposed
            .retain(|_, (_, at)| *at <= now && now.since(*at) < RETRY_MS);
        for (name, verdict) in &verdicts {
            self.remember(name, verdict, wishes.policies.get(name));
            self.report(name, verdict, &wishes, (offered, rivals), &mut scan);
        }
        self.propose(&verdicts, &wishes, now, &mut scan);
        self.fresh &= !self.files.are_read();
        scan
    }

    /// What became of a proposal of [`Scan::proposals`]. A refused one is made
    /// again only when its file changes; one whose outcome never comes, after
    /// [`RETRY_MS`].
    pub fn answered(&mut self, command: &Command, outcome: &Outcome) {
        let Some(name) = name_of(command) else { return };
        let Some((proposal, _)) = self
            .proposed
            .get(name)
            .filter(|(it, _)| it.command == *command)
        else {
            return;
        };
        if !outcome.refused.is_empty() {
            let why: Vec<_> = outcome.refused.iter().map(ToString::to_string).collect();
            self.refused
                .insert(name.clone(), (proposal.clone(), why.join("; ")));
            self.proposed.remove(name);
            return;
        }
        // Remembered at once: should somebody else's wish come next in the log,
        // before this agent's next scan, that one stands.
        // What was removed is forgotten when the ledger shows it.
        if let Command::PutPolicy { policy, .. } = command {
            let seen = Seen {
                policy: policy.clone(),
            };
            self.memory.policies.insert(name.clone(), seen);
        }
    }

    /// An empty directory in the place of the one that held files is a mount that
    /// is missing, not a wish to remove them.
    fn distrust_a_missing_mount(&mut self, wishes: &mut Wishes, scan: &mut Scan) {
        let (identity, empty) = self.files.identity();
        if !empty {
            self.memory.directory = identity;
        } else if self.memory.directory != identity {
            scan.processes.clone_from(&self.memory.processes);
            wishes.legible = Legible::Not(format!(
                "{} (empty, and not the directory that held it)",
                self.path.display()
            ));
        }
    }

    fn remember(&mut self, name: &Name, verdict: &Verdict, wish: Option<&Wish>) {
        let known = self.memory.policies.get(name);
        let seen = |wish: &Wish| Seen {
            policy: Policy::clone(&wish.policy),
        };
        match (verdict, wish) {
            (Verdict::Forgotten, _) => _ = self.memory.policies.remove(name),
            // A difference that was there first counts as seen, so that a restart
            // doesn't apply it either.
            (Verdict::Kept(_), Some(wish)) if self.fresh && known.is_none() => {
                self.memory.policies.insert(name.clone(), seen(wish));
            }
            (Verdict::Settled | Verdict::Copy, Some(wish))
                if known.is_none_or(|it| it.policy != *wish.policy) =>
            {
                self.memory.policies.insert(name.clone(), seen(wish));
            }
            _ => {}
        }
    }

    fn report(
        &self,
        name: &Name,
        verdict: &Verdict,
        wishes: &Wishes,
        (offered, rivals): (&BTreeSet<Target>, &BTreeMap<Target, String>),
        scan: &mut Scan,
    ) {
        let words = match (verdict, wishes.policies.get(name)) {
            // Accepted just now; this agent's ledger is about to show it.
            (Verdict::Kept(_), _) if self.proposed.contains_key(name) => return,
            (Verdict::Kept(why) | Verdict::Blocked(why), _) => why.clone(),
            (Verdict::Settled | Verdict::Copy, Some(wish)) => {
                let target = &wish.policy.target;
                let rival = rivals.get(target).filter(|_| !wish.policy.dry_run);
                if let Some(by) = rival {
                    let words = format!(
                        "sizes nothing for now: {by} scales {target} already; delete it, and this \
                         policy goes on by itself, or remove this one"
                    );
                    scan.problems.insert(gather::policy_subject(name), words);
                    return;
                }
                let runs = target.form() == Form::Scaled
                    || offered.contains(target)
                    || scan.processes.contains_key(&target.name);
                if runs {
                    return;
                }
                format!(
                    "no live node can run {0} {1}; write a `kind: {0}` document named {1} on the \
                     machines that should",
                    target.kind, target.name
                )
            }
            _ => return,
        };
        scan.problems.insert(gather::policy_subject(name), words);
    }

    /// Removals come first, so that a renamed policy finds its target free.
    fn propose(
        &mut self,
        verdicts: &BTreeMap<Name, Verdict>,
        wishes: &Wishes,
        now: Ms,
        scan: &mut Scan,
    ) {
        let rank = |verdict: &Verdict| match verdict {
            Verdict::Remove(_) => Some(0),
            Verdict::Put => Some(1),
            Verdict::Copy => Some(2),
            _ => None,
        };
        let open = verdicts.iter();
        let mut open: Vec<_> = open
            .filter_map(|(name, verdict)| Some((rank(verdict)?, name, verdict)))
            .collect();
        open.sort_by_key(|(rank, ..)| *rank);
        self.refused
            .retain(|name, _| open.iter().any(|(_, it, _)| *it == name));
        for (_, name, verdict) in open {
            let Some(proposal) = self.proposal(name, verdict, wishes) else {
                continue;
            };
            if let Some((_, why)) = self.refused.get(name).filter(|(it, _)| *it == proposal) {
                let words =
                    format!("was refused by the cluster ({why}); edit the file to try again");
                scan.problems.insert(gather::policy_subject(name), words);
                continue;
            }
            let waiting = self
                .proposed
                .get(name)
                .is_some_and(|(it, _)| *it == proposal);
            if !waiting && scan.proposals.len() < PROPOSALS_MAX {
                scan.proposals.push(proposal.command.clone());
                self.proposed.insert(name.clone(), (proposal, now));
            }
        }
    }

    fn proposal(&self, name: &Name, verdict: &Verdict, wishes: &Wishes) -> Option<Proposal> {
        if let Verdict::Remove(source) = verdict {
            let (name, source) = (name.clone(), Some(source.clone()));
            return Some(Proposal {
                command: Command::RemovePolicy { name, source },
                stamp: None,
            });
        }
        let wish = wishes.policies.get(name)?;
        Some(Proposal {
            command: Command::PutPolicy {
                policy: Policy::clone(&wish.policy),
                source: reconcile::source(&self.node, &wish.file),
            },
            stamp: Some(wish.stamp),
        })
    }

    /// What is to be written down now; `None` where nothing is new, and while it is
    /// being written. What became of it goes to [`Directory::saved`].
    pub fn save(&mut self) -> Option<Save> {
        if self.fresh || self.under_way.save || self.saved.as_ref() == Some(&self.memory) {
            return None;
        }
        self.under_way.save = true;
        Some(Save {
            data_dir: self.data_dir.clone(),
            memory: self.memory.clone(),
        })
    }

    /// `Err` where it couldn't be written; it is tried again after the next scan.
    pub fn saved(&mut self, result: Result<Saved, String>) {
        self.under_way.save = false;
        match result {
            Ok(Saved(memory)) => {
                self.saved = Some(memory);
                self.unsaved = None;
            }
            Err(why) => self.unsaved = Some(why),
        }
    }
}

/// The part of a look that waits for the directory's disk.
pub struct Look {
    files: Files,
    path: PathBuf,
    now: Ms,
}

/// What a look has found.
pub struct Looked {
    files: Files,
    now: Ms,
    listed: Result<(), String>,
}

impl Look {
    /// Blocks; on a mount that hangs, for as long as that does.
    pub fn run(mut self) -> Looked {
        let listed = self.files.refresh(&self.path, self.now);
        Looked {
            files: self.files,
            now: self.now,
            listed,
        }
    }
}

/// The memory, to be written to the data directory.
pub struct Save {
    data_dir: PathBuf,
    memory: Memory,
}

/// The memory as it was written.
pub struct Saved(Memory);

impl Save {
    /// Blocks for the disk.
    pub fn run(self) -> Result<Saved, String> {
        memory::save(&self.data_dir, &self.memory).map_err(|error| error.to_string())?;
        Ok(Saved(self.memory))
    }
}

fn name_of(command: &Command) -> Option<&Name> {
    match command {
        Command::PutPolicy { policy, .. } => Some(&policy.name),
        Command::RemovePolicy { name, .. } => Some(name),
        _ => None,
    }
}
