//! Who this agent is: by files that somebody made, or by its cluster in
//! Kubernetes, where agents certify each other.
//!
//! Comes in: the settings. Goes out: what the log, the API and gossip need of it,
//! and tasks that keep it sound while the agent runs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use starling_cli::context;
use starling_consensus::{Credentials, Log, Seeds};
use starling_engine::ledger::Authority;
use starling_health::Health;
use starling_identity::{Attendant, Desk, Established, Settings, Troubles, establish};
use starling_keys::watch::Watcher;
use starling_keys::{self as keys, Key};
use starling_kube::client::{Connection, Source, connect};
use starling_kube::cluster::ClusterObject;
use starling_kube::discovery::Wanted;
use starling_proto::enrol::enrol_service_server::EnrolService;
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::config::{Config, Kubernetes};

/// How often it is looked whether the files were replaced.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What an agent shows, and how it takes part.
pub struct Identity {
    pub credentials: Credentials,
    gossip: Vec<Key>,
    pub bootstrap: bool,
    /// For the ledger, where this agent founds.
    pub authority: Option<Authority>,
    pub seeds: Seeds,
    /// The directory of certificates that are made elsewhere.
    files: Option<PathBuf>,
    in_cluster: Option<(Settings, Established)>,
    name: String,
}

/// Returns when this agent has a certificate.
pub async fn prepare(config: &Config, health: &Health) -> anyhow::Result<Identity> {
    let name = config.node_name().to_owned();
    let own = match &config.keys {
        Some(dir) => Some(keys::load(dir, &name)?),
        None => None,
    };
    let files = config.keys.clone();
    if let Some(kubernetes) = &config.kubernetes {
        let settings = settings(config, kubernetes).await?;
        let said = Mutex::new(String::new());
        let tell = |words: &str| {
            health.waits_for(words);
            tell(&said, words);
        };
        let established = establish(&settings, own.as_ref(), &tell).await?;
        return Ok(Identity {
            credentials: established.credentials.clone(),
            gossip: established.gossip.clone(),
            bootstrap: established.bootstrap,
            authority: established.authority.clone(),
            seeds: established.seeds.clone(),
            files,
            in_cluster: Some((settings, established)),
            name,
        });
    }
    let own = own.context("no identity: `keys` names no directory")?;
    Ok(Identity {
        credentials: Credentials::new(&own.tls)?,
        gossip: own.gossip,
        bootstrap: config.bootstrap,
        authority: None,
        seeds: config.seeds.clone().into(),
        files,
        in_cluster: None,
        name,
    })
}

/// Says what is waited for whenever that has changed.
fn tell(said: &Mutex<String>, words: &str) {
    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
    if *said != words {
        info!("waiting: {words}");
        words.clone_into(&mut said);
    }
}

async fn settings(config: &Config, kubernetes: &Kubernetes) -> anyhow::Result<Settings> {
    let connection = connect(&Source::here()).await?;
    let namespace = kubernetes.namespace();
    let object = ClusterObject::new(
        connection.client.clone(),
        namespace,
        &kubernetes.cluster_object,
    );
    Ok(Settings {
        cluster: config.cluster.clone(),
        node: config.node_name().to_owned(),
        data_dir: config.data_dir.clone(),
        token: kubernetes.token.clone(),
        connection,
        object,
        pods: Wanted {
            namespace: namespace.to_owned(),
            service: kubernetes.service.clone(),
            own: config.advertise.clone().unwrap_or_default(),
            peer_port: port(&config.listen.peer),
            api_port: port(&config.listen.api),
        },
    })
}

/// The settings were checked: there is one.
fn port(address: &str) -> u16 {
    let port = address.rsplit_once(':').map(|(_, port)| port.parse());
    port.and_then(Result::ok).unwrap_or_default()
}

/// What the rest of the agent needs of it.
pub struct Known {
    pub credentials: Credentials,
    pub gossip: Vec<Key>,
    /// To the Kubernetes API; `None` on bare machines.
    pub connection: Option<Connection>,
    pub troubles: Vec<watch::Receiver<Troubles>>,
}

impl Identity {
    /// In Kubernetes the cluster object has it before there is a log.
    pub fn cluster_id(&self) -> Option<String> {
        let (_, established) = self.in_cluster.as_ref()?;
        Some(established.cluster.id.clone())
    }

