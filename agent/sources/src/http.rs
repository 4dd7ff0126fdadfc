//! One question over HTTP or HTTPS: the answer's body, or why there is none.
//!
//! Connections are kept and used again, apart for each set of certificates. Whom to
//! trust: this machine's authorities (those that the program carries, where the
//! machine has none), or the one that a trigger names in their place.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Request, Response, Uri};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::reach::{self, Resolver};
use crate::tls::{self, Trust};
use crate::turns;
use crate::{Reason, address};

/// A longer answer is an error.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// As often as Go's client does, and KEDA with it; more is an error, as a circle is.
const REDIRECTS_MAX: usize = 10;
/// Connections kept open for each address, as many as questions are asked there at once,
/// and for how long.
const IDLE_CONNECTIONS_MAX: usize = turns::SITE_MAX as usize;
const IDLE_MS_MAX: u64 = 90_000;
/// Sets of certificates whose connections are kept. With one more all are begun
/// anew: their connections end, and questions connect again.
const TRUSTS_MAX: usize = 64;

type Connector = HttpConnector<Resolver>;
type Plain = Client<Connector, Empty<Bytes>>;
type Secure = Client<HttpsConnector<Connector>, Empty<Bytes>>;

/// What is asked, beside the address.
#[derive(Debug, Default, Clone)]
pub(crate) struct Question {
    pub accept: &'static str,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub trust: Trust,
}

#[derive(Debug)]
pub(crate) struct Clients {
    plain: Plain,
    /// Made when the first trigger needs one, for reading authorities takes memory.
    secure: Mutex<BTreeMap<Trust, Secure>>,
}

impl Default for Clients {
    fn default() -> Clients {
        Clients {
            plain: builder().build(HttpConnector::new_with_resolver(Resolver)),
            secure: Mutex::default(),
        }
    }
}

fn builder() -> hyper_util::client::legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_millis(IDLE_MS_MAX))
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX);
    builder
}

/// The connections that a question goes over.
#[derive(Debug, Clone)]
pub(crate) enum Connections {
    Plain(Plain),
    Secure(Secure),
}

impl Connections {
    /// Follows redirects, but never to another scheme. What a question carries, its
    /// secrets with it, goes to the host alone that it was meant for; so one that proves
    /// itself by a certificate is sent to no other host. A pod that is asked in its
    /// Service's name answers for itself: that name means this pod.
    pub(crate) async fn fetch(&self, uri: Uri, question: Question) -> Result<Bytes, Reason> {
        let mut at = uri;
        let mut headers = question.headers;
        let proves = matches!(self, Connections::Secure(_)) && question.trust.cert.is_some();
        let host = headers.iter().find(|(name, _)| name == header::HOST);
        let service = host.and_then(|(_, host)| host.to_str().ok()?.parse::<Authority>().ok());
        for _ in 0..=REDIRECTS_MAX {
            let response = self.ask(&at, question.accept, &headers).await?;
            let Some(next) = onward(&at, &response)? else {
                return body(response).await;
            };
            if next.authority() == at.authority() {
                at = next;
            } else if service.is_some() && next.authority() == service.as_ref() {
                let mut parts = next.into_parts();
                parts.authority = at.authority().cloned();
                at = Uri::from_parts(parts)
                    .map_err(|error| Reason::Misconfigured(error.to_string()))?;
            } else if proves || service.is_some() {
                return Err(Reason::Redirected(format!(
                    "to {}, another host than was meant; write that address, where it is one \
                     to ask",
                    address::shown(&next.to_string())
                )));
            } else {
                headers.clear();
                at = next;
            }
        }
        let why = format!("more than {REDIRECTS_MAX} times");
        Err(Reason::Redirected(why))
    }

    async fn ask(
        &self,
        uri: &Uri,
        accept: &'static str,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<Response<Incoming>, Reason> {
        reach::check(uri.host().unwrap_or_default())?;
        let mut request = Request::get(uri)
            .header(header::ACCEPT, accept)
            .header(
                header::USER_AGENT,
                concat!("starling/", env!("CARGO_PKG_VERSION")),
            )
            .body(Empty::new())
            .map_err(|error| Reason::Misconfigured(error.to_string()))?;
        let headers = headers.iter().cloned();
        let headers = headers.map(|(name, value)| (Some(name), value));
        request.headers_mut().extend(headers);
        let answer = match self {
            Connections::Secure(client) => client.request(request).await,
            Connections::Plain(client) => client.request(request).await,
        };
        answer.map_err(|error| Reason::Connection(root_cause(&error)))
    }
}

/// Where the answer sends who asked; `None` where it is one.
fn onward(at: &Uri, response: &Response<Incoming>) -> Result<Option<Uri>, Reason> {
    let code = response.status().as_u16();
    // KEDA takes no other success for an answer either: they hold something else, or nothing.
    if code == 200 {
        return Ok(None);
    }
    let location = response.headers().get(header::LOCATION);
    let Some(location) = location.filter(|_| matches!(code, 301 | 302 | 303 | 307 | 308)) else {
        return Err(Reason::Status(code));
    };
    let next = location
        .to_str()
        .map_err(|_| "to what is no address".to_owned());
    let next = next.and_then(|location| address::onward(at, location));
    next.map(Some).map_err(Reason::Redirected)
}

/// What was asked for, or that it took too long.
pub(crate) async fn within<T>(
    after_ms: u64,
    asked: impl Future<Output = Result<T, Reason>>,
) -> Result<T, Reason> {
    let answer = tokio::time::timeout(Duration::from_millis(after_ms), asked).await;
    answer.unwrap_or(Err(Reason::TimedOut { after_ms }))
}

impl Clients {
    /// The answer's body, if it is there in time.
    pub(crate) async fn ask(
        &self,
        uri: Uri,
        question: Question,
        after_ms: u64,
    ) -> Result<Bytes, Reason> {
        let client = self.of(&uri, &question)?;
        within(after_ms, client.fetch(uri, question)).await
    }

    pub(crate) fn of(&self, uri: &Uri, question: &Question) -> Result<Connections, Reason> {
        Ok(match uri.scheme_str() {
            Some("https") => Connections::Secure(self.secure(question.trust.clone())?),
            _ => Connections::Plain(self.plain.clone()),
        })
    }

    fn secure(&self, trust: Trust) -> Result<Secure, Reason> {
        let mut kept = self.secure.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = kept.get(&trust) {
            return Ok(client.clone());
        }
        let config = tls::config(&trust).map_err(Reason::Secret)?;
        let mut http = HttpConnector::new_with_resolver(Resolver);
        http.enforce_http(false);
        let secure = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_only();
        let secure = match tls::name(&trust).map_err(Reason::Misconfigured)? {
            Some(name) => secure.with_server_name_resolver(FixedServerNameResolver::new(name)),
            None => secure,
        };
        let connector = secure.enable_http1().wrap_connector(http);
        let client = builder().build(connector);
        if kept.len() >= TRUSTS_MAX {
            kept.clear();
        }
        kept.insert(trust, client.clone());
        Ok(client)
    }
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
pub(crate) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
