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
use tokio::task::JoinSet;
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
use crate::types::{Appended, LogId, Peer, Types};
use crate::version::Versions;
use crate::{Leadership, Timing, codec};

/// Three lanes to each of 500 peers. At the bound all are dropped and made again as they are
/// needed.
const CHANNELS_MAX: usize = 1_536;
/// A snapshot as large as allowed takes no longer on a 100 Mbit/s line.
const SNAPSHOT_DEADLINE: Duration = Duration::from_mins(1);

/// For a MiB of entries, or one that is larger: on a line of 1 Mbit/s, and on a machine that is
/// busy with other things. Heartbeats tell sooner that somebody is gone.
const APPEND_DEADLINE: Duration = Duration::from_secs(10);

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
    resting: watch::Sender<BTreeSet<u64>>,
    pub book: Book,
}

impl Peers {
    pub fn new(connector: Connector, timing: Timing) -> Peers {
        Peers {
            connector,
            connect_timeout: Duration::from_millis(timing.election_min_ms),
            channels: Mutex::default(),
            silent: Mutex::default(),
            resting: watch::Sender::default(),
            book: Book::default(),
        }
    }

    /// Sends these agents no entries and no heartbeats until the next call.
    pub fn rest(&self, ids: BTreeSet<u64>) {
        self.resting.send_replace(ids);
    }

    fn rests(&self, id: u64) -> bool {
        self.resting.borrow().contains(&id)
    }

    /// Returns once it is sent nothing.
    async fn rested(&self, id: u64) {
        let mut resting = self.resting.subscribe();
        // It ends with the agent.
        let _ = resting.wait_for(|ids| ids.contains(&id)).await;
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
        let way = Way {
            links: self.clone(),
            target,
            address: node.address.clone(),
        };
        Link {
            way,
            under_way: None,
        }
    }
}

/// What openraft has of one other agent.
pub struct Link {
    way: Way,
    under_way: Option<Sent>,
}

/// The way to one other agent.
#[derive(Clone)]
struct Way {
    links: Links,
    target: u64,
    /// By the membership; an announced one goes first.
    address: String,
}

/// Entries that were sent. Openraft waits for an answer no longer than from one heartbeat to
/// the next, and sends the same entries again then: over a slow line, to a slow disk or to
/// a busy machine always too early, and each time instead of the one that was about to
/// get through. So a call goes on when nobody waits for it, and whoever sends the same
/// again waits for that one.
struct Sent {
    vote: Vote<u64>,
    prev: Option<LogId>,
    last: Option<LogId>,
    to: String,
    at: Instant,
    /// One; it ends with this.
    answer: JoinSet<Result<Appended, Status>>,
}

type CallError = RPCError<u64, Peer, RaftError<u64>>;

impl Way {
    fn address(&self) -> String {
        self.links.peers.book.find(self.target, &self.address)
    }

    async fn append(
        &self,
        rpc: &AppendEntriesRequest<Types>,
        deadline: Duration,
    ) -> Result<Appended, Status> {
        let request = RaftRequest {
            alone: !self.links.leadership.borrow().acting,
            ..self.request(rpc)?
        };
        let append = async move |mut client: PeerClient<Channel>| client.append(request).await;
        read(&self.call(Lane::Raft, deadline, append).await?)
    }

    /// What the agent says to entries up to `last`, or to none, that were sent it then.
    fn note(&self, vote: &Vote<u64>, last: Option<LogId>, sent: Instant, said: &Appended) {
        let Links {
            recall,
            acks,
            versions,
            ..
        } = &self.links;
        versions.note(self.target, said.supports.max(FIRST), sent);
        match &said.answer {
            AppendEntriesResponse::Success => recall.note(self.target, vote, last),
            AppendEntriesResponse::PartialSuccess(upto) => recall.note(self.target, vote, *upto),
            _ => {}
        }
        // All but a higher vote say: you lead, as far as I know.
        if !matches!(said.answer, AppendEntriesResponse::HigherVote(_)) {
            acks.record(vote.leader_id().term, self.target, sent);
        }
    }

    async fn call<F, Fut>(&self, lane: Lane, deadline: Duration, call: F) -> Result<Vec<u8>, Status>
    where
        F: FnOnce(PeerClient<Channel>) -> Fut,
        Fut: Future<Output = Result<Response<RaftReply>, Status>>,
    {
        let peers = &self.links.peers;
        let address = self.address();
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

    fn send(&self, rpc: AppendEntriesRequest<Types>, to: String) -> Sent {
        let (vote, prev) = (rpc.vote, rpc.prev_log_id);
        let last = rpc.entries.last().map(|entry| entry.log_id);
        let way = self.clone();
        let mut answer = JoinSet::new();
        let at = Instant::now();
        answer.spawn(async move {
            tokio::select! {
                said = way.append(&rpc, APPEND_DEADLINE) => said,
                () = way.links.peers.rested(way.target) => Err(left_alone()),
            }
        });
        Sent {
            vote,
            prev,
            last,
            to,
            at,
            answer,
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

fn left_alone() -> Status {
    Status::unavailable("it is left alone so that it can vote")
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
        let way = &self.way;
        if way.links.peers.rests(way.target) {
            self.under_way = None;
            return Err(call_error(&left_alone()));
        }
        let (vote, prev) = (rpc.vote, rpc.prev_log_id);
        let Some(last) = rpc.entries.last().map(|entry| entry.log_id) else {
            // A heartbeat.
            let at = Instant::now();
            let said = way.append(&rpc, option.hard_ttl()).await;
            let said = said.map_err(|status| call_error(&status))?;
            way.note(&vote, prev, at, &said);
            return Ok(said.answer);
        };
        let to = way.address();
        let same = |sent: &Sent| {
            (sent.vote, sent.prev) == (vote, prev) && sent.last <= Some(last) && sent.to == to
        };
        let sent = match self.under_way.take().filter(same) {
            Some(sent) => sent,
            None => way.send(rpc, to),
        };
        let sent = self.under_way.insert(sent);
        let late = || Status::deadline_exceeded("it hasn't answered yet");
        let said = tokio::time::timeout(option.hard_ttl(), sent.answer.join_next()).await;
        let said = said.map_err(|_| call_error(&late()))?;
        let Sent { at, last: upto, .. } = *sent;
        self.under_way = None;
        let said = match said {
            Some(Ok(said)) => said,
            Some(Err(error)) => Err(Status::internal(error.to_string())),
            None => Err(late()),
        };
        let said = said.map_err(|status| call_error(&status))?;
        self.way.note(&vote, upto, at, &said);
        Ok(match said.answer {
            // More has come to be sent since.
            AppendEntriesResponse::Success if upto < Some(last) => {
                AppendEntriesResponse::PartialSuccess(upto)
            }
            answer => answer,
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, CallError> {
        let asked = rpc.vote;
        let answer: Result<VoteResponse<u64>, Status> = async {
            let request = self.way.request(&rpc)?;
            let body = self
                .way
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
            self.way.links.recall.note(self.way.target, &asked, None);
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
            envelope: Some(envelope(&self.way.links.own, self.way.target)),
            vote: codec::encode(&vote).map_err(encode)?,
            meta: codec::encode(&snapshot.meta).map_err(encode)?,
            size_bytes: snapshot.snapshot.len() as u64,
        };
        let parts = parts(head, *snapshot.snapshot);
        let sending = self
            .way
            .call(Lane::Bulk, SNAPSHOT_DEADLINE, async move |mut client| {
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
        let pause = Duration::from_millis(self.way.links.timing.heartbeat_ms * 2);
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
