//! KEDA's trigger `nats-jetstream`: what a consumer of a stream has still to do, as the
//! monitoring endpoint of NATS says (keda.md 4).
//!
//! Comes in: the trigger's metadata. Goes out: the messages that the consumer hasn't got
//! yet, and those that it has got and not acknowledged. In a cluster of servers the one
//! that leads the consumer knows them; those that have it say who that is, and those that
//! don't, who else there is. Servers are asked by their names before the address, as pods of
//! a StatefulSet are called.

use std::collections::{BTreeSet, VecDeque};

use hyper::Uri;
use serde::Deserialize;

use crate::http::{Clients, Question, within};
use crate::secrets::Secrets;
use crate::settings::{self, Metadata, Wrong, flag, text, timeout_ms};
use crate::{Error, Goals, Number, Reason, address, auth, number};

/// KEDA's trigger type for a consumer of a stream in NATS.
pub const NATS_JETSTREAM: &str = "nats-jetstream";
pub(super) const GOALS: Goals = Goals {
    target: "lagThreshold",
    default: Some("10"),
    activation: "activationLagThreshold",
};
const ENDPOINT: &str = "natsServerMonitoringEndpoint";
/// Servers of a cluster that are asked for one number.
const SERVERS_MAX: usize = 8;
const NEEDED: [&str; 2] = ["stream", "consumer"];
const KEYS: [&str; 10] = [
    ENDPOINT,
    NEEDED[0],
    NEEDED[1],
    "account",
    "accountID",
    GOALS.target,
    GOALS.activation,
    "useHttps",
    "unsafeSsl",
    "timeout",
];

pub(super) fn check(metadata: &Metadata) -> Wrong {
    let mut wrong = settings::strange(metadata, &KEYS);
    let mut fails = |key: &str, why: String| wrong.push((key.to_owned(), why));
    match metadata.get(ENDPOINT) {
        None => fails("", format!("`{ENDPOINT}` is missing: HOST:PORT")),
        Some(endpoint) if endpoint.contains("://") => fails(
            ENDPOINT,
            "must be HOST:PORT alone; `useHttps` says how it is asked".to_owned(),
        ),
        Some(_) => {
            if let Err(why) = address::parse(&at(metadata, None)) {
                fails(ENDPOINT, why);
            }
        }
    }
    for key in NEEDED {
        if text(metadata, key).is_empty() {
            fails("", format!("`{key}` is missing"));
        }
    }
    match (
        metadata.contains_key("account"),
        metadata.contains_key("accountID"),
    ) {
        (false, false) => fails("", "`account` is missing, such as `$G`".to_owned()),
        (true, true) => fails("accountID", "says what `account` says too".to_owned()),
        _ => {}
    }
    for key in ["useHttps", "unsafeSsl"] {
        if let Err(why) = flag(metadata, key) {
            fails(key, why);
        }
    }
    if let Err(why) = timeout_ms(metadata) {
        fails("timeout", why);
    }
    wrong
}

/// Where a server is asked, if not the one at the address itself.
fn at(metadata: &Metadata, server: Option<&str>) -> String {
    let scheme = if flag(metadata, "useHttps") == Ok(true) {
        "https"
    } else {
        "http"
    };
    let endpoint = text(metadata, ENDPOINT).trim_end_matches('/');
    match server {
        Some(server) => format!("{scheme}://{server}.{endpoint}"),
        None => format!("{scheme}://{endpoint}"),
    }
}

fn account(metadata: &Metadata) -> &str {
    let named = metadata
        .get("account")
        .or_else(|| metadata.get("accountID"));
    named.map(String::as_str).unwrap_or_default()
}

pub(super) async fn ask(
    clients: &Clients,
    metadata: &Metadata,
    secrets: &Secrets,
) -> Result<Number, Error> {
    let mut asked = at(metadata, None);
    let answer = async {
        let after_ms = timeout_ms(metadata).map_err(Reason::Misconfigured)?;
        let servers = walk(clients, metadata, secrets, &mut asked);
        within(after_ms, servers).await
    };
    let lag = answer.await;
    lag.and_then(number::count).map_err(|reason| Error {
        address: address::shown(&asked),
        reason,
    })
}

