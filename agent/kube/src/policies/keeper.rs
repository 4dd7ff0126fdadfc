//! What is known of all policy objects, and what follows from it.
//!
//! Comes in: [`News`], the ledger, what the node decided. Goes out: commands to
//! propose, statuses to write, events to tell; each once. Never does I/O.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash as _, Hasher as _};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use starling_engine::decide::conditions;
use starling_engine::decide::reason::Report;
use starling_engine::ledger::{Command, InForce, Ledger, Outcome, Workload};
use starling_engine::node::Node;
use starling_engine::node::platform::Observation;
use starling_engine::policy::{Name, Target};
use starling_engine::unit::Ms;
use starling_policy::objects::{Objects, Rivals, Standing, owns};

use super::{News, Origin, Seen};
use crate::events::{Happening, Of, flips, records, shows};
use crate::status::desk::{Desk, Urgency, urgency};
use crate::status::keda::{self, About};
use crate::status::tell::{self, Facts};
use crate::status::{Packed, Status};

/// Statuses that are looked through in each whole turn for values and words that
/// have changed, beside those where something else has: their making costs time.
const LOOKS: usize = 50;
/// Statuses that are made in one turn because something has changed; the next turn
/// goes on with the others.
const OPEN_LOOKS: usize = 200;

/// What the policies' objects are held against.
#[derive(Debug, Clone, Copy)]
pub struct World<'a> {
    pub ledger: &'a Ledger,
    pub node: &'a Node,
    /// The cluster's time.
    pub now: Ms,
    pub instant: Instant,
}

/// What a leader is to do.
#[derive(Debug, Default)]
pub struct Turn {
    pub proposals: Vec<Command>,
    /// To be written; what became of each comes as [`News::Written`].
    pub statuses: Vec<(Name, Status)>,
    pub happenings: Vec<Happening>,
}

#[derive(Debug, Default)]
pub struct Keeper {
    objects: Objects,
    /// Those objects that are `ScaledObject`s.
    adopted: BTreeMap<Name, Arc<About>>,
    /// The kinds that have been listed, and how many there are: before all of them
    /// are nothing is known to be gone.
    listed: BTreeSet<Origin>,
    origins: usize,
    /// What each object's status shows.
    shown: BTreeMap<Name, Packed>,
    rivals: Rivals,
    troubles: BTreeMap<&'static str, String>,
    desk: Desk,
    /// By policy: a digest of what its status was last made from.
    made_from: BTreeMap<Name, u64>,
    /// Those whose status isn't written yet as it should be.
    open: BTreeSet<Name>,
    /// How far each round has come: of all, and of the open ones.
    looked: Round,
    opened: Round,
    /// Changes of size up to this entry have been told by this leader.
    told: Option<u64>,
    /// What is to be told of statuses once they are written: one whose write fails is made
    /// again.
    untold: BTreeMap<Name, Vec<Happening>>,
    written: Vec<Happening>,
}

impl Keeper {
    /// Objects come from so many kinds.
    pub fn new(origins: usize) -> Keeper {
        Keeper {
            origins,
            ..Keeper::default()
        }
    }

    /// What is known of a `ScaledObject`, by its policy's name.
    pub fn adopted(&self, name: &Name) -> Option<&Arc<About>> {
        self.adopted.get(name)
    }

    pub fn take(&mut self, news: News) {
        match news {
            News::Listed(origin, all) => self.list(origin, all),
            News::Put(name, seen) => self.put(name, *seen),
            News::Gone(name) => {
                self.objects.remove(&name);
                self.forget_gone();
            }
            News::Rivals(rivals) => self.rivals = rivals,
            News::Written(name, written) => {
                if written.is_some() {
                    let flips = self.untold.remove(&name);
                    self.written.extend(flips.into_iter().flatten());
                }
                let shown = self.shown.get(&name);
                let written = written.map(|written| Packed::of(&written));
                self.desk.done(&name, written, shown);
                self.open.insert(name);
            }
            News::Trouble(of, why) => {
                match why {
                    Some(why) => self.troubles.insert(of, why),
                    None => self.troubles.remove(of),
                };
            }
        }
    }

    /// A write whose answer was lost may have been made: tells what the object shows of it.
    /// The rest waits until it does, or for the next write, which says what is so then.
    fn tell_shown(&mut self, name: &Name, former: &Status) {
        let Some(flips) = self.untold.remove(name) else {
            return;
        };
        let (shown, rest): (Vec<_>, Vec<_>) =
            flips.into_iter().partition(|flip| shows(former, flip));
        self.written.extend(shown);
        if !rest.is_empty() {
            self.untold.insert(name.clone(), rest);
        }
    }

