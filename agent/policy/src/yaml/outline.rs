//! A document's values without their meaning, and where each of them stands.
//!
//! Comes in: what the parser reads. Goes out: scalars by their path, places, and
//! the tree itself to [`super::collect`].

use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_saphyr::Spanned;

use super::collect::{self, Elsewhere, Partial};
use super::{Place, place_of};

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
    /// As written, no key twice.
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
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
            Node::Map(fields) => fields
                .iter()
                .find_map(|(it, value)| (it.value == key).then_some(value)),
            _ => None,
        }
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
        let Node::Map(fields) = self.root.value else {
            return Vec::new();
        };
        let items = fields.into_iter().find(|(key, _)| key.value == "items");
        let items = match items.map(|(_, value)| value.value) {
            Some(Node::List(items)) => items,
            _ => Vec::new(),
        };
        let outline = |item| Outline::new(item, self.lines_before);
        items.into_iter().map(outline).collect()
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
        let mut fields = Vec::new();
        while let Some(entry) = map.next_entry()? {
            fields.push(entry);
        }
        Ok(Node::Map(fields))
    }
}
