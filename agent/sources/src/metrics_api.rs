//! KEDA's trigger `metrics-api`: one number in the answer of an HTTP API (keda.md 4).
//!
//! Comes in: the trigger's metadata, and the parameters of its authentication. Goes
//! out: the number, in milli-units.

mod auth;
mod dotted;
mod endpoints;
mod format;
mod json;
mod number;
mod prometheus;

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::body::Bytes;

use super::http::Clients;
use super::reads::Reads;
use super::secrets::{AUTHENTICATION, AUTHENTICATION_CONTAINER, AUTHENTICATION_KIND, Secrets};
use super::{Asked, Error, Reason, address, secrets};
pub use endpoints::{ENDPOINTS_MAX, Service};
use format::Format;

/// KEDA's trigger type for a number in an HTTP answer.
pub const METRICS_API: &str = "metrics-api";
const KEYS: [&str; 12] = [
    "url",
    "valueLocation",
    "targetValue",
    "activationTargetValue",
    "format",
    "timeout",
    "unsafeSsl",
    "authMode",
    "method",
    "keyParamName",
    endpoints::AGGREGATE,
    endpoints::TYPE,
];
/// What a reference that stands beside the settings becomes; nothing that users write.
const REFERENCE: [&str; 3] = [
    AUTHENTICATION,
    AUTHENTICATION_KIND,
    AUTHENTICATION_CONTAINER,
];
/// KEDA's default, in milliseconds, and what a user may ask for.
const TIMEOUT_DEFAULT_MS: u64 = 3_000;
const TIMEOUT_MS_MAX: u64 = 60_000;

pub(super) fn check(metadata: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let mut wrong = Vec::new();
    let mut fails = |key: &str, why: String| wrong.push((key.to_owned(), why));
    let strange =
        |key: &&String| !KEYS.contains(&key.as_str()) && !REFERENCE.contains(&key.as_str());
    for key in metadata.keys().filter(strange) {
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
    match Format::of(metadata) {
        Err(why) => fails("format", why),
        Ok(format) => match metadata.get("valueLocation") {
            None => fails("", "`valueLocation` is missing".to_owned()),
            Some(location) => {
                if let Err(why) = format.check_location(location) {
                    fails("valueLocation", why);
                }
            }
        },
    }
    if let Err(why) = timeout_ms(metadata) {
        fails("timeout", why);
    }
    if let Err(why) = flag(metadata, "unsafeSsl") {
        fails("unsafeSsl", why);
    }
    if let Some(Err(why)) = metadata.get(AUTHENTICATION).map(|it| secrets::check(it)) {
        fails(AUTHENTICATION, why);
    }
    wrong.extend(auth::check(metadata));
    wrong.extend(endpoints::check(metadata));
    wrong
}

/// The Service whose pods a trigger asks, if it does.
pub(super) fn service(metadata: &BTreeMap<String, String>) -> Option<Service<'_>> {
    endpoints::service(metadata)
}

pub(super) async fn ask(
    clients: &Clients,
    reads: &Reads,
    metadata: &BTreeMap<String, String>,
    secrets: &Secrets,
    asked: Asked<'_>,
) -> Result<i64, Error> {
    let setting = |key: &str| metadata.get(key).map(String::as_str).unwrap_or_default();
    let (url, location) = (setting("url"), setting("valueLocation"));
    let answer = async {
        let format = Format::of(metadata).map_err(Reason::Misconfigured)?;
        let after_ms = timeout_ms(metadata).map_err(Reason::Misconfigured)?;
        let (uri, mut question) = auth::question(metadata, url, secrets)?;
        question.accept = format.accept();
        let reader = Reader {
            reads,
            format,
            location,
        };
        let within = Duration::from_millis(after_ms);
        let late = Reason::TimedOut { after_ms };
        if endpoints::asked(metadata) {
            let endpoints = asked.endpoints.ok_or_else(|| {
                let why = "asks the pods of a Service, and this agent has no Kubernetes to ask for \
                           them";
                Reason::Endpoints(why.to_owned())
            })?;
            let all = endpoints::ask(clients, metadata, (uri, question), endpoints, &reader);
            return tokio::time::timeout(within, all).await.unwrap_or(Err(late));
        }
        let client = clients.of(&uri, &question)?;
        let fetch = client.fetch(uri, question);
        let body = tokio::time::timeout(within, fetch)
            .await
            .unwrap_or(Err(late))?;
        reader.read(body).await
    };
    answer.await.map_err(|reason| Error {
        address: address::shown(url),
        reason,
    })
}

/// Finds the number in an answer.
struct Reader<'a> {
    reads: &'a Reads,
    format: Format,
    location: &'a str,
}

impl Reader<'_> {
    async fn read(&self, body: Bytes) -> Result<i64, Reason> {
        let (format, location) = (self.format, self.location.to_owned());
        let read = move || format.read(&body, &location);
        self.reads.run(read).await?
    }
}

fn timeout_ms(metadata: &BTreeMap<String, String>) -> Result<u64, String> {
    let Some(text) = metadata.get("timeout") else {
        return Ok(TIMEOUT_DEFAULT_MS);
    };
    // As KEDA takes it: milliseconds, or one of Go's durations, such as `2s`.
    let (digits, unit_ms) = if let Some(digits) = text.strip_suffix("ms") {
        (digits, 1)
    } else if let Some(digits) = text.strip_suffix('s') {
        (digits, 1_000)
    } else {
        (text.as_str(), 1)
    };
    let ms = digits.parse::<u64>().ok();
    ms.and_then(|number| number.checked_mul(unit_ms))
        .filter(|ms| (1..=TIMEOUT_MS_MAX).contains(ms))
        .ok_or_else(|| {
            format!(
                "must be 1 to {TIMEOUT_MS_MAX} milliseconds, such as `2500`, `500ms` or `2s`, is \
                 `{}`",
                text.escape_debug().take(80).collect::<String>()
            )
        })
}

fn flag(metadata: &BTreeMap<String, String>, key: &str) -> Result<bool, String> {
    match metadata.get(key).map(String::as_str) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(format!(
            "must be true or false, is `{}`",
            other.escape_debug().take(80).collect::<String>()
        )),
    }
}

#[cfg(test)]
mod tests;
