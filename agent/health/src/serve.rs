//! The listener: `/healthz`, `/readyz` and `/metrics` over plain HTTP/1.1.
//!
//! Comes in: a bound socket. Goes out: answers, each on a connection of its own.
//! It has no secrets and changes nothing, because it can't know who asks.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::future::Future;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Router, body::Body};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::metrics::Format;
use crate::probe::{Check, Health};

/// Connections at a time. For one more the eldest is cut off: an honest caller has its
/// answer within milliseconds, and a probe that waited behind silent ones would have the
/// agent restarted.
pub const CONNECTIONS_MAX: usize = 64;
/// A request's first line and headers; a longer one is refused with 431.
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;
/// A caller that takes longer to ask is cut off.
const ASKING_DEADLINE: Duration = Duration::from_secs(5);
/// So is one that takes longer to ask and to take the answer.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(10);
/// A pause after a failed accept, which is mostly a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers on `listener` until `shutdown`.
pub async fn serve(listener: TcpListener, health: Health, shutdown: impl Future<Output = ()>) {
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .fallback(elsewhere)
        .with_state(health);
    // Dropping one cuts its connection off.
    let mut open: VecDeque<oneshot::Sender<()>> = VecDeque::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut shutdown => return,
        };
        open.retain(|connection| !connection.is_closed());
        if open.len() >= CONNECTIONS_MAX {
            open.pop_front();
        }
        match accepted {
            Ok((stream, _)) => {
                let router = router.clone();
                let (stays, cut_off) = oneshot::channel();
                open.push_back(stays);
                tokio::spawn(async move {
                    tokio::select! {
                        () = answer(stream, router) => {}
                        _ = cut_off => {}
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to the health port was not accepted");
                open.pop_front();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One question and its answer. Probes and scrapes come seconds apart, so a
/// connection that stayed open between them would only take up a place.
async fn answer(stream: TcpStream, router: Router) {
    let service = tower(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ASKING_DEADLINE)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // Whoever went away, was too slow or spoke no HTTP has had its answer.
    let _ = tokio::time::timeout(CONNECTION_DEADLINE, connection).await;
}

fn tower(
    router: Router,
) -> impl hyper::service::Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send>
{
    TowerToHyperService::new(router)
}

async fn healthz(State(health): State<Health>, RawQuery(query): RawQuery) -> Response {
    probe(&[health.alive()], query.as_deref(), ("ok", "not alive"))
}

async fn readyz(State(health): State<Health>, RawQuery(query): RawQuery) -> Response {
    probe(&health.ready(), query.as_deref(), ("ok", "not ready"))
}

/// In short where all is well; what isn't is always named, and all with `?verbose`.
fn probe(checks: &[Check], query: Option<&str>, (good, bad): (&str, &str)) -> Response {
    let verbose = query
        .unwrap_or_default()
        .split('&')
        .any(|word| word == "verbose" || word.starts_with("verbose="));
    let holds = checks.iter().all(|check| check.holds);
    let mut words = String::new();
    for check in checks.iter().filter(|check| verbose || !check.holds) {
        // Writing to a string can't fail.
        let _ = writeln!(words, "{check}");
    }
    words.push_str(if holds { good } else { bad });
    words.push('\n');
    let status = if holds {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    plain(status, words)
}

async fn metrics(State(health): State<Health>, headers: HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let format = Format::accepted(accept);
    match health.metrics().encode(health.read(), format) {
        Ok(page) => answered(StatusCode::OK, format.content_type(), page),
        Err(error) => plain(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the numbers can't be written: {error}\n"),
        ),
    }
}

async fn elsewhere() -> Response {
    let words = "there are /healthz, /readyz and /metrics here; ?verbose shows each condition\n";
    plain(StatusCode::NOT_FOUND, words.to_owned())
}

fn plain(status: StatusCode, words: String) -> Response {
    answered(status, "text/plain; charset=utf-8", words)
}

fn answered(status: StatusCode, content_type: &'static str, words: String) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, headers, Body::from(words)).into_response()
}
