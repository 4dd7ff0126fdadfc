//! The room of external sources: asks the triggers of a policy for their value.
//!
//! Comes in: a [`Trigger`] that was checked when its policy was read. Goes out:
//! a value in milli-units, or an [`Error`] that says which address failed and
//! why, without credentials.
//!
//! Never decides what a value means, never keeps one, never retries: the next
//! polling interval does. Knows nothing of policies but their triggers.
//!
//! The next kind of source gets a file of its own here, with its settings, a
//! check of them that policies are read with, and how it is asked; [`check`] and
//! [`Poller::poll`] are where kinds are told apart.

mod address;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, Uri, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use starling_engine::policy::{Source, Trigger};

/// KEDA's trigger type for a number in an HTTP answer.
pub const METRICS_API: &str = "metrics-api";
/// Metadata of `metrics-api`.
const KEYS: [&str; 6] = [
    "url",
    "valueLocation",
    "targetValue",
    "activationTargetValue",
    "format",
    "timeout",
];
/// A longer answer is an error.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// KEDA's default, in milliseconds, and what a user may ask for.
const TIMEOUT_DEFAULT_MS: u64 = 3_000;
const TIMEOUT_MS_MAX: u64 = 60_000;
/// Connections kept open for each address, and for how long; a further one is
/// opened when needed and closed after use.
const IDLE_CONNECTIONS_MAX: usize = 2;
const IDLE_MS_MAX: u64 = 90_000;

/// Why there is no value. Displays as one line: address and reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{address}: {reason}")]
pub struct Error {
    /// Without user, password and query.
    pub address: String,
    pub reason: Reason,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The policy should never have been accepted.
    Misconfigured(String),
    TimedOut {
        after_ms: u64,
    },
    /// Refused, reset, name not found.
    Connection(String),
    /// 300 and above; redirects are not followed.
    Status(u16),
    TooLong,
    NotJson(String),
    Missing {
        location: String,
    },
    NotANumber {
        location: String,
        is: String,
    },
    Negative {
        location: String,
        is: String,
    },
    TooLarge {
        location: String,
        is: String,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Misconfigured(why) => f.write_str(why),
            Reason::TimedOut { after_ms } => write!(f, "no answer within {after_ms} ms"),
            Reason::Connection(why) => write!(f, "can't connect: {why}"),
            Reason::Status(code @ 300..=399) => {
                write!(f, "answered HTTP {code}; redirects are not followed")
            }
            Reason::Status(code) => write!(f, "answered HTTP {code}"),
            Reason::TooLong => write!(f, "the answer is longer than {} KiB", BODY_BYTES_MAX >> 10),
            Reason::NotJson(why) => write!(f, "the answer is not JSON: {why}"),
            Reason::Missing { location } => write!(f, "the answer has no `{location}`"),
            Reason::NotANumber { location, is } => {
                write!(f, "`{location}` is {is}, not a number")
            }
            Reason::Negative { location, is } => write!(f, "`{location}` is negative: {is}"),
            Reason::TooLarge { location, is } => write!(f, "`{location}` is too large: {is}"),
        }
    }
}

/// What is wrong with the metadata of a `metrics-api` trigger: key and reason;
/// the key is empty where one is missing.
pub fn check(metadata: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let mut wrong = Vec::new();
    let mut fails = |key: &str, why: String| wrong.push((key.to_owned(), why));
    for key in metadata.keys().filter(|key| !KEYS.contains(&key.as_str())) {
        fails(
            key,
            format!("is not supported; allowed: {}", KEYS.join(", ")),
        );
    }
    match metadata.get("url") {
        None => fails("", "`url` is missing".to_owned()),
        Some(url) => {
            if let Err(why) = address::check(url) {
                fails("url", why);
            }
        }
    }
    match metadata.get("valueLocation") {
        None => fails("", "`valueLocation` is missing".to_owned()),
        Some(location) => {
            if let Err(why) = value::check_location(location) {
                fails("valueLocation", why);
            }
        }
    }
    if let Some(format) = metadata.get("format").filter(|format| *format != "json") {
        fails(
            "format",
            format!("`{format}` is not supported; allowed: json"),
        );
    }
    if let Err(why) = timeout_ms(metadata) {
        fails("timeout", why);
    }
    wrong
}

