//! Which workload a policy sizes, and what policies are called.
//!
//! Both carry a namespace, as Kubernetes' objects do; on bare machines it is
//! [`NAMESPACE`]. A target is a capability: whatever has a size that can be
//! read and set. Never does I/O.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The namespace of whatever states none.
pub const NAMESPACE: &str = "default";
/// The kind of the workloads that the agents run themselves.
pub const PROCESS: &str = "Process";

/// A policy's name, unique in the cluster. Stored and sent as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub struct Name {
    pub namespace: String,
    pub name: String,
}

/// The workload that a policy sizes. Versions of one API group mean the same
/// workload, so none is part of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Target {
    /// Kubernetes' API group, such as `apps`; empty for its core and for processes.
    pub group: String,
    /// [`PROCESS`], or a kind of that group that has the `scale` subresource.
    pub kind: String,
    pub namespace: String,
    pub name: String,
}

/// How a size becomes replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Every agent runs its share, which the ledger holds.
    Placed,
    /// The platform carries the size out, and says what it is.
    Scaled,
}

impl Name {
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Name {
        Name {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl Default for Name {
    fn default() -> Self {
        Name::new(NAMESPACE, "")
    }
}

/// `namespace/name`, or a name alone in [`NAMESPACE`]; the inverse of `Display`.
impl From<&str> for Name {
    fn from(text: &str) -> Self {
        let (namespace, name) = text.split_once('/').unwrap_or((NAMESPACE, text));
        Name::new(namespace, name)
    }
}

/// Compares with what is shown.
impl PartialEq<str> for Name {
    fn eq(&self, text: &str) -> bool {
        let (namespace, name) = text.split_once('/').unwrap_or((NAMESPACE, text));
        (self.namespace.as_str(), self.name.as_str()) == (namespace, name)
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, text: &&str) -> bool {
        *self == **text
    }
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.to_string()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        qualified(f, &self.namespace, &self.name)
    }
}

impl Target {
    /// A workload that the agents run themselves.
    pub fn process(name: impl Into<String>) -> Target {
        Target {
            group: String::new(),
            kind: PROCESS.into(),
            namespace: NAMESPACE.into(),
            name: name.into(),
        }
    }

    pub fn form(&self) -> Form {
        if self.group.is_empty() && self.kind == PROCESS {
            Form::Placed
        } else {
            Form::Scaled
        }
    }
}

impl Default for Target {
    fn default() -> Self {
        Target::process("")
    }
}

/// `Deployment shop/web`; the group is left out, for a person seldom needs it.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind)?;
        qualified(f, &self.namespace, &self.name)
    }
}

fn qualified(f: &mut fmt::Formatter<'_>, namespace: &str, name: &str) -> fmt::Result {
    if namespace == NAMESPACE {
        f.write_str(name)
    } else {
        write!(f, "{namespace}/{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_shown() {
        for name in [Name::from("web"), Name::new("shop", "web")] {
            assert_eq!(Name::from(name.to_string().as_str()), name);
        }
        assert_eq!(Name::new("shop", "web").to_string(), "shop/web");
        assert_eq!(Name::from("web").to_string(), "web");
    }

    #[test]
    fn only_processes_are_placed() {
        assert_eq!(Target::process("web").form(), Form::Placed);
        let of = |group: &str, kind: &str| Target {
            group: group.into(),
            kind: kind.into(),
            ..Target::process("web")
        };
        assert_eq!(of("apps", "Deployment").form(), Form::Scaled);
        assert_eq!(of("example.com", "Process").form(), Form::Scaled);
    }
}
