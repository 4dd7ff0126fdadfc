//! A process of the cluster that goes on: it writes to a log of its own and belongs to a
//! cgroup by which it is found again, whatever becomes of the rig.

use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::{Error, Result, Trying};
use crate::shell;

/// The hierarchy by whose cgroups the rig's processes are found.
const PIDS: &str = "/sys/fs/cgroup/pids";
/// SIGKILL takes effect at once, except while the kernel waits for a disk.
const KILL_LIMIT: Duration = Duration::from_secs(20);

pub struct Component {
    name: String,
    words: Vec<String>,
    cgroup: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

impl Component {
    /// What is to run in the cgroup of this name, logging to `logs/NAME.log`.
    pub fn new(name: &str, words: Vec<String>, cgroup: &str, logs: &Path) -> Component {
        Component {
            name: name.into(),
            words,
            cgroup: cgroup_path(cgroup),
            log: logs.join(format!("{name}.log")),
            child: None,
        }
    }

    /// Starts it where it doesn't run.
    pub fn start(&mut self) -> Result<()> {
        if self.is_running() {
            return Ok(());
        }
        crate::run::make_dir(&self.cgroup)?;
        let open = || {
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(&self.log)
                .trying(|| format!("open {}", self.log.display()))
        };
        // The shell enters the cgroup first, so that no child of the process escapes it.
        let enter = "echo $$ >\"$0/cgroup.procs\" && exec \"$@\"";
        let child = Command::new("sh")
            .args(["-c", enter])
            .arg(&self.cgroup)
            .args(&self.words)
            .stdin(Stdio::null())
            .stdout(open()?)
            .stderr(open()?)
            .process_group(0)
            .spawn()
            .trying(|| format!("start {}", self.name))?;
        self.child = Some(child);
        Ok(())
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub fn is_running(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// An error with the end of the log, where it has ended by itself.
    pub fn check(&mut self) -> Result<()> {
        if self.is_running() {
            return Ok(());
        }
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        Err(Error::Command {
            command: self.name.clone(),
            how: "has ended".into(),
            output: shell::tail(&log),
        })
    }

    /// SIGKILL; returns when it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        if let Some(mut child) = self.child.take() {
            child.wait().trying(|| format!("wait for {}", self.name))?;
        }
        Ok(())
    }

    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if !self.is_running() {
            return Ok(());
        }
        let Some(pid) = self.pid().and_then(|pid| Pid::from_raw(pid as i32)) else {
            return Ok(());
        };
        kill_process(pid, signal)
            .map_err(Into::into)
            .trying(|| format!("send {} a signal", self.name))
    }
}

fn cgroup_path(cgroup: &str) -> PathBuf {
    Path::new(PIDS).join(cgroup)
}

/// Ends all processes in a cgroup and below it; returns when none is left.
pub fn kill_all(cgroup: &str) -> Result<()> {
    let began = Instant::now();
    loop {
        let left = members(cgroup);
        if left.is_empty() {
            return Ok(());
        }
        for pid in &left {
            // One that has ended meanwhile is what is wanted.
            let _ = kill_process(*pid, Signal::KILL);
        }
        if began.elapsed() > KILL_LIMIT {
            return Err(Error::Deadline {
                what: format!("all processes of {cgroup} end"),
                limit: KILL_LIMIT,
                last: format!("{} still run", left.len()),
            });
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Removes a cgroup and those below it. One that isn't empty stays, of no harm to others.
pub fn remove_cgroups(cgroup: &Path) {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroups(&entry.path());
        }
    }
    let _ = fs::remove_dir(cgroup);
}

/// All processes in a cgroup and below it.
pub(crate) fn members(cgroup: &str) -> Vec<Pid> {
    members_at(&cgroup_path(cgroup))
}

fn members_at(cgroup: &Path) -> Vec<Pid> {
    let procs = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    let mut pids: Vec<Pid> = procs
        .lines()
        .filter_map(|line| line.parse().ok().and_then(Pid::from_raw))
        .collect();
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            pids.extend(members_at(&entry.path()));
        }
    }
    pids
}
