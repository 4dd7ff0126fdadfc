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
    /// The document's outline. Fails only where it isn't YAML, or too much of it.
    pub fn outline(&self) -> Result<Outline, Problem> {
        let root: Spanned<Node> = serde_saphyr::from_str_with_options(self.text, options())
            .map_err(|error| Problem {
                place: place_of(error.location(), self.lines_before),
                field: String::new(),
                why: words(&error),
            })?;
        Ok(Outline {
            root,
            lines_before: self.lines_before,
        })
    }

    /// Reads the document as a `T`; the outline is this document's.
    pub fn read<T: DeserializeOwned>(&self, outline: &Outline) -> Result<T, Problem> {
        let mut field = String::new();
        serde_saphyr::with_deserializer_from_str_with_options(self.text, options(), |reader| {
            serde_path_to_error::deserialize(reader).map_err(|error| {
                field = error.path().to_string();
                error.into_inner()
            })
        })
        .map_err(|error| Problem {
            // The reader notices only behind a map that something is missing in it.
            place: match error.without_snippet() {
                Error::SerdeMissingField { .. } => outline.place(&field),
                error => place_of(error.location(), self.lines_before),
            },
            // A path of no steps.
            field: if field == "." { String::new() } else { field },
            why: words(&error),
        })
    }
}

fn place_of(location: Option<Location>, lines_before: u64) -> Place {
    match location {
        Some(location) if location.line() > 0 => Place {
            line: location.line() + lines_before,
            column: location.column(),
        },
        _ => Place::default(),
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
        non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    }
}

/// Our words where the parser speaks of itself or of Rust; its own elsewhere.
fn words(error: &Error) -> String {
    match error {
        Error::WithSnippet { error, .. } | Error::AliasError { error, .. } => words(error),
        Error::SerdeUnknownField {
            field, expected, ..
        } => format!(
            "unknown field `{}`; allowed: {}",
            clip(field),
            expected.join(", ")
        ),
        Error::SerdeMissingField { field, .. } => format!("`{field}` is missing"),
        Error::SerdeUnknownVariant {
            variant, expected, ..
        } => format!(
            "`{}` is not known; allowed: {}",
            clip(variant),
            expected.join(", ")
        ),
        Error::InvalidScalar { ty, .. } if ty.starts_with(['i', 'u']) => {
            "must be a whole number".to_owned()
        }
        Error::Unexpected { expected, .. } => match *expected {
            "string scalar" => "must be a single value, not a list or a map".to_owned(),
            "mapping start" => "must be a map of fields".to_owned(),
            "sequence start" => "must be a list".to_owned(),
            other => format!("expected {other}"),
        },
        Error::NullIntoString { .. } => "is empty; write a text, or leave the field out".to_owned(),
        Error::InvalidBooleanStrict { .. } => "must be true or false".to_owned(),
        Error::UnknownAnchor { .. } => "no anchor of this name stands before it".to_owned(),
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => too_much(),
        error => match UserMessageFormatter.format_message(error) {
            // The scanner's bound on nesting, which has no type of its own here.
            words if words == "recursion limit exceeded" => too_much(),
            words => words.into_owned(),
        },
    }
}

fn too_much() -> String {
    format!(
        "is too large or nested too deeply; a document may hold {NODES_MAX} values, {DEPTH_MAX} \
         levels and {ALIASES_MAX} aliases"
    )
}

/// The beginning of a text of any length, in one line, for a message.
pub fn clip(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    let mut clipped: String = text
        .chars()
        .take(CHARS_MAX)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        clipped.push('…');
    }
    clipped
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
        place_of(Some(node.referenced), self.lines_before)
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
    let child = match node {
        Node::Scalar(_) => None,
        Node::List(items) => items.get(key.parse::<usize>().ok()?),
        Node::Map(map) => map.get(key),
    };
    Some((child?, rest))
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
