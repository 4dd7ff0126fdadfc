//! Finds the number in YAML and XML, by a path of names and indexes with dots between.
//!
//! An XML element is the map of its children, with attributes under their names
//! behind a `-`, and its own text under `#text` where it has either; several
//! children of one name are a list. The root's name comes first in the path.

use serde_json::{Map, Value};

use crate::{Number, Reason, number};

/// Deeper nesting isn't read.
const DEPTH_MAX: usize = 64;
/// Values, or XML's nodes, in one answer; each takes some hundred bytes.
const NODES_MAX: usize = 50_000;

pub(super) fn check_location(location: &str) -> Result<(), String> {
    if location.split('.').any(str::is_empty) {
        return Err("must be names and indexes with dots between, such as `queues.0.jobs`".into());
    }
    Ok(())
}

pub(super) fn yaml(body: &[u8], location: &str) -> Result<Number, Reason> {
    let unreadable = |why: String| Reason::Unreadable {
        format: "YAML",
        why,
    };
    let text = text(body, "YAML")?;
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_nodes: NODES_MAX,
            max_aliases: 0,
            max_documents: 1,
        },
        non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    };
    let value: Value = serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| unreadable(error.to_string()))?;
    at(&value, location)
}

pub(super) fn xml(body: &[u8], location: &str) -> Result<Number, Reason> {
    let unreadable = |why: String| Reason::Unreadable { format: "XML", why };
    let text = text(body, "XML")?;
    let options = roxmltree::ParsingOptions {
        allow_dtd: false,
        nodes_limit: NODES_MAX as u32,
        ..roxmltree::ParsingOptions::default()
    };
    let document = roxmltree::Document::parse_with_options(text, options)
        .map_err(|error| unreadable(error.to_string()))?;
    let root = document.root_element();
    let value = element(root, 0)
        .ok_or_else(|| unreadable(format!("is nested more than {DEPTH_MAX} levels deep")))?;
    let mut whole = Map::new();
    whole.insert(root.tag_name().name().to_owned(), value);
    at(&Value::Object(whole), location)
}

fn text<'a>(body: &'a [u8], format: &'static str) -> Result<&'a str, Reason> {
    std::str::from_utf8(body).map_err(|error| Reason::Unreadable {
        format,
        why: error.to_string(),
    })
}

fn element(node: roxmltree::Node<'_, '_>, depth: usize) -> Option<Value> {
    if depth > DEPTH_MAX {
        return None;
    }
    let mut fields = Map::new();
    for attribute in node.attributes() {
        let value = attribute.value().to_owned();
        fields.insert(format!("-{}", attribute.name()), Value::String(value));
    }
    let mut words = String::new();
    for child in node.children() {
        if let (true, Some(text)) = (child.is_text(), child.text()) {
            words.push_str(text);
        }
        if !child.is_element() {
            continue;
        }
        let value = element(child, depth + 1)?;
        match fields.get_mut(child.tag_name().name()) {
            None => {
                fields.insert(child.tag_name().name().to_owned(), value);
            }
            Some(Value::Array(several)) => several.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    let words = words.trim();
    if fields.is_empty() {
        return Some(Value::String(words.to_owned()));
    }
    if !words.is_empty() {
        fields.insert("#text".to_owned(), Value::String(words.to_owned()));
    }
    Some(Value::Object(fields))
}

fn at(value: &Value, location: &str) -> Result<Number, Reason> {
    let missing = || Reason::Missing {
        location: location.to_owned(),
    };
    let mut found = value;
    for step in location.split('.') {
        found = match found {
            Value::Object(fields) => fields.get(step),
            Value::Array(items) => step.parse::<usize>().ok().and_then(|at| items.get(at)),
            _ => None,
        }
        .ok_or_else(missing)?;
    }
    let not_a_number = |is: &str| {
        Err(Reason::NotANumber {
            location: location.to_owned(),
            is: is.to_owned(),
        })
    };
    match found {
        Value::Number(number) => number::read(&number.to_string(), location),
        Value::String(text) => number::read(text.trim(), location),
        Value::Null => not_a_number("null"),
        Value::Bool(value) => not_a_number(&value.to_string()),
        Value::Array(_) => not_a_number("a list"),
        Value::Object(_) => not_a_number("an object"),
    }
}
