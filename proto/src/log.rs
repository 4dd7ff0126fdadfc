//! What agents keep and what their logs tell each other, as protobuf.
//!
//! Comes in: the engine's types, or bytes from a disk or another agent. Goes out: the
//! other one. Whatever isn't known in whole is refused, never skipped: it was written by
//! a newer release, and leaving it out would make this agent's ledger another one than
//! the others'. The messages of openraft's own types are here too; `consensus` fills them.

mod command;
mod history;
mod policy;
mod report;
mod state;
mod stored;

use prost::Message;

pub use stored::{LIST_MAX, Stored, TEXT_BYTES_MAX, at_most};

/// The messages themselves.
pub mod wire {
    #![allow(clippy::pedantic, clippy::all, missing_docs)]
    tonic::include_proto!("starling.log.v1");
}

/// Why bytes aren't what they should be, or a value can't become bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("it is no message of the kind that was expected: {0}")]
    Malformed(#[from] prost::DecodeError),
    #[error("it holds something that this release doesn't know; a newer one wrote it")]
    Unknown,
    #[error("it needs version {version} of the ledger, which came with release {release}")]
    Newer { version: u32, release: String },
    #[error("it lacks {0}")]
    Missing(&'static str),
    #[error("{what}: {found}, at most {max} are allowed")]
    TooMany {
        what: &'static str,
        found: usize,
        max: usize,
    },
    #[error("it has the same {0} twice")]
    Twice(&'static str),
    #[error("it has a digest of {0} bytes instead of 16")]
    Digest(usize),
}

impl Error {
    /// Whether a newer release has written it, and not nonsense.
    pub fn is_newer(&self) -> bool {
        matches!(self, Error::Newer { .. } | Error::Unknown)
    }
}

/// `message`, which was read from `bytes`, if these hold nothing but what this release
/// knows. Messages are written in one way only, so whatever was dropped in reading shows
/// in the length.
pub fn read_whole<M: Message>(bytes: &[u8], message: M) -> Result<M, Error> {
    if message.encoded_len() != bytes.len() {
        return Err(Error::Unknown);
    }
    Ok(message)
}

/// The bytes of one of the engine's types.
pub fn encode<T: Stored<Wire: Message>>(value: &T) -> Result<Vec<u8>, Error> {
    Ok(value.out()?.encode_to_vec())
}

/// The way back.
pub fn decode<T: Stored<Wire: Message + Default>>(bytes: &[u8]) -> Result<T, Error> {
    T::back(read_whole(bytes, T::Wire::decode(bytes)?)?)
}

#[cfg(test)]
mod tests;
