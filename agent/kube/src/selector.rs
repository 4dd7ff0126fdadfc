//! Label selectors as `scale.status.selector` states them: one line of text.
//!
//! Comes in: that line, in Kubernetes' whole grammar (`=`, `==`, `!=`, `in`,
//! `notin`, a key alone, `!key`, `>`, `<`, commas). Goes out: whether labels match.
//! An empty selector is refused, as HPA refuses it: it would select every pod of
//! the namespace. Never matches on a guess.

mod parse;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

/// Longer selectors are refused.
pub const BYTES_MAX: usize = 4_096;
/// More requirements in one selector are refused.
pub const REQUIREMENTS_MAX: usize = 64;
/// More values in one `in (...)` are refused.
pub const VALUES_MAX: usize = 256;

/// Labels match where they meet every requirement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Exists,
    Absent,
    /// The key exists and has one of these values, which are sorted.
    In(Box<[String]>),
    /// The key is absent or has none of these values, which are sorted.
    NotIn(Box<[String]>),
    /// The key exists, its value is a whole number, and it is larger or smaller.
    Above(i64),
    Below(i64),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the selector is empty and would select every pod; the target's scale must state one")]
    Empty,
    #[error("a selector of {0} bytes is too long; at most {BYTES_MAX} are read")]
    TooLong(usize),
    #[error("a selector of more than {REQUIREMENTS_MAX} requirements is too long")]
    TooMany,
    #[error("more than {VALUES_MAX} values for key `{0}` are too many")]
    TooManyValues(String),
    #[error("at byte {at} of the selector: found {found}, expected {expected}")]
    Unexpected {
        at: usize,
        found: String,
        expected: &'static str,
    },
    #[error("`{0}` is no label key: [prefix/]name, at most 63 letters, digits, `-`, `_` and `.`")]
    Key(String),
    #[error("`{0}` is no label value: at most 63 letters, digits, `-`, `_` and `.`")]
    Value(String),
    #[error("`{0}` is no whole number, which `>` and `<` compare with")]
    Number(String),
    #[error("`in` and `notin` need at least one value for key `{0}`")]
    NoValues(String),
}

impl Selector {
    pub fn parse(text: &str) -> Result<Selector, Error> {
        parse::selector(text)
    }

    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|r| r.matches(labels))
    }
}

impl Requirement {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        let among = |values: &[String], value: &String| values.binary_search(value).is_ok();
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.test {
            Test::Exists => value.is_some(),
            Test::Absent => value.is_none(),
            Test::In(values) => value.is_some_and(|value| among(values, value)),
            Test::NotIn(values) => value.is_none_or(|value| !among(values, value)),
            Test::Above(least) => number().is_some_and(|number| number > *least),
            Test::Below(most) => number().is_some_and(|number| number < *most),
        }
    }
}