    /// Who certifies others, where agents do that.
    pub fn desk(&self, log: &Log) -> Option<Arc<dyn EnrolService>> {
        let (settings, established) = self.in_cluster.as_ref()?;
        if self.files.is_some() {
            return None;
        }
        Some(Arc::new(Desk::new(
            settings.clone(),
            established.cluster.id.clone(),
            established.store.current(),
            log.ledger(),
        )))
    }

    /// Starts what keeps the certificate sound.
    pub fn keep(self, config: &Config, log: &Log) -> anyhow::Result<Known> {
        let mut known = Known {
            credentials: self.credentials,
            gossip: self.gossip,
            connection: None,
            troubles: Vec::new(),
        };
        if let Some(dir) = &self.files {
            let (dir, name) = (dir.clone(), self.name.clone());
            let watcher = move || Watcher::new(&dir, &name);
            let (sender, seen) = watch::channel(Troubles::new());
            let (gossip, credentials) = (known.gossip.clone(), known.credentials.clone());
            tokio::spawn(follow(watcher, gossip, credentials, sender));
            known.troubles.push(seen);
        }
        if let Some((settings, established)) = self.in_cluster {
            let papers = match &self.files {
                Some(dir) => keys::paths(dir, "node"),
                None => keys::paths(&established.store.current(), "client"),
            };
            write_context(config, &papers)?;
            known.connection = Some(settings.connection.clone());
            let own_keys = self.files.is_some();
            let seen = Attendant::start(settings, established, own_keys, log.clone());
            known.troubles.push(seen);
        }
        Ok(known)
    }
}

/// For `starling status` and the like in the agent's own container.
fn write_context(config: &Config, papers: &keys::Paths) -> anyhow::Result<()> {
    let dir = config.data_dir.join("client");
    keys::file::make_directory(&dir)?;
    let context = context::Context {
        cluster: config.cluster.clone(),
        agents: vec![context::Agent {
            name: config.node_name().to_owned(),
            address: reached_from_here(&config.listen.api),
        }],
        ca: papers.ca.clone(),
        certificate: papers.certificate.clone(),
        key: papers.key.clone(),
    };
    Ok(context.write(&dir.join("context.yaml"))?)
}

/// Where a process beside the agent finds what listens on `address`.
fn reached_from_here(address: &str) -> String {
    match address.rsplit_once(':') {
        Some(("0.0.0.0", port)) => format!("127.0.0.1:{port}"),
        Some(("[::]", port)) => format!("[::1]:{port}"),
        _ => address.to_owned(),
    }
}

/// Takes over what is in the files whenever it has changed.
async fn follow(
    watcher: impl Fn() -> Watcher,
    gossip: Vec<Key>,
    credentials: Credentials,
    troubles: watch::Sender<Troubles>,
) {
    let mut looking = watcher();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let looked = tokio::task::spawn_blocking(move || (looking.look(), looking)).await;
        let found = match looked {
            Ok((found, back)) => {
                looking = back;
                found
            }
            Err(why) => {
                error!(%why, "looking at the certificate's files broke off; it begins anew");
                looking = watcher();
                continue;
            }
        };
        let Some(found) = found else { continue };
        let replaced = found.map_err(|why| why.to_string()).and_then(|keys| {
            match credentials.replace(&keys.tls) {
                Ok(()) => Ok(keys),
                Err(why) => Err(why.to_string()),
            }
        });
        let trouble = match replaced {
            Ok(keys) => {
                info!("the certificate was replaced; new connections use it");
                if keys.gossip != gossip {
                    warn!("the gossip keys were replaced; restart this agent to use them");
                }
                None
            }
            Err(why) => Some(format!("the new files can't be used: {why}")),
        };
        troubles.send_replace(
            trouble
                .map(|words| ("files".into(), words))
                .into_iter()
                .collect(),
        );
    }
}

/// Everything that is wrong, in one map.
pub fn all(troubles: &[watch::Receiver<Troubles>]) -> BTreeMap<String, String> {
    let each = troubles.iter().map(|seen| seen.borrow().clone());
    each.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_listens_everywhere_is_reached_over_loopback() {
        for (listen, reached) in [
            ("0.0.0.0:7402", "127.0.0.1:7402"),
            ("[::]:7402", "[::1]:7402"),
            ("10.0.0.1:1", "10.0.0.1:1"),
        ] {
            assert_eq!(reached_from_here(listen), reached);
        }
        assert_eq!(port("[::]:7402"), 7_402);
    }
}
