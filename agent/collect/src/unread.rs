//! What this machine couldn't tell, in words for whoever runs it.
//!
//! Each is a state: it is said again with each measurement while it lasts, and
//! whoever writes it down does so when it begins and when its words change. What
//! is named here is left out of what was measured; it never counts as zero.

/// One thing that is missing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unread {
    /// From a closed set for each machine: `psi-cpu`, `file system nodefs`.
    pub what: String,
    /// With the way out, where there is one.
    pub why: String,
    /// Something that should work doesn't. Otherwise this machine just lacks it, as
    /// most machines lack a GPU.
    pub fault: bool,
}

impl Unread {
    pub fn absent(what: impl Into<String>, why: impl Into<String>) -> Unread {
        Unread {
            what: what.into(),
            why: why.into(),
            fault: false,
        }
    }

    pub fn fault(what: impl Into<String>, why: impl Into<String>) -> Unread {
        Unread {
            fault: true,
            ..Unread::absent(what, why)
        }
    }
}
