//! A cluster of real agents on this machine, started and watched from outside.
//!
//! Comes in: the `starling` binary and the documents that the agents shall act
//! on. Goes out: processes that one can kill, restart, count and ask. Whatever
//! happens to the caller, nothing stays: agents end when this process does,
//! dropping the cluster kills what is left and removes its directory.

pub mod files;
pub mod leftovers;
pub mod process;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use starling_consensus::{Upkeep, voters_wanted};
use starling_keys as keys;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use self::files::{Addresses, Documents, Files};
use self::process::{Process, Role, Table};
use crate::observe::{self, Observer, Status};

/// The name of every demo's cluster; its keys are its own all the same.
pub const NAME: &str = "demo";
/// The directory of keys in the demo's own one.
const KEYS: &str = "keys";
/// More agents than voters ever are make no better demo.
pub const AGENTS_MAX: usize = 7;
/// From the first process to a cluster in which as many agents vote as should.
const FORMED_WITHIN: Duration = Duration::from_mins(1);
/// For the first worker to run, once the agents are one cluster.
const WORKING_WITHIN: Duration = Duration::from_secs(20);
/// From a restart to having applied what the others have.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(30);
/// What an agent gets to end by itself, with its workers.
const STOPPED_WITHIN: Duration = Duration::from_secs(8);
/// What an agent that was told to end gets for it, handing over its lead included.
const ENDED_WITHIN: Duration = Duration::from_secs(20);
/// How often a condition is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The cluster.
#[derive(Debug)]
pub struct Cluster {
    dir: TempDir,
    binary: PathBuf,
    agents: Vec<Agent>,
    table: Table,
}

#[derive(Debug)]
struct Agent {
    name: String,
    files: Files,
    keys: PathBuf,
    launch: Launch,
    /// `None` while it is dead. Its standard input is kept open here.
    child: Option<Child>,
}

/// How an agent is started, beside what every agent is started with.
#[derive(Debug, Clone, Default)]
pub struct Launch {
    /// Added to its environment, and its workers'.
    pub environment: Vec<(String, String)>,
    /// A command that starts it, such as `prlimit --nofile=256`; it must become the agent.
    pub by: Vec<String>,
}

/// One look at the process table.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// By position; `None` for an agent that isn't running.
    pub agents: Vec<Option<Process>>,
    /// Living workers, whichever agent they belong to.
    pub workers: Vec<Process>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{what}")]
    Io {
        what: String,
        #[source]
        source: io::Error,
    },
    #[error("the demo's keys can't be used")]
    Keys(#[from] keys::Error),
    #[error(transparent)]
    Address(#[from] observe::Error),
    #[error("{agent} ended by itself, or not in order ({status}); the end of its log:\n{log}")]
    Ended {
        agent: String,
        status: String,
        log: String,
    },
    #[error("{what} took more than {} s; {state}. The end of {agent}'s log:\n{log}", within.as_secs())]
    TooLong {
        what: String,
        within: Duration,
        state: String,
        agent: String,
        log: String,
    },
}

fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let what = what.into();
    |source| Error::Io { what, source }
}

impl Cluster {
    /// Makes the directory and the keys; starts nothing yet. `agents` is kept
    /// within 1 and [`AGENTS_MAX`].
    pub fn new(binary: &Path, agents: usize) -> Result<Cluster, Error> {
        let dir = tempfile::Builder::new()
            .prefix(leftovers::PREFIX)
            .tempdir()
            .map_err(io(
                "no temporary directory can be made; set TMPDIR to a writable one",
            ))?;
        let mut table = Table::new().map_err(io("the process table can't be read"))?;
        leftovers::claim(dir.path(), &mut table)
            .map_err(io(format!("{} can't be written", dir.path().display())))?;
        let names: Vec<String> = (1..=agents.clamp(1, AGENTS_MAX))
            .map(|number| format!("agent-{number}"))
            .collect();
        let keys = dir.path().join(KEYS);
        let node = |name: &String| keys::Node {
            name: name.clone(),
            hosts: Vec::new(),
        };
        let nodes = names.iter().map(node).collect();
        keys::generate(
            &keys,
            &keys::Request {
                cluster: NAME.to_owned(),
                nodes,
            },
        )?;
        let agents = names
            .into_iter()
            .map(|name| Agent {
                files: Files::new(dir.path(), &name),
                keys: keys.join(&name),
                launch: Launch::default(),
                child: None,
                name,
            })
            .collect();
        Ok(Cluster {
            dir,
            binary: binary.to_owned(),
            agents,
            table,
        })
    }

    /// From its next start on, an agent is started like this.
    pub fn launch(&mut self, position: usize, launch: Launch) {
        self.agents[position].launch = launch;
    }

    /// What an agent has written into its log.
    pub fn log(&self, position: usize) -> String {
        fs::read_to_string(self.agents[position].files.log()).unwrap_or_default()
    }

    /// All of the cluster's files are in here.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The agents' names; positions elsewhere are places in this list.
    pub fn names(&self) -> Vec<String> {
        self.agents.iter().map(|agent| agent.name.clone()).collect()
    }

