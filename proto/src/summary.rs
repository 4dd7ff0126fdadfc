//! A node's summary to and from the bytes that gossip carries.
//!
//! Comes in: the engine's [`Summary`], or bytes from another agent. Goes out:
//! at most [`BYTES_MAX`] bytes, or a summary whose every field is within the
//! engine's bounds. Node, sequence and age travel beside these bytes. Never
//! trusts a length, a count or a name that came from outside.

use std::collections::BTreeMap;

use prost::Message as _;
use starling_engine::demand::pods::Sums;
use starling_engine::demand::{Summary, Totals, Usage, WORKLOADS_MAX};
use starling_engine::ledger::Checkpoint;
use starling_engine::policy::{NAME_BYTES_MAX, Target};
use starling_engine::unit::{Ms, NodeId};

use crate::gossip as wire;

/// The largest encoded summary. Of one that is larger the last workloads by
/// name are left out; their replicas then count as missing.
pub const BYTES_MAX: usize = 60_000;
/// Replicas without a sample are told apart by at most this many different
/// requests for each workload and metric; those with the largest requests then
/// count as if they had the largest one, which errs towards keeping replicas.
pub const MISSING_MAX: usize = 32;
/// The longest `kind` of a target.
pub const KIND_BYTES_MAX: usize = 63;

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
    #[error("a workload without kind or name")]
    Nameless,
    #[error("the same {0} twice")]
    Twice(&'static str),
    #[error("a digest of {0} bytes instead of 16")]
    Digest(usize),
}

/// The bytes of a summary, less `node`, `sequence` and `at`.
pub fn encode(summary: &Summary) -> Vec<u8> {
    let mut message = wire::Summary {
        totals: Some(totals_out(&summary.totals)),
        workloads: summary
            .workloads
            .iter()
            .filter(|(target, _)| check_target(&target.kind, &target.name).is_ok())
            .take(WORKLOADS_MAX)
            .map(|(target, usage)| workload_out(target, usage, summary.at))
            .collect(),
        checkpoint: summary.checkpoint.map(|checkpoint| wire::Checkpoint {
            index: checkpoint.index,
            digest: checkpoint.digest.to_vec(),
        }),
    };
    while message.encoded_len() > BYTES_MAX && message.workloads.pop().is_some() {}
    message.encode_to_vec()
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
        totals: message.totals.map(totals_in).unwrap_or_default(),
        workloads,
        checkpoint: message.checkpoint.as_ref().map(checkpoint_in).transpose()?,
    })
}

fn workload_out(target: &Target, usage: &Usage, at: Ms) -> wire::Workload {
    wire::Workload {
        kind: target.kind.clone(),
        name: target.name.clone(),
        running: usage.running,
        cpu_used_milli: usage.cpu_used_milli,
        memory_used_bytes: usage.memory_used_bytes,
        cpu: Some(sums_out(&usage.cpu, at)),
        memory: Some(sums_out(&usage.memory, at)),
        cpu_request_milli: usage.cpu_request_milli,
        memory_request_milli: usage.memory_request_milli,
    }
}

fn workload_in(workload: wire::Workload, at: Ms) -> Result<(Target, Usage), Error> {
    check_target(&workload.kind, &workload.name)?;
    let target = Target {
        kind: workload.kind,
        name: workload.name,
    };
    let usage = Usage {
        running: workload.running,
        cpu_used_milli: workload.cpu_used_milli,
        memory_used_bytes: workload.memory_used_bytes,
        cpu: sums_in(workload.cpu.unwrap_or_default(), at)?,
        memory: sums_in(workload.memory.unwrap_or_default(), at)?,
        cpu_request_milli: workload.cpu_request_milli,
        memory_request_milli: workload.memory_request_milli,
    };
    Ok((target, usage))
}

fn sums_out(sums: &Sums, at: Ms) -> wire::Sums {
    wire::Sums {
        pods: sums.pods,
        samples: sums.samples,
        ready: sums.ready,
        ready_usage_milli: sums.ready_usage_milli,
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
    wire::Totals {
        cpu_used_milli: totals.cpu_used_milli,
        cpu_capacity_milli: totals.cpu_capacity_milli,
        memory_used_bytes: totals.memory_used_bytes,
        memory_capacity_bytes: totals.memory_capacity_bytes,
        disk_read_bytes_per_s: totals.disk_read_bytes_per_s,
        disk_write_bytes_per_s: totals.disk_write_bytes_per_s,
        network_received_bytes_per_s: totals.network_received_bytes_per_s,
        network_sent_bytes_per_s: totals.network_sent_bytes_per_s,
    }
}

fn totals_in(totals: wire::Totals) -> Totals {
    Totals {
        cpu_used_milli: totals.cpu_used_milli,
        cpu_capacity_milli: totals.cpu_capacity_milli,
        memory_used_bytes: totals.memory_used_bytes,
        memory_capacity_bytes: totals.memory_capacity_bytes,
        disk_read_bytes_per_s: totals.disk_read_bytes_per_s,
        disk_write_bytes_per_s: totals.disk_write_bytes_per_s,
        network_received_bytes_per_s: totals.network_received_bytes_per_s,
        network_sent_bytes_per_s: totals.network_sent_bytes_per_s,
    }
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

fn check_target(kind: &str, name: &str) -> Result<(), Error> {
    if kind.is_empty() || name.is_empty() {
        return Err(Error::Nameless);
    }
    at_most("bytes in a kind", kind.len(), KIND_BYTES_MAX)?;
    at_most("bytes in a name", name.len(), NAME_BYTES_MAX)
}

fn at_most(what: &'static str, found: usize, max: usize) -> Result<(), Error> {
    if found > max {
        return Err(Error::TooMany { what, found, max });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
