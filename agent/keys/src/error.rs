//! What can be wrong with identities, and what mends it.

use std::path::{Path, PathBuf};

/// Each one names the file, what is wrong with it, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{what} name {name:?} {why}: choose another one")]
    Name {
        what: &'static str,
        name: String,
        why: &'static str,
    },
    #[error(
        "{path} is missing: make it with `starling keys --cluster NAME --out DIR --node NODE` \
         and copy DIR/NODE here, or correct the `keys` path"
    )]
    Missing { path: PathBuf },
    #[error(
        "{path} is missing, but {beside} is there: bring it back, or start over with an empty \
         directory (no agent will know the new identities)"
    )]
    Incomplete { path: PathBuf, beside: PathBuf },
    #[error("{path} can't be read: run as its owner, or `chown` it to the user of the agent")]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "{path} can be read by others (mode {mode:03o}), so it is no secret: `chmod 600 {path}`"
    )]
    Exposed { path: PathBuf, mode: u32 },
    #[error("{path} is empty: copy it again, or remove its directory and run `starling keys`")]
    Empty { path: PathBuf },
    #[error("{path} {what}: copy it again, or remove its directory and run `starling keys`")]
    Unsound { path: PathBuf, what: String },
    #[error(
        "{path} expired on {day}: run `starling keys renew` where the cluster's keys are kept, \
         and copy the directory here again"
    )]
    Expired { path: PathBuf, day: String },
    #[error("{path}: {why}")]
    Ring { path: PathBuf, why: &'static str },
    #[error("no certificate is called {name:?} in {directory}: there are {known}")]
    Unknown {
        directory: PathBuf,
        name: String,
        known: String,
    },
    #[error(
        "{path} belongs to cluster {found:?}, not {wanted:?}: give `--cluster {found}`, or \
         another `--out`"
    )]
    OtherCluster {
        path: PathBuf,
        found: String,
        wanted: String,
    },
    #[error("{path} can't be written: check that its directory is yours and has space")]
    Unwritable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the request for a certificate can't be used: {0}")]
    Request(String),
    #[error("a key or certificate couldn't be made: {0}")]
    Generate(String),
}

impl Error {
    pub(super) fn name(what: &'static str, name: &str, why: &'static str) -> Error {
        Error::Name {
            what,
            name: name.to_owned(),
            why,
        }
    }

    pub(super) fn unsound(path: &Path, what: impl Into<String>) -> Error {
        Error::Unsound {
            path: path.to_owned(),
            what: what.into(),
        }
    }

    pub(super) fn unwritable(path: &Path, source: std::io::Error) -> Error {
        Error::Unwritable {
            path: path.to_owned(),
            source,
        }
    }
}

impl From<rcgen::Error> for Error {
    fn from(error: rcgen::Error) -> Error {
        Error::Generate(error.to_string())
    }
}
