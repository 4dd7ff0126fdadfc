//! Puts an agent together from its configuration, runs it, and ends it in order.

use std::future::pending;
use std::io::{self, Read as _};
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use starling_api as api;
use starling_api::view::{Snapshot, View};
use starling_collect::{Collector, HostRoot};
use starling_consensus::{Error, Founding, Kept, Log, Timing};
use starling_engine::ledger::Member;
use starling_engine::node::Node;
use starling_gossip as gossip;
use starling_health::{self as health, Health, Logs};
use starling_kept::again;
use starling_kube::metrics::Metrics;
use starling_kube::policies::{Dated, Policies, Reads};
use starling_kube::targets;
use starling_policy::Directory;
use starling_process::{Supervisor, limit};
use starling_sources::Poller;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinHandle};
use tracing::{error, info, warn};

use super::addresses::{self, Sockets};
use super::aside::Aside;
use super::ask::{Asker, wall};
use super::identity::{self, Identity, Known};
use super::life;
use super::outdated;
use super::shown::Shown;
use super::tell::Told;
use super::watchdog::{self, Pulse};
use super::{Agent, Args, EVENTS_MAX, Meters};
use crate::config::{Adopt, Config, WorkersOnExit};
use crate::platform::{Meter as PodMeter, Platform, reader};
use crate::recover::note;

/// Time for open API calls to end.
const API_GRACE: Duration = Duration::from_secs(2);

/// See [`super::main`].
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let mut config = Config::load(&args.config)?;
    match &mut config.kubernetes {
        Some(kubernetes) => kubernetes.adopt.extend(&args.adopt),
        None if !args.adopt.is_empty() => {
            bail!("--adopt needs `kubernetes` in the settings: ScaledObjects are its objects")
        }
        None => {}
    }
    let config = config;
    let format = args.log_format.or(config.log.format).unwrap_or_default();
    let level = args.log_level.as_ref().filter(|level| !level.is_empty());
    let level = level.or(config.log.level.as_ref());
    let logs = Logs::start(format, level.map(String::as_str))?;
    raise_file_limit();
    let name = config.node_name().to_owned();
    std::fs::create_dir_all(&config.data_dir).with_context(|| {
        format!(
            "can't make the data directory {}",
            config.data_dir.display()
        )
    })?;
    let stop_workers = args.until_stdin_closes || config.workers_on_exit == WorkersOnExit::Stop;
    let mut shutdown = shutdown(args.until_stdin_closes)?;
    let health = Health::default();
    // From the first moment on: looking for the cluster may take any time.
    let probe = addresses::bind_health(&config.listen, &config.data_dir)?;
    let probes = health::serve(listener(&probe)?, health.clone(), pending());
    let mut probes = tokio::spawn(probes);
    note::carry_out(&config).await?;
    // The other listeners come later: whoever calls an agent that can't answer
    // yet is better refused than kept waiting.
    let identity = tokio::select! {
        prepared = prepare(&config, &health) => prepared?,
        gone = asked_to_recover(&config) => return Err(gone.into()),
        _ = &mut shutdown => return Ok(()),
    };
    let sockets = addresses::bind(
        &config.listen,
        config.advertise.as_deref(),
        &config.data_dir,
        &probe,
    )?;

    info!(
        agent = name,
        peer = sockets.addresses.peer,
        api = sockets.addresses.api,
        health = sockets.addresses.health,
        "starting"
    );
    let (log, rest) = tokio::select! {
        started = start_log(&config, &name, &identity, sockets) => started?,
        gone = asked_to_recover(&config) => return Err(gone.into()),
        _ = &mut shutdown => return Ok(()),
    };

    let desk = identity.desk(&log);
    let known = identity.keep(&config, &log)?;
    let host = HostRoot::from_env(args.host_root.clone());
    let (agent, parts) = assemble(
        &config,
        host,
        &known,
        log.clone(),
        rest.gossip,
        rest.advertise,
        health.clone(),
    )?;
    let view = View {
        log: log.clone(),
        snapshot: agent.snapshot.subscribe(),
        logs: Some(logs),
    };
    health.joined(Shown {
        view: view.clone(),
        gossip: agent.gossip.meter(),
        ring: agent.gossip.ring(),
        credentials: known.credentials.clone(),
        machine: agent.machine.subscribe(),
        held: agent.held.subscribe(),
    });
    watchdog::start(log.clone(), agent.pulse.clone())?;
    let (end_api, ended) = oneshot::channel::<()>();
    let mut api = tokio::spawn(api::serve(rest.api, known.credentials, view, desk, async {
        // Either way, the agent is ending.
        let _ = ended.await;
    }));

    let mut gone = None;
    let agent = agent
        .run(parts, async {
            gone = tokio::select! {
                _ = &mut shutdown => None,
                gone = missed(&mut api, &mut probes, log.failed()) => Some(gone),
                gone = asked_to_recover(&config) => Some(gone),
            };
            match &gone {
                None => info!("ending"),
                Some(gone) => error!("{gone}; an agent without it is of no use, so it ends"),
            }
            health.ending();
            // The loop goes on meanwhile: it leads until another agent does.
            hand_over(&log).await;
        })
        .await;
    agent.pulse.ended();
    drop(end_api);
    if !api.is_finished()
        && let Ok(Ok(Err(why))) = tokio::time::timeout(API_GRACE, api).await
    {
        warn!(%why, "the API ended badly");
    }
    if stop_workers {
        agent.supervisor.stop_all().await;
    }
    agent.gossip.leave().await;
    log.shutdown().await;
    probes.abort();
    gone.map_or(Ok(()), |gone| Err(gone.into()))
}

