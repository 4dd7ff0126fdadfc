//! The engine's types as the public API shows them.
//!
//! Comes in: a part of the ledger or of a node's summary. Goes out: its
//! [`crate::v1`] message. Only renames and restates; what depends on who
//! answers (ages, names, roles) is filled in by the caller.

pub mod explain;
pub mod policy;
mod settings;
pub mod workload;

use prost_types::{Duration, Timestamp};
use starling_engine::decide::reason::Report;
use starling_engine::ledger::{Cause, Checkpoint, Record};
use starling_engine::policy::{Name, Target};
use starling_engine::unit::{Ms, NodeId};

use crate::v1;

/// Log time on the wire.
pub fn time(at: Ms) -> Timestamp {
    Timestamp {
        // u64 milliseconds, divided by 1,000, always fit.
        seconds: (at.0 / 1_000) as i64,
        nanos: (at.0 % 1_000) as i32 * 1_000_000,
    }
}

/// The way back; a time before the epoch counts as the epoch.
pub fn ms(time: &Timestamp) -> Ms {
    let seconds = u64::try_from(time.seconds).unwrap_or(0);
    let millis = u64::try_from(time.nanos / 1_000_000).unwrap_or(0);
    Ms(seconds.saturating_mul(1_000).saturating_add(millis))
}

/// The day of a log time, as `2026-11-27`.
pub fn day(at: Ms) -> String {
    // It is written as RFC 3339 has it, the day first.
    let mut text = time(at).to_string();
    text.truncate(10);
    text
}

/// A span of time on the wire.
pub fn duration(ms: u64) -> Duration {
    Duration {
        // As for times.
        seconds: (ms / 1_000) as i64,
        nanos: (ms % 1_000) as i32 * 1_000_000,
    }
}

/// The way back; a negative span counts as none.
pub fn duration_ms(duration: &Duration) -> u64 {
    let seconds = u64::try_from(duration.seconds).unwrap_or(0);
    let millis = u64::try_from(duration.nanos / 1_000_000).unwrap_or(0);
    seconds.saturating_mul(1_000).saturating_add(millis)
}

pub fn target(target: &Target) -> v1::Target {
    v1::Target {
        group: target.group.clone(),
        kind: target.kind.clone(),
        namespace: target.namespace.clone(),
        name: target.name.clone(),
    }
}

pub fn name(name: &Name) -> v1::PolicyName {
    v1::PolicyName {
        namespace: name.namespace.clone(),
        name: name.name.clone(),
    }
}

pub fn checkpoint(node: NodeId, name: String, checkpoint: &Checkpoint) -> v1::Checkpoint {
    use std::fmt::Write as _;
    let mut digest = String::with_capacity(32);
    for byte in checkpoint.digest {
        // Writing to a string can't fail.
        let _ = write!(digest, "{byte:02x}");
    }
    v1::Checkpoint {
        node_id: node.0,
        node_name: name,
        index: checkpoint.index,
        digest,
    }
}

/// A change of size. `node_name` is empty where no node decided it. The caller says whether
/// the policy has changed since.
pub fn decision(record: &Record, node_name: String) -> v1::Decision {
    let (by, reason) = match &record.cause {
        Cause::Decided { by, report } => (by.0, policy::summary(report)),
        Cause::Bounds { floor, cap } => (0, bounds(*floor, *cap)),
        Cause::ByHand => (0, BY_HAND.into()),
        Cause::Recreated => (0, RECREATED.into()),
    };
    v1::Decision {
        index: record.index,
        time: Some(time(record.at)),
        namespace: record.policy.namespace.clone(),
        policy: record.policy.name.clone(),
        previous_size: record.from,
        size: record.to,
        node_id: by,
        node_name,
        reason,
        earlier_policy: false,
    }
}

/// Why a change of size was made.
pub fn account(record: &Record) -> v1::Explanation {
    match &record.cause {
        Cause::Decided { report, .. } => explain::explanation(report),
        Cause::Bounds { floor, cap } => plain(record, "PolicyBounds", bounds(*floor, *cap)),
        Cause::ByHand => plain(record, "ScaledByHand", BY_HAND.into()),
        Cause::Recreated => plain(record, "TargetRecreated", RECREATED.into()),
    }
}

/// What the triggers said when the change was decided.
pub fn report(record: &Record) -> Option<&Report> {
    match &record.cause {
        Cause::Decided { report, .. } => Some(report),
        Cause::Bounds { .. } | Cause::ByHand | Cause::Recreated => None,
    }
}

const BY_HAND: &str =
    "Somebody else has set the size on the platform; it is taken as it is, as HPA does.";
const RECREATED: &str =
    "The workload was deleted and made anew; it is taken at the size that it has.";

/// Where no decision was made there is one cause, and no more.
fn plain(record: &Record, code: &str, detail: String) -> v1::Explanation {
    v1::Explanation {
        lines: vec![detail.clone()],
        time: Some(time(record.at)),
        previous_size: record.from,
        size: record.to,
        limits: vec![v1::Limit {
            code: code.into(),
            previous_size: Some(record.from),
            size: Some(record.to),
            remaining: None,
            detail,
        }],
        ..v1::Explanation::default()
    }
}

fn bounds(floor: u32, cap: u32) -> String {
    format!("The policy that was put into force allows {floor} to {cap} replicas.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_the_wire_to_the_millisecond() {
        for at in [
            Ms(0),
            Ms(999),
            Ms(1_000),
            Ms(1_795_369_561_234),
            Ms(u64::MAX),
        ] {
            assert_eq!(ms(&time(at)), at);
        }
        assert_eq!(
            ms(&Timestamp {
                seconds: -5,
                nanos: -1
            }),
            Ms(0)
        );
    }

    #[test]
    fn a_day_is_the_first_part_of_a_time() {
        assert_eq!(day(Ms(1_795_369_561_234)), "2026-11-22");
        assert_eq!(day(Ms(0)), "1970-01-01");
    }

    #[test]
    fn a_digest_is_written_as_32_hexadecimal_digits() {
        let mut digest = [0; 16];
        digest[0] = 0x0f;
        digest[15] = 0xa0;
        let shown = checkpoint(NodeId(3), "c".into(), &Checkpoint { index: 16, digest });
        assert_eq!(shown.digest, format!("0f{}a0", "0".repeat(28)));
    }
}