    /// The directory of a user's keys.
    pub fn user_keys(&self) -> PathBuf {
        self.dir.path().join(KEYS).join("client")
    }

    /// Starts all agents and returns when each of them answers, knows a leader,
    /// takes all for alive, and counts as many voters as there should be.
    pub async fn start(&mut self, documents: &Documents) -> Result<Observer, Error> {
        for position in 0..self.agents.len() {
            let files = &self.agents[position].files;
            let written = files
                .write_documents("processes", &documents.each)
                .and_then(|()| {
                    if position == 0 {
                        files.write_documents("policies", &documents.first)
                    } else {
                        Ok(())
                    }
                });
            written.map_err(io("the policy directory can't be written"))?;
        }
        let until = Instant::now() + FORMED_WITHIN;
        self.spawn(0)?;
        self.listening(0, until).await?;
        for position in 1..self.agents.len() {
            self.spawn(position)?;
        }
        for position in 1..self.agents.len() {
            self.listening(position, until).await?;
        }
        let observer = self.observer()?;
        self.formed(&observer, until).await?;
        Ok(observer)
    }

    /// Waits until a worker is in the process table.
    pub async fn working(&mut self) -> Result<(), Error> {
        let until = Instant::now() + WORKING_WITHIN;
        while self.sample().workers.is_empty() {
            self.check()?;
            if Instant::now() > until {
                let state = String::from("none is in the process table");
                return Err(self.too_long("starting a worker", WORKING_WITHIN, state, 0));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    /// Asks the agents as a user would. They must have been started once.
    pub fn observer(&self) -> Result<Observer, Error> {
        Ok(Observer::new(
            &self.api_addresses(),
            &keys::load_client(&self.user_keys())?,
        )?)
    }

    /// The agents' API listeners, `host:port`; empty for one that has none yet.
    pub fn api_addresses(&self) -> Vec<String> {
        let api = |agent: &Agent| {
            agent
                .files
                .addresses()
                .map_or_else(String::new, |it| it.api)
        };
        self.agents.iter().map(api).collect()
    }

    /// The agents' health listeners, `host:port`; empty for one that has none yet.
    pub fn health_addresses(&self) -> Vec<String> {
        let health = |agent: &Agent| {
            agent
                .files
                .addresses()
                .map_or_else(String::new, |it| it.health)
        };
        self.agents.iter().map(health).collect()
    }

    /// SIGKILLs an agent; its workers live on. Returns the moment just before.
    pub async fn kill(&mut self, position: usize) -> Instant {
        let at = Instant::now();
        if let Some(mut child) = self.agents[position].child.take() {
            // An agent that has just ended by itself is as dead.
            let _ = child.start_kill();
            let _ = child.wait().await;
        }
        at
    }

    /// Tells an agent to end in order (SIGTERM), and doesn't wait for it.
    /// Returns the moment just before.
    pub fn terminate(&mut self, position: usize) -> Instant {
        let at = Instant::now();
        let child = self.agents[position].child.as_ref();
        let pid = child
            .and_then(Child::id)
            .and_then(|id| Pid::from_raw(id as i32));
        if let Some(pid) = pid {
            // An agent that has just ended by itself needs no telling.
            let _ = kill_process(pid, Signal::TERM);
        }
        at
    }

    /// Waits until an agent that was told to end has, in good order.
    pub async fn ended(&mut self, position: usize) -> Result<(), Error> {
        let Some(mut child) = self.agents[position].child.take() else {
            return Ok(());
        };
        // Waiting would close it, and that is another way of telling an agent to end.
        let _stdin = child.stdin.take();
        let Ok(status) = tokio::time::timeout(ENDED_WITHIN, child.wait()).await else {
            let state = String::from("it still runs");
            return Err(self.too_long("ending", ENDED_WITHIN, state, position));
        };
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Error::Ended {
                agent: self.agents[position].name.clone(),
                status: status.to_string(),
                log: self.agents[position].files.log_tail(),
            }),
            Err(source) => Err(io("an agent can't be waited for")(source)),
        }
    }

    /// Starts an agent again on its own data. Does nothing while it runs.
    pub fn restart(&mut self, position: usize) -> Result<(), Error> {
        if self.agents[position].child.is_some() {
            return Ok(());
        }
        self.spawn(position)
    }

    /// Waits until a restarted agent has applied all that the others had when
    /// this was called, and says how long that took.
    pub async fn caught_up(
        &mut self,
        position: usize,
        observer: &Observer,
    ) -> Result<Duration, Error> {
        let start = Instant::now();
        let goal = highest_applied(&observer.statuses().await);
        loop {
            self.check_running(position)?;
            let state = match observer.status(position).await {
                Ok(status) if status.applied_index >= goal && status.leader_id.is_some() => {
                    return Ok(start.elapsed());
                }
                Ok(status) => format!("it has applied {} of {goal} entries", status.applied_index),
                Err(error) => format!("it answers {}", error.message()),
            };
            if start.elapsed() > CAUGHT_UP_WITHIN {
                return Err(self.too_long("catching up", CAUGHT_UP_WITHIN, state, position));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Looks at the process table.
    pub fn sample(&mut self) -> Sample {
        let processes = self.table.of(self.dir.path());
        let agents = (self.agents.iter())
            .map(|agent| {
                let pid = agent.child.as_ref().and_then(Child::id)?;
                processes.iter().find(|process| process.pid == pid).copied()
            })
            .collect();
        let workers = processes
            .into_iter()
            .filter(|it| it.role == Role::Worker)
            .collect();
        Sample { agents, workers }
    }

    /// The first agent, by position, that has ended without being told to.
    pub fn check(&mut self) -> Result<(), Error> {
        (0..self.agents.len()).try_for_each(|position| self.check_running(position))
    }

    /// Tells all agents to end with their workers, by closing their standard
    /// inputs, and waits for them. What isn't gone in time is killed on drop.
    pub async fn stop_all(&mut self) {
        let mut ending: Vec<Child> = self
            .agents
            .iter_mut()
            .filter_map(|agent| agent.child.take())
            .collect();
        for child in &mut ending {
            drop(child.stdin.take());
        }
        let ended = async {
            for child in &mut ending {
                let _ = child.wait().await;
            }
            while !self.table.of(self.dir.path()).is_empty() {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let _ = tokio::time::timeout(STOPPED_WITHIN, ended).await;
    }

    fn spawn(&mut self, position: usize) -> Result<(), Error> {
        let others = (0..self.agents.len()).filter(|other| *other != position);
        let seeds: Vec<String> = others
            .filter_map(|other| self.agents[other].files.addresses())
            .map(|addresses: Addresses| addresses.peer)
            .collect();
        let agent = &mut self.agents[position];
        let files = &agent.files;
        files
            .write_config(&agent.keys, &seeds, position == 0)
            .map_err(io(format!("{} can't be written", files.config().display())))?;
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(files.log());
        let log = log.map_err(io(format!("{} can't be written", files.log().display())))?;
        let mut words = agent.launch.by.iter();
        let mut command = match words.next() {
            Some(by) => {
                let mut command = Command::new(by);
                command.args(words).arg(&self.binary);
                command
            }
            None => Command::new(&self.binary),
        };
        let child = command
            .args(["agent", "--until-stdin-closes", "--config"])
            .arg(files.config())
            .env(process::VARIABLE, self.dir.path())
            .envs(agent.launch.environment.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C in the terminal is for the demo alone, which then stops
            // the agents in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(io(format!("{} can't be started", self.binary.display())))?;
        agent.child = Some(child);
        Ok(())
    }

    async fn listening(&mut self, position: usize, until: Instant) -> Result<(), Error> {
        while self.agents[position].files.addresses().is_none() {
            self.check_running(position)?;
            if Instant::now() > until {
                let state = String::from("it doesn't listen yet");
                return Err(self.too_long("starting an agent", FORMED_WITHIN, state, position));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    async fn formed(&mut self, observer: &Observer, until: Instant) -> Result<(), Error> {
        let agents = self.agents.len();
        loop {
            self.check()?;
            let statuses = observer.statuses().await;
            let whole = |status: &&Status| sees_whole(status, agents);
            let ready = statuses.iter().flatten().filter(whole).count();
            if ready == agents {
                return Ok(());
            }
            if Instant::now() > until {
                let state = format!("{ready} of {agents} agents see a whole cluster");
                return Err(self.too_long("forming the cluster", FORMED_WITHIN, state, 0));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    fn check_running(&mut self, position: usize) -> Result<(), Error> {
        let agent = &mut self.agents[position];
        let Some(child) = &mut agent.child else {
            return Ok(());
        };
        match child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(Error::Ended {
                agent: agent.name.clone(),
                status: status.to_string(),
                log: agent.files.log_tail(),
            }),
            Err(source) => Err(io(format!("{} can't be watched", agent.name))(source)),
        }
    }

    fn too_long(&self, what: &str, within: Duration, state: String, position: usize) -> Error {
        let agent = &self.agents[position];
        let (what, log) = (what.to_owned(), agent.files.log_tail());
        Error::TooLong {
            what,
            within,
            state,
            agent: agent.name.clone(),
            log,
        }
    }
}

/// Also on panic and when a starting cluster is given up half-way. The
/// directory goes with its field.
impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self
            .agents
            .iter_mut()
            .filter_map(|agent| agent.child.as_mut())
        {
            let _ = child.start_kill();
        }
        self.table.kill_all(self.dir.path());
    }
}

/// Not all vote: of five agents, three do.
fn sees_whole(status: &Status, agents: usize) -> bool {
    status.leader_id.is_some()
        && status.voters == voters_wanted(agents, Upkeep::default().voters_max)
        && status.members_alive as usize == agents
}

fn highest_applied(statuses: &[Option<Status>]) -> u64 {
    statuses
        .iter()
        .flatten()
        .map(|status| status.applied_index)
        .max()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
