//! Asks Kubernetes what triggers name: its metrics APIs for a `HorizontalPodAutoscaler`'s
//! metrics of type Pods, Object and External, and how many pods there are. An adapter serves
//! those APIs, such as prometheus-adapter; where there is none, the answer is a failure that
//! says so.
//!
//! Comes in: a source as a policy has it, and for Pods the selector of the target's
//! pods. Goes out: one value in milli-units, or the pods' values sorted and summed, or
//! why there is none. Never decides what a value means, never retries.

pub(crate) mod answer;
mod list;
mod pods;
mod workload;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use kube::Client;
use starling_engine::node::Answer;
use starling_engine::policy::Source;
use starling_policy::sources::{
    API_VERSION, CUSTOM_METRICS, EXTERNAL_METRICS, KIND, METRIC, NAME, SELECTOR,
};
use starling_sources::KUBERNETES_WORKLOAD;
use tokio::sync::Semaphore;

use crate::client::{Connection, Failure};
use crate::scale::kinds::{Kind, Kinds};
pub use answer::{ANSWER_BYTES_MAX, SERIES_MAX};
use answer::{Item, List};
pub use list::{ASKED_MAX, PODS_MAX};

const CUSTOM: &str = "custom.metrics.k8s.io";
const EXTERNAL: &str = "external.metrics.k8s.io";
/// The versions of custom.metrics.k8s.io, newest first.
const CUSTOM_VERSIONS: [&str; 2] = ["v1beta2", "v1beta1"];

/// Asks. Clones share what they learned of kinds.
#[derive(Clone)]
pub struct Metrics {
    client: Client,
    kinds: Kinds,
    /// Holds room for lists of pods.
    lists: Arc<Semaphore>,
}

impl Metrics {
    pub fn new(connection: &Connection) -> Metrics {
        Metrics {
            client: connection.client.clone(),
            kinds: Kinds::new(connection.client.clone()),
            lists: Arc::new(Semaphore::new(ASKED_MAX)),
        }
    }

    /// Whether a source is one that these APIs have.
    pub fn knows(source: &Source) -> bool {
        match source {
            Source::Pods { .. } => true,
            Source::Object { kind, .. } => kind == CUSTOM_METRICS,
            Source::External { kind, .. } => {
                [EXTERNAL_METRICS, KUBERNETES_WORKLOAD].contains(&kind.as_str())
            }
            _ => false,
        }
    }

    /// What a source of a policy in `namespace` says. `pods` selects the pods of the
    /// policy's target, as its scale states it; empty where that isn't known.
    pub async fn ask(
        &self,
        namespace: &str,
        source: &Source,
        pods: &str,
    ) -> Result<Answer, String> {
        match source {
            Source::Pods { metric, selector } => {
                let sums = self.pods(namespace, pods, metric, selector.as_deref());
                sums.await.map(Answer::Pods)
            }
            Source::Object { metadata, .. } => {
                self.object(namespace, metadata).await.map(Answer::value)
            }
            Source::External { kind, metadata } if kind == KUBERNETES_WORKLOAD => {
                let pods = starling_sources::pods(metadata);
                self.workload(namespace, pods).await.map(Answer::value)
            }
            Source::External { metadata, .. } => {
                self.external(namespace, metadata).await.map(Answer::value)
            }
            _ => Err("no metrics API has such a source".to_owned()),
        }
    }

    /// All series are summed, as HPA does (hpa.md rule 9).
    async fn external(
        &self,
        namespace: &str,
        metadata: &BTreeMap<String, String>,
    ) -> Result<i64, String> {
        let (metric, selector) = named(metadata)?;
        let path = format!(
            "/apis/{EXTERNAL}/v1beta1/namespaces/{}/{}{}",
            escaped(namespace),
            escaped(metric),
            query(&[("labelSelector", selector)])
        );
        let list: Result<List, Failure> = answer::get(&self.client, &path).await;
        let items = list.map_err(|why| words(EXTERNAL, &why))?.items(metric)?;
        let mut sum = 0_i64;
        for item in &items {
            sum = sum.saturating_add(item.milli(metric)?);
        }
        Ok(sum)
    }

