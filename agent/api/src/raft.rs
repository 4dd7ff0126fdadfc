//! What operators ask about the log itself: how far each copy is, who shall lead, and
//! all of it as one snapshot.
//!
//! Comes in: a question, and who asks. Goes out: an answer, or a stream of a snapshot's
//! parts. Changes nothing but who leads.

use std::sync::Arc;

use starling_consensus::{Error, Kept, Log};
use starling_engine::unit::NodeId;
use starling_proto::v1;
use tokio::sync::OwnedSemaphorePermit;
use tonic::{Code, Status};
use tracing::info;

use crate::answer::Sight;
use crate::refuse;
use crate::see::see;
use crate::view::View;
use crate::watch::Stream;

/// A snapshot travels in parts of this size.
const PART_BYTES: usize = 256 << 10;

pub fn peers(log: &Log, sight: &Sight<'_>, header: v1::ReplyHeader) -> v1::ListRaftPeersResponse {
    let leading = header.leading;
    let peers = log.peers().into_iter().map(|peer| v1::RaftPeer {
        id: peer.id.0,
        name: peer.name,
        address: peer.address,
        role: match (peer.leads, peer.votes) {
            (true, _) => v1::Role::Leader,
            (false, true) => v1::Role::Voter,
            (false, false) => v1::Role::Learner,
        }
        .into(),
        log_index: peer.index,
    });
    v1::ListRaftPeersResponse {
        header: Some(header),
        peers: peers.collect(),
        last_log_index: leading.then_some(sight.leadership.last_log_index),
    }
}

/// At the leader.
pub async fn transfer(
    view: &View,
    asked: &v1::TransferLeadRequest,
    by: &str,
) -> Result<v1::TransferLeadResponse, Status> {
    let peers = view.log.peers();
    let to = match asked.node.as_str() {
        "" => None,
        node => {
            let by_name = peers.iter().find(|peer| peer.name == node);
            let found = by_name.or_else(|| peers.iter().find(|it| it.id.0.to_string() == node));
            let Some(found) = found else {
                let words = format!(
                    "no member is called {node:?}, nor is that a member's id; `starling raft \
                     peers` lists them"
                );
                return Err(refuse::with(Code::NotFound, refuse::NO_MEMBER, words));
            };
            Some(found.id)
        }
    };
    let leader = view.log.transfer(to).await.map_err(|why| kept(&why))?;
    let name = |id: NodeId| {
        let peer = peers.iter().find(|peer| peer.id == id);
        peer.map_or_else(String::new, |peer| peer.name.clone())
    };
    info!(
        leader = name(leader),
        id = leader.0,
        by,
        "another agent leads by command"
    );
    Ok(v1::TransferLeadResponse {
        header: Some(see(view, |sight| sight.header(v1::Consistency::Stale))),
        previous_leader_name: name(view.log.id()),
        leader_id: leader.0,
        leader_name: name(leader),
    })
}

fn kept(why: &Error) -> Status {
    let changed = "the leader has just changed; ask again in a second";
    match why {
        Error::NotLeader { .. } => refuse::with(Code::Unavailable, refuse::LEADER_CHANGED, changed),
        Error::LeadKept(kept @ (Kept::TooSlow { .. } | Kept::Nobody | Kept::Alone)) => {
            let words = format!("{kept}, so this agent goes on leading");
            refuse::with(Code::FailedPrecondition, refuse::LEADS, words)
        }
        why => refuse::with(Code::FailedPrecondition, refuse::LEADS, why.to_string()),
    }
}

/// A snapshot of what this agent has applied, in parts; `turn` ends with the stream.
pub async fn save(
    view: &View,
    consistency: v1::Consistency,
    turn: OwnedSemaphorePermit,
) -> Result<Stream<v1::SaveSnapshotResponse>, Status> {
    let sealed = view.log.save().await.map_err(|why| {
        let words = format!("{why}; look at this agent's disk, or ask another agent");
        refuse::with(Code::Unavailable, refuse::NO_SNAPSHOT, words)
    })?;
    let header = see(view, |sight| sight.header(consistency));
    let sealed = Arc::new(sealed);
    let parts = sealed.len().div_ceil(PART_BYTES);
    let parts = (0..parts).map(move |n| {
        // It goes on for as long as the client reads.
        let _turn = &turn;
        let end = sealed.len().min((n + 1) * PART_BYTES);
        Ok::<_, Status>(v1::SaveSnapshotResponse {
            header: (n == 0).then(|| header.clone()),
            size_bytes: sealed.len() as u64,
            data: sealed[n * PART_BYTES..end].to_vec(),
        })
    });
    Ok(Box::pin(tokio_stream::iter(parts)))
}
