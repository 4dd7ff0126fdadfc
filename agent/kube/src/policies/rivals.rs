//! What else scales workloads: `HorizontalPodAutoscaler`s, and KEDA's `ScaledObject`s
//! where KEDA is installed.
//!
//! Of each object only its name and the workload that it names are kept. Its status
//! changes all the time, which says nothing here and goes no further.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use serde_json::Value;
use starling_engine::policy::Target;
use starling_kept::again;
use starling_policy::objects::Rivals;
use tokio::sync::mpsc;

use super::{Health, News, Outbox};
use crate::client::Failure;
use crate::watch::{Config, Event, Watch};

/// How long a kind that the cluster doesn't know isn't asked for again.
const ABSENT: Duration = Duration::from_mins(1);

/// An autoscaler's kind, and what it is called in this house.
struct Scaler {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    watch: &'static str,
    /// What its `scaleTargetRef` means where it leaves something out.
    default: (&'static str, &'static str),
}

const KEDA: &str = "keda.sh";

const KINDS: [Scaler; 2] = [
    Scaler {
        group: "autoscaling",
        version: "v2",
        kind: "HorizontalPodAutoscaler",
        plural: "horizontalpodautoscalers",
        watch: "the watch over HPAs",
        default: ("v1", ""),
    },
    Scaler {
        group: KEDA,
        version: "v1alpha1",
        kind: "ScaledObject",
        plural: "scaledobjects",
        watch: "the watch over ScaledObjects",
        default: ("apps/v1", "Deployment"),
    },
];

/// The objects of one kind: which workload each names, by namespace and name.
#[derive(Debug, Default)]
struct Known {
    listed: bool,
    targets: BTreeMap<(String, String), Target>,
}

/// With `adopts` KEDA's objects are policies themselves, and nobody's rivals. The HPAs
/// that a running KEDA makes for them still are.
pub(super) async fn watch(client: Client, news: Outbox, adopts: bool) {
    let (lists, mut latest) = mpsc::channel::<(usize, Known)>(KINDS.len());
    let mut tasks = tokio::task::JoinSet::new();
    let mut known: [Known; KINDS.len()] = Default::default();
    for (index, kind) in KINDS.iter().enumerate() {
        if adopts && kind.group == KEDA {
            known[index].listed = true;
            continue;
        }
        let (client, lists, news) = (client.clone(), lists.clone(), news.clone());
        tasks.spawn(again(kind.watch, move || {
            follow(kind, index, client.clone(), lists.clone(), news.clone())
        }));
    }
    drop(lists);
    let mut told = Rivals::default();
    while let Some((index, now)) = latest.recv().await {
        known[index] = now;
        let rivals = merge(&known);
        if rivals != told {
            told.clone_from(&rivals);
            if news.send(News::Rivals(rivals)).await.is_err() {
                return;
            }
        }
    }
}

/// KEDA makes an HPA for each of its own objects: the object is named, not the HPA.
fn merge(known: &[Known]) -> Rivals {
    let mut rivals = Rivals {
        known: known.iter().all(|it| it.listed),
        ..Rivals::default()
    };
    for (kind, known) in KINDS.iter().zip(known) {
        for ((namespace, name), target) in &known.targets {
            let words = format!("{} {namespace}/{name}", kind.kind);
            rivals.by_target.insert(target.clone(), words);
        }
    }
    rivals
}

async fn follow(
    kind: &'static Scaler,
    index: usize,
    client: Client,
    lists: mpsc::Sender<(usize, Known)>,
    news: Outbox,
) {
    let gvk = GroupVersionKind::gvk(kind.group, kind.version, kind.kind);
    let resource = ApiResource::from_gvk_with_plural(&gvk, kind.plural);
    let api: Api<DynamicObject> = Api::all_with(client, &resource);
    let mut watch = Watch::new(api, Config::default());
    let mut health = Health::of(kind.kind);
    let mut known = Known::default();
    let mut listing = BTreeMap::new();
    loop {
        let event = watch.next().await;
        let absent = matches!(&event, Err(Failure::NotFound { .. }));
        let is_new = match event {
            Ok(Event::Init) => {
                listing.clear();
                false
            }
            Ok(Event::InitApply(object)) => {
                listing.extend(target(kind, &object));
                false
            }
            Ok(Event::InitDone) => known.replace(std::mem::take(&mut listing)),
            Ok(Event::Apply(object)) => known.put(key(&object), target(kind, &object)),
            Ok(Event::Delete(object)) => known.put(key(&object), None),
            // Nobody can have objects of a kind that isn't there.
            Err(Failure::NotFound { .. }) => known.replace(BTreeMap::new()),
            Err(failure) => {
                health.tell(&news, Some(failure.to_string())).await;
                continue;
            }
        };
        health.tell(&news, None).await;
        if is_new && lists.send((index, known.clone())).await.is_err() {
            return;
        }
        if absent {
            tokio::time::sleep(ABSENT).await;
        }
    }
}

