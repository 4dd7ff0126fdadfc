//! KEDA's triggers of Redis: how long a list, a set, a sorted set or a hash is (`redis`),
//! and how much of a stream is left to do (`redis-streams`), by KEDA's three modes
//! (keda.md 4); of one server, of the master that sentinels know (`redis-sentinel`,
//! `redis-sentinel-streams`), or of the node of a cluster that has the key
//! (`redis-cluster`, `redis-cluster-streams`).
//!
//! Comes in: the trigger's metadata, and the parameters of its authentication. Goes out:
//! a count. Connections are kept, and used by all who ask one server in one name.
//!
//! A server also says at once that the key has changed, without a setting at either end: by
//! what Redis has for caches of clients (`CLIENT TRACKING`), from version 6 on.

mod deployment;
mod node;
mod server;

use std::convert::Infallible;

use redis::streams::{StreamInfoGroupsReply, StreamPendingReply};
use tokio::sync::Notify;

use crate::http::within;
use crate::kept::Kept;
use crate::push::GAP;
use crate::secrets::Secrets;
use crate::settings::{self, Metadata, TIMEOUT_DEFAULT_MS, Wrong, shown, text};
use crate::{Error, Goals, Number, Reason, number};

use deployment::{Deployment, Form};
use node::{Found, Node, Search};
use server::{Connection, Failure, Server};

/// Those that are open.
pub(crate) type Connections = Kept<Server, Connection>;

/// KEDA's trigger types for what one key holds.
pub const REDIS: &str = "redis";
pub const REDIS_SENTINEL: &str = "redis-sentinel";
pub const REDIS_CLUSTER: &str = "redis-cluster";
/// KEDA's trigger types for a stream.
pub const REDIS_STREAMS: &str = "redis-streams";
pub const REDIS_SENTINEL_STREAMS: &str = "redis-sentinel-streams";
pub const REDIS_CLUSTER_STREAMS: &str = "redis-cluster-streams";
pub(super) const TYPES: [&str; 6] = [
    REDIS,
    REDIS_SENTINEL,
    REDIS_CLUSTER,
    REDIS_STREAMS,
    REDIS_SENTINEL_STREAMS,
    REDIS_CLUSTER_STREAMS,
];
const LIST: Goals = Goals {
    target: "listLength",
    default: Some("5"),
    activation: "activationListLength",
};
const LIST_KEYS: [&str; 3] = ["listName", LIST.target, LIST.activation];
const STREAM_KEYS: [&str; 6] = [
    "stream",
    "consumerGroup",
    Mode::Length.target(),
    Mode::Pending.target(),
    Mode::Lag.target(),
    STREAM_ACTIVATION,
];
const STREAM_ACTIVATION: &str = "activationLagCount";
/// Of a key's or a group's name.
const NAME_BYTES_MAX: usize = 1_024;

/// Whether a key's or a stream's entries are counted, and how that is deployed.
fn parts(kind: &str) -> (Counted, Form) {
    match kind {
        REDIS_SENTINEL => (Counted::Key, Form::Sentinel),
        REDIS_CLUSTER => (Counted::Key, Form::Cluster),
        REDIS_STREAMS => (Counted::Stream, Form::Single),
        REDIS_SENTINEL_STREAMS => (Counted::Stream, Form::Sentinel),
        REDIS_CLUSTER_STREAMS => (Counted::Stream, Form::Cluster),
        _ => (Counted::Key, Form::Single),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counted {
    Key,
    Stream,
}

impl Counted {
    /// The setting that names it.
    fn name(self) -> &'static str {
        match self {
            Counted::Key => "listName",
            Counted::Stream => "stream",
        }
    }

    /// A command that reads it, and that asking uses too.
    fn look(self) -> &'static str {
        match self {
            Counted::Key => "TYPE",
            Counted::Stream => "XLEN",
        }
    }

    fn keys(self) -> &'static [&'static str] {
        match self {
            Counted::Key => &LIST_KEYS,
            Counted::Stream => &STREAM_KEYS,
        }
    }
}

