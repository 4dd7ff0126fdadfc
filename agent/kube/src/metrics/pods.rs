//! A metric of each pod of a target, as HPA's metrics of type Pods have it.
//!
//! Comes in: the target's selector and the metric. Goes out: all pods of the target,
//! sorted by HPA's rule 5 with the values that the metrics API has of them, and summed.
//! Never takes a pod without a value for an idle one, and never keeps a pod's object.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use starling_engine::demand::pick::Pick;
use starling_engine::demand::pods::{Pod, Reading, Sums};
use starling_engine::policy::Controller;
use starling_engine::unit::Ms;

use super::{Metrics, answer, escaped, query};
use crate::client::{Failure, LIST_DEADLINE};
use crate::pods::read;

/// A target with more pods than this isn't sized by a metric of them: an error.
pub const PODS_MAX: usize = 10_000;
/// Targets whose pods are listed at the same time; the others wait. A page of pods
/// takes some 2 MB while it is read.
pub const ASKED_MAX: usize = 4;
/// In one page of a list.
const PAGE: &str = "250";
/// The kind of what the values are of.
const KIND: &str = "Pod";

/// A page of pods, of which only this is read.
#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: Next,
    items: Vec<Listed>,
}

#[derive(Default, Deserialize)]
struct Next {
    #[serde(rename = "continue")]
    token: Option<String>,
}

#[derive(Deserialize)]
struct Listed {
    metadata: Meta,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    name: String,
    deletion_timestamp: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
struct Status {
    #[serde(default)]
    phase: String,
}

impl Metrics {
    /// The values are asked for first, as HPA does: a pod that came between has none.
    pub(super) async fn pods(
        &self,
        namespace: &str,
        pods: &str,
        metric: &str,
        series: Option<&str>,
    ) -> Result<Sums, String> {
        if pods.is_empty() {
            return Err("the target's scale doesn't say yet which pods are its own".to_owned());
        }
        let values = self.values(namespace, pods, metric, series).await?;
        let sorted = self.sorted(namespace, pods, metric, values);
        let sorted = tokio::time::timeout(LIST_DEADLINE, sorted).await;
        sorted.unwrap_or_else(|_| Err(Failure::Late(LIST_DEADLINE).to_string()))
    }

    /// By the pods' names. Where an adapter has two of one pod the last one counts.
    async fn values(
        &self,
        namespace: &str,
        pods: &str,
        metric: &str,
        series: Option<&str>,
    ) -> Result<BTreeMap<String, i64>, String> {
        let query = query(&[
            ("labelSelector", Some(pods)),
            ("metricLabelSelector", series),
        ]);
        let items = self.custom(namespace, "pods/*", metric, &query).await?;
        let mut values = BTreeMap::new();
        for item in items {
            let milli = item.milli(metric)?;
            let of = item.described_object;
            if of.name.is_empty() || !(of.kind.is_empty() || of.kind == KIND) {
                return Err(format!("{metric} has a value that is of no pod"));
            }
            values.insert(of.name, milli);
        }
        Ok(values)
    }

    /// Values that are of none of the listed pods count in means alone, as with HPA.
    async fn sorted(
        &self,
        namespace: &str,
        pods: &str,
        metric: &str,
        mut values: BTreeMap<String, i64>,
    ) -> Result<Sums, String> {
        let Ok(_room) = self.lists.acquire().await else {
            return Err("the agent ends".to_owned());
        };
        let pick = Pick::custom(metric);
        let mut sums = Sums::default();
        let mut listed = 0;
        let mut token = None;
        loop {
            let query = query(&[
                ("labelSelector", Some(pods)),
                ("limit", Some(PAGE)),
                ("continue", token.as_deref()),
            ]);
            let path = format!("/api/v1/namespaces/{}/pods{query}", escaped(namespace));
            let page: Result<Page, Failure> = answer::list(&self.client, &path).await;
            let page = page.map_err(|why| format!("the target's pods can't be listed: {why}"))?;
            listed += page.items.len();
            if listed > PODS_MAX {
                return Err(format!("the target has more than {PODS_MAX} pods"));
            }
            let found = page.items.iter().map(|it| pod(it, metric, &mut values));
            let found: Vec<Pod> = found.collect();
            // Only CPU looks at times.
            sums.merge(&Sums::of(
                &found,
                pick,
                &Controller::default(),
                Ms::default(),
            ));
            token = page.metadata.token.filter(|token| !token.is_empty());
            if token.is_none() {
                break;
            }
        }
        for stranger in values.into_values() {
            sums.add_stranger(stranger);
        }
        Ok(sums)
    }
}

fn pod(listed: &Listed, metric: &str, values: &mut BTreeMap<String, i64>) -> Pod {
    let value = values.remove(&listed.metadata.name).map(|milli| Reading {
        milli,
        ..Reading::default()
    });
    Pod {
        phase: read::phase(&listed.status.phase),
        deleted: listed.metadata.deletion_timestamp.is_some(),
        custom: value
            .map(|it| (metric.to_owned(), it))
            .into_iter()
            .collect(),
        ..Pod::default()
    }
}
