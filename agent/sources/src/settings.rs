//! What the settings of several kinds of source have in common.
//!
//! Comes in: a trigger's metadata. Goes out: what a setting says, or what is wrong with it,
//! in words that name what may be written.

use std::collections::BTreeMap;

use crate::secrets::{self, AUTHENTICATION, AUTHENTICATION_CONTAINER, AUTHENTICATION_KIND};
use crate::stream::Address;

/// A trigger's settings, by KEDA's names for them.
pub(crate) type Metadata = BTreeMap<String, String>;
/// Settings that can't be used: key, empty where one is missing, and reason.
pub(crate) type Wrong = Vec<(String, String)>;

/// What a reference that stands beside the settings becomes; nothing that users write.
const REFERENCE: [&str; 3] = [
    AUTHENTICATION,
    AUTHENTICATION_KIND,
    AUTHENTICATION_CONTAINER,
];
/// KEDA's default, in milliseconds, and what a user may ask for.
pub(crate) const TIMEOUT_DEFAULT_MS: u64 = 3_000;
const TIMEOUT_MS_MAX: u64 = 60_000;
/// Of what a user wrote, in a message.
const SHOWN_CHARS_MAX: usize = 80;

/// Settings that this kind doesn't have, and a reference that is no name.
pub(crate) fn strange(metadata: &Metadata, keys: &[&str]) -> Wrong {
    let found = written(metadata).filter(|(key, _)| !keys.contains(key));
    let why = |(key, _): (&str, _)| {
        let mut why = format!("is not supported; allowed: {}", keys.join(", "));
        if key.to_lowercase().contains("password") {
            why += "; a password belongs into what an `authenticationRef` names";
        }
        (key.to_owned(), why)
    };
    let mut wrong: Wrong = found.map(why).collect();
    wrong.extend(no_name(metadata));
    wrong
}

/// What is wrong with where a server is and who asks it, said one by one. `whole` is the
/// parameter that may say all of that instead.
pub(crate) fn check_server(
    metadata: &Metadata,
    port_default: &str,
    needed: &[&str],
    whole: &str,
) -> Wrong {
    let mut wrong = Wrong::new();
    let refers = metadata.contains_key(AUTHENTICATION);
    let port = metadata.get("port").map_or(port_default, String::as_str);
    // Where the host is said elsewhere, any stands for it.
    let host = metadata.get("host").map_or("host", String::as_str);
    if let Err(why) = Address::of(host, port) {
        let said = ["host", "port"]
            .into_iter()
            .find(|key| metadata.contains_key(*key));
        wrong.push((said.unwrap_or("host").to_owned(), why));
    }
    for key in needed {
        if text(metadata, key).is_empty() && !refers {
            let why = format!(
                "`{key}` is missing, here or, as it or as a part of `{whole}`, in what an \
                 `authenticationRef` names"
            );
            wrong.push((String::new(), why));
        }
    }
    wrong
}

/// A reference that is no name.
pub(crate) fn no_name(metadata: &Metadata) -> Option<(String, String)> {
    let why = secrets::check(metadata.get(AUTHENTICATION)?).err()?;
    Some((AUTHENTICATION.to_owned(), why))
}

/// What users wrote as settings, and no reference.
pub(crate) fn written(metadata: &Metadata) -> impl Iterator<Item = (&str, &str)> {
    let settings = metadata
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()));
    settings.filter(|(key, _)| !REFERENCE.contains(key))
}

/// The setting's text; empty where it is left out.
pub(crate) fn text<'a>(metadata: &'a Metadata, key: &str) -> &'a str {
    metadata.get(key).map(String::as_str).unwrap_or_default()
}

/// How long to wait for an answer.
pub(crate) fn timeout_ms(metadata: &Metadata) -> Result<u64, String> {
    let Some(text) = metadata.get("timeout") else {
        return Ok(TIMEOUT_DEFAULT_MS);
    };
    // As KEDA takes it: milliseconds, or one of Go's durations, such as `2s`.
    let (digits, unit_ms) = if let Some(digits) = text.strip_suffix("ms") {
        (digits, 1)
    } else if let Some(digits) = text.strip_suffix('s') {
        (digits, 1_000)
    } else {
        (text.as_str(), 1)
    };
    let ms = digits.parse::<u64>().ok();
    ms.and_then(|number| number.checked_mul(unit_ms))
        .filter(|ms| (1..=TIMEOUT_MS_MAX).contains(ms))
        .ok_or_else(|| {
            format!(
                "must be 1 to {TIMEOUT_MS_MAX} milliseconds, such as `2500`, `500ms` or `2s`, is \
                 `{}`",
                shown(text)
            )
        })
}

/// What is `false` where it is left out.
pub(crate) fn flag(metadata: &Metadata, key: &str) -> Result<bool, String> {
    match metadata.get(key).map(String::as_str) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(format!("must be true or false, is `{}`", shown(other))),
    }
}

/// Pairs as KEDA writes them: `a=1,b=2`.
pub(crate) fn pairs(text: &str) -> Result<Vec<(&str, &str)>, String> {
    let parts = text.split(',').filter(|part| !part.trim().is_empty());
    let pairs = parts.map(|part| match part.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim(), value.trim())),
        _ => {
            let why = "must be pairs such as `a=1,b=2`, and holds";
            Err(format!("{why} `{}`", shown(part)))
        }
    });
    pairs.collect()
}

/// What to say where something else was written than what is allowed.
pub(crate) fn not_known(written: &str, allowed: &[&str]) -> String {
    format!(
        "`{}` is not known; allowed: {}",
        shown(written),
        allowed.join(", ")
    )
}

/// The beginning of what somebody wrote or answered, in one line, for a message.
pub(crate) fn shown(text: &str) -> String {
    let mut shown = String::new();
    for letter in text.chars().take(SHOWN_CHARS_MAX) {
        if matches!(letter, '"' | '\'') {
            shown.push(letter);
        } else {
            shown.extend(letter.escape_debug());
        }
    }
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}
