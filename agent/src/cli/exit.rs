//! How a command can fail: what to say, and the process's exit code.

use std::error::Error as StdError;
use std::io;
use std::process::ExitCode;

use tonic::{Code, Status};

/// Scripts rely on these; they don't change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Whoever reads our output has read enough: nothing to say, and no failure.
    Enough = 0,
    Failure = 1,
    Usage = 2,
    NotFound = 4,
    Unreachable = 5,
    Denied = 6,
}

impl From<Kind> for ExitCode {
    fn from(kind: Kind) -> ExitCode {
        ExitCode::from(kind as u8)
    }
}

/// Says what failed, why, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    pub kind: Kind,
    pub message: String,
}

impl Error {
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error {
            kind,
            message: message.into(),
        }
    }

    /// An agent's refusal.
    pub fn refused(agent: &str, status: &Status) -> Error {
        let kind = match status.code() {
            Code::NotFound => Kind::NotFound,
            Code::InvalidArgument => Kind::Usage,
            Code::PermissionDenied | Code::Unauthenticated => Kind::Denied,
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => Kind::Unreachable,
            _ if denied(status) => Kind::Denied,
            _ => Kind::Failure,
        };
        let message = match kind {
            Kind::NotFound | Kind::Usage => status.message().to_owned(),
            _ => format!("{agent}: {}", words(status)),
        };
        Error { kind, message }
    }
}

/// Nobody reads the other end any more.
pub fn is_broken_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

/// A status' message, or what lies beneath it where it says nothing of itself.
pub fn words(error: &(dyn StdError + 'static)) -> String {
    let mut deepest = match error.downcast_ref::<Status>() {
        Some(status) => status.message().to_owned(),
        None => error.to_string(),
    };
    let mut source = error.source();
    while let Some(cause) = source {
        deepest = match cause.downcast_ref::<Status>() {
            Some(status) => status.message().to_owned(),
            None => cause.to_string(),
        };
        source = cause.source();
    }
    deepest
}

/// Whether TLS failed because one side doesn't accept the other's certificate.
pub fn denied(error: &(dyn StdError + 'static)) -> bool {
    let mut source = Some(error);
    while let Some(cause) = source {
        let inner = cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        let tls = cause
            .downcast_ref::<rustls::Error>()
            .or_else(|| inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()));
        if let Some(
            rustls::Error::InvalidCertificate(_)
            | rustls::Error::AlertReceived(_)
            | rustls::Error::NoCertificatesPresented,
        ) = tls
        {
            return true;
        }
        source = cause.source();
    }
    false
}
