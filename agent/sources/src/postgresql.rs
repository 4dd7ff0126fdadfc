//! KEDA's trigger `postgresql`: the one number that a query gives (keda.md 4).
//!
//! Comes in: the trigger's metadata, and the parameters of its authentication, of which
//! `connection` may hold everything but the query. Goes out: the number in the first row's
//! only column. Each question has a connection of its own, so that no other one waits for
//! it, is answered by what it left there, or is cancelled in its place.

mod server;

use std::pin::pin;

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
const KEYS: [&str; 3] = ["query", GOALS.target, GOALS.activation];

pub(super) fn check(metadata: &Metadata) -> Wrong {
    let keys = [&KEYS[..], &server::KEYS].concat();
    let mut wrong = settings::strange(metadata, &keys);
    wrong.extend(server::check(metadata));
    if text(metadata, "query").trim().is_empty() {
        wrong.push((String::new(), "`query` is missing".to_owned()));
    }
    wrong
}

pub(super) async fn ask(metadata: &Metadata, secrets: &Secrets) -> Result<Number, Error> {
    let server = Server::of(metadata, secrets);
    let address = server.as_ref().map_or_else(
        |_| "postgresql".to_owned(),
        |server| server.address.to_string(),
    );
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
