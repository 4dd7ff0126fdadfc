//! The replicated log: openraft on sled, behind the few calls that the agent needs.
//!
//! Comes in: commands to propose and other agents' messages. Goes out: the
//! applied [`Ledger`], who leads, and whether this agent may act. Never decides
//! anything about workloads.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use starling_engine::ledger::{Command, Ledger, Member, Outcome};
use starling_engine::unit::NodeId;
use tokio::sync::watch;

/// How this agent takes part.
#[derive(Debug, Clone)]
pub struct Config {
    pub data_dir: PathBuf,
    /// Name and addresses that the others shall use.
    pub member: Member,
    /// Cluster name: joining another cluster's log is refused.
    pub cluster: String,
    /// Other agents' peer addresses (`host:port`).
    pub seeds: Vec<String>,
    /// Found a new cluster where there is no state on disk and no seed answers as one.
    pub bootstrap: bool,
    pub timing: Timing,
    /// PEM: certificate authority, this agent's certificate and key.
    pub tls: Tls,
}

#[derive(Debug, Clone, Copy)]
pub struct Timing {
    pub heartbeat_ms: u64,
    pub election_min_ms: u64,
    pub election_max_ms: u64,
}

/// PEM texts.
#[derive(Clone)]
pub struct Tls {
    pub ca: String,
    pub certificate: String,
    pub key: String,
}

/// The key stays out of logs.
impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// Who leads, as far as this agent knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leadership {
    pub term: u64,
    pub leader: Option<NodeId>,
    /// This agent leads and its last quorum acknowledgement is younger than the
    /// election timeout: only then may it act (I1).
    pub acting: bool,
    pub voters: BTreeSet<NodeId>,
    pub learners: BTreeSet<NodeId>,
    pub last_log_index: u64,
    pub committed_index: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Ordinary: ask the leader.
    #[error("this agent doesn't lead")]
    NotLeader { leader: Option<NodeId> },
    /// The command may or may not be in the log.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
}

/// One agent's end of the log. Cheap to clone.
#[derive(Clone)]
pub struct Log {
    ledger: Arc<RwLock<Ledger>>,
    leadership: watch::Receiver<Leadership>,
    applied: watch::Receiver<u64>,
}

impl Log {
    /// Opens the data directory, founds or joins a cluster, and serves peers on
    /// `listener` from its own thread. Returns once this agent has an id, and
    /// keeps trying to reach the seeds until then.
    pub async fn start(_config: Config, _listener: std::net::TcpListener) -> Result<Log, Error> {
        Err(Error::Unknown("not built yet".into()))
    }

    pub fn id(&self) -> NodeId {
        NodeId(0)
    }

    /// The applied state. Hold the lock briefly: applying waits for it.
    pub fn ledger(&self) -> Arc<RwLock<Ledger>> {
        self.ledger.clone()
    }

    /// Changes whenever an entry has been applied, to its index.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.applied.clone()
    }

    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// Proposes at the leader, wherever it is (forwards once over the peer
    /// network), and returns when the command is committed and applied there.
    pub async fn propose(&self, _command: Command) -> Result<Outcome, Error> {
        Err(Error::NotLeader { leader: None })
    }

    /// Returns when this agent has applied all that was committed before the
    /// call (linearizable read); only at the leader.
    pub async fn barrier(&self) -> Result<u64, Error> {
        Err(Error::NotLeader { leader: None })
    }

    /// Ends the raft threads; what was acknowledged is on disk.
    pub async fn shutdown(&self) {}
}

/// Where the peers' listener ended up.
pub fn local_address(listener: &std::net::TcpListener) -> std::io::Result<SocketAddr> {
    listener.local_addr()
}
