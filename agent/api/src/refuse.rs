//! Refusals: a status, words for people, and a reason for programs.
//!
//! Comes in: what is wrong. Goes out: a status that carries Google's `ErrorInfo` of
//! the domain [`DOMAIN`], also when it was the leader that refused. Reasons are
//! stable: clients tell by them what to do. Never decides whether to refuse.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// Of all reasons.
pub const DOMAIN: &str = "starling.sh";

/// A field of the question is unusable.
pub const INVALID: &str = "INVALID_FIELD";
/// The kind of what isn't there is in front: `POLICY_NOT_FOUND`.
pub const NO_POLICY: &str = "POLICY_NOT_FOUND";
pub const NO_WORKLOAD: &str = "WORKLOAD_NOT_FOUND";
pub const NO_DECISION: &str = "DECISION_NOT_FOUND";
pub const NO_MEMBER: &str = "MEMBER_NOT_FOUND";
/// It may still run something.
pub const ANSWERS: &str = "MEMBER_ANSWERS";
pub const LEADS: &str = "MEMBER_LEADS";
/// Of a trigger, or of what a policy wants.
pub const NO_VALUE: &str = "VALUE_UNKNOWN";
/// It couldn't be written or read.
pub const NO_SNAPSHOT: &str = "NO_SNAPSHOT";
/// Somebody else asks for it, who would bring it back.
pub const OWNED: &str = "OWNED_BY_ANOTHER";
/// No leader is known; answers that need none are given.
pub const NO_LEADER: &str = "NO_LEADER";
/// It has changed while the question travelled.
pub const LEADER_CHANGED: &str = "LEADER_CHANGED";
/// It is known, but doesn't answer.
pub const LEADER_SILENT: &str = "LEADER_UNREACHABLE";
/// The voters that can be reached are no majority.
pub const NO_MAJORITY: &str = "NO_MAJORITY";
/// The agent has enough to do.
pub const BUSY: &str = "TOO_MANY_REQUESTS";
pub const FULL: &str = "TOO_MANY_STREAMS";
/// The client reads too slowly.
pub const SLOW: &str = "STREAM_TOO_SLOW";
/// What came after a revision isn't remembered.
pub const FORGOTTEN: &str = "REVISION_FORGOTTEN";
/// Nothing that this process writes can be filtered.
pub const NO_LOG: &str = "LOG_NOT_FILTERED";
pub const ENDING: &str = "AGENT_ENDING";
/// The certificate is missing, or is none of a user or an agent.
pub const CERTIFICATE: &str = "CERTIFICATE_REQUIRED";

/// Refuses with a reason, one of this file's.
pub fn with(code: Code, reason: &str, message: impl Into<String>) -> Status {
    let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details(code, message, details)
}

/// A field that is unusable; `message` begins with its name.
pub fn invalid(message: impl Into<String>) -> Status {
    with(Code::InvalidArgument, INVALID, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_carries_its_reason_and_domain_beside_its_words() {
        let status = with(Code::NotFound, NO_POLICY, "no policy is called x");
        let info = status.get_details_error_info().unwrap();
        assert_eq!(
            (info.reason.as_str(), info.domain.as_str()),
            ("POLICY_NOT_FOUND", "starling.sh")
        );
        assert_eq!(status.message(), "no policy is called x");
    }
}
