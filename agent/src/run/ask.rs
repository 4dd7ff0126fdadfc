//! Asks external triggers, away from the loop.
//!
//! Comes in: which trigger of which policy. Goes out: its answer, as an event. What a
//! question needs of Kubernetes is asked for just before it. What waits and what is
//! asked at a time is bounded. Never asks twice for one order.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use starling_engine::node::Answer;
use starling_engine::node::platform::Observation;
use starling_engine::policy::{Form, Name, Source, Trigger};
use starling_engine::unit::Ms;
use starling_kube::authentication::{Authentications, NAMESPACED, Wanted};
use starling_kube::endpoints::Endpoints;
use starling_kube::metrics::Metrics;
use starling_kube::target;
use starling_sources::{Asked, Number, Poller, Reference, Secrets};

use super::{Agent, Event, read};

/// Triggers asked at the same time; more wait, and fail if they wait too long.
pub(super) const POLLS_MAX: usize = 64;
/// Triggers that wait for that or are asked; further ones aren't asked this time,
/// and count as without an answer.
pub(super) const POLLS_WAITING_MAX: usize = 10_000;

impl Agent {
    pub(super) fn poll(&self, policy: Name, trigger: Trigger) {
        let (events, poller, polls) =
            (self.events.clone(), self.poller.clone(), self.polls.clone());
        let metrics = self.health.metrics().clone();
        let apis = self.apis.clone();
        let authentications = self.authentications.clone();
        let endpoints = self.endpoints.clone();
        // Without an answer it counts as failed after a while, and is asked again.
        let Ok(room) = self.waiting.clone().try_acquire_owned() else {
            return;
        };
        let pods = match trigger.source {
            Source::Pods { .. } => self.selector(&policy),
            _ => String::new(),
        };
        let target = match Reference::of(&trigger) {
            Some(_) => self.target(&policy),
            None => None,
        };
        tokio::spawn(async move {
            let _room = room;
            let Ok(_permit) = polls.acquire_owned().await else {
                return;
            };
            let begun = Instant::now();
            let apis = apis.filter(|_| Metrics::knows(&trigger.source));
            let result = if let Some(apis) = apis {
                apis.ask(&policy.namespace, &trigger.source, &pods).await
            } else {
                let by = By {
                    poller: &poller,
                    authentications: authentications.as_ref(),
                    endpoints: endpoints.as_ref(),
                    policy: &policy,
                    target: target.as_ref(),
                };
                by.ask(&trigger).await.map(|said| Answer::Value {
                    milli: said.milli,
                    activity_milli: said.activity_milli,
                })
            };
            metrics.polled(result.is_ok(), begun.elapsed());
            let trigger = trigger.name;
            let _ = events
                .send(Event::Polled {
                    policy,
                    trigger,
                    result,
                })
                .await;
        });
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
struct By<'a> {
    poller: &'a Poller,
    authentications: Option<&'a Authentications>,
    endpoints: Option<&'a Endpoints>,
    policy: &'a Name,
    target: Option<&'a target::Reference>,
}

impl By<'_> {
    async fn ask(&self, trigger: &Trigger) -> Result<Number, String> {
        let secrets = self.secrets(trigger).await?;
        let endpoints = match (starling_sources::service(trigger), self.endpoints) {
            (Some(of), Some(endpoints)) => Some(endpoints.ready(of.namespace, of.name).await?),
            _ => None,
        };
        let asked = Asked {
            namespace: &self.policy.namespace,
            wall_ms: wall().0.cast_signed(),
            secrets: secrets.as_ref(),
            endpoints: endpoints.as_deref(),
        };
        let answer = self.poller.poll(trigger, asked).await;
        answer.map_err(|error| error.to_string())
    }

    /// What one of KEDA's objects says; `None` where files do, or nothing is needed.
    async fn secrets(&self, trigger: &Trigger) -> Result<Option<Secrets>, String> {
        let (Some(reference), Some(objects)) = (Reference::of(trigger), self.authentications)
        else {
            return Ok(None);
        };
        let namespace = &self.policy.namespace;
        let files = self.poller.has_files(namespace, reference.name);
        if reference.kind.is_none() && files.await {
            return Ok(None);
        }
        let wanted = Wanted {
            kind: reference.kind.unwrap_or(NAMESPACED),
            name: reference.name,
            namespace,
            target: self.target,
            container: reference.container,
        };
        let parameters = objects.read(wanted).await?;
        Ok(Some(Secrets::from(parameters.0)))
    }
}

/// What the machine's calendar says; ages and windows go by other clocks.
pub(super) fn wall() -> Ms {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Ms(since.map_or(0, |since| since.as_millis() as u64))
}
