//! KEDA's trigger `prometheus`: what a query of Prometheus' HTTP API gives now (keda.md 4).
//! Whatever else has that API (Thanos, Mimir, VictoriaMetrics) is asked in the same way.
//!
//! Comes in: the trigger's metadata, and the parameters of its authentication. Goes out:
//! the value of the scalar or of the one series that the query gives.

use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};
use serde::Deserialize;

use crate::auth::{Mode, Ways};
use crate::http::{Clients, Question};
use crate::secrets::Secrets;
use crate::settings::{self, Metadata, Wrong, flag, pairs, shown, text, timeout_ms};
use crate::{Error, Goals, Number, Reason, address, number};

/// KEDA's trigger type for a query of Prometheus.
pub const PROMETHEUS: &str = "prometheus";
pub(super) const GOALS: Goals = Goals {
    target: "threshold",
    default: None,
    activation: "activationThreshold",
};
const KEYS: [&str; 10] = [
    "serverAddress",
    "query",
    GOALS.target,
    GOALS.activation,
    "namespace",
    "queryParameters",
    "customHeaders",
    IGNORE_NULL,
    "unsafeSsl",
    "timeout",
];
const WAYS: Ways = Ways {
    key: "authModes",
    modes: &[Mode::Basic, Mode::Bearer, Mode::Custom, Mode::Tls],
    token: "bearerToken",
};
/// Whether nothing, and what is no number, is 0. KEDA's default is that it is.
const IGNORE_NULL: &str = "ignoreNullValues";

pub(super) fn check(metadata: &Metadata) -> Wrong {
    let mut keys = KEYS.to_vec();
    keys.push(WAYS.key);
    let mut wrong = settings::strange(metadata, &keys);
    let mut fails = |key: &str, why: String| wrong.push((key.to_owned(), why));
    match metadata.get("serverAddress") {
        None => fails("", "`serverAddress` is missing".to_owned()),
        Some(url) => {
            if let Err(why) = address::check(url) {
                fails("serverAddress", why);
            }
        }
    }
    if text(metadata, "query").trim().is_empty() {
        fails("", "`query` is missing".to_owned());
    }
    if let Err(why) = timeout_ms(metadata) {
        fails("timeout", why);
    }
    for key in ["unsafeSsl", IGNORE_NULL] {
        if let Err(why) = flag(metadata, key) {
            fails(key, why);
        }
    }
    if let Err(why) = pairs(text(metadata, "queryParameters")) {
        fails("queryParameters", why);
    }
    if let Err(why) = custom_headers(metadata) {
        fails("customHeaders", why);
    }
    wrong.extend(WAYS.check(metadata));
    wrong
}

pub(super) async fn ask(
    clients: &Clients,
    metadata: &Metadata,
    secrets: &Secrets,
) -> Result<Number, Error> {
    let url = text(metadata, "serverAddress");
    let answer = async {
        let after_ms = timeout_ms(metadata).map_err(Reason::Misconfigured)?;
        let (uri, question) = question(metadata, url, secrets)?;
        let body = clients.ask(uri, question, after_ms).await?;
        let nothing_is_none = metadata.get(IGNORE_NULL).is_none_or(|it| it == "true");
        read(&body, nothing_is_none)
    };
    answer.await.map_err(|reason| Error {
        address: address::shown(url),
        reason,
    })
}

fn question(metadata: &Metadata, url: &str, secrets: &Secrets) -> Result<(Uri, Question), Reason> {
    let base = address::parse(url).map_err(Reason::Misconfigured)?;
    let path = format!("{}/api/v1/query", base.path().trim_end_matches('/'));
    let mut parameters = vec![("query", text(metadata, "query"))];
    if let Some(namespace) = metadata.get("namespace") {
        parameters.push(("namespace", namespace));
    }
    parameters.extend(pairs(text(metadata, "queryParameters")).map_err(Reason::Misconfigured)?);
    let uri = address::with_path(&base, &path);
    let uri = uri.and_then(|uri| address::with_query(&uri, &parameters));
    let uri = uri.ok_or_else(|| {
        Reason::Misconfigured("`query` and its parameters make no address".to_owned())
    })?;
    let (uri, mut question) = WAYS.question(metadata, uri, secrets)?;
    question.accept = "application/json";
    let headers = custom_headers(metadata).map_err(Reason::Misconfigured)?;
    question.headers.extend(headers);
    Ok((uri, question))
}

fn custom_headers(metadata: &Metadata) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let header = |(name, value): (&str, &str)| {
        let parsed = HeaderName::from_bytes(name.as_bytes()).ok();
        parsed
            .zip(HeaderValue::from_str(value).ok())
            .ok_or_else(|| format!("`{}` is no header", shown(name)))
    };
    let pairs = pairs(text(metadata, "customHeaders"))?;
    pairs.into_iter().map(header).collect()
}

/// What Prometheus answers; what else it says is left out.
#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    data: Data,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Data {
    result: Found,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Found {
    Vector(Vec<Series>),
    Scalar(Sample),
}

impl Default for Found {
    fn default() -> Found {
        Found::Vector(Vec::new())
    }
}

#[derive(Deserialize)]
struct Series {
    value: Sample,
}

/// When, and the number as a text; empty where there is none.
type Sample = Vec<serde_json::Value>;

/// The scalar, or the one series' value. `nothing_is_none`: no series, a series without a
/// value and what is no number are 0, as KEDA takes them by default.
fn read(body: &[u8], nothing_is_none: bool) -> Result<Number, Reason> {
    const VALUE: &str = "value";
    let unreadable = |why: String| Reason::Unreadable {
        format: "one value of Prometheus",
        why,
    };
    let answer: Answer =
        serde_json::from_slice(body).map_err(|error| unreadable(error.to_string()))?;
    if answer.status != "success" {
        return Err(unreadable(format!(
            "its status is `{}` {}",
            shown(&answer.status),
            shown(&answer.error)
        )));
    }
    let nothing = |why: &str| {
        if nothing_is_none {
            Ok(Number::of(0))
        } else {
            let why = format!("{why}, and `{IGNORE_NULL}` is false");
            Err(unreadable(why))
        }
    };
    let sample = match answer.data.result {
        Found::Scalar(sample) => sample,
        Found::Vector(mut series) => match (series.pop(), series.len()) {
            (None, _) => return nothing("the query gives nothing"),
            (Some(series), 0) => series.value,
            (Some(_), others) => {
                return Err(unreadable(format!(
                    "the query gives {} series; make one of them, such as with sum()",
                    others + 1
                )));
            }
        },
    };
    let written = match sample.as_slice() {
        [] => return nothing("the series has no value"),
        [_, value] => value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned),
        _ => return Err(unreadable("its value is no pair".to_owned())),
    };
    let number: f64 = written.parse().map_err(|_| Reason::NotANumber {
        location: VALUE.to_owned(),
        is: format!("`{}`", shown(&written)),
    })?;
    if !number.is_finite() {
        return nothing(&format!("the value is {written}"));
    }
    number::computed(number, VALUE)
}

#[cfg(test)]
mod tests;
