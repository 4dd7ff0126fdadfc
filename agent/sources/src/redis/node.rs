//! The server that has the number, wherever it is: found through sentinels, or by going
//! where a cluster's nodes send a question.
//!
//! Comes in: how the Redis is deployed, and what is asked of a [`Node`]. Goes out: what that
//! one answered. Of those that a trigger names the next one is asked while the one before
//! doesn't answer, or when it has failed, unless that one has the key and the others could
//! only send the question back to it.

use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use redis::{Cmd, FromRedisValue, Value};
use tokio::time::Instant;

use super::Connections;
use super::deployment::Deployment;
use super::server::{Account, Connection, Failure, Server};
use super::{Question, unread};
use crate::settings::{TIMEOUT_DEFAULT_MS, shown};
use crate::stream::Address;
use crate::{Error, Reason};

/// How often a cluster may send one command on. One that is at rest does it once, one that
/// moves the key twice.
const HOPS_MAX: usize = 5;
/// So long the next one waits for an answer of the one before. Once all are asked, and one has
/// said why it gives none, the others have so long too.
const STEP_MAX: Duration = Duration::from_millis(500);

/// One question, of however many servers.
pub(super) struct Search<'a> {
    connections: &'a Connections,
    seen: Mutex<Seen>,
}

/// What is told where nobody answers in time.
#[derive(Default)]
struct Seen {
    /// Who was asked last: mostly the one that hangs.
    last: Option<Address>,
    /// What one of those said who are asked for the same.
    said: Option<Error>,
}

