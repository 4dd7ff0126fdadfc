//! Agents that have a log and an API, and nothing to measure.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use starling_api as api;
use starling_api::view::{Snapshot, View};
use starling_consensus::{Config, Credentials, Error, Founding, Log, Timing, Tls, Upkeep};
use starling_engine::ledger::version::HIGHEST;
use starling_engine::ledger::{Command, Member};
use starling_engine::policy::{Goal, Policy, Resource, Source, Target, Trigger};
use starling_engine::unit::Ms;
use starling_keys::{self as keys, Node, Request};
use starling_proto::v1::starling_service_client::StarlingServiceClient;
use tempfile::TempDir;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// Generous: the machine may be busy with other things.
const PATIENCE: Duration = Duration::from_mins(1);
/// More than any look at a busy machine takes.
const LOOK: Duration = Duration::from_secs(15);

pub type Client = StarlingServiceClient<Channel>;

/// A cluster's keys and directories.
pub struct Home {
    pub dir: TempDir,
}

impl Home {
    pub fn new() -> Home {
        // Another test of this process may have been faster.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = TempDir::new().unwrap();
        let nodes = ["a", "b"].map(|name| Node {
            name: name.into(),
            hosts: Vec::new(),
        });
        let request = Request {
            cluster: "test".into(),
            nodes: nodes.into(),
        };
        keys::generate(&dir.path().join("keys"), &request).unwrap();
        Home { dir }
    }

    pub fn keys(&self, name: &str) -> PathBuf {
        self.dir.path().join("keys").join(name)
    }

    /// What a user shows.
    pub fn user(&self) -> Tls {
        keys::load_client(&self.keys("client")).unwrap()
    }

    /// The first agent founds the cluster; others are given its peer address.
    pub async fn agent(&self, name: &str, seeds: &[&Agent]) -> Agent {
        let peer = TcpListener::bind("127.0.0.1:0").unwrap();
        let api = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = api.local_addr().unwrap().to_string();
        let keys = keys::load(&self.keys(name), name).unwrap();
        let credentials = Credentials::new(&keys.tls).unwrap();
        let peer_address = peer.local_addr().unwrap().to_string();
        let config = Config {
            data_dir: self.dir.path().join(name),
            member: Member {
                name: name.into(),
                peer_address: peer_address.clone(),
                gossip_address: "127.0.0.1:1".into(),
                api_address: address.clone(),
                zone: String::new(),
            },
            cluster: "test".into(),
            seeds: seeds
                .iter()
                .map(|seed| seed.peer_address.clone())
                .collect::<Vec<_>>()
                .into(),
            bootstrap: seeds.is_empty(),
            cluster_id: None,
            founding: Founding::default(),
            authority: None,
            timing: Timing::default(),
            upkeep: Upkeep::default(),
            ledger_version: starling_engine::ledger::version::HIGHEST,
            credentials: credentials.clone(),
        };
        let log = Log::start(config, peer).await.unwrap();
        let (snapshot, seen) = watch::channel(Arc::new(Snapshot {
            at: now(),
            ..Snapshot::default()
        }));
        let view = View {
            log: log.clone(),
            snapshot: seen,
            logs: None,
        };
        let (end, ended) = oneshot::channel();
        let served = tokio::spawn(api::serve(api, credentials, view, None, async {
            let _ = ended.await;
        }));
        let agent = Agent {
            log,
            snapshot,
            address,
            peer_address,
            end: Some(end),
            served,
        };
        eventually("a leader is known", || async {
            let leadership = agent.log.leadership().borrow().clone();
            (leadership.leader.is_some() && !agent.log.ledger().read().unwrap().members.is_empty())
                .then_some(())
        })
        .await;
        agent
    }

    /// One agent that leads.
    pub async fn leader(&self) -> Agent {
        let agent = self.agent("a", &[]).await;
        eventually("the agent may act, and has raised the ledger", || async {
            let version = agent.log.ledger().read().unwrap().version();
            (agent.log.acting() && version == HIGHEST).then_some(())
        })
        .await;
        agent
    }
}

pub struct Agent {
    pub log: Log,
    pub snapshot: watch::Sender<Arc<Snapshot>>,
    pub address: String,
    peer_address: String,
    end: Option<oneshot::Sender<()>>,
    served: JoinHandle<Result<(), api::Error>>,
}

impl Agent {
    pub async fn put(&self, policy: Policy) {
        let outcome = eventually("the policy is put", || async {
            let put = Command::PutPolicy {
                policy: policy.clone(),
                source: "a:test.yaml".into(),
            };
            match self.log.propose(put).await {
                // Where it was put after all, it is the same again, and nothing is decided.
                Err(Error::Unknown(_)) => None,
                outcome => Some(outcome.unwrap()),
            }
        })
        .await;
        assert!(outcome.refused.is_empty(), "{outcome:?}");
    }

    /// Ends the API, not the log; returns once it has ended.
    pub async fn end_api(&mut self) {
        self.end.take().unwrap().send(()).unwrap();
        (&mut self.served).await.unwrap().unwrap();
    }
}

/// A policy that is sound.
pub fn policy(name: &str, replicas_min: u32) -> Policy {
    Policy {
        name: name.into(),
        target: Target::process(name),
        replicas_min,
        replicas_max: 9,
        triggers: vec![Trigger {
            name: "cpu".into(),
            source: Source::Resource(Resource::Cpu),
            goal: Goal::Utilization { percent: 70 },
            activation_milli: 0,
            window_ms: None,
        }],
        ..Policy::default()
    }
}

pub async fn client(address: &str, tls: &Tls) -> Result<Client, tonic::transport::Error> {
    Ok(StarlingServiceClient::new(channel(address, tls).await?))
}

pub async fn channel(address: &str, tls: &Tls) -> Result<Channel, tonic::transport::Error> {
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&tls.ca))
        .identity(Identity::from_pem(&tls.certificate, &tls.key))
        .domain_name("peer.starling");
    let endpoint = Endpoint::from_shared(format!("https://{address}"))?.tls_config(tls)?;
    endpoint.connect().await
}

/// Polls until `look` finds something.
pub async fn eventually<T, F>(what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let begin = Instant::now();
    loop {
        // One that hangs is given up, and another one begun.
        let found = tokio::time::timeout(LOOK, look()).await;
        if let Ok(Some(found)) = found {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "waited too long until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The next message of a stream.
pub async fn next<T>(stream: &mut tonic::Streaming<T>) -> Result<T, tonic::Status> {
    let message = tokio::time::timeout(PATIENCE, stream.message()).await;
    message
        .expect("a message in time")
        .map(|message| message.expect("the stream goes on"))
}

pub fn now() -> Ms {
    Ms(SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis() as u64)
}

pub fn live(policy: &str, target: u32) -> Arc<Snapshot> {
    use starling_engine::decide::Decision;
    use starling_engine::decide::reason::Report;
    let report = Report {
        at: now(),
        from: 1,
        target,
        ..Report::default()
    };
    let decision = Decision {
        target,
        changes: Vec::new(),
        report,
        evidence: None,
    };
    Arc::new(Snapshot {
        at: now(),
        live: BTreeMap::from([(policy.into(), decision)]).into(),
        ..Snapshot::default()
    })
}
