//! One answer of a metrics API, or of any other: read up to a bound.
//!
//! Comes in: a path. Goes out: what the answer's JSON holds, or a typed failure. An
//! answer that is too large, isn't what it should be or has no value is an error,
//! never a zero (hpa.md rule 2).

use http::Request;
use http::request::Builder;
use http_body_util::{BodyExt as _, Collected, LengthLimitError, Limited};
use kube::Client;
use kube::client::Body;
use kube::core::Status;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use starling_engine::quantity::Quantity;

use crate::client::{Failure, READ_DEADLINE};

/// More series than this in one answer are an error: nobody means to sum them.
pub const SERIES_MAX: usize = 10_000;
/// A longer answer is an error. A series takes some 300 bytes, a page of pods 2 MB.
pub const ANSWER_BYTES_MAX: usize = 16 << 20;
/// A longer answer that tells of an error is known by its status alone.
const WORDS_BYTES_MAX: usize = 16 << 10;
/// Of what an answer holds in place of an amount, at most this is shown.
const SHOWN_CHARS_MAX: usize = 64;

/// A `MetricValueList` or `ExternalMetricValueList`.
#[derive(Debug, Deserialize)]
pub(super) struct List {
    /// Go writes a list of nothing as null.
    items: Option<Vec<Item>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Item {
    #[serde(default)]
    pub described_object: Described,
    value: Written,
}

/// What a value is of. External ones are of nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Described {
    pub kind: String,
    pub name: String,
}

/// Adapters write quantities as text; Kubernetes takes numbers, too.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Number(serde_json::Number),
}

impl List {
    /// At least one.
    pub fn items(self, metric: &str) -> Result<Vec<Item>, String> {
        let items = self.items.unwrap_or_default();
        if items.is_empty() {
            return Err(format!("the metrics API has no value for {metric}"));
        }
        if items.len() > SERIES_MAX {
            return Err(format!("{metric} has more than {SERIES_MAX} series"));
        }
        Ok(items)
    }
}

impl Item {
    pub fn milli(&self, metric: &str) -> Result<i64, String> {
        let text = match &self.value {
            Written::Text(text) => text.clone(),
            Written::Number(number) => number.to_string(),
        };
        let value = Quantity::parse(&text).ok().and_then(Quantity::milli);
        value.ok_or_else(|| {
            let shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
            format!("{metric} has a value that is no amount, or too large a one: {shown}")
        })
    }
}

/// Asks once.
pub(crate) async fn get<T: DeserializeOwned>(client: &Client, path: &str) -> Result<T, Failure> {
    send(client, Request::get(path)).await
}

/// The same for a list, which calls are counted as.
pub(super) async fn list<T: DeserializeOwned>(client: &Client, path: &str) -> Result<T, Failure> {
    send(client, Request::get(path).extension("list")).await
}

async fn send<T: DeserializeOwned>(client: &Client, request: Builder) -> Result<T, Failure> {
    let request = request.body(Body::empty());
    let request = request.map_err(|e| Failure::Refused(e.to_string()))?;
    let answer = async {
        let response = client.send(request).await.map_err(|e| Failure::of(&e))?;
        let status = response.status();
        let bytes_max = if status.is_success() {
            ANSWER_BYTES_MAX
        } else {
            WORDS_BYTES_MAX
        };
        let body = Limited::new(response.into_body(), bytes_max)
            .collect()
            .await;
        if !status.is_success() {
            let body = body.map(Collected::to_bytes).unwrap_or_default();
            return Err(refusal(status.as_u16(), &body));
        }
        let body = body.map_err(|why| match why.downcast_ref::<LengthLimitError>() {
            Some(_) => Failure::Garbled(format!("it has more than {ANSWER_BYTES_MAX} bytes")),
            None => Failure::Unreachable(why.to_string()),
        })?;
        serde_json::from_slice(&body.to_bytes()).map_err(|e| Failure::Garbled(e.to_string()))
    };
    let answer = tokio::time::timeout(READ_DEADLINE, answer).await;
    answer.unwrap_or(Err(Failure::Late(READ_DEADLINE)))
}

/// An adapter, or what stands between, may answer with plain text.
fn refusal(code: u16, body: &[u8]) -> Failure {
    let status = serde_json::from_slice(body).unwrap_or_else(|_| Status {
        message: String::from_utf8_lossy(body).trim().to_owned(),
        ..Status::default()
    });
    Failure::of_status(&status.with_code(code))
}
