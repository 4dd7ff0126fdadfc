//! What the agent asked of the API server: counts, errors and durations by verb,
//! and when the server last answered.
//!
//! Comes in: each request on its way out and how it ended. Goes out: numbers for
//! `/metrics`, and the age of the last answer, from which follows whether the
//! server is there. Never looks into a body.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{Method, Request, Response, StatusCode};
use kube::client::Body;
use tokio::sync::Notify;
use tower::{BoxError, Service};

use super::ANSWER_DEADLINE;

/// As the API server counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
}

pub const VERBS: [Verb; 7] = [
    Verb::Get,
    Verb::List,
    Verb::Watch,
    Verb::Create,
    Verb::Update,
    Verb::Patch,
    Verb::Delete,
];

impl Verb {
    pub fn name(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
        }
    }

    fn of(request: &Request<Body>) -> Verb {
        let query = request.uri().query().unwrap_or_default();
        if query.split('&').any(|pair| pair == "watch=true") {
            return Verb::Watch;
        }
        // The client library names each request; a list looks like a read otherwise.
        let named = request.extensions().get::<&'static str>();
        if named.is_some_and(|name| name.starts_with("list")) {
            return Verb::List;
        }
        match *request.method() {
            Method::POST => Verb::Create,
            Method::PUT => Verb::Update,
            Method::PATCH => Verb::Patch,
            Method::DELETE => Verb::Delete,
            _ => Verb::Get,
        }
    }
}

/// One call that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    pub verb: Verb,
    /// The answer's HTTP status; `None` where there was no answer.
    pub status: Option<u16>,
    /// From request to the first byte of the answer.
    pub took: Duration,
}

type Listener = Box<dyn Fn(&Call) + Send + Sync>;

/// Of one verb, since the agent started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub calls: u64,
    /// Without an answer, or answered with what hints at trouble: credentials,
    /// rights, overload, a failing server. An object that isn't there and a
    /// conflict are ordinary answers.
    pub errors: u64,
    /// From request to the first byte of the answer.
    pub duration: Duration,
}

#[derive(Debug, Default)]
struct Counter {
    calls: AtomicU64,
    errors: AtomicU64,
    micros: AtomicU64,
}

pub struct Calls {
    counters: [Counter; VERBS.len()],
    begun: Instant,
    /// Milliseconds after `begun`, plus one; 0 is never.
    answered: AtomicU64,
    answer: Notify,
    /// The same of the last call that got none.
    unanswered: AtomicU64,
    listener: OnceLock<Listener>,
}

impl Default for Calls {
    fn default() -> Self {
        Calls {
            counters: Default::default(),
            begun: Instant::now(),
            answered: AtomicU64::new(0),
            answer: Notify::new(),
            unanswered: AtomicU64::new(0),
            listener: OnceLock::new(),
        }
    }
}

impl Calls {
    /// Tells `listener` of each call from now on, where the call ends: it must not
    /// wait for anything. There is one; a second one is ignored.
    pub fn listen(&self, listener: impl Fn(&Call) + Send + Sync + 'static) {
        let _ = self.listener.set(Box::new(listener));
    }

    pub fn tally(&self, verb: Verb) -> Tally {
        let counter = &self.counters[verb as usize];
        let read = |of: &AtomicU64| of.load(Ordering::Relaxed);
        Tally {
            calls: read(&counter.calls),
            errors: read(&counter.errors),
            duration: Duration::from_micros(read(&counter.micros)),
        }
    }

    /// How long ago the server last answered sensibly; `None` if it never did.
    pub fn since_answer(&self) -> Option<Duration> {
        let at = self.answered.load(Ordering::Acquire).checked_sub(1)?;
        let age = self.begun.elapsed().as_millis() as u64;
        Some(Duration::from_millis(age.saturating_sub(at)))
    }

    /// Whether the newest call that ended went without a sensible answer.
    pub fn failing(&self) -> bool {
        self.unanswered.load(Ordering::Acquire) > self.answered.load(Ordering::Acquire)
    }

    /// Returns once the server answers the next time.
    pub async fn next_answer(&self) {
        self.answer.notified().await;
    }