impl Clone for Known {
    fn clone(&self) -> Known {
        Known {
            listed: self.listed,
            targets: self.targets.clone(),
        }
    }
}

impl Known {
    /// Whether that is news.
    fn replace(&mut self, targets: BTreeMap<(String, String), Target>) -> bool {
        let news = !self.listed || self.targets != targets;
        self.listed = true;
        self.targets = targets;
        news
    }

    /// The same for one object, which names no workload any more where it is `None`.
    fn put(
        &mut self,
        key: Option<(String, String)>,
        target: Option<((String, String), Target)>,
    ) -> bool {
        match (key, target) {
            (_, Some((key, target))) => {
                self.targets.insert(key, target.clone()).as_ref() != Some(&target)
            }
            (Some(key), None) => self.targets.remove(&key).is_some(),
            (None, None) => false,
        }
    }
}

fn key(object: &DynamicObject) -> Option<(String, String)> {
    let metadata = &object.metadata;
    Some((metadata.namespace.clone()?, metadata.name.clone()?))
}

fn target(kind: &Scaler, object: &DynamicObject) -> Option<((String, String), Target)> {
    let key = key(object)?;
    let written = object.data.get("spec")?.get("scaleTargetRef")?;
    let text = |field: &str| {
        let value = written.get(field).and_then(Value::as_str);
        value.filter(|text| !text.is_empty())
    };
    let (version_default, kind_default) = kind.default;
    let version = text("apiVersion").unwrap_or(version_default);
    let target = Target {
        group: version
            .split_once('/')
            .map_or("", |(group, _)| group)
            .to_owned(),
        kind: text("kind").unwrap_or(kind_default).to_owned(),
        namespace: key.0.clone(),
        name: text("name")?.to_owned(),
    };
    Some((key, target))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(kind: &Scaler, name: &str, written: &Value) -> DynamicObject {
        let object = json!({
            "apiVersion": format!("{}/{}", kind.group, kind.version),
            "kind": kind.kind,
            "metadata": { "namespace": "shop", "name": name },
            "spec": { "scaleTargetRef": written },
        });
        serde_json::from_value(object).unwrap()
    }

    fn web() -> Target {
        Target {
            group: "apps".into(),
            kind: "Deployment".into(),
            namespace: "shop".into(),
            name: "web".into(),
        }
    }

    #[test]
    fn both_kinds_name_the_same_workload_and_keda_s_own_object_is_told() {
        let [hpa, keda] = &KINDS;
        let full = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" });
        let mut known = [Known::default(), Known::default()];
        let listed: BTreeMap<_, _> = target(hpa, &object(hpa, "keda-hpa-web", &full))
            .into_iter()
            .collect();
        assert!(known[0].replace(listed.clone()));
        assert!(!merge(&known).known);
        assert_eq!(
            merge(&known).by_target[&web()],
            "HorizontalPodAutoscaler shop/keda-hpa-web"
        );
        let listed_keda = target(keda, &object(keda, "web", &json!({ "name": "web" })));
        assert!(known[1].replace(listed_keda.into_iter().collect()));
        assert!(merge(&known).known);
        assert_eq!(merge(&known).by_target[&web()], "ScaledObject shop/web");
        assert!(!known[0].replace(listed), "the same again is no news");
        assert!(known[1].put(Some(("shop".into(), "web".into())), None));
        assert_eq!(merge(&known).by_target.len(), 1);
    }

    #[test]
    fn a_status_that_changes_is_no_news() {
        let [hpa, _] = &KINDS;
        let full = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" });
        let mut known = Known::default();
        let mut seen = object(hpa, "web", &full);
        assert!(known.put(key(&seen), target(hpa, &seen)));
        seen.data["status"] = json!({ "currentReplicas": 3 });
        assert!(!known.put(key(&seen), target(hpa, &seen)));
        seen.data["spec"]["scaleTargetRef"]["name"] = json!("other");
        assert!(known.put(key(&seen), target(hpa, &seen)));
    }
}
