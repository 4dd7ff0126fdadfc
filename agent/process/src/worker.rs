//! One worker process: starting it, finding it again after the agent's own
//! death, and ending it with all that it started.
//!
//! None can become unknown, whenever the agent dies, because each carries a
//! [`mark`] from its first instruction on. Never waits, and never decides
//! whether a worker should run. Times are milliseconds since boot.

pub mod mark;
pub mod tree;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use starling_collect::proc::{Proc, Stat, boot_ms, ticks_to_ms};

use crate::limit;
use crate::spec::{STOP_AFTER_MS, Spec};
use mark::Mark;
use tree::{Root, Table};

/// The environment variable that holds a [`Mark`]. A command that overwrites its
/// own environment in memory can't be found by it.
pub const VARIABLE: &str = "STARLING_WORKER";
/// A worker is ready once it has run for this long.
pub const READY_AFTER_MS: u64 = 1_000;
/// A workload's log is emptied when it has grown beyond this.
pub const LOG_BYTES_MAX: u64 = 4 << 20;
/// A log is named after as much of the workload's name.
const LOG_NAME_CHARS_MAX: usize = 200;

/// A process that runs and isn't being stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    pub name: String,
    /// Also the id of its process group.
    pub pid: u32,
    /// Since boot; tells it from a later process with the same pid.
    pub start_ticks: u64,
    pub ready: bool,
}

/// One agent's place on this machine: whose workers it is about, and their logs.
#[derive(Debug)]
pub struct Home {
    proc: Proc,
    owner: String,
    logs: PathBuf,
}

/// A worker, until nothing is left of it.
#[derive(Debug)]
pub struct Process {
    pub mark: Mark,
    pub root: Root,
    /// From SIGTERM to SIGKILL.
    pub stop_after_ms: u64,
    stop: Option<Stop>,
}

#[derive(Debug)]
struct Stop {
    told: bool,
    kill_at_ms: u64,
}

impl Home {
    /// `logs` is created where it doesn't exist. One cluster and one place of
    /// the logs are one agent, across its restarts.
    pub fn open(cluster: &str, logs: &Path) -> io::Result<Home> {
        std::fs::create_dir_all(logs)?;
        let logs = logs.canonicalize()?;
        Ok(Home {
            proc: Proc::new("/proc"),
            owner: mark::owner(cluster, &logs),
            logs,
        })
    }

    /// The workers that earlier runs of this agent started. Of the processes
    /// with one mark the worker is the eldest that leads a process group and has
    /// no parent among them; the others inherited the mark. Where there is none
    /// it has died, and what it left is being stopped from here on.
    pub fn find(&self) -> io::Result<Vec<Process>> {
        let table = Table::read(&self.proc, VARIABLE, 0)?;
        let mut marked: BTreeMap<&str, Vec<&Stat>> = BTreeMap::new();
        for (stat, mark) in table.marked() {
            if stat.pid != std::process::id() {
                marked.entry(mark).or_default().push(stat);
            }
        }
        let found = marked.into_iter().filter_map(|(text, stats)| {
            let mark = Mark::parse(text).filter(|mark| mark.owner == self.owner)?;
            let child = |stat: &Stat| stats.iter().any(|other| other.pid == stat.parent);
            let leads = |stat: &&&Stat| stat.pid == stat.group && !child(stat);
            let leaders = stats.iter().filter(leads);
            let leader = leaders.min_by_key(|stat| stat.start_ticks);
            // What started at 0 is the kernel's and carries no mark.
            let left = Some((stats.first()?.group, 0));
            let (pid, start_ticks) = leader.map(|stat| (stat.pid, stat.start_ticks)).or(left)?;
            let mut process = Process::new(mark, pid, start_ticks, text.to_owned());
            if leader.is_none() {
                process.stop(boot_ms());
            }
            Some(process)
        });
        Ok(found.collect())
    }