fn timeout_ms(metadata: &BTreeMap<String, String>) -> Result<u64, String> {
    let Some(text) = metadata.get("timeout") else {
        return Ok(TIMEOUT_DEFAULT_MS);
    };
    text.parse()
        .ok()
        .filter(|ms| (1..=TIMEOUT_MS_MAX).contains(ms))
        .ok_or_else(|| format!("must be 1 to {TIMEOUT_MS_MAX} milliseconds, is `{text}`"))
}

/// Asks, over connections that it keeps. Cheap to clone. How many questions are
/// under way at once is the caller's to bound.
#[derive(Debug, Clone)]
pub struct Poller {
    client: Client<HttpConnector, Empty<Bytes>>,
}

impl Default for Poller {
    fn default() -> Self {
        Self::new()
    }
}

impl Poller {
    pub fn new() -> Poller {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_millis(IDLE_MS_MAX))
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build_http();
        Poller { client }
    }

    /// The trigger's value in milli-units, 0 or more. Returns within the
    /// trigger's timeout (default 3 s). A value beyond i64 is an error, not the
    /// largest value: it is a fault of the source, and a failed trigger holds
    /// the size where a huge value would take it to its maximum.
    pub async fn poll(&self, trigger: &Trigger) -> Result<i64, Error> {
        let misconfigured = |why: String| Error {
            address: format!("trigger {}", trigger.name),
            reason: Reason::Misconfigured(why),
        };
        let metadata = match &trigger.source {
            Source::External { kind, metadata } if kind == METRICS_API => metadata,
            Source::External { kind, .. } | Source::Unknown { kind } => {
                return Err(misconfigured(format!("type `{kind}` can't be asked")));
            }
            Source::Object { .. }
            | Source::Pods { .. }
            | Source::Container { .. }
            | Source::Resource(_) => {
                return Err(misconfigured("is measured, not asked".to_owned()));
            }
        };
        if let Some((key, why)) = check(metadata).into_iter().next() {
            return Err(misconfigured(format!("{key} {why}").trim().to_owned()));
        }
        // Both were checked just above.
        let (url, location) = (&metadata["url"], &metadata["valueLocation"]);
        let address = address::shown(url);
        let answer = async {
            let after_ms = timeout_ms(metadata).map_err(Reason::Misconfigured)?;
            tokio::time::timeout(Duration::from_millis(after_ms), self.fetch(url))
                .await
                .unwrap_or(Err(Reason::TimedOut { after_ms }))
        };
        answer
            .await
            .and_then(|body| value::read(&body, location))
            .map_err(|reason| Error { address, reason })
    }

    async fn fetch(&self, url: &str) -> Result<Bytes, Reason> {
        let uri = address::parse(url).map_err(Reason::Misconfigured)?;
        let response = self
            .client
            .request(request(uri)?)
            .await
            .map_err(|error| Reason::Connection(root_cause(&error)))?;
        if response.status().as_u16() >= 300 {
            return Err(Reason::Status(response.status().as_u16()));
        }
        body(response).await
    }
}

fn request(uri: Uri) -> Result<Request<Empty<Bytes>>, Reason> {
    Request::get(uri)
        .header(header::ACCEPT, "application/json")
        .header(
            header::USER_AGENT,
            concat!("starling/", env!("CARGO_PKG_VERSION")),
        )
        .body(Empty::new())
        .map_err(|error| Reason::Misconfigured(error.to_string()))
}

async fn body(response: Response<Incoming>) -> Result<Bytes, Reason> {
    match Limited::new(response.into_body(), BODY_BYTES_MAX)
        .collect()
        .await
    {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Reason::TooLong),
        Err(error) => Err(Reason::Connection(root_cause(error.as_ref()))),
    }
}

/// The innermost cause: the outer ones only say that a request failed.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests;
