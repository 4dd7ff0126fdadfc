//! KEDA's trigger `postgresql`: the one number that a query gives (keda.md 4).
//!
//! Comes in: the trigger's metadata, and the parameters of its authentication, of which
//! `connection` may hold everything but the query. Goes out: the number in the first row's
//! only column. A query that goes on after its deadline is cancelled.

mod server;

use std::pin::pin;

use tokio_postgres::SimpleQueryMessage;
use tokio_stream::StreamExt as _;

use crate::secrets::Secrets;
use crate::settings::{self, Metadata, Wrong, shown, text};
use crate::{Error, Goals, Number, Reason, number};
pub(crate) use server::Connections;
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

pub(super) async fn ask(
    connections: &Connections,
    metadata: &Metadata,
    secrets: &Secrets,
) -> Result<Number, Error> {
    let server = Server::of(metadata, secrets);
    let address = server.as_ref().map_or_else(
        |_| "postgresql".to_owned(),
        |server| server.address.to_string(),
    );
    let answer = async {
        let server = server?;
        let once = || async {
            let open = connections.of(&server, server.connect()).await?;
            open.refill();
            let ends = server.cancels(&open);
            let answer = value(&open, text(metadata, "query")).await;
            // It has come to its end.
            ends.disarm();
            open.judge(answer)
        };
        connections.ask(&server, once).await
    };
    answer.await.map_err(|reason| Error { address, reason })
}

/// Of the first row, as KEDA takes it.
async fn value(open: &Open, query: &str) -> Result<Number, Reason> {
    const VALUE: &str = "value";
    let rows = open.client.simple_query_raw(query).await;
    let mut rows = pin!(rows.map_err(|error| server::reason(&error))?);
    while let Some(message) = rows.next().await {
        let SimpleQueryMessage::Row(row) = message.map_err(|error| server::reason(&error))? else {
            continue;
        };
        if row.len() != 1 {
            return Err(one_number(&format!("its row has {} columns", row.len())));
        }
        let written = row.get(0).ok_or_else(|| one_number("it is NULL"))?;
        let number: f64 = written.trim().parse().map_err(|_| Reason::NotANumber {
            location: VALUE.to_owned(),
            is: format!("`{}`", shown(written)),
        })?;
        return number::computed(number, VALUE);
    }
    Err(one_number("the query gives no row"))
}

fn one_number(why: &str) -> Reason {
    Reason::Unreadable {
        format: "one number",
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests;
