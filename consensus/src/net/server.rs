//! Answers other agents.
//!
//! The certificate is checked before a message is read, then the envelope, then
//! the message. Nothing here decides; it hands on to openraft and [`Core`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use openraft::Snapshot;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use starling_engine::ledger::{Command, Member};
use starling_engine::unit::NodeId;
use starling_proto::raft::peer_server::{self, PeerServer};
use starling_proto::raft::snapshot_part::Part;
use starling_proto::raft::{
    self as wire, Envelope, IdentifyReply, IdentifyRequest, JoinReply, JoinRequest, Leader,
    ProposeReply, ProposeRequest, RaftReply, RaftRequest, ReadIndexReply, ReadIndexRequest,
    ReaddressReply, ReaddressRequest, SnapshotHead, SnapshotPart, StandReply, StandRequest,
    propose_reply, read_index_reply,
};
use tokio::sync::Mutex;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use super::identity::{check, check_certificate, check_name, shorten};
use super::{MESSAGE_BYTES_MAX, SNAPSHOT_PART_BYTES};
use crate::accept::connections;
use crate::core::{Core, Membership};
use crate::join::is_nonce;
use crate::namesake;
use crate::store::snapshots::{Image, SNAPSHOT_BYTES_MAX};
use crate::tls::Callers;
use crate::types::Types;
use crate::{Error, codec, hand_over};

/// Calls at once on one connection; more wait.
/// Two lanes for each of 500 peers that all call this one.
const CONNECTIONS_MAX: usize = 1_024;
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
        self.core
            .member
            .get()
            .ok_or_else(|| Status::unavailable("this agent has not joined a cluster yet"))
    }

    fn checked(&self, envelope: Option<&Envelope>) -> Result<&Membership, Status> {
        let membership = self.membership()?;
        check(&membership.own, envelope)?;
        Ok(membership)
    }

    /// For calls that name the cluster, but not who shall answer.
    fn in_cluster(&self, cluster: &str) -> Result<&Membership, Status> {
        let membership = self.membership()?;
        if membership.own.cluster != cluster {
            return Err(Status::failed_precondition(format!(
                "this agent belongs to cluster {}, not to {}: check the seeds and the cluster's name",
                membership.own.cluster,
                shorten(cluster),
            )));
        }
        Ok(membership)
    }

    fn leader(&self) -> Leader {
        self.core.leader().unwrap_or_default()
    }

    async fn receive(
        &self,
        mut parts: Streaming<SnapshotPart>,
    ) -> Result<(SnapshotHead, Vec<u8>), Status> {
        let Some(Part::Head(head)) = next_part(&mut parts).await? else {
            return Err(Status::invalid_argument("a snapshot begins with its head"));
        };
        self.checked(head.envelope.as_ref())?;
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
fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Status> {
    codec::decode(body).map_err(|error| {
        tracing::warn!(%error, "a message can't be read: is this agent's version too old?");
        Status::invalid_argument(format!("can't be read: {error}"))
    })
}

fn reply<T: serde::Serialize>(body: &T) -> Result<Response<RaftReply>, Status> {
    let body = codec::encode(body).map_err(|e| Status::internal(e.to_string()))?;
    Ok(Response::new(RaftReply { body }))
}

fn member(member: Option<wire::Member>) -> Result<Member, Status> {
    let member = member.ok_or_else(|| Status::invalid_argument("the member is missing"))?;
    let addresses = [
        &member.peer_address,
        &member.gossip_address,
        &member.api_address,
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
    })
}

/// The member that a caller says it is, if its certificate bears that out.
fn named<T>(request: &Request<T>, said: Option<wire::Member>) -> Result<Member, Status> {
    let member = member(said)?;
    check_name(request, &member.name)?;
    Ok(member)
}

#[tonic::async_trait]
impl peer_server::Peer for Service {
    async fn append(&self, request: Request<RaftRequest>) -> Result<Response<RaftReply>, Status> {
        let request = request.into_inner();
        let membership = self.checked(request.envelope.as_ref())?;
        let append: AppendEntriesRequest<Types> = read(&request.body)?;
        let committed = append.leader_commit.map(|committed| committed.index);
        let answer = membership
            .raft
            .append_entries(append)
            .await
            .map_err(|e| Status::unavailable(e.to_string()))?;
        // Of a leader that others have left behind it is no news.
        if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
            self.core.tally.heard(committed, Instant::now());
        }
        reply(&answer)
    }

    async fn vote(&self, request: Request<RaftRequest>) -> Result<Response<RaftReply>, Status> {
        let request = request.into_inner();
        let membership = self.checked(request.envelope.as_ref())?;
        let answer = membership
            .raft
            .vote(read(&request.body)?)
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
        let (head, data) = self.receive(request.into_inner()).await?;
        // openraft stops for good where a snapshot can't be installed.
        let (image, data) = Image::decode_aside(data)
            .await
            .map_err(|e| Status::invalid_argument(format!("the snapshot can't be read: {e}")))?;
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
        _: Request<IdentifyRequest>,
    ) -> Result<Response<IdentifyReply>, Status> {
        let own = self.core.member.get().map(|m| m.own.clone());
        Ok(Response::new(IdentifyReply {
            cluster: self.core.config.cluster.clone(),
            generation: own.as_ref().map_or(0, |own| own.generation),
            id: own.as_ref().map_or(0, |own| own.id),
            leader: self.core.leader(),
        }))
    }

    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinReply>, Status> {
        let membership = self.in_cluster(&request.get_ref().cluster)?;
        let member = named(&request, request.get_ref().member.clone())?;
        let request = request.into_inner();
        // Above all, nobody who joins may pass for the founder.
        if !is_nonce(&request.nonce) {
            return Err(Status::invalid_argument(
                "a nonce has 32 hexadecimal digits",
            ));
        }
        if membership.leads() {
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
        }))
    }

    async fn readdress(
        &self,
        request: Request<ReaddressRequest>,
    ) -> Result<Response<ReaddressReply>, Status> {
        let membership = self.in_cluster(&request.get_ref().cluster)?;
        let member = named(&request, request.get_ref().member.clone())?;
        let request = request.into_inner();
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
        let request = request.into_inner();
        self.checked(request.envelope.as_ref())?;
        let result = match self.core.propose_here(read(&request.command)?).await {
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
        self.checked(request.into_inner().envelope.as_ref())?;
        let result = match self.core.read_index_here().await {
            Ok(index) => read_index_reply::Result::Index(index),
            Err(Error::NotLeader { .. }) => read_index_reply::Result::NotLeader(self.leader()),
            Err(e) => read_index_reply::Result::Unknown(e.to_string()),
        };
        Ok(Response::new(ReadIndexReply {
            result: Some(result),
        }))
    }

    async fn stand(&self, request: Request<StandRequest>) -> Result<Response<StandReply>, Status> {
        let request = request.into_inner();
        let membership = self.checked(request.envelope.as_ref())?;
        let sender = request.envelope.as_ref().map_or(0, |call| call.sender);
        let reply = hand_over::stand(&self.core, membership, sender, &request).await;
        Ok(Response::new(reply))
    }
}
