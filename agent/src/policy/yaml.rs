//! Reads YAML so that every complaint can name a line, a column and a field.
//!
//! Comes in: a text and a type. Goes out: the value, or a [`Problem`]. Knows
//! nothing of policies; `starling agent`'s settings are read through it too.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_saphyr::{Error, Location, MessageFormatter, Options, Spanned, UserMessageFormatter};

/// Deeper nesting is refused: what users write here needs 8 levels.
pub const DEPTH_MAX: usize = 32;
/// More nodes (maps, lists, scalars) in one document are refused.
pub const NODES_MAX: usize = 20_000;
/// More uses of anchors in one document are refused.
pub const ALIASES_MAX: usize = 256;
/// Nodes that aliases may copy in one document, in all.
pub const REPLAYED_MAX: usize = 20_000;

/// Where something stands in a text: lines and columns count from 1; 0 is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: u64,
    pub column: u64,
}

/// One thing wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub place: Place,
    /// Such as `spec.triggers[1].name`; empty where no field is meant.
    pub field: String,
    /// What is wrong and what is allowed.
    pub why: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => f.write_str(&self.why),
            field => write!(f, "{field}: {}", self.why),
        }
    }
}

/// One document of a text that may hold several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Document<'a> {
    pub text: &'a str,
    /// Lines of the whole text that come before it.
    pub lines_before: u64,
}

/// Cuts a text at its `---` lines. YAML allows none within a document, in
/// quoted and block scalars neither, so no parsing is needed (YAML 1.2.2, rule
/// `c-forbidden`). Documents of comments and blanks alone are left out.
pub fn documents(text: &str) -> Vec<Document<'_>> {
    let mut found = Vec::new();
    let (mut start, mut lines_before) = (0, 0);
    let (mut offset, mut line_number) = (0, 0);
    for line in text.split_inclusive('\n') {
        let marker = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if marker && offset > start {
            found.push(Document {
                text: &text[start..offset],
                lines_before,
            });
            (start, lines_before) = (offset, line_number);
        }
        offset += line.len();
        line_number += 1;
    }
    found.push(Document {
        text: &text[start..],
        lines_before,
    });
    found.retain(|document| !is_blank(document.text));
    found
}

fn is_blank(text: &str) -> bool {
    text.trim_start_matches('\u{feff}').lines().all(|line| {
        let line = line.strip_prefix("---").unwrap_or(line).trim();
        line.is_empty() || line == "..." || line.starts_with('#')
    })
}

impl Document<'_> {
    /// Reads the document as a `T`.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let mut field = String::new();
        serde_saphyr::with_deserializer_from_str_with_options(self.text, options(), |reader| {
            serde_path_to_error::deserialize(reader).map_err(|error| {
                field = error.path().to_string();
                error.into_inner()
            })
        })
        .map_err(|error| self.problem(field, &error))
    }

    /// The document's outline. Fails only where it isn't YAML, or too much of it.
    pub fn outline(&self) -> Result<Outline, Problem> {
        self.read::<Spanned<Node>>().map(|root| Outline {
            root,
            lines_before: self.lines_before,
        })
    }

    fn problem(&self, field: String, error: &Error) -> Problem {
        let error = error.without_snippet();
        let place = error.location().unwrap_or(Location::UNKNOWN);
        let field = if field == "." { String::new() } else { field };
        Problem {
            place: place_of(place, self.lines_before),
            field,
            why: words(error),
        }
    }
}

fn place_of(location: Location, lines_before: u64) -> Place {
    match location.line() {
        0 => Place::default(),
        line => Place {
            line: line + lines_before,
            column: location.column(),
        },
    }
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_nodes: NODES_MAX,
            max_events: 4 * NODES_MAX,
            max_aliases: ALIASES_MAX,
            max_anchors: ALIASES_MAX,
            max_documents: 1,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: REPLAYED_MAX,
            max_replay_stack_depth: DEPTH_MAX,
        },
        strict_booleans: true,
        with_snippet: false,
    }
}

/// Our words where serde's speak of Rust, the parser's own elsewhere.
fn words(error: &Error) -> String {
    match error {
        Error::SerdeUnknownField {
            field, expected, ..
        } => {
            format!("unknown field `{field}`; allowed: {}", expected.join(", "))
        }
        Error::SerdeMissingField { field, .. } => format!("`{field}` is missing"),
        Error::SerdeUnknownVariant {
            variant, expected, ..
        } => {
            format!("`{variant}` is not known; allowed: {}", expected.join(", "))
        }
        Error::InvalidScalar { ty, .. } if ty.starts_with(['i', 'u']) => {
            "must be a whole number".to_owned()
        }
        Error::NullIntoString { .. } => "is empty; write a text, or leave the field out".to_owned(),
        Error::InvalidBooleanStrict { .. } => "must be true or false".to_owned(),
        Error::Message { msg, .. } => msg.clone(),
        error => UserMessageFormatter.format_message(error).into_owned(),
    }
}

/// What stands where in a document.
#[derive(Debug)]
pub struct Outline {
    root: Spanned<Node>,
    lines_before: u64,
}

/// A value without its meaning.
#[derive(Debug)]
enum Node {
    Scalar(String),
    List(Vec<Spanned<Node>>),
    Map(BTreeMap<String, Spanned<Node>>),
}

impl Outline {
    /// The text at a path of keys, where there is a scalar.
    pub fn text(&self, keys: &[&str]) -> Option<&str> {
        let mut node = &self.root;
        for key in keys {
            let Node::Map(map) = &node.value else {
                return None;
            };
            node = map.get(*key)?;
        }
        match &node.value {
            Node::Scalar(text) => Some(text),
            Node::List(_) | Node::Map(_) => None,
        }
    }

    /// Where `field` stands (`spec.triggers[1].name`), or what is nearest above it.
    pub fn place(&self, field: &str) -> Place {
        let mut node = &self.root;
        let mut rest = field;
        while let Some((child, after)) = step(&node.value, rest) {
            (node, rest) = (child, after);
        }
        place_of(node.referenced, self.lines_before)
    }
}

/// The child of `node` that `path` leads through, and what is left of the path.
/// Keys may hold dots, so the longest key that fits is taken.
fn step<'a, 'p>(node: &'a Node, path: &'p str) -> Option<(&'a Spanned<Node>, &'p str)> {
    match node {
        Node::Scalar(_) => None,
        Node::List(items) => {
            let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
            Some((items.get(index.parse::<usize>().ok()?)?, rest))
        }
        Node::Map(map) => {
            let path = path.strip_prefix('.').unwrap_or(path);
            map.iter()
                .filter_map(|(key, child)| {
                    let rest = path.strip_prefix(key.as_str())?;
                    (rest.is_empty() || rest.starts_with(['.', '['])).then_some((child, rest))
                })
                .min_by_key(|(_, rest)| rest.len())
        }
    }
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
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_owned()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Scalar(String::new()))
    }

    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Scalar(String::new()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut fields = BTreeMap::new();
        while let Some((key, value)) = map.next_entry()? {
            fields.insert(key, value);
        }
        Ok(Node::Map(fields))
    }
}
