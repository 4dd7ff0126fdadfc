//! KEDA's trigger `prometheus`: what a query of Prometheus' HTTP API gives now (keda.md 4).
//! Whatever else has that API (Thanos, Mimir, VictoriaMetrics) is asked in the same way.
//!
//! Comes in: the trigger's metadata, and the parameters of its authentication. Goes out:
//! the value of the scalar or of the one series that the query gives.

use hyper::Uri;
use hyper::header::{self, HeaderName, HeaderValue};
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
const SECRET_HEADERS: [HeaderName; 3] = [
    header::AUTHORIZATION,
    header::COOKIE,
    header::PROXY_AUTHORIZATION,
];
const CONNECTION_HEADERS: [HeaderName; 4] = [
    header::HOST,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
];
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
            if let Err(why) = address::bare(url) {
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
    let base = address::bare(url).map_err(Reason::Misconfigured)?;
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
    // What proves who asks counts before what a user writes beside it.
    let mut headers = custom_headers(metadata).map_err(Reason::Misconfigured)?;
    headers.append(&mut question.headers);
    question.headers = headers;
    Ok((uri, question))
}

fn custom_headers(metadata: &Metadata) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let header = |(name, value): (&str, &str)| {
        let parsed = HeaderName::from_bytes(name.as_bytes()).ok();
        let header = parsed.zip(HeaderValue::from_str(value).ok());
        let header = header.ok_or_else(|| format!("`{}` is no header", shown(name)))?;
        if SECRET_HEADERS.contains(&header.0) {
            return Err(format!(
                "`{}` is a secret, which everyone who may read policies would see; put it into \
                 what an `authenticationRef` names, with `authModes: custom`",
                header.0
            ));
        }
        if CONNECTION_HEADERS.contains(&header.0) {
            return Err(format!("`{}` is the connection's own", header.0));
        }
        Ok(header)
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
    /// Not where it failed.
    data: Option<Data>,
    /// Such as that a store didn't answer, of which Thanos then knows nothing.
    #[serde(default)]
    warnings: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Data {
    result: Found,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Found {
    Vector(Vec<Series>),
    Scalar(Sample),
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
    let Some(data) = answer.data else {
        return Err(unreadable("it has no `data`".to_owned()));
    };
    let sample = match data.result {
        Found::Scalar(sample) => sample,
        Found::Vector(mut series) => match (series.pop(), series.len()) {
            (None, _) if !answer.warnings.is_empty() => {
                let warning = shown(&answer.warnings[0].to_string());
                return Err(unreadable(format!(
                    "it is empty, with the warning {warning}"
                )));
            }
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