    async fn object(
        &self,
        namespace: &str,
        metadata: &BTreeMap<String, String>,
    ) -> Result<i64, String> {
        let (metric, selector) = named(metadata)?;
        let of = |key: &str| metadata.get(key).map_or("", String::as_str);
        let place = match of(KIND) {
            "Namespace" => "metrics".to_owned(),
            kind => {
                let api_version = of(API_VERSION);
                let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
                let kind = Kind {
                    group: group.to_owned(),
                    version: version.to_owned(),
                    kind: kind.to_owned(),
                };
                let found = self.kinds.resource(&kind).await;
                let resource = found.map_err(|why| why.to_string())?;
                let group = if group.is_empty() {
                    String::new()
                } else {
                    format!(".{group}")
                };
                let name = escaped(of(NAME));
                format!("{}{group}/{name}", resource.api.plural)
            }
        };
        let query = query(&[("metricLabelSelector", selector)]);
        let items = self.custom(namespace, &place, metric, &query).await?;
        // There is at least one, and one object has one value.
        items.first().map_or(Ok(0), |item| item.milli(metric))
    }

    /// What custom.metrics.k8s.io has of a metric in one place, in the newest version
    /// that has it: at least one item.
    async fn custom(
        &self,
        namespace: &str,
        place: &str,
        metric: &str,
        query: &str,
    ) -> Result<Vec<Item>, String> {
        let mut missing: Vec<String> = Vec::new();
        for version in CUSTOM_VERSIONS {
            let path = format!(
                "/apis/{CUSTOM}/{version}/namespaces/{}/{place}/{}{query}",
                escaped(namespace),
                escaped(metric),
            );
            match answer::get::<List>(&self.client, &path).await {
                Ok(list) => return list.items(metric),
                Err(Failure::NotFound { why, .. }) => {
                    if !missing.contains(&why) {
                        missing.push(why);
                    }
                }
                Err(why) => return Err(words(CUSTOM, &why)),
            }
        }
        let missing = Failure::NotFound {
            kind: true,
            why: missing.join("; "),
        };
        Err(words(CUSTOM, &missing))
    }
}

/// Why one of these APIs has no answer, and what to do about it.
fn words(api: &str, failure: &Failure) -> String {
    match failure {
        Failure::NotFound { why, .. } => {
            format!("{why}; the API {api} needs an adapter that serves it and has the metric")
        }
        // The API server says so of what it asks itself.
        Failure::Broken(why) => format!("the adapter that serves the API {api} failed: {why}"),
        Failure::Forbidden(why) => {
            let verb = if api == EXTERNAL { "list" } else { "get" };
            format!(
                "allow it by a rule such as {{apiGroups: [{api}], resources: [\"*\"], verbs: [{verb}]}}: {why}"
            )
        }
        failure => failure.to_string(),
    }
}

fn named(metadata: &BTreeMap<String, String>) -> Result<(&str, Option<&str>), String> {
    let metric = metadata.get(METRIC).ok_or("the source names no metric")?;
    Ok((metric, metadata.get(SELECTOR).map(String::as_str)))
}

/// The given ones of these parameters, behind a path.
fn query(parameters: &[(&str, Option<&str>)]) -> String {
    let given = parameters.iter();
    let given = given.filter_map(|(key, value)| Some((key, (*value)?)));
    let mut query = String::new();
    for (key, value) in given {
        let sign = if query.is_empty() { '?' } else { '&' };
        // Writing to a string can't fail.
        let _ = write!(query, "{sign}{key}={}", escaped(value));
    }
    query
}

/// One segment of a path, or one value of a query.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a string can't fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_name_leads_elsewhere() {
        assert_eq!(escaped("a/../b?c=d"), "a%2F..%2Fb%3Fc%3Dd");
        assert_eq!(query(&[("labelSelector", None)]), "");
        assert_eq!(
            query(&[
                ("labelSelector", Some("queue in (a,b)")),
                ("limit", None),
                ("metricLabelSelector", Some("!old&x")),
            ]),
            "?labelSelector=queue%20in%20%28a%2Cb%29&metricLabelSelector=%21old%26x"
        );
    }
}
