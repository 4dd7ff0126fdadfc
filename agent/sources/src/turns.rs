//! Whose turn it is to be asked, so that a server that doesn't answer delays nobody else.
//!
//! Comes in: at which server a question is, how long it may take, and the question. Goes
//! out: its answer, or why it wasn't asked. How many are asked at once is bounded, in all
//! and at each server. A server that hasn't answered yet, or not when it was last asked, is
//! asked two questions at a time, out of a share that such servers have among themselves;
//! after three questions in a row that nobody answered, one at a time, with pauses that
//! grow. There a question that had no answer the last time lets the others go first, every
//! second time. Never keeps an answer.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, DefaultHasher, Hash as _, Hasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::external;
use crate::secrets::AUTHENTICATION;
use crate::settings::{Metadata, text};
use crate::{Error, Reason};

/// Questions at once, in all.
const ALL_MAX: u32 = 256;
/// Of these at most so many are at servers that aren't known to answer.
const DOUBTFUL_MAX: usize = 128;
/// At one server.
pub(crate) const SITE_MAX: u32 = 16;
/// At one that isn't known to answer.
const DOUBTFUL_SITE_MAX: u32 = 2;
/// After so many without an answer one at a time is asked there, after a pause.
const SILENCES_MAX: u32 = 3;
/// The first pause; each further one is twice as long, up to eight times.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_DOUBLINGS_MAX: u32 = 3;
/// Questions of one server that are known to have had no answer.
const SLOW_MAX: usize = 1_024;
/// Servers that are known; with one more those are forgotten that nobody asks just then.
const SITES_MAX: usize = 10_000;
/// What a question knows of itself why it took too long is worth waiting for so long.
const GRACE: Duration = Duration::from_millis(100);
/// Of settings that name a server.
const PLACES: [&str; 8] = [
    "serverAddress",
    "natsServerMonitoringEndpoint",
    "url",
    "host",
    "hosts",
    "address",
    "addresses",
    "bootstrapServers",
];

/// Say nothing without one of those.
const PORTS: [&str; 2] = ["port", "ports"];

/// Which server a trigger asks, as far as its settings say; else by whose name.
pub(crate) fn site(kind: &str, metadata: &Metadata, namespace: &str) -> String {
    // Its other settings are for the scaler to understand.
    if external::TYPES.contains(&kind) {
        return text(metadata, external::ADDRESS).to_owned();
    }
    let said = |key: &&str| !text(metadata, key).is_empty();
    if !PLACES.iter().any(said) {
        return format!("{kind} of {namespace}/{}", text(metadata, AUTHENTICATION));
    }
    let named = PLACES.iter().chain(&PORTS).filter(|key| said(key));
    let named: Vec<&str> = named.map(|key| authority(text(metadata, key))).collect();
    named.join(":")
}

/// Of a question at its site.
pub(crate) fn mark(kind: &str, metadata: &Metadata) -> u64 {
    let mut hasher = DefaultHasher::new();
    (kind, metadata).hash(&mut hasher);
    hasher.finish()
}

/// Of a URL; everything else is one.
fn authority(place: &str) -> &str {
    let Some((_, rest)) = place.split_once("://") else {
        return place;
    };
    &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())]
}

#[derive(Debug)]
pub(crate) struct Turns {
    all: Arc<Semaphore>,
    doubtful: Arc<Semaphore>,
    sites: Mutex<BTreeMap<String, Arc<Site>>>,
    /// [`PAUSE`], but in tests.
    pause: Duration,
}

#[derive(Debug)]
struct Site {
    places: Arc<Semaphore>,
    /// Of those that had no answer the last time one at a time.
    slow: Arc<Semaphore>,
    heard: Mutex<Heard>,
}

/// Of a server, by the questions so far.
#[derive(Debug, Default)]
struct Heard {
    /// It has answered the last question that ended.
    answers: bool,
    /// When it last answered one.
    last: Option<Instant>,
    /// Questions since then that nobody answered in time.
    silences: u32,
    /// It is not asked before.
    rests_until: Option<Instant>,
    /// Questions that had no answer the last time. At the bound all are forgotten.
    slow: BTreeSet<u64>,
}

/// Given back when it is dropped.
struct Turn {
    site: Arc<Site>,
    _held: [Option<OwnedSemaphorePermit>; 4],
}

impl Default for Turns {
    fn default() -> Turns {
        Turns {
            all: Arc::new(Semaphore::new(ALL_MAX as usize)),
            doubtful: Arc::new(Semaphore::new(DOUBTFUL_MAX)),
            sites: Mutex::default(),
            pause: PAUSE,
        }
    }
}

