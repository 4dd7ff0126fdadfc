//! Snapshots that leave the cluster: to be kept elsewhere, and to be looked into.
//!
//! Comes in: a sealed snapshot as it lies on disk. Goes out: the same without the
//! authority's key, since whoever may save one mustn't come to make identities; and
//! what is in one. A damaged one is refused.

use std::io;

use starling_engine::ledger::Checkpoint;
use starling_engine::unit::Ms;

use crate::Error;
use crate::core::Core;
use crate::store::snapshots::{Image, Snapshots};

/// What a saved snapshot holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    pub cluster: String,
    pub generation: u64,
    /// Log index and term of its last entry; 0 where it has none.
    pub log_index: u64,
    pub term: u64,
    /// Commands that it holds the outcome of, and the log's time then.
    pub index: u64,
    pub time: Ms,
    /// Names, by id.
    pub members: Vec<String>,
    pub voters: usize,
    pub policies: usize,
    pub workloads: usize,
    pub size_bytes: usize,
    /// Of what is in the file.
    pub digest: [u8; 16],
    /// The newest one that agents compare.
    pub checkpoint: Option<Checkpoint>,
}

/// Everything that is applied here by now, sealed.
pub async fn save(core: &Core, snapshots: &Snapshots) -> Result<Vec<u8>, Error> {
    core.snapshot().await?;
    let failed = |e: io::Error| Error::Unknown(format!("no snapshot: {e}"));
    let sealed = snapshots.current().await.map_err(failed)?;
    let sealed = sealed.ok_or_else(|| failed(io::Error::other("nothing is applied yet")))?;
    let (mut image, sealed) = Image::decode_aside(sealed).await.map_err(failed)?;
    if image.ledger.authority.take().is_none() {
        return Ok(sealed);
    }
    let encoded = tokio::task::spawn_blocking(move || image.encode()).await;
    encoded.map_err(io::Error::other).flatten().map_err(failed)
}

/// What is in a sealed snapshot; an error where it is cut short, changed, or none.
pub fn inspect(sealed: &[u8]) -> io::Result<Contents> {
    let image = Image::decode(sealed)?;
    let membership = image.membership.membership();
    let ledger = &image.ledger;
    let members = ledger.members.values();
    Ok(Contents {
        cluster: ledger.cluster.clone(),
        generation: ledger.generation,
        log_index: image.applied.map_or(0, |applied| applied.index),
        term: image.applied.map_or(0, |applied| applied.leader_id.term),
        index: ledger.index,
        time: ledger.time,
        members: members.map(|it| it.member.name.clone()).collect(),
        voters: membership.voter_ids().count(),
        policies: ledger.policies.len(),
        workloads: ledger.workloads.len(),
        size_bytes: sealed.len(),
        digest: ledger.digest(),
        checkpoint: ledger.checkpoints.back().copied(),
    })
}
