//! One run of the rig on this machine: its number, and the names, addresses and ports that
//! follow from it, so that several clusters stand side by side. A steward process holds the
//! number and clears away all that bears it, even when the rig is killed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::error::{Error, Result, Trying};
use crate::shell;

/// Clusters that can stand on one machine at a time; one more is refused.
pub const RUNS_MAX: u8 = 32;
/// Nodes of one cluster, counting those that were deleted: each has a number of its own,
/// and every node has routes to all numbers. One more is refused.
pub const NODES_MAX: u8 = 100;
/// Where runs keep what they need; nothing outside it is written but names of the run.
const HOME: &str = "/var/lib/starling-rig";
const STEWARD: &str = include_str!("steward.sh");
/// Ending a cluster takes a second or two; a steward that takes longer is left to itself.
const END_LIMIT: Duration = Duration::from_mins(1);

/// A number that no other living run has.
pub struct Run {
    number: u8,
    dir: PathBuf,
    steward: Child,
}

impl Run {
    /// Clears away what dead runs left, then takes the first free number.
    pub fn claim() -> Result<Run> {
        sweep()?;
        for number in 0..RUNS_MAX {
            let mut steward = steward("hold", number)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .trying(|| "start the rig's steward".into())?;
            let mut answer = String::new();
            if let Some(out) = steward.stdout.take() {
                BufReader::new(out)
                    .read_line(&mut answer)
                    .trying(|| "hear the rig's steward".into())?;
            }
            if answer.trim() == "held" {
                let dir = dir(number);
                return Ok(Run {
                    number,
                    dir,
                    steward,
                });
            }
            steward
                .wait()
                .trying(|| "wait for the rig's steward".into())?;
        }
        Err(Error::Missing(format!(
            "{RUNS_MAX} clusters run on this machine already; end one of them."
        )))
    }

    /// The name that all of the run's things on this machine begin with.
    pub fn id(&self) -> String {
        id(self.number)
    }

    /// The folder with everything that the run writes.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The host's address on the nodes' network, where they reach the API server.
    pub fn host(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.number, 1)
    }

    pub fn address(&self, node: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.number, 10 + node)
    }

    /// All nodes' addresses.
    pub fn network(&self) -> String {
        format!("10.77.{}.0/24", self.number)
    }

    /// The addresses of a node's pods.
    pub fn pods(&self, node: u8) -> String {
        format!("10.{}.{node}.0/24", 128 + self.number)
    }

    /// All pods' addresses.
    pub fn all_pods(&self) -> String {
        format!("10.{}.0.0/16", 128 + self.number)
    }

    /// The API server's port: itself on loopback, the proxy before it on the nodes' network.
    pub fn api_port(&self) -> u16 {
        self.port(0)
    }

    pub fn etcd_port(&self) -> u16 {
        self.port(1)
    }

    pub fn etcd_peer_port(&self) -> u16 {
        self.port(2)
    }

    /// Ports below those that the kernel gives out by itself, four for each run.
    fn port(&self, which: u16) -> u16 {
        26_440 + 4 * u16::from(self.number) + which
    }

    /// Where the logs are when the run has ended, until the next of its number ends.
    pub fn kept_logs(&self) -> PathBuf {
        kept_logs(self.number)
    }

    /// Ends all processes of the run and removes all that bears its name.
    pub fn end(&mut self) -> Result<()> {
        drop(self.steward.stdin.take());
        let ended = shell::ends_within(&mut self.steward, END_LIMIT)
            .trying(|| "wait for the rig's steward".into())?;
        if ended {
            return Ok(());
        }
        Err(Error::Deadline {
            what: format!("all of {} is cleared away", self.id()),
            limit: END_LIMIT,
            last: "its steward is still at it".into(),
        })
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // The steward goes on by itself where it takes too long.
        let _ = self.end();
    }
}

/// Clears away what dead runs left on this machine, and says whose it was.
pub fn sweep() -> Result<Vec<String>> {
    fs::create_dir_all(HOME).trying(|| format!("make {HOME}"))?;
    let mut swept = Vec::new();
    for number in 0..RUNS_MAX {
        if !dir(number).exists() {
            continue;
        }
        let answer = shell::finish(&mut steward("once", number), "", END_LIMIT)?;
        if answer.trim() != "taken" {
            swept.push(id(number));
        }
    }
    Ok(swept)
}

fn steward(mode: &str, number: u8) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", STEWARD, "starling-steward", mode, &id(number)])
        .arg(dir(number))
        .arg(kept_logs(number))
        // Ctrl-C in a terminal is for the rig, whose end the steward then sees.
        .process_group(0);
    command
}

fn id(number: u8) -> String {
    format!("starling{number}")
}

fn dir(number: u8) -> PathBuf {
    Path::new(HOME).join(number.to_string())
}

fn kept_logs(number: u8) -> PathBuf {
    Path::new(HOME).join(format!("logs-{number}"))
}

pub(crate) fn write(path: &Path, text: impl AsRef<[u8]>) -> Result<()> {
    fs::write(path, text).trying(|| format!("write {}", path.display()))
}

pub(crate) fn make_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).trying(|| format!("make {}", path.display()))
}
