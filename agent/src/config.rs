//! `starling agent --config FILE`: one agent's settings, read once at start.
//!
//! Comes in: a path. Goes out: a [`Config`] whose every field was checked, with
//! absolute paths and a node name. Every error names file, line, field, what is
//! wrong and what to do.

mod check;
mod kubernetes;
mod span;

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use starling_consensus::Upkeep;
use starling_health::logs::Format;
use starling_policy::yaml::{Place, Problem, documents};

pub use kubernetes::{Adopt, Kubernetes, Measure};

/// A longer file is refused.
const BYTES_MAX: u64 = 1 << 20;

/// The file. Unknown fields are errors. Paths may be relative to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// The cluster's name; agents of another cluster are refused.
    pub cluster: String,
    /// This agent's name, unique in the cluster. Default: the host's name, or
    /// `$NODE_NAME` in Kubernetes.
    #[serde(default)]
    pub node: Option<String>,
    /// Made where it doesn't exist.
    pub data_dir: PathBuf,
    /// A directory of `*.yaml` files with policies and processes.
    #[serde(default)]
    pub policies: Option<PathBuf>,
    /// A directory of what triggers authenticate with: NAMESPACE/NAME/PARAMETER,
    /// read each time when a trigger with that `authenticationRef` is asked.
    #[serde(default)]
    pub authentications: Option<PathBuf>,
    /// A directory made by `starling keys`, or certificates of one's own. In
    /// Kubernetes agents certify each other where it is left out.
    #[serde(default)]
    pub keys: Option<PathBuf>,
    #[serde(default)]
    pub listen: Listen,
    /// The host or address that other agents reach this one by. Default: the
    /// listen address, or `$POD_IP` in Kubernetes.
    #[serde(default)]
    pub advertise: Option<String>,
    /// Other agents' peer addresses, `host:port`.
    #[serde(default)]
    pub seeds: Vec<String>,
    /// Found the cluster if no seed knows one. Exactly one agent says so.
    #[serde(default)]
    pub bootstrap: bool,
    /// What fails together with this machine: voters are spread over zones. Default:
    /// `$NODE_ZONE` in Kubernetes, else unknown.
    #[serde(default)]
    pub zone: Option<String>,
    /// No more agents vote in the log: 1, 3, 5 or 7. The same at all agents.
    #[serde(default = "voters_max")]
    pub voters_max: usize,
    /// An agent that has been away for so long is no member any more, such as `12h` or
    /// `3d`. The same at all agents.
    #[serde(default = "forget_after")]
    pub forget_after: String,
    /// What becomes of this agent's workers when it is told to end.
    #[serde(default)]
    pub workers_on_exit: WorkersOnExit,
    /// Present where the agent is a pod of a `DaemonSet`.
    #[serde(default)]
    pub kubernetes: Option<Kubernetes>,
    #[serde(default)]
    pub log: LogLines,
    #[serde(default)]
    pub sources: Sources,
}

/// What triggers ask from this agent.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Sources {
    /// The only networks in which they may ask, such as `10.0.0.0/8`. Default: all, but for
    /// link-local addresses and those of clouds' metadata.
    pub networks: Option<Vec<String>>,
}

impl Sources {
    /// Those of them that are networks, which all are after a check.
    pub fn networks(&self) -> Option<Vec<IpNet>> {
        let stated = self.networks.as_ref()?;
        Some(stated.iter().filter_map(|it| it.parse().ok()).collect())
    }
}

fn voters_max() -> usize {
    Upkeep::default().voters_max
}

fn forget_after() -> String {
    "24h".into()
}

/// What this agent writes to standard error. Options and environment go first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct LogLines {
    pub format: Option<Format>,
    /// A level, or several such as `info,starling_gossip=debug`.
    pub level: Option<String>,
}

/// Port 0 lets the system choose; the choice is kept in the data directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Listen {
    /// mTLS between agents, TCP.
    pub peer: String,
    /// Sealed datagrams between agents, UDP.
    pub gossip: String,
    /// gRPC for users, mTLS. Other agents pass questions for the leader on to it.
    pub api: String,
    /// Probes and numbers, plain HTTP for whoever reaches it: read only, and
    /// nothing in it is secret. Default: port 7403, in Kubernetes of all
    /// addresses, because kubelets come from outside the pod, else of this
    /// machine's own.
    pub health: String,
}

impl Default for Listen {
    fn default() -> Self {
        Listen {
            peer: "0.0.0.0:7400".into(),
            gossip: "0.0.0.0:7401".into(),
            api: "0.0.0.0:7402".into(),
            health: String::new(),
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkersOnExit {
    /// They go on, and the next start adopts them.
    #[default]
    Keep,
    Stop,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("can't read the settings in {}; check --config", .path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// One line for each problem.
    #[error("{}", lines(.path, .problems))]
    Invalid {
        path: PathBuf,
        problems: Vec<Problem>,
    },
}

impl Config {
    /// Reads and checks the file. Makes the data directory.
    pub fn load(path: &Path) -> Result<Config, Error> {
        Config::load_with(path, &|name| std::env::var(name).ok())
    }

    /// The same, with an environment of the caller's choice.
    fn load_with(
        path: &Path,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Config, Error> {
        let unreadable = |source| Error::Unreadable {
            path: path.to_owned(),
            source,
        };
        let invalid = |problems| Error::Invalid {
            path: path.to_owned(),
            problems,
        };
        let mut text = String::new();
        fs::File::open(path)
            .and_then(|file| file.take(BYTES_MAX + 1).read_to_string(&mut text))
            .map_err(unreadable)?;
        let documents = documents(&text);
        let [document] = documents.as_slice() else {
            let count = documents.len();
            return Err(invalid(vec![whole(format!(
                "must hold one YAML document, holds {count}"
            ))]));
        };
        if text.len() as u64 > BYTES_MAX {
            return Err(invalid(vec![whole(format!(
                "is longer than {} KiB",
                BYTES_MAX >> 10
            ))]));
        }
        let outline = document
            .outline()
            .map_err(|problem| invalid(vec![problem]))?;
        let mut config: Config = document.read(&outline).map_err(invalid)?;
        let base = std::path::absolute(path).map_err(unreadable)?;
        let violations = check::check(
            &mut config,
            base.parent().unwrap_or(Path::new("/")),
            environment,
        );
        if violations.is_empty() {
            return Ok(config);
        }
        Err(invalid(
            violations
                .into_iter()
                .map(|(field, why)| Problem {
                    place: outline.place(&field),
                    field,
                    why,
                })
                .collect(),
        ))
    }

    /// How a leader keeps the membership.
    pub fn upkeep(&self) -> Upkeep {
        Upkeep {
            voters_max: self.voters_max,
            // It was checked.
            forget_after: span::parse(&self.forget_after).unwrap_or(Upkeep::default().forget_after),
        }
    }

    /// This agent's name.
    pub fn node_name(&self) -> &str {
        self.node.as_deref().unwrap_or_default()
    }
}

fn whole(why: String) -> Problem {
    Problem {
        place: Place::default(),
        field: String::new(),
        why,
    }
}

/// `file:line:column: field: why`, one line for each.
fn lines(path: &Path, problems: &[Problem]) -> impl fmt::Display {
    let line = |problem: &Problem| match problem.place {
        Place { line: 0, .. } => format!("{}: {problem}", path.display()),
        Place { line, column } => format!("{}:{line}:{column}: {problem}", path.display()),
    };
    problems.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests;