/// A part of the agent that should go on for as long as the agent does, and has ended.
#[derive(Debug, thiserror::Error)]
#[error("{part} ended: {why}")]
struct Gone {
    part: &'static str,
    why: String,
}

/// Returns once `starling recover` was given in this agent's pod.
async fn asked_to_recover(config: &Config) -> Gone {
    if config.kubernetes.is_none() {
        // There it is done while the agent doesn't run.
        pending::<()>().await;
    }
    note::noted(&config.data_dir).await;
    Gone {
        part: "this agent's part in the former generation of the cluster",
        why: "it was asked to go on with the cluster from its log, which its next start does"
            .into(),
    }
}

/// Who this agent is, once its log is of the cluster's present generation or given up.
async fn prepare(config: &Config, health: &Health) -> anyhow::Result<Identity> {
    let identity = identity::prepare(config, health).await?;
    if let Some(cluster) = identity.cluster() {
        let (seeds, credentials) = (&identity.seeds, &identity.credentials);
        outdated::wait(config, cluster, seeds, credentials, health).await?;
    }
    Ok(identity)
}

/// Waits until one of them ends, which none should.
async fn missed(
    api: &mut JoinHandle<Result<(), api::Error>>,
    probes: &mut JoinHandle<()>,
    mut log_failed: watch::Receiver<Option<String>>,
) -> Gone {
    let words = |ended: Result<(), JoinError>| match ended {
        Ok(()) => "it should not have".to_owned(),
        Err(why) => why.to_string(),
    };
    let (part, why) = tokio::select! {
        ended = api => match ended {
            Ok(Err(why)) => ("the API", why.to_string()),
            ended => ("the API", words(ended.map(|_| ()))),
        },
        ended = probes => ("the health port", words(ended)),
        failed = log_failed.wait_for(Option::is_some) => {
            let why = failed.ok().and_then(|failed| failed.clone());
            ("the log", why.unwrap_or_else(|| "it is gone".to_owned()))
        }
    };
    Gone { part, why }
}

/// Every connection takes a descriptor, and so does every look at a process.
fn raise_file_limit() {
    match limit::raise() {
        Ok(limit::Raised { from, to }) => info!(
            from,
            to,
            "this agent may have as many files open as its hard limit says; raise that for more"
        ),
        Err(why) => warn!(%why, "the limit of open files stays as it was"),
    }
}

async fn hand_over(log: &Log) {
    match log.hand_over().await {
        Ok(Some(next)) => info!(id = next.0, "another agent leads from now on"),
        Ok(None) => {}
        Err(Error::LeadKept(Kept::Alone)) => info!("nobody else can lead; sizes stay as they are"),
        Err(why) => warn!(%why, "the others elect a leader when they miss this one"),
    }
}

