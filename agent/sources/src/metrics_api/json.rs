//! Finds the number in an answer that is JSON.
//!
//! Comes in: a body of at most 1 MiB and a gjson path. Goes out: milli-units,
//! rounded up as Kubernetes rounds them. Never panics, whatever was answered.

use serde::de::IgnoredAny;

use crate::{Number, Reason, number};

pub(super) const LOCATION_BYTES_MAX: usize = 256;

/// Modifiers (`@pretty`) and multipaths (`{a,b}`) rewrite the answer and never
/// give a number that a plain path doesn't, so they are not allowed.
pub(super) fn check_location(location: &str) -> Result<(), String> {
    if location.is_empty() || location.len() > LOCATION_BYTES_MAX {
        return Err(format!(
            "must hold 1 to {LOCATION_BYTES_MAX} bytes, holds {}",
            location.len()
        ));
    }
    if location
        .split(['.', '|'])
        .any(|part| part.starts_with(['@', '{', '[', '!']))
    {
        return Err(
            "must be a plain path such as `queue.jobs` or `queues.#(name==\"a\").jobs`: \
             modifiers, multipaths and literals are not supported"
                .to_owned(),
        );
    }
    if location.matches('*').count() > 1 && !holds_one_text(location) {
        return Err(
            "may hold one `*`, or two around a text as in `#(name%\"*text*\")`: more would be \
             tried in every combination, which may take for ever"
                .to_owned(),
        );
    }
    Ok(())
}

/// Whether the only two `*` are those of one query for what holds a text, such as
/// `queues.#(name%"*text*").jobs`. The last `*` there ends the pattern, so nothing is
/// tried twice. Nothing else in the path may make gjson read it otherwise.
fn holds_one_text(location: &str) -> bool {
    const SPECIAL: &str = "*%!=<>\"\\()";
    let plain = |text: &str| !text.contains(|c| SPECIAL.contains(c));
    let parts = || {
        let (before, rest) = location.split_once("%\"*")?;
        let (text, after) = rest.split_once("*\")")?;
        let (path, name) = before
            .strip_suffix('!')
            .unwrap_or(before)
            .split_once("#(")?;
        let after = after.strip_prefix('#').unwrap_or(after);
        let path_ends = path.is_empty() || path.ends_with(['.', '|']);
        let after_begins = after.is_empty() || after.starts_with(['.', '|']);
        let all_plain = [path, name, text, after].into_iter().all(plain);
        Some(path_ends && after_begins && all_plain)
    };
    parts().unwrap_or(false)
}

pub(super) fn read(body: &[u8], location: &str) -> Result<Number, Reason> {
    // gjson takes anything for JSON, so validity is checked first; serde_json
    // also bounds the nesting.
    serde_json::from_slice::<IgnoredAny>(body).map_err(|error| not_json(error.to_string()))?;
    let text = std::str::from_utf8(body).map_err(|error| not_json(error.to_string()))?;
    let found = gjson::get(text, location);
    if !found.exists() {
        let location = location.to_owned();
        return Err(Reason::Missing { location });
    }
    let number = match found.kind() {
        gjson::Kind::Number => found.json().trim(),
        gjson::Kind::String => found.str(),
        gjson::Kind::Null => return Err(not_a_number(location, "null")),
        gjson::Kind::True | gjson::Kind::False => return Err(not_a_number(location, found.json())),
        gjson::Kind::Array => return Err(not_a_number(location, "a list")),
        gjson::Kind::Object => return Err(not_a_number(location, "an object")),
    };
    number::read(number, location)
}

fn not_json(why: String) -> Reason {
    Reason::Unreadable {
        format: "JSON",
        why,
    }
}

fn not_a_number(location: &str, is: &str) -> Reason {
    Reason::NotANumber {
        location: location.to_owned(),
        is: is.to_owned(),
    }
}
