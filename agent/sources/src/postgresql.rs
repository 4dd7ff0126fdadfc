//! KEDA's trigger `postgresql`: the one number that a query gives (keda.md 4).
//!
//! Comes in: the trigger's metadata, and the parameters of its authentication, of which
//! `connection` may hold everything but the query. Goes out: the number in the first row's
//! only column. Each question has a connection of its own, so that no other one waits for
//! it, is answered by what it left there, or is cancelled in its place.
//!
//! Our own is `notifyChannel`: whoever does NOTIFY on it (a trigger of the table, mostly) has
//! the query asked.

mod server;

use std::convert::Infallible;
use std::pin::pin;

use tokio::sync::Notify;
use tokio_postgres::SimpleQueryMessage;
use tokio_stream::StreamExt as _;

use crate::http::within;
use crate::number::{self, COLUMN, not_one};
use crate::secrets::Secrets;
use crate::settings::{self, Metadata, TIMEOUT_DEFAULT_MS, Wrong, text};
use crate::{Error, Goals, Number, Reason};
use server::{Open, Server};

/// KEDA's trigger type for a query of PostgreSQL.
pub const POSTGRESQL: &str = "postgresql";
pub(super) const GOALS: Goals = Goals {
    target: "targetQueryValue",
    default: None,
    activation: "activationTargetQueryValue",
};
const KEYS: [&str; 4] = ["query", CHANNEL, GOALS.target, GOALS.activation];
const CHANNEL: &str = "notifyChannel";
/// Of a name in PostgreSQL.
const CHANNEL_BYTES_MAX: usize = 63;

pub(super) fn check(metadata: &Metadata) -> Wrong {
    let keys = [&KEYS[..], &server::KEYS].concat();
    let mut wrong = settings::strange(metadata, &keys);
    wrong.extend(server::check(metadata));
    if text(metadata, "query").trim().is_empty() {
        wrong.push((String::new(), "`query` is missing".to_owned()));
    }
    if let Some(channel) = channel(metadata)
        && (channel.len() > CHANNEL_BYTES_MAX || channel.contains(char::is_control))
    {
        let why = format!("is no name of at most {CHANNEL_BYTES_MAX} bytes");
        wrong.push((CHANNEL.to_owned(), why));
    }
    wrong
}

/// Where the trigger is told of news.
pub(super) fn channel(metadata: &Metadata) -> Option<&str> {
    Some(text(metadata, CHANNEL)).filter(|channel| !channel.is_empty())
}

/// Returns when the server ends the connection.
pub(super) async fn listen(
    metadata: &Metadata,
    secrets: &Secrets,
    signs: &Notify,
) -> Result<Infallible, Error> {
    let server = Server::of(metadata, secrets);
    let address = place(&server);
    let heard = async {
        let (server, channel) = (server?, text(metadata, CHANNEL));
        // As PostgreSQL writes a name that holds anything.
        let command = format!("LISTEN \"{}\"", channel.replace('"', "\"\""));
        let begun = async {
            let mut heard = server.listen().await?;
            heard.tell(&command).await?;
            Ok(heard)
        };
        let mut heard = within(TIMEOUT_DEFAULT_MS, begun).await?;
        loop {
            signs.notify_one();
            heard.next().await?;
        }
    };
    let heard: Result<Infallible, Reason> = heard.await;
    heard.map_err(|reason| Error { address, reason })
}

/// For messages.
fn place(server: &Result<Server, Reason>) -> String {
    let known = server.as_ref().map(|server| server.address.to_string());
    known.unwrap_or_else(|_| POSTGRESQL.to_owned())
}

pub(super) async fn ask(metadata: &Metadata, secrets: &Secrets) -> Result<Number, Error> {
    let server = Server::of(metadata, secrets);
    let address = place(&server);
    let answer = async {
        let server = server?;
        let asked = async {
            let mut open = server.connect().await?;
            let answer = value(&open, text(metadata, "query")).await;
            open.judge(answer)
        };
        within(TIMEOUT_DEFAULT_MS, asked).await
    };
    answer.await.map_err(|reason| Error { address, reason })
}

/// Of the first row, as KEDA takes it.
async fn value(open: &Open, query: &str) -> Result<Number, Reason> {
    let rows = open.client.simple_query_raw(query).await;
    let mut rows = pin!(rows.map_err(|error| server::reason(&error))?);
    while let Some(message) = rows.next().await {
        let SimpleQueryMessage::Row(row) = message.map_err(|error| server::reason(&error))? else {
            continue;
        };
        if row.len() != 1 {
            return Err(not_one(&format!("its row has {} columns", row.len())));
        }
        let written = row.try_get(0).map_err(|_| not_one("it is no text"))?;
        return number::computed(number::of_column(written)?, COLUMN);
    }
    Err(not_one("the query gives no row"))
}

#[cfg(test)]
mod tests;
