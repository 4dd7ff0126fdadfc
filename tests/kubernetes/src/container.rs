//! What runs in the pods, seen from the machine: containers are found where containerd keeps
//! their state, so that a test can kill, freeze and enter them while the API server is away.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, kill_process};
use serde_json::Value;

use crate::component;
use crate::error::{Result, Trying};
use crate::shell::{self, COMMAND_LIMIT};

/// Below containerd's state: a folder for each task, with its OCI bundle.
const TASKS: &str = "io.containerd.runtime.v2.task/k8s.io";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Kill,
    Terminate,
    /// Stands still until `Continue`.
    Stop,
    Continue,
}

/// A container of a pod, running.
#[derive(Debug, Clone)]
pub struct Container {
    pub namespace: String,
    pub pod: String,
    pub name: String,
    /// Of its first process, as the machine counts.
    pub pid: u32,
    /// Its path in every cgroup hierarchy.
    pub cgroup: String,
}

impl Container {
    pub(crate) fn is_of(&self, namespace: &str, pod: &str) -> bool {
        self.namespace == namespace && self.pod == pod
    }

    /// Sends a signal to all processes in it.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let number = match signal {
            Signal::Kill => rustix::process::Signal::KILL,
            Signal::Terminate => rustix::process::Signal::TERM,
            Signal::Stop => rustix::process::Signal::STOP,
            Signal::Continue => rustix::process::Signal::CONT,
        };
        for pid in component::members(self.cgroup.trim_start_matches('/')) {
            match kill_process(pid, number) {
                // It has ended between being listed and the signal.
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(refused) => {
                    return Err(refused.into())
                        .trying(|| format!("send {signal:?} to {}/{}", self.pod, self.name));
                }
            }
        }
        Ok(())
    }

    /// Runs a command of the container in its namespaces, and gives what it printed.
    pub fn exec(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.pid))
            .args([
                "--mount", "--net", "--pid", "--uts", "--ipc", "--root", "--",
            ])
            .args(words);
        shell::finish(&mut command, "", COMMAND_LIMIT)
    }
}

/// The running containers whose state lies in this folder of containerd's.
pub(crate) fn list(state: &Path) -> Result<Vec<Container>> {
    let tasks = state.join(TASKS);
    if !tasks.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(&tasks).trying(|| format!("read {}", tasks.display()))?;
    // A container that is coming or going is incomplete; it isn't running then.
    Ok(entries
        .flatten()
        .filter_map(|entry| container(&entry.path()))
        .collect())
}

fn container(bundle: &Path) -> Option<Container> {
    let spec = fs::read_to_string(bundle.join("config.json")).ok()?;
    let spec: Value = serde_json::from_str(&spec).ok()?;
    let annotation = |name: &str| {
        let path = format!("/annotations/io.kubernetes.cri.{name}");
        spec.pointer(&path).and_then(Value::as_str)
    };
    if annotation("container-type")? != "container" {
        return None;
    }
    let pid = fs::read_to_string(bundle.join("init.pid")).ok()?;
    let pid = pid.trim().parse().ok()?;
    // The file stays for a while after the process.
    rustix::process::test_kill_process(Pid::from_raw(pid)?).ok()?;
    Some(Container {
        namespace: annotation("sandbox-namespace")?.into(),
        pod: annotation("sandbox-name")?.into(),
        name: annotation("container-name")?.into(),
        pid: pid as u32,
        cgroup: spec.pointer("/linux/cgroupsPath")?.as_str()?.into(),
    })
}