fn listener(bound: &std::net::TcpListener) -> io::Result<tokio::net::TcpListener> {
    let bound = bound.try_clone()?;
    bound.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(bound)
}

/// The sockets that are left once the log has taken its own.
struct Rest {
    gossip: UdpSocket,
    /// Where others reach it.
    advertise: String,
    api: tokio::net::TcpListener,
}

async fn start_log(
    config: &Config,
    name: &str,
    identity: &Identity,
    sockets: Sockets,
) -> anyhow::Result<(Log, Rest)> {
    let addresses = sockets.addresses;
    let log = Log::start(
        starling_consensus::Config {
            data_dir: config.data_dir.clone(),
            member: Member {
                name: name.to_owned(),
                peer_address: addresses.peer.clone(),
                gossip_address: addresses.gossip.clone(),
                api_address: addresses.api.clone(),
                zone: config.zone.clone().unwrap_or_default(),
            },
            cluster: config.cluster.clone(),
            seeds: identity.seeds.clone(),
            cluster_id: identity.cluster_id(),
            bootstrap: identity.bootstrap,
            founding: Founding::default(),
            authority: identity.authority.clone(),
            timing: Timing::default(),
            upkeep: config.upkeep(),
            ledger_version: starling_engine::ledger::version::HIGHEST,
            credentials: identity.credentials.clone(),
        },
        sockets.peer,
    )
    .await?;
    addresses::keep(&addresses, &config.data_dir)?;
    let rest = Rest {
        gossip: sockets.gossip,
        advertise: addresses.gossip,
        api: listener(&sockets.api)?,
    };
    Ok((log, rest))
}

/// What the loop receives from.
pub(super) struct Parts {
    pub events: mpsc::Receiver<super::Event>,
    pub gossip: mpsc::Receiver<gossip::Event>,
    pub platform: mpsc::Receiver<targets::Event>,
    pub objects: mpsc::Receiver<Dated>,
}