    /// Starts a worker in a process group of its own, its output appended to
    /// `<name>.log`. The error says why it can't be started.
    pub fn start(&self, spec: &Spec) -> Result<Process, String> {
        let (program, arguments) = spec.command.split_first().ok_or("the command is empty")?;
        let directory = spec.directory.as_deref().unwrap_or(Path::new("."));
        if !directory.is_dir() {
            return Err(format!("directory {} doesn't exist", directory.display()));
        }
        let log = self.log(&spec.name);
        // Appending lets workers share a log, and lets it be emptied under them.
        let output = File::options().create(true).append(true).open(&log);
        let outputs = output.and_then(|output| Ok((output.try_clone()?, output)));
        let (out, err) = outputs.map_err(|e| format!("can't open {}: {e}", log.display()))?;
        let mark = Mark {
            owner: self.owner.clone(),
            edition: mark::edition(spec),
            name: spec.name.clone(),
        };
        let text = mark.fresh();
        // What can't be looked after isn't started.
        let unread = |e: io::Error| format!("/proc can't be read: {e}");
        self.proc.stat(std::process::id()).map_err(unread)?;
        let mut command = Command::new(program);
        command.args(arguments).current_dir(directory);
        command.envs(&spec.env).env(VARIABLE, &text);
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        let mut child = command
            .process_group(0)
            .spawn()
            .map_err(|e| match e.kind() {
                io::ErrorKind::NotFound => format!("command {program} doesn't exist"),
                _ => format!("command {program} can't be started: {e}"),
            })?;
        limit::give_back(child.id());
        // Nobody has waited for it yet, so it has an entry, be it a zombie's.
        let start_ticks = match self.proc.stat(child.id()) {
            Ok(stat) => stat.map_or(0, |stat| stat.start_ticks),
            Err(e) => {
                // It has done next to nothing yet. Without its start it could not
                // be told from another process later on.
                let _ = child.kill();
                let _ = child.wait();
                return Err(unread(e));
            }
        };
        let mut process = Process::new(mark, child.id(), start_ticks, text);
        process.stop_after_ms = spec.stop_after_ms;
        Ok(process)
    }

    /// How a worker ended; `None` while it runs. An error says that nobody knows.
    pub fn exit(&self, process: &Process) -> io::Result<Option<String>> {
        let stat = process.root.stat(&self.proc)?;
        if stat.is_some_and(|stat| stat.alive()) {
            return Ok(None);
        }
        let how = stat.and_then(|_| process.root.exit());
        Ok(Some(how.unwrap_or_else(|| "status unknown".into())))
    }

    /// Of those that are being stopped, tells those that weren't told yet, kills
    /// those whose time is up, and hands back the ones of which nothing is left.
    /// Where that can't be known, it is tried again at the next call.
    pub fn carry_out_stops(
        &self,
        processes: Vec<&mut Process>,
        now_ms: u64,
    ) -> io::Result<Vec<Root>> {
        let since = processes.iter().map(|process| process.root.start_ticks);
        let Some(since) = since.min() else {
            return Ok(Vec::new());
        };
        let table = Table::read(&self.proc, VARIABLE, since)?;
        let mut gone = Vec::new();
        for process in processes {
            let signal = process.stop.as_ref().and_then(|stop| stop.signal(now_ms));
            if !table.end(&process.root, signal)? {
                gone.push(process.root.clone());
            }
            if let Some(stop) = &mut process.stop {
                stop.told = true;
            }
        }
        Ok(gone)
    }

    /// Empties a workload's log if it is too long.
    pub fn trim(&self, name: &str) {
        let log = self.log(name);
        if log.metadata().is_ok_and(|log| log.len() > LOG_BYTES_MAX)
            && let Err(e) = File::options().write(true).truncate(true).open(&log)
        {
            tracing::warn!("can't empty {}: {e}", log.display());
        }
    }

    fn log(&self, name: &str) -> PathBuf {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
        let name = name.chars().map(|c| if plain(c) { c } else { '_' });
        let name: String = name.take(LOG_NAME_CHARS_MAX).collect();
        self.logs.join(name + ".log")
    }
}

impl Process {
    fn new(mark: Mark, pid: u32, start_ticks: u64, text: String) -> Process {
        let root = Root {
            pid,
            start_ticks,
            mark: text,
        };
        Process {
            mark,
            root,
            stop_after_ms: STOP_AFTER_MS,
            stop: None,
        }
    }

    pub fn ran_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(ticks_to_ms(self.root.start_ticks))
    }

    /// From here on it is being stopped; [`Home::carry_out_stops`] does it.
    pub fn stop(&mut self, now_ms: u64) {
        self.stop.get_or_insert(Stop {
            told: false,
            kill_at_ms: now_ms.saturating_add(self.stop_after_ms),
        });
    }

    /// It hasn't been told to stop.
    pub fn runs(&self) -> bool {
        self.stop.is_none()
    }

    /// How long ago it was killed first; 0 if it wasn't.
    pub fn overdue_ms(&self, now_ms: u64) -> u64 {
        let stop = self.stop.as_ref();
        stop.map_or(0, |stop| now_ms.saturating_sub(stop.kill_at_ms))
    }

    /// As others see it.
    pub fn view(&self, now_ms: u64) -> Worker {
        Worker {
            name: self.mark.name.clone(),
            pid: self.root.pid,
            start_ticks: self.root.start_ticks,
            ready: self.ran_ms(now_ms) >= READY_AFTER_MS,
        }
    }
}

impl Stop {
    fn signal(&self, now_ms: u64) -> Option<Signal> {
        if now_ms >= self.kill_at_ms {
            return Some(Signal::KILL);
        }
        (!self.told).then_some(Signal::TERM)
    }
}
