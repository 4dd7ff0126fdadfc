//! Puts the parts together: disk, runtime, server, openraft, tasks.

use std::future::{Future, pending};
use std::net::TcpListener;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use openraft::SnapshotPolicy;
use starling_engine::unit::NodeId;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::core::{Core, Membership};
use crate::failed::Failed;
use crate::leadership::Observer;
use crate::letters::Letters;
use crate::machine::Machine;
use crate::meet::{self, Met};
use crate::net::client::{Links, Peers};
use crate::net::owner::Vouched;
use crate::net::server;
use crate::propose::PROPOSALS_MAX;
use crate::recall::{self, Answer};
use crate::stand::Standing;
use crate::store::keys::Identity;
use crate::store::open::Opened;
use crate::store::{Disk, LogStore, Snapshots, open};
use crate::types::Raft;
use crate::{
    Config, Error, Leadership, Timing, ailing, announce, attend, compact, join, propose, removed,
    stand, steward, version,
};

/// openraft's core and the network must not wait for each other's work.
const THREADS: usize = 2;
const SNAPSHOT_EVERY: u64 = 5_000;
const ENTRIES_KEPT: u64 = 1_000;
const APPEND_ENTRIES_MAX: u64 = 256;
const SNAPSHOT_INSTALL_MS: u64 = 10_000;
const HEARTBEAT_MS_MIN: u64 = 10;
const NAME_BYTES_MAX: usize = 63;
const CLUSTER_ID_BYTES_MAX: usize = 63;
/// A start waits no longer for what others know of this agent.
const LOOK_BACK: Duration = Duration::from_secs(3);
/// An orderly end waits no longer for openraft.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(5);

pub struct Running {
    pub core: Arc<Core>,
    pub observer: Observer,
    pub disk: Disk,
    pub snapshots: Snapshots,
    raft: Raft,
    own: Arc<Identity>,
    runtime: Mutex<Option<Runtime>>,
    handle: tokio::runtime::Handle,
}

/// See [`crate::Log::start`].
pub async fn start(config: Config, listener: TcpListener) -> Result<Running, Error> {
    check(&config)?;
    loop {
        let again = listener.try_clone().map_err(Error::Threads)?;
        match start_once(config.clone(), again).await {
            // Its log is noted as doubtful: the next start moves it aside.
            Err(Error::Behind(_)) => {}
            ended => return ended,
        }
    }
}

async fn start_once(config: Config, listener: TcpListener) -> Result<Running, Error> {
    let runtime = Stopping(Some(
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("starling-raft")
            .enable_all()
            .build()
            .map_err(Error::Threads)?,
    ));
    let handle = runtime.handle();
    let parts = handle
        .spawn(assemble(config, listener))
        .await
        .map_err(|e| Error::Unknown(format!("starting broke off: {e}")))??;
    Ok(Running {
        core: parts.core,
        observer: parts.observer,
        disk: parts.disk,
        snapshots: parts.snapshots,
        raft: parts.raft,
        own: parts.own,
        handle,
        runtime: Mutex::new(runtime.keep()),
    })
}

/// A runtime must not be dropped where one is running: it is sent off instead.
struct Stopping(Option<Runtime>);

impl Stopping {
    fn handle(&self) -> tokio::runtime::Handle {
        match &self.0 {
            Some(runtime) => runtime.handle().clone(),
            None => tokio::runtime::Handle::current(),
        }
    }

    fn keep(mut self) -> Option<Runtime> {
        self.0.take()
    }
}

