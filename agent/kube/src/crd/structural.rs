//! From JSON Schema to what Kubernetes allows in a CRD, its "structural schemas".
//!
//! A field that may be left out is just not required there: `null` is dropped by
//! the API server. Unknown fields are pruned, and refused by `kubectl`, so nothing
//! needs to forbid them.

use serde_json::{Map, Value};

/// Rewrites a schema and all schemas within it.
pub(super) fn rewrite(schema: &mut Value) {
    let Value::Object(schema) = schema else {
        return;
    };
    drop_null(schema);
    for key in ["title", "nullable", "$schema"] {
        schema.remove(key);
    }
    if schema.get("additionalProperties") == Some(&Value::Bool(false)) {
        schema.remove("additionalProperties");
    }
    // An empty list or a `false` says what its absence says.
    if !schema.get("default").is_some_and(Value::is_string) {
        schema.remove("default");
    }
    if let Some(Value::String(text)) = schema.get_mut("description") {
        // Line breaks of the source mean nothing; blank lines do.
        let paragraphs: Vec<String> = text.split("\n\n").map(|p| p.replace('\n', " ")).collect();
        *text = paragraphs.join("\n\n").replace('`', "");
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.values_mut().for_each(rewrite);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get_mut(key) {
            rewrite(inner);
        }
    }
}

/// `Option<T>` comes as "T or null", in one of two forms.
fn drop_null(schema: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [one] = types.as_slice() {
            let one = one.clone();
            schema.insert("type".to_owned(), one);
        }
    }
    let Some(Value::Array(choices)) = schema.get_mut("anyOf") else {
        return;
    };
    choices.retain(|choice| !is_null(choice));
    if let [Value::Object(one)] = choices.as_slice() {
        let one = one.clone();
        schema.remove("anyOf");
        for (key, value) in one {
            // What the field says of itself goes before what its type says.
            schema.entry(key).or_insert(value);
        }
    }
}

fn is_null(schema: &Value) -> bool {
    let only_null = schema
        .get("enum")
        .and_then(Value::as_array)
        .is_some_and(|values| values.iter().all(Value::is_null));
    only_null || schema.get("type").is_some_and(|kind| kind == "null")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_may_be_left_out_is_neither_null_nor_a_choice() {
        let mut schema = json!({
            "type": ["integer", "null"],
            "nullable": true,
            "default": null,
        });
        rewrite(&mut schema);
        assert_eq!(schema, json!({ "type": "integer" }));
        let mut schema = json!({
            "description": "The field's\nown words.",
            "anyOf": [
                { "type": "object", "description": "The type's.", "additionalProperties": false },
                { "enum": [null], "nullable": true },
            ],
        });
        rewrite(&mut schema);
        let expected = json!({ "description": "The field's own words.", "type": "object" });
        assert_eq!(schema, expected);
    }
}
