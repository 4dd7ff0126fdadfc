//! Makes the certificates in a directory of `starling keys` anew, each with a new key.
//!
//! Comes in: that directory, and whose. Goes out: for each node and for users, files in
//! place of the former ones, with the same names and hosts. An agent that reads such a
//! directory finds the former identity or the new one, never half of each. The authority
//! and the gossip keys stay as they are.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::certificate::{self, day, validity};
use super::{CA, Error, NODE, NODE_KEY, RING, Role, USER, USER_KEY, USERS, file, reopen};

/// What [`renew`] did; its `Display` is meant for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewed {
    /// Each directory, and the day on which its new certificate ends.
    pub directories: Vec<(PathBuf, String)>,
    pub authority_until: String,
}

impl fmt::Display for Renewed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (directory, until) in &self.directories {
            writeln!(f, "renewed {}, valid until {until}", directory.display())?;
        }
        writeln!(f, "The authority is valid until {}.", self.authority_until)?;
        write!(
            f,
            "Copy each directory over the former one on its machine: agents take it over within \
             ten seconds, without a restart."
        )
    }
}

/// Renews the certificates of `names` in `out`, nodes' or `client`; of all that are there
/// where none is named. Others' stay as they are.
pub fn renew(out: &Path, names: &[String]) -> Result<Renewed, Error> {
    let (authority, _) = reopen(out, None)?;
    let known = holders(out)?;
    if let Some(name) = names.iter().find(|name| !known.contains(name)) {
        return Err(Error::Unknown {
            directory: out.to_owned(),
            name: name.clone(),
            known: known.join(", "),
        });
    }
    let mut directories = Vec::new();
    for name in &known {
        if !names.is_empty() && !names.contains(name) {
            continue;
        }
        let directory = out.join(name);
        let leaf = if name == USERS {
            authority.issue(Role::Client)?
        } else {
            let path = directory.join(NODE);
            let node = certificate::node_of(&path, &file::read(&path)?)?;
            authority.issue(Role::Node(&node))?
        };
        let until = day(validity(&leaf.certificate)?.until_s);
        let ca = (CA, authority.certificate.as_str());
        if name == USERS {
            let files = [ca, (USER, &leaf.certificate), (USER_KEY, &leaf.key)];
            file::replace_directory(&directory, &files)?;
        } else {
            let ring = file::read_secret(&directory.join(RING))?;
            let files = [
                ca,
                (NODE, &leaf.certificate),
                (NODE_KEY, &leaf.key),
                (RING, &ring),
            ];
            file::replace_directory(&directory, &files)?;
        }
        directories.push((directory, until));
    }
    Ok(Renewed {
        directories,
        authority_until: authority.until(),
    })
}

/// Names of the directories in `out` that hold somebody's certificate, in order.
pub fn holders(out: &Path) -> Result<Vec<String>, Error> {
    let failed = |source| Error::Unreadable {
        path: out.to_owned(),
        source,
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(out).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let holds = if name == USERS { USER } else { NODE };
        // One that begins with a dot is left over from a run that was cut off.
        if !name.starts_with('.') && entry.path().join(holds).exists() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
