//! Calls to other agents.
//!
//! [`Peers`] keeps one lazily connected channel for each address and lane;
//! [`Link`] is what openraft replicates and asks for votes through. Every call
//! has a deadline.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use openraft::error::{
    Fatal, NetworkError, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable,
};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetwork, RaftNetworkFactory, Snapshot, Vote};
use starling_engine::ledger::version::FIRST;
use starling_proto::raft::peer_client::PeerClient;
use starling_proto::raft::snapshot_part::Part;
use starling_proto::raft::{RaftReply, RaftRequest, SnapshotHead, SnapshotPart};
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};

use super::book::Book;
use super::identity::envelope;
use super::{MESSAGE_BYTES_MAX, SNAPSHOT_PART_BYTES};
use crate::acks::Acks;
use crate::form::Form;
use crate::recall::Recall;
use crate::store::keys::Identity;
use crate::tls::Connector;
use crate::types::{Appended, Peer, Types};
use crate::version::Versions;
use crate::{Leadership, Timing, codec};

/// Three lanes to each of 500 peers. At the bound all are dropped and made again as they are
/// needed.
const CHANNELS_MAX: usize = 1_536;
/// A snapshot as large as allowed takes no longer on a 100 Mbit/s line.
const SNAPSHOT_DEADLINE: Duration = Duration::from_mins(1);

/// An agent that vanished without a word (no power) is noticed in twice this
/// time, and connected to anew.
const KEEPALIVE: Duration = Duration::from_secs(2);

/// Large transfers don't share a connection with heartbeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    Raft,
    Bulk,
    /// What is said about other things waits for neither.
    Letters,
}

/// Channels to other agents.
pub struct Peers {
    connector: Connector,
    connect_timeout: Duration,
    channels: Mutex<BTreeMap<(String, Lane), Channel>>,
    /// Agents that were said not to answer; as many as members at most.
    silent: Mutex<BTreeSet<u64>>,
    /// Agents that are sent no entries and no heartbeats just now.
    resting: Mutex<BTreeSet<u64>>,
    pub book: Book,
}

impl Peers {
    pub fn new(connector: Connector, timing: Timing) -> Peers {
        Peers {
            connector,
            connect_timeout: Duration::from_millis(timing.election_min_ms),
            channels: Mutex::default(),
            silent: Mutex::default(),
            resting: Mutex::default(),
            book: Book::default(),
        }
    }

    /// Sends these agents no entries and no heartbeats until the next call.
    pub fn rest(&self, ids: BTreeSet<u64>) {
        *self.resting.lock().unwrap_or_else(PoisonError::into_inner) = ids;
    }

    fn rests(&self, id: u64) -> bool {
        let resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        resting.contains(&id)
    }

    /// Says once that an agent has fallen silent, and once that it is back.
    fn tell(&self, id: u64, address: &str, failure: Option<&Status>) {
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        match failure {
            Some(status) if silent.insert(id) => {
                tracing::warn!(
                    id,
                    address,
                    why = status.message(),
                    "an agent doesn't answer"
                );
            }
            None if silent.remove(&id) => tracing::info!(id, address, "an agent answers again"),
            _ => {}
        }
    }

    /// Doesn't connect yet; must be called within the runtime that shall drive it.
    pub fn client(&self, address: &str, lane: Lane) -> io::Result<PeerClient<Channel>> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (address.to_owned(), lane);
        let channel = if let Some(channel) = channels.get(&key) {
            channel.clone()
        } else {
            let channel = Endpoint::from_shared(format!("http://{address}"))
                .map_err(io::Error::other)?
                .connect_timeout(self.connect_timeout)
                .http2_keep_alive_interval(KEEPALIVE)
                .keep_alive_timeout(KEEPALIVE)
                .connect_with_connector_lazy(self.connector.clone());
            if channels.len() >= CHANNELS_MAX {
                channels.clear();
            }
            channels.insert(key, channel.clone());
            channel
        };
        Ok(PeerClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }
}

/// Makes the links that openraft asks for.
#[derive(Clone)]
pub struct Links {
    pub peers: Arc<Peers>,
    pub own: Arc<Identity>,
    pub acks: Arc<Acks>,
    pub recall: Arc<Recall>,
    /// Says whether a majority answers this agent, where it leads.
    pub leadership: watch::Receiver<Leadership>,
    pub versions: Arc<Versions>,
    pub timing: Timing,
}

impl RaftNetworkFactory<Types> for Links {
    type Network = Link;

    async fn new_client(&mut self, target: u64, node: &Peer) -> Link {
        Link {
            links: self.clone(),
            target,
            address: node.address.clone(),
        }
    }
}

/// The way to one other agent.
pub struct Link {
    links: Links,
    target: u64,
    /// By the membership; an announced one goes first.
    address: String,
}

type CallError = RPCError<u64, Peer, RaftError<u64>>;

