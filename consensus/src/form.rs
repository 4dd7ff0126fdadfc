//! The messages (`starling.log.v1`) of what this crate keeps and tells others.
//!
//! Comes in: its own types and openraft's, or a message. Goes out: the other one, or why
//! not. What is absent in a message and always there in the type is refused.

use std::collections::{BTreeMap, BTreeSet};

use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{CommittedLeaderId, EntryPayload, Membership, Vote};
use starling_engine::ledger::version::Raised;
use starling_engine::ledger::{Command, Outcome};
use starling_proto::log::{Error, LIST_MAX, Stored, at_most, wire};

use crate::codec;
use crate::recall::Known;
use crate::store::guard::Noted;
use crate::store::keys::{Admission, Identity, Pointer};
use crate::store::snapshots::Image;
use crate::types::{
    Appended, Batch, LogId, Peer, RaftEntry, SnapshotMeta, StoredMembership, Types,
};

/// Who takes part in the log at most: all members.
const NODES_MAX: usize = starling_engine::ledger::MEMBERS_MAX;

/// What has a message.
pub trait Form: Sized {
    type Message: prost::Message + Default;

    /// Whether a newer release may have put something into it that can be left out. Not
    /// so for whatever becomes a part of the ledger.
    const MAY_GROW: bool = false;

    fn out(&self) -> Result<Self::Message, Error>;

    fn back(message: Self::Message) -> Result<Self, Error>;

    /// What an agent has to support to understand all of it, as the message says.
    fn needs(_: &Self::Message) -> Option<&wire::Raised> {
        None
    }
}

fn needed<T: Form>(what: &'static str, message: Option<T::Message>) -> Result<T, Error> {
    T::back(message.ok_or(Error::Missing(what))?)
}

fn out<T: Form>(value: Option<&T>) -> Result<Option<T::Message>, Error> {
    value.map(T::out).transpose()
}

fn back<T: Form>(message: Option<T::Message>) -> Result<Option<T>, Error> {
    message.map(T::back).transpose()
}

/// Those that the ledger's own conversions take care of.
macro_rules! as_stored {
    ($($stored:ty),*) => {$(
        impl Form for $stored {
            type Message = <$stored as Stored>::Wire;

            fn out(&self) -> Result<Self::Message, Error> {
                Stored::out(self)
            }

            fn back(message: Self::Message) -> Result<Self, Error> {
                Stored::back(message)
            }
        }
    )*};
}

as_stored!(Command, Outcome);

impl Form for LogId {
    type Message = wire::LogId;

    fn out(&self) -> Result<wire::LogId, Error> {
        Ok(wire::LogId {
            term: self.leader_id.term,
            node: self.leader_id.node_id,
            index: self.index,
        })
    }

    fn back(message: wire::LogId) -> Result<Self, Error> {
        let wire::LogId { term, node, index } = message;
        Ok(LogId::new(CommittedLeaderId::new(term, node), index))
    }
}

impl Form for Option<LogId> {
    type Message = wire::Position;

    fn out(&self) -> Result<wire::Position, Error> {
        let id = out(self.as_ref())?;
        Ok(wire::Position { id })
    }

    fn back(message: wire::Position) -> Result<Self, Error> {
        back(message.id)
    }
}

impl Form for u64 {
    type Message = wire::Count;

    fn out(&self) -> Result<wire::Count, Error> {
        Ok(wire::Count { count: *self })
    }

    fn back(message: wire::Count) -> Result<Self, Error> {
        Ok(message.count)
    }
}

impl Form for Vote<u64> {
    type Message = wire::Vote;

    fn out(&self) -> Result<wire::Vote, Error> {
        Ok(wire::Vote {
            term: self.leader_id.term,
            node: self.leader_id.node_id,
            committed: self.committed,
        })
    }

    fn back(message: wire::Vote) -> Result<Self, Error> {
        let wire::Vote {
            term,
            node,
            committed,
        } = message;
        Ok(if committed {
            Vote::new_committed(term, node)
        } else {
            Vote::new(term, node)
        })
    }
}

impl Form for Membership<u64, Peer> {
    type Message = wire::Membership;

