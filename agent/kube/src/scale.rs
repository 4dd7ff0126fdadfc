//! Targets as a capability: whatever has the `scale` subresource can be read and
//! sized, whether Kubernetes knows it from birth or by a custom resource.
//!
//! Comes in: a [`Reference`] and, for a write, the size and the version of the
//! object that it was decided on. Goes out: the scale, or a typed [`Error`] that
//! says what follows. Never writes without that precondition, and never takes an
//! unknown outcome for a failed one.

pub mod kinds;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::autoscaling::v1 as autoscaling;
use kube::Api;
use kube::api::{DynamicObject, PostParams};
use starling_engine::node::platform::{self, Scale, Unscheduled};
use starling_engine::policy::Target;

use crate::client::{self, Connection, Failure, READ_DEADLINE, WRITE_DEADLINE};
use crate::target::Reference;
use kinds::{Kinds, Resource};

/// Why a scale could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The object was changed since: nothing was written. This is what it is now.
    #[error("it was changed in the meantime")]
    Conflict(Scale),
    #[error("{0}")]
    Gone(String),
    #[error("{0}")]
    NotScalable(String),
    /// `rule` is the entry of a Role or ClusterRole that mends it.
    #[error("{why}; allow it by a rule such as {rule}")]
    Forbidden { why: String, rule: String },
    /// Understood and refused, by validation or by an admission rule.
    #[error("{0}")]
    Refused(String),
    /// Not carried out: the API server is overloaded, and says for how long.
    #[error("{why}")]
    Busy {
        why: String,
        retry_after: Option<Duration>,
    },
    /// Nobody knows. A write may have been carried out: read before trying again.
    #[error("{0}")]
    Unknown(String),
}

/// As the engine is told of a write that failed.
impl From<Error> for platform::Failure {
    fn from(error: Error) -> platform::Failure {
        match error {
            Error::Conflict(_) => platform::Failure::Conflict,
            Error::Gone(why) => platform::Failure::Gone(why),
            Error::Unknown(why) => platform::Failure::Unknown(why),
            Error::NotScalable(_)
            | Error::Forbidden { .. }
            | Error::Refused(_)
            | Error::Busy { .. } => platform::Failure::Refused(error.to_string()),
        }
    }
}

/// Reads and writes scales. Clones share what they learned of kinds.
#[derive(Clone)]
pub struct Scales {
    connection: Connection,
    pub kinds: Kinds,
}

impl Scales {
    pub fn new(connection: Connection) -> Scales {
        Scales {
            kinds: Kinds::new(connection.client.clone()),
            connection,
        }
    }

    pub async fn read(&self, of: &Reference) -> Result<Scale, Error> {
        let resource = self.resource(of).await?;
        let read = self.api(&resource, &of.target);
        let answer = client::call(READ_DEADLINE, read.get_scale(&of.target.name)).await;
        match answer {
            Ok(scale) => Ok(stated(&scale)),
            Err(failure) => Err(self.explain(of, &resource, failure, false)),
        }
    }

