//! The keys that seal datagrams: `gossip.keys`, one a line.
//!
//! To rotate: add a new key as the last line on every node, then move it to the
//! top on every node, then remove the old one; agents read the file anew in between.
//! [`super::rotate`] does each step in the directory that `starling keys` has made.

use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::TryRng as _;
use rand::rngs::SysRng;

use super::Error;

/// A longer ring is refused.
pub const KEYS_MAX: usize = 8;
const KEY_BYTES: usize = 32;

/// Seals and opens datagrams. Stays out of logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(pub [u8; KEY_BYTES]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    pub(super) fn new() -> Result<Key, Error> {
        let mut key = [0; KEY_BYTES];
        SysRng
            .try_fill_bytes(&mut key)
            .map_err(|error| Error::Generate(error.to_string()))?;
        Ok(Key(key))
    }
}

/// The text of a ring with one new key.
pub fn generate(cluster: &str) -> Result<String, Error> {
    let comments = format!(
        "# Cluster {cluster}: seals the datagrams between its agents.\n\
         # One key a line (base64, 32 bytes): the first one seals, all of them open.\n"
    );
    Ok(text(&comments, &[Key::new()?]))
}

/// The text of a ring with these keys, and the comments of `before`.
pub fn text(before: &str, keys: &[Key]) -> String {
    let comments = before.lines().filter(|line| line.starts_with('#'));
    let keys = keys.iter().map(|key| STANDARD.encode(key.0));
    let lines = comments.map(str::to_owned).chain(keys);
    lines.flat_map(|line| [line, "\n".to_owned()]).collect()
}

/// Empty lines and lines that begin with `#` are skipped.
pub fn parse(path: &Path, text: &str) -> Result<Vec<Key>, Error> {
    let mut keys: Vec<Key> = Vec::new();
    for (index, line) in text.lines().map(str::trim).enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // The line itself stays out of the message: it may be most of a key.
        let wrong = |what: &str| Error::unsound(path, format!("line {}: {what}", index + 1));
        let bytes = STANDARD
            .decode(line)
            .map_err(|_| wrong("isn't a key in base64"))?;
        let key = Key(bytes
            .try_into()
            .map_err(|_| wrong("isn't a key of 32 bytes"))?);
        if keys.contains(&key) {
            return Err(wrong("is there twice"));
        }
        if keys.len() == KEYS_MAX {
            return Err(wrong("is one key too many: at most 8 are allowed"));
        }
        keys.push(key);
    }
    if keys.is_empty() {
        return Err(Error::unsound(path, "holds no key"));
    }
    Ok(keys)
}