impl Turns {
    /// Ends within `after_ms`, waiting included. `site` is what [`site`] gives and is never
    /// shown: an address may hold a password. `name` stands for it in errors. `mark` tells the
    /// site's questions apart.
    pub(crate) async fn ask<T>(
        &self,
        (site, mark): (&str, u64),
        name: &str,
        after_ms: u64,
        question: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let whole = Duration::from_millis(after_ms);
        let until = Instant::now() + whole;
        let failed = |reason| Error {
            address: name.to_owned(),
            reason,
        };
        let turn = timeout_at(until, self.turn(site, mark, until, whole)).await;
        let turn = turn.unwrap_or(Err(Reason::Crowded { after_ms }));
        let turn = turn.map_err(failed)?;
        let asked = Instant::now();
        let answer = timeout_at(until + GRACE, question).await;
        let answer = answer.unwrap_or_else(|_| Err(failed(Reason::TimedOut { after_ms })));
        let failed = answer.as_ref().err().map(|error| &error.reason);
        let late = failed.is_some_and(|reason| matches!(reason, Reason::TimedOut { .. }));
        // One that had waited for most of its time may be late for that alone.
        let left = until.saturating_duration_since(asked);
        if !late || left * 4 >= whole {
            let slow = (late && left * 4 >= whole * 3).then_some(mark);
            turn.site.hear(slow, asked, failed, self.pause);
        }
        answer
    }

    async fn turn(
        &self,
        site: &str,
        mark: u64,
        until: Instant,
        whole: Duration,
    ) -> Result<Turn, Reason> {
        let site = self.site(site);
        site.rest(until).await?;
        // One that had no answer the last time lets others go first where it isn't known
        // whether the server has answers for them.
        let slow = if site.yields(mark) {
            let one = site.slow.clone().acquire_owned().await.ok();
            sleep_until(until - whole / 2).await;
            one
        } else {
            None
        };
        let at_once = site.lock().at_once();
        let taken = SITE_MAX / at_once;
        // None of these is ever closed.
        let mut place = site.places.clone().acquire_many_owned(taken).await.ok();
        // Whoever had this place before may have found that nobody answers.
        site.rest(until).await?;
        let doubtful = if site.lock().answers {
            // Or that somebody does: what was taken in doubt is given back.
            drop(place.as_mut().and_then(|it| it.split(taken as usize - 1)));
            None
        } else {
            self.doubtful.clone().acquire_owned().await.ok()
        };
        let one = self.all.clone().acquire_owned().await.ok();
        Ok(Turn {
            site,
            _held: [place, slow, doubtful, one],
        })
    }

    fn site(&self, name: &str) -> Arc<Site> {
        let mut sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(site) = sites.get(name) {
            return site.clone();
        }
        if sites.len() >= SITES_MAX {
            sites.retain(|_, site| Arc::strong_count(site) > 1);
        }
        let site = Arc::new(Site {
            places: Arc::new(Semaphore::new(SITE_MAX as usize)),
            slow: Arc::new(Semaphore::new(1)),
            heard: Mutex::default(),
        });
        sites.insert(name.to_owned(), site.clone());
        site
    }
}

impl Heard {
    /// Questions that may be asked there at once.
    fn at_once(&self) -> u32 {
        match (self.answers, self.silences) {
            (true, _) => SITE_MAX,
            (false, ..SILENCES_MAX) => DOUBTFUL_SITE_MAX,
            (false, _) => 1,
        }
    }
}

impl Site {
    /// Once: the next time it has all of its time again.
    fn yields(&self, mark: u64) -> bool {
        let mut heard = self.lock();
        heard.slow.remove(&mark) && !heard.answers
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until it may be asked again, where that is before the question must be answered.
    async fn rest(&self, until: Instant) -> Result<(), Reason> {
        let (rests_until, silences) = {
            let heard = self.lock();
            (heard.rests_until, heard.silences)
        };
        let now = Instant::now();
        match rests_until.filter(|end| *end > now) {
            None => Ok(()),
            Some(end) if end < until => {
                sleep_until(end).await;
                Ok(())
            }
            Some(end) => Err(Reason::Resting {
                silences,
                again_ms: (end - now).as_millis() as u64,
            }),
        }
    }

    /// What became of a question that was asked then; `slow` is its mark where it had no
    /// answer in most of its time.
    fn hear(&self, slow: Option<u64>, asked: Instant, failed: Option<&Reason>, pause: Duration) {
        let mut heard = self.lock();
        if slow.is_some() && heard.slow.len() >= SLOW_MAX {
            heard.slow.clear();
        }
        heard.slow.extend(slow);
        match failed {
            Some(Reason::TimedOut { .. }) => {
                // Others were answered meanwhile: it is the question that takes so long.
                if heard.last.is_some_and(|last| last > asked) {
                    return;
                }
                heard.answers = false;
                heard.silences = heard.silences.saturating_add(1);
                let beyond = heard.silences.checked_sub(SILENCES_MAX);
                heard.rests_until = beyond.map(|beyond| {
                    let pause = pause * (1 << beyond.min(PAUSE_DOUBLINGS_MAX));
                    Instant::now() + jittered(pause)
                });
            }
            // Whoever can't be reached says so at once, and takes up nobody's time.
            Some(Reason::Connection(_)) => heard.answers = false,
            // That is not of the server.
            Some(Reason::Misconfigured(_) | Reason::Secret(_)) => {}
            _ => {
                heard.answers = true;
                heard.last = Some(Instant::now());
                heard.silences = 0;
                heard.rests_until = None;
            }
        }
    }
}

/// Up to a quarter less or more, so that those that fell silent together aren't asked
/// together.
fn jittered(pause: Duration) -> Duration {
    let chance = RandomState::new().hash_one(0) % 501;
    pause * (750 + chance as u32) / 1_000
}

#[cfg(test)]
mod tests;