/// What of a stream counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Its entries.
    Length,
    /// Those that the group's consumers have got and haven't acknowledged.
    Pending,
    /// Those that the group hasn't got yet.
    Lag,
}

impl Mode {
    /// As KEDA tells them apart; a `lagCount` of 0 is none.
    fn of(metadata: &Metadata) -> Mode {
        let lag = text(metadata, Mode::Lag.target());
        if text(metadata, "consumerGroup").is_empty() {
            Mode::Length
        } else if lag.is_empty() || lag == "0" {
            Mode::Pending
        } else {
            Mode::Lag
        }
    }

    const fn target(self) -> &'static str {
        match self {
            Mode::Length => "streamLength",
            Mode::Pending => "pendingEntriesCount",
            Mode::Lag => "lagCount",
        }
    }
}

pub(super) fn goals(kind: &str, metadata: &Metadata) -> Goals {
    if parts(kind).0 == Counted::Key {
        return LIST;
    }
    let mode = Mode::of(metadata);
    Goals {
        target: mode.target(),
        default: (mode != Mode::Lag).then_some("5"),
        activation: STREAM_ACTIVATION,
    }
}

/// Whether a server says that it has changed. Of what is pending most changes aren't told.
pub(super) fn pushes(kind: &str, metadata: &Metadata) -> bool {
    let pending = || parts(kind).0 == Counted::Stream && Mode::of(metadata) == Mode::Pending;
    TYPES.contains(&kind) && !pending()
}

pub(super) fn check(kind: &str, metadata: &Metadata) -> Wrong {
    let (counted, form) = parts(kind);
    let keys = [counted.keys(), form.keys()].concat();
    let mut wrong = settings::strange(metadata, &keys);
    wrong.extend(form.check(metadata));
    let needed = counted.name();
    if text(metadata, needed).is_empty() {
        wrong.push((String::new(), format!("`{needed}` is missing")));
    }
    for name in [needed, "consumerGroup"] {
        if text(metadata, name).len() > NAME_BYTES_MAX {
            let why = format!("is longer than {NAME_BYTES_MAX} bytes");
            wrong.push((name.to_owned(), why));
        }
        // Of another server's protocol they might be the end of a line.
        if text(metadata, name).contains(char::is_control) {
            wrong.push((name.to_owned(), "holds a control character".to_owned()));
        }
    }
    wrong
}

pub(super) async fn ask(
    connections: &Connections,
    kind: &str,
    metadata: &Metadata,
    secrets: &Secrets,
) -> Result<Number, Error> {
    let found = find(connections, kind, metadata, secrets).await?;
    number::count(found.count).map_err(|reason| Error {
        address: found.server.address.to_string(),
        reason,
    })
}

/// Returns when the server ends the connection, or doesn't have the key any more.
pub(super) async fn listen(
    connections: &Connections,
    kind: &str,
    metadata: &Metadata,
    secrets: &Secrets,
    signs: &Notify,
) -> Result<Infallible, Error> {
    let server = find(connections, kind, metadata, secrets).await?.server;
    let counted = parts(kind).0;
    let mut look = redis::cmd(counted.look());
    let look = look.arg(text(metadata, counted.name()));
    let heard = async {
        let begun = async { server.listen().await.map_err(reason) };
        let (mut connection, mut changes) = within(TIMEOUT_DEFAULT_MS, begun).await?;
        loop {
            let looked = async { connection.tell(false, look).await.map_err(reason) };
            within(TIMEOUT_DEFAULT_MS, looked).await?;
            // What changes from here on is told, and what has changed before is asked for.
            signs.notify_one();
            tokio::time::sleep(GAP).await;
            if changes.recv().await.is_none() {
                let why = "it closed the connection".to_owned();
                return Err(connection.judge(Reason::Connection(why)));
            }
        }
    };
    heard.await.map_err(|reason| Error {
        address: server.address.to_string(),
        reason,
    })
}

fn reason(failure: Failure) -> Reason {
    match failure {
        Failure::Why(why) => why,
        Failure::Elsewhere { at, .. } => Reason::Refused(format!("the key is at {}", shown(&at))),
    }
}

