//! What a worker carries in its environment, and its children inherit: whose it
//! is, what it runs, and which one it is.

use std::fmt::Write;
use std::path::Path;

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::spec::Spec;

/// No part but the name may hold spaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The same for one agent across its restarts.
    pub owner: String,
    /// The same for one command.
    pub edition: String,
    /// The workload.
    pub name: String,
}

impl Mark {
    /// A text that no other worker carries.
    pub fn fresh(&self) -> String {
        let (owner, edition, name) = (&self.owner, &self.edition, &self.name);
        format!("{owner} {edition} {:016x} {name}", rand::random::<u64>())
    }

    pub fn parse(text: &str) -> Option<Mark> {
        let mut parts = text.splitn(4, ' ').map(str::to_owned);
        let (owner, edition) = (parts.next()?, parts.next()?);
        let name = parts.nth(1)?;
        Some(Mark {
            owner,
            edition,
            name,
        })
    }
}

pub fn owner(cluster: &str, logs: &Path) -> String {
    digest(&json!([cluster, logs.to_string_lossy()]))
}

/// Changes with what is run. A new request for CPU or memory replaces no worker.
pub fn edition(spec: &Spec) -> String {
    let directory = spec.directory.as_deref().map(Path::to_string_lossy);
    digest(&json!([spec.command, spec.env, directory]))
}

/// 64 bits in hexadecimal: plenty to tell the agents and commands of one machine
/// apart.
fn digest(value: &serde_json::Value) -> String {
    let hash = Sha256::digest(value.to_string());
    hash.iter().take(8).fold(String::new(), |mut text, byte| {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_survives_the_environment_and_is_never_the_same_twice() {
        let mark = Mark {
            owner: "o".into(),
            edition: "e".into(),
            name: "a name with spaces".into(),
        };
        let text = mark.fresh();
        assert_eq!(Mark::parse(&text), Some(mark.clone()));
        assert_ne!(mark.fresh(), text);
        assert_eq!(Mark::parse("o e 1"), None);
        assert_eq!(Mark::parse(""), None);
    }

    #[test]
    fn a_digest_is_the_same_in_every_release() {
        assert_eq!(owner("cluster", Path::new("/data")), "fb97887a34ee8b23");
    }
}
