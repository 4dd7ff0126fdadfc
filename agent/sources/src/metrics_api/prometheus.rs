//! Finds the number in Prometheus' text format: the first series that a selector
//! such as `jobs{queue="a",state!="done"}` is met by.

use crate::{Number, Reason, number};

/// A series' name, which may be left out, and what its labels must (not) be.
struct Selector {
    name: String,
    labels: Vec<(String, bool, String)>,
}

pub(super) fn check_location(location: &str) -> Result<(), String> {
    match selector(location) {
        Some(_) => Ok(()),
        None => Err(
            "must be a series such as `jobs` or `jobs{queue=\"a\",state!=\"done\"}`; regular \
             expressions are not supported"
                .to_owned(),
        ),
    }
}

pub(super) fn read(body: &[u8], location: &str) -> Result<Number, Reason> {
    let unreadable = |why: String| Reason::Unreadable {
        format: "Prometheus' text format",
        why,
    };
    let text = std::str::from_utf8(body).map_err(|error| unreadable(error.to_string()))?;
    let wanted = selector(location)
        .ok_or_else(|| Reason::Misconfigured(format!("`{location}` is no series")))?;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let broken = || unreadable(format!("line {} is no sample", index + 1));
        let (name, rest) = name(line);
        let (labels, rest) = labels(rest).ok_or_else(broken)?;
        // A time may stand behind the value.
        let value = rest.split_whitespace().next().ok_or_else(broken)?;
        if wanted.is_met_by(name, &labels) {
            return number::read(value, location);
        }
    }
    Err(Reason::Missing {
        location: location.to_owned(),
    })
}

impl Selector {
    fn is_met_by(&self, name: &str, labels: &[(String, bool, String)]) -> bool {
        let has = |key: &str| {
            let mut own = labels.iter();
            own.find(|(own, ..)| own == key)
                .map_or("", |(_, _, value)| value.as_str())
        };
        (self.name.is_empty() || self.name == name)
            && self
                .labels
                .iter()
                .all(|(key, equal, value)| (has(key) == value) == *equal)
    }
}

fn selector(text: &str) -> Option<Selector> {
    let (name, rest) = name(text.trim());
    let (labels, rest) = labels(rest)?;
    let says = !name.is_empty() || !labels.is_empty();
    (says && rest.trim().is_empty()).then(|| Selector {
        name: name.to_owned(),
        labels,
    })
}

fn name(text: &str) -> (&str, &str) {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    text.split_at(text.find(|c| !word(c)).unwrap_or(text.len()))
}

/// The labels in braces, if any, and what stands behind them. A sample's labels all
/// are equal to something.
#[expect(clippy::type_complexity, reason = "it is read in one place")]
fn labels(text: &str) -> Option<(Vec<(String, bool, String)>, &str)> {
    let mut found = Vec::new();
    let Some(mut rest) = text.trim_start().strip_prefix('{') else {
        return Some((found, text));
    };
    loop {
        rest = rest.trim_start();
        if let Some(behind) = rest.strip_prefix('}') {
            return Some((found, behind));
        }
        let (key, behind) = name(rest);
        let behind = behind.trim_start();
        let (equal, behind) = match behind.strip_prefix("!=") {
            Some(behind) => (false, behind),
            None => (true, behind.strip_prefix('=')?),
        };
        let (value, behind) = quoted(behind.trim_start())?;
        if key.is_empty() {
            return None;
        }
        found.push((key.to_owned(), equal, value));
        let behind = behind.trim_start();
        rest = match behind.strip_prefix(',') {
            Some(behind) => behind,
            None if behind.starts_with('}') => behind,
            None => return None,
        };
    }
}

/// A text in quotes, with `\\`, `\"` and `\n` in it, and what stands behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('"')?;
    let mut value = String::new();
    let mut letters = inner.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &inner[at + 1..])),
            '\\' => value.push(match letters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}
