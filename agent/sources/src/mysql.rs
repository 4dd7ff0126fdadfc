//! KEDA's trigger `mysql`: the one number that a query gives, of MySQL, MariaDB or whatever
//! speaks as they do (keda.md 4).
//!
//! Comes in: the trigger's metadata, and the parameters of its authentication, of which
//! `connectionString` may hold everything but the query. Goes out: the number in the first
//! row's only column. Each question has a connection of its own, as with `postgresql`, that
//! can change nothing there.

mod dsn;
mod login;
mod proof;
mod query;
mod server;
mod wire;

use crate::http::within;
use crate::number::{self, COLUMN};
use crate::secrets::Secrets;
use crate::settings::{self, Metadata, TIMEOUT_DEFAULT_MS, Wrong, text};
use crate::{Error, Goals, Number, Reason};
use server::Server;

/// KEDA's trigger type for a query of MySQL or MariaDB.
pub const MYSQL: &str = "mysql";
pub(super) const GOALS: Goals = Goals {
    target: "queryValue",
    default: None,
    activation: "activationQueryValue",
};
const KEYS: [&str; 3] = ["query", GOALS.target, GOALS.activation];
/// What everyone who may read policies would see.
const SECRET: [&str; 2] = ["connectionString", "password"];
/// A server shows no more than 64 KiB of one that runs.
const QUERY_BYTES_MAX: usize = 32 << 10;

pub(super) fn check(metadata: &Metadata) -> Wrong {
    let keys = [&KEYS[..], &server::KEYS].concat();
    let mut wrong = settings::strange(metadata, &keys);
    for (key, why) in &mut wrong {
        if SECRET.contains(&key.as_str()) {
            "belongs into what an `authenticationRef` names, as its parameter".clone_into(why);
        }
    }
    wrong.extend(server::check(metadata));
    let query = asked(metadata);
    if query.is_empty() {
        wrong.push((String::new(), "`query` is missing".to_owned()));
    } else if query.len() > QUERY_BYTES_MAX {
        let why = format!("is longer than {QUERY_BYTES_MAX} bytes");
        wrong.push(("query".to_owned(), why));
    }
    wrong
}

/// The query as a server sees it: those leave out what ends one.
fn asked(metadata: &Metadata) -> &str {
    let end = |c: char| c == ';' || c.is_ascii_whitespace();
    text(metadata, "query")
        .trim_ascii_start()
        .trim_end_matches(end)
}

pub(super) async fn ask(metadata: &Metadata, secrets: &Secrets) -> Result<Number, Error> {
    let server = Server::of(metadata, secrets);
    let address = server
        .as_ref()
        .map_or_else(|_| MYSQL.to_owned(), |server| server.address.to_string());
    let answer = async {
        let server = server?;
        let question = async {
            let mut open = server.open().await?;
            let written = open.ask(asked(metadata)).await?;
            value(written.as_deref())
        };
        within(TIMEOUT_DEFAULT_MS, question).await
    };
    answer.await.map_err(|reason| Error { address, reason })
}

/// Of what can be less than nothing there is no number to size by: KEDA hands it on to an HPA.
fn value(written: Option<&str>) -> Result<Number, Reason> {
    let number = number::of_column(written)?;
    if number < 0.0 {
        return Err(Reason::Negative {
            location: COLUMN.to_owned(),
            is: number.to_string(),
        });
    }
    number::computed(number, COLUMN)
}

#[cfg(test)]
mod tests;
