//! The stream of `ScalingPolicy` objects.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;

use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use serde_json::{Value, json};
use starling_engine::policy::{Name, Policy, Violation};
use starling_policy::import::adopt;
use starling_policy::objects::{Object, Written, read};

use super::{Health, News, Origin, Outbox, Seen};
use crate::client::Failure;
use crate::crd;
use crate::status::Status;
use crate::status::keda::{self, About};
use crate::watch::{Config, Event, Watch};

/// What a policy that was read once was read from: a status that was written, the
/// most frequent change, isn't read again.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Version {
    uid: String,
    generation: i64,
    /// A digest: what `kubectl apply` notes there is as long as the object.
    annotations: u64,
}

type Wish = Result<Arc<Policy>, Vec<Violation>>;

/// What was made of a version of an object.
#[derive(Debug, Clone)]
struct Made {
    version: Version,
    wish: Wish,
    adopted: Option<Arc<About>>,
}

/// The wishes of all objects that are there.
struct Reader {
    origin: Origin,
    known: BTreeMap<Name, Made>,
}

/// How long a kind that the cluster doesn't know isn't asked for again.
const ABSENT: Duration = Duration::from_mins(1);

pub(crate) fn resource(origin: Origin) -> ApiResource {
    match origin {
        Origin::Policies => {
            let kind = GroupVersionKind::gvk(crd::GROUP, crd::VERSION, crd::KIND);
            ApiResource::from_gvk_with_plural(&kind, crd::PLURAL)
        }
        Origin::ScaledObjects => {
            let kind = GroupVersionKind::gvk("keda.sh", "v1alpha1", "ScaledObject");
            ApiResource::from_gvk_with_plural(&kind, "scaledobjects")
        }
    }
}

