//! One worker process: starting it, finding it again after the agent's own
//! death, and (in [`tree`]) ending it with all that it started.
//!
//! A worker carries a mark in its environment, and its children inherit it, so
//! that none can become unknown, whenever the agent dies. Never waits, and
//! never decides whether a worker should run.

pub mod tree;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use crate::collect::proc::{Proc, Stat};
use tree::{Root, Table};

/// The environment variable that holds a [`Mark`]. A command that overwrites its
/// own environment in memory can't be adopted.
pub const VARIABLE: &str = "STARLING_WORKER";
/// A log is emptied when it has grown beyond this.
pub const LOG_BYTES_MAX: u64 = 4 << 20;

/// Whose a worker is, and what it runs. No part but the name may hold spaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The same agent, across its restarts.
    pub owner: String,
    /// The same command.
    pub edition: String,
    /// The workload.
    pub name: String,
}

impl Mark {
    /// A text that no other worker carries.
    pub fn fresh(&self) -> String {
        let instance = rand::random::<u64>();
        format!(
            "{} {} {instance:016x} {}",
            self.owner, self.edition, self.name
        )
    }

    pub fn parse(text: &str) -> Option<Mark> {
        let mut parts = text.splitn(4, ' ').map(str::to_owned);
        let (owner, edition) = (parts.next()?, parts.next()?);
        let name = parts.nth(1)?;
        Some(Mark {
            owner,
            edition,
            name,
        })
    }
}

/// A short digest for a [`Mark`]. 64 bits are plenty to tell the agents and
/// commands of one machine apart.
pub fn digest(value: &serde_json::Value) -> String {
    let hash = Sha256::digest(value.to_string());
    let bytes = hash.iter().take(8);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// Starts a command in a process group of its own, its output appended to `log`.
/// The error says why it can't be, as a clause.
pub fn start(
    command: &[String],
    env: &BTreeMap<String, String>,
    directory: Option<&Path>,
    log: &Path,
    mark: &str,
) -> Result<Root, String> {
    let (program, arguments) = command.split_first().ok_or("the command is empty")?;
    let directory = directory.unwrap_or(Path::new("."));
    if !directory.is_dir() {
        return Err(format!("directory {} doesn't exist", directory.display()));
    }
    // Appending lets workers share a log, and lets it be emptied under them.
    let output = File::options().create(true).append(true).open(log);
    let outputs = output.and_then(|output| Ok((output.try_clone()?, output)));
    let (out, err) = outputs.map_err(|e| format!("can't open {}: {e}", log.display()))?;
    let mut child = Command::new(program);
    child.args(arguments).current_dir(directory);
    child.envs(env).env(VARIABLE, mark);
    child.stdin(Stdio::null()).stdout(out).stderr(err);
    let spawned = child.process_group(0).spawn();
    let pid = spawned
        .map(|child| child.id())
        .map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => format!("command {program} doesn't exist"),
            _ => format!("command {program} can't be started: {e}"),
        })?;
    // Nobody has waited for it yet, so it has an entry, be it a zombie's.
    let stat = Proc::new("/proc").stat(pid);
    Ok(Root {
        pid,
        start_ticks: stat.map_or(0, |stat| stat.start_ticks),
        mark: mark.to_owned(),
    })
}

/// Empties a log that is too long. What a worker wrote last is lost with the rest.
pub fn trim(log: &Path) {
    if log.metadata().is_ok_and(|log| log.len() > LOG_BYTES_MAX)
        && let Err(e) = File::options().write(true).truncate(true).open(log)
    {
        tracing::warn!("can't empty {}: {e}", log.display());
    }
}

/// A worker that an earlier run of the agent started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub root: Root,
    pub mark: Mark,
    /// Otherwise it has died, and only descendants of it are left.
    pub runs: bool,
}

/// All workers with this owner. Of the processes with one mark the worker is the
/// eldest that leads a process group and has no parent among them; the others
/// inherited the mark.
pub fn find(owner: &str) -> io::Result<Vec<Found>> {
    let table = Table::read(&Proc::new("/proc"), VARIABLE, 0)?;
    let mut marked: BTreeMap<&str, Vec<&Stat>> = BTreeMap::new();
    for (stat, mark) in table.marked() {
        if stat.pid != std::process::id() {
            marked.entry(mark).or_default().push(stat);
        }
    }
    let found = marked.into_iter().filter_map(|(text, stats)| {
        let mark = Mark::parse(text).filter(|mark| mark.owner == owner)?;
        let child = |stat: &Stat| stats.iter().any(|other| other.pid == stat.parent);
        let leads = |stat: &&&Stat| stat.pid == stat.group && !child(stat);
        let leader = stats
            .iter()
            .filter(leads)
            .min_by_key(|stat| stat.start_ticks);
        let (pid, start_ticks) = match leader {
            Some(leader) => (leader.pid, leader.start_ticks),
            // Nothing that could carry a mark has started at 0.
            None => (stats.first()?.group, 0),
        };
        let runs = leader.is_some();
        let mark_text = text.to_owned();
        let root = Root {
            pid,
            start_ticks,
            mark: mark_text,
        };
        Some(Found { root, mark, runs })
    });
    Ok(found.collect())
}
