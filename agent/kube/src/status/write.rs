//! Writes one status.

use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Map, Value, json};
use starling_engine::policy::Name;

use super::Status;
use super::keda::{self, About};
use crate::client::{self, Failure, WRITE_DEADLINE};
use crate::policies::{Origin, resource};

/// Replaces the status of an object. One that is gone meanwhile is no failure.
pub async fn write(client: Client, name: &Name, status: &Status) -> Result<(), Failure> {
    let patch = json!({ "status": whole(status) });
    send(client, Origin::Policies, name, patch).await
}

/// The same of a `ScaledObject`; what else its status holds stays there.
pub async fn write_adopted(client: Client, about: &About, status: &Status) -> Result<(), Failure> {
    let patch = keda::patch(status, about, jiff::Timestamp::now());
    send(client, Origin::ScaledObjects, &about.name, patch).await
}

async fn send(client: Client, origin: Origin, name: &Name, patch: Value) -> Result<(), Failure> {
    let resource = resource(origin);
    let api: Api<DynamicObject> = Api::namespaced_with(client, &name.namespace, &resource);
    let (parameters, patch) = (PatchParams::default(), Patch::Merge(&patch));
    let call = api.patch_status(&name.name, &parameters, &patch);
    match client::call(WRITE_DEADLINE, call).await {
        Ok(_) | Err(Failure::NotFound { .. }) => Ok(()),
        Err(failure) => Err(failure),
    }
}

/// With `null` for each field that is to go.
fn whole(status: &Status) -> Value {
    let mut all: Map<String, Value> = Status::FIELDS
        .iter()
        .map(|field| ((*field).to_owned(), Value::Null))
        .collect();
    if let Ok(Value::Object(set)) = serde_json::to_value(status) {
        all.extend(set);
    }
    Value::Object(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_longer_said_is_removed() {
        let status = Status {
            size: Some(3),
            ..Status::default()
        };
        let patch = whole(&status);
        assert_eq!(patch["size"], 3);
        assert_eq!(patch["reason"], Value::Null);
        assert!(patch.as_object().unwrap().contains_key("conditions"));
    }

    #[test]
    fn every_field_is_known_by_name() {
        let text = Some(String::new());
        let status = Status {
            observed_generation: Some(1),
            conditions: vec![super::super::Condition::default()],
            min_replicas: Some(1),
            max_replicas: Some(1),
            current_replicas: Some(1),
            desired_replicas: Some(1),
            size: Some(1),
            last_scale_time: text.clone(),
            last_grant: text.clone(),
            triggers: text.clone(),
            reason: text,
        };
        let written = serde_json::to_value(&status).unwrap();
        let mut names: Vec<&str> = written
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let mut known = Status::FIELDS;
        names.sort_unstable();
        known.sort_unstable();
        assert_eq!(names, known);
    }
}
