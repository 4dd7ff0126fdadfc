//! The watches behind the book: each forwards what it sees, and nothing else.
//!
//! Comes in: what to watch. Goes out: notes, in order; while the book is behind,
//! the watch waits. A kind that the cluster lacks is looked up again now and then.
//! Never ends by itself.

use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::api::core::v1 as core;
use kube::api::{ApiResource, DynamicObject, PartialObjectMeta};
use kube::core::DynamicResourceScope;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use starling_engine::policy::Target;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use super::blocked::{self, Failed, Fate};
use super::derive;
use super::note::{Fact, Note, PodNote};
use super::plan::Scope;
use crate::backoff::Backoff;
use crate::client::Failure;
use crate::scale::kinds::Kind;
use crate::scale::{Error, Scales};
use crate::watch::{Config, Event, Watch};

/// How soon a kind that can't be watched is looked up again, at least and at most.
const LOOK_UP_LEAST: Duration = Duration::from_secs(1);
const LOOK_UP_MOST: Duration = Duration::from_secs(30);

/// Where a watch reports, and when it begins anew.
#[derive(Clone)]
pub struct Stream {
    pub client: kube::Client,
    pub scales: Scales,
    pub notes: mpsc::Sender<Note>,
    /// Changes when the API server is back after an outage.
    pub renew: watch::Receiver<u64>,
}

impl Stream {
    /// Forwards the objects of one kind.
    pub async fn objects(mut self, scope: Scope, kind: Kind) {
        let mut backoff = Backoff::new(LOOK_UP_LEAST, LOOK_UP_MOST);
        loop {
            match self.scales.kinds.scalable(&kind).await {
                Ok(resource) => {
                    backoff.reset();
                    if derive::is_built_in(&scope.group, &scope.kind) {
                        let fact = |object| Fact::Scale(derive::scale(object));
                        self.of_kind::<derive::Object>(&scope, &resource.api, fact)
                            .await;
                    } else {
                        let fact = |object: PartialObjectMeta<DynamicObject>| Fact::Touched {
                            resource_version: object.resource_version().unwrap_or_default(),
                        };
                        self.of_kind(&scope, &resource.api, fact).await;
                    }
                    self.scales.kinds.forget(&kind);
                }
                Err(error @ (Error::NotScalable(_) | Error::Forbidden { .. })) => {
                    self.note(Note::Unservable(scope.clone(), error)).await;
                }
                Err(error) => {
                    warn!(kind = scope.kind, %error, "this kind can't be looked up just now");
                }
            }
            let wait = backoff.next_wait();
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                Ok(()) = self.renew.changed() => {}
            }
        }
    }

    /// Ends when the API server no longer knows the kind.
    async fn of_kind<K>(&mut self, scope: &Scope, api: &ApiResource, fact: impl Fn(K) -> Fact)
    where
        K: Resource<DynamicType = ApiResource, Scope = DynamicResourceScope>,
        K: Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let client = self.client.clone();
        let api: Api<K> = match &scope.namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, api),
            None => Api::all_with(client, api),
        };
        let target = |object: &K| Target {
            group: scope.group.clone(),
            kind: scope.kind.clone(),
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
        };
        let mut watch = Watch::new(api, Config::default());
        let mut trouble = Trouble::of(scope.kind.clone());
        loop {
            let note = match self.next(&mut watch, &mut trouble).await {
                Ok(Event::Init) => Note::Begin(scope.clone()),
                Ok(Event::InitDone) => Note::Whole(scope.clone()),
                Ok(Event::InitApply(object) | Event::Apply(object)) => {
                    Note::Seen(scope.clone(), target(&object), fact(object))
                }
                Ok(Event::Delete(object)) => {
                    let uid = object.uid().unwrap_or_default();
                    Note::Lost(scope.clone(), target(&object), uid)
                }
                Err(Failure::NotFound { .. }) => return,
                Err(failure) => Note::Blind(scope.clone(), failure),
            };
            self.note(note).await;
        }
    }

    /// Forwards pods that are on no node yet, of the whole cluster.
    pub async fn pods(mut self) {
        let pod = ApiResource::erase::<core::Pod>(&());
        let api: Api<blocked::Object> = Api::all_with(self.client.clone(), &pod);
        let config = Config::default().fields("spec.nodeName=,status.phase=Pending");
        let mut watch = Watch::new(api, config);
        let mut trouble = Trouble::of("pods that are on no node".into());
        loop {
            let note = match self.next(&mut watch, &mut trouble).await {
                Ok(Event::Init) => PodNote::Begin,
                Ok(Event::InitDone) => PodNote::Whole,
                Ok(Event::InitApply(object) | Event::Apply(object)) => {
                    PodNote::Pod(Fate::of(object))
                }
                Ok(Event::Delete(object)) => PodNote::Pod(Fate::gone(object)),
                Err(_) => continue,
            };
            self.note(Note::Pods(note)).await;
        }
    }

    /// Forwards the events of StatefulSets whose pods can't be created: they have
    /// no condition that says so.
    pub async fn failed_creations(mut self) {
        let api: Api<core::Event> = Api::all(self.client.clone());
        let config =
            Config::default().fields("involvedObject.kind=StatefulSet,reason=FailedCreate");
        let mut watch = Watch::new(api, config);
        let mut trouble = Trouble::of("events of StatefulSets".into());
        loop {
            let note = match self.next(&mut watch, &mut trouble).await {
                Ok(Event::InitApply(event) | Event::Apply(event)) => {
                    Failed::of(&event).map(Note::CreateFailed)
                }
                Ok(Event::Delete(event)) => Failed::of(&event).map(Note::CreateForgotten),
                Ok(Event::Init | Event::InitDone) | Err(_) => None,
            };
            if let Some(note) = note {
                self.note(note).await;
            }
        }
    }

    async fn next<K>(
        &mut self,
        watch: &mut Watch<K>,
        trouble: &mut Trouble,
    ) -> Result<Event<K>, Failure>
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        loop {
            tokio::select! {
                event = watch.next() => {
                    trouble.note(event.as_ref().err());
                    return event;
                }
                Ok(()) = self.renew.changed() => watch.renew(),
            }
        }
    }

    async fn note(&self, note: Note) {
        // The book's owner ends this task when it ends itself.
        let _ = self.notes.send(note).await;
    }
}

/// Says once that a watch is broken, and once that it works again.
struct Trouble {
    what: String,
    broken: bool,
}

impl Trouble {
    fn of(what: String) -> Trouble {
        Trouble {
            what,
            broken: false,
        }
    }

    fn note(&mut self, failure: Option<&Failure>) {
        match failure {
            // A new list follows at once; nothing is broken.
            Some(Failure::Expired(_)) => {}
            Some(failure) if !self.broken => {
                self.broken = true;
                warn!(what = self.what, %failure, "the watch is broken, and is tried again");
            }
            None if self.broken => {
                self.broken = false;
                info!(what = self.what, "the watch works again");
            }
            _ => {}
        }
    }
}
