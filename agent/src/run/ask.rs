//! Asks external triggers, away from the loop.
//!
//! Comes in: which trigger of which policy. Goes out: its answer, as an event. What a
//! question needs of Kubernetes is asked for just before it. What several policies want to
//! know alike is asked once. What waits is bounded here, and so is what Kubernetes is asked at
//! a time; whose turn it is at a source is that room's. Never asks twice for one order.

mod once;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use starling_engine::node::Answer;
use starling_engine::node::platform::Observation;
use starling_engine::policy::{Form, Name, Source, Trigger};
use starling_engine::unit::Ms;
use starling_kube::authentication::{Authentications, NAMESPACED, Wanted};
use starling_kube::endpoints::Endpoints;
use starling_kube::metrics::Metrics;
use starling_kube::target;
use starling_sources::{Asked, Number, Poller, Reference, Secrets};
use tokio::sync::Semaphore;

use super::{Agent, Event, read};
use once::Once;

/// Triggers for which Kubernetes is asked at the same time; more wait, and fail if they wait
/// too long.
pub(super) const LOOKUPS_MAX: usize = 64;
/// Triggers that wait or are asked; further ones aren't asked this time, and count as
/// without an answer.
pub(super) const POLLS_WAITING_MAX: usize = 10_000;

/// What is asked, as far as the answer goes by it.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Question {
    kind: String,
    metadata: BTreeMap<String, String>,
    /// Whose parameters it is asked with, where it has a reference to some.
    on_behalf: Option<(String, Option<target::Reference>)>,
}

/// The answers that policies share.
pub(super) type Shared = Once<Question, Result<Number, String>>;

impl Agent {
    pub(super) fn poll(&self, policy: Name, trigger: Trigger) {
        let events = self.events.clone();
        let metrics = self.health.metrics().clone();
        let apis = self.apis.clone();
        let lookups = self.lookups.clone();
        // Without an answer it counts as failed after a while, and is asked again.
        let Ok(room) = self.waiting.clone().try_acquire_owned() else {
            return;
        };
        let pods = match trigger.source {
            Source::Pods { .. } => self.selector(&policy),
            _ => String::new(),
        };
        let by = By {
            poller: self.poller.clone(),
            shared: self.shared.clone(),
            authentications: self.authentications.clone(),
            endpoints: self.endpoints.clone(),
            lookups: self.lookups.clone(),
            target: Reference::of(&trigger).and_then(|_| self.target(&policy)),
            namespace: policy.namespace.clone(),
            // Half an interval old it is newer than the policy's own last one.
            age_max: self.interval(&policy) / 2,
        };
        tokio::spawn(async move {
            let _room = room;
            let begun = Instant::now();
            let apis = apis.filter(|_| Metrics::knows(&trigger.source));
            let (result, asked) = if let Some(apis) = apis {
                let _permit = lookups.acquire().await;
                let asked = Instant::now();
                let answer = apis.ask(&policy.namespace, &trigger.source, &pods);
                (answer.await, asked)
            } else {
                let (said, asked) = by.ask(&trigger).await;
                let answer = said.map(|said| Answer::Value {
                    milli: said.milli,
                    activity_milli: said.activity_milli,
                });
                (answer, asked)
            };
            metrics.polled(result.is_ok(), begun.elapsed());
            let trigger = trigger.name;
            let _ = events
                .send(Event::Polled {
                    policy,
                    trigger,
                    asked,
                    result,
                })
                .await;
        });
    }

    /// Zero where the policy is just gone.
    fn interval(&self, policy: &Name) -> Duration {
        let ledger = self.log.ledger();
        let ledger = read(&ledger);
        let put = ledger.policies.get(policy);
        Duration::from_millis(put.map_or(0, |put| put.policy.polling_interval_ms))
    }

    fn target(&self, policy: &Name) -> Option<target::Reference> {
        let ledger = self.log.ledger();
        let ledger = read(&ledger);
        let policy = &ledger.policies.get(policy)?.policy;
        (policy.target.form() == Form::Scaled).then(|| target::Reference {
            target: policy.target.clone(),
            version: policy.target_version.clone(),
        })
    }

    /// Which pods are a policy's target's, as its scale says; empty where that isn't known.
    fn selector(&self, policy: &Name) -> String {
        let ledger = self.log.ledger();
        let ledger = read(&ledger);
        let target = ledger.policies.get(policy).map(|put| &put.policy.target);
        match target.and_then(|target| self.node.observations().get(target)) {
            Some(Observation::Scale(scale)) => scale.selector.clone(),
            Some(Observation::Gone(_)) | None => String::new(),
        }
    }
}

/// Who asks, and on whose behalf.
struct By {
    poller: Arc<Poller>,
    shared: Arc<Shared>,
    authentications: Option<Authentications>,
    endpoints: Option<Endpoints>,
    lookups: Arc<Semaphore>,
    namespace: String,
    target: Option<target::Reference>,
    age_max: Duration,
}

impl By {
    /// The answer, and when it was asked for: by this policy, or by another one before.
    async fn ask(&self, trigger: &Trigger) -> (Result<Number, String>, Instant) {
        let Source::External { kind, metadata } = &trigger.source else {
            return (self.once(trigger).await, Instant::now());
        };
        let question = Question {
            kind: kind.clone(),
            metadata: metadata.clone(),
            on_behalf: Reference::of(trigger)
                .map(|_| (self.namespace.clone(), self.target.clone())),
        };
        let once = self.once(trigger);
        self.shared.ask(question, self.age_max, once).await
    }

    async fn once(&self, trigger: &Trigger) -> Result<Number, String> {
        let secrets = self.secrets(trigger).await?;
        let endpoints = match (starling_sources::service(trigger), &self.endpoints) {
            (Some(of), Some(endpoints)) => {
                let _permit = self.lookups.acquire().await;
                Some(endpoints.ready(of.namespace, of.name).await?)
            }
            _ => None,
        };
        let asked = Asked {
            namespace: &self.namespace,
            wall_ms: wall().0.cast_signed(),
            secrets: secrets.as_ref(),
            endpoints: endpoints.as_deref(),
        };
        let answer = self.poller.poll(trigger, asked).await;
        answer.map_err(|error| error.to_string())
    }

    /// What one of KEDA's objects says; `None` where files do, or nothing is needed.
    async fn secrets(&self, trigger: &Trigger) -> Result<Option<Secrets>, String> {
        let (Some(reference), Some(objects)) = (Reference::of(trigger), &self.authentications)
        else {
            return Ok(None);
        };
        let namespace = &self.namespace;
        let files = self.poller.has_files(namespace, reference.name);
        if reference.kind.is_none() && files.await {
            return Ok(None);
        }
        let wanted = Wanted {
            kind: reference.kind.unwrap_or(NAMESPACED),
            name: reference.name,
            namespace,
            target: self.target.as_ref(),
            container: reference.container,
        };
        let _permit = self.lookups.acquire().await;
        let parameters = objects.read(wanted).await?;
        Ok(Some(Secrets::from(parameters.0)))
    }
}

/// What the machine's calendar says; ages and windows go by other clocks.
pub(super) fn wall() -> Ms {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Ms(since.map_or(0, |since| since.as_millis() as u64))
}