impl Drop for Stopping {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

struct Parts {
    core: Arc<Core>,
    observer: Observer,
    disk: Disk,
    snapshots: Snapshots,
    raft: Raft,
    own: Arc<Identity>,
}

async fn assemble(config: Config, listener: TcpListener) -> Result<Parts, Error> {
    let (data_dir, cluster) = (config.data_dir.clone(), config.cluster.clone());
    let supports = config.ledger_version;
    let opening = tokio::task::spawn_blocking(move || open::open(&data_dir, &cluster, supports));
    let opened = ailing::opened(&config.data_dir, opening)
        .await?
        .map_err(|e| Error::Unknown(format!("opening broke off: {e}")))??;

    let (applied_sender, applied) = watch::channel(0);
    let (leadership_sender, leadership) = watch::channel(Leadership::default());
    let may_found = config.bootstrap && opened.moved_aside.is_none();
    let core = Arc::new(Core {
        peers: Arc::new(Peers::new(config.credentials.connector(), config.timing)),
        config,
        acks: Arc::default(),
        ledger: Arc::default(),
        clock: Arc::default(),
        applied,
        leadership,
        tally: Arc::default(),
        part: watch::Sender::default(),
        failed: Failed::default(),
        gate: tokio::sync::RwLock::default(),
        may_found,
        own: OnceLock::new(),
        member: OnceLock::new(),
        vouched: Vouched::default(),
        met: Met::default(),
        later: watch::Sender::default(),
        recall: Arc::default(),
        standing: Standing::default(),
        versions: Arc::default(),
        letters: Letters::default(),
    });
    // Before anything that could depend on it: other new agents ask who this is.
    let listener = listen(listener).map_err(Error::Threads)?;
    let serving = server::serve(core.clone(), listener);
    core.failed.keep("the peer listener", async move {
        match serving.await {
            Ok(()) => "it should not have".to_owned(),
            Err(why) => why.to_string(),
        }
    });

    let own = Arc::new(join::identity(&core, &opened).await?);
    if core.own.set(own.clone()).is_err() {
        return Err(Error::Unknown("the log was started twice".into()));
    }
    // Nothing is promised before others have said how far this log was.
    recall::close(&core.recall);
    let raft = start_raft(&core, &opened, &own, applied_sender).await?;
    let observer = Observer {
        raft: raft.clone(),
        acks: core.acks.clone(),
        timing: core.config.timing,
        tally: core.tally.clone(),
        part: core.part.subscribe(),
    };
    let (proposals, queue) = mpsc::channel(PROPOSALS_MAX);
    let membership = Membership {
        own: own.clone(),
        raft: raft.clone(),
        proposals,
    };
    if core.member.set(membership).is_err() {
        return Err(Error::Unknown("the log was started twice".into()));
    }
    look_back(&core, &opened, &own, &raft).await?;
    let (observing, disk) = (observer.clone().run(leadership_sender), opened.disk.clone());
    let ended = raft.clone();
    core.failed.keep("raft", async move {
        observing.await;
        match ailing::why_ended(&disk, &ended) {
            Some(why) => why,
            None => pending().await,
        }
    });
    let (failed, disk) = (core.failed.clone(), opened.disk.clone());
    let data_dir = core.config.data_dir.clone();
    core.failed
        .keep_beside("the watch over the disk", async move {
            failed.tell(ailing::hangs(&disk, data_dir).await.to_string());
        });
    let (clock, ledger) = (core.clock.clone(), core.ledger.clone());
    let proposing = propose::run(raft.clone(), clock, ledger, queue);
    core.failed
        .keep_beside("the taking of proposals", proposing);
    let steward = steward::run(core.clone());
    core.failed.keep_beside("the care for the voters", steward);
    let version = version::run(core.clone());
    core.failed
        .keep_beside("the raising of the ledger's version", version);
    let announce = announce::run(core.clone());
    core.failed
        .keep_beside("the search for new addresses", announce);
    let meet = meet::run(core.clone());
    core.failed
        .keep_beside("the search for other clusters", meet);
    let removed = removed::run(core.clone(), opened.doubt());
    core.failed
        .keep_beside("the look for its own removal", removed);
    let stand = stand::run(core.clone());
    core.failed.keep_beside("the care for a leader", stand);
    let attend = attend::run(core.clone());
    core.failed.keep_beside("the watch over the leader", attend);
    tracing::info!(id = own.id, cluster = %own.cluster, "this agent takes part in the log");
    Ok(Parts {
        core,
        observer,
        disk: opened.disk,
        snapshots: opened.snapshots,
        raft,
        own,
    })
}

/// Returns once the log is known to be sound, or after a while, and then goes on
/// asking; [`Error::Behind`] where it isn't.
async fn look_back(
    core: &Arc<Core>,
    opened: &Opened,
    own: &Arc<Identity>,
    raft: &Raft,
) -> Result<(), Error> {
    let stands = recall::Own {
        vote: opened.state.vote.unwrap_or_default(),
        last: opened.state.last.max(opened.state.purged),
    };
    let (core, own, raft) = (core.clone(), own.clone(), raft.clone());
    let doubt = opened.doubt();
    let mut asking = tokio::spawn(async move {
        let answer = recall::ask(&core, &raft, &own, stands).await;
        match answer {
            Answer::Sound => {
                recall::open(&core.recall);
                core.standing.look();
                Ok(())
            }
            Answer::Behind(why) => {
                let noted = doubt.note(&why).await;
                let noted = noted.map_err(|e| Error::Unknown(format!("{why}; {e}")));
                core.failed.tell(recall::farewell(&why));
                noted.and(Err(Error::Behind(why)))
            }
        }
    });
    match tokio::time::timeout(LOOK_BACK, &mut asking).await {
        Ok(answered) => {
            answered.map_err(|e| Error::Unknown(format!("asking the others broke off: {e}")))?
        }
        // Without a majority nobody leads; this agent can be asked why.
        Err(_) => Ok(()),
    }
}

fn listen(listener: TcpListener) -> std::io::Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}

