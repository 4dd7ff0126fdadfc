//! A document's values without their meaning, and where each of them stands.
//!
//! Comes in: what the parser reads. Goes out: scalars by their path, places, what is
//! written twice, and the tree itself to [`super::collect`].

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_saphyr::Spanned;

use super::collect::{self, Elsewhere, Partial};
use super::{PROBLEMS_MAX, Place, Problem, place_of};

/// What stands where in a document.
#[derive(Debug)]
pub struct Outline {
    pub(super) root: Spanned<Node>,
    lines_before: u64,
}

/// A value without its meaning.
#[derive(Debug)]
pub(super) enum Node {
    Null,
    Bool(bool),
    /// Plain and a number, in its shortest form.
    Number(String),
    Text(String),
    List(Vec<Spanned<Node>>),
    Map(Map),
}

#[derive(Debug)]
pub(super) struct Map {
    /// As written, no key twice: the first one counts.
    pub fields: Vec<(Spanned<String>, Spanned<Node>)>,
    /// Keys that are in it already; what they were written for is left out.
    pub repeated: Vec<Spanned<String>>,
}

impl Node {
    /// A scalar's text; nothing's is empty.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Node::Null => Some(""),
            Node::Bool(true) => Some("true"),
            Node::Bool(false) => Some("false"),
            Node::Number(text) | Node::Text(text) => Some(text),
            Node::List(_) | Node::Map(_) => None,
        }
    }

    fn child(&self, key: &str) -> Option<&Spanned<Node>> {
        match self {
            Node::List(items) => items.get(key.parse::<usize>().ok()?),
            Node::Map(map) => map.field(key).map(|(_, value)| value),
            _ => None,
        }
    }
}

impl Map {
    fn field(&self, key: &str) -> Option<&(Spanned<String>, Spanned<Node>)> {
        self.fields.iter().find(|(it, _)| it.value == key)
    }
}

/// The path of a field of `path`; keys that may hold dots stand in brackets.
pub(super) fn child(path: &str, key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    match (path, key.chars().all(plain)) {
        ("", true) => key.to_owned(),
        (path, true) => format!("{path}.{key}"),
        (path, false) => format!("{path}[{key}]"),
    }
}

impl Outline {
    pub(super) fn new(root: Spanned<Node>, lines_before: u64) -> Outline {
        Outline { root, lines_before }
    }

    /// The text at a path of keys and indexes, where there is a scalar.
    pub fn text(&self, keys: &[&str]) -> Option<&str> {
        self.node(keys)?.text()
    }

    /// How many items the list at a path of keys has; `None` where there is none.
    pub fn length(&self, keys: &[&str]) -> Option<usize> {
        match self.node(keys)? {
            Node::List(items) => Some(items.len()),
            _ => None,
        }
    }

    fn node(&self, keys: &[&str]) -> Option<&Node> {
        let mut node = &self.root.value;
        for key in keys {
            node = &node.child(key)?.value;
        }
        Some(node)
    }

    /// As much of a `T` as the document is, and why it isn't all of it. Numbers of
    /// more digits than a double holds come rounded.
    pub fn read<T: DeserializeOwned>(&self, elsewhere: &Elsewhere<'_>) -> Partial<T> {
        collect::all(self, elsewhere, None)
    }

    /// What the document's `items` hold, each as a document of its own.
    pub fn into_items(self) -> Vec<Outline> {
        let Node::Map(map) = self.root.value else {
            return Vec::new();
        };
        let items = map.fields.into_iter().find(|(key, _)| key.value == "items");
        let items = match items.map(|(_, value)| value.value) {
            Some(Node::List(items)) => items,
            _ => Vec::new(),
        };
        let outline = |item| Outline::new(item, self.lines_before);
        items.into_iter().map(outline).collect()
    }

    /// Whether the field at a path of keys is written more than once.
    pub fn is_repeated(&self, keys: &[&str]) -> bool {
        let Some((key, above)) = keys.split_last() else {
            return false;
        };
        let Some(Node::Map(map)) = self.node(above) else {
            return false;
        };
        map.repeated.iter().any(|it| it.value == *key)
    }

    /// What is written more than once, each time but the first; one more than is told
    /// shows that there is more.
    pub(super) fn repeated(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        self.repeated_in(&self.root.value, "", &mut found);
        found
    }

    fn repeated_in(&self, node: &Node, path: &str, found: &mut Vec<Problem>) {
        match node {
            Node::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.repeated_in(&item.value, &format!("{path}[{index}]"), found);
                }
            }
            Node::Map(map) => {
                for key in &map.repeated {
                    if found.len() > PROBLEMS_MAX {
                        return;
                    }
                    let first = map.field(&key.value).map(|(first, _)| self.of(first).line);
                    found.push(Problem {
                        place: self.of(key),
                        field: child(path, &key.value),
                        why: format!(
                            "is written in line {} already; leave one of them",
                            first.unwrap_or_default()
                        ),
                    });
                }
                for (key, value) in &map.fields {
                    self.repeated_in(&value.value, &child(path, &key.value), found);
                }
            }
            _ => {}
        }
    }

    /// Where `field` stands (`spec.triggers[1].name`), or what is nearest above it.
    pub fn place(&self, field: &str) -> Place {
        let mut node = &self.root;
        let mut rest = field;
        while let Some((child, after)) = step(&node.value, rest) {
            (node, rest) = (child, after);
        }
        self.of(node)
    }

    /// Where a value or a key of this document stands.
    pub(super) fn of<T>(&self, it: &Spanned<T>) -> Place {
        place_of(Some(it.referenced), self.lines_before)
    }
}

/// The child of `node` that `path` begins with, and the rest of the path. Keys
/// that may hold dots stand in brackets, as indexes do.
fn step<'a, 'p>(node: &'a Node, path: &'p str) -> Option<(&'a Spanned<Node>, &'p str)> {
    let (key, rest) = if let Some(path) = path.strip_prefix('[') {
        path.split_once(']')?
    } else {
        let path = path.strip_prefix('.').unwrap_or(path);
        path.split_at(path.find(['.', '[']).unwrap_or(path.len()))
    };
    Some((node.child(key)?, rest))
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut seen = HashSet::new();
        let (mut fields, mut repeated) = (Vec::new(), Vec::new());
        while let Some((key, value)) = map.next_entry::<Spanned<String>, _>()? {
            if seen.insert(key.value.clone()) {
                fields.push((key, value));
            } else {
                repeated.push(key);
            }
        }
        Ok(Node::Map(Map { fields, repeated }))
    }
}
