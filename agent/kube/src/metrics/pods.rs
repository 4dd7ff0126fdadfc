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

use super::{Metrics, query};
use crate::pods::read;

/// The kind of what the values are of.
const KIND: &str = "Pod";

/// What is read of a pod.
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
        self.sorted(namespace, pods, metric, values).await
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
        let pick = Pick::custom(metric);
        let mut sums = Sums::default();
        let sort = |page: Vec<Listed>| {
            let found = page.iter().map(|it| pod(it, metric, &mut values));
            let found: Vec<Pod> = found.collect();
            // Only CPU looks at times.
            let (controller, now) = (Controller::default(), Ms::default());
            sums.merge(&Sums::of(&found, pick, &controller, now));
        };
        let listed = self.pages(namespace, pods, None, sort).await;
        listed.map_err(|why| format!("the target's {why}"))?;
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
