//! What an object's `metadata` says, and what of it a policy takes over.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::yaml::Outline;

/// As the API server prints it; what the server itself writes is left out.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Metadata {
    pub name: String,
    pub namespace: Option<String>,
    pub labels: BTreeMap<String, Option<String>>,
    pub annotations: BTreeMap<String, Option<String>>,
    generate_name: IgnoredAny,
    uid: IgnoredAny,
    resource_version: IgnoredAny,
    generation: IgnoredAny,
    creation_timestamp: IgnoredAny,
    deletion_timestamp: IgnoredAny,
    deletion_grace_period_seconds: IgnoredAny,
    managed_fields: IgnoredAny,
    owner_references: IgnoredAny,
    finalizers: IgnoredAny,
    self_link: IgnoredAny,
}

/// Labels of whoever deploys the object: with them the policy would be taken for
/// one of that program's objects, and removed.
const DEPLOYERS: [&str; 6] = [
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/instance",
    "helm.sh/",
    "argocd.argoproj.io/",
    "kustomize.toolkit.fluxcd.io/",
    "scaledobject.keda.sh/",
];

impl Metadata {
    pub(super) fn kept_labels(&self) -> BTreeMap<String, String> {
        let deployed = |key: &str| DEPLOYERS.iter().any(|it| key.starts_with(it));
        let labels = self.labels.iter();
        labels
            .filter(|(key, _)| !deployed(key))
            .map(|(key, value)| (key.clone(), value.clone().unwrap_or_default()))
            .collect()
    }
}

/// The `ScaledObject` that an HPA was made for.
pub(super) fn keda_owner(outline: &Outline) -> Option<String> {
    let count = outline.length(&["metadata", "ownerReferences"])?;
    (0..count).find_map(|index| {
        let index = index.to_string();
        let text = |key| outline.text(&["metadata", "ownerReferences", &index, key]);
        let keda = text("kind") == Some("ScaledObject");
        keda.then(|| text("name").unwrap_or_default().to_owned())
    })
}
