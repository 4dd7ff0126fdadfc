//! Signals a worker together with all that it started, and nothing else.
//!
//! Comes in: the process that was started and the value of a variable that its
//! descendants inherit. A process belongs to it if it is in its group or carries
//! the same value; so those are found, too, that left the group or lost their
//! parent. A pid is signalled only after its start time was compared.

use std::io;

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid,
};

use starling_collect::proc::{Proc, Stat};

/// The process that was started: a leader of its own process group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    pub pid: u32,
    pub start_ticks: u64,
    /// Unique to this process and its descendants.
    pub mark: String,
}

/// All processes at one moment, with their marks.
#[derive(Debug)]
pub struct Table {
    proc: Proc,
    rows: Vec<(Stat, Option<String>)>,
}

impl Root {
    /// Its entry, a zombie's too; `None` once its pid is free or another's. An
    /// error says that nobody knows.
    pub fn stat(&self, proc: &Proc) -> io::Result<Option<Stat>> {
        let stat = proc.stat(self.pid)?;
        Ok(stat.filter(|stat| stat.start_ticks == self.start_ticks))
    }

    /// How it ended, such as `status 1` or `signal 9`, once `stat` has said that it
    /// did; `None` where it isn't this process's child. It stays a zombie, so that
    /// its pid, and with it its group's id, can't become another's: see [`Table::end`].
    pub fn exit(&self) -> Option<String> {
        wait(self.pid, WaitIdOptions::NOWAIT)
    }
}

impl Table {
    /// Reads all processes, and the marks in `variable` of those that started at
    /// or after `since_ticks`. It has all of them, or is an error.
    pub fn read(proc: &Proc, variable: &str, since_ticks: u64) -> io::Result<Table> {
        let marked = |stat: Stat| {
            let young = stat.alive() && stat.start_ticks >= since_ticks;
            let mark = young.then(|| proc.variable(stat.pid, variable));
            Ok((stat, mark.transpose()?.flatten()))
        };
        let rows = proc.scan()?.into_iter().map(marked);
        Ok(Table {
            proc: proc.clone(),
            rows: rows.collect::<io::Result<_>>()?,
        })
    }

    /// Every live process that carries a mark.
    pub fn marked(&self) -> impl Iterator<Item = (&Stat, &str)> {
        let rows = self.rows.iter();
        rows.filter_map(|(stat, mark)| Some((stat, mark.as_deref()?)))
    }

    /// Sends `signal`, if any, to all that is left of `root`. False if nothing
    /// is left; then its exit status is collected and its pid is free. An error
    /// says that nobody knows, and that not all may have been told.
    pub fn end(&self, root: &Root, signal: Option<Signal>) -> io::Result<bool> {
        let left = self.left(root);
        if left.is_empty() {
            if let Some(stat) = root.stat(&self.proc)? {
                if stat.alive() {
                    return Err(io::Error::other("/proc shows it, but not in its list"));
                }
                wait(root.pid, WaitIdOptions::empty());
            }
            return Ok(false);
        }
        let Some(signal) = signal else {
            return Ok(true);
        };
        let in_group = |stat: &&&Stat| stat.group == root.pid;
        // A group's id can't become another group's while it has a member: if
        // this one still has its start time, the group is still the worker's.
        if let Some(member) = left.iter().find(in_group)
            && self.unchanged(member)?
        {
            send(root.pid, signal, kill_process_group);
        }
        for stray in left.iter().filter(|stat| stat.group != root.pid) {
            if self.unchanged(stray)? {
                send(stray.pid, signal, kill_process);
            }
        }
        Ok(true)
    }

    fn left(&self, root: &Root) -> Vec<&Stat> {
        let is_root = |stat: &Stat| stat.pid == root.pid && stat.start_ticks == root.start_ticks;
        let carries = |mark: &Option<String>| mark.as_ref() == Some(&root.mark);
        // The group's id is the worker's as long as the worker, be it as a
        // zombie, or a process with its mark is in it.
        let owns_group = self.rows.iter().any(|(stat, mark)| {
            is_root(stat) || (stat.group == root.pid && stat.alive() && carries(mark))
        });
        let belongs = |stat: &Stat, mark: &Option<String>| {
            is_root(stat) || carries(mark) || (owns_group && stat.group == root.pid)
        };
        let rows = self.rows.iter();
        rows.filter(|(stat, mark)| stat.alive() && belongs(stat, mark))
            .map(|(stat, _)| stat)
            .collect()
    }

    fn unchanged(&self, stat: &Stat) -> io::Result<bool> {
        let now = self.proc.stat(stat.pid)?;
        Ok(now.is_some_and(|now| (now.start_ticks, now.group) == (stat.start_ticks, stat.group)))
    }
}

fn send(pid: u32, signal: Signal, kill: fn(Pid, Signal) -> rustix::io::Result<()>) {
    let Some(pid) = Pid::from_raw(pid as i32) else {
        return;
    };
    match kill(pid, signal) {
        // It ended meanwhile.
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        // It has become another user's. The supervisor reports what doesn't end.
        Err(e) => tracing::debug!(
            pid = pid.as_raw_nonzero(),
            signal = signal.as_raw(),
            "can't signal: {e}"
        ),
    }
}

fn wait(pid: u32, options: WaitIdOptions) -> Option<String> {
    let options = options | WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    // Fails for a process that isn't our child; init collects that one.
    let status = waitid(WaitId::Pid(Pid::from_raw(pid as i32)?), options).ok()??;
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Some(format!("status {code}")),
        (None, Some(signal)) => Some(format!("signal {signal}")),
        (None, None) => None,
    }
}