    fn out(&self) -> Result<wire::Membership, Error> {
        let configs = self.get_joint_config().iter();
        let configs = configs.map(|ids| wire::membership::Voters {
            ids: ids.iter().copied().collect(),
        });
        let node = |(id, peer): (&u64, &Peer)| {
            let Peer { name, address } = peer;
            Ok(wire::membership::Node {
                id: *id,
                name: Stored::out(name)?,
                address: Stored::out(address)?,
            })
        };
        Ok(wire::Membership {
            configs: configs.collect(),
            nodes: self.nodes().map(node).collect::<Result<_, Error>>()?,
        })
    }

    fn back(message: wire::Membership) -> Result<Self, Error> {
        let wire::Membership { configs, nodes } = message;
        at_most("sets of voters", configs.len(), LIST_MAX)?;
        at_most("agents with the log", nodes.len(), NODES_MAX)?;
        let mut peers = BTreeMap::new();
        for wire::membership::Node { id, name, address } in nodes {
            let peer = Peer {
                name: Stored::back(name)?,
                address: Stored::back(address)?,
            };
            if peers.insert(id, peer).is_some() {
                return Err(Error::Twice("agent"));
            }
        }
        let mut voters: Vec<BTreeSet<u64>> = Vec::new();
        for wire::membership::Voters { ids } in configs {
            // openraft would make up what isn't there.
            if ids.iter().any(|id| !peers.contains_key(id)) {
                return Err(Error::Missing("a voter's address"));
            }
            voters.push(ids.into_iter().collect());
        }
        Ok(Membership::new(voters, peers))
    }
}

impl Form for StoredMembership {
    type Message = wire::StoredMembership;

    fn out(&self) -> Result<wire::StoredMembership, Error> {
        Ok(wire::StoredMembership {
            id: out(self.log_id().as_ref())?,
            membership: Some(self.membership().out()?),
        })
    }

    fn back(message: wire::StoredMembership) -> Result<Self, Error> {
        let id = back(message.id)?;
        let membership = needed("membership", message.membership)?;
        Ok(StoredMembership::new(id, membership))
    }
}

impl Form for RaftEntry {
    type Message = wire::LogEntry;

    fn out(&self) -> Result<wire::LogEntry, Error> {
        use wire::log_entry::Payload;
        Ok(wire::LogEntry {
            id: Some(self.log_id.out()?),
            payload: Some(match &self.payload {
                EntryPayload::Blank => Payload::Blank(()),
                EntryPayload::Normal(Batch { entries, needs }) => Payload::Batch(wire::Batch {
                    entries: entries.out()?,
                    needs: needs.out()?,
                }),
                EntryPayload::Membership(membership) => Payload::Membership(membership.out()?),
            }),
        })
    }

    fn back(message: wire::LogEntry) -> Result<Self, Error> {
        use wire::log_entry::Payload;
        Ok(RaftEntry {
            log_id: needed("id", message.id)?,
            payload: match message.payload.ok_or(Error::Missing("payload"))? {
                Payload::Blank(()) => EntryPayload::Blank,
                Payload::Batch(wire::Batch { entries, needs }) => EntryPayload::Normal(Batch {
                    entries: Stored::back(entries)?,
                    needs: Stored::back(needs)?,
                }),
                Payload::Membership(membership) => {
                    EntryPayload::Membership(Form::back(membership)?)
                }
            },
        })
    }

    fn needs(message: &wire::LogEntry) -> Option<&wire::Raised> {
        match &message.payload {
            Some(wire::log_entry::Payload::Batch(batch)) => batch.needs.as_ref(),
            _ => None,
        }
    }
}

impl Form for Image {
    type Message = wire::Image;

    fn out(&self) -> Result<wire::Image, Error> {
        let Image {
            applied,
            membership,
            ledger,
        } = self;
        Ok(wire::Image {
            applied: out(applied.as_ref())?,
            membership: Some(membership.out()?),
            ledger: Some(ledger.out()?),
        })
    }

