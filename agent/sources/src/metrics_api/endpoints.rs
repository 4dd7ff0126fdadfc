//! KEDA's `aggregateFromKubeServiceEndpoints`: the pods behind a Service are asked one
//! by one, and their numbers become one (keda.md 4).
//!
//! Comes in: the settings, and the addresses that the host looked up. Goes out: which
//! Service is meant, and one number of many. A pod that doesn't answer makes the whole
//! answer fail: without it a sum would be too small, and a workload might shrink.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use hyper::Uri;
use hyper::header::{self, HeaderValue};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{Reader, flag};
use crate::http::{Clients, Question};
use crate::{Number, Reason, address};

pub(super) const AGGREGATE: &str = "aggregateFromKubeServiceEndpoints";
pub(super) const TYPE: &str = "aggregationType";
/// More pods behind a Service are an error: a question to one of them that knows the
/// sum costs less.
pub const ENDPOINTS_MAX: usize = 100;
/// Pods that are asked at a time for one question; the others wait for them.
const ASKED_AT_ONCE: usize = 10;

/// A Service of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aggregation {
    Average,
    Sum,
    Max,
    Min,
}

impl Aggregation {
    fn of(metadata: &BTreeMap<String, String>) -> Result<Aggregation, String> {
        match metadata.get(TYPE).map(String::as_str) {
            None | Some("average") => Ok(Aggregation::Average),
            Some("sum") => Ok(Aggregation::Sum),
            Some("max") => Ok(Aggregation::Max),
            Some("min") => Ok(Aggregation::Min),
            Some(other) => Err(format!(
                "`{}` is not known; allowed: average, sum, max, min",
                other.escape_debug().take(80).collect::<String>()
            )),
        }
    }

    /// Of what sizes, and of what is held against the activation.
    fn of_all(self, numbers: &[Number]) -> Option<Number> {
        let over = |which: fn(&Number) -> i64| self.over(numbers.iter().map(which));
        Some(Number {
            milli: over(|it| it.milli)?,
            activity_milli: over(|it| it.activity_milli)?,
        })
    }

    /// In milli-units; a mean is rounded up, as a number is that has more digits.
    fn over(self, values: impl ExactSizeIterator<Item = i64>) -> Option<i64> {
        let count = i128::try_from(values.len()).ok().filter(|n| *n > 0)?;
        match self {
            Aggregation::Max => values.max(),
            Aggregation::Min => values.min(),
            Aggregation::Sum => i64::try_from(values.map(i128::from).sum::<i128>()).ok(),
            Aggregation::Average => {
                let sum: i128 = values.map(i128::from).sum();
                i64::try_from((sum + count - 1).div_euclid(count)).ok()
            }
        }
    }
}

/// Whether pods are asked in place of the address itself.
pub(super) fn asked(metadata: &BTreeMap<String, String>) -> bool {
    flag(metadata, AGGREGATE) == Ok(true)
}

pub(super) fn check(metadata: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let mut wrong = Vec::new();
    if let Err(why) = flag(metadata, AGGREGATE) {
        wrong.push((AGGREGATE.to_owned(), why));
    }
    if let Err(why) = Aggregation::of(metadata) {
        wrong.push((TYPE.to_owned(), why));
    }
    let url = metadata.get("url").map(String::as_str).unwrap_or_default();
    if asked(metadata) && address::check(url).is_ok() && service(metadata).is_none() {
        let why = format!(
            "names no Service, whose pods `{AGGREGATE}` asks; write \
             http://SERVICE.NAMESPACE:PORT/PATH with the port of the pods"
        );
        wrong.push(("url".to_owned(), why));
    }
    wrong
}

/// The Service that the address names: SERVICE.NAMESPACE, and what may follow there.
pub(super) fn service(metadata: &BTreeMap<String, String>) -> Option<Service<'_>> {
    let url = metadata.get("url").filter(|_| asked(metadata))?;
    let (_, rest) = url.split_once("://")?;
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let host = authority.split(':').next()?;
    let label = |text: &str| {
        let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !text.is_empty() && text.len() <= 63 && text.chars().all(inside)
    };
    let mut parts = host.split('.');
    let (name, namespace) = (parts.next()?, parts.next()?);
    let sound = label(name) && label(namespace) && matches!(parts.next(), None | Some("svc"));
    sound.then_some(Service { namespace, name })
}