pub(super) async fn watch(origin: Origin, client: Client, news: Outbox) {
    let api: Api<DynamicObject> = Api::all_with(client, &resource(origin));
    let mut watch = Watch::new(api, Config::default());
    let mut health = Health::of(match origin {
        Origin::Policies => "ScalingPolicy objects",
        Origin::ScaledObjects => "ScaledObject objects",
    });
    let mut reader = Reader::new(origin);
    let mut listing = BTreeMap::new();
    loop {
        let item = match watch.next().await {
            // Nobody can have objects of a kind that isn't there, and the policies
            // that are there needn't wait for it.
            Err(failure @ Failure::NotFound { .. }) if origin == Origin::ScaledObjects => {
                health.tell(&news, Some(words(origin, &failure))).await;
                reader.known.clear();
                let none = News::Listed(origin, BTreeMap::new());
                if news.send(none).await.is_err() {
                    return;
                }
                tokio::time::sleep(ABSENT).await;
                continue;
            }
            Err(failure) => {
                health.tell(&news, Some(words(origin, &failure))).await;
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
                News::Listed(origin, all)
            }
            Ok(Event::Apply(object)) => match reader.read(object) {
                Some((name, seen)) => News::Put(name, Box::new(seen)),
                None => continue,
            },
            Ok(Event::Delete(object)) => match name(&object) {
                Some(name) => {
                    let name = reader.policy(&name);
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

fn words(origin: Origin, failure: &Failure) -> String {
    match failure {
        Failure::NotFound { .. } if origin == Origin::ScaledObjects => {
            "the cluster doesn't know KEDA's kind ScaledObject; apply \
             daemonset/components/keda/scaledobjects.yaml, or don't adopt keda"
                .to_owned()
        }
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
    fn new(origin: Origin) -> Reader {
        Reader {
            origin,
            known: BTreeMap::new(),
        }
    }

    /// What an object's policy is called.
    fn policy(&self, object: &Name) -> Name {
        match self.origin {
            Origin::Policies => object.clone(),
            Origin::ScaledObjects => adopt::name(&object.namespace, &object.name),
        }
    }

    /// `None` for what has no name, which an API server doesn't send.
    fn read(&mut self, object: DynamicObject) -> Option<(Name, Seen)> {
        let own = name(&object)?;
        let name = self.policy(&own);
        let metadata = object.metadata;
        let annotations = metadata.annotations.unwrap_or_default();
        let version = Version {
            uid: metadata.uid.unwrap_or_default(),
            generation: metadata.generation.unwrap_or_default(),
            annotations: BuildHasherDefault::<DefaultHasher>::new().hash_one(&annotations),
        };
        let known = self.known.get(&name).filter(|it| it.version == version);
        let made = match known {
            Some(made) => made.clone(),
            None => self.make(
                &own,
                version,
                &annotations,
                object.data.get("spec").unwrap_or(&Value::Null),
            ),
        };
        let status = object.data.get("status").cloned().unwrap_or_default();
        let seen = Seen {
            object: Object {
                uid: made.version.uid.clone(),
                generation: made.version.generation,
                created: metadata
                    .creation_timestamp
                    .map(|time| time.0.to_string())
                    .unwrap_or_default(),
                wish: made.wish.clone(),
            },
            status: match self.origin {
                Origin::ScaledObjects => keda::shown(&status),
                Origin::Policies => serde_json::from_value::<Option<Status>>(status)
                    .ok()
                    .flatten()
                    .unwrap_or_default(),
            },
            adopted: made.adopted.clone(),
        };
        self.known.insert(name.clone(), made);
        Some((name, seen))
    }

    fn make(
        &self,
        own: &Name,
        version: Version,
        annotations: &BTreeMap<String, String>,
        spec: &Value,
    ) -> Made {
        if self.origin == Origin::Policies {
            let wish = read(Written {
                namespace: &own.namespace,
                name: &own.name,
                annotations,
                spec,
            });
            return Made {
                wish: wish.map(Arc::new),
                version,
                adopted: None,
            };
        }
        // Labels and what other programs noted say nothing of its size.
        let own_notes = annotations.iter();
        let annotations: BTreeMap<&String, &String> = own_notes
            .filter(|(key, _)| key.starts_with("autoscaling.keda.sh/"))
            .collect();
        let adopted = adopt::read(
            &json!({
                "apiVersion": "keda.sh/v1alpha1",
                "kind": "ScaledObject",
                "metadata": {
                    "name": own.name,
                    "namespace": own.namespace,
                    "annotations": annotations,
                },
                "spec": spec,
            })
            .to_string(),
        );
        Made {
            wish: adopted.wish,
            version,
            adopted: Some(Arc::new(About::new(own.clone(), adopted.left_out, spec))),
        }
    }
}

#[cfg(test)]
mod tests {
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
        let mut reader = Reader::new(Origin::Policies);
        let (name, first) = reader.read(object(1, 5, &Value::Null)).unwrap();
        assert_eq!(name, Name::new("shop", "web"));
        assert_eq!(first.object.wish.as_ref().unwrap().replicas_max, 5);
        assert_eq!(first.status, Status::default());
        // An API server doesn't change a spec without its generation.
        let (_, second) = reader.read(object(1, 9, &json!({ "size": 3 }))).unwrap();
        assert_eq!(second.object, first.object);
        assert_eq!(second.status.size, Some(3));
        let mut noted = object(1, 9, &Value::Null);
        let annotations = noted.metadata.annotations.as_mut().unwrap();
        annotations.insert("autoscaling.keda.sh/paused".into(), "true".into());
        let (_, paused) = reader.read(noted).unwrap();
        assert!(paused.object.wish.unwrap().annotations.paused);
        let (_, third) = reader.read(object(2, 9, &json!("nonsense"))).unwrap();
        assert_eq!(third.object.wish.unwrap().replicas_max, 9);
        assert_eq!(third.status, Status::default());
    }

    #[test]
    fn a_scaled_object_is_a_policy_under_a_name_of_its_own_with_keda_s_status() {
        let mut reader = Reader::new(Origin::ScaledObjects);
        let mut object = object(
            1,
            5,
            &json!({ "conditions": [
            { "type": "Ready", "status": "True", "reason": "r", "message": "m" },
            { "type": "HPAActive", "status": "True" },
        ] }),
        );
        object.data["spec"]["maxReplicaCount"] = json!(7);
        let (name, seen) = reader.read(object).unwrap();
        assert_eq!(name, Name::new("shop", "web.scaledobject"));
        let policy = seen.object.wish.unwrap();
        assert_eq!((&policy.name, policy.replicas_max), (&name, 7));
        assert_eq!(seen.status.conditions.len(), 1);
        assert_eq!(seen.adopted.unwrap().name, Name::new("shop", "web"));
        assert_eq!(reader.policy(&Name::new("shop", "web")), name);
    }
}
