//! The replicated log: openraft on sled, behind the few calls that the agent needs.
//!
//! Comes in: commands to propose and other agents' messages. Goes out: the
//! applied [`Ledger`], who leads, and whether this agent may act. Never decides
//! anything about workloads.
//!
//! Ledger indexes count commands from 1 without gaps; log indexes count entries,
//! which hold several commands or none.

pub mod accept;
mod acks;
mod ailing;
mod announce;
mod attend;
pub mod beat;
mod clock;
mod codec;
mod compact;
mod core;
pub mod export;
mod failed;
mod form;
mod hand_over;
mod join;
mod leadership;
pub mod letters;
mod machine;
mod meet;
mod namesake;
mod net;
pub mod peers;
mod propose;
pub mod rebuild;
mod recall;
mod removed;
mod seeds;
mod stand;
mod start;
mod stats;
mod steward;
mod store;
pub mod tls;
mod types;
mod version;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use starling_engine::ledger::{Authority, Command, Ledger, Member, Outcome};
use starling_engine::unit::NodeId;
use tokio::sync::watch;

pub use clock::Clock;
pub use hand_over::{DEADLINE as HAND_OVER_DEADLINE, Kept};
pub use letters::Letter;
pub use propose::COMMAND_BYTES_MAX;
pub use seeds::{SEEDS_MAX, Seeds};
pub use stats::Stats;
pub use steward::voters_wanted;
pub use store::open::{Past, generation, past, supersede};
pub use tls::Credentials;

/// How this agent takes part.
#[derive(Debug, Clone)]
pub struct Config {
    pub data_dir: PathBuf,
    /// Name and addresses that the others shall use.
    pub member: Member,
    /// Cluster name, 1 to 63 bytes: joining another cluster's log is refused.
    pub cluster: String,
    /// The cluster's id, where it is known from elsewhere; another one of the same
    /// name is not joined. Otherwise whoever founds draws one, 32 hexadecimal
    /// digits, and who joins takes the one that it finds.
    pub cluster_id: Option<String>,
    pub seeds: Seeds,
    /// Found a new cluster where there is no state on disk and no seed answers as one.
    pub bootstrap: bool,
    pub founding: Founding,
    /// Goes into the ledger where this agent founds.
    pub authority: Option<Authority>,
    pub timing: Timing,
    pub upkeep: Upkeep,
    /// What this agent shows to others, and whom it believes.
    pub credentials: Credentials,
    /// The highest version of the ledger that this agent says it supports:
    /// [`HIGHEST`](starling_engine::ledger::version::HIGHEST), but in tests of agents
    /// of different releases.
    pub ledger_version: u32,
}

/// How long an agent that may found looks for a cluster before it does. Without
/// seeds of other agents it founds at once.
#[derive(Debug, Clone, Copy)]
pub struct Founding {
    /// Where each seed answers that it belongs to no cluster.
    pub all_new: Duration,
    /// Where a seed doesn't answer: it may belong to one.
    pub silent: Duration,
}

impl Default for Founding {
    fn default() -> Self {
        Founding {
            all_new: Duration::from_secs(3),
            silent: Duration::from_mins(2),
        }
    }
}

/// A leader is given up after `election_max_ms` without a word from it, and
/// another one stands for election between the two bounds after that.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    pub heartbeat_ms: u64,
    pub election_min_ms: u64,
    pub election_max_ms: u64,
    /// Whether who stands asks first; `false` only to see what that is good for.
    pub pre_vote: bool,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            heartbeat_ms: 100,
            election_min_ms: 300,
            election_max_ms: 500,
            pre_vote: true,
        }
    }
}

/// How a leader keeps the membership; the same at all agents.
#[derive(Debug, Clone, Copy)]
pub struct Upkeep {
    /// No more vote: 1, 3, 5 or 7.
    pub voters_max: usize,
    /// A member that has been away for so long is no member any more.
    pub forget_after: Duration,
}

impl Default for Upkeep {
    fn default() -> Self {
        Upkeep {
            voters_max: 5,
            forget_after: Duration::from_hours(24),
        }
    }
}

/// PEM texts: certificate authority, certificate and key.
#[derive(Clone, PartialEq, Eq)]
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
    /// This agent leads, has applied its term's first entry, and its last quorum
    /// acknowledgement is younger than the election timeout: only then may it act (I1).
    pub acting: bool,
    pub voters: BTreeSet<NodeId>,
    pub learners: BTreeSet<NodeId>,
    /// Log index of the last entry here.
    pub last_log_index: u64,
    /// Log index of the last entry that is known here to be committed, and applied.
    pub committed_index: u64,
}