    fn note(&self, verb: Verb, took: Duration, status: Option<StatusCode>) {
        let counter = &self.counters[verb as usize];
        counter.calls.fetch_add(1, Ordering::Relaxed);
        counter
            .micros
            .fetch_add(took.as_micros() as u64, Ordering::Relaxed);
        if status.is_none_or(is_error) {
            counter.errors.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(listener) = self.listener.get() {
            listener(&Call {
                verb,
                status: status.map(|status| status.as_u16()),
                took,
            });
        }
        let now = self.begun.elapsed().as_millis() as u64 + 1;
        // A proxy in between answers with 5xx for a server that is away.
        if status.is_some_and(|status| !status.is_server_error()) {
            self.answered.store(now, Ordering::Release);
            self.answer.notify_waiters();
        } else {
            self.unanswered.store(now, Ordering::Release);
        }
    }
}

fn is_error(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS
        )
}

/// The server hasn't begun to answer within [`ANSWER_DEADLINE`].
#[derive(Debug, thiserror::Error)]
#[error("no answer within {} s", ANSWER_DEADLINE.as_secs())]
pub struct Late;

/// Counts what passes through it and ends what isn't answered in time.
#[derive(Clone)]
pub struct Metered<S> {
    inner: S,
    calls: Arc<Calls>,
}

impl<S> Metered<S> {
    pub fn new(inner: S, calls: Arc<Calls>) -> Metered<S> {
        Metered { inner, calls }
    }
}

impl<S, B> Service<Request<Body>> for Metered<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let verb = Verb::of(&request);
        let calls = Arc::clone(&self.calls);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let begun = Instant::now();
            let outcome = match tokio::time::timeout(ANSWER_DEADLINE, answer).await {
                Ok(outcome) => outcome.map_err(Into::into),
                Err(_) => Err(BoxError::from(Late)),
            };
            let status = outcome.as_ref().ok().map(Response::status);
            calls.note(verb, begun.elapsed(), status);
            outcome
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_told_apart_as_the_server_does() {
        let verb = |method: Method, uri: &str, name: Option<&'static str>| {
            let mut request = Request::new(Body::empty());
            *request.method_mut() = method;
            *request.uri_mut() = uri.parse().expect("an address");
            if let Some(name) = name {
                request.extensions_mut().insert(name);
            }
            Verb::of(&request)
        };
        let list = verb(Method::GET, "/api/v1/pods?limit=5", Some("list"));
        assert_eq!(list, Verb::List);
        let watch = "/api/v1/pods?watch=true&timeoutSeconds=290";
        assert_eq!(verb(Method::GET, watch, Some("watch")), Verb::Watch);
        assert_eq!(verb(Method::GET, "/readyz", None), Verb::Get);
        let scale = "/apis/apps/v1/namespaces/a/deployments/b/scale";
        assert_eq!(
            verb(Method::PUT, scale, Some("replace_scale")),
            Verb::Update
        );
    }

    #[test]
    fn a_missing_object_is_an_answer_and_no_error() {
        let calls = Calls::default();
        assert_eq!(calls.since_answer(), None);
        calls.note(
            Verb::Get,
            Duration::from_millis(7),
            Some(StatusCode::NOT_FOUND),
        );
        let tally = calls.tally(Verb::Get);
        assert_eq!((tally.calls, tally.errors), (1, 0));
        assert!(calls.since_answer().is_some());
        assert_eq!(calls.tally(Verb::List), Tally::default());
    }

    #[test]
    fn who_listens_hears_of_each_call() {
        let calls = Calls::default();
        let (sender, heard) = std::sync::mpsc::channel();
        calls.listen(move |call| sender.send(*call).expect("heard"));
        let took = Duration::from_millis(7);
        calls.note(Verb::Patch, took, Some(StatusCode::CONFLICT));
        let call = Call {
            verb: Verb::Patch,
            status: Some(409),
            took,
        };
        assert_eq!(heard.try_recv(), Ok(call));
    }

    #[test]
    fn a_failing_server_is_no_answer() {
        let calls = Calls::default();
        let unavailable = Some(StatusCode::SERVICE_UNAVAILABLE);
        calls.note(Verb::Get, Duration::from_mins(1), unavailable);
        calls.note(Verb::Get, Duration::ZERO, None);
        let tally = calls.tally(Verb::Get);
        assert_eq!((tally.calls, tally.errors), (2, 2));
        assert_eq!(calls.since_answer(), None);
        assert!(calls.failing());
    }
}
