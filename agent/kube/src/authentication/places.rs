//! Secrets and `ConfigMap`s that an authentication names, each read once for it.
//!
//! Comes in: a namespace, a name and a key. Goes out: the text under that key, or why
//! there is none and what to do. Forgets all of it with the question.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Client;
use starling_policy::is_subdomain;

use super::PARAMETER_BYTES_MAX;
use crate::client::Failure;
use crate::metrics::answer;

/// Objects that one authentication may name; with more of them it is an error.
const PLACES_MAX: usize = 16;
const NAME_BYTES_MAX: usize = 253;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    ConfigMap,
    Secret,
}

impl Place {
    fn kind(self) -> &'static str {
        match self {
            Place::ConfigMap => "ConfigMap",
            Place::Secret => "Secret",
        }
    }
}

pub(super) type Data = BTreeMap<String, Vec<u8>>;

pub(super) struct Places<'a> {
    client: &'a Client,
    read: BTreeMap<(Place, String), Data>,
}

impl<'a> Places<'a> {
    pub(super) fn new(client: &'a Client) -> Places<'a> {
        Places {
            client,
            read: BTreeMap::new(),
        }
    }

    /// What stands under a key. That it isn't there is an error: KEDA asks with an
    /// empty text then, and nobody knows why it is refused.
    pub(super) async fn value(
        &mut self,
        place: Place,
        namespace: &str,
        name: &str,
        key: &str,
    ) -> Result<String, String> {
        let found = self.data(place, namespace, name).await?.get(key);
        let found = found.ok_or_else(|| {
            let key: String = key.escape_debug().take(80).collect();
            format!("{} {namespace}/{name} has no key `{key}`", place.kind())
        })?;
        text(found).map_err(|why| format!("`{key}` of {} {namespace}/{name} {why}", place.kind()))
    }

    pub(super) async fn data(
        &mut self,
        place: Place,
        namespace: &str,
        name: &str,
    ) -> Result<&Data, String> {
        // It becomes a part of a path, and what an agent may read is more than one
        // namespace's.
        if !is_subdomain(name, NAME_BYTES_MAX) {
            let name: String = name.escape_debug().take(80).collect();
            return Err(format!("`{name}` is not the name of a {}", place.kind()));
        }
        let key = (place, format!("{namespace}/{name}"));
        if !self.read.contains_key(&key) {
            if self.read.len() >= PLACES_MAX {
                return Err(format!(
                    "names more than {PLACES_MAX} Secrets and ConfigMaps"
                ));
            }
            let data = self.ask(place, namespace, name).await;
            let data = data.map_err(|failure| words(place, namespace, name, &failure))?;
            self.read.insert(key.clone(), data);
        }
        // It is there now.
        Ok(self.read.entry(key).or_default())
    }

    async fn ask(&self, place: Place, namespace: &str, name: &str) -> Result<Data, Failure> {
        // The client library's own way logs an answer that it can't read.
        let at = |plural: &str| format!("/api/v1/namespaces/{namespace}/{plural}/{name}");
        match place {
            Place::Secret => {
                let found: Secret = answer::get(self.client, &at("secrets")).await?;
                Ok(bytes(found.data))
            }
            Place::ConfigMap => {
                let found: ConfigMap = answer::get(self.client, &at("configmaps")).await?;
                let mut data = bytes(found.binary_data);
                let texts = found.data.unwrap_or_default();
                data.extend(
                    texts
                        .into_iter()
                        .map(|(key, text)| (key, text.into_bytes())),
                );
                Ok(data)
            }
        }
    }
}

fn bytes(data: Option<BTreeMap<String, ByteString>>) -> Data {
    let data = data.unwrap_or_default().into_iter();
    data.map(|(key, value)| (key, value.0)).collect()
}

fn words(place: Place, namespace: &str, name: &str, failure: &Failure) -> String {
    let kind = place.kind();
    match failure {
        Failure::NotFound { .. } => format!("there is no {kind} {namespace}/{name}"),
        Failure::Forbidden(_) => format!(
            "the agents may not read {kind} {namespace}/{name}: set `rbac.secrets: [{namespace}]` of \
             the chart, or add daemonset/components/secrets"
        ),
        // What is in it isn't to be told, not even where it is broken.
        Failure::Garbled(_) => format!("{kind} {namespace}/{name} can't be understood"),
        failure => format!("{kind} {namespace}/{name} can't be read: {failure}"),
    }
}

/// Editors end a file with a new line; no secret does.
pub(super) fn text(bytes: &[u8]) -> Result<String, String> {
    if bytes.len() > PARAMETER_BYTES_MAX {
        return Err(format!("is longer than {} KiB", PARAMETER_BYTES_MAX >> 10));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}
