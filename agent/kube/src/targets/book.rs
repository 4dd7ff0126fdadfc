//! What is known of the targets that are followed, and what is news.
//!
//! Comes in: notes of the watches, answers to reads, and the time. Goes out:
//! [`Action`]s, each observation told once. Does no I/O and reads no clock. Never
//! says that a target is gone before a whole list has shown it.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;

use starling_engine::node::platform::{Observation, Scale};
use starling_engine::policy::Target;
use tokio::time::Instant;
use tracing::warn;

use super::blocked::{Blocks, Concerns, Failed};
use super::known::Known;
use super::note::{Action, Fact, Note, PodNote};
use super::plan::Scope;
use super::{Event, Found};
use crate::client::Failure;
use crate::scale::{Error, missing};
use crate::target::Reference;

/// Objects of followed kinds that are kept although nobody follows them yet, so
/// that they are known at once when somebody does. Further ones are read then.
pub const SPARE_MAX: usize = 20_000;
/// How often a target is read whose kind can't be watched (no right to).
pub const READ_EVERY: Duration = Duration::from_secs(5);
/// How soon a read that got no answer is tried again.
const READ_AGAIN: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
struct Watched {
    /// While a list comes in: what is in it.
    listing: Option<BTreeSet<Target>>,
    /// A whole list has come in, and nothing has contradicted it.
    whole: bool,
    /// It may not be watched, so its targets are read now and then.
    blind: bool,
    unservable: Option<Error>,
}

#[derive(Debug, Default)]
struct Followed {
    version: String,
    /// A digest of what was told last: the loop keeps the observation itself.
    told: Option<u64>,
    /// A read is on its way; `again` if the object has changed since.
    reading: bool,
    again: bool,
    read_at: Option<Instant>,
}

#[derive(Debug, Default)]
pub struct Book {
    followed: BTreeMap<Target, Followed>,
    known: BTreeMap<Target, Known>,
    watched: BTreeMap<Scope, Watched>,
    blocks: Blocks,
    /// Targets whose state may be news; told when everything that is known by then
    /// has been taken in.
    dirty: BTreeSet<Target>,
    actions: VecDeque<Action>,
}

impl Book {
    /// Follows these targets from now on, by these watches.
    pub fn follow(
        &mut self,
        targets: &Arc<BTreeSet<Reference>>,
        scopes: impl IntoIterator<Item = Scope>,
        now: Instant,
    ) {
        let mut watched = BTreeMap::new();
        for scope in scopes {
            let before = self.watched.remove(&scope).unwrap_or_default();
            watched.insert(scope, before);
        }
        self.watched = watched;
        let mut followed = BTreeMap::new();
        let mut new = Vec::new();
        for Reference { target, version } in targets.iter() {
            let mut entry = self.followed.remove(target).unwrap_or_else(|| {
                new.push(target.clone());
                Followed::default()
            });
            entry.version.clone_from(version);
            followed.insert(target.clone(), entry);
        }
        self.followed = followed;
        let (followed, watched) = (&self.followed, &self.watched);
        self.known.retain(|target, _| {
            followed.contains_key(target) || watched.keys().any(|scope| scope.covers(target))
        });
        for target in new {
            self.look(&target, now);
        }
    }

    pub fn take(&mut self, note: Note, now: Instant) {
        match note {
            Note::Begin(scope) => {
                if let Some(watched) = self.watched.get_mut(&scope) {
                    watched.listing = Some(BTreeSet::new());
                    watched.unservable = None;
                }
            }
            Note::Seen(scope, target, fact) => self.seen(&scope, &target, fact, now),
            Note::Whole(scope) => self.whole(&scope, now),
            Note::Lost(scope, target, uid) => {
                let known = self.known.get(&target);
                let scale = known.and_then(|known| known.scale.as_ref());
                let successor = scale.is_some_and(|scale| scale.uid != uid);
                if self.watched.contains_key(&scope) && !successor {
                    self.known.remove(&target);
                    self.look(&target, now);
                }
            }
            Note::Blind(scope, failure) => self.blind(&scope, &failure, now),
            Note::Unservable(scope, error) => {
                if let Some(watched) = self.watched.get_mut(&scope) {
                    watched.unservable = Some(error);
                    watched.listing = None;
                    self.known.retain(|target, _| !scope.covers(target));
                    self.look_at_all(&scope, now);
                }
            }
            Note::Read(target, result) => self.read(&target, result, now),
            Note::Found(Found::Read { target, result }) => self.found(&target, result, now),
            Note::Found(Found::Patched { target, result }) => {
                self.tell(Event::Patched {
                    target: target.clone(),
                    result: result.clone().map_err(Into::into),
                });
                self.found(&target, result, now);
            }
            Note::Pods(PodNote::Begin) => self.blocks.begin(),
            Note::Pods(PodNote::Pod(fate)) => {
                let concerns = self.blocks.pod(fate, now);
                self.concerned(concerns);
            }
            Note::Pods(PodNote::Whole) => {
                let concerns = self.blocks.done();
                self.concerned(concerns);
            }
            Note::CreateFailed(failed) => {
                let target = stateful_set(&failed);
                self.blocks.failed(failed);
                self.look(&target, now);
            }
            Note::CreateForgotten(failed) => {
                self.blocks.forget_failed(&failed);
                self.look(&stateful_set(&failed), now);
            }
            Note::Platform(reachable) => self.tell(Event::Platform(reachable)),
        }
    }

