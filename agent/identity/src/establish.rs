//! The way to a certificate: found the cluster, or be certified by one of it.
//!
//! Comes in: what the data directory remembers and what the cluster object says.
//! Goes out: an identity in use and how to take part in the log. Waits as long as
//! it takes, and says for what. An agent whose certificate and log are on disk
//! waits for nobody.

use std::time::Duration;

use starling_consensus::{Credentials, Past, Seeds};
use starling_engine::ledger;
use starling_keys::{Authority, Expired, Key, Keys};
use starling_kube::cluster::{self, Cluster};
use starling_kube::discovery::Discovery;

use crate::ask::{ask_any, certify_self};
use crate::store::{Founding, Store};
use crate::{Error, Settings};

/// A founder waits for so long before it makes the cluster object: agents of a
/// former cluster that start at the same time make theirs first.
const FOUNDING_PAUSE: Duration = Duration::from_millis(1_500);
/// Who has a certificate and a log waits no longer for what the object says.
const GLANCE: Duration = Duration::from_secs(2);
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// While nobody certifies this agent, the object is read again after so many
/// rounds: it may have been deleted and made anew.
const ROUNDS_PER_LOOK: u32 = 4;
const FIRST_GENERATION: u64 = 1;

/// What an agent begins with.
pub struct Established {
    pub cluster: Cluster,
    pub credentials: Credentials,
    pub gossip: Vec<Key>,
    /// This agent made the cluster object, and the log isn't founded yet.
    pub bootstrap: bool,
    /// For the ledger, where this agent founds.
    pub authority: Option<ledger::Authority>,
    pub seeds: Seeds,
    /// Keeps the seeds up to date; needed until the ledger knows this agent.
    pub discovery: Discovery,
    pub store: Store,
}

/// `own` are certificates that come from elsewhere: then nobody certifies
/// anybody, and the object says only who founds. `tell` hears what is waited for.
pub async fn establish(
    settings: &Settings,
    own: Option<&Keys>,
    tell: &(dyn Fn(&str) + Sync),
) -> Result<Established, Error> {
    let past = starling_consensus::past(&settings.data_dir)?;
    let way = Way {
        settings,
        own,
        tell,
        past,
        store: Store::open(&settings.data_dir, &settings.node)?,
        discovery: Discovery::start(settings.connection.client.clone(), settings.pods.clone()),
    };
    loop {
        let (cluster, founding) = way.cluster().await?;
        let Some(keys) = way.keys(&cluster, founding.as_ref()).await? else {
            // The object has changed.
            continue;
        };
        let bootstrap = founding.is_some();
        // A founder asks nobody: all others wait for it.
        let seeds = match (bootstrap, past) {
            (true, Past::Nothing) => Seeds::from(Vec::new()),
            _ => Seeds::from(way.discovery.seeds()),
        };
        return Ok(Established {
            credentials: Credentials::new(&keys.tls)?,
            gossip: keys.gossip,
            bootstrap,
            authority: founding.and_then(|founding| founding.authority),
            seeds,
            cluster,
            discovery: way.discovery,
            store: way.store,
        });
    }
}

struct Way<'a> {
    settings: &'a Settings,
    own: Option<&'a Keys>,
    tell: &'a (dyn Fn(&str) + Sync),
    past: Past,
    store: Store,
    discovery: Discovery,
}