/// Asks each of them, and makes one number of what they say.
pub(super) async fn ask(
    clients: &Clients,
    metadata: &BTreeMap<String, String>,
    (uri, question): (Uri, Question),
    endpoints: &[IpAddr],
    reader: &Reader<'_>,
) -> Result<Number, Reason> {
    let aggregation = Aggregation::of(metadata).map_err(Reason::Misconfigured)?;
    if endpoints.is_empty() {
        return Err(Reason::Endpoints("no pod behind it is ready".to_owned()));
    }
    if endpoints.len() > ENDPOINTS_MAX {
        return Err(Reason::Endpoints(format!(
            "more than {ENDPOINTS_MAX} pods are behind it; ask one address that knows the sum"
        )));
    }
    let mut question = question;
    // Whoever answers has a certificate for the Service, not for its own address.
    question.trust.name = uri.host().map(str::to_owned);
    if let Some(authority) = uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        question.headers.push((header::HOST, host));
    }
    let client = clients.of(&uri, &question)?;
    let turns = Arc::new(Semaphore::new(ASKED_AT_ONCE));
    let mut asking = JoinSet::new();
    for endpoint in endpoints {
        let (client, question, turns) = (client.clone(), question.clone(), turns.clone());
        let (uri, endpoint) = (at(&uri, *endpoint)?, *endpoint);
        // They end with this question, also where nobody waits for it any more.
        asking.spawn(async move {
            let _turn = turns.acquire().await;
            (endpoint, client.fetch(uri, question).await)
        });
    }
    let mut values = Vec::with_capacity(endpoints.len());
    while let Some(done) = asking.join_next().await {
        let (endpoint, body) = done.map_err(|why| Reason::Unread(why.to_string()))?;
        let value = match body {
            Ok(body) => reader.read(body).await,
            Err(why) => Err(why),
        };
        values.push(value.map_err(|why| {
            Reason::Endpoints(format!("the pod at {endpoint} gave no number: {why}"))
        })?);
    }
    let whole = aggregation.of_all(&values);
    whole.ok_or_else(|| Reason::Endpoints("the pods' numbers are too large".to_owned()))
}

/// The same address at one pod.
fn at(uri: &Uri, endpoint: IpAddr) -> Result<Uri, Reason> {
    let host = match endpoint {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let authority = match uri.port_u16() {
        Some(port) => format!("{host}:{port}"),
        None => host,
    };
    let mut parts = uri.clone().into_parts();
    parts.authority = authority.parse().ok();
    Uri::from_parts(parts).map_err(|why| Reason::Misconfigured(why.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trying::metadata;

    #[test]
    fn the_service_is_named_by_the_address() {
        for (url, named) in [
            ("http://queue.shop:8080/stats", Some(("queue", "shop"))),
            ("https://queue.shop.svc/", Some(("queue", "shop"))),
            (
                "http://queue.shop.svc.cluster.local",
                Some(("queue", "shop")),
            ),
            ("http://queue:8080/", None),
            ("http://queue.example.com/", None),
            ("http://10.0.0.1:8080/", None),
        ] {
            let settings = metadata(&[("url", url), (AGGREGATE, "true")]);
            let found = service(&settings).map(|it| (it.name, it.namespace));
            assert_eq!(found, named, "{url}");
            assert_eq!(check(&settings).is_empty(), named.is_some(), "{url}");
            let without = metadata(&[("url", url), (AGGREGATE, "false")]);
            assert_eq!(service(&without), None);
            assert!(check(&without).is_empty());
        }
        let strange = metadata(&[("url", "http://a.b/"), (TYPE, "median")]);
        assert_eq!(
            check(&strange),
            [(
                TYPE.to_owned(),
                "`median` is not known; allowed: average, sum, max, min".to_owned()
            )]
        );
    }

    #[test]
    fn many_numbers_become_one() {
        let over = |kind: &str, values: &[i64]| {
            let aggregation = Aggregation::of(&metadata(&[(TYPE, kind)])).unwrap();
            aggregation.over(values.iter().copied())
        };
        let values = [1_000, 2_500, 4_000];
        assert_eq!(over("sum", &values), Some(7_500));
        assert_eq!(over("max", &values), Some(4_000));
        assert_eq!(over("min", &values), Some(1_000));
        assert_eq!(over("average", &values), Some(2_500));
        assert_eq!(over("average", &[0, 0, 1]), Some(1));
        assert_eq!(over("average", &[]), None);
        assert_eq!(over("sum", &[i64::MAX, 1]), None);
        assert_eq!(over("average", &[i64::MAX, i64::MAX]), Some(i64::MAX));
    }
}