    /// Looks at what only time changes.
    pub fn tick(&mut self, now: Instant) {
        let ripe = self.blocks.ripe(now);
        self.concerned(ripe);
        let due: Vec<Target> = self
            .followed
            .iter()
            .filter(|(target, followed)| {
                let waits = followed.read_at.map(|at| now.duration_since(at));
                let blind = || self.scope(target).is_some_and(|watched| watched.blind);
                !followed.reading
                    && (followed.again && waits.is_none_or(|waits| waits >= READ_AGAIN)
                        || waits.is_none_or(|waits| waits >= READ_EVERY) && blind())
            })
            .map(|(target, _)| target.clone())
            .collect();
        for target in due {
            self.ask(&target, now);
        }
    }

    /// When [`Book::tick`] has something to do, if nothing else happens.
    pub fn next_tick(&self, now: Instant) -> Instant {
        let ripe = self.blocks.next_ripe();
        let idle = now + READ_AGAIN;
        ripe.map_or(idle, |at| at.min(idle))
    }

    /// What is to be done next.
    pub fn next_action(&mut self) -> Option<Action> {
        while let Some(target) = self.dirty.pop_first() {
            self.state(&target);
        }
        self.actions.pop_front()
    }

    fn seen(&mut self, scope: &Scope, target: &Target, fact: Fact, now: Instant) {
        let Some(watched) = self.watched.get_mut(scope) else {
            return;
        };
        watched.blind = false;
        if let Some(listing) = &mut watched.listing {
            listing.insert(target.clone());
        }
        let follows = self.followed.contains_key(target);
        let room = self.known.len() < SPARE_MAX + self.followed.len();
        if !follows && !room && !self.known.contains_key(target) {
            return;
        }
        let known = self.known.entry(target.clone()).or_default();
        match fact {
            Fact::Scale(scale) => known.set(target, scale, now),
            Fact::Touched { resource_version } => known.touched = Some(resource_version),
        }
        if follows {
            self.look(target, now);
        }
    }

    fn whole(&mut self, scope: &Scope, now: Instant) {
        let Some(watched) = self.watched.get_mut(scope) else {
            return;
        };
        watched.whole = true;
        watched.blind = false;
        let listed = watched.listing.take().unwrap_or_default();
        self.known
            .retain(|target, _| !scope.covers(target) || listed.contains(target));
        self.look_at_all(scope, now);
    }

    fn blind(&mut self, scope: &Scope, failure: &Failure, now: Instant) {
        let Some(watched) = self.watched.get_mut(scope) else {
            return;
        };
        // All else passes: the watch goes on, and what was seen stays.
        if matches!(failure, Failure::Forbidden(_)) && !watched.blind {
            warn!(
                kind = scope.kind,
                group = scope.group,
                %failure,
                "this kind may not be watched, so its targets are read every {} s; \
                 allow list and watch to see changes at once",
                READ_EVERY.as_secs()
            );
            watched.blind = true;
            self.look_at_all(scope, now);
        }
    }

    fn read(&mut self, target: &Target, result: Result<Scale, Error>, now: Instant) {
        let Some(followed) = self.followed.get_mut(target) else {
            return;
        };
        followed.reading = false;
        let again = std::mem::take(&mut followed.again);
        match result {
            Ok(scale) => {
                let known = self.known.entry(target.clone()).or_default();
                known.set_read(target, scale, now);
                if again {
                    self.ask(target, now);
                }
                self.dirty.insert(target.clone());
            }
            Err(Error::Gone(why)) => {
                self.known.remove(target);
                self.observe(target, Observation::Gone(why));
            }
            Err(Error::NotScalable(why)) => self.observe(target, Observation::Gone(why)),
            // For whoever may not read it there is no size, either.
            Err(error @ (Error::Forbidden { .. } | Error::Refused(_))) => {
                self.observe(target, Observation::Gone(error.to_string()));
            }
            // Nobody knows: what was told stays, and the read comes again.
            Err(Error::Conflict(_) | Error::Busy { .. } | Error::Unknown(_)) => {
                if let Some(followed) = self.followed.get_mut(target) {
                    followed.again = true;
                }
            }
        }
    }

