//! Reads YAML so that every complaint can name a line, a column and a field.
//!
//! Comes in: a text and a type. Goes out: the value, or a [`Problem`] for each
//! thing that keeps the text from being one. Knows nothing of policies;
//! `starling agent`'s settings are read through it too.

mod collect;
mod near;
mod outline;

use std::fmt;

use serde::de::DeserializeOwned;
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Error, Location, MessageFormatter, Options, UserMessageFormatter};

pub use collect::{Elsewhere, Partial};
pub use outline::Outline;

/// Deeper nesting is refused: what users write here needs 8 levels.
pub const DEPTH_MAX: usize = 32;
/// More nodes (maps, lists, scalars) in one document are refused.
pub const NODES_MAX: usize = 20_000;
/// More uses of anchors in one document are refused.
pub const ALIASES_MAX: usize = 256;
/// Nodes that aliases may copy in one document, in all.
pub const REPLAYED_MAX: usize = 20_000;
/// Problems told of one document; the last one then says that there are more.
pub const PROBLEMS_MAX: usize = 50;

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
        self.outline_of(NODES_MAX)
    }

    /// The same of a document that may hold `nodes_max` values, as lists of objects do.
    pub fn outline_of(&self, nodes_max: usize) -> Result<Outline, Problem> {
        let mut options = options(nodes_max);
        // The outline itself tells what is written twice, beside all else.
        options.duplicate_keys = DuplicateKeyPolicy::PassThrough;
        serde_saphyr::from_str_with_options(self.text, options)
            .map(|root| Outline::new(root, self.lines_before))
            .map_err(|error| Problem {
                place: place_of(error.location(), self.lines_before),
                field: String::new(),
                why: words(&error),
            })
    }

    /// Reads the document as a `T`; the outline is this document's. `T`'s structs
    /// deny unknown fields, all of them.
    pub fn read<T: DeserializeOwned>(&self, outline: &Outline) -> Result<T, Vec<Problem>> {
        self.read_with(outline, &|_| None)
            .map_err(|partial| partial.problems)
    }

    /// The same, with what is known about fields that `T` doesn't have; where the
    /// text isn't a `T`, as much of one as it is.
    pub fn read_with<T: DeserializeOwned>(
        &self,
        outline: &Outline,
        elsewhere: &Elsewhere<'_>,
    ) -> Result<T, Partial<T>> {
        self.read_once(outline)
            .map_err(|first| collect::all(outline, elsewhere, Some(first)))
    }

    /// Reads the text itself, so that no digit of a number is lost; tells the
    /// first problem only.
    fn read_once<T: DeserializeOwned>(&self, outline: &Outline) -> Result<T, Problem> {
        let mut field = String::new();
        serde_saphyr::with_deserializer_from_str_with_options(
            self.text,
            options(NODES_MAX),
            |reader| {
                serde_path_to_error::deserialize(reader).map_err(|error| {
                    field = error.path().to_string();
                    error.into_inner()
                })
            },
        )
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

fn options(nodes_max: usize) -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_nodes: nodes_max,
            max_events: 4 * nodes_max,
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

const NOT_WHOLE: &str = "must be a whole number";
const NOT_SINGLE: &str = "must be a single value, not a list or a map";
const NOT_MAP: &str = "must be a map of fields";
const NOT_LIST: &str = "must be a list";
const NOT_BOOL: &str = "must be true or false";
const EMPTY: &str = "is empty; write a text, or leave the field out";

fn unknown_field(field: &str, allowed: &[&str]) -> String {
    format!(
        "unknown field `{}`; {}allowed: {}",
        clip(field),
        meant(field, allowed),
        allowed.join(", ")
    )
}

fn unknown_word(word: &str, allowed: &[&str]) -> String {
    format!(
        "`{}` is not known; {}allowed: {}",
        clip(word),
        meant(word, allowed),
        allowed.join(", ")
    )
}

/// A question after the one allowed word that looks much like this one.
fn meant(word: &str, allowed: &[&str]) -> String {
    near::nearest(word, allowed)
        .map(|near| format!("did you mean `{near}`? "))
        .unwrap_or_default()
}

/// Our words where the parser speaks of itself or of Rust; its own elsewhere.
fn words(error: &Error) -> String {
    match error {
        Error::WithSnippet { error, .. } | Error::AliasError { error, .. } => words(error),
        Error::SerdeUnknownField {
            field, expected, ..
        } => unknown_field(field, expected),
        Error::SerdeMissingField { field, .. } => format!("`{field}` is missing"),
        Error::SerdeUnknownVariant {
            variant, expected, ..
        } => unknown_word(variant, expected),
        Error::InvalidScalar { ty, .. } if ty.starts_with(['i', 'u']) => NOT_WHOLE.to_owned(),
        Error::Unexpected { expected, .. } => match *expected {
            "string scalar" => NOT_SINGLE.to_owned(),
            "mapping start" => NOT_MAP.to_owned(),
            "sequence start" => NOT_LIST.to_owned(),
            other => format!("expected {other}"),
        },
        Error::NullIntoString { .. } => EMPTY.to_owned(),
        Error::InvalidBooleanStrict { .. } => NOT_BOOL.to_owned(),
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