impl Link {
    async fn call<F, Fut>(&self, lane: Lane, deadline: Duration, call: F) -> Result<Vec<u8>, Status>
    where
        F: FnOnce(PeerClient<Channel>) -> Fut,
        Fut: Future<Output = Result<Response<RaftReply>, Status>>,
    {
        let peers = &self.links.peers;
        let address = peers.book.find(self.target, &self.address);
        let answer = match peers.client(&address, lane) {
            Ok(client) => tokio::time::timeout(deadline, call(client))
                .await
                .unwrap_or_else(|_| {
                    Err(Status::deadline_exceeded(format!(
                        "no answer within {} ms",
                        deadline.as_millis()
                    )))
                }),
            Err(e) => Err(Status::invalid_argument(format!(
                "{address} is no address: {e}"
            ))),
        };
        peers.tell(self.target, &address, answer.as_ref().err());
        match answer {
            Ok(reply) => Ok(reply.into_inner().body),
            Err(status) => {
                peers.book.forget(self.target, &address);
                Err(status)
            }
        }
    }

    fn request<T: Form>(&self, body: &T) -> Result<RaftRequest, Status> {
        Ok(RaftRequest {
            envelope: Some(envelope(&self.links.own, self.target)),
            body: codec::encode(body).map_err(|e| Status::internal(e.to_string()))?,
            alone: false,
        })
    }
}

fn read<T: Form>(body: &[u8]) -> Result<T, Status> {
    codec::decode(body).map_err(|e| Status::internal(format!("the answer can't be read: {e}")))
}

fn call_error(status: &Status) -> CallError {
    match status.code() {
        // It may have got through: try again at once.
        tonic::Code::DeadlineExceeded => RPCError::Network(NetworkError::new(status)),
        _ => RPCError::Unreachable(Unreachable::new(status)),
    }
}

impl RaftNetwork<Types> for Link {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, CallError> {
        if self.links.peers.rests(self.target) {
            let status = Status::unavailable("it is left alone so that it can vote");
            return Err(call_error(&status));
        }
        let (vote, term) = (rpc.vote, rpc.vote.leader_id().term);
        let last = rpc.entries.last().map(|entry| entry.log_id);
        let last = last.max(rpc.prev_log_id);
        let sent = Instant::now();
        let answer: Result<AppendEntriesResponse<u64>, Status> = async {
            let request = RaftRequest {
                alone: !self.links.leadership.borrow().acting,
                ..self.request(&rpc)?
            };
            let body = self
                .call(Lane::Raft, option.hard_ttl(), async move |mut client| {
                    client.append(request).await
                })
                .await?;
            let Appended { answer, supports } = read(&body)?;
            let supports = supports.max(FIRST);
            self.links.versions.note(self.target, supports, sent);
            Ok(answer)
        }
        .await;
        let answer = answer.map_err(|status| call_error(&status))?;
        match &answer {
            AppendEntriesResponse::Success => self.links.recall.note(self.target, &vote, last),
            AppendEntriesResponse::PartialSuccess(upto) => {
                self.links.recall.note(self.target, &vote, *upto);
            }
            _ => {}
        }
        // All but a higher vote say: you lead, as far as I know.
        if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
            self.links.acks.record(term, self.target, sent);
        }
        Ok(answer)
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, CallError> {
        let asked = rpc.vote;
        let answer: Result<VoteResponse<u64>, Status> = async {
            let request = self.request(&rpc)?;
            let body = self
                .call(Lane::Raft, option.hard_ttl(), async move |mut client| {
                    client.vote(request).await
                })
                .await?;
            read(&body)
        }
        .await;
        if let Ok(reply) = &answer
            && reply.vote_granted
        {
            self.links.recall.note(self.target, &asked, None);
        }
        answer.map_err(|status| call_error(&status))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote<u64>,
        snapshot: Snapshot<Types>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<Types, Fatal<u64>>> {
        let encode = |e: io::Error| StreamingError::Network(NetworkError::new(&e));
        let head = SnapshotHead {
            envelope: Some(envelope(&self.links.own, self.target)),
            vote: codec::encode(&vote).map_err(encode)?,
            meta: codec::encode(&snapshot.meta).map_err(encode)?,
            size_bytes: snapshot.snapshot.len() as u64,
        };
        let parts = parts(head, *snapshot.snapshot);
        let sending = self.call(Lane::Bulk, SNAPSHOT_DEADLINE, async move |mut client| {
            client.snapshot(tokio_stream::iter(parts)).await
        });
        let answer = tokio::select! {
            closed = cancel => return Err(StreamingError::Closed(closed)),
            answer = sending => answer.and_then(|body| read(&body)),
        };
        answer.map_err(|status: Status| StreamingError::Unreachable(Unreachable::new(&status)))
    }

    /// Short: the way is heartbeats' too, and an agent that came back shall hear one soon.
    fn backoff(&self) -> Backoff {
        let pause = Duration::from_millis(self.links.timing.heartbeat_ms * 2);
        Backoff::new(std::iter::repeat(pause))
    }
}

fn parts(head: SnapshotHead, data: Vec<u8>) -> impl Iterator<Item = SnapshotPart> {
    let count = data.len().div_ceil(SNAPSHOT_PART_BYTES);
    let data = (0..count).map(move |n| {
        let end = ((n + 1) * SNAPSHOT_PART_BYTES).min(data.len());
        Part::Data(data[n * SNAPSHOT_PART_BYTES..end].to_vec())
    });
    std::iter::once(Part::Head(head))
        .chain(data)
        .map(|part| SnapshotPart { part: Some(part) })
}
