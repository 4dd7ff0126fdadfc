//! The cluster object: a `ConfigMap` that says which cluster the agents of a
//! namespace belong to.
//!
//! Comes in: what a founder would have it say. Goes out: what it says. It is made
//! by one create, which fails for all but the first, so two agents never both
//! found. Of one that is there only the generation is changed, from one that is known
//! to a higher one, so that of two agents that would rebuild the cluster one does.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use serde::{Deserialize, Serialize};

use crate::client::{FIELD_MANAGER, Failure, READ_DEADLINE, WRITE_DEADLINE, call};

/// A longer text in the object is no sound one; a certificate has 1 KiB.
const TEXT_BYTES_MAX: usize = 16 << 10;

const ID: &str = "id";
const NAME: &str = "name";
const GENERATION: &str = "generation";
const FOUNDER: &str = "founder";
const RECOVERED_BY: &str = "recoveredBy";
const AUTHORITY: &str = "ca.crt";
/// For whoever finds the object and wonders.
const ABOUT: &str = "Made by the Starling agents: whoever made it founded the cluster, and new \
                     agents join the one that it names. Nothing in it is secret. While agents \
                     run, one that was deleted is made again.";

/// What the object says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Drawn at founding, so that two clusters of one name are told apart.
    pub id: String,
    pub name: String,
    pub generation: u64,
    /// The node whose agent made the object.
    pub founder: String,
    /// PEM: the certificate by which agents are known.
    pub authority: String,
    /// The node whose log that generation goes on from; empty in the first one.
    #[serde(default)]
    pub recovered_by: String,
}

/// What became of raising the generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Raised {
    Done,
    /// The object says something else by now.
    Other(Box<Cluster>),
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the ConfigMap {object} can't be {verb}: {failure}")]
    Api {
        object: String,
        verb: &'static str,
        failure: Failure,
    },
    #[error(
        "the ConfigMap {object} says not which cluster this is ({why}); delete it, and the agents \
         make it again"
    )]
    Unsound { object: String, why: String },
}

/// Where the object is.
#[derive(Clone)]
pub struct ClusterObject {
    api: Api<ConfigMap>,
    namespace: String,
    name: String,
}

impl ClusterObject {
    pub fn new(client: kube::Client, namespace: &str, name: &str) -> ClusterObject {
        ClusterObject {
            api: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// `None` where there is no object.
    pub async fn get(&self) -> Result<Option<Cluster>, Error> {
        let found = call(READ_DEADLINE, self.api.get_opt(&self.name))
            .await
            .map_err(|failure| self.failed("read", failure))?;
        found.map(|object| self.parse(object)).transpose()
    }

    /// Whether it was made; `false` where there is one already. After an error it
    /// may have been made all the same: get it.
    pub async fn create(&self, cluster: &Cluster) -> Result<bool, Error> {
        let object = self.object(cluster);
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PostParams::default()
        };
        match call(WRITE_DEADLINE, self.api.create(&params, &object)).await {
            Ok(_) => Ok(true),
            Err(Failure::Conflict(_)) => Ok(false),
            Err(failure) => Err(self.failed("made", failure)),
        }
    }

    /// Has the object say `to`, where it still says `from` (`None` where there is none): a
    /// compare and swap by the object's version. Where the answer is lost the object is
    /// read again, so an error says that it is as it was, or can't be read.
    pub async fn raise(&self, from: Option<&Cluster>, to: &Cluster) -> Result<Raised, Error> {
        let Some(from) = from else {
            return match self.create(to).await {
                Ok(true) => Ok(Raised::Done),
                Ok(false) => self.became(to, None).await,
                Err(why) => self.became(to, Some(why)).await,
            };
        };
        let found = call(READ_DEADLINE, self.api.get_opt(&self.name))
            .await
            .map_err(|failure| self.failed("read", failure))?;
        let Some(mut object) = found else {
            return self.became(to, None).await;
        };
        let now = self.parse(object.clone())?;
        if now != *from {
            return Ok(Raised::Other(Box::new(now)));
        }
        object.data = self.object(to).data;
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PostParams::default()
        };
        // With the version that was read: whoever writes first wins.
        let replaced = self.api.replace(&self.name, &params, &object);
        match call(WRITE_DEADLINE, replaced).await {
            Ok(_) => Ok(Raised::Done),
            Err(Failure::Conflict(_)) => self.became(to, None).await,
            Err(failure) => {
                let why = self.failed("changed", failure);
                self.became(to, Some(why)).await
            }
        }
    }

    /// What a write of `to` came to, by what the object says now.
    async fn became(&self, to: &Cluster, why: Option<Error>) -> Result<Raised, Error> {
        match (self.get().await?, why) {
            (Some(now), _) if now == *to => Ok(Raised::Done),
            (_, Some(why)) => Err(why),
            (Some(now), None) => Ok(Raised::Other(Box::new(now))),
            (None, None) => Err(Error::Unsound {
                object: self.to_string(),
                why: "it was deleted a moment ago".into(),
            }),
        }
    }

    fn object(&self, cluster: &Cluster) -> ConfigMap {
        let text = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let mut data = BTreeMap::from([
            text(ID, &cluster.id),
            text(NAME, &cluster.name),
            text(GENERATION, &cluster.generation.to_string()),
            text(FOUNDER, &cluster.founder),
            text(AUTHORITY, &cluster.authority),
        ]);
        if !cluster.recovered_by.is_empty() {
            data.extend([text(RECOVERED_BY, &cluster.recovered_by)]);
        }
        ConfigMap {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                namespace: Some(self.namespace.clone()),
                labels: Some(BTreeMap::from([
                    text("app.kubernetes.io/name", "starling"),
                    text("app.kubernetes.io/part-of", "starling"),
                ])),
                annotations: Some(BTreeMap::from([text("starling.sh/about", ABOUT)])),
                ..ObjectMeta::default()
            },
            data: Some(data),
            ..ConfigMap::default()
        }
    }

    fn parse(&self, object: ConfigMap) -> Result<Cluster, Error> {
        let unsound = |why: String| Error::Unsound {
            object: self.to_string(),
            why,
        };
        let mut data = object.data.unwrap_or_default();
        let recovered_by = data.remove(RECOVERED_BY);
        let recovered_by = recovered_by.filter(|by| by.len() <= TEXT_BYTES_MAX);
        let mut take = |key: &str| match data.remove(key) {
            Some(text) if text.is_empty() => Err(unsound(format!("`{key}` is empty"))),
            Some(text) if text.len() > TEXT_BYTES_MAX => {
                Err(unsound(format!("`{key}` is longer than 16 KiB")))
            }
            Some(text) => Ok(text),
            None => Err(unsound(format!("`{key}` is missing"))),
        };
        Ok(Cluster {
            id: take(ID)?,
            name: take(NAME)?,
            generation: take(GENERATION)?
                .parse()
                .map_err(|_| unsound("`generation` is no number".into()))?,
            founder: take(FOUNDER)?,
            authority: take(AUTHORITY)?,
            recovered_by: recovered_by.unwrap_or_default(),
        })
    }

    fn failed(&self, verb: &'static str, failure: Failure) -> Error {
        Error::Api {
            object: self.to_string(),
            verb,
            failure,
        }
    }
}

/// `NAMESPACE/NAME`.
impl std::fmt::Display for ClusterObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
