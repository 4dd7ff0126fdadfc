//! Answers other agents.
//!
//! The certificate is checked before a message is read, then the envelope, then
//! the message. Nothing here decides; it hands on to openraft and [`Core`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest};
use openraft::{Snapshot, Vote};
use starling_engine::ledger::{Command, Member};
use starling_engine::unit::NodeId;
use starling_proto::log;
use starling_proto::raft::peer_server::{self, PeerServer};
use starling_proto::raft::snapshot_part::Part;
use starling_proto::raft::{
    self as wire, AttendReply, AttendRequest, Envelope, IdentifyReply, IdentifyRequest, JoinReply,
    JoinRequest, Leader, PreVoteReply, PreVoteRequest, ProposeReply, ProposeRequest, RaftReply,
    RaftRequest, ReadIndexReply, ReadIndexRequest, ReaddressReply, ReaddressRequest, RecallReply,
    RecallRequest, SnapshotHead, SnapshotPart, StandReply, StandRequest, TellReply, TellRequest,
    propose_reply, read_index_reply,
};
use tokio::sync::Mutex;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use super::identity::{Caller, check, check_certificate, check_cluster};
use super::owner::{self, Wish};
use super::{MESSAGE_BYTES_MAX, SNAPSHOT_PART_BYTES};
use crate::accept::connections;
use crate::core::{Core, Membership};
use crate::form::Form;
use crate::join::is_nonce;
use crate::letters::Letter;
use crate::meet::{Other, meet};
use crate::namesake;
use crate::store::snapshots::{Image, SNAPSHOT_BYTES_MAX};
use crate::tls::Callers;
use crate::types::{Appended, Types};
use crate::{Error, codec, hand_over, removed, stand, version};

/// Calls at once on one connection; more wait.
/// Three lanes for each of 500 peers that all call this one.
const CONNECTIONS_MAX: usize = 1_536;
const CALLS_MAX: usize = 64;
const STREAMS_MAX: u32 = 128;
/// No call takes longer, snapshots included.
const SERVER_DEADLINE: Duration = Duration::from_mins(2);
/// A snapshot whose sender is silent for so long is given up.
const PART_DEADLINE: Duration = Duration::from_secs(5);
const NAME_BYTES_MAX: usize = 63;
const ADDRESS_BYTES_MAX: usize = 255;