/// Whether a leader that a majority of the voters answers stands behind what an agent
/// knows. [`Leadership::leader`] alone doesn't say: a learner names its last leader for ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backing {
    pub led: bool,
    /// Since such a leader last spoke here; `None` where none has since the start.
    pub age: Option<Duration>,
    /// Somebody leads, but no majority answers it.
    pub alone: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Ordinary: ask the leader.
    #[error("this agent doesn't lead")]
    NotLeader { leader: Option<NodeId> },
    /// The command may or may not be in the log.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    #[error("the command has {bytes} bytes, more than {bytes_max}; split it")]
    TooLarge { bytes: usize, bytes_max: usize },
    /// It isn't in the log: it holds more of something than a command may.
    #[error("the command can't be written: {0}")]
    Unfit(String),
    /// It isn't in the log, and may be proposed again.
    #[error(
        "it needs version {needs} of the ledger and {in_force} is in force, until every agent runs a \
         release that supports {needs}"
    )]
    TooEarly { needs: u32, in_force: u32 },
    #[error(
        "the data directory {} was written by another release, and stays as it is: {why}; start a \
         release that supports it",
        path.display()
    )]
    Unreadable {
        path: PathBuf,
        why: starling_proto::log::Error,
    },
    #[error("the log on this disk can't be used any more: {0}")]
    Behind(String),
    /// Nothing was changed, or a new try goes on where it was.
    #[error("nothing was rebuilt: {0}")]
    NotRebuilt(String),
    #[error("the letter wasn't delivered: {0}")]
    Undelivered(String),
    #[error("this agent keeps the lead: {0}")]
    LeadKept(Kept),
    #[error("{field} {why}")]
    Config { field: &'static str, why: String },
    #[error(
        "the data directory belongs to cluster {found}, but this agent is configured for cluster {wanted}; \
         give it another data directory, or correct the cluster's name"
    )]
    OtherCluster { found: String, wanted: String },
    #[error(
        "another running agent uses the data directory {}; stop it, or give this agent a directory of its own",
        path.display()
    )]
    Locked { path: PathBuf },
    #[error(
        "the data directory {} can't be used; check that it exists, belongs to this user and has space",
        path.display()
    )]
    DataDir {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "the disk under {} has not answered for {} s; see to it, then start this agent anew",
        path.display(), waited.as_secs()
    )]
    Hangs { path: PathBuf, waited: Duration },
    #[error("the TLS files can't be used: {0}; check authority, certificate and key")]
    Tls(String),
    #[error("the log's threads can't be started")]
    Threads(#[source] std::io::Error),
}

/// One agent's end of the log. Cheap to clone. When the last clone is dropped,
/// everything stops at once, as in a crash.
#[derive(Clone)]
pub struct Log {
    inner: Arc<start::Running>,
}

impl Log {
    /// Opens the data directory, founds or joins a cluster, and serves peers on
    /// `listener` from threads of its own. Returns once this agent has an id,
    /// and keeps trying to reach the seeds until then.
    pub async fn start(config: Config, listener: std::net::TcpListener) -> Result<Log, Error> {
        let inner = Arc::new(start::start(config, listener).await?);
        Ok(Log { inner })
    }

    pub fn id(&self) -> NodeId {
        self.inner.id()
    }

    /// The cluster's generation when this agent started, as its disk has it: the
    /// ledger may not have been replayed yet.
    pub fn generation(&self) -> u64 {
        self.inner.generation()
    }

    /// See [`Upkeep::voters_max`].
    pub fn voters_max(&self) -> usize {
        self.inner.core.config.upkeep.voters_max
    }

    /// Of the cluster that this agent belongs to; see [`Config::cluster_id`].
    pub fn cluster_id(&self) -> &str {
        self.inner.cluster_id()
    }

    /// The applied state. Hold the lock briefly: applying waits for it.
    pub fn ledger(&self) -> Arc<RwLock<Ledger>> {
        self.inner.core.ledger.clone()
    }

    /// The time by which commands are stamped; never behind the log.
    pub fn clock(&self) -> Arc<Clock> {
        self.inner.core.clock.clone()
    }

