//! One trigger of a `ScaledObject`.

use std::collections::BTreeMap;

use serde::Deserialize;
use starling_engine::formula;

use crate::import::Told;
use crate::import::draft::{AuthenticationRef, Trigger};
use crate::schema::TRIGGER_TYPES;
use crate::yaml::clip;

/// Those that KEDA hands on to its HPA, which measures them.
const MEASURED: [&str; 2] = ["cpu", "memory"];
/// Until KEDA 2.18 a setting of `cpu` and `memory`; `metricType` since.
const TYPE: &str = "type";
/// KEDA's pages show it for `cpu` and `memory` too, and KEDA reads it there and then takes
/// such a trigger for active whatever it says.
const ACTIVATION: &str = "activationValue";
/// All containers, where it is empty.
const CONTAINER: &str = "containerName";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Written {
    #[serde(rename = "type")]
    kind: String,
    name: Option<String>,
    #[serde(default)]
    metadata: BTreeMap<String, Option<String>>,
    #[serde(default)]
    use_cached_metrics: bool,
    metric_type: Option<String>,
    authentication_ref: Option<Reference>,
}

#[derive(Debug, Deserialize)]
struct Reference {
    name: Option<String>,
    kind: Option<String>,
}

/// Whether a source outside is asked for its value; a calendar isn't.
pub(super) fn is_asked(kind: &str) -> bool {
    !MEASURED.contains(&kind) && kind != "cron"
}

/// Whether KEDA's HPA never asks a source itself.
pub(super) fn all_cached(triggers: &[Written]) -> bool {
    let mut asked = triggers.iter().filter(|it| is_asked(&it.kind));
    asked.all(|it| it.use_cached_metrics)
}

/// A name that a formula can use stays as it is where triggers are `composed` by one.
pub(super) fn trigger(
    told: &mut Told<'_>,
    from: String,
    written: Written,
    composed: bool,
) -> Option<Trigger> {
    let kind = written.kind;
    if !TRIGGER_TYPES.contains(&kind.as_str()) {
        told.warn(
            &format!("{from}.type"),
            format!(
                "`{}` isn't a type of trigger in this version, and is left out; if an adapter has \
                 its value in external.metrics.k8s.io, write it as an `External` metric",
                clip(&kind)
            ),
        );
        return None;
    }
    let reference = written.authentication_ref;
    let authentication_ref = reference.map(|reference| AuthenticationRef {
        name: reference.name.unwrap_or_default(),
        kind: reference.kind.filter(|kind| !kind.is_empty()),
    });
    let mut metadata: BTreeMap<String, String> = written
        .metadata
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect();
    let mut metric_type = written.metric_type;
    if MEASURED.contains(&kind.as_str()) {
        metric_type = metric_type.or(metadata.remove(TYPE));
        metadata.remove(TYPE);
        metadata.remove(ACTIVATION);
        if metadata.get(CONTAINER).is_some_and(String::is_empty) {
            metadata.remove(CONTAINER);
        }
    } else {
        // KEDA takes an empty setting for one that is left out.
        metadata.retain(|_, value| !value.is_empty());
    }
    Some(Trigger {
        kind,
        name: written.name.map(|name| {
            if composed && formula::is_name(&name) {
                name
            } else {
                label(&name)
            }
        }),
        metric_type,
        metadata,
        authentication_ref,
        from,
    })
}

/// KEDA's names may hold what a label can't, such as `_`.
fn label(name: &str) -> String {
    let label: String = name
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    label.trim_matches('-').to_owned()
}
