//! Asking all agents what runs on their nodes, for callers who asked this one.
//!
//! Comes in: a page's question. Goes out: what runs on as many nodes as the page has
//! room for, in the order of their ids, and who didn't answer. A page asks about as many
//! nodes as fill it, so that a listing asks hardly any node twice. Never waits for one
//! agent longer than [`ASK`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use prost::Message as _;
use starling_consensus::Credentials;
use starling_consensus::tls::Connector;
use starling_engine::unit::NodeId;
use starling_proto::REPLY_BYTES_MAX;
use starling_proto::v1::starling_service_client::StarlingServiceClient;
use starling_proto::v1::{self, Consistency};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::answer::{Askable, key};
use super::leader::{self, Client};
use super::page::{self, BYTES_MAX, Page, SIZE_MAX};
use super::refuse;
use super::see::see;
use crate::view::View;

/// One agent may take so long; then it is named as silent.
const ASK: Duration = Duration::from_secs(2);
/// What a node runs, as a rule: a page for that many asks one node at once, …
const OF_ONE_NODE: usize = 110;
/// … and the largest page so many. Each answer is bounded by the page's size.
const AT_ONCE_MAX: usize = SIZE_MAX / OF_ONE_NODE;
/// Pages that ask others at this moment; more are refused. Their answers together take
/// some 20 MiB of memory, where all nodes are full.
const PAGES_MAX: usize = 8;
/// A page that took so long ends where it is, so that a listing with many silent agents
/// stays within each question's deadline.
const PAGE: Duration = Duration::from_secs(1);
/// Connections that are kept; when there are more, all are dropped and made anew.
const CHANNELS_MAX: usize = 256;
/// Longer words of another agent on why it doesn't answer are cut.
const REASON_BYTES_MAX: usize = 200;

/// Names in page tokens: of what all nodes run, and of what one does.
const ALL: &str = "replicas";
const ONE: &str = "node-replicas";

/// The way to the other agents.
pub struct Replicas {
    connector: Connector,
    channels: Mutex<BTreeMap<String, Channel>>,
    pages: Semaphore,
}

/// Where a page begins.
struct Begin {
    node: NodeId,
    /// Beyond this replica of that node.
    after: Option<String>,
}

/// A page that fills.
struct Filling<'a> {
    page: &'a Page,
    reply: v1::ListReplicasResponse,
    bytes: usize,
}

impl Replicas {
    /// Shows itself as the agent that it is, and verifies others as such.
    pub fn new(credentials: &Credentials) -> Replicas {
        Replicas {
            connector: credentials.connector(),
            channels: Mutex::default(),
            pages: Semaphore::new(PAGES_MAX),
        }
    }

    /// What this agent's own node runs, for another agent.
    pub fn here(
        view: &View,
        asked: &v1::ListReplicasRequest,
    ) -> Result<v1::ListReplicasResponse, Status> {
        let page = Page::parse(ONE, asked.page_size, &asked.page_token)?;
        Ok(see(view, |sight| {
            let all = sight.replicas(page.after.as_deref(), &asked.namespace);
            let (replicas, next_page_token) = page.take(all);
            v1::ListReplicasResponse {
                header: Some(sight.header(Consistency::Stale)),
                replicas,
                next_page_token,
                silent_nodes: Vec::new(),
            }
        }))
    }

    /// What all nodes run, a page of it.
    pub async fn everywhere(
        &self,
        view: &View,
        asked: &v1::ListReplicasRequest,
    ) -> Result<v1::ListReplicasResponse, Status> {
        let page = Page::parse(ALL, asked.page_size, &asked.page_token)?;
        let mut begin = page.after.as_deref().map(parse).transpose()?;
        let _turn = self.pages.try_acquire().map_err(|_| {
            let words = format!(
                "this agent is asking all others for {PAGES_MAX} lists of replicas; ask again in \
                 a second, or ask another agent"
            );
            refuse::with(Code::ResourceExhausted, refuse::BUSY, words)
        })?;
        let started = Instant::now();
        let (header, nodes) = see(view, |sight| {
            (sight.header(Consistency::Stale), sight.askable())
        });
        let first = begin.as_ref().map_or(NodeId(0), |begin| begin.node);
        let mut rest: VecDeque<Askable> = nodes.into_iter().filter(|it| it.id >= first).collect();
        let mut filling = Filling {
            page: &page,
            reply: v1::ListReplicasResponse {
                header: Some(header),
                ..v1::ListReplicasResponse::default()
            },
            bytes: 0,
        };
        let at_once = (page.size / OF_ONE_NODE).clamp(1, AT_ONCE_MAX);
        while let Some(next) = rest.front() {
            if filling.is_full() || started.elapsed() > PAGE {
                filling.reply.next_page_token = token(next.id, "");
                break;
            }
            let batch: Vec<Askable> = rest.drain(..rest.len().min(at_once)).collect();
            let question = v1::ListReplicasRequest {
                page_size: i32::try_from(page.size).unwrap_or(i32::MAX),
                page_token: String::new(),
                namespace: asked.namespace.clone(),
            };
            let answers = self.ask(view, &batch, begin.take(), &question).await;
            for (node, answer) in batch.into_iter().zip(answers) {
                if let Some(token) = filling.add(node, answer) {
                    filling.reply.next_page_token = token;
                    return Ok(filling.reply);
                }
            }
        }
        Ok(filling.reply)
    }

