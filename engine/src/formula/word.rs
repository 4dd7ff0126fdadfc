//! A formula's words: numbers, names and signs, each with the place where it stands.
//!
//! Comes in: the text. Goes out: all of its words, or which character begins none.

use super::Error;

/// Names that mean something else in the language.
pub const RESERVED: [&str; 14] = [
    "and",
    "or",
    "not",
    "in",
    "let",
    "if",
    "else",
    "true",
    "false",
    "nil",
    "matches",
    "contains",
    "startsWith",
    "endsWith",
];

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Word<'a> {
    Int(i64),
    Float(f64),
    Name(&'a str),
    Sign(&'static str),
    End,
}

/// A word, and the byte of the text at which it begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placed<'a> {
    pub word: Word<'a>,
    pub at: usize,
}

/// Longer ones come first: `**` is one word.
const SIGNS: [&str; 28] = [
    "**", "??", "==", "!=", "<=", ">=", "&&", "||", "+", "-", "*", "/", "%", "^", "<", ">", "!",
    "?", ":", "(", ")", "[", "]", "{", "}", ",", ";", "=",
];

pub fn words(text: &str) -> Result<Vec<Placed<'_>>, Error> {
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let (word, bytes) = if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        } else if first.is_ascii_digit() || (first == '.' && digit_at(rest, 1)) {
            number(rest).map_err(|why| placed(text, at, why))?
        } else if starts_name(first) {
            let bytes = rest.find(|c| !in_name(c)).unwrap_or(rest.len());
            (Word::Name(&rest[..bytes]), bytes)
        } else if first == '#' {
            (Word::Sign("#"), 1)
        } else if let Some(sign) = SIGNS.iter().copied().find(|sign| rest.starts_with(*sign)) {
            (Word::Sign(sign), sign.len())
        } else {
            let why = match first {
                '"' | '\'' | '`' => "has a text, and formulas know numbers alone".to_owned(),
                '|' => "has `|`, which this version doesn't know; write FUNCTION(LIST)".to_owned(),
                '.' => "has `.`, which this version doesn't know outside of a number".to_owned(),
                other => format!("has `{}`, which means nothing", other.escape_debug()),
            };
            return Err(placed(text, at, why));
        };
        words.push(Placed { word, at });
        at += bytes;
    }
    words.push(Placed {
        word: Word::End,
        at: text.len(),
    });
    Ok(words)
}

/// An error at a byte of the text.
pub fn placed(text: &str, at: usize, why: impl Into<String>) -> Error {
    let before = text.get(..at).map_or(0, |before| before.chars().count());
    Error {
        why: why.into(),
        at: Some(before + 1),
    }
}

pub fn is_name(text: &str) -> bool {
    text.chars().next().is_some_and(starts_name) && text.chars().all(in_name)
}

fn starts_name(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

fn in_name(c: char) -> bool {
    starts_name(c) || c.is_ascii_digit()
}

fn digit_at(text: &str, at: usize) -> bool {
    text.as_bytes().get(at).is_some_and(u8::is_ascii_digit)
}

/// The number that the text begins with, and how many bytes it has.
fn number(text: &str) -> Result<(Word<'static>, usize), String> {
    let digits = |from: usize| {
        let rest = &text[from..];
        from + rest
            .find(|c: char| !c.is_ascii_digit() && c != '_')
            .unwrap_or(rest.len())
    };
    let whole = digits(0);
    let mut end = whole;
    if text[end..].starts_with('.') && digit_at(text, end + 1) {
        end = digits(end + 1);
    }
    if text[end..].starts_with(['e', 'E']) {
        let sign = usize::from(text[end + 1..].starts_with(['+', '-']));
        if digit_at(text, end + 1 + sign) {
            end = digits(end + 1 + sign);
        }
    }
    let shown = || text[..end].chars().take(40).collect::<String>();
    if text[end..].chars().next().is_some_and(in_name) {
        return Err(format!("has `{}` right behind a number", shown()));
    }
    let plain: String = text[..end].chars().filter(|c| *c != '_').collect();
    if end == whole {
        let value = plain.parse().map(Word::Int);
        return match value {
            Ok(word) => Ok((word, end)),
            Err(_) => Err(format!("has {}, which is too large", shown())),
        };
    }
    match plain.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok((Word::Float(value), end)),
        _ => Err(format!("has {}, which is too large", shown())),
    }
}
