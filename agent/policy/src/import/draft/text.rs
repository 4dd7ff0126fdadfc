//! Texts written so that every reader of YAML takes them for texts.
//!
//! The API server's own reader follows YAML 1.1, where `on` is a boolean and
//! `12:30` a number; what could be taken for something else stands in quotes.

use std::collections::BTreeMap;

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_saphyr::DoubleQuoted;

const WORDS: [&str; 10] = [
    "y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan",
];

/// A letter first, then what names are made of.
fn is_plain(text: &str) -> bool {
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '/' | '_');
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(name)
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

struct Text<'a>(&'a str);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if is_plain(self.0) {
            serializer.serialize_str(self.0)
        } else {
            DoubleQuoted(self.0).serialize(serializer)
        }
    }
}

struct Json<'a>(&'a Value);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::String(text) => Text(text).serialize(serializer),
            Value::Array(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(&Json(item))?;
                }
                list.end()
            }
            Value::Object(fields) => {
                // What is empty says nothing.
                let fields = fields.iter().filter(|(_, value)| !value.is_null());
                let mut map = serializer.serialize_map(None)?;
                for (key, value) in fields {
                    map.serialize_entry(&Text(key), &Json(value))?;
                }
                map.end()
            }
            other => other.serialize(serializer),
        }
    }
}

pub(super) fn text<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    Text(text).serialize(serializer)
}

#[expect(clippy::ref_option, reason = "serde hands it over so")]
pub(super) fn option<S: Serializer>(
    text: &Option<String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    text.as_deref().map(Text).serialize(serializer)
}

pub(super) fn map<S: Serializer>(
    texts: &BTreeMap<String, String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(texts.len()))?;
    for (key, value) in texts {
        map.serialize_entry(&Text(key), &DoubleQuoted(value))?;
    }
    map.end()
}

pub(super) fn json<S: Serializer>(value: &Value, serializer: S) -> Result<S::Ok, S::Error> {
    Json(value).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_taken_for_something_else_stands_in_quotes() {
        for text in ["web", "apps/v1", "cpu", "Utilization", "my_name-2.x"] {
            assert!(is_plain(text), "{text}");
        }
        for text in [
            "",
            "1",
            "on",
            "No",
            "12:30",
            "0 6 * * *",
            "~",
            "a: b",
            "#x",
            "- a",
            "1e3",
            "null",
        ] {
            assert!(!is_plain(text), "{text}");
            let yaml = serde_saphyr::to_string(&Text(text)).unwrap();
            assert!(yaml.starts_with('"'), "{yaml}");
            assert_eq!(serde_saphyr::from_str::<String>(&yaml).unwrap(), text);
        }
    }
}