    fn list(&mut self, origin: Origin, all: BTreeMap<Name, Seen>) {
        let gone: Vec<Name> = self
            .objects
            .iter()
            .map(|(name, _)| name)
            .filter(|name| self.origin(name) == origin && !all.contains_key(name))
            .cloned()
            .collect();
        for name in gone {
            self.objects.remove(&name);
        }
        for (name, seen) in all {
            self.put(name, seen);
        }
        self.listed.insert(origin);
        if self.listed.len() >= self.origins {
            let objects = self.objects.iter();
            let objects = objects.map(|(name, object)| (name.clone(), object.clone()));
            let objects = objects.collect();
            self.objects.replace(objects);
        }
        self.forget_gone();
    }

    fn origin(&self, name: &Name) -> Origin {
        if self.adopted.contains_key(name) {
            Origin::ScaledObjects
        } else {
            Origin::Policies
        }
    }

    fn put(&mut self, name: Name, seen: Seen) {
        let Seen {
            object,
            status,
            adopted,
        } = seen;
        match adopted {
            Some(about) => self.adopted.insert(name.clone(), about),
            None => self.adopted.remove(&name),
        };
        self.show(&name, &status);
        self.objects.put(name, object);
    }

    /// What events are about.
    fn of(&self, name: &Name) -> Option<Of> {
        let uid = &self.objects.get(name)?.uid;
        Some(match self.adopted.get(name) {
            Some(about) => Of::scaled_object(&about.name, uid),
            None => Of::policy(name, uid),
        })
    }

    fn show(&mut self, name: &Name, status: &Status) {
        let status = Packed::of(status);
        self.desk.shown(name, &status);
        self.open.insert(name.clone());
        self.shown.insert(name.clone(), status);
    }

    fn forget_gone(&mut self) {
        let objects = &self.objects;
        let there = |name: &Name| objects.get(name).is_some();
        self.shown.retain(|name, _| there(name));
        self.adopted.retain(|name, _| there(name));
        self.made_from.retain(|name, _| there(name));
        self.open.retain(|name| there(name));
        self.untold.retain(|name, _| there(name));
        self.desk.retain(there);
    }

    /// Whether all objects have been listed at least once.
    pub fn is_ready(&self) -> bool {
        self.objects.are_listed()
    }

    /// What is wrong, by what it is wrong with: streams that are broken and
    /// policies that aren't in force.
    pub fn problems(&self) -> BTreeMap<String, String> {
        let streams = self.troubles.iter();
        let mut problems: BTreeMap<String, String> = streams
            .map(|(of, why)| ((*of).to_owned(), why.clone()))
            .collect();
        for (name, standing) in self.objects.standings() {
            if !matches!(standing, Standing::InForce | Standing::Wanted) {
                problems.insert(format!("policy {name}"), standing.words());
            }
        }
        problems
    }

    /// What became of a proposal.
    pub fn answered(&mut self, command: &Command, outcome: &Outcome) {
        self.objects.answered(command, outcome);
    }

    /// This agent doesn't lead: whoever does tells what happens.
    pub fn follow(&mut self) {
        self.told = None;
        self.untold.clear();
        self.written.clear();
        self.made_from.clear();
    }

    /// How many objects there are; a whole turn looks at each.
    pub fn count(&self) -> usize {
        self.shown.len()
    }

    /// Whether a status isn't written yet as it should be.
    pub fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// What to do now, at the leader. A turn that isn't whole goes on with statuses
    /// alone.
    pub fn lead(&mut self, world: &World<'_>, whole: bool) -> Turn {
        let mut turn = Turn::default();
        if whole {
            turn.proposals = self.objects.plan(world.ledger, &self.rivals, world.now);
        }
        if !self.objects.are_listed() {
            return turn;
        }
        let of = |name: &Name| self.of(name);
        turn.happenings = records(world.ledger, self.told, world.now, of);
        turn.happenings.append(&mut self.written);
        self.told = Some(world.ledger.index);
        if whole {
            self.scan(world);
        }
        if self.desk.is_full(world.instant) {
            return turn;
        }
        for name in self.due(world.instant, whole) {
            if self.desk.is_full(world.instant) {
                break;
            }
            self.look(&name, world, &mut turn);
        }
        turn
    }

    /// Opens those where something has changed that a person must see soon.
    fn scan(&mut self, world: &World<'_>) {
        let mut changed = Vec::new();
        for (name, standing) in self.objects.standings() {
            let generation = self.objects.get(name).map(|object| object.generation);
            let digest = Known::of(name, standing, world).digest(generation);
            if self.made_from.get(name) != Some(&digest) {
                self.made_from.insert(name.clone(), digest);
                changed.push(name.clone());
            }
        }
        self.open.extend(changed);
    }

