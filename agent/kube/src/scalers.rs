//! The objects that HPA and KEDA scale by, as they are, for converting them.
//!
//! Comes in: a client and a namespace. Goes out: each object's JSON, in the API
//! server's order. A kind that the cluster doesn't have has no objects. Asks once,
//! and keeps nothing.

use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, Client};
use tokio::time::timeout;

use crate::client::{Failure, LIST_DEADLINE};

/// Objects of one answer.
const PAGE: u32 = 500;

const KINDS: [(&str, &str, &str, &str); 2] = [
    (
        "autoscaling",
        "v2",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
    ),
    ("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects"),
];

/// All of a namespace; of all namespaces where it is empty.
pub async fn list(client: &Client, namespace: &str) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    for (group, version, kind, plural) in KINDS {
        let gvk = GroupVersionKind::gvk(group, version, kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
        let api: Api<DynamicObject> = if namespace.is_empty() {
            Api::all_with(client.clone(), &resource)
        } else {
            Api::namespaced_with(client.clone(), namespace, &resource)
        };
        let listed = timeout(LIST_DEADLINE, pages(&api)).await;
        match listed.unwrap_or(Err(Failure::Late(LIST_DEADLINE))) {
            Ok(objects) => {
                for mut object in objects {
                    // Lists leave both out of their items.
                    object.types = Some(kube::api::TypeMeta {
                        api_version: gvk.api_version(),
                        kind: kind.to_owned(),
                    });
                    let json = serde_json::to_string(&object);
                    found.push(json.map_err(|error| Failure::Garbled(error.to_string()))?);
                }
            }
            Err(Failure::NotFound { .. }) => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(found)
}

async fn pages(api: &Api<DynamicObject>) -> Result<Vec<DynamicObject>, Failure> {
    let mut objects = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = api.list(&page).await.map_err(|error| Failure::of(&error))?;
        objects.extend(list.items);
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(objects),
        }
    }
}