    /// Sets the size, if the object is still the one of `seen` (uid and version).
    pub async fn write(&self, of: &Reference, seen: &Scale, to: u32) -> Result<Scale, Error> {
        let resource = self.resource(of).await?;
        let params = PostParams {
            field_manager: Some(client::FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let body = precondition(&of.target, seen, to);
        let api = self.api(&resource, &of.target);
        let write = api.replace_scale(&of.target.name, &params, &body);
        let failure = match client::call(WRITE_DEADLINE, write).await {
            Ok(scale) => return Ok(stated(&scale)),
            Err(failure) => failure,
        };
        let error = self.explain(of, &resource, failure, true);
        let Error::Conflict(_) = error else {
            return Err(error);
        };
        let now = self.read(of).await?;
        Err(Error::Conflict(now))
    }

    async fn resource(&self, of: &Reference) -> Result<Arc<Resource>, Error> {
        of.check().map_err(|e| Error::NotScalable(e.to_string()))?;
        self.kinds.scalable(&of.into()).await
    }

    fn api(&self, resource: &Resource, target: &Target) -> Api<DynamicObject> {
        let client = self.connection.client.clone();
        Api::namespaced_with(client, &target.namespace, &resource.api)
    }

    fn explain(
        &self,
        of: &Reference,
        resource: &Resource,
        failure: Failure,
        writing: bool,
    ) -> Error {
        let target = &of.target;
        match failure {
            // A kind that vanished, or one that lost its scale: look again.
            Failure::NotFound { kind: true, .. } => {
                self.kinds.forget(&of.into());
                Error::NotScalable(format!(
                    "the API server no longer knows a scale of {}",
                    target.kind
                ))
            }
            Failure::NotFound { kind: false, .. } => Error::Gone(missing(target)),
            Failure::Conflict(_) if writing => Error::Conflict(Scale::default()),
            Failure::Forbidden(why) if is_about_rights(&why) => Error::Forbidden {
                rule: rule(resource),
                why,
            },
            Failure::Forbidden(why) | Failure::Refused(why) | Failure::Conflict(why) => {
                Error::Refused(why)
            }
            Failure::Broken(why) if why.contains("replicas field") => Error::NotScalable(format!(
                "{why}: the object states no size yet; set it once by hand"
            )),
            Failure::Busy { why, retry_after } => Error::Busy { why, retry_after },
            unknown => Error::Unknown(unknown.to_string()),
        }
    }
}

/// What is said of a target that isn't there.
pub fn missing(target: &Target) -> String {
    let Target {
        kind,
        namespace,
        name,
        ..
    } = target;
    format!("there is no {kind} `{name}` in namespace `{namespace}`")
}

/// The rights that reading and writing such scales takes.
fn rule(resource: &Resource) -> String {
    let kube::api::ApiResource { group, plural, .. } = &resource.api;
    format!("{{apiGroups: [\"{group}\"], resources: [\"{plural}/scale\"], verbs: [get, update]}}")
}

/// Whether a refusal comes from missing rights: admission rules answer with the
/// same status, but no rule of a Role mends those.
fn is_about_rights(why: &str) -> bool {
    // ... cannot get resource "deployments/scale" in API group "apps" ...
    let verb = why.split_once(" cannot ");
    verb.is_some_and(|(_, rest)| rest.contains("resource \""))
}

/// A scale as it is to be, only over the object that was seen.
fn precondition(target: &Target, seen: &Scale, to: u32) -> autoscaling::Scale {
    let mut scale = autoscaling::Scale::default();
    scale.metadata.name = Some(target.name.clone());
    scale.metadata.namespace = Some(target.namespace.clone());
    scale.metadata.uid = Some(seen.uid.clone()).filter(|uid| !uid.is_empty());
    scale.metadata.resource_version = Some(seen.resource_version.clone());
    scale.spec = Some(autoscaling::ScaleSpec {
        replicas: Some(i32::try_from(to).unwrap_or(i32::MAX)),
    });
    scale
}

/// What a scale states. What keeps pods from running isn't part of it.
fn stated(scale: &autoscaling::Scale) -> Scale {
    let status = scale.status.as_ref();
    Scale {
        uid: scale.metadata.uid.clone().unwrap_or_default(),
        resource_version: scale.metadata.resource_version.clone().unwrap_or_default(),
        replicas: count(scale.spec.as_ref().and_then(|spec| spec.replicas)),
        running: count(status.map(|status| status.replicas)),
        selector: status
            .and_then(|status| status.selector.clone())
            .unwrap_or_default(),
        selector_fault: None,
        unscheduled: Unscheduled::default(),
        blocked: None,
    }
}

/// A count as the API states it; 0 is left out there.
pub(crate) fn count(stated: Option<i32>) -> u32 {
    u32::try_from(stated.unwrap_or(0)).unwrap_or(0)
}