impl<'a> Search<'a> {
    pub(super) fn new(connections: &'a Connections) -> Search<'a> {
        Search {
            connections,
            seen: Mutex::default(),
        }
    }

    pub(super) fn last(&self) -> Option<Address> {
        self.seen().last.clone()
    }

    pub(super) fn said(&self) -> Option<Error> {
        self.seen().said.clone()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much there is, and the server that has said it.
#[derive(Debug)]
pub(super) struct Found {
    pub count: u64,
    pub server: Server,
}

/// The server that is asked for the number.
pub(super) struct Node<'a> {
    search: &'a Search<'a>,
    /// In a cluster the one that had the key last.
    server: Server,
    /// Who was asked last.
    asked: Address,
    /// Whether that is the one that has the key: it has answered, or others sent there.
    has_key: bool,
}

impl<'a> Node<'a> {
    fn new(search: &'a Search<'a>, server: Server) -> Node<'a> {
        Node {
            search,
            asked: server.address.clone(),
            has_key: false,
            server,
        }
    }

    fn found(self, answer: Result<u64, Reason>) -> Result<Found, Error> {
        match answer {
            Ok(count) => Ok(Found {
                count,
                server: self.server,
            }),
            Err(reason) => Err(at(&self.asked, reason)),
        }
    }

    pub(super) async fn told<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, Reason> {
        let answer = self.tell(command).await?;
        redis::from_redis_value(answer).map_err(|error| Reason::Unread(shown(&error.to_string())))
    }

    async fn tell(&mut self, command: &Cmd) -> Result<Value, Reason> {
        let mut to = self.server.clone();
        let mut moving = false;
        for _ in 0..=HOPS_MAX {
            self.asked = to.address.clone();
            self.search.seen().last = Some(to.address.clone());
            let connections = self.search.connections;
            let connect = || to.connect();
            let question = |mut over: Connection| async move { over.tell(moving, command).await };
            match connections.ask(&to, connect, question).await {
                Ok(answer) => {
                    self.has_key = true;
                    return Ok(answer);
                }
                Err(Failure::Why(why)) => return Err(why),
                Err(Failure::Elsewhere { at, asking }) => {
                    to.address = self.sent(&at)?;
                    self.has_key = true;
                    moving = asking;
                    if !asking {
                        self.server = to.clone();
                    }
                }
            }
        }
        let why = format!("the cluster's nodes sent the question on more than {HOPS_MAX} times");
        Err(Reason::Refused(why))
    }

    /// Whether the cluster's other nodes could only send the question on, to hear the same.
    fn is_settled(&self, why: &Reason) -> bool {
        match why {
            Reason::Unread(_) | Reason::Unreadable { .. } | Reason::TooLong => self.has_key,
            Reason::Refused(why) => match why.split(' ').next() {
                Some("NOGROUP" | "WRONGTYPE") => true,
                // A node refuses that before it looks whether the key is its own.
                Some("NOPERM") => self.has_key,
                _ => false,
            },
            _ => false,
        }
    }

    /// Where a node sends a question: HOST:PORT, without a host where it is its own, and
    /// without brackets around an IPv6 address.
    fn sent(&self, at: &str) -> Result<Address, Reason> {
        if !self.server.account.in_cluster {
            return Err(Reason::Refused(format!(
                "it is a node of a cluster, and the key is at {}: a trigger of type \
                 `redis-cluster` or `redis-cluster-streams` asks there",
                shown(at)
            )));
        }
        let to = at.rsplit_once(':').and_then(|(host, port)| {
            let host = if host.is_empty() {
                &self.asked.host
            } else {
                host
            };
            Address::of(host, port).ok()
        });
        to.ok_or_else(|| {
            let at = shown(at);
            Reason::Refused(format!(
                "it sends the question on to `{at}`, which is no address"
            ))
        })
    }
}

impl Deployment {
    /// Asks whoever has the number.
    pub(super) async fn ask(
        &self,
        search: &Search<'_>,
        question: &Question<'_>,
    ) -> Result<Found, Error> {
        match self {
            Deployment::Single(server) => count(search, server, question).await,
            Deployment::Cluster(nodes) => {
                let asked = nodes.iter();
                let asked = asked.map(|node| settled(search, node, question));
                first(search, asked.collect()).await?
            }
            Deployment::Sentinel {
                sentinels,
                master: name,
                account,
            } => {
                let asked = sentinels.iter();
                let asked = asked.map(|sentinel| master(search, sentinel, name, account));
                let server = first(search, asked.collect()).await?;
                count(search, &server, question).await
            }
        }
    }
}

async fn count(
    search: &Search<'_>,
    server: &Server,
    question: &Question<'_>,
) -> Result<Found, Error> {
    let mut node = Node::new(search, server.clone());
    let answer = question.ask(&mut node).await;
    node.found(answer)
}

/// What the cluster's node that has the key says: the count, or why there is none, where the
/// other nodes could tell no more. Fails where one of those may still give the count.
async fn settled(
    search: &Search<'_>,
    server: &Server,
    question: &Question<'_>,
) -> Result<Result<Found, Error>, Error> {
    let mut node = Node::new(search, server.clone());
    let answer = question.ask(&mut node).await;
    let why = answer.as_ref().err();
    let is_settled = why.is_none_or(|why| node.is_settled(why));
    let answer = node.found(answer);
    if is_settled {
        Ok(answer)
    } else {
        answer.map(Ok)
    }
}

fn at(address: &Address, reason: Reason) -> Error {
    Error {
        address: address.to_string(),
        reason,
    }
}

/// The one that this sentinel says is the master, and that says so itself: a sentinel learns
/// late of it where it was cut off from the others.
async fn master(
    search: &Search<'_>,
    sentinel: &Server,
    name: &str,
    account: &Account,
) -> Result<Server, Error> {
    let known = known(search, sentinel, name).await;
    let address = known.map_err(|reason| at(&sentinel.address, reason))?;
    let server = Server {
        address,
        account: account.clone(),
    };
    let role = match role(search, &server).await {
        Ok(role) if role == "master" => return Ok(server),
        other => other,
    };
    let reason = role.map_or_else(
        |reason| reason,
        |role| {
            Reason::Refused(format!(
                "the sentinel {} says that it is the master `{}`, and it is a {} itself",
                sentinel.address,
                shown(name),
                shown(&role)
            ))
        },
    );
    Err(at(&server.address, reason))
}

/// Where a sentinel says that the master is.
async fn known(search: &Search<'_>, sentinel: &Server, name: &str) -> Result<Address, Reason> {
    let mut whom = redis::cmd("SENTINEL");
    let whom = whom.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
    let mut node = Node::new(search, sentinel.clone());
    let said = node.told(whom).await.map_err(|why| match why {
        Reason::Refused(why) if why.contains("unknown command") => {
            Reason::Refused("it is no sentinel".to_owned())
        }
        why => why,
    });
    let said: Option<(String, String)> = said?;
    let (host, port) = said.ok_or_else(|| {
        let why = format!("the sentinel knows no master `{}`", shown(name));
        Reason::Refused(why)
    })?;
    Address::of(&host, &port).map_err(|why| {
        let why = format!("the sentinel says where the master is, and {why}");
        Reason::Refused(why)
    })
}

/// What a server says that it is, such as `master` or `slave`.
async fn role(search: &Search<'_>, server: &Server) -> Result<String, Reason> {
    let mut node = Node::new(search, server.clone());
    let role: Vec<Value> = node.told(&redis::cmd("ROLE")).await?;
    let role = role.into_iter().next().map(redis::from_redis_value);
    role.and_then(Result::ok).ok_or_else(|| unread("ROLE"))
}

/// The first answer of several that are asked in this order, and otherwise what somebody
/// said, before that nobody could be reached. One that hangs is waited for up to the question's
/// deadline only while nobody has said anything.
async fn first<T, F>(search: &Search<'_>, asked: Vec<F>) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    // So that each has its turn before the deadline, and the last one time to answer.
    let turns = u32::try_from(asked.len())
        .unwrap_or(u32::MAX)
        .saturating_add(1);
    let step = (Duration::from_millis(TIMEOUT_DEFAULT_MS) / turns).min(STEP_MAX);
    let mut waiting = asked.into_iter();
    let mut begun: Vec<Pin<Box<F>>> = Vec::new();
    let mut unheard: Option<Error> = None;
    let mut end: Option<Instant> = None;
    loop {
        begun.extend(waiting.next().map(Box::pin));
        if begun.is_empty() {
            return Err(search.said().or(unheard).unwrap_or_else(|| Error {
                address: "redis".to_owned(),
                reason: Reason::Misconfigured("no server is named".to_owned()),
            }));
        }
        let any = std::future::poll_fn(|context| {
            for (index, asked) in begun.iter_mut().enumerate() {
                if let Poll::Ready(answer) = asked.as_mut().poll(context) {
                    return Poll::Ready((index, answer));
                }
            }
            Poll::Pending
        });
        let (index, answer) = if waiting.len() > 0 {
            let Ok(answered) = tokio::time::timeout(step, any).await else {
                continue;
            };
            answered
        } else if let Some(said) = search.said() {
            let end = *end.get_or_insert_with(|| Instant::now() + STEP_MAX);
            let Ok(answered) = tokio::time::timeout_at(end, any).await else {
                return Err(said);
            };
            answered
        } else {
            any.await
        };
        drop(begun.swap_remove(index));
        match answer {
            Ok(answer) => {
                search.seen().said = None;
                return Ok(answer);
            }
            Err(error) if matches!(error.reason, Reason::Connection(_)) => {
                unheard.get_or_insert(error);
            }
            Err(error) => {
                search.seen().said.get_or_insert(error);
            }
        }
    }
}
