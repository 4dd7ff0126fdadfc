//! KEDA's `TriggerAuthentication` and `ClusterTriggerAuthentication`, read as they are
//! when a trigger is asked.
//!
//! Comes in: the object's name, whose policy asks, and which workload it sizes. Goes
//! out: the parameters, or in words what is missing, forbidden or not supported. What
//! Secrets hold is in the parameters alone: it is neither kept nor in any message.

mod environment;
mod places;

use std::collections::BTreeMap;
use std::fmt;

use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::client::{self, Connection, Failure, READ_DEADLINE};
use crate::scale::kinds::Kinds;
use crate::target::Reference;
use places::{Place, Places};

pub const NAMESPACED: &str = "TriggerAuthentication";
pub const CLUSTER: &str = "ClusterTriggerAuthentication";
/// Parameters of one object; more are an error.
pub const PARAMETERS_MAX: usize = 32;
/// Of one parameter, in bytes; a longer one is an error.
pub const PARAMETER_BYTES_MAX: usize = 64 << 10;

/// Reads. Keeps nothing but what kinds of targets there are.
#[derive(Clone)]
pub struct Authentications {
    client: kube::Client,
    kinds: Kinds,
    /// Where the Secrets of cluster objects are.
    namespace: String,
}

/// Which object, and who asks.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// [`NAMESPACED`] or [`CLUSTER`].
    pub kind: &'a str,
    pub name: &'a str,
    /// The policy's.
    pub namespace: &'a str,
    /// Whose environment `env` means; `None` where it has none.
    pub target: Option<&'a Reference>,
    /// Which of its containers that is where `env` names none; the first one where
    /// this is left out too.
    pub container: Option<&'a str>,
}

/// By KEDA's names for them.
#[derive(Default, PartialEq, Eq)]
pub struct Parameters(pub BTreeMap<String, String>);

/// Their names alone.
impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

/// One entry of `secretTargetRef` and `configMapTargetRef`.
#[derive(Debug, Deserialize)]
struct Entry {
    parameter: String,
    name: String,
    key: String,
}

impl Authentications {
    /// `namespace` is KEDA's own: cluster objects mean the Secrets there.
    pub fn new(connection: &Connection, namespace: &str) -> Authentications {
        Authentications {
            client: connection.client.clone(),
            kinds: Kinds::new(connection.client.clone()),
            namespace: namespace.to_owned(),
        }
    }

    /// Asks the API server for the object and for all that it names.
    pub async fn read(&self, wanted: Wanted<'_>) -> Result<Parameters, String> {
        let of_cluster = wanted.kind == CLUSTER;
        let shown = if of_cluster {
            format!("{CLUSTER} {}", wanted.name)
        } else {
            format!("{NAMESPACED} {}/{}", wanted.namespace, wanted.name)
        };
        let spec = self.spec(wanted, &shown).await?;
        let namespace = if of_cluster {
            &self.namespace
        } else {
            wanted.namespace
        };
        let within = |why: String| format!("{shown}: {why}");
        let mut parameters = BTreeMap::new();
        let mut places = Places::new(&self.client);
        // In KEDA's order: of two that give one parameter the later one counts.
        if let Some(entries) = spec.get("env") {
            let entries = environment::entries(entries).map_err(within)?;
            let found = self.environment(entries, wanted, &mut places);
            parameters.extend(found.await.map_err(within)?);
        }
        for (field, place) in [
            ("configMapTargetRef", Place::ConfigMap),
            ("secretTargetRef", Place::Secret),
        ] {
            let Some(entries) = spec.get(field) else {
                continue;
            };
            let entries: Vec<Entry> = listed(field, entries).map_err(within)?;
            for entry in entries {
                let value = places.value(place, namespace, &entry.name, &entry.key);
                let value = value.await.map_err(within)?;
                parameters.insert(entry.parameter, value);
            }
        }
        Ok(Parameters(parameters))
    }