/// Serves until the task is dropped.
pub fn serve(
    core: Arc<Core>,
    listener: tokio::net::TcpListener,
) -> impl Future<Output = Result<(), tonic::transport::Error>> + Send + use<> {
    let credentials = core.config.credentials.clone();
    let service = PeerServer::new(Service {
        core,
        snapshot: Mutex::new(()),
    })
    .max_decoding_message_size(MESSAGE_BYTES_MAX)
    .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let router = Server::builder()
        .concurrency_limit_per_connection(CALLS_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .timeout(SERVER_DEADLINE)
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .add_service(tonic::service::interceptor::InterceptedService::new(
            service,
            check_certificate,
        ));
    let incoming = connections(listener, CONNECTIONS_MAX, credentials, Callers::Certified);
    router.serve_with_incoming(incoming)
}

struct Service {
    core: Arc<Core>,
    /// One snapshot arrives at a time: each may take much memory.
    snapshot: Mutex<()>,
}

impl Service {
    fn membership(&self) -> Result<&Membership, Status> {
        self.core.member.get().ok_or_else(no_member)
    }

    /// For calls from members to this agent as a member.
    async fn checked(
        &self,
        caller: &Caller,
        envelope: Option<&Envelope>,
        wish: Wish,
    ) -> Result<(&Membership, u64), Status> {
        let membership = self.membership()?;
        let sender = check(&membership.own, envelope)?;
        owner::check(&self.core, caller, sender, wish).await?;
        Ok((membership, sender))
    }

    /// The same, for what counts towards elections and commits.
    async fn taking_part(
        &self,
        caller: &Caller,
        envelope: Option<&Envelope>,
        wish: Wish,
    ) -> Result<(&Membership, u64), Status> {
        let checked = self.checked(caller, envelope, wish).await?;
        if !self.core.recall.is_open() {
            return Err(Status::unavailable(
                "this agent has started and asks the others how far its log was",
            ));
        }
        Ok(checked)
    }

    /// Entries of a leader; one that isn't understood ends this agent's part.
    fn understood(&self, body: &[u8]) -> Result<AppendEntriesRequest<Types>, Status> {
        codec::value(body).map_err(|why| self.too_old(&why))
    }

    /// The cluster's log holds what this release doesn't understand: it takes no further
    /// part, neither as a voter, and says so.
    fn too_old(&self, why: &log::Error) -> Status {
        if !why.is_newer() {
            return Status::invalid_argument(format!("can't be read: {why}"));
        }
        let words = version::words(why);
        self.core.stop(words.clone());
        Status::failed_precondition(words)
    }

    /// For calls that name the cluster, but not who shall answer.
    fn in_cluster(&self, name: &str, id: &str) -> Result<&Membership, Status> {
        let membership = self.membership()?;
        check_cluster(&membership.own, name, id)?;
        Ok(membership)
    }

    fn leader(&self) -> Leader {
        self.core.leader().unwrap_or_default()
    }

    async fn receive(
        &self,
        caller: &Caller,
        mut parts: Streaming<SnapshotPart>,
    ) -> Result<(SnapshotHead, Vec<u8>), Status> {
        let Some(Part::Head(head)) = next_part(&mut parts).await? else {
            return Err(Status::invalid_argument("a snapshot begins with its head"));
        };
        let (_, sender) = self
            .taking_part(caller, head.envelope.as_ref(), Wish::Lead)
            .await?;
        said_by(&read(&head.vote)?, sender)?;
        let size = usize::try_from(head.size_bytes)
            .ok()
            .filter(|size| *size <= SNAPSHOT_BYTES_MAX)
            .ok_or_else(|| {
                Status::resource_exhausted(format!(
                    "the snapshot has more than {SNAPSHOT_BYTES_MAX} bytes"
                ))
            })?;
        // Memory grows with what arrives, not with what is announced.
        let mut data = Vec::new();
        while let Some(part) = next_part(&mut parts).await? {
            let Part::Data(bytes) = part else {
                return Err(Status::invalid_argument("a snapshot has one head"));
            };
            if bytes.len() > SNAPSHOT_PART_BYTES || data.len() + bytes.len() > size {
                return Err(Status::invalid_argument("the snapshot is longer than said"));
            }
            data.extend_from_slice(&bytes);
        }
        if data.len() != size {
            return Err(Status::invalid_argument("the snapshot is cut short"));
        }
        Ok((head, data))
    }
}

async fn next_part(parts: &mut Streaming<SnapshotPart>) -> Result<Option<Part>, Status> {
    let part = tokio::time::timeout(PART_DEADLINE, parts.message())
        .await
        .map_err(|_| Status::deadline_exceeded("the snapshot's sender is silent"))??;
    Ok(part.and_then(|part| part.part))
}

/// What can't be read is refused, and never skipped: a newer agent's commands
/// stop here until this one is upgraded.
fn read<T: Form>(body: &[u8]) -> Result<T, Status> {
    codec::decode(body).map_err(|error| {
        tracing::warn!(%error, "a message can't be read: is this agent's version too old?");
        Status::invalid_argument(format!("can't be read: {error}"))
    })
}

fn reply<T: Form>(body: &T) -> Result<Response<RaftReply>, Status> {
    let body = codec::encode(body).map_err(|e| Status::internal(e.to_string()))?;
    Ok(Response::new(RaftReply { body }))
}

fn member(member: Option<wire::Member>) -> Result<Member, Status> {
    let member = member.ok_or_else(|| Status::invalid_argument("the member is missing"))?;
    let addresses = [
        &member.peer_address,
        &member.gossip_address,
        &member.api_address,
        &member.zone,
    ];
    if member.name.is_empty()
        || member.name.len() > NAME_BYTES_MAX
        || member.peer_address.is_empty()
        || addresses.iter().any(|a| a.len() > ADDRESS_BYTES_MAX)
    {
        return Err(Status::invalid_argument(format!(
            "a member's name has 1 to {NAME_BYTES_MAX} bytes, its peer address 1 to {ADDRESS_BYTES_MAX}"
        )));
    }
    Ok(Member {
        name: member.name,
        peer_address: member.peer_address,
        gossip_address: member.gossip_address,
        api_address: member.api_address,
        zone: member.zone,
    })
}

/// The member that a caller says it is, if its certificate bears that out.
fn named(caller: &Caller, said: Option<wire::Member>) -> Result<Member, Status> {
    let member = member(said)?;
    caller.check_name(&member.name)?;
    Ok(member)
}

fn no_member() -> Status {
    Status::unavailable("this agent has not joined a cluster yet")
}

/// A vote or an entry is its leader's own word.
fn said_by(vote: &Vote<u64>, sender: u64) -> Result<(), Status> {
    match vote.leader_id().voted_for() {
        Some(speaker) if speaker == sender => Ok(()),
        speaker => Err(Status::permission_denied(format!(
            "agent {sender} speaks for agent {}",
            speaker.unwrap_or_default()
        ))),
    }
}

/// Members propose what users may change; all else has a way in of its own.
fn may_be_forwarded(command: &Command) -> Result<(), Status> {
    let what = match command {
        Command::PutPolicy { .. }
        | Command::RemovePolicy { .. }
        | Command::DeleteWorkload { .. }
        | Command::Remove { .. } => return Ok(()),
        Command::Found { .. } => "a cluster is founded by its first agent",
        Command::Admit { .. } => "an agent is let in where it asks to join",
        Command::Readdress { .. } => "an agent says itself where it listens",
        Command::LookAround => "whoever leads a rebuilt cluster looks around",
        Command::Away { .. } => "the leader sees itself who is away",
        Command::Pass { .. } => "a pass is the leader's own",
        Command::Raise(_) => "the ledger's version is raised by the leader",
    };
    Err(Status::permission_denied(format!(
        "{what}: this command can't be proposed for others"
    )))
}

#[tonic::async_trait]
impl peer_server::Peer for Service {
    async fn append(&self, request: Request<RaftRequest>) -> Result<Response<RaftReply>, Status> {
        let (caller, request) = Caller::of(request);
        let (membership, sender) = self
            .taking_part(&caller, request.envelope.as_ref(), Wish::Lead)
            .await?;
        let alone = request.alone;
        let append: AppendEntriesRequest<Types> = self.understood(&request.body)?;
        said_by(&append.vote, sender)?;
        version::check_entries(&append.entries, self.core.config.ledger_version)
            .map_err(|why| self.too_old(&why))?;
        let committed = append.leader_commit.map(|committed| committed.index);
        let last = append.entries.last().map(|entry| entry.log_id);
        // A leader has on its disk what it sends.
        self.core
            .recall
            .note(sender, &append.vote, last.max(append.prev_log_id));
        let answer = membership
            .raft
            .append_entries(append)
            .await
            .map_err(|e| Status::unavailable(e.to_string()))?;
        // Of a leader that others have left behind it is no news.
        if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
            self.core.tally.heard(committed, alone, Instant::now());
        }
        reply(&Appended {
            answer,
            supports: self.core.config.ledger_version,
        })
    }

    async fn vote(&self, request: Request<RaftRequest>) -> Result<Response<RaftReply>, Status> {
        let (caller, request) = Caller::of(request);
        let (membership, sender) = self
            .taking_part(&caller, request.envelope.as_ref(), Wish::Vote)
            .await?;
        let vote: VoteRequest<u64> = read(&request.body)?;
        said_by(&vote.vote, sender)?;
        self.core.recall.note(sender, &vote.vote, vote.last_log_id);
        let answer = membership
            .raft
            .vote(vote)
            .await
            .map_err(|e| Status::unavailable(e.to_string()))?;
        reply(&answer)
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<SnapshotPart>>,
    ) -> Result<Response<RaftReply>, Status> {
        let _one = self
            .snapshot
            .try_lock()
            .map_err(|_| Status::resource_exhausted("another snapshot is arriving"))?;
        let (caller, parts) = Caller::of(request);
        let (head, data) = self.receive(&caller, parts).await?;
        // openraft stops for good where a snapshot can't be installed.
        let supports = self.core.config.ledger_version;
        let decoded = Image::decode_aside(data).await.and_then(|(image, data)| {
            image.check(supports)?;
            Ok((image, data))
        });
        let (image, data) = decoded.map_err(|e| match codec::unreadable(&e) {
            Some(why) => self.too_old(why),
            None => Status::invalid_argument(format!("the snapshot can't be read: {e}")),
        })?;
        let meta: crate::types::SnapshotMeta = read(&head.meta)?;
        if image.meta() != meta {
            return Err(Status::invalid_argument(
                "the snapshot is another one than its head says",
            ));
        }
        let snapshot = Snapshot {
            meta,
            snapshot: Box::new(data),
        };
        let answer = self
            .membership()?
            .raft
            .install_full_snapshot(read(&head.vote)?, snapshot)
            .await
            .map_err(|e| Status::unavailable(e.to_string()))?;
        reply(&answer)
    }

    async fn identify(
        &self,
        request: Request<IdentifyRequest>,
    ) -> Result<Response<IdentifyReply>, Status> {
        let core = &self.core;
        let caller = request.into_inner();
        meet(
            core,
            &Other {
                name: &caller.name,
                place: "which has called",
                cluster: &caller.cluster,
                cluster_id: &caller.cluster_id,
                generation: caller.generation,
                members: caller.members,
            },
        );
        // One that has an id and no log yet lets nobody in.
        let own = core.member.get().map(|member| &member.own);
        Ok(Response::new(IdentifyReply {
            cluster: core.config.cluster.clone(),
            generation: own.map_or(0, |own| own.generation),
            id: own.map_or(0, |own| own.id),
            leader: core.leader(),
            cluster_id: own.map_or_else(String::new, |own| own.cluster_id.clone()),
            name: core.config.member.name.clone(),
            founds: core.may_found && core.own.get().is_none(),
            members: u32::try_from(core.members()).unwrap_or(u32::MAX),
            led: core.led(),
            last: core.member.get().and_then(stand::place),
        }))
    }

    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinReply>, Status> {
        let membership = self.membership()?;
        let (caller, request) = Caller::of(request);
        // A new agent may not know the id of the cluster that it looks for.
        let id = match request.cluster_id.as_str() {
            "" => &membership.own.cluster_id,
            id => id,
        };
        check_cluster(&membership.own, &request.cluster, id)?;
        let member = named(&caller, request.member)?;
        // Above all, nobody who joins may pass for the founder.
        if !is_nonce(&request.nonce) {
            return Err(Status::invalid_argument(
                "a nonce has 32 hexadecimal digits",
            ));
        }
        if membership.leads() {
            self.core
                .check_version(request.ledger_version)
                .map_err(|why| {
                    Status::failed_precondition(format!(
                        "the agent that asks is too old for the cluster's log: {why}; start a \
                         release there that supports it"
                    ))
                })?;
            namesake::check(&self.core, membership, &request.nonce, &member)
                .await
                .map_err(Status::already_exists)?;
        }
        let admit = Command::Admit {
            nonce: request.nonce,
            member,
        };
        let id = match self.core.propose_here(admit).await {
            Ok(outcome) => match (outcome.admitted, outcome.refused.first()) {
                (Some(id), _) => id.0,
                (None, Some(refusal)) => {
                    return Err(Status::failed_precondition(refusal.to_string()));
                }
                (None, None) => return Err(Status::internal("admitted without an id")),
            },
            Err(Error::NotLeader { .. }) => 0,
            Err(e) => return Err(Status::unavailable(e.to_string())),
        };
        Ok(Response::new(JoinReply {
            id,
            generation: membership.own.generation,
            leader: Some(self.leader()),
            cluster_id: membership.own.cluster_id.clone(),
        }))
    }

    async fn readdress(
        &self,
        request: Request<ReaddressRequest>,
    ) -> Result<Response<ReaddressReply>, Status> {
        let (caller, request) = Caller::of(request);
        let membership = self.in_cluster(&request.cluster, &request.cluster_id)?;
        let member = named(&caller, request.member)?;
        owner::check(&self.core, &caller, request.sender, Wish::Other).await?;
        if request.generation != membership.own.generation {
            return Err(Status::failed_precondition(format!(
                "this is generation {} of the cluster, not {}",
                membership.own.generation, request.generation
            )));
        }
        self.core
            .peers
            .book
            .note(request.sender, &member.peer_address);
        if membership.leads() {
            let readdress = Command::Readdress {
                node: NodeId(request.sender),
                member,
            };
            let outcome = self
                .core
                .propose_here(readdress)
                .await
                .map_err(|e| Status::unavailable(e.to_string()))?;
            if let Some(refusal) = outcome.refused.first() {
                return Err(Status::failed_precondition(refusal.to_string()));
            }
        }
        Ok(Response::new(ReaddressReply {
            leader: Some(self.leader()),
        }))
    }

    async fn propose(
        &self,
        request: Request<ProposeRequest>,
    ) -> Result<Response<ProposeReply>, Status> {
        let (caller, request) = Caller::of(request);
        self.checked(&caller, request.envelope.as_ref(), Wish::Other)
            .await?;
        let command: Command = read(&request.command)?;
        may_be_forwarded(&command)?;
        let result = match self.core.propose_here(command).await {
            Ok(outcome) => propose_reply::Result::Outcome(
                codec::encode(&outcome).map_err(|e| Status::internal(e.to_string()))?,
            ),
            Err(Error::NotLeader { .. }) => propose_reply::Result::NotLeader(self.leader()),
            Err(e) => propose_reply::Result::Unknown(e.to_string()),
        };
        Ok(Response::new(ProposeReply {
            result: Some(result),
        }))
    }

    async fn read_index(
        &self,
        request: Request<ReadIndexRequest>,
    ) -> Result<Response<ReadIndexReply>, Status> {
        let (caller, request) = Caller::of(request);
        self.checked(&caller, request.envelope.as_ref(), Wish::Other)
            .await?;
        let result = match self.core.read_index_here().await {
            Ok(index) => read_index_reply::Result::Index(index),
            Err(Error::NotLeader { .. }) => read_index_reply::Result::NotLeader(self.leader()),
            Err(e) => read_index_reply::Result::Unknown(e.to_string()),
        };
        Ok(Response::new(ReadIndexReply {
            result: Some(result),
        }))
    }

    type AttendStream = tokio_stream::Pending<Result<AttendReply, Status>>;

    async fn attend(
        &self,
        request: Request<AttendRequest>,
    ) -> Result<Response<Self::AttendStream>, Status> {
        let (caller, request) = Caller::of(request);
        self.checked(&caller, request.envelope.as_ref(), Wish::Other)
            .await?;
        Ok(Response::new(tokio_stream::pending()))
    }

    async fn recall(
        &self,
        request: Request<RecallRequest>,
    ) -> Result<Response<RecallReply>, Status> {
        // Also before this agent's own log runs: all may be starting.
        let own = self.core.own.get().ok_or_else(no_member)?;
        let (caller, request) = Caller::of(request);
        let sender = check(own, request.envelope.as_ref())?;
        if removed::is_removed(&self.core, sender) {
            return Ok(Response::new(RecallReply {
                removed: true,
                ..RecallReply::default()
            }));
        }
        owner::check(&self.core, &caller, sender, Wish::Other).await?;
        let committed = self
            .core
            .member
            .get()
            .and_then(|m| m.metrics().last_applied);
        let known = match self.core.recall.of(sender, committed) {
            Some(known) => codec::encode(&known).map_err(|e| Status::internal(e.to_string()))?,
            None => Vec::new(),
        };
        Ok(Response::new(RecallReply {
            known,
            removed: false,
        }))
    }

    async fn pre_vote(
        &self,
        request: Request<PreVoteRequest>,
    ) -> Result<Response<PreVoteReply>, Status> {
        let (caller, request) = Caller::of(request);
        let (membership, _) = self
            .taking_part(&caller, request.envelope.as_ref(), Wish::Vote)
            .await?;
        let reply = stand::pre_vote(&self.core, membership, request.last);
        Ok(Response::new(reply))
    }

    async fn stand(&self, request: Request<StandRequest>) -> Result<Response<StandReply>, Status> {
        let (caller, request) = Caller::of(request);
        let (membership, sender) = self
            .taking_part(&caller, request.envelope.as_ref(), Wish::Other)
            .await?;
        let reply = hand_over::stand(&self.core, membership, sender, &request).await;
        Ok(Response::new(reply))
    }

    async fn tell(&self, request: Request<TellRequest>) -> Result<Response<TellReply>, Status> {
        let (caller, request) = Caller::of(request);
        let (_, sender) = self
            .checked(&caller, request.envelope.as_ref(), Wish::Other)
            .await?;
        self.core.letters.arrive(Letter {
            from: NodeId(sender),
            body: request.body,
        })?;
        Ok(Response::new(TellReply {}))
    }
}
