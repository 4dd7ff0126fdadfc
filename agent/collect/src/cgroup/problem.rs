//! Why something of a pod couldn't be measured, in words for whoever runs the node.
//!
//! Each is a state, not a failure: it is said again with each measurement while
//! it lasts, and whoever writes it down does so when it begins and ends.

use std::fmt;
use std::path::PathBuf;

use super::{BUDGET_MS, CONTAINERS_MAX};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub namespace: String,
    pub pod: String,
    /// `None` where it is the whole pod's.
    pub container: Option<String>,
    pub why: Why,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.pod)?;
        if let Some(container) = &self.container {
            write!(f, ", container {container}")?;
        }
        write!(f, ": {}", self.why)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    #[error(
        "there are no cgroups in {}; mount the host's /sys and name it in HOST_SYS", .0.display()
    )]
    NoCgroups(PathBuf),
    #[error("there is no kubepods cgroup under {}; does a kubelet run here?", .0.display())]
    NoKubepods(PathBuf),
    #[error("no cgroup carries the pod's uid, in {0} kubepods cgroups; it may just be starting")]
    NoPod(usize),
    #[error("the pod's cgroup holds none with the container's id; it may just have ended")]
    NoContainer,
    #[error("its id can't be a cgroup's name: {0:?}")]
    BadId(String),
    #[error("its cgroup has gone")]
    Gone,
    #[error("its cgroup can't be read: {0}")]
    Unreadable(String),
    #[error("reading took so long that the rate would be wrong; the next window is longer")]
    Slow,
    #[error("its CPU time grew by more than this machine's CPUs can give")]
    Impossible,
    #[error("not read, since this measurement took longer than {BUDGET_MS} ms; it is next")]
    NoTime,
    #[error("the kubelet says nothing of it; it may just be starting")]
    Unsaid,
    #[error("the kubelet can't be asked: {0}")]
    Kubelet(String),
    #[error("not read, since more than {CONTAINERS_MAX} containers are measured already")]
    TooMany,
}

impl Why {
    /// None of the pod's containers is found; another search through all
    /// cgroups may find them.
    pub fn is_of_the_pod(&self) -> bool {
        matches!(
            self,
            Why::NoCgroups(_) | Why::NoKubepods(_) | Why::NoPod(_) | Why::Kubelet(_)
        )
    }
}
