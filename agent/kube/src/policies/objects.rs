//! The stream of `ScalingPolicy` objects.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use serde_json::Value;
use starling_engine::policy::{Name, Policy, Violation};
use starling_policy::objects::{Object, Written, read};

use super::{Health, News, Outbox, Seen};
use crate::client::Failure;
use crate::crd;
use crate::status::Status;
use crate::watch::{Config, Event, Watch};

/// What a policy that was read once was read from: a status that was written, the
/// most frequent change, isn't read again.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Version {
    uid: String,
    generation: i64,
    annotations: BTreeMap<String, String>,
}

type Wish = Result<Arc<Policy>, Vec<Violation>>;

/// The wishes of all objects that are there.
#[derive(Default)]
struct Reader {
    known: BTreeMap<Name, (Version, Wish)>,
}

pub(crate) fn resource() -> ApiResource {
    let kind = GroupVersionKind::gvk(crd::GROUP, crd::VERSION, crd::KIND);
    ApiResource::from_gvk_with_plural(&kind, crd::PLURAL)
}

pub(super) async fn watch(client: Client, news: Outbox) {
    let api: Api<DynamicObject> = Api::all_with(client, &resource());
    let mut watch = Watch::new(api, Config::default());
    let mut health = Health::of("ScalingPolicy objects");
    let mut reader = Reader::default();
    let mut listing = BTreeMap::new();
    loop {
        let item = match watch.next().await {
            Err(failure) => {
                health.tell(&news, Some(words(&failure))).await;
                continue;
            }
            Ok(Event::Init) => {
                listing.clear();
                continue;
            }
            Ok(Event::InitApply(object)) => {
                listing.extend(reader.read(object));
                continue;
            }
            Ok(Event::InitDone) => {
                let all = std::mem::take(&mut listing);
                reader.known.retain(|name, _| all.contains_key(name));
                News::Listed(all)
            }
            Ok(Event::Apply(object)) => match reader.read(object) {
                Some((name, seen)) => News::Put(name, Box::new(seen)),
                None => continue,
            },
            Ok(Event::Delete(object)) => match name(&object) {
                Some(name) => {
                    reader.known.remove(&name);
                    News::Gone(name)
                }
                None => continue,
            },
        };
        health.tell(&news, None).await;
        if news.send(item).await.is_err() {
            return;
        }
    }
}

fn words(failure: &Failure) -> String {
    match failure {
        Failure::NotFound { .. } => format!(
            "the cluster doesn't know the kind {}; apply daemonset/crds, or set `policies: false` \
             under `kubernetes:`",
            crd::KIND
        ),
        Failure::Forbidden(why) => {
            format!("{why}; apply the ClusterRole that the manifests hold")
        }
        failure => failure.to_string(),
    }
}

fn name(object: &DynamicObject) -> Option<Name> {
    let metadata = &object.metadata;
    Some(Name::new(
        metadata.namespace.as_ref()?,
        metadata.name.as_ref()?,
    ))
}

impl Reader {
    /// `None` for what has no name, which an API server doesn't send.
    fn read(&mut self, object: DynamicObject) -> Option<(Name, Seen)> {
        let name = name(&object)?;
        let metadata = object.metadata;
        let version = Version {
            uid: metadata.uid.unwrap_or_default(),
            generation: metadata.generation.unwrap_or_default(),
            annotations: metadata.annotations.unwrap_or_default(),
        };
        let known = self.known.get(&name).filter(|(it, _)| *it == version);
        let wish = if let Some((_, wish)) = known {
            wish.clone()
        } else {
            let wish = read(Written {
                namespace: &name.namespace,
                name: &name.name,
                annotations: &version.annotations,
                spec: object.data.get("spec").unwrap_or(&Value::Null),
            });
            wish.map(Arc::new)
        };
        let status = object.data.get("status").cloned().unwrap_or_default();
        let seen = Seen {
            object: Object {
                uid: version.uid.clone(),
                generation: version.generation,
                created: metadata
                    .creation_timestamp
                    .map(|time| time.0.to_string())
                    .unwrap_or_default(),
                wish: wish.clone(),
            },
            status: serde_json::from_value::<Option<Status>>(status)
                .ok()
                .flatten()
                .unwrap_or_default(),
        };
        self.known.insert(name.clone(), (version, wish));
        Some((name, seen))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(generation: i64, max: i64, status: &Value) -> DynamicObject {
        let object = json!({
            "apiVersion": "starling.sh/v1alpha1",
            "kind": "ScalingPolicy",
            "metadata": {
                "namespace": "shop",
                "name": "web",
                "uid": "u",
                "generation": generation,
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "annotations": { "kubectl.kubernetes.io/last-applied-configuration": "{\n}" },
            },
            "spec": {
                "scaleTargetRef": { "name": "web" },
                "maxReplicaCount": max,
                "triggers": [
                    { "type": "cpu", "metricType": "Utilization", "metadata": { "value": "70" } },
                ],
            },
            "status": status,
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn an_object_is_read_once_for_each_generation_and_its_status_each_time() {
        let mut reader = Reader::default();
        let (name, first) = reader.read(object(1, 5, &Value::Null)).unwrap();
        assert_eq!(name, Name::new("shop", "web"));
        assert_eq!(first.object.wish.as_ref().unwrap().replicas_max, 5);
        assert_eq!(first.status, Status::default());
        // An API server doesn't change a spec without its generation.
        let (_, second) = reader.read(object(1, 9, &json!({ "size": 3 }))).unwrap();
        assert_eq!(second.object, first.object);
        assert_eq!(second.status.size, Some(3));
        let (_, third) = reader.read(object(2, 9, &json!("nonsense"))).unwrap();
        assert_eq!(third.object.wish.unwrap().replicas_max, 9);
        assert_eq!(third.status, Status::default());
    }
}