    fn back(message: wire::Image) -> Result<Self, Error> {
        let ledger = message.ledger.ok_or(Error::Missing("ledger"))?;
        Ok(Image {
            applied: back(message.applied)?,
            membership: needed("membership", message.membership)?,
            ledger: Stored::back(ledger)?,
        })
    }

    fn needs(message: &wire::Image) -> Option<&wire::Raised> {
        message.ledger.as_ref()?.raised.as_ref()
    }
}

impl Form for SnapshotMeta {
    type Message = wire::SnapshotMeta;

    const MAY_GROW: bool = true;

    fn out(&self) -> Result<wire::SnapshotMeta, Error> {
        Ok(wire::SnapshotMeta {
            last: out(self.last_log_id.as_ref())?,
            membership: Some(self.last_membership.out()?),
            id: Stored::out(&self.snapshot_id)?,
        })
    }

    fn back(message: wire::SnapshotMeta) -> Result<Self, Error> {
        Ok(SnapshotMeta {
            last_log_id: back(message.last)?,
            last_membership: needed("membership", message.membership)?,
            snapshot_id: Stored::back(message.id)?,
        })
    }
}

impl Form for Identity {
    type Message = wire::Identity;

    fn out(&self) -> Result<wire::Identity, Error> {
        let Identity {
            cluster,
            cluster_id,
            generation,
            id,
            founder,
        } = self;
        Ok(wire::Identity {
            cluster: Stored::out(cluster)?,
            cluster_id: Stored::out(cluster_id)?,
            generation: *generation,
            id: *id,
            founder: *founder,
        })
    }

    fn back(message: wire::Identity) -> Result<Self, Error> {
        Ok(Identity {
            cluster: Stored::back(message.cluster)?,
            cluster_id: Stored::back(message.cluster_id)?,
            generation: message.generation,
            id: message.id,
            founder: message.founder,
        })
    }
}

impl Form for Admission {
    type Message = wire::Admission;

    fn out(&self) -> Result<wire::Admission, Error> {
        let Admission {
            cluster,
            nonce,
            after,
        } = self;
        Ok(wire::Admission {
            cluster: Stored::out(cluster)?,
            nonce: Stored::out(nonce)?,
            after: *after,
        })
    }

    fn back(message: wire::Admission) -> Result<Self, Error> {
        Ok(Admission {
            cluster: Stored::back(message.cluster)?,
            nonce: Stored::back(message.nonce)?,
            after: message.after,
        })
    }
}

impl Form for Pointer {
    type Message = wire::Pointer;

    fn out(&self) -> Result<wire::Pointer, Error> {
        let Pointer { file, last } = self;
        Ok(wire::Pointer {
            file: Stored::out(file)?,
            last: out(last.as_ref())?,
        })
    }

    fn back(message: wire::Pointer) -> Result<Self, Error> {
        Ok(Pointer {
            file: Stored::back(message.file)?,
            last: back(message.last)?,
        })
    }
}

impl Form for Noted {
    type Message = wire::Noted;

    fn out(&self) -> Result<wire::Noted, Error> {
        let Noted { number, vote, last } = self;
        Ok(wire::Noted {
            number: *number,
            vote: out(vote.as_ref())?,
            last: out(last.as_ref())?,
        })
    }

    fn back(message: wire::Noted) -> Result<Self, Error> {
        Ok(Noted {
            number: message.number,
            vote: back(message.vote)?,
            last: back(message.last)?,
        })
    }
}

impl Form for Known {
    type Message = wire::Known;

    const MAY_GROW: bool = true;

    fn out(&self) -> Result<wire::Known, Error> {
        let Known {
            vote,
            last,
            furthest,
        } = self;
        Ok(wire::Known {
            vote: Some(vote.out()?),
            last: out(last.as_ref())?,
            furthest: out(furthest.as_ref())?,
        })
    }

    fn back(message: wire::Known) -> Result<Self, Error> {
        Ok(Known {
            vote: needed("vote", message.vote)?,
            last: back(message.last)?,
            furthest: back(message.furthest)?,
        })
    }
}

impl Form for AppendEntriesRequest<Types> {
    type Message = wire::AppendRequest;

    /// The entries in it may not.
    const MAY_GROW: bool = true;

