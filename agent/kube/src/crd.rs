//! The CRD of `ScalingPolicy`, made from the types that files are read into.
//!
//! Comes in: nothing. Goes out: the definition that `daemonset/crds` holds, with
//! the rules by which an API server refuses what can be refused at admission, and
//! the columns of `kubectl get`. What a rule can't say is left to the agent, which
//! reports it as a condition. Never talks to an API server.

mod columns;
mod rules;
mod structural;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};
use starling_policy::schema::PolicySpec;

use crate::status::Status;

pub const GROUP: &str = "starling.sh";
pub const VERSION: &str = "v1alpha1";
pub const KIND: &str = "ScalingPolicy";
pub const PLURAL: &str = "scalingpolicies";

/// The command that writes the committed file anew.
const COMMAND: &str = "cargo run -p starling-kube --example crds";

/// The definition as an object of the API.
pub fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{PLURAL}.{GROUP}") },
        "spec": {
            "group": GROUP,
            "names": {
                "kind": KIND,
                "listKind": format!("{KIND}List"),
                "plural": PLURAL,
                "singular": KIND.to_lowercase(),
                "shortNames": ["sp"],
                "categories": ["starling"],
            },
            "scope": "Namespaced",
            "versions": [{
                "name": VERSION,
                "served": true,
                "storage": true,
                "schema": { "openAPIV3Schema": schema() },
                "subresources": { "status": {} },
                "additionalPrinterColumns": columns::columns(),
            }],
        },
    })
}

/// The same as it is committed.
pub fn yaml() -> Result<String, serde_saphyr::ser::Error> {
    let body = serde_saphyr::to_string(&definition())?;
    Ok(format!("# Made by `{COMMAND}`; don't edit.\n{body}"))
}

fn schema() -> Value {
    let mut spec = part::<PolicySpec>();
    rules::put(&mut spec);
    let description = "How large a workload may and should be, and by which measures Starling \
                       sizes it.";
    json!({
        "description": description,
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": { "type": "string" },
            "kind": { "type": "string" },
            "metadata": { "type": "object" },
            "spec": spec,
            "status": part::<Status>(),
        },
    })
}

fn part<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::openapi3().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = SchemaGenerator::new(settings)
        .into_root_schema_for::<T>()
        .to_value();
    structural::rewrite(&mut schema);
    schema
}
