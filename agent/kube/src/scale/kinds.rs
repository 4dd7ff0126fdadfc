//! Which REST resource a kind is, and whether it has a scale.
//!
//! Comes in: group, version and kind, as policies name them. Goes out: the
//! resource, asked of the API server once and kept. What isn't known there is
//! asked for again with growing waits: a custom resource may be installed later.
//! Never keeps more than [`KINDS_MAX`] answers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Request;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroup, APIResourceList};
use kube::api::ApiResource;
use tokio::time::Instant;

use super::Error;
use crate::backoff::Backoff;
use crate::client::{self, Failure, READ_DEADLINE};
use crate::target::Reference;

/// Kinds kept in mind. Beyond that the one that was unused for longest is
/// forgotten, which costs one more question when it is needed again.
pub const KINDS_MAX: usize = 256;
/// How soon a kind that the cluster lacks is asked for again, at least and at most.
const ASK_AGAIN_LEAST: Duration = Duration::from_secs(2);
const ASK_AGAIN_MOST: Duration = Duration::from_mins(2);
/// A resource isn't forgotten sooner than this after it was looked up: were the
/// API server to contradict itself, each write would ask twice.
const REFRESH_LEAST: Duration = Duration::from_secs(10);
/// Versions of one group that are looked through for a kind; more are ignored.
const VERSIONS_MAX: usize = 8;

/// A kind as policies name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    pub group: String,
    pub version: String,
    pub kind: String,
}

impl From<&Reference> for Kind {
    fn from(of: &Reference) -> Kind {
        Kind {
            group: of.target.group.clone(),
            version: of.version.clone(),
            kind: of.target.kind.clone(),
        }
    }
}

/// A kind as the API server serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    pub api: ApiResource,
    pub namespaced: bool,
    /// Has the `scale` subresource.
    pub scale: bool,
}

#[derive(Clone)]
pub struct Kinds {
    client: kube::Client,
    slots: Arc<Mutex<BTreeMap<Kind, Arc<Slot>>>>,
    /// Counts questions, to know which kind was unused for longest.
    turn: Arc<AtomicU64>,
}

/// One kind. Its lock is held while the server is asked, so that many targets of
/// a kind ask once, and other kinds don't wait.
#[derive(Default)]
struct Slot {
    known: tokio::sync::Mutex<Known>,
    used: AtomicU64,
    forget: AtomicBool,
}

#[derive(Default)]
enum Known {
    #[default]
    Nothing,
    Found {
        resource: Arc<Resource>,
        at: Instant,
    },
    /// The server doesn't serve it; asked again after `until`.
    Missing {
        why: String,
        until: Instant,
        backoff: Backoff,
    },
}

impl Kinds {
    pub fn new(client: kube::Client) -> Kinds {
        Kinds {
            client,
            slots: Arc::default(),
            turn: Arc::default(),
        }
    }

    /// The resource of a kind whose objects live in namespaces and have a scale.
    pub async fn scalable(&self, kind: &Kind) -> Result<Arc<Resource>, Error> {
        let resource = self.resource(kind).await?;
        if !resource.scale {
            return Err(Error::NotScalable(format!(
                "{} has no scale subresource, so nothing can size it",
                kind.kind
            )));
        }
        if !resource.namespaced {
            return Err(Error::NotScalable(format!(
                "{} belongs to no namespace, and a policy sizes only what is in its own",
                kind.kind
            )));
        }
        Ok(resource)
    }

    /// The resource of a kind, with or without scale.
    pub async fn resource(&self, kind: &Kind) -> Result<Arc<Resource>, Error> {
        let slot = self.slot(kind);
        let mut known = slot.known.lock().await;
        let forget = slot.forget.swap(false, Ordering::AcqRel);
        let mut backoff = Backoff::new(ASK_AGAIN_LEAST, ASK_AGAIN_MOST);
        match &*known {
            Known::Found { resource, at } if !forget || at.elapsed() < REFRESH_LEAST => {
                return Ok(Arc::clone(resource));
            }
            Known::Missing { why, until, .. } if Instant::now() < *until => {
                return Err(Error::NotScalable(why.clone()));
            }
            Known::Missing { backoff: sofar, .. } => backoff = sofar.clone(),
            Known::Found { .. } | Known::Nothing => {}
        }
        match self.look_up(kind).await {
            Ok(Some(resource)) => {
                let resource = Arc::new(resource);
                *known = Known::Found {
                    resource: Arc::clone(&resource),
                    at: Instant::now(),
                };
                Ok(resource)
            }
            Ok(None) => {
                let why = unknown_kind(kind);
                *known = Known::Missing {
                    why: why.clone(),
                    until: Instant::now() + backoff.next_wait(),
                    backoff,
                };
                Err(Error::NotScalable(why))
            }
            Err(Failure::Busy { why, retry_after }) => Err(Error::Busy { why, retry_after }),
            Err(Failure::Forbidden(why)) => Err(Error::Forbidden {
                why,
                rule: "{nonResourceURLs: [\"/apis\", \"/apis/*\", \"/api\", \"/api/*\"], verbs: [get]}"
                    .into(),
            }),
            Err(failure) => Err(Error::Unknown(failure.to_string())),
        }
    }