fn assemble(
    config: &Config,
    host: HostRoot,
    known: &Known,
    log: Log,
    socket: UdpSocket,
    advertise: String,
    health: Health,
) -> anyhow::Result<(Agent, Parts)> {
    let name = config.node_name();
    let (events, event_receiver) = mpsc::channel(EVENTS_MAX);
    let (gossip_events, gossip_receiver) = mpsc::channel(EVENTS_MAX);
    let life = life::begin(&config.data_dir, wall().0)?;
    let clock = log.clock();
    let gossip = gossip::start(
        gossip::Config {
            node: log.id(),
            name: name.to_owned(),
            cluster: log.cluster_id().to_owned(),
            generation: log.generation(),
            keys: identity::ring(&known.gossip.borrow()),
            advertise,
            timing: gossip::Timing::default(),
            life,
            clock: gossip::Clock(Arc::new(move || clock.now())),
        },
        socket,
        gossip_events,
    )?;
    let (keys, ring) = (known.gossip.clone(), gossip.ring());
    tokio::spawn(again("the taking over of gossip's keys", move || {
        identity::follow_ring(keys.clone(), ring.clone())
    }));
    let supervisor = Supervisor::start(&config.cluster, &config.data_dir)?;
    let directory = match &config.policies {
        Some(path) => {
            let directory = Directory::open(path, &config.data_dir, name)?;
            Some(match &known.connection {
                Some(_) => directory.on_kubernetes(),
                None => directory,
            })
        }
        None => None,
    };
    let (platform, platform_events) = match &known.connection {
        Some(connection) => {
            let (platform, events) = Platform::start(connection, name);
            (Some(platform), events)
        }
        // Nobody sends: the loop hears nothing of it.
        None => (None, mpsc::channel(1).1),
    };
    let reads = config.kubernetes.as_ref().map(|it| Reads {
        policies: it.policies,
        scaled_objects: it.adopts(Adopt::Keda),
    });
    let (policies, objects) = match &known.connection {
        Some(connection) => {
            let (policies, news) = Policies::new(connection, name, reads.unwrap_or_default());
            (Some(policies), news)
        }
        None => (None, mpsc::channel(1).1),
    };
    if let Some(connection) = &known.connection {
        let metrics = health.metrics().clone();
        (connection.calls).listen(move |call| {
            metrics.asked_kubernetes(call.verb.name(), call.status, call.took);
        });
    }
    let kubernetes = config.kubernetes.clone();
    let in_cluster = known.connection.is_some();
    let meters = move || -> anyhow::Result<Meters> {
        let pods = if in_cluster {
            Some(PodMeter::new(reader(&host, kubernetes.as_ref())?))
        } else {
            None
        };
        Ok(Meters {
            pods,
            machine: Collector::new(host.clone()),
        })
    };
    let first = meters()?;
    let meters = Aside::new(
        first,
        Box::new(move || meters().map_err(|e| format!("{e:#}"))),
    );
    let kubernetes = config.kubernetes.as_ref();
    let keda_namespace = kubernetes.map(|it| it.keda_namespace.as_str()).or(Some(""));
    starling_sources::limit(config.sources.networks());
    let asker = Asker::new(
        log.clone(),
        Poller::new(config.authentications.clone()),
        health.metrics().clone(),
        known.connection.as_ref().zip(keda_namespace),
    );
    let answers = asker.clone();
    tokio::spawn(again("the asking for others", move || {
        answers.clone().answer()
    }));
    let pushes = asker.clone();
    tokio::spawn(again("the sending of pushes", move || {
        pushes.clone().push_again()
    }));
    let agent = Agent {
        node: Node::new(log.id()).in_life(life),
        clock: log.clock(),
        log,
        gossip,
        supervisor: Arc::new(supervisor),
        meters,
        platform,
        platform_silent: None,
        policies,
        apis: known.connection.as_ref().map(Metrics::new),
        leads: false,
        directory,
        looking_since: None,
        heirs_looked: None,
        asker,
        snapshot: watch::Sender::new(Arc::new(Snapshot::default())),
        machine: watch::Sender::new(Arc::default()),
        replicas: Arc::default(),
        held: watch::Sender::new(Arc::default()),
        told: Told::default(),
        health,
        pulse: Pulse::default(),
        troubles: known.troubles.clone(),
        credentials: known.credentials.clone(),
        renews_itself: known.renews_itself,
        all_make_keys: known.all_make_keys.clone(),
        caught_up: false,
        rests_ms: None,
        halted: None,
        events,
    };
    let parts = Parts {
        events: event_receiver,
        gossip: gossip_receiver,
        platform: platform_events,
        objects,
    };
    Ok((agent, parts))
}

/// Resolves at the first SIGTERM or SIGINT, or at the end of standard input if
/// that is watched. A second signal ends the process at once; workers go on.
fn shutdown(until_stdin_closes: bool) -> io::Result<oneshot::Receiver<()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (closed, stdin) = oneshot::channel::<()>();
    if until_stdin_closes {
        std::thread::Builder::new()
            .name("stdin".into())
            .spawn(move || {
                let mut rest = [0; 256];
                while io::stdin().read(&mut rest).is_ok_and(|n| n > 0) {}
                drop(closed);
            })?;
    }
    let (end, ended) = oneshot::channel();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = stdin, if until_stdin_closes => {}
        }
        drop(end);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(130);
    });
    Ok(ended)
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    /// What is missed first, where one of three ends and the others go on.
    async fn first(api: Option<bool>, probes: bool, log: Option<&str>) -> String {
        let mut api = tokio::spawn(async move {
            match api {
                Some(panics) => assert!(!panics, "by a bug"),
                None => pending().await,
            }
            Ok(())
        });
        let mut probes = if probes {
            tokio::spawn(ready(()))
        } else {
            tokio::spawn(pending())
        };
        let failed = watch::Sender::new(log.map(str::to_owned));
        let gone = missed(&mut api, &mut probes, failed.subscribe());
        gone.await.to_string()
    }

    #[tokio::test]
    async fn a_part_that_ends_is_missed_by_its_name() {
        let it = "ended: it should not have";
        assert_eq!(
            first(Some(false), false, None).await,
            format!("the API {it}")
        );
        assert!(first(Some(true), false, None).await.contains("by a bug"));
        assert_eq!(
            first(None, true, None).await,
            format!("the health port {it}")
        );
        assert_eq!(
            first(None, false, Some("raft ended")).await,
            "the log ended: raft ended"
        );
    }
}
