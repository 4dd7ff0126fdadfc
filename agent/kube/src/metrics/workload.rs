//! How many pods with some labels there are: KEDA's trigger `kubernetes-workload`.
//!
//! Comes in: a namespace and which pods. Goes out: a count. Pods that have ended don't
//! count, and those that end do, as with KEDA (keda.md 4).

use std::collections::BTreeSet;

use serde::Deserialize;
use starling_sources::Pods;

use super::Metrics;

/// Pods that have ended are left out by the API server.
const NOT_ENDED: &str = "status.phase!=Succeeded,status.phase!=Failed";

#[derive(Deserialize)]
struct Placed {
    #[serde(default)]
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    node_name: String,
}

impl Metrics {
    /// In milli-units.
    pub(super) async fn workload(&self, namespace: &str, pods: Pods<'_>) -> Result<i64, String> {
        let mut nodes = BTreeSet::new();
        let note = |page: Vec<Placed>| {
            let named = page.into_iter().map(|placed| placed.spec.node_name);
            nodes.extend(named.filter(|name| !name.is_empty()));
        };
        let pages = self.pages(namespace, pods.selector, Some(NOT_ENDED), note);
        let count = pages.await?;
        let count = if pods.by_node { nodes.len() } else { count };
        Ok(count as i64 * 1_000)
    }
}