    /// Takes in what a write has shown, and tells what is known then, even where that
    /// is no news: the answer to the write may be older.
    fn found(&mut self, target: &Target, result: Result<Scale, Error>, now: Instant) {
        let Some(followed) = self.followed.get_mut(target) else {
            return;
        };
        match result {
            Ok(scale) | Err(Error::Conflict(scale)) => {
                followed.told = None;
                let known = self.known.entry(target.clone()).or_default();
                known.set_read(target, scale, now);
                self.dirty.insert(target.clone());
            }
            // The watch sees it, too, and the successor that there may be by now.
            Err(_) => {}
        }
    }

    /// Tells of one target what there is to tell, or asks.
    fn look(&mut self, target: &Target, now: Instant) {
        if !self.followed.contains_key(target) {
            return;
        }
        let Some(watched) = self.scope(target) else {
            return;
        };
        if let Some(error) = &watched.unservable {
            let why = error.to_string();
            self.observe(target, Observation::Gone(why));
            return;
        }
        if watched.blind {
            self.ask(target, now);
            return;
        }
        let whole = watched.whole && watched.listing.is_none();
        match self.known.get(target) {
            None if whole => {
                // There was no room to keep it, or it isn't there: a read tells.
                if self.known.len() >= SPARE_MAX + self.followed.len() {
                    self.ask(target, now);
                } else {
                    self.observe(target, Observation::Gone(missing(target)));
                }
            }
            None => {}
            Some(known) => {
                let stale = known.touched.as_ref().is_some_and(|touched| {
                    let read = known.scale.as_ref().map(|scale| &scale.resource_version);
                    read != Some(touched)
                });
                if stale {
                    self.ask(target, now);
                } else {
                    self.dirty.insert(target.clone());
                }
            }
        }
    }

    fn scope(&self, target: &Target) -> Option<&Watched> {
        let mut scopes = self.watched.iter();
        let found = scopes.find(|(scope, _)| scope.covers(target));
        found.map(|(_, watched)| watched)
    }

    fn look_at_all(&mut self, scope: &Scope, now: Instant) {
        for target in self.covered(scope) {
            self.look(&target, now);
        }
    }

    fn covered(&self, scope: &Scope) -> Vec<Target> {
        let targets = self.followed.keys();
        targets.filter(|t| scope.covers(t)).cloned().collect()
    }

    /// Tells the scale that is known, with what blocks it.
    fn state(&mut self, target: &Target) {
        let Some(known) = self.known.get(target) else {
            return;
        };
        let Some(scale) = &known.scale else { return };
        let (unscheduled, blocked) = self.blocks.of(target, scale, known.selector());
        let scale = Scale {
            selector_fault: known.selector_fault().map(str::to_owned),
            unscheduled,
            blocked,
            ..scale.clone()
        };
        self.observe(target, Observation::Scale(scale));
    }

    fn concerned(&mut self, concerns: impl IntoIterator<Item = Concerns>) {
        for concern in concerns {
            let targets = self.followed.keys();
            let concerned: Vec<Target> = targets
                .filter(|target| target.namespace == concern.namespace)
                .filter(|target| {
                    let known = self.known.get(target);
                    let selector = known.and_then(Known::selector);
                    match (&concern.labels, selector) {
                        (Some(labels), Some(selector)) => selector.matches(labels),
                        (None, selector) => selector.is_some(),
                        (Some(_), None) => false,
                    }
                })
                .cloned()
                .collect();
            self.dirty.extend(concerned);
        }
    }

    fn ask(&mut self, target: &Target, now: Instant) {
        let Some(followed) = self.followed.get_mut(target) else {
            return;
        };
        if followed.reading {
            followed.again = true;
            return;
        }
        followed.reading = true;
        followed.again = false;
        followed.read_at = Some(now);
        self.actions.push_back(Action::Read(Reference {
            target: target.clone(),
            version: followed.version.clone(),
        }));
    }

    fn observe(&mut self, target: &Target, observation: Observation) {
        let Some(followed) = self.followed.get_mut(target) else {
            return;
        };
        let digest = BuildHasherDefault::<DefaultHasher>::new().hash_one(&observation);
        if followed.told.replace(digest) == Some(digest) {
            return;
        }
        self.tell(Event::Observed {
            target: target.clone(),
            observation,
        });
    }

    fn tell(&mut self, event: Event) {
        self.actions.push_back(Action::Tell(event));
    }
}

fn stateful_set(failed: &Failed) -> Target {
    Target {
        group: "apps".into(),
        kind: "StatefulSet".into(),
        namespace: failed.namespace.clone(),
        name: failed.name.clone(),
    }
}
