//! A node's summary to and from the bytes that gossip carries.
//!
//! Comes in: the engine's [`Summary`], or bytes from another agent. Goes out:
//! at most [`BYTES_MAX`] bytes, or a summary whose every field is within the
//! engine's bounds. Node, sequence and age travel beside these bytes. Never
//! trusts a length, a count or a name that came from outside.

use std::collections::BTreeMap;

use prost::Message as _;
use starling_engine::demand::pods::Sums;
use starling_engine::demand::{
    About, Amount, METRICS_MAX, Measure, RELEASE_BYTES_MAX, RESOURCES_MAX, Summary,
    TROUBLE_BYTES_MAX, Totals, Usage, WORKLOADS_MAX,
};
use starling_engine::ledger::Checkpoint;
use starling_engine::policy::{NAME_BYTES_MAX, NAMESPACE, PROCESS, Target};
use starling_engine::unit::{Ms, NodeId};

use crate::gossip as wire;

/// The largest encoded summary. Of one that is larger the last workloads by
/// name are left out, and it says how many.
pub const BYTES_MAX: usize = 60_000;
/// Replicas without a sample are told apart by at most this many different
/// requests for each workload and metric; those with the largest requests then
/// count as if they had the largest one, which errs towards keeping replicas.
pub const MISSING_MAX: usize = 32;
/// The longest name of a metric or a resource: a prefix and a container's name.
pub const KEY_BYTES_MAX: usize = 320;
/// The longest `kind` of a target.
pub const KIND_BYTES_MAX: usize = 63;

/// The last second of the year 9999; whatever is said to end later ends then.
pub const CALENDAR_END_S: u64 = 253_402_300_799;

/// A summary that is ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    pub bytes: Vec<u8>,
    /// Workloads of the node that had no room in it.
    pub left_out: u32,
}