async fn start_raft(
    core: &Arc<Core>,
    opened: &Opened,
    own: &Arc<Identity>,
    applied: watch::Sender<u64>,
) -> Result<Raft, Error> {
    let failed = |e: &dyn std::fmt::Display| Error::Unknown(format!("the log can't start: {e}"));
    let timing = core.config.timing;
    let settings = raft_settings(&own.cluster, timing)?;
    let machine = Machine::restore(
        opened.disk.clone(),
        opened.snapshots.clone(),
        core.ledger.clone(),
        core.clock.clone(),
        applied,
    )
    .await
    .map_err(|e| failed(&e))?;
    let links = Links {
        peers: core.peers.clone(),
        own: own.clone(),
        acks: core.acks.clone(),
        recall: core.recall.clone(),
        leadership: core.leadership.clone(),
        versions: core.versions.clone(),
        timing,
    };
    let store = LogStore::new(opened.disk.clone(), opened.state.clone());
    let written = store.clone();
    let raft = Raft::new(own.id, Arc::new(settings), links, store, machine)
        .await
        .map_err(|e| failed(&e))?;
    let compact = compact::run(raft.clone(), written, compact::LOG_BYTES_MAX);
    core.failed
        .keep_beside("the compaction of the log", compact);
    if own.founder && !raft.is_initialized().await.map_err(|e| failed(&e))? {
        let alone =
            std::collections::BTreeMap::from([(own.id, steward::peer(&core.config.member))]);
        raft.initialize(alone).await.map_err(|e| failed(&e))?;
    }
    Ok(raft)
}

fn raft_settings(cluster: &str, timing: Timing) -> Result<openraft::Config, Error> {
    openraft::Config {
        cluster_name: cluster.to_owned(),
        heartbeat_interval: timing.heartbeat_ms,
        election_timeout_min: timing.election_min_ms,
        election_timeout_max: timing.election_max_ms,
        install_snapshot_timeout: SNAPSHOT_INSTALL_MS,
        max_payload_entries: APPEND_ENTRIES_MAX,
        replication_lag_threshold: SNAPSHOT_EVERY,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT_EVERY),
        max_in_snapshot_log_to_keep: ENTRIES_KEPT,
        // See `stand`.
        enable_elect: false,
        ..openraft::Config::default()
    }
    .validate()
    .map_err(|e| Error::Config {
        field: "timing",
        why: e.to_string(),
    })
}

fn check(config: &Config) -> Result<(), Error> {
    let refuse = |field, why: &str| {
        Err(Error::Config {
            field,
            why: why.to_owned(),
        })
    };
    let named = |name: &str| !name.is_empty() && name.len() <= NAME_BYTES_MAX;
    if !named(&config.cluster) {
        return refuse("cluster", "must have 1 to 63 bytes");
    }
    if !named(&config.member.name) {
        return refuse("member.name", "must have 1 to 63 bytes");
    }
    let is_id = |id: &String| !id.is_empty() && id.len() <= CLUSTER_ID_BYTES_MAX;
    if !config.cluster_id.as_ref().is_none_or(is_id) {
        return refuse("cluster_id", "must have 1 to 63 bytes");
    }
    if config.member.peer_address.is_empty() {
        return refuse("member.peer_address", "is missing");
    }
    if !matches!(config.upkeep.voters_max, 1 | 3 | 5 | 7) {
        return refuse("upkeep.voters_max", "must be 1, 3, 5 or 7");
    }
    if config.timing.heartbeat_ms < HEARTBEAT_MS_MIN {
        return refuse("timing.heartbeat_ms", "must be at least 10");
    }
    Ok(())
}

impl Running {
    pub fn id(&self) -> NodeId {
        NodeId(self.own.id)
    }

    pub fn cluster_id(&self) -> &str {
        &self.own.cluster_id
    }

    pub fn generation(&self) -> u64 {
        self.own.generation
    }

    /// Network and timers belong to this runtime, not to the caller's.
    pub async fn on_runtime<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let task: JoinHandle<Result<T, Error>> = self.handle.spawn(work);
        task.await
            .unwrap_or_else(|_| Err(Error::Unknown("this agent is shutting down".into())))
    }

    /// For what nobody waits for.
    pub fn on_threads(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(work);
    }

    pub async fn shutdown(&self) {
        let raft = self.raft.clone();
        let stopped = self.handle.spawn(async move {
            let _ = tokio::time::timeout(SHUTDOWN_DEADLINE, raft.shutdown()).await;
        });
        // Fails only where another shutdown has been faster.
        let _ = stopped.await;
        self.stop_runtime();
    }

    fn stop_runtime(&self) {
        let runtime = self
            .runtime
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop_runtime();
    }
}
