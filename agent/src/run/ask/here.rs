//! Asks a source from this node, and hears what it says by itself.
//!
//! Comes in: a trigger, and on whose behalf. Goes out: a number, or why there is none and
//! whether another member may have more luck; or signs of news. What a question needs of
//! Kubernetes is asked for just before it.

use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use starling_engine::policy::{Name, Trigger};
use starling_engine::unit::Ms;
use starling_health::Metrics;
use starling_kube::authentication::{Authentications, NAMESPACED, Wanted};
use starling_kube::endpoints::Endpoints;
use starling_policy::import::adopt;
use starling_proto::ask::failure::Of;
use starling_sources::{Asked, Number, Poller, Reason, Reference, Secrets};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use super::Put;

/// Triggers for which Kubernetes is asked at the same time.
pub(super) const LOOKUPS_MAX: usize = 64;
/// More wait for so long, and have no answer then.
pub(super) const LOOKUP_WAIT: Duration = Duration::from_secs(4);

/// Why there is no number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::run) struct Failure {
    pub why: String,
    pub of: Of,
}

/// Asks from this node.
pub(super) struct Here {
    pub poller: Poller,
    /// `None` on bare machines, as what follows.
    pub authentications: Option<Authentications>,
    pub endpoints: Option<Endpoints>,
    /// For what triggers authenticate with, and where Services' pods are.
    pub lookups: Semaphore,
    /// Counts what is asked from here.
    pub counts: Metrics,
}

impl Here {
    pub(super) async fn ask(
        &self,
        policy: &Name,
        put: &Put,
        trigger: &Trigger,
    ) -> Result<Number, Failure> {
        let begun = Instant::now();
        let answer = self.uncounted(policy, put, trigger).await;
        self.counts.polled(answer.is_ok(), begun.elapsed());
        answer
    }

    /// As [`Poller::listen`].
    pub(super) async fn listen(
        &self,
        policy: &Name,
        put: &Put,
        trigger: &Trigger,
        signs: &Notify,
    ) -> String {
        let secrets = match self.secrets(policy, put, trigger).await {
            Ok(secrets) => secrets,
            Err(why) => return why,
        };
        let asked = asked(policy, put, secrets.as_ref(), None);
        self.poller.listen(trigger, asked, signs).await.to_string()
    }

    async fn uncounted(
        &self,
        policy: &Name,
        put: &Put,
        trigger: &Trigger,
    ) -> Result<Number, Failure> {
        // What Kubernetes doesn't say here it may say elsewhere.
        let way = |why| Failure { why, of: Of::Way };
        let secrets = self.secrets(policy, put, trigger).await.map_err(way)?;
        let endpoints = match (starling_sources::service(trigger), &self.endpoints) {
            (Some(of), Some(endpoints)) => {
                let _turn = turn(&self.lookups, LOOKUP_WAIT).await.map_err(way)?;
                let ready = endpoints.ready(of.namespace, of.name).await;
                Some(ready.map_err(way)?)
            }
            _ => None,
        };
        let asked = asked(policy, put, secrets.as_ref(), endpoints.as_deref());
        let answer = self.poller.poll(trigger, asked).await;
        answer.map_err(|error| Failure {
            why: error.to_string(),
            of: of(&error.reason),
        })
    }

    /// What one of KEDA's objects says; `None` where files do, or nothing is needed.
    async fn secrets(
        &self,
        policy: &Name,
        put: &Put,
        trigger: &Trigger,
    ) -> Result<Option<Secrets>, String> {
        let (Some(reference), Some(objects)) = (Reference::of(trigger), &self.authentications)
        else {
            return Ok(None);
        };
        let namespace = &policy.namespace;
        let files = self.poller.has_files(namespace, reference.name);
        if reference.kind.is_none() && files.await {
            return Ok(None);
        }
        let wanted = Wanted {
            kind: reference.kind.unwrap_or(NAMESPACED),
            name: reference.name,
            namespace,
            target: put.target.as_ref(),
            container: reference.container,
        };
        let _turn = turn(&self.lookups, LOOKUP_WAIT).await?;
        let parameters = objects.read(wanted).await?;
        Ok(Some(Secrets::from(parameters.0)))
    }
}

fn asked<'a>(
    policy: &'a Name,
    put: &Put,
    secrets: Option<&'a Secrets>,
    endpoints: Option<&'a [IpAddr]>,
) -> Asked<'a> {
    Asked {
        namespace: &policy.namespace,
        name: adopt::object(policy),
        composed: put.composed,
        wall_ms: wall().0.cast_signed(),
        secrets,
        endpoints,
    }
}

/// To ask Kubernetes.
pub(super) async fn turn(of: &Semaphore, wait: Duration) -> Result<SemaphorePermit<'_>, String> {
    let turn = tokio::time::timeout(wait, of.acquire()).await;
    let turn = turn.ok().and_then(Result::ok);
    turn.ok_or_else(|| {
        let wait_s = wait.as_secs();
        format!("not asked: other questions to Kubernetes had all turns for {wait_s} s")
    })
}

/// What another member's question would come to.
fn of(reason: &Reason) -> Of {
    match reason {
        Reason::TimedOut { .. } => Of::Silence,
        Reason::Connection(_)
        | Reason::Secret(_)
        | Reason::Crowded { .. }
        | Reason::Resting { .. }
        | Reason::Endpoints(_) => Of::Way,
        // A server may let in some members alone, and an agent of a former release may not
        // know the trigger's type yet.
        Reason::Refused(_) | Reason::Misconfigured(_) | Reason::Status(401 | 403) => Of::Refusal,
        _ => Of::Source,
    }
}

/// What the machine's calendar says; ages and windows go by other clocks.
pub(in crate::run) fn wall() -> Ms {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Ms(since.map_or(0, |since| since.as_millis() as u64))
}
