//! What can go wrong between a test and its cluster.

use std::io;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This machine lacks something that a cluster needs; the text says what to do.
    #[error("{0}")]
    Missing(String),
    #[error("can't {what}")]
    Io {
        what: String,
        #[source]
        source: io::Error,
    },
    #[error("`{command}` {how}: {output}")]
    Command {
        command: String,
        /// How it ended.
        how: String,
        /// The last lines that it wrote.
        output: String,
    },
    #[error("waited {limit:?} for this: {what}; last seen: {last}")]
    Deadline {
        what: String,
        limit: Duration,
        last: String,
    },
    #[error("there is no node {0} in this cluster")]
    NoNode(String),
    #[error("no running container belongs to the pod {namespace}/{pod}")]
    NoContainer { namespace: String, pod: String },
    #[error("the API server refused a fake object")]
    Api {
        #[source]
        source: Box<kube::Error>,
    },
    #[error("can't make the certificate of {name}")]
    Certificate {
        name: String,
        #[source]
        source: rcgen::Error,
    },
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Names what was tried when the operating system refuses.
pub(crate) trait Trying<T> {
    fn trying(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Trying<T> for io::Result<T> {
    fn trying(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io {
            what: what(),
            source,
        })
    }
}