    /// Asks the server again at the next question for this kind.
    pub fn forget(&self, kind: &Kind) {
        if let Some(slot) = self.lock().get(kind) {
            slot.forget.store(true, Ordering::Release);
        }
    }

    fn slot(&self, kind: &Kind) -> Arc<Slot> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut slots = self.lock();
        if !slots.contains_key(kind) && slots.len() >= KINDS_MAX {
            let unused = slots
                .iter()
                .min_by_key(|(_, slot)| slot.used.load(Ordering::Relaxed))
                .map(|(kind, _)| kind.clone());
            if let Some(unused) = unused {
                slots.remove(&unused);
            }
        }
        let slot = slots.entry(kind.clone()).or_default();
        slot.used.store(turn, Ordering::Relaxed);
        Arc::clone(slot)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Kind, Arc<Slot>>> {
        // Whoever panicked left the map whole: it is changed in single calls.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// First in the version that was named, then in the others of the group.
    async fn look_up(&self, kind: &Kind) -> Result<Option<Resource>, Failure> {
        if !kind.version.is_empty()
            && let Some(resource) = self.in_version(kind, &kind.version).await?
        {
            return Ok(Some(resource));
        }
        for version in self.versions(&kind.group).await? {
            if version != kind.version
                && let Some(resource) = self.in_version(kind, &version).await?
            {
                return Ok(Some(resource));
            }
        }
        Ok(None)
    }

    async fn in_version(&self, kind: &Kind, version: &str) -> Result<Option<Resource>, Failure> {
        let list = if kind.group.is_empty() {
            client::call(READ_DEADLINE, self.client.list_core_api_resources(version)).await
        } else {
            let group_version = format!("{}/{version}", kind.group);
            let list = self.client.list_api_group_resources(&group_version);
            client::call(READ_DEADLINE, list).await
        };
        match list {
            Ok(list) => Ok(in_list(&list, kind, version)),
            Err(Failure::NotFound { .. }) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The versions of a group, the server's favourite first.
    async fn versions(&self, group: &str) -> Result<Vec<String>, Failure> {
        if group.is_empty() {
            return Ok(vec!["v1".to_owned()]);
        }
        let request = Request::get(format!("/apis/{group}"))
            .body(Vec::new())
            .map_err(|e| Failure::Refused(format!("`{group}` is no API group: {e}")))?;
        let answer = client::call(READ_DEADLINE, self.client.request::<APIGroup>(request)).await;
        let found = match answer {
            Ok(found) => found,
            Err(Failure::NotFound { .. }) => return Ok(Vec::new()),
            Err(failure) => return Err(failure),
        };
        let favourite = found.preferred_version.map(|v| v.version);
        let others = found.versions.into_iter().map(|v| v.version);
        let mut versions: Vec<String> = favourite.into_iter().collect();
        for version in others.take(VERSIONS_MAX) {
            if !versions.contains(&version) {
                versions.push(version);
            }
        }
        Ok(versions)
    }
}

/// Finds a kind in what the server serves of one group and version.
fn in_list(list: &APIResourceList, kind: &Kind, version: &str) -> Option<Resource> {
    let found = list
        .resources
        .iter()
        .find(|r| r.kind == kind.kind && !r.name.contains('/'))?;
    let scale = format!("{}/scale", found.name);
    let api_version = if kind.group.is_empty() {
        version.to_owned()
    } else {
        format!("{}/{version}", kind.group)
    };
    Some(Resource {
        api: ApiResource {
            group: kind.group.clone(),
            version: version.to_owned(),
            api_version,
            kind: found.kind.clone(),
            plural: found.name.clone(),
        },
        namespaced: found.namespaced,
        scale: list.resources.iter().any(|r| r.name == scale),
    })
}

fn unknown_kind(kind: &Kind) -> String {
    let Kind {
        group,
        version,
        kind,
    } = kind;
    let group = if group.is_empty() {
        "the core group"
    } else {
        group
    };
    let version = if version.is_empty() {
        String::new()
    } else {
        format!(" (asked for in version {version})")
    };
    format!(
        "this cluster knows no kind {kind} in {group}{version}; check apiVersion and kind of \
         scaleTargetRef, and that its CustomResourceDefinition is installed"
    )
}