    /// Whose status is to be made: where a write is still to come and, in a whole
    /// turn, some of the others.
    fn due(&mut self, now: Instant, whole: bool) -> Vec<Name> {
        let open = self.open.range(self.opened.rest());
        let mut due = self.opened.take(open, OPEN_LOOKS);
        if whole {
            let all = self.objects.standings().range(self.looked.rest());
            let looks = self.looked.take(all.map(|(name, _)| name), LOOKS);
            due.extend(looks.into_iter().filter(|name| !self.open.contains(name)));
        }
        // Those that waited longest have the first claim on what may be written.
        due.sort_by_cached_key(|name| std::cmp::Reverse(self.desk.age(name, now)));
        due
    }

    fn look(&mut self, name: &Name, world: &World<'_>, turn: &mut Turn) {
        let Some((object, standing)) = self
            .objects
            .get(name)
            .zip(self.objects.standings().get(name))
        else {
            self.open.remove(name);
            return;
        };
        let empty = Packed::default();
        let shown = self.shown.get(name).unwrap_or(&empty);
        let former = self.desk.former(name, shown);
        let known = Known::of(name, standing, world);
        let facts = Facts {
            object,
            standing,
            in_force: known.in_force,
            workload: known.workload,
            report: known.report,
            running: known.running,
            write_failure: known.write_failure,
        };
        // What is on its way into force says nothing yet.
        if *standing == Standing::Wanted && known.in_force.is_none() {
            self.open.remove(name);
            return;
        }
        let mut wanted = tell::status(&facts, &former, world.now);
        if let Some(about) = self.adopted.get(name) {
            let failing = known.report.and_then(conditions::failing);
            wanted = keda::project(&wanted, about, failing.as_ref());
        }
        if urgency(&former, &wanted) <= Urgency::Refresh {
            self.open.remove(name);
        } else {
            self.open.insert(name.clone());
        }
        self.tell_shown(name, &former);
        if self.desk.is_due(name, &former, &wanted, world.instant) {
            if let Some(of) = self.of(name) {
                let flips = flips(&of, &former, &wanted, world.now);
                self.untold.insert(name.clone(), flips);
            }
            turn.statuses.push((name.clone(), wanted));
        }
    }
}

/// Takes names some at a time, and begins anew behind the last.
#[derive(Debug, Default)]
struct Round {
    last: Option<Name>,
}

impl Round {
    /// Which names are left in this round.
    fn rest(&self) -> (Bound<Name>, Bound<Name>) {
        let last = self.last.clone();
        (
            last.map_or(Bound::Unbounded, Bound::Excluded),
            Bound::Unbounded,
        )
    }

    /// The next ones of the rest.
    fn take<'a>(&mut self, rest: impl Iterator<Item = &'a Name>, most: usize) -> Vec<Name> {
        let taken: Vec<Name> = rest.take(most).cloned().collect();
        self.last = taken.last().filter(|_| taken.len() == most).cloned();
        taken
    }
}

/// What the world says of one object's policy.
struct Known<'a> {
    standing: &'a Standing,
    in_force: Option<&'a InForce>,
    workload: Option<&'a Workload>,
    report: Option<&'a Report>,
    running: Option<u32>,
    write_failure: Option<&'a str>,
}

impl<'a> Known<'a> {
    fn of(name: &Name, standing: &'a Standing, world: &World<'a>) -> Known<'a> {
        let in_force = world.ledger.policies.get(name);
        let in_force = in_force.filter(|put| owns(&put.source));
        let target = in_force.map(|put| &put.policy.target);
        let workload = target.and_then(|target| world.ledger.workloads.get(target));
        let decisions = world.node.decisions();
        let decision = decisions.and_then(|all| all.get(name));
        Known {
            standing,
            in_force,
            workload,
            report: in_force.and(decision).map(|decision| &decision.report),
            running: target.and_then(|target| running(world, target)),
            write_failure: target.and_then(|target| world.node.write_failure(target)),
        }
    }

    /// Changes with all that a person must see soon; not with measured values.
    fn digest(&self, generation: Option<i64>) -> u64 {
        let mut hash = DefaultHasher::new();
        generation.hash(&mut hash);
        self.standing.code().hash(&mut hash);
        self.in_force.map(|put| put.revision).hash(&mut hash);
        if let Some(workload) = self.workload {
            (workload.size, workload.stamp).hash(&mut hash);
            let scaled = workload.scaled.as_ref();
            scaled.map(|it| (it.carried, &it.uid)).hash(&mut hash);
            let by_hand = scaled.and_then(|it| it.by_hand);
            by_hand.map(|it| it.at).hash(&mut hash);
        }
        if let Some(report) = self.report {
            report.target.hash(&mut hash);
            for condition in &report.conditions {
                (condition.kind.code(), condition.status.code()).hash(&mut hash);
            }
        }
        self.running.hash(&mut hash);
        self.write_failure.is_some().hash(&mut hash);
        hash.finish()
    }
}

fn running(world: &World<'_>, target: &Target) -> Option<u32> {
    match world.node.observations().get(target)? {
        Observation::Scale(scale) => Some(scale.running),
        Observation::Gone(_) => None,
    }
}

#[cfg(test)]
mod tests;
