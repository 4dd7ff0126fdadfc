//! How a command can fail: what to say, and the process's exit code.

use std::error::Error as StdError;
use std::io;
use std::process::ExitCode;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::client::WRONG_PORT;

/// Scripts rely on their codes; they don't change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Whoever reads our output has read enough: nothing to say, and no failure.
    Enough,
    Failure,
    Usage,
    /// Done, but not all of it: the messages say what is missing.
    Partly,
    NotFound,
    Unreachable,
    Denied,
    /// `status` has answered, and the cluster lacks something.
    Degraded,
    /// `status` has answered, and nobody leads.
    Leaderless,
}

impl Kind {
    /// `status` shares 1 and 2 with failures, as monitoring's checks have them; what it
    /// answered is on standard output then, and after a failure nothing is.
    pub fn code(self) -> u8 {
        match self {
            Kind::Enough => 0,
            Kind::Failure | Kind::Degraded => 1,
            Kind::Usage | Kind::Leaderless => 2,
            Kind::Partly => 3,
            Kind::NotFound => 4,
            Kind::Unreachable => 5,
            Kind::Denied => 6,
        }
    }
}

impl From<Kind> for ExitCode {
    fn from(kind: Kind) -> ExitCode {
        ExitCode::from(kind.code())
    }
}

/// Says what failed, why, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    pub kind: Kind,
    pub message: String,
    /// An agent answers, but lacks a leader or a majority.
    pub quorum_lost: bool,
}

impl Error {
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error {
            kind,
            message: message.into(),
            quorum_lost: false,
        }
    }

    /// An agent's refusal.
    pub fn refused(agent: &str, status: &Status) -> Error {
        let kind = match status.code() {
            // Whatever the transport made of it.
            _ if denied(status) => Kind::Denied,
            Code::NotFound => Kind::NotFound,
            Code::InvalidArgument => Kind::Usage,
            Code::PermissionDenied | Code::Unauthenticated => Kind::Denied,
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unimplemented => {
                Kind::Unreachable
            }
            _ => Kind::Failure,
        };
        let message = match kind {
            Kind::NotFound | Kind::Usage => status.message().to_owned(),
            _ if status.code() == Code::Unimplemented => format!("{agent}: {WRONG_PORT}"),
            Kind::Denied if denied(status) => format!("{agent}: {}; {WRONG_KEYS}", words(status)),
            _ => format!("{agent}: {}", words(status)),
        };
        let reason = status.get_details_error_info().map(|info| info.reason);
        Error {
            kind,
            message,
            quorum_lost: reason.is_some_and(|reason| QUORUM.contains(&reason.as_str())),
        }
    }
}

/// Reasons of an agent that has no leader to ask, or no majority behind it.
const QUORUM: [&str; 4] = [
    "NO_LEADER",
    "NO_MAJORITY",
    "LEADER_CHANGED",
    "LEADER_UNREACHABLE",
];

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

/// How rustls begins to say that the other side refused us. HTTP/2 keeps only
/// the words of what ended its connection.
const ALERT: &str = "received fatal alert";

/// What to do about a certificate that one side doesn't accept.
pub const WRONG_KEYS: &str = "the certificates are of another cluster, or expired; use those that `starling keys` made \
     for this one";

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
        if matches!(tls, Some(rustls::Error::InvalidCertificate(_))) {
            return true;
        }
        source = cause.source();
    }
    words(error).starts_with(ALERT)
}

#[cfg(test)]
mod tests {
    use rustls::{AlertDescription, CertificateError};

    use super::*;

    #[test]
    fn certificates_that_one_side_refuses_are_told_from_other_failures() {
        let by_us = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        assert!(denied(&io::Error::other(by_us)));
        assert!(denied(&rustls::Error::AlertReceived(
            AlertDescription::DecryptError
        )));
        assert!(!denied(&io::Error::from(io::ErrorKind::ConnectionRefused)));
    }

    #[test]
    fn an_agents_refusal_keeps_its_words_and_gets_its_own_exit_code() {
        for (status, kind) in [
            (Status::not_found("x"), Kind::NotFound),
            (Status::invalid_argument("x"), Kind::Usage),
            (Status::permission_denied("x"), Kind::Denied),
            (Status::unavailable("x"), Kind::Unreachable),
            (Status::deadline_exceeded("x"), Kind::Unreachable),
            (Status::internal("x"), Kind::Failure),
        ] {
            let error = Error::refused("a", &status);
            assert_eq!(error.kind, kind);
            assert!(
                error.message.ends_with('x') && !error.quorum_lost,
                "{error}"
            );
        }
    }

    #[test]
    fn a_lost_quorum_and_a_wrong_port_are_told_from_an_agent_that_is_down() {
        use tonic_types::ErrorDetails;
        let details = ErrorDetails::with_error_info("NO_LEADER", "starling.sh", []);
        let status = Status::with_error_details(Code::Unavailable, "no leader", details);
        assert!(Error::refused("a", &status).quorum_lost);
        let other_port = Error::refused("a", &Status::unimplemented(""));
        assert_eq!(other_port.kind, Kind::Unreachable);
        assert!(other_port.message.contains("7402"), "{other_port}");
    }
}