    async fn spec(&self, wanted: Wanted<'_>, shown: &str) -> Result<Map<String, Value>, String> {
        let plural = format!("{}s", wanted.kind.to_ascii_lowercase());
        let gvk = GroupVersionKind::gvk("keda.sh", "v1alpha1", wanted.kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, &plural);
        let client = self.client.clone();
        let api: Api<DynamicObject> = if wanted.kind == CLUSTER {
            Api::all_with(client, &resource)
        } else {
            Api::namespaced_with(client, wanted.namespace, &resource)
        };
        let found = client::call(READ_DEADLINE, api.get(wanted.name)).await;
        let mut object = found.map_err(|failure| match failure {
            Failure::NotFound { kind: true, .. } => format!(
                "this cluster doesn't know KEDA's kind {}; apply \
                 daemonset/components/keda/{plural}.yaml, or give the agents the \
                 parameters as files (`authentications`)",
                wanted.kind
            ),
            Failure::NotFound { .. } => format!(
                "there is no {shown}; apply it, or give the agents its parameters as files \
                 (`authentications`)"
            ),
            Failure::Forbidden(why) => {
                format!("{why}; apply the ClusterRole that the manifests hold")
            }
            failure => format!("{shown} can't be read: {failure}"),
        })?;
        let spec = match object.data["spec"].take() {
            Value::Object(spec) => spec,
            _ => Map::new(),
        };
        let strange = spec.iter().find(|(field, value)| !is_read(field, value));
        match strange {
            None => Ok(spec),
            Some((field, value)) => Err(format!(
                "{shown} uses {}, which this version doesn't read; it reads secretTargetRef, \
                 configMapTargetRef and env. The agents take the parameters as files, too \
                 (`authentications`)",
                words(field, value)
            )),
        }
    }

    async fn environment(
        &self,
        entries: Vec<environment::Entry>,
        wanted: Wanted<'_>,
        places: &mut Places<'_>,
    ) -> Result<BTreeMap<String, String>, String> {
        if entries.is_empty() {
            return Ok(BTreeMap::new());
        }
        let Some(target) = wanted.target.filter(|target| target.check().is_ok()) else {
            return Err("`env` needs a target that has containers".to_owned());
        };
        let resource = self.kinds.resource(&target.into()).await;
        let resource = resource.map_err(|why| why.to_string())?;
        let (namespace, name) = (&target.target.namespace, &target.target.name);
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &resource.api);
        let found = client::call(READ_DEADLINE, api.get(name)).await;
        let object = found.map_err(|why| format!("`env` can't be read of the target: {why}"))?;
        let containers = environment::containers(object.data)?;
        let mut parameters = BTreeMap::new();
        for mut entry in entries {
            entry.or_of(wanted.container);
            let value = environment::value(&containers, &entry, namespace, places);
            let value = value.await?;
            parameters.insert(entry.parameter, value);
        }
        Ok(parameters)
    }
}

/// Whether a field of the spec is one that is read, or asks for nothing.
fn is_read(field: &str, value: &Value) -> bool {
    let nothing = match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    };
    let none = field == "podIdentity" && matches!(value["provider"].as_str(), Some("" | "none"));
    nothing || none || matches!(field, "env" | "secretTargetRef" | "configMapTargetRef")
}

/// A provider by its name.
fn words(field: &str, value: &Value) -> String {
    const CHARS_MAX: usize = 60;
    match value["provider"].as_str() {
        Some(provider) if field == "podIdentity" => {
            let provider: String = provider.escape_debug().take(CHARS_MAX).collect();
            format!("podIdentity {provider}")
        }
        _ => field.escape_debug().take(CHARS_MAX).collect(),
    }
}

/// A list of the spec.
fn listed<T: serde::de::DeserializeOwned>(field: &str, value: &Value) -> Result<Vec<T>, String> {
    let list = Option::<Vec<T>>::deserialize(value);
    let list = list.map_err(|why| format!("`{field}` can't be read: {why}"))?;
    let list = list.unwrap_or_default();
    if list.len() > PARAMETERS_MAX {
        return Err(format!(
            "`{field}` has {} entries; at most {PARAMETERS_MAX}",
            list.len()
        ));
    }
    Ok(list)
}