impl Way<'_> {
    /// Which cluster this agent belongs to, and, until the ledger has it, what it
    /// founds that one with.
    async fn cluster(&self) -> Result<(Cluster, Option<Founding>), Error> {
        let founding = self.store.founding()?;
        let belonging = self.store.belonging()?;
        match self.past {
            Past::Nothing => self.found_or_find(founding, belonging).await,
            Past::Member | Past::Damaged => {
                let cluster = self.return_to(belonging).await?;
                Ok((cluster, founding))
            }
        }
    }

    /// An agent with a log, even a damaged one, never founds.
    async fn return_to(&self, belonging: Option<Cluster>) -> Result<Cluster, Error> {
        let mut pause = PAUSE_FIRST;
        loop {
            let seen = match &belonging {
                Some(_) => match tokio::time::timeout(GLANCE, self.look()).await {
                    Ok(seen) => seen,
                    Err(_) => Err(Look::Away("the API server hasn't answered".into())),
                },
                None => self.look().await,
            };
            match (seen, &belonging) {
                (Ok(Some(cluster)), None) => {
                    self.store.belong(&cluster)?;
                    return Ok(cluster);
                }
                (Ok(Some(object)), Some(ours)) if object.id == ours.id => {
                    // It was rebuilt meanwhile, or the object was made again from before that.
                    if object.generation <= ours.generation {
                        return Ok(ours.clone());
                    }
                    self.store.belong(&object)?;
                    return Ok(object);
                }
                (Ok(Some(object)), Some(ours)) => return Err(self.other(ours, &object)),
                (Ok(None), Some(ours)) => {
                    tracing::warn!(
                        object = %self.settings.object,
                        "the cluster object is missing; the leader makes it again"
                    );
                    return Ok(ours.clone());
                }
                (Err(Look::Away(why)), Some(ours)) => {
                    tracing::warn!("{why}; going on with what the data directory remembers");
                    return Ok(ours.clone());
                }
                (Err(Look::Wrong(error)), _) => return Err(error),
                (Ok(None), None) => (self.tell)(&format!(
                    "the data directory holds a log but doesn't say of which cluster, and the \
                     ConfigMap {} isn't there: waiting for it (to found a new cluster, empty {})",
                    self.settings.object,
                    self.settings.data_dir.display()
                )),
                (Err(Look::Away(why)), None) => (self.tell)(&why),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn found_or_find(
        &self,
        mut founding: Option<Founding>,
        mut belonging: Option<Cluster>,
    ) -> Result<(Cluster, Option<Founding>), Error> {
        let mut pause = PAUSE_FIRST;
        let mut waited = false;
        loop {
            match self.look().await {
                Ok(Some(cluster)) => {
                    if let Some(ours) = founding.take_if(|ours| ours.cluster.id == cluster.id) {
                        self.store.belong(&ours.cluster)?;
                        return Ok((ours.cluster.clone(), Some(ours)));
                    }
                    self.store.end_founding()?;
                    // It was never let in there, so it may go elsewhere.
                    if belonging.take().is_some_and(|ours| ours.id != cluster.id) {
                        self.store.forget()?;
                    }
                    self.store.belong(&cluster)?;
                    return Ok((cluster, None));
                }
                Ok(None) if !waited => {
                    waited = true;
                    tokio::time::sleep(FOUNDING_PAUSE).await;
                    continue;
                }
                Ok(None) => {
                    let ours = match founding.take() {
                        Some(ours) => ours,
                        None => self.draw()?,
                    };
                    // Whatever becomes of it, the next look tells.
                    match self.settings.object.create(&ours.cluster).await {
                        Ok(true) => tracing::info!(
                            object = %self.settings.object, id = ours.cluster.id,
                            "made the cluster object: this agent founds the cluster"
                        ),
                        Ok(false) => {}
                        Err(why) => (self.tell)(&why.to_string()),
                    }
                    founding = Some(ours);
                }
                Err(Look::Away(why)) => (self.tell)(&why),
                Err(Look::Wrong(error)) => return Err(error),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// What a cluster is founded with, on disk.
    fn draw(&self) -> Result<Founding, Error> {
        let settings = self.settings;
        let (certificate, authority, gossip) = if let Some(own) = self.own {
            (own.tls.ca.clone(), None, String::new())
        } else {
            let authority = Authority::found(&settings.cluster)?;
            let authority = ledger::Authority {
                key: authority.key_pem(),
                certificate: authority.certificate,
            };
            let gossip = starling_keys::new_ring(&settings.cluster)?;
            (authority.certificate.clone(), Some(authority), gossip)
        };
        let founding = Founding {
            cluster: Cluster {
                id: format!("{:032x}", rand::random::<u128>()),
                name: settings.cluster.clone(),
                generation: FIRST_GENERATION,
                founder: settings.node.clone(),
                authority: certificate,
                recovered_by: String::new(),
            },
            authority,
            gossip,
        };
        self.store.begin_founding(&founding)?;
        Ok(founding)
    }

    async fn look(&self) -> Result<Option<Cluster>, Look> {
        match self.settings.object.get().await {
            Ok(Some(object)) if object.name != self.settings.cluster => {
                Err(Look::Wrong(Error::OtherName {
                    object: self.settings.object.to_string(),
                    found: object.name,
                    wanted: self.settings.cluster.clone(),
                }))
            }
            Ok(found) => Ok(found),
            Err(error @ cluster::Error::Unsound { .. }) => Err(Look::Wrong(error.into())),
            Err(error @ cluster::Error::Api { .. }) => Err(Look::Away(error.to_string())),
        }
    }

    fn other(&self, ours: &Cluster, object: &Cluster) -> Error {
        Error::OtherCluster {
            data_dir: self.settings.data_dir.clone(),
            ours: Box::new(ours.clone()),
            object: self.settings.object.to_string(),
            found: Box::new(object.clone()),
        }
    }

    /// Those to begin with; `None` where the cluster object has become another one.
    async fn keys(
        &self,
        cluster: &Cluster,
        founding: Option<&Founding>,
    ) -> Result<Option<Keys>, Error> {
        if let Some(own) = self.own {
            return Ok(Some(own.clone()));
        }
        if let Some(keys) = self.kept(cluster) {
            return Ok(Some(keys));
        }
        let authority = founding.and_then(|ours| Some((ours.authority.as_ref()?, &ours.gossip)));
        if let Some((authority, gossip)) = authority {
            let papers = certify_self(self.settings, authority, gossip)?;
            return Ok(Some(self.store.put(&papers)?));
        }
        self.ask(cluster).await
    }

    /// What an earlier run was given. One that has expired is good enough for who
    /// has a log: with that it can renew it.
    fn kept(&self, cluster: &Cluster) -> Option<Keys> {
        let expired = match self.past {
            Past::Member => Expired::Allowed,
            Past::Nothing | Past::Damaged => Expired::Refused,
        };
        let of_cluster = |keys: &Keys| keys.tls.ca.trim() == cluster.authority.trim();
        match self.store.keys(expired) {
            Ok(keys) => keys.filter(of_cluster),
            Err(why) => {
                tracing::warn!("the certificate on disk is of no use ({why}); getting another one");
                None
            }
        }
    }

    async fn ask(&self, cluster: &Cluster) -> Result<Option<Keys>, Error> {
        let mut pods = self.discovery.pods();
        let mut pause = PAUSE_FIRST;
        let mut round = 0_u32;
        loop {
            let known = pods.borrow_and_update().clone();
            let addresses: Vec<String> = known.into_iter().map(|pod| pod.api).collect();
            match ask_any(self.settings, cluster, &addresses).await {
                Ok(papers) => {
                    tracing::info!(cluster = cluster.name, "this agent has a certificate");
                    return Ok(Some(self.store.put(&papers)?));
                }
                Err(why) => (self.tell)(&waiting(cluster, &self.settings.object, &why)),
            }
            round = round.wrapping_add(1);
            if round.is_multiple_of(ROUNDS_PER_LOOK) {
                let same = |found: &Option<Cluster>| {
                    found.as_ref().is_some_and(|found| found.id == cluster.id)
                };
                match self.look().await {
                    Ok(found) if !same(&found) => return Ok(None),
                    _ => {}
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
                changed = pods.changed() => match changed {
                    Ok(()) => pause = PAUSE_FIRST,
                    Err(_) => tokio::time::sleep(pause).await,
                },
            }
        }
    }
}

/// Why nothing is known about the object.
enum Look {
    /// It may be there.
    Away(String),
    Wrong(Error),
}

fn waiting(
    cluster: &Cluster,
    object: &starling_kube::cluster::ClusterObject,
    why: &Error,
) -> String {
    let source = std::error::Error::source(why).map(|source| format!(" ({source})"));
    format!(
        "no agent certifies this one yet: {why}{}; node {} founded the cluster (if it is gone for \
         good before any other agent joined, delete the ConfigMap {object})",
        source.unwrap_or_default(),
        cluster.founder
    )
}
