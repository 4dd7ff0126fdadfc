//! Reads a selector by Kubernetes' grammar (apimachinery's `labels.Parse`).
//!
//! Comes in: text. Goes out: requirements, or an error that says where the text
//! stops making sense. Never reads more than the named bounds allow.

use std::collections::BTreeSet;

use super::{BYTES_MAX, Error, REQUIREMENTS_MAX, Requirement, Selector, Test, VALUES_MAX};

/// A label's name and value, and the name part of a key.
const NAME_BYTES_MAX: usize = 63;
/// A key's prefix, a DNS name.
const PREFIX_BYTES_MAX: usize = 253;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    /// A key, a value, or the word `in` or `notin`: only its place tells.
    Word(&'a str),
    /// One of `= == != ! > < ( ) ,`.
    Sign(&'a str),
    End,
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

pub(super) fn selector(text: &str) -> Result<Selector, Error> {
    if text.len() > BYTES_MAX {
        return Err(Error::TooLong(text.len()));
    }
    let mut reader = Reader { text, at: 0 };
    if reader.peek() == Token::End {
        return Err(Error::Empty);
    }
    let mut requirements = Vec::new();
    loop {
        if requirements.len() == REQUIREMENTS_MAX {
            return Err(Error::TooMany);
        }
        requirements.push(reader.requirement()?);
        match reader.peek() {
            Token::End => return Ok(Selector { requirements }),
            Token::Sign(",") => reader.next(),
            _ => return Err(reader.unexpected("`,` or the end")),
        };
    }
}

impl<'a> Reader<'a> {
    fn requirement(&mut self) -> Result<Requirement, Error> {
        if self.peek() == Token::Sign("!") {
            self.next();
            let key = self.key()?;
            return Ok(Requirement {
                key,
                test: Test::Absent,
            });
        }
        let key = self.key()?;
        let test = match self.peek() {
            Token::End | Token::Sign(",") => Test::Exists,
            Token::Sign("=" | "==") => Test::In([self.exact_value()?].into()),
            Token::Sign("!=") => Test::NotIn([self.exact_value()?].into()),
            Token::Sign(">") => Test::Above(self.number()?),
            Token::Sign("<") => Test::Below(self.number()?),
            Token::Word("in") => Test::In(self.values(&key)?),
            Token::Word("notin") => Test::NotIn(self.values(&key)?),
            _ => return Err(self.unexpected("one of `=`, `==`, `!=`, `in`, `notin`, `>`, `<`")),
        };
        Ok(Requirement { key, test })
    }

    fn key(&mut self) -> Result<String, Error> {
        match self.peek() {
            Token::Word(word) if is_key(word) => {
                self.next();
                Ok(word.to_owned())
            }
            Token::Word(word) => Err(Error::Key(word.to_owned())),
            _ => Err(self.unexpected("a key")),
        }
    }

    /// The operator's value; nothing at all is the empty value (`a=,b=c`).
    fn exact_value(&mut self) -> Result<String, Error> {
        self.next();
        match self.peek() {
            Token::End | Token::Sign(",") => Ok(String::new()),
            Token::Word(word) => {
                self.next();
                value(word)
            }
            Token::Sign(_) => Err(self.unexpected("a value")),
        }
    }

    fn number(&mut self) -> Result<i64, Error> {
        let text = self.exact_value()?;
        text.parse().map_err(|_| Error::Number(text))
    }

    /// `in (a,b)`; between two commas, or a comma and a bracket, is the empty value.
    fn values(&mut self, key: &str) -> Result<Box<[String]>, Error> {
        self.next();
        if self.peek() != Token::Sign("(") {
            return Err(self.unexpected("`(`"));
        }
        self.next();
        if self.peek() == Token::Sign(")") {
            return Err(Error::NoValues(key.to_owned()));
        }
        let mut values = BTreeSet::new();
        loop {
            let text = match self.peek() {
                Token::Word(word) => {
                    self.next();
                    value(word)?
                }
                _ => String::new(),
            };
            values.insert(text);
            if values.len() > VALUES_MAX {
                return Err(Error::TooManyValues(key.to_owned()));
            }
            match self.peek() {
                Token::Sign(",") => self.next(),
                Token::Sign(")") => {
                    self.next();
                    return Ok(values.into_iter().collect());
                }
                _ => return Err(self.unexpected("`,` or `)`")),
            };
        }
    }

    fn peek(&self) -> Token<'a> {
        self.token().0
    }

    fn next(&mut self) -> Token<'a> {
        let (token, end) = self.token();
        self.at = end;
        token
    }

    /// The token that comes next, and where it ends.
    fn token(&self) -> (Token<'a>, usize) {
        let rest = &self.text[self.at..];
        let trimmed = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let begin = self.text.len() - trimmed.len();
        let is_sign = |c: char| "=!><(),".contains(c);
        let Some(first) = trimmed.chars().next() else {
            return (Token::End, begin);
        };
        if !is_sign(first) {
            let end = trimmed
                .find(|c: char| is_sign(c) || " \t\r\n".contains(c))
                .unwrap_or(trimmed.len());
            return (Token::Word(&trimmed[..end]), begin + end);
        }
        let len = if trimmed.starts_with("==") || trimmed.starts_with("!=") {
            2
        } else {
            1
        };
        (Token::Sign(&trimmed[..len]), begin + len)
    }

    fn unexpected(&self, expected: &'static str) -> Error {
        let (found, end) = self.token();
        let (found, len) = match found {
            Token::Word(text) | Token::Sign(text) => (format!("`{text}`"), text.len()),
            Token::End => ("the end".to_owned(), 0),
        };
        Error::Unexpected {
            at: end - len,
            found,
            expected,
        }
    }
}

fn value(text: &str) -> Result<String, Error> {
    if text.is_empty() || is_name(text) {
        Ok(text.to_owned())
    } else {
        Err(Error::Value(text.to_owned()))
    }
}

/// `[prefix/]name`.
fn is_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_prefix(prefix) && is_name(name),
        None => is_name(text),
    }
}

fn is_name(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= NAME_BYTES_MAX
        && edge(text.chars().next())
        && edge(text.chars().next_back())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn is_prefix(text: &str) -> bool {
    let label = |part: &str| {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !part.is_empty()
            && part.chars().all(allowed)
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    text.len() <= PREFIX_BYTES_MAX && text.split('.').all(label)
}
