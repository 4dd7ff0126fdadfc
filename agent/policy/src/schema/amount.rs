//! An amount as text, however it was written: `500m`, "2", 0.5.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::limits::AMOUNT_BYTES_MAX;

/// A Kubernetes quantity that nobody has read yet.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Amount(pub String);

impl Amount {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// As Kubernetes types state a quantity: a whole number without quotes is one too.
impl JsonSchema for Amount {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Amount".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "anyOf": [{ "type": "integer" }, { "type": "string" }],
            "maxLength": AMOUNT_BYTES_MAX,
        })
    }
}