/// How much there is, and where.
async fn find(
    connections: &Connections,
    kind: &str,
    metadata: &Metadata,
    secrets: &Secrets,
) -> Result<Found, Error> {
    let (counted, form) = parts(kind);
    let key = text(metadata, counted.name());
    let search = Search::new(connections);
    let failed = |reason| {
        let asked = search.last().map(|address| address.to_string());
        Error {
            address: asked.unwrap_or_else(|| format!("{kind} {}", shown(key))),
            reason,
        }
    };
    let deployment = Deployment::of(form, metadata, secrets).map_err(failed)?;
    let question = Question {
        counted,
        key,
        metadata,
    };
    let asked = deployment.ask(&search, &question);
    // The deadline is of all the servers together.
    let answer = within(TIMEOUT_DEFAULT_MS, async { Ok(asked.await) }).await;
    let late = |reason| search.said().unwrap_or_else(|| failed(reason));
    answer.map_err(late)?
}

/// What is asked of the server that has the key.
struct Question<'a> {
    counted: Counted,
    key: &'a str,
    metadata: &'a Metadata,
}

impl Question<'_> {
    async fn ask(&self, node: &mut Node<'_>) -> Result<u64, Reason> {
        match self.counted {
            Counted::Key => length(node, self.key).await,
            Counted::Stream => stream(node, self.key, self.metadata).await,
        }
    }
}

/// Of what the key holds; a key that isn't there holds nothing.
async fn length(node: &mut Node<'_>, key: &str) -> Result<u64, Reason> {
    let mut kind = redis::cmd("TYPE");
    let kind: String = node.told(kind.arg(key)).await?;
    let command = match kind.as_str() {
        "list" | "none" => "LLEN",
        "set" => "SCARD",
        "zset" => "ZCARD",
        "hash" => "HLEN",
        other => {
            return Err(Reason::Unreadable {
                format: "a list, a set, a sorted set or a hash",
                why: format!("it is a {}", shown(other)),
            });
        }
    };
    node.told(redis::cmd(command).arg(key)).await
}

async fn stream(node: &mut Node<'_>, key: &str, metadata: &Metadata) -> Result<u64, Reason> {
    let group = text(metadata, "consumerGroup");
    match Mode::of(metadata) {
        Mode::Length => node.told(redis::cmd("XLEN").arg(key)).await,
        Mode::Pending => {
            let mut pending = redis::cmd("XPENDING");
            let pending = node.told(pending.arg(key).arg(group)).await?;
            Ok(match pending {
                StreamPendingReply::Empty => 0,
                StreamPendingReply::Data(pending) => pending.count as u64,
                // What a later version of the library might add.
                _ => return Err(unread("XPENDING")),
            })
        }
        Mode::Lag => lag(node, key, group).await,
    }
}

/// Entries that a group hasn't got yet; all of them, where there is no such group, as with
/// KEDA, and none without the stream.
async fn lag(node: &mut Node<'_>, key: &str, group: &str) -> Result<u64, Reason> {
    let there: bool = node.told(redis::cmd("EXISTS").arg(key)).await?;
    if !there {
        return Ok(0);
    }
    let mut groups = redis::cmd("XINFO");
    let groups: StreamInfoGroupsReply = node.told(groups.arg("GROUPS").arg(key)).await?;
    let Some(found) = groups.groups.iter().find(|it| it.name == group) else {
        return node.told(redis::cmd("XLEN").arg(key)).await;
    };
    let lag = found.lag.map(|lag| lag as u64);
    lag.ok_or_else(|| Reason::Unreadable {
        format: "a lag",
        why: "this Redis doesn't know it: versions before 7 never do, and later ones not while \
              entries between are deleted; leave `lagCount` out, and `pendingEntriesCount` counts"
            .to_owned(),
    })
}

fn unread(command: &str) -> Reason {
    Reason::Unread(format!("{command} was answered in a form that isn't known"))
}

#[cfg(test)]
mod tests;
