//! `env` of an authentication: the environment of one of the target's containers, as
//! its pod template states it.
//!
//! Comes in: the target's object, and a variable's name. Goes out: its value, or why
//! it can't be told. What only a running pod knows, such as its node, isn't found out.

use k8s_openapi::api::core::v1::{Container, EnvFromSource, EnvVar, PodTemplateSpec};
use serde::Deserialize;
use serde_json::Value;

use super::listed;
use super::places::{Place, Places, text};

/// One entry of `env`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    pub parameter: String,
    name: String,
    /// Where it is left out, the one that the policy names, or else the first one.
    container_name: Option<String>,
}

impl Entry {
    /// Means that container where it names none itself.
    pub fn or_of(&mut self, container: Option<&str>) {
        if self.container_name.as_deref().is_none_or(str::is_empty) {
            self.container_name = container.map(str::to_owned);
        }
    }
}

pub(super) fn entries(value: &Value) -> Result<Vec<Entry>, String> {
    listed("env", value)
}

/// Those of the pods that a target starts.
pub(super) fn containers(mut target: Value) -> Result<Vec<Container>, String> {
    let template = target["spec"]["template"].take();
    let template = Option::<PodTemplateSpec>::deserialize(template)
        .ok()
        .flatten();
    let spec = template.and_then(|template| template.spec);
    let spec =
        spec.ok_or("`env` needs a target that has containers; this one has no pod template")?;
    Ok(spec.containers)
}

/// A variable that is stated counts before those that come from whole objects; of
/// those the last one does, as in the pod.
pub(super) async fn value(
    containers: &[Container],
    entry: &Entry,
    namespace: &str,
    places: &mut Places<'_>,
) -> Result<String, String> {
    let wanted = entry
        .container_name
        .as_deref()
        .filter(|name| !name.is_empty());
    let mut containers = containers.iter();
    let container = match wanted {
        Some(name) => containers.find(|container| container.name == name),
        None => containers.next(),
    };
    let container = container.ok_or_else(|| match wanted {
        Some(name) => format!("`env` means the container `{name}`, which the target doesn't have"),
        None => "`env` needs a target that has containers".to_owned(),
    })?;
    let mut variables = container.env.iter().flatten().rev();
    if let Some(variable) = variables.find(|variable| variable.name == entry.name) {
        return stated(variable, namespace, places).await;
    }
    for source in container.env_from.iter().flatten().rev() {
        if let Some(value) = within(source, &entry.name, namespace, places).await? {
            return Ok(value);
        }
    }
    Err(format!(
        "the container `{}` has no variable `{}`",
        container.name, entry.name
    ))
}

async fn stated(
    variable: &EnvVar,
    namespace: &str,
    places: &mut Places<'_>,
) -> Result<String, String> {
    let name = &variable.name;
    let Some(from) = &variable.value_from else {
        let value = variable.value.clone().unwrap_or_default();
        return if value.contains("$(") {
            Err(format!(
                "the variable `{name}` is made of other ones, which this version doesn't follow"
            ))
        } else {
            Ok(value)
        };
    };
    let (place, object, key) = if let Some(of) = &from.secret_key_ref {
        (Place::Secret, &of.name, &of.key)
    } else if let Some(of) = &from.config_map_key_ref {
        (Place::ConfigMap, &of.name, &of.key)
    } else {
        return Err(format!(
            "the variable `{name}` is known to the running pod alone"
        ));
    };
    places.value(place, namespace, object, key).await
}

/// The variable of a whole Secret or `ConfigMap`, if it has it.
async fn within(
    source: &EnvFromSource,
    name: &str,
    namespace: &str,
    places: &mut Places<'_>,
) -> Result<Option<String>, String> {
    let prefix = source.prefix.as_deref().unwrap_or_default();
    let Some(key) = name.strip_prefix(prefix) else {
        return Ok(None);
    };
    let (place, object) = if let Some(of) = &source.secret_ref {
        (Place::Secret, &of.name)
    } else if let Some(of) = &source.config_map_ref {
        (Place::ConfigMap, &of.name)
    } else {
        return Ok(None);
    };
    let data = places.data(place, namespace, object).await?;
    let value = data.get(key).map(|value| text(value));
    value
        .transpose()
        .map_err(|why| format!("the variable `{name}` {why}"))
}
