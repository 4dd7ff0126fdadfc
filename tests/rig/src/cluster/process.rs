//! The process table, as far as it concerns one demo's directory.
//!
//! Comes in: the directory. Its path stands in the environment of every process
//! of the demo, because agents are started with it and workers inherit it. Goes
//! out: which agents and workers live and what they use. Asks no agent, and
//! touches no process that others started.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use starling_process::worker;
use sysinfo::{ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System, UpdateKind};

/// The environment variable that holds the demo's directory.
pub const VARIABLE: &str = "STARLING_DEMO";

/// What a process of the demo is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Agent,
    /// Started by an agent.
    Worker,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    pub role: Role,
    /// Resident memory.
    pub rss_bytes: u64,
    /// CPU time since it started, in steps of the system's clock tick (10 ms on Linux).
    pub cpu: Duration,
}

/// Rereads the process table when asked.
#[derive(Debug)]
pub struct Table {
    system: System,
}

/// Killing goes on until nothing is left; a process that is still there after
/// this long can't be killed (it hangs in the kernel), and is given up.
const KILLED_WITHIN: Duration = Duration::from_secs(3);
/// A process that was about to start another when it was killed shows up in
/// the next look, so one empty look isn't enough.
const EMPTY_LOOKS: u32 = 2;
const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl Table {
    pub fn new() -> std::io::Result<Table> {
        let system = System::new().map_err(|error| {
            std::io::Error::other(format!("the process table can't be read: {error:?}"))
        })?;
        Ok(Table { system })
    }

    /// The living agents and workers of the demo in `dir`, by process id. What a
    /// worker has started itself counts as a part of it.
    pub fn of(&mut self, dir: &Path) -> Vec<Process> {
        let pids = self.refresh_demo(dir);
        let mut marks = BTreeSet::new();
        let one = |pid: sysinfo::Pid| {
            let process = self.system.process(pid)?;
            let mark = variable(process, worker::VARIABLE);
            // The first process that carries a mark is the worker itself.
            if mark.is_some_and(|mark| !marks.insert(mark)) {
                return None;
            }
            Some(Process {
                pid: pid.as_u32(),
                role: if mark.is_some() {
                    Role::Worker
                } else {
                    Role::Agent
                },
                rss_bytes: process.memory(),
                cpu: Duration::from_millis(process.accumulated_cpu_time()),
            })
        };
        pids.into_iter().filter_map(one).collect()
    }

    /// When a process started, in seconds since the Unix epoch; `None` if it isn't alive.
    pub fn started_at(&mut self, pid: u32) -> Option<u64> {
        let pid = sysinfo::Pid::from_u32(pid);
        let what = ProcessRefreshKind::nothing().without_tasks();
        let one = ProcessesToUpdate::Some(&[pid]);
        self.system.refresh_processes_specifics(one, true, what);
        let process = self.system.process(pid)?;
        is_alive(process).then(|| process.start_time())
    }

    /// SIGKILLs all processes of the demo in `dir` until none is left, and says
    /// how many there were. Blocks, 3 s at the most.
    pub fn kill_all(&mut self, dir: &Path) -> usize {
        let until = Instant::now() + KILLED_WITHIN;
        let mut killed = BTreeSet::new();
        let mut empty = 0;
        while empty < EMPTY_LOOKS && Instant::now() < until {
            let left = self.refresh_demo(dir);
            empty = if left.is_empty() { empty + 1 } else { 0 };
            for pid in left {
                kill(pid.as_u32());
                killed.insert(pid);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        killed.len()
    }

    /// Rereads the table and lists the demo's living processes, by start and id.
    fn refresh_demo(&mut self, dir: &Path) -> Vec<sysinfo::Pid> {
        let known = ProcessRefreshKind::nothing()
            .without_tasks()
            .with_cpu()
            .with_memory()
            .with_environ(UpdateKind::OnlyIfNotSet);
        self.system
            .refresh_processes_specifics(ProcessesToUpdate::All, true, known);
        let pids: Vec<_> = self.demo(dir).into_values().collect();
        // A worker that was first seen between fork and exec still showed its
        // agent's environment; others can't become part of a demo.
        let again = ProcessRefreshKind::nothing()
            .without_tasks()
            .with_environ(UpdateKind::Always);
        let ours = ProcessesToUpdate::Some(&pids);
        self.system.refresh_processes_specifics(ours, true, again);
        self.demo(dir).into_values().collect()
    }

    fn demo(&self, dir: &Path) -> BTreeMap<(u64, sysinfo::Pid), sysinfo::Pid> {
        let ours = self.system.processes().values().filter(|process| {
            is_alive(process) && variable(process, VARIABLE) == Some(dir.as_os_str())
        });
        ours.map(|process| ((process.start_time(), process.pid()), process.pid()))
            .collect()
    }
}

/// SIGKILL; a process that has ended by itself is fine too.
fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

fn variable<'a>(process: &'a sysinfo::Process, name: &str) -> Option<&'a OsStr> {
    process.environ().iter().find_map(|entry| {
        let value = entry
            .as_bytes()
            .strip_prefix(name.as_bytes())?
            .strip_prefix(b"=")?;
        Some(OsStr::from_bytes(value))
    })
}

fn is_alive(process: &sysinfo::Process) -> bool {
    !matches!(
        process.status(),
        ProcessStatus::Zombie | ProcessStatus::Dead
    )
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    fn sleeper(dir: &str, mark: Option<&str>) -> Child {
        let mut command = Command::new("sleep");
        command.arg("600").env(VARIABLE, dir);
        command.envs(mark.map(|mark| (worker::VARIABLE, mark)));
        command.spawn().unwrap()
    }

    #[test]
    fn agents_and_workers_are_told_apart_and_a_workers_children_are_not_counted() {
        let dir = Path::new("/nowhere/starling-demo-a");
        let mut table = Table::new().unwrap();
        let mut children = [
            sleeper("/nowhere/starling-demo-a", None),
            sleeper("/nowhere/starling-demo-a", Some("o e 1 web")),
            sleeper("/nowhere/starling-demo-a", Some("o e 1 web")),
            sleeper("/nowhere/starling-demo-a", Some("o e 2 web")),
            sleeper("/nowhere/starling-demo-ab", Some("o e 3 web")),
        ];
        let found = table.of(dir);
        let roles: Vec<Role> = found.iter().map(|process| process.role).collect();
        assert_eq!(table.kill_all(dir), 4);
        assert_eq!(table.of(dir), []);
        assert_eq!(
            children[4].try_wait().unwrap(),
            None,
            "another demo's is left alone"
        );
        for child in &mut children {
            let _ = child.kill();
            child.wait().unwrap();
        }
        let workers = roles.iter().filter(|role| **role == Role::Worker).count();
        assert_eq!((roles.len(), workers), (3, 2), "{found:?}");
        assert!(
            found.iter().all(|process| process.rss_bytes > 0),
            "{found:?}"
        );
    }
}
