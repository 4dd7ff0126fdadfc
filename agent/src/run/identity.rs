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
use starling_consensus::tls::Validity;
use starling_consensus::{Credentials, Log, Seeds};
use starling_engine::ledger::Authority;
use starling_gossip as gossip;
use starling_health::Health;
use starling_identity::{
    Attendant, Desk, Established, Rotation, Settings, Troubles, establish, rotate,
};
use starling_kept::again;
use starling_keys::watch::Watcher;
use starling_keys::{self as keys, Key};
use starling_kube::client::{Connection, Source, connect};
use starling_kube::cluster::{Cluster, ClusterObject};
use starling_kube::discovery::Wanted;
use starling_proto::enrol::enrol_service_server::EnrolService;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::context::OwnContext;
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
    /// The directory of certificates that are made elsewhere, and how it was when this
    /// agent's was read: what comes while it starts is new.
    files: Option<(PathBuf, Watcher)>,
    in_cluster: Option<(Settings, Established)>,
}

/// Returns when this agent has a certificate.
pub async fn prepare(config: &Config, health: &Health) -> anyhow::Result<Identity> {
    let name = config.node_name().to_owned();
    let files = config.keys.clone().map(|dir| {
        let watcher = Watcher::new(&dir, &name);
        (dir, watcher)
    });
    let own = match &config.keys {
        Some(dir) => Some(keys::load(dir, &name)?),
        None => None,
    };
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

pub async fn settings(config: &Config, kubernetes: &Kubernetes) -> anyhow::Result<Settings> {
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
    /// As they are now.
    pub gossip: watch::Receiver<Vec<Key>>,
    /// Whether agents certify this one, again and again.
    pub renews_itself: bool,
    /// To the Kubernetes API; `None` on bare machines.
    pub connection: Option<Connection>,
    pub troubles: Vec<watch::Receiver<Troubles>>,
    /// To be told whether all agents can make the keys of gossip by themselves.
    pub all_make_keys: watch::Sender<bool>,
}

impl Identity {
    /// In Kubernetes the cluster object has it before there is a log.
    pub fn cluster_id(&self) -> Option<String> {
        let (_, established) = self.in_cluster.as_ref()?;
        Some(established.cluster.id.clone())
    }

    /// What the cluster object says; `None` on bare machines.
    pub fn cluster(&self) -> Option<&Cluster> {
        let (_, established) = self.in_cluster.as_ref()?;
        Some(&established.cluster)
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
        let (ring, gossip) = watch::channel(self.gossip);
        let mut known = Known {
            credentials: self.credentials,
            gossip,
            renews_itself: self.in_cluster.is_some() && self.files.is_none(),
            connection: None,
            troubles: Vec::new(),
            all_make_keys: watch::Sender::new(false),
        };
        if let Some((_, watcher)) = &self.files {
            let watcher = watcher.clone();
            let (sender, seen) = watch::channel(Troubles::new());
            let credentials = known.credentials.clone();
            tokio::spawn(again("the look at the certificate's files", move || {
                follow(
                    watcher.clone(),
                    ring.clone(),
                    credentials.clone(),
                    sender.clone(),
                )
            }));
            known.troubles.push(seen);
        } else if let Some((_, established)) = &self.in_cluster {
            let rotation = Rotation {
                dir: established.store.current(),
                cluster_id: established.cluster.id.clone(),
                log: log.clone(),
                ready: known.all_make_keys.subscribe(),
                ring,
            };
            tokio::spawn(again("the care for gossip's keys", move || {
                rotate(rotation.clone())
            }));
        }
        if let Some((settings, established)) = self.in_cluster {
            let papers = match &self.files {
                Some((dir, _)) => keys::paths(dir, "node"),
                None => keys::paths(&established.store.current(), "client"),
            };
            let context = OwnContext::write(config, papers)?;
            let of = log.clone();
            tokio::spawn(again("the care for this container's context", move || {
                context.clone().keep(of.clone())
            }));
            known.connection = Some(settings.connection.clone());
            let own_keys = self.files.is_some();
            let seen = Attendant::start(settings, established, own_keys, log.clone());
            known.troubles.push(seen);
        }
        Ok(known)
    }
}

/// Takes over what is in the files whenever it has changed.
async fn follow(
    watcher: Watcher,
    gossip: watch::Sender<Vec<Key>>,
    credentials: Credentials,
    troubles: watch::Sender<Troubles>,
) {
    let mut looking = watcher.clone();
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
                looking = watcher.clone();
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
                gossip.send_if_modified(|known| {
                    let changed = *known != keys.gossip;
                    *known = keys.gossip;
                    changed
                });
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

/// As gossip takes them.
pub fn ring(keys: &[Key]) -> Vec<gossip::Key> {
    keys.iter().map(|key| gossip::Key(key.0)).collect()
}

/// Hands gossip its keys whenever they were replaced.
pub async fn follow_ring(mut keys: watch::Receiver<Vec<Key>>, used: gossip::Ring) {
    while keys.changed().await.is_ok() {
        let keys = ring(&keys.borrow_and_update());
        let before = used.names();
        if let Err(why) = used.replace(&keys) {
            warn!(%why, "the gossip keys stay as they were");
            continue;
        }
        let names = used.names();
        info!(
            keys = names.join(", "),
            "the gossip keys were replaced; the first one seals"
        );
        if names.first().is_some_and(|seals| !before.contains(seals)) {
            warn!(
                "this agent seals with a key that it did not even open with before: who hasn't \
                 got it yet misses this agent. Add a key everywhere first, then use it"
            );
        }
    }
}

/// What of this agent's certificate, or of its authority, has ended or soon will, in words.
pub fn ending(credentials: &Credentials, renews_itself: bool, now_s: u64) -> Troubles {
    let validities = credentials.validities();
    let renew = if renews_itself {
        "it renews itself; this agent's other warnings say why it hasn't"
    } else {
        "run `starling keys renew` where the cluster's keys are kept and copy this node's \
         directory here, which needs no restart"
    };
    let authority = "make another one, let all agents believe both (two certificates in ca.pem), \
                     and only then have it sign";
    let both = [
        ("certificate's end", validities.certificate, renew),
        ("authority's end", validities.authority, authority),
    ];
    let due = both.into_iter().filter(|(_, it, _)| it.is_due(now_s));
    due.map(|(subject, it, remedy)| (subject.to_owned(), words(it, now_s, remedy)))
        .collect()
}

fn words(it: Validity, now_s: u64, remedy: &str) -> String {
    const HOUR_S: u64 = 3_600;
    let day = keys::day(it.until_s);
    let left_s = it.left(now_s).as_secs();
    // By the day, so that the log has a line a day.
    let left = match left_s / HOUR_S {
        0..48 if left_s > 0 => "less than two days".to_owned(),
        hours => format!("{} days", hours / 24),
    };
    if left_s == 0 {
        return format!(
            "it expired on {day}: connections by it have ended and nobody accepts new ones from \
             here, nor this agent's; sizes stay as they are; {remedy}"
        );
    }
    format!("it is good for {left} more, until {day}: {remedy}")
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
    fn a_port_is_what_stands_behind_the_last_colon() {
        assert_eq!(port("[::]:7402"), 7_402);
    }

    #[test]
    fn a_certificate_that_ends_soon_is_told_with_the_day_and_what_to_do() {
        const DAY_S: u64 = 86_400;
        let it = Validity {
            from_s: 0,
            until_s: 700 * DAY_S,
        };
        let told = |now_s| words(it, now_s, "renew it");
        assert_eq!(
            told(671 * DAY_S),
            "it is good for 29 days more, until 1971-12-02: renew it"
        );
        assert!(told(699 * DAY_S).starts_with("it is good for less than two days more"));
        let over = told(701 * DAY_S);
        assert!(
            over.starts_with("it expired on 1971-12-02: connections by it"),
            "{over}"
        );
        assert!(over.ends_with("; renew it"), "{over}");
    }
}
