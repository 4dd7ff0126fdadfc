//! How a call to the API server can fail, by what follows from it.
//!
//! Comes in: an error of the client library. Goes out: a [`Failure`], which says
//! whether to try again, to read again or to give up, and why in words. Never
//! takes a lost answer for a refusal.

use std::time::Duration;

use kube::core::Status;

use super::calls::Late;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The object isn't there; `kind` says that its whole kind isn't.
    #[error("{why}")]
    NotFound { kind: bool, why: String },
    /// Something else was written in between, or exists already.
    #[error("{0}")]
    Conflict(String),
    /// The place in the stream is no longer known; a list comes next.
    #[error("{0}")]
    Expired(String),
    #[error("{0}")]
    Forbidden(String),
    #[error(
        "the API server doesn't accept the agent's credentials: {0}; check the service account's token"
    )]
    Unauthorized(String),
    /// Understood and refused: an invalid object, an admission rule.
    #[error("{0}")]
    Refused(String),
    /// Not carried out; the server asks to come back later.
    #[error("the API server is overloaded: {why}")]
    Busy {
        why: String,
        retry_after: Option<Duration>,
    },
    /// The server failed; it may have carried the call out before.
    #[error("the API server failed: {0}")]
    Broken(String),
    /// No connection, or one that broke; the call may have been carried out.
    #[error("the API server can't be reached: {0}")]
    Unreachable(String),
    /// No answer in time; the call may have been carried out.
    #[error("the API server hasn't answered within {} ms", .0.as_millis())]
    Late(Duration),
    /// An answer that can't be read.
    #[error("the API server's answer can't be read: {0}")]
    Garbled(String),
}

impl Failure {
    pub fn of(error: &kube::Error) -> Failure {
        match error {
            kube::Error::Api(status) => Failure::of_status(status),
            kube::Error::SerdeError(e) => Failure::Garbled(e.to_string()),
            kube::Error::FromUtf8(e) => Failure::Garbled(e.to_string()),
            kube::Error::Service(e) if e.is::<Late>() => Failure::Late(super::ANSWER_DEADLINE),
            kube::Error::Service(e) => Failure::Unreachable(chain(e.as_ref())),
            kube::Error::HyperError(e) => Failure::Unreachable(chain(e)),
            kube::Error::Auth(e) => Failure::Unauthorized(chain(e)),
            other => Failure::Unreachable(chain(other)),
        }
    }

    pub fn of_status(status: &Status) -> Failure {
        let why = words(status);
        let details = status.details.as_ref();
        match status.code {
            401 => Failure::Unauthorized(why),
            403 => Failure::Forbidden(why),
            404 => Failure::NotFound {
                // Of a missing object the server says the name.
                kind: details.is_none_or(|details| details.name.is_empty()),
                why,
            },
            409 => Failure::Conflict(why),
            410 => Failure::Expired(why),
            429 => Failure::Busy {
                why,
                retry_after: details
                    .map(|details| u64::from(details.retry_after_seconds))
                    .filter(|seconds| *seconds > 0)
                    .map(Duration::from_secs),
            },
            code if (400..500).contains(&code) => Failure::Refused(why),
            _ => Failure::Broken(why),
        }
    }

    /// For how long the server asked to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Failure::Busy { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// What the server says, or at least its code.
fn words(status: &Status) -> String {
    match (status.message.as_str(), status.reason.as_str()) {
        ("", "") => format!("status {}", status.code),
        ("", reason) => format!("{reason} (status {})", status.code),
        (message, _) => message.to_owned(),
    }
}

/// Causes named in a message; more are left out.
const CAUSES_MAX: usize = 5;

/// An error and its causes in one line, each once.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    for _ in 0..CAUSES_MAX {
        let Some(next) = cause else { break };
        let words = next.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16) -> Status {
        Status::failure("words", "Reason").with_code(code)
    }

    #[test]
    fn every_status_has_the_meaning_that_follows_from_it() {
        let is = |code, wanted: fn(&Failure) -> bool| {
            let failure = Failure::of_status(&status(code));
            assert!(wanted(&failure), "{code}: {failure:?}");
        };
        is(401, |f| matches!(f, Failure::Unauthorized(_)));
        is(403, |f| matches!(f, Failure::Forbidden(_)));
        is(404, |f| matches!(f, Failure::NotFound { kind: true, .. }));
        is(409, |f| matches!(f, Failure::Conflict(_)));
        is(410, |f| matches!(f, Failure::Expired(_)));
        is(422, |f| matches!(f, Failure::Refused(_)));
        is(429, |f| matches!(f, Failure::Busy { .. }));
        is(500, |f| matches!(f, Failure::Broken(_)));
        is(504, |f| matches!(f, Failure::Broken(_)));
    }

    #[test]
    fn a_missing_object_is_told_from_a_missing_kind() {
        let missing = |details| {
            let status = serde_json::from_value::<Status>(serde_json::json!({
                "code": 404, "reason": "NotFound", "message": "m", "details": details,
            }));
            Failure::of_status(&status.expect("a status"))
        };
        let object = missing(serde_json::json!({"name": "web", "kind": "deployments"}));
        assert!(matches!(object, Failure::NotFound { kind: false, .. }));
        let kind = missing(serde_json::json!({}));
        assert!(matches!(kind, Failure::NotFound { kind: true, .. }));
    }

    #[test]
    fn a_busy_server_may_say_for_how_long() {
        let status = serde_json::from_value::<Status>(serde_json::json!({
            "code": 429, "reason": "TooManyRequests", "details": {"retryAfterSeconds": 3},
        }));
        let failure = Failure::of_status(&status.expect("a status"));
        assert_eq!(failure.retry_after(), Some(Duration::from_secs(3)));
    }
}
