//! Asks Kubernetes' metrics APIs for what a `HorizontalPodAutoscaler`'s metrics of
//! type Object and External name. An adapter serves those APIs, such as
//! prometheus-adapter; where there is none, the answer is a failure that says so.
//!
//! Comes in: a source as a policy has it. Goes out: a value in milli-units, or why
//! there is none. Never decides what a value means, never retries.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use http::Request;
use kube::Client;
use serde::Deserialize;
use starling_engine::policy::Source;
use starling_engine::quantity::Quantity;
use starling_policy::sources::{
    API_VERSION, CUSTOM_METRICS, EXTERNAL_METRICS, KIND, METRIC, NAME, SELECTOR,
};

use crate::client::{self, Connection, Failure, READ_DEADLINE};
use crate::scale::kinds::{Kind, Kinds};

/// The versions of custom.metrics.k8s.io, newest first, and what each calls the
/// selector of series.
const CUSTOM_VERSIONS: [&str; 2] = ["v1beta2", "v1beta1"];
/// More series than this in one answer are an error: nobody means to sum them.
const SERIES_MAX: usize = 10_000;

/// Asks. Clones share what they learned of kinds.
#[derive(Clone)]
pub struct Metrics {
    client: Client,
    kinds: Kinds,
}

#[derive(Debug, Deserialize)]
struct List {
    items: Vec<Item>,
}

#[derive(Debug, Deserialize)]
struct Item {
    value: String,
}

impl Metrics {
    pub fn new(connection: &Connection) -> Metrics {
        Metrics {
            client: connection.client.clone(),
            kinds: Kinds::new(connection.client.clone()),
        }
    }

    /// Whether a source is one that these APIs have.
    pub fn knows(source: &Source) -> bool {
        match source {
            Source::Object { kind, .. } => kind == CUSTOM_METRICS,
            Source::External { kind, .. } => kind == EXTERNAL_METRICS,
            _ => false,
        }
    }

    /// The value of a source of a policy in `namespace`, in milli-units.
    pub async fn ask(&self, namespace: &str, source: &Source) -> Result<i64, String> {
        match source {
            Source::Object { metadata, .. } => self.object(namespace, metadata).await,
            Source::External { metadata, .. } => self.external(namespace, metadata).await,
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
            "/apis/external.metrics.k8s.io/v1beta1/namespaces/{}/{}{}",
            escaped(namespace),
            escaped(metric),
            query("labelSelector", selector)
        );
        let list = self
            .get(&path)
            .await
            .map_err(|why| words("external", &why))?;
        let values = values(&list, metric)?;
        let sum = values.iter().fold(0_i64, |sum, it| sum.saturating_add(*it));
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
        let mut missing = String::new();
        for version in CUSTOM_VERSIONS {
            let path = format!(
                "/apis/custom.metrics.k8s.io/{version}/namespaces/{}/{place}/{}{}",
                escaped(namespace),
                escaped(metric),
                query("metricLabelSelector", selector)
            );
            match self.get(&path).await {
                Ok(list) => {
                    let values = values(&list, metric)?;
                    return values.first().copied().ok_or_else(|| empty(metric));
                }
                Err(Failure::NotFound { why, .. }) => missing = why,
                Err(why) => return Err(why.to_string()),
            }
        }
        Err(words(
            "custom",
            &Failure::NotFound {
                kind: true,
                why: missing,
            },
        ))
    }

    async fn get(&self, path: &str) -> Result<List, Failure> {
        let request = Request::get(path)
            .body(Vec::new())
            .map_err(|e| Failure::Refused(e.to_string()))?;
        client::call(READ_DEADLINE, self.client.request(request)).await
    }
}

fn words(which: &str, failure: &Failure) -> String {
    match failure {
        Failure::NotFound { why, .. } => format!(
            "{why}; the API {which}.metrics.k8s.io needs an adapter that serves it and has the metric"
        ),
        failure => failure.to_string(),
    }
}

fn named(metadata: &BTreeMap<String, String>) -> Result<(&str, Option<&str>), String> {
    let metric = metadata.get(METRIC).ok_or("the source names no metric")?;
    Ok((metric, metadata.get(SELECTOR).map(String::as_str)))
}

/// An answer without values is an error, not a zero (hpa.md rule 2).
fn values(list: &List, metric: &str) -> Result<Vec<i64>, String> {
    if list.items.is_empty() {
        return Err(empty(metric));
    }
    if list.items.len() > SERIES_MAX {
        return Err(format!("{metric} has more than {SERIES_MAX} series"));
    }
    let read = |item: &Item| {
        let value = Quantity::parse(&item.value).ok().and_then(Quantity::milli);
        value.ok_or_else(|| format!("{metric} has a value that is no amount: {}", item.value))
    };
    list.items.iter().map(read).collect()
}

fn empty(metric: &str) -> String {
    format!("the metrics API has no value for {metric}")
}

fn query(key: &str, selector: Option<&str>) -> String {
    match selector {
        Some(selector) => format!("?{key}={}", escaped(selector)),
        None => String::new(),
    }
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

    fn list(values: &[&str]) -> List {
        let item = |value: &&str| Item {
            value: (*value).to_owned(),
        };
        List {
            items: values.iter().map(item).collect(),
        }
    }

    #[test]
    fn no_value_is_an_error_and_values_are_exact() {
        assert_eq!(
            values(&list(&[]), "q").unwrap_err(),
            "the metrics API has no value for q"
        );
        assert_eq!(
            values(&list(&["1500m", "2", "1k"]), "q").unwrap(),
            [1_500, 2_000, 1_000_000]
        );
        assert!(values(&list(&["many"]), "q").is_err());
    }

    #[test]
    fn nothing_in_a_name_leads_elsewhere() {
        assert_eq!(escaped("a/../b?c=d"), "a%2F..%2Fb%3Fc%3Dd");
        assert_eq!(query("labelSelector", None), "");
        assert_eq!(
            query("labelSelector", Some("queue in (a,b)")),
            "?labelSelector=queue%20in%20%28a%2Cb%29"
        );
    }
}