/// Why bytes aren't a summary.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("a summary of {0} bytes, at most {BYTES_MAX} are allowed")]
    TooLarge(usize),
    #[error("not a summary")]
    Malformed(#[from] prost::DecodeError),
    #[error("{what}: {found}, at most {max} are allowed")]
    TooMany {
        what: &'static str,
        found: usize,
        max: usize,
    },
    #[error("a workload without a name")]
    Nameless,
    #[error("the same {0} twice")]
    Twice(&'static str),
    #[error("a digest of {0} bytes instead of 16")]
    Digest(usize),
}

/// The bytes of a summary, less `node`, `sequence` and `at`.
pub fn encode(summary: &Summary) -> Encoded {
    let mut message = wire::Summary {
        totals: Some(totals_out(&summary.totals)),
        workloads: summary
            .workloads
            .iter()
            .filter(|(target, _)| check_target(target).is_ok())
            .take(WORKLOADS_MAX)
            .map(|(target, usage)| workload_out(target, usage, summary.at))
            .collect(),
        checkpoint: summary.checkpoint.map(|checkpoint| wire::Checkpoint {
            index: checkpoint.index,
            digest: checkpoint.digest.to_vec(),
        }),
        left_out: u32::MAX,
        about: summary.about.as_ref().map(about_out),
    };
    while message.encoded_len() > BYTES_MAX && message.workloads.pop().is_some() {}
    let here = summary.workloads.len() - message.workloads.len();
    let here = u32::try_from(here).unwrap_or(u32::MAX);
    message.left_out = summary.left_out.saturating_add(here);
    Encoded {
        bytes: message.encode_to_vec(),
        left_out: message.left_out,
    }
}

/// The summary in `bytes`, sampled at `at` on the receiver's clock.
pub fn decode(node: NodeId, sequence: u64, at: Ms, bytes: &[u8]) -> Result<Summary, Error> {
    if bytes.len() > BYTES_MAX {
        return Err(Error::TooLarge(bytes.len()));
    }
    let message = wire::Summary::decode(bytes)?;
    at_most("workloads", message.workloads.len(), WORKLOADS_MAX)?;
    let mut workloads = BTreeMap::new();
    for workload in message.workloads {
        let (target, usage) = workload_in(workload, at)?;
        if workloads.insert(target, usage).is_some() {
            return Err(Error::Twice("workload"));
        }
    }
    Ok(Summary {
        node,
        sequence,
        at,
        totals: message
            .totals
            .map(totals_in)
            .transpose()?
            .unwrap_or_default(),
        workloads,
        left_out: message.left_out,
        checkpoint: message.checkpoint.as_ref().map(checkpoint_in).transpose()?,
        about: message.about.map(about_in).transpose()?,
    })
}

fn workload_out(target: &Target, usage: &Usage, at: Ms) -> wire::Workload {
    let metrics = usage.metrics.iter();
    // What most workloads of a machine have in common takes no room.
    let unless = |text: &str, usual: &str| if text == usual { "" } else { text }.to_owned();
    wire::Workload {
        group: target.group.clone(),
        kind: unless(&target.kind, PROCESS),
        namespace: unless(&target.namespace, NAMESPACE),
        name: target.name.clone(),
        running: usage.running,
        ready: usage.ready,
        trouble: usage.trouble.clone(),
        metrics: metrics
            .filter(|(name, _)| name.len() <= KEY_BYTES_MAX)
            .take(METRICS_MAX)
            .map(|(name, measure)| wire::Metric {
                name: name.clone(),
                used_milli: measure.used_milli,
                sums: Some(sums_out(&measure.sums, at)),
                request_milli: measure.request_milli,
            })
            .collect(),
    }
}

fn workload_in(workload: wire::Workload, at: Ms) -> Result<(Target, Usage), Error> {
    let or = |text: String, usual: &str| if text.is_empty() { usual.into() } else { text };
    let target = Target {
        group: workload.group,
        kind: or(workload.kind, PROCESS),
        namespace: or(workload.namespace, NAMESPACE),
        name: workload.name,
    };
    check_target(&target)?;
    at_most("metrics", workload.metrics.len(), METRICS_MAX)?;
    at_most(
        "bytes of what is wrong",
        workload.trouble.len(),
        TROUBLE_BYTES_MAX,
    )?;
    let mut usage = Usage {
        running: workload.running,
        ready: workload.ready,
        metrics: BTreeMap::new(),
        trouble: workload.trouble,
    };
    for metric in workload.metrics {
        at_most("bytes in a metric's name", metric.name.len(), KEY_BYTES_MAX)?;
        let measure = Measure {
            used_milli: metric.used_milli,
            sums: sums_in(metric.sums.unwrap_or_default(), at)?,
            request_milli: metric.request_milli,
        };
        if usage.metrics.insert(metric.name, measure).is_some() {
            return Err(Error::Twice("metric"));
        }
    }
    Ok((target, usage))
}

fn sums_out(sums: &Sums, at: Ms) -> wire::Sums {
    wire::Sums {
        pods: sums.pods,
        samples: sums.samples,
        ready: sums.ready,
        ready_usage_milli: sums.ready_usage_milli,
        ready_newest_more_milli: sums.ready_newest_milli.wrapping_sub(sums.ready_usage_milli),
        ready_before_milli: sums.ready_before_milli,
        ready_noise: sums.ready_noise,
        ready_request_milli: sums.ready_request_milli,
        unready: sums.unready,
        unready_request_milli: sums.unready_request_milli,
        missing: missing_out(&sums.missing),
        without_request: sums.without_request,
        ignored: sums.ignored,
        strangers: sums.strangers,
        strangers_usage_milli: sums.strangers_usage_milli,
        oldest_before_ms: sums.oldest.map(|oldest| at.since(oldest)),
    }
}

fn sums_in(sums: wire::Sums, at: Ms) -> Result<Sums, Error> {
    at_most("different requests", sums.missing.len(), MISSING_MAX)?;
    let mut missing = BTreeMap::new();
    for entry in sums.missing {
        if missing.insert(entry.request_milli, entry.pods).is_some() {
            return Err(Error::Twice("request"));
        }
    }
    Ok(Sums {
        pods: sums.pods,
        samples: sums.samples,
        ready: sums.ready,
        ready_usage_milli: sums.ready_usage_milli,
        ready_newest_milli: sums
            .ready_usage_milli
            .wrapping_add(sums.ready_newest_more_milli),
        ready_before_milli: sums.ready_before_milli,
        ready_noise: sums.ready_noise,
        ready_request_milli: sums.ready_request_milli,
        unready: sums.unready,
        unready_request_milli: sums.unready_request_milli,
        missing,
        without_request: sums.without_request,
        ignored: sums.ignored,
        strangers: sums.strangers,
        strangers_usage_milli: sums.strangers_usage_milli,
        oldest: sums.oldest_before_ms.map(|before_ms| at.minus(before_ms)),
    })
}

fn missing_out(missing: &BTreeMap<i64, u32>) -> Vec<wire::Missing> {
    let mut entries: Vec<wire::Missing> = missing
        .iter()
        .map(|(&request_milli, &pods)| wire::Missing {
            request_milli,
            pods,
        })
        .collect();
    while entries.len() > MISSING_MAX {
        // Ascending by request: the last one is the largest, and takes in the one below it.
        let below = entries.remove(entries.len() - 2);
        if let Some(largest) = entries.last_mut() {
            largest.pods = largest.pods.saturating_add(below.pods);
        }
    }
    entries
}

fn totals_out(totals: &Totals) -> wire::Totals {
    let resources = totals.0.iter();
    wire::Totals {
        resources: resources
            .filter(|(name, _)| name.len() <= KEY_BYTES_MAX)
            .take(RESOURCES_MAX)
            .map(|(name, amount)| wire::Resource {
                name: name.clone(),
                used: amount.used,
                requested: amount.requested,
                allocatable: amount.allocatable,
            })
            .collect(),
    }
}

fn totals_in(totals: wire::Totals) -> Result<Totals, Error> {
    at_most("resources", totals.resources.len(), RESOURCES_MAX)?;
    let mut known = Totals::default();
    for resource in totals.resources {
        at_most(
            "bytes in a resource's name",
            resource.name.len(),
            KEY_BYTES_MAX,
        )?;
        let amount = Amount {
            used: resource.used,
            requested: resource.requested,
            allocatable: resource.allocatable,
        };
        if known.0.insert(resource.name, amount).is_some() {
            return Err(Error::Twice("resource"));
        }
    }
    Ok(known)
}

fn checkpoint_in(checkpoint: &wire::Checkpoint) -> Result<Checkpoint, Error> {
    let digest = checkpoint
        .digest
        .as_slice()
        .try_into()
        .map_err(|_| Error::Digest(checkpoint.digest.len()))?;
    Ok(Checkpoint {
        index: checkpoint.index,
        digest,
    })
}

fn about_out(about: &About) -> wire::About {
    let end = about.release.floor_char_boundary(RELEASE_BYTES_MAX);
    wire::About {
        release: about.release[..end].to_owned(),
        ledger_version: about.ledger_version,
        certificate_from_s: about.certificate_from_s,
        certificate_until_s: about.certificate_until_s,
    }
}

fn about_in(about: wire::About) -> Result<About, Error> {
    at_most(
        "bytes in a release's name",
        about.release.len(),
        RELEASE_BYTES_MAX,
    )?;
    // Whoever shows them reckons with them: they stay within what a calendar has.
    let within = |at_s: u64| at_s.min(CALENDAR_END_S);
    Ok(About {
        release: about.release,
        ledger_version: about.ledger_version,
        certificate_from_s: within(about.certificate_from_s),
        certificate_until_s: within(about.certificate_until_s),
    })
}

fn check_target(target: &Target) -> Result<(), Error> {
    if target.name.is_empty() {
        return Err(Error::Nameless);
    }
    at_most("bytes in a kind", target.kind.len(), KIND_BYTES_MAX)?;
    at_most("bytes in a group", target.group.len(), NAME_BYTES_MAX)?;
    at_most(
        "bytes in a namespace",
        target.namespace.len(),
        NAME_BYTES_MAX,
    )?;
    at_most("bytes in a name", target.name.len(), NAME_BYTES_MAX)
}

fn at_most(what: &'static str, found: usize, max: usize) -> Result<(), Error> {
    if found > max {
        return Err(Error::TooMany { what, found, max });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
