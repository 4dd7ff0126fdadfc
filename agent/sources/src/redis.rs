//! KEDA's triggers of Redis: how long a list, a set, a sorted set or a hash is (`redis`),
//! and how much of a stream is left to do (`redis-streams`), by KEDA's three modes
//! (keda.md 4).
//!
//! Comes in: the trigger's metadata, and the parameters of its authentication. Goes out:
//! a count. Connections are kept, and used by all who ask one server in one name.

mod server;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::streams::{StreamInfoGroupsReply, StreamPendingReply};
use redis::{Cmd, ErrorKind, FromRedisValue, RedisError};

use crate::secrets::Secrets;
use crate::settings::{self, Metadata, Wrong, shown, text};
use crate::stream::Meter;
use crate::{Error, Goals, Number, Reason, number};
pub(crate) use server::Connections;
use server::Server;

/// KEDA's trigger type for what one key holds.
pub const REDIS: &str = "redis";
/// KEDA's trigger type for a stream.
pub const REDIS_STREAMS: &str = "redis-streams";
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
    if kind == REDIS {
        return LIST;
    }
    let mode = Mode::of(metadata);
    Goals {
        target: mode.target(),
        default: (mode != Mode::Lag).then_some("5"),
        activation: STREAM_ACTIVATION,
    }
}

pub(super) fn check(kind: &str, metadata: &Metadata) -> Wrong {
    let own: &[&str] = if kind == REDIS {
        &LIST_KEYS
    } else {
        &STREAM_KEYS
    };
    let keys = [own, &server::KEYS].concat();
    let mut wrong = settings::strange(metadata, &keys);
    wrong.extend(server::check(metadata));
    let needed = needed(kind);
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

/// The setting that names what is counted.
fn needed(kind: &str) -> &'static str {
    if kind == REDIS { "listName" } else { "stream" }
}

pub(super) async fn ask(
    connections: &Connections,
    kind: &str,
    metadata: &Metadata,
    secrets: &Secrets,
) -> Result<Number, Error> {
    let at = Server::of(metadata, secrets);
    let address = at.as_ref().map_or_else(
        |_| format!("{kind} {}", shown(text(metadata, needed(kind)))),
        |server| server.address.to_string(),
    );
    let answer = async {
        let server = at?;
        let question = |(mut connection, meter): (MultiplexedConnection, Meter)| async move {
            meter.refill();
            meter.judge(if kind == REDIS {
                length(&mut connection, text(metadata, "listName")).await
            } else {
                stream(&mut connection, metadata).await
            })
        };
        connections
            .ask(&server, || server.connect(), question)
            .await
    };
    let count: Result<u64, Reason> = answer.await;
    count
        .and_then(number::count)
        .map_err(|reason| Error { address, reason })
}

/// Of what the key holds; a key that isn't there holds nothing.
async fn length(connection: &mut impl ConnectionLike, key: &str) -> Result<u64, Reason> {
    let mut kind = redis::cmd("TYPE");
    let kind: String = told(connection, kind.arg(key)).await?;
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
    told(connection, redis::cmd(command).arg(key)).await
}

async fn stream(connection: &mut impl ConnectionLike, metadata: &Metadata) -> Result<u64, Reason> {
    let (key, group) = (text(metadata, "stream"), text(metadata, "consumerGroup"));
    match Mode::of(metadata) {
        Mode::Length => told(connection, redis::cmd("XLEN").arg(key)).await,
        Mode::Pending => {
            let mut pending = redis::cmd("XPENDING");
            let pending = told(connection, pending.arg(key).arg(group)).await?;
            Ok(match pending {
                StreamPendingReply::Empty => 0,
                StreamPendingReply::Data(pending) => pending.count as u64,
                // What a later version of the library might add.
                _ => return Err(unread("XPENDING")),
            })
        }
        Mode::Lag => lag(connection, key, group).await,
    }
}

/// Entries that a group hasn't got yet; all of them, where there is no such group, as with
/// KEDA, and none without the stream.
async fn lag(connection: &mut impl ConnectionLike, key: &str, group: &str) -> Result<u64, Reason> {
    let there: bool = told(connection, redis::cmd("EXISTS").arg(key)).await?;
    if !there {
        return Ok(0);
    }
    let mut groups = redis::cmd("XINFO");
    let groups: StreamInfoGroupsReply = told(connection, groups.arg("GROUPS").arg(key)).await?;
    let Some(found) = groups.groups.iter().find(|it| it.name == group) else {
        return told(connection, redis::cmd("XLEN").arg(key)).await;
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

async fn told<T: FromRedisValue>(
    connection: &mut impl ConnectionLike,
    command: &Cmd,
) -> Result<T, Reason> {
    let answer = command.query_async(connection).await;
    answer.map_err(|error: RedisError| reason(&error))
}

/// In the server's own words, which may hold a key's name, and never a password.
fn reason(error: &RedisError) -> Reason {
    if error.is_io_error() || error.is_connection_dropped() {
        return Reason::Connection(shown(&error.to_string()));
    }
    match error.kind() {
        ErrorKind::AuthenticationFailed => {
            Reason::Refused("the user and the password are not accepted".to_owned())
        }
        _ => Reason::Refused(shown(&error.to_string())),
    }
}

#[cfg(test)]
mod tests;
