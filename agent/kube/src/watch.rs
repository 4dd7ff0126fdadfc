//! A stream of one kind of objects that doesn't end.
//!
//! Comes in: what to list and watch. Goes out: objects as they come, and each
//! [`Failure`] in between; after one the stream goes on by itself, where it was or
//! with a new list (410 Gone), with waits that grow. Never asks again and again
//! for what is at rest: a watch without news costs a bookmark a minute.

use std::fmt::Debug;
use std::pin::Pin;
use std::time::Duration;

use kube::runtime::watcher;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tokio_stream::{Stream, StreamExt as _};

use crate::backoff::{Backoff, jittered};
use crate::client::{Failure, LIST_DEADLINE};

pub use kube::runtime::watcher::{Config, Event};

/// How long a broken stream rests before the next try, at least and at most.
const REST_LEAST: Duration = Duration::from_millis(500);
const REST_MOST: Duration = Duration::from_secs(10);
/// A stream that has held for this long starts over with the shortest rest.
const HELD: Duration = Duration::from_secs(30);
/// Streams that are begun anew at one moment (an API server came back) spread
/// over this long.
const SPREAD: Duration = Duration::from_millis(500);
/// How long the API server lets a watch run. It ends without news then and is
/// taken up again, which is the only traffic of a stream at rest beside bookmarks.
const WATCH_SECONDS: u32 = 290;

type Items<K> = Pin<Box<dyn Stream<Item = watcher::Result<Event<K>>> + Send>>;

pub struct Watch<K>
where
    K: Resource,
{
    api: Api<K>,
    config: Config,
    items: Option<Items<K>>,
    /// A list is on its way: it must be whole by the deadline.
    listing_since: Option<Instant>,
    rest_until: Option<Instant>,
    backoff: Backoff,
    failed_at: Option<Instant>,
}

impl<K> Watch<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    pub fn new(api: Api<K>, config: Config) -> Watch<K> {
        Watch {
            api,
            config: config.timeout(WATCH_SECONDS),
            items: None,
            listing_since: None,
            rest_until: None,
            backoff: Backoff::new(REST_LEAST, REST_MOST),
            failed_at: None,
        }
    }

    /// Waits for what comes next. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Event<K>, Failure> {
        if let Some(until) = self.rest_until {
            tokio::time::sleep_until(until).await;
            self.rest_until = None;
        }
        let items = self.items.get_or_insert_with(|| {
            self.listing_since = Some(Instant::now());
            Box::pin(watcher::watcher(self.api.clone(), self.config.clone()))
        });
        let next = match self.listing_since {
            None => items.next().await,
            Some(since) => {
                let next = tokio::time::timeout_at(since + LIST_DEADLINE, items.next());
                let Ok(next) = next.await else {
                    self.items = None;
                    return Err(self.failed(Failure::Late(LIST_DEADLINE)));
                };
                next
            }
        };
        match next {
            Some(Ok(event)) => {
                self.note(&event);
                Ok(event)
            }
            Some(Err(error)) => Err(self.failed(failure(&error))),
            // The library's stream has no end; were it to have one, begin anew.
            None => {
                self.items = None;
                Err(self.failed(Failure::Garbled("the stream ended".into())))
            }
        }
    }

    /// Begins anew with a list, soon: for after an outage, when the connection
    /// under a silent stream may be dead.
    pub fn renew(&mut self) {
        self.items = None;
        self.backoff.reset();
        self.rest_until = Some(Instant::now() + jittered(SPREAD));
    }

    fn note(&mut self, event: &Event<K>) {
        match event {
            Event::Init => self.listing_since = Some(Instant::now()),
            Event::InitApply(_) => {}
            Event::InitDone | Event::Apply(_) | Event::Delete(_) => self.listing_since = None,
        }
        if self.failed_at.is_some_and(|at| at.elapsed() >= HELD) {
            self.failed_at = None;
            self.backoff.reset();
        }
    }

    fn failed(&mut self, failure: Failure) -> Failure {
        let now = Instant::now();
        let wait = self.backoff.next_wait_after(failure.retry_after());
        self.failed_at = Some(now);
        self.rest_until = Some(now + wait);
        // The list begins anew, or goes on, only after the rest.
        if self.listing_since.is_some() {
            self.listing_since = Some(now + wait);
        }
        failure
    }
}

fn failure(error: &watcher::Error) -> Failure {
    match error {
        watcher::Error::InitialListFailed(e)
        | watcher::Error::WatchStartFailed(e)
        | watcher::Error::WatchFailed(e) => Failure::of(e),
        watcher::Error::WatchError(status) => Failure::of_status(status),
        watcher::Error::NoResourceVersion => Failure::Garbled("it names no resourceVersion".into()),
    }
}
