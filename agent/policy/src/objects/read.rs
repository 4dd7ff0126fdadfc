//! One object, read by the path that files take: written down as a document, which
//! JSON is too, and then checked field by field in the same words.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use starling_engine::policy::{Policy, Violation};

use crate::convert::ANNOTATIONS;
use crate::file;
use crate::schema::API_VERSION;

/// The parts of an object that say something to Starling.
#[derive(Debug, Clone, Copy)]
pub struct Written<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub annotations: &'a BTreeMap<String, String>,
    pub spec: &'a Value,
}

/// The policy that an object asks for, or all that is wrong with it.
pub fn read(object: Written<'_>) -> Result<Policy, Vec<Violation>> {
    // Other programs' annotations may be of any size and kind.
    let own = object.annotations.iter();
    let annotations: BTreeMap<&String, &String> = own
        .filter(|(key, _)| key.starts_with(ANNOTATIONS))
        .collect();
    let document = json!({
        "apiVersion": API_VERSION,
        "kind": file::POLICY,
        "metadata": {
            "name": object.name,
            "namespace": object.namespace,
            "annotations": annotations,
        },
        "spec": object.spec,
    });
    file::policy(&document.to_string()).map_err(|problems| {
        let violation = |problem: crate::yaml::Problem| Violation {
            field: problem.field,
            why: problem.why,
        };
        problems.into_iter().map(violation).collect()
    })
}