/// Asks the server at the address, and those that it and others name, until one knows.
async fn walk(
    clients: &Clients,
    metadata: &Metadata,
    secrets: &Secrets,
    asked: &mut String,
) -> Result<u64, Reason> {
    let mut known = BTreeSet::new();
    let mut next = VecDeque::from([None]);
    let mut nobody = Reason::Missing {
        location: text(metadata, "consumer").to_owned(),
    };
    for _ in 0..SERVERS_MAX {
        let Some(server) = next.pop_front() else {
            break;
        };
        *asked = at(metadata, server.as_deref());
        let answer = match one(clients, metadata, secrets, asked).await {
            Ok(answer) => answer,
            // Another one may know.
            Err(why) if server.is_some() => {
                nobody = why;
                continue;
            }
            Err(why) => return Err(why),
        };
        match answer.said(text(metadata, "stream"), text(metadata, "consumer")) {
            Said::Lag(lag) => return Ok(lag),
            Said::Led(leader) => {
                if is_label(&leader) && known.insert(leader.clone()) {
                    next.push_front(Some(leader));
                }
            }
            Said::Nothing(others) => {
                let new = others
                    .into_iter()
                    .filter(|name| is_label(name) && known.insert(name.clone()));
                next.extend(new.map(Some).collect::<Vec<_>>());
            }
        }
    }
    Err(nobody)
}

/// That it can stand before the address, as names below it: who answers doesn't choose
/// another host to be asked.
fn is_label(name: &str) -> bool {
    const BYTES_MAX: usize = 128;
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let edges = [name.bytes().next(), name.bytes().last()];
    name.len() <= BYTES_MAX
        && name.bytes().all(inside)
        && edges
            .iter()
            .all(|it| it.is_some_and(|byte| byte.is_ascii_alphanumeric()))
}

async fn one(
    clients: &Clients,
    metadata: &Metadata,
    secrets: &Secrets,
    url: &str,
) -> Result<Answer, Reason> {
    let base = address::parse(url).map_err(Reason::Misconfigured)?;
    let parameters = [("acc", account(metadata)), ("consumers", "true")];
    let path = format!("{}/jsz", base.path().trim_end_matches('/'));
    let uri = address::with_path(&base, &path);
    let uri: Option<Uri> = uri.and_then(|uri| address::with_query(&uri, &parameters));
    let uri = uri.ok_or_else(|| Reason::Misconfigured("`account` makes no address".to_owned()))?;
    let question = Question {
        accept: "application/json",
        ..auth::unproved(metadata, secrets)?
    };
    let client = clients.of(&uri, &question)?;
    let body = client.fetch(uri, question).await?;
    serde_json::from_slice(&body).map_err(|error| Reason::Unreadable {
        format: "that of NATS with JetStream",
        why: error.to_string(),
    })
}

/// What one server says of the consumer.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// Messages that are still to be done.
    Lag(u64),
    /// Another server leads the consumer, and it alone knows.
    Led(String),
    /// It doesn't have the consumer; these others are in its cluster.
    Nothing(Vec<String>),
}

/// What NATS answers to `/jsz`; what else it says is left out.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    account_details: Vec<Account>,
    meta_cluster: Option<Peers>,
}

#[derive(Deserialize)]
struct Account {
    #[serde(default)]
    stream_detail: Vec<Stream>,
}

#[derive(Deserialize)]
struct Stream {
    name: String,
    #[serde(default)]
    consumer_detail: Vec<Consumer>,
}

#[derive(Deserialize)]
struct Consumer {
    name: String,
    num_ack_pending: u64,
    num_pending: u64,
    /// Of a cluster of servers alone.
    cluster: Option<Peers>,
}

#[derive(Deserialize)]
struct Peers {
    #[serde(default)]
    leader: String,
    /// All but the one that answers.
    #[serde(default)]
    replicas: Vec<Peer>,
}

#[derive(Deserialize)]
struct Peer {
    name: String,
}

impl Answer {
    fn said(&self, stream: &str, consumer: &str) -> Said {
        let streams = self.account_details.iter().flat_map(|it| &it.stream_detail);
        let of_stream = streams.filter(|it| it.name == stream);
        let mut consumers = of_stream.flat_map(|it| &it.consumer_detail);
        let Some(found) = consumers.find(|it| it.name == consumer) else {
            let peers = self.meta_cluster.iter();
            let names = peers.flat_map(|peers| {
                let replicas = peers.replicas.iter().map(|it| it.name.clone());
                std::iter::once(peers.leader.clone()).chain(replicas)
            });
            return Said::Nothing(names.filter(|name| !name.is_empty()).collect());
        };
        let lag = Said::Lag(found.num_pending.saturating_add(found.num_ack_pending));
        let Some(peers) = &found.cluster else {
            return lag;
        };
        let mut others = peers.replicas.iter();
        if peers.leader.is_empty() {
            // Nobody knows until one is elected.
            Said::Nothing(Vec::new())
        } else if others.any(|it| it.name == peers.leader) {
            Said::Led(peers.leader.clone())
        } else {
            lag
        }
    }
}

#[cfg(test)]
mod tests;