    fn out(&self) -> Result<wire::AppendRequest, Error> {
        let entries = self.entries.iter().map(codec::bytes);
        Ok(wire::AppendRequest {
            vote: Some(self.vote.out()?),
            previous: out(self.prev_log_id.as_ref())?,
            entries: entries.collect::<Result<_, _>>()?,
            committed: out(self.leader_commit.as_ref())?,
        })
    }

    fn back(message: wire::AppendRequest) -> Result<Self, Error> {
        let entries = message.entries.iter();
        Ok(AppendEntriesRequest {
            vote: needed("vote", message.vote)?,
            prev_log_id: back(message.previous)?,
            entries: entries
                .map(|entry| codec::value(entry))
                .collect::<Result<_, _>>()?,
            leader_commit: back(message.committed)?,
        })
    }
}

impl Form for Appended {
    type Message = wire::AppendReply;

    const MAY_GROW: bool = true;

    fn out(&self) -> Result<wire::AppendReply, Error> {
        use wire::append_reply::Result as Kind;
        let Appended { answer, supports } = self;
        Ok(wire::AppendReply {
            result: Some(match answer {
                AppendEntriesResponse::Success => Kind::Success(()),
                AppendEntriesResponse::PartialSuccess(upto) => Kind::Partial(upto.out()?),
                AppendEntriesResponse::Conflict => Kind::Conflict(()),
                AppendEntriesResponse::HigherVote(vote) => Kind::HigherVote(vote.out()?),
            }),
            supports: *supports,
        })
    }

    fn back(message: wire::AppendReply) -> Result<Self, Error> {
        use wire::append_reply::Result as Kind;
        Ok(Appended {
            answer: match message.result.ok_or(Error::Missing("result"))? {
                Kind::Success(()) => AppendEntriesResponse::Success,
                Kind::Partial(upto) => AppendEntriesResponse::PartialSuccess(Form::back(upto)?),
                Kind::Conflict(()) => AppendEntriesResponse::Conflict,
                Kind::HigherVote(vote) => AppendEntriesResponse::HigherVote(Form::back(vote)?),
            },
            supports: message.supports,
        })
    }
}

impl Form for VoteRequest<u64> {
    type Message = wire::VoteRequest;

    const MAY_GROW: bool = true;

    fn out(&self) -> Result<wire::VoteRequest, Error> {
        Ok(wire::VoteRequest {
            vote: Some(self.vote.out()?),
            last: out(self.last_log_id.as_ref())?,
        })
    }

    fn back(message: wire::VoteRequest) -> Result<Self, Error> {
        Ok(VoteRequest {
            vote: needed("vote", message.vote)?,
            last_log_id: back(message.last)?,
        })
    }
}

impl Form for VoteResponse<u64> {
    type Message = wire::VoteReply;

    const MAY_GROW: bool = true;

    fn out(&self) -> Result<wire::VoteReply, Error> {
        Ok(wire::VoteReply {
            vote: Some(self.vote.out()?),
            granted: self.vote_granted,
            last: out(self.last_log_id.as_ref())?,
        })
    }

    fn back(message: wire::VoteReply) -> Result<Self, Error> {
        Ok(VoteResponse {
            vote: needed("vote", message.vote)?,
            vote_granted: message.granted,
            last_log_id: back(message.last)?,
        })
    }
}

impl Form for SnapshotResponse<u64> {
    type Message = wire::SnapshotReply;

    const MAY_GROW: bool = true;

    fn out(&self) -> Result<wire::SnapshotReply, Error> {
        let vote = Some(self.vote.out()?);
        Ok(wire::SnapshotReply { vote })
    }

    fn back(message: wire::SnapshotReply) -> Result<Self, Error> {
        let vote = needed("vote", message.vote)?;
        Ok(SnapshotResponse { vote })
    }
}

/// What `entry` needs; nothing while the ledger has its first version.
pub fn needs(entry: &RaftEntry) -> Option<&Raised> {
    match &entry.payload {
        EntryPayload::Normal(batch) => batch.needs.as_ref(),
        EntryPayload::Blank | EntryPayload::Membership(_) => None,
    }
}

#[cfg(test)]
mod tests;