    /// Changes whenever commands have been applied, to the ledger index of the last.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.inner.core.applied.clone()
    }

    /// Follows changes, the passing of time included, within 50 ms.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.core.leadership.clone()
    }

    /// Why this agent can take no part any more, once it can't: a part of the log has
    /// ended that should go on for as long as it does, or the log must not be used.
    /// A new start mends it, or the words say what does.
    pub fn failed(&self) -> watch::Receiver<Option<String>> {
        self.inner.core.failed.subscribe()
    }

    /// Whether this agent may act at this very moment: [`Leadership::acting`]
    /// without the delay of the watch. Ask right before acting.
    pub fn acting(&self) -> bool {
        self.inner.observer.observe().acting
    }

    /// Whether a leader stands behind what this agent knows, at this very moment.
    pub fn backing(&self) -> Backing {
        self.inner.observer.backing()
    }

    /// Proposes at the leader, wherever it is (forwards once over the peer
    /// network), and returns when the command is committed and applied there.
    /// [`Error::Unknown`] after 5 s, and [`Error::TooLarge`] above
    /// [`COMMAND_BYTES_MAX`].
    pub async fn propose(&self, command: Command) -> Result<Outcome, Error> {
        let core = self.inner.core.clone();
        self.inner
            .on_runtime(async move { core.propose(command).await })
            .await
    }

    /// The same, only if this agent may act, and never forwarded: what a leader
    /// decided is not for the next one to commit (I1).
    pub async fn propose_here(&self, command: Command) -> Result<Outcome, Error> {
        if !self.acting() {
            return Err(Error::NotLeader {
                leader: self.leadership().borrow().leader,
            });
        }
        let core = self.inner.core.clone();
        self.inner
            .on_runtime(async move { core.propose_here(command).await })
            .await
    }

    /// Returns when this agent has applied all that was committed before the
    /// call (linearizable read), with the ledger index reached. Any agent can
    /// ask; without a leader it is [`Error::NotLeader`].
    pub async fn barrier(&self) -> Result<u64, Error> {
        let core = self.inner.core.clone();
        self.inner
            .on_runtime(async move { core.barrier().await })
            .await
    }

    /// Whether an agent answers under this id where it is known to be, asked at once.
    pub async fn answers(&self, id: NodeId) -> Result<bool, Error> {
        let core = self.inner.core.clone();
        self.inner
            .on_runtime(async move { Ok(core.answers(id).await) })
            .await
    }

    /// Delivers a letter to another member, within two seconds.
    /// [`Error::Undelivered`] where that isn't known to have happened.
    pub async fn tell(&self, to: NodeId, body: Vec<u8>) -> Result<(), Error> {
        let core = self.inner.core.clone();
        self.inner
            .on_runtime(async move { letters::tell(&core, to, body).await })
            .await
    }

    /// What another member has written to this one, once there is something. Each letter is
    /// given out once.
    pub async fn letter(&self) -> Letter {
        self.inner.core.letters.next().await
    }

    /// Gives the lead to another voter, for an agent that is about to end, and
    /// returns who leads then; nobody where this agent doesn't lead. It takes
    /// tens of milliseconds with three voters and half a second longer with
    /// more; nothing is decided in the tens of milliseconds. Afterwards this
    /// agent doesn't come to lead again. [`Error::LeadKept`] at once where nobody
    /// else can lead, and after [`HAND_OVER_DEADLINE`] where nobody did.
    pub async fn hand_over(&self) -> Result<Option<NodeId>, Error> {
        let core = self.inner.core.clone();
        self.inner
            .on_runtime(async move { core.hand_over().await })
            .await
    }

    /// Gives the lead to that voter, or to any, for an agent that goes on, and returns
    /// who leads then. [`Error::NotLeader`] where this agent doesn't lead.
    pub async fn transfer(&self, to: Option<NodeId>) -> Result<NodeId, Error> {
        let core = self.inner.core.clone();
        self.inner
            .on_runtime(async move { core.transfer(to).await })
            .await
    }

    /// How each member's copy of the log stands, as this agent knows it, by id.
    pub fn peers(&self) -> Vec<peers::Holder> {
        self.inner.core.peers()
    }

    /// All that is applied here by now as one sealed snapshot, for a file outside of
    /// the cluster; without the authority's key. [`export::inspect`] reads it.
    pub async fn save(&self) -> Result<Vec<u8>, Error> {
        let (core, snapshots) = (self.inner.core.clone(), self.inner.snapshots.clone());
        self.inner
            .on_runtime(async move { export::save(&core, &snapshots).await })
            .await
    }

    /// After [`Log::hand_over`], for an agent that goes on: it may come to lead again.
    pub fn stand_again(&self) {
        self.inner.core.stand_again();
    }

    /// Writes a snapshot now and drops the log entries that it holds; both also
    /// happen by themselves, every 5,000 entries, with the last 1,000 kept, and every
    /// 16 MiB of entries.
    pub async fn compact(&self) -> Result<(), Error> {
        let core = self.inner.core.clone();
        self.inner
            .on_runtime(async move { core.compact().await })
            .await
    }

    /// How often this agent's log was synced to disk since its start.
    pub fn disk_syncs(&self) -> u64 {
        self.inner.disk.syncs()
    }

    /// What this agent has counted, for those who watch over it.
    pub fn stats(&self) -> Stats {
        Stats {
            disk_syncs: self.inner.disk.syncs(),
            entries_written: self.inner.disk.entries(),
            ..self.inner.observer.stats()
        }
    }

    /// Ends this agent's part in the log for good, with nothing more written; `why` is
    /// what [`Log::failed`] says.
    pub fn give_up(&self, why: String) {
        let core = self.inner.core.clone();
        self.inner.on_threads(async move { core.stop(why) });
    }

    /// Ends the raft threads; what was acknowledged is on disk.
    pub async fn shutdown(&self) {
        self.inner.shutdown().await;
    }
}
