//! KEDA's trigger `metrics-api`: one number in the answer of an HTTP API (keda.md 4).
//!
//! Comes in: the trigger's metadata, and the parameters of its authentication. Goes
//! out: the number, in milli-units.

mod dotted;
mod endpoints;
mod format;
mod json;
mod prometheus;

use hyper::body::Bytes;

use super::http::{self, Clients};
use super::reads::Reads;
use super::secrets::Secrets;
use super::settings::{self, Metadata, Wrong, flag, text, timeout_ms};
use super::{Asked, Error, Goals, Number, Reason, address, auth};
use crate::auth::{Mode, Ways};
pub use endpoints::{ENDPOINTS_MAX, Service};
use format::Format;

/// KEDA's trigger type for a number in an HTTP answer.
pub const METRICS_API: &str = "metrics-api";
pub(super) const GOALS: Goals = Goals {
    target: "targetValue",
    default: None,
    activation: "activationTargetValue",
};
const KEYS: [&str; 12] = [
    "url",
    "valueLocation",
    GOALS.target,
    GOALS.activation,
    "format",
    "timeout",
    "unsafeSsl",
    "authMode",
    "method",
    "keyParamName",
    endpoints::AGGREGATE,
    endpoints::TYPE,
];
const WAYS: Ways = Ways {
    key: "authMode",
    modes: &[Mode::ApiKey, Mode::Basic, Mode::Bearer, Mode::Tls],
    token: "token",
};

pub(super) fn check(metadata: &Metadata) -> Wrong {
    let mut wrong = settings::strange(metadata, &KEYS);
    let mut fails = |key: &str, why: String| wrong.push((key.to_owned(), why));
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
    wrong.extend(WAYS.check(metadata));
    wrong.extend(auth::check_key(metadata));
    wrong.extend(endpoints::check(metadata));
    wrong
}

/// The Service whose pods a trigger asks, if it does.
pub(super) fn service(metadata: &Metadata) -> Option<Service<'_>> {
    endpoints::service(metadata)
}

pub(super) async fn ask(
    clients: &Clients,
    reads: &Reads,
    metadata: &Metadata,
    secrets: &Secrets,
    asked: Asked<'_>,
) -> Result<Number, Error> {
    let (url, location) = (text(metadata, "url"), text(metadata, "valueLocation"));
    let answer = async {
        let format = Format::of(metadata).map_err(Reason::Misconfigured)?;
        let after_ms = timeout_ms(metadata).map_err(Reason::Misconfigured)?;
        let uri = address::parse(url).map_err(Reason::Misconfigured)?;
        let (uri, mut question) = WAYS.question(metadata, uri, secrets)?;
        question.accept = format.accept();
        let reader = Reader {
            reads,
            format,
            location,
        };
        if endpoints::asked(metadata) {
            let endpoints = asked.endpoints.ok_or_else(|| {
                let why = "asks the pods of a Service, and this agent has no Kubernetes to ask for \
                           them";
                Reason::Endpoints(why.to_owned())
            })?;
            let all = endpoints::ask(clients, metadata, (uri, question), endpoints, &reader);
            return http::within(after_ms, all).await;
        }
        reader
            .read(clients.ask(uri, question, after_ms).await?)
            .await
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
    async fn read(&self, body: Bytes) -> Result<Number, Reason> {
        let (format, location) = (self.format, self.location.to_owned());
        let read = move || format.read(&body, &location);
        self.reads.run(read).await?
    }
}

#[cfg(test)]
mod tests;
