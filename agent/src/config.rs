//! `starling agent --config FILE`: one agent's settings, read once at start.
//!
//! Every error names the file, the field and what to do.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The file. Unknown fields are errors.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// The cluster's name; agents of another cluster are refused.
    pub cluster: String,
    /// This agent's name, unique in the cluster. Default: the host's name.
    #[serde(default)]
    pub node: Option<String>,
    pub data_dir: PathBuf,
    /// A directory of `*.yaml` files with policies and processes.
    #[serde(default)]
    pub policies: Option<PathBuf>,
    /// A directory made by `starling keys`.
    pub keys: PathBuf,
    #[serde(default)]
    pub listen: Listen,
    /// The host or address that other agents reach this one by. Default: the
    /// listen address.
    #[serde(default)]
    pub advertise: Option<String>,
    /// Other agents' peer addresses, `host:port`.
    #[serde(default)]
    pub seeds: Vec<String>,
    /// Found the cluster if no seed knows one. Exactly one agent says so.
    #[serde(default)]
    pub bootstrap: bool,
    /// What becomes of this agent's workers when it is told to end.
    #[serde(default)]
    pub workers_on_exit: WorkersOnExit,
}

/// Port 0 lets the system choose; the choice is kept in the data directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Listen {
    /// mTLS between agents, TCP.
    pub peer: String,
    /// Sealed datagrams between agents, UDP.
    pub gossip: String,
    /// gRPC for users, mTLS.
    pub api: String,
}

impl Default for Listen {
    fn default() -> Self {
        Listen {
            peer: "0.0.0.0:7400".into(),
            gossip: "0.0.0.0:7401".into(),
            api: "127.0.0.1:7402".into(),
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
