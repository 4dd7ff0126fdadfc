//! The process table, as far as it concerns one demo's directory.
//!
//! Comes in: the directory, which every process of a demo names on its command
//! line. Goes out: which agents and workers live and what they use. Asks no
//! agent; what others run is never touched, even if it looks into the directory.

use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sysinfo::{ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System, UpdateKind};

/// What a process of the demo is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Agent,
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

    /// The living processes of the demo in `dir`, by process id.
    pub fn of(&mut self, dir: &Path) -> Vec<Process> {
        self.refresh(ProcessesToUpdate::All);
        let of_dir = |process: &sysinfo::Process| {
            Some(Process {
                pid: process.pid().as_u32(),
                role: role(process.cmd(), dir).filter(|_| is_alive(process))?,
                rss_bytes: process.memory(),
                cpu: Duration::from_millis(process.accumulated_cpu_time()),
            })
        };
        let mut found: Vec<Process> = self
            .system
            .processes()
            .values()
            .filter_map(of_dir)
            .collect();
        found.sort_by_key(|process| process.pid);
        found
    }

    /// When a process started, in seconds since the Unix epoch; `None` if it isn't alive.
    pub fn started_at(&mut self, pid: u32) -> Option<u64> {
        let pid = sysinfo::Pid::from_u32(pid);
        self.refresh(ProcessesToUpdate::Some(&[pid]));
        let process = self.system.process(pid)?;
        is_alive(process).then(|| process.start_time())
    }

    /// SIGKILLs all processes of the demo in `dir` until none is left, and says
    /// how many there were. Blocks, 3 s at the most.
    pub fn kill_all(&mut self, dir: &Path) -> usize {
        let until = Instant::now() + KILLED_WITHIN;
        let mut killed = std::collections::BTreeSet::new();
        let mut empty = 0;
        while empty < EMPTY_LOOKS && Instant::now() < until {
            let left = self.of(dir);
            empty = if left.is_empty() { empty + 1 } else { 0 };
            for process in &left {
                kill(process.pid);
                killed.insert(process.pid);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        killed.len()
    }

    fn refresh(&mut self, which: ProcessesToUpdate<'_>) {
        // The command line is read each time: between fork and exec a worker
        // still shows its agent's.
        let what = ProcessRefreshKind::nothing()
            .without_tasks()
            .with_cpu()
            .with_memory()
            .with_cmd(UpdateKind::Always);
        self.system.refresh_processes_specifics(which, true, what);
    }
}

/// SIGKILL; a process that has ended by itself is fine too.
pub fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// `starling agent …` and `starling demo-worker …` with an argument in `dir`.
fn role(command: &[OsString], dir: &Path) -> Option<Role> {
    let role = match command.get(1)?.to_str()? {
        "agent" => Role::Agent,
        "demo-worker" => Role::Worker,
        _ => return None,
    };
    command[2..]
        .iter()
        .any(|argument| Path::new(argument).starts_with(dir))
        .then_some(role)
}

fn is_alive(process: &sysinfo::Process) -> bool {
    !matches!(
        process.status(),
        ProcessStatus::Zombie | ProcessStatus::Dead
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn only_agents_and_workers_with_an_argument_in_the_directory_belong_to_it() {
        let dir = Path::new("/tmp/starling-demo-a");
        let check = |words: &[&str]| role(&command(words), dir);
        assert_eq!(
            check(&[
                "/x/starling",
                "agent",
                "--config",
                "/tmp/starling-demo-a/agent-1/config.yaml"
            ]),
            Some(Role::Agent)
        );
        assert_eq!(
            check(&["starling", "demo-worker", "--of", "/tmp/starling-demo-a"]),
            Some(Role::Worker)
        );
        assert_eq!(
            check(&["tail", "-f", "/tmp/starling-demo-a/agent-1.log"]),
            None
        );
        assert_eq!(
            check(&["starling", "demo-worker", "--of", "/tmp/starling-demo-ab"]),
            None
        );
        assert_eq!(check(&["starling", "agent"]), None);
        assert_eq!(check(&[]), None);
    }
}