    /// The answers of all of `nodes`, in their order, or why there is none. `begin`: one
    /// of them is asked for what comes after that.
    async fn ask(
        &self,
        view: &View,
        nodes: &[Askable],
        begin: Option<Begin>,
        question: &v1::ListReplicasRequest,
    ) -> Vec<Result<v1::ListReplicasResponse, String>> {
        let mut answers = Vec::new();
        let mut asking = JoinSet::new();
        for (place, node) in nodes.iter().enumerate() {
            let mut question = question.clone();
            let of_it = begin.as_ref().filter(|begin| begin.node == node.id);
            if let Some(after) = of_it.and_then(|begin| begin.after.as_ref()) {
                question.page_token = page::token(ONE, after);
            }
            answers.push(if node.id == view.log.id() {
                let own = Replicas::here(view, &question);
                own.map_err(|status| status.message().to_owned())
            } else if !node.alive {
                Err("it seems to be dead".to_owned())
            } else {
                let client = self.at(&node.api_address);
                client.and_then(|client| {
                    let answer = one(client, question, node.id);
                    asking.spawn(async move { (place, answer.await) });
                    // Until its answer is here.
                    Err(LATE.to_owned())
                })
            });
        }
        while let Some(answered) = asking.join_next().await {
            if let Ok((place, answer)) = answered {
                answers[place] = answer;
            }
        }
        answers
    }

    fn at(&self, address: &str) -> Result<Client, String> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let channel = if let Some(channel) = channels.get(address) {
            channel.clone()
        } else {
            let channel = leader::connect(&self.connector, address)
                .map_err(|why| format!("its API address {address:?} is unusable ({why})"))?;
            if channels.len() >= CHANNELS_MAX {
                channels.clear();
            }
            channels.insert(address.to_owned(), channel.clone());
            channel
        };
        Ok(StarlingServiceClient::new(channel).max_decoding_message_size(REPLY_BYTES_MAX))
    }
}

const LATE: &str = "it doesn't answer in time";

/// One agent's own answer.
async fn one(
    mut client: Client,
    question: v1::ListReplicasRequest,
    of: NodeId,
) -> Result<v1::ListReplicasResponse, String> {
    let mut request = leader::passed_on(question);
    request.set_timeout(ASK);
    let answer = tokio::time::timeout(ASK, client.list_replicas(request)).await;
    let answer = answer.map_err(|_| LATE.to_owned())?;
    let answer = answer.map_err(|status| match status.code() {
        Code::Unimplemented => "its version is too old for this question".to_owned(),
        Code::DeadlineExceeded | Code::Cancelled => LATE.to_owned(),
        _ => {
            let words = status.message();
            let end = words.floor_char_boundary(REASON_BYTES_MAX);
            format!("it can't be asked: {}", &words[..end])
        }
    })?;
    let answer = answer.into_inner();
    let by = answer.header.as_ref().map(|header| header.node_id);
    if by != Some(of.0) {
        return Err("another agent answers at its address".into());
    }
    Ok(answer)
}

impl Filling<'_> {
    fn is_full(&self) -> bool {
        self.reply.replicas.len() >= self.page.size || self.bytes >= BYTES_MAX
    }

    /// Takes what there is room for; the token of the next page, if that isn't all. Of
    /// the node that a page begins in it takes at least one replica, so where it takes
    /// none the next page begins with the first of that node.
    fn add(
        &mut self,
        node: Askable,
        answer: Result<v1::ListReplicasResponse, String>,
    ) -> Option<String> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(reason) => {
                let silent = v1::SilentNode {
                    node_id: node.id.0,
                    node_name: node.name,
                    reason,
                };
                self.bytes += silent.encoded_len();
                self.reply.silent_nodes.push(silent);
                return None;
            }
        };
        let mut last = String::new();
        for replica in answer.replicas {
            let bytes = replica.encoded_len();
            // Every page that ends here holds at least one, so that a listing ends.
            let begun = !self.reply.replicas.is_empty();
            if begun && (self.is_full() || self.bytes + bytes > BYTES_MAX) {
                return Some(token(node.id, &last));
            }
            self.bytes += bytes;
            last = key(&replica);
            self.reply.replicas.push(replica);
        }
        let more = !answer.next_page_token.is_empty() && !last.is_empty();
        more.then(|| token(node.id, &last))
    }
}

/// Goes on at this node, beyond this replica of it.
fn token(node: NodeId, after: &str) -> String {
    page::token(ALL, &format!("{}/{after}", node.0))
}

fn parse(after: &str) -> Result<Begin, Status> {
    let parts = after.split_once('/');
    let begin = parts.and_then(|(node, after)| {
        Some(Begin {
            node: NodeId(node.parse().ok()?),
            after: Some(after).filter(|it| !it.is_empty()).map(str::to_owned),
        })
    });
    begin.ok_or_else(|| {
        refuse::invalid(
            "page_token: not one that this list gave; take next_page_token of the page before, or \
             leave it empty to begin anew",
        )
    })
}
