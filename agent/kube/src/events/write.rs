//! Writes events one after the other, a repeat into the event that is there.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use starling_engine::unit::Ms;
use starling_kept::Queue;
use tracing::warn;

use super::{Happening, Of, timestamp};
use crate::client::{self, Failure, READ_DEADLINE, WRITE_DEADLINE};

/// Who tells, in the event.
const CONTROLLER: &str = "starling.sh/agent";
/// In an event: up to where its repeats were told.
const MARK: &str = "starling.sh/mark";
/// At least between two events, so that a busy minute isn't a flood.
const GAP: Duration = Duration::from_millis(50);
/// An event that can't be written is tried so often, with a growing rest between.
const TRIES_MAX: u32 = 4;
const REST: Duration = Duration::from_secs(1);

pub(super) async fn run(client: Client, instance: String, waiting: Queue<Happening>) {
    while let Some(happening) = waiting.recv().await {
        for tries in 1..=TRIES_MAX {
            match write(&client, &instance, &happening).await {
                Ok(()) => break,
                Err(failure) if tries == TRIES_MAX || !may_pass(&failure) => {
                    let (reason, of) = (&happening.reason, &happening.of.name);
                    warn!(%of, %reason, "an event could not be written: {failure}");
                    break;
                }
                Err(_) => tokio::time::sleep(REST * tries).await,
            }
        }
        tokio::time::sleep(GAP).await;
    }
}

/// Whether the same may succeed later.
fn may_pass(failure: &Failure) -> bool {
    !matches!(
        failure,
        Failure::Forbidden(_) | Failure::Refused(_) | Failure::NotFound { .. }
    )
}

async fn write(client: &Client, instance: &str, happening: &Happening) -> Result<(), Failure> {
    let api: Api<Event> = Api::namespaced(client.clone(), &happening.of.namespace);
    let event = event(instance, happening);
    let parameters = PostParams::default();
    match client::call(WRITE_DEADLINE, api.create(&parameters, &event)).await {
        Err(Failure::Conflict(_)) => repeat(&api, happening).await,
        other => other.map(|_| ()),
    }
}

/// The event is there already: counts one more, unless this one is in it.
async fn repeat(api: &Api<Event>, happening: &Happening) -> Result<(), Failure> {
    let name = happening.name();
    let there = client::call(READ_DEADLINE, api.get(&name)).await?;
    let annotations = there.metadata.annotations.unwrap_or_default();
    if annotations
        .get(MARK)
        .is_some_and(|mark| *mark >= happening.mark)
    {
        return Ok(());
    }
    let series = EventSeries {
        count: there
            .series
            .map_or(1, |series| series.count)
            .saturating_add(1),
        last_observed_time: micro(happening.at),
    };
    let patch = json!({
        "metadata": {
            "annotations": { MARK: happening.mark },
            // Fails where somebody else counted meanwhile; then it is looked at anew.
            "resourceVersion": there.metadata.resource_version,
        },
        "series": series,
    });
    let (parameters, patch) = (PatchParams::default(), Patch::Merge(&patch));
    client::call(WRITE_DEADLINE, api.patch(&name, &parameters, &patch))
        .await
        .map(|_| ())
}

fn event(instance: &str, happening: &Happening) -> Event {
    Event {
        metadata: ObjectMeta {
            name: Some(happening.name()),
            namespace: Some(happening.of.namespace.clone()),
            annotations: Some(BTreeMap::from([(MARK.to_owned(), happening.mark.clone())])),
            ..ObjectMeta::default()
        },
        event_time: Some(micro(happening.at)),
        action: Some(happening.action.to_owned()),
        reason: Some(happening.reason.clone()),
        note: Some(happening.note.clone()),
        type_: Some(
            if happening.warning {
                "Warning"
            } else {
                "Normal"
            }
            .to_owned(),
        ),
        regarding: Some(reference(&happening.of)),
        related: happening.related.as_ref().map(reference),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(instance.to_owned()),
        ..Event::default()
    }
}

fn reference(of: &Of) -> ObjectReference {
    ObjectReference {
        api_version: Some(of.api_version.clone()),
        kind: Some(of.kind.clone()),
        namespace: Some(of.namespace.clone()),
        name: Some(of.name.clone()),
        uid: Some(of.uid.clone()),
        ..ObjectReference::default()
    }
}

fn micro(at: Ms) -> MicroTime {
    MicroTime(timestamp(at))
}
