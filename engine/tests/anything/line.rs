//! What lies between the nodes and the platform of scaled workloads: watches that
//! lag, connections that break, writes that are slow, lost, refused or answered by
//! nobody; and whatever others do to the objects meanwhile.
//!
//! Does what a sound host does, and no more: a node is told the newest state or
//! nothing, and what it asks for is written as it was asked.

use std::collections::BTreeMap;

use starling_engine::node::Input;
use starling_engine::node::platform::{Failure, Observation, Patch, Scale};
use starling_engine::policy::{Form, Target};
use starling_engine::unit::NodeId;

use super::log::Fate;
use super::{World, drawn};

/// One node's connection to the platform.
#[derive(Default)]
pub struct Line {
    /// Nothing gets through in either direction.
    cut: bool,
    /// Nothing new of the objects comes through.
    stuck: bool,
    /// The node was told that the platform can be reached.
    pub reaches: bool,
    /// What it was told that else scales workloads.
    rivals: BTreeMap<Target, String>,
    /// What the node knows of each object that is followed: from the watch, …
    told: BTreeMap<Target, Observation>,
    /// … and how many pods it was told of last, by a write's answer too.
    running: BTreeMap<Target, u32>,
}

/// What becomes of a write.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Writing {
    Done,
    /// It arrives later, whoever leads then.
    Slow,
    /// Done, and nobody ever hears of it.
    Unheard,
    /// Done, but its answer is lost.
    Unanswered,
    /// Not done, and its answer is lost.
    Lost,
    Refused,
    /// Somebody changes the object just before.
    Overtaken,
}

/// Without faults every grant is written within this time: the longest pause after
/// a failed write is half of it.
const CALM_S: usize = 60;
/// So many seconds are then looked at.
const SETTLED_S: usize = 5;

impl Line {
    /// Pods of which the node was told.
    pub fn running(&self, target: &Target) -> u32 {
        self.running.get(target).copied().unwrap_or(0)
    }

    /// The node was told that there is such an object.
    pub fn knows(&self, target: &Target) -> bool {
        self.running.contains_key(target)
    }

    /// Whether the node was told that something else scales it.
    pub fn leaves(&self, target: &Target) -> bool {
        self.rivals.contains_key(target)
    }

    fn note(&mut self, target: &Target, observation: &Observation) {
        match observation {
            Observation::Scale(scale) => self.running.insert(target.clone(), scale.running),
            Observation::Gone(_) => self.running.remove(target),
        };
    }
}

impl World<'_> {
    /// The watches bring what is news to the nodes that are up.
    pub fn watch_platform(&mut self) {
        if self.pods_follow {
            self.platform.settle();
        }
        for (id, target, result) in std::mem::take(&mut self.failures) {
            self.patched(id, &target, result);
        }
        let ledger = &self.ledger;
        let targets = ledger.policies.values().map(|put| &put.policy.target);
        let scaled = targets.filter(|target| target.form() == Form::Scaled);
        let followed: Vec<Target> = scaled.cloned().collect();
        let up: Vec<NodeId> = self.up().collect();
        for id in up {
            let Some(place) = self.nodes.get_mut(&id) else {
                continue;
            };
            let line = &mut place.line;
            line.told.retain(|target, _| followed.contains(target));
            line.running.retain(|target, _| followed.contains(target));
            if line.reaches == line.cut {
                line.reaches = !line.cut;
                let reaches = line.reaches;
                self.one(if reaches {
                    "platform back"
                } else {
                    "platform away"
                });
                self.step(id, Input::Platform(reaches));
            }
            self.bring_rivals(id);
            for target in &followed {
                self.bring(id, target);
            }
        }
    }

    fn bring_rivals(&mut self, id: NodeId) {
        let Some(place) = self.nodes.get_mut(&id) else {
            return;
        };
        let line = &mut place.line;
        if !line.cut && !line.stuck && line.rivals != self.rivals {
            line.rivals.clone_from(&self.rivals);
            self.step(id, Input::Rivals(self.rivals.clone()));
        }
    }

    /// One object's news, where there are any and they come through.
    fn bring(&mut self, id: NodeId, target: &Target) {
        let now = self.platform.says(target);
        let Some(place) = self.nodes.get_mut(&id) else {
            return;
        };
        let line = &mut place.line;
        if line.cut || line.stuck || line.told.get(target) == Some(&now) {
            return;
        }
        line.told.insert(target.clone(), now.clone());
        line.note(target, &now);
        let target = target.clone();
        self.step(
            id,
            Input::Observed {
                target,
                observation: now,
            },
        );
    }

    /// A leader asks for a write.
    pub fn ask(&mut self, id: NodeId, patch: Patch) {
        let Some(place) = self.nodes.get(&id) else {
            return;
        };
        let cut = place.line.cut;
        self.mix(&(patch.from, patch.to, patch.stamp));
        match self.writing {
            _ if cut => self.answer(id, &patch.target, Err(unknown())),
            Writing::Done => self.arrive(id, &patch, true),
            Writing::Slow => self.under_way.push((id, patch)),
            Writing::Unheard => self.arrive(id, &patch, false),
            Writing::Unanswered => {
                self.arrive(id, &patch, false);
                self.answer(id, &patch.target, Err(unknown()));
            }
            Writing::Lost => self.answer(id, &patch.target, Err(unknown())),
            Writing::Refused => {
                let refused = Failure::Refused("admission webhook".into());
                self.answer(id, &patch.target, Err(refused));
            }
            Writing::Overtaken => {
                self.platform.change(&patch.target, |_| {});
                self.arrive(id, &patch, true);
            }
        }
    }

    /// A write comes to the platform.
    fn arrive(&mut self, id: NodeId, patch: &Patch, answered: bool) {
        self.steps += 1;
        let result = self.platform.write(patch);
        if result.is_ok() {
            self.model.was_granted(patch);
            let leads = self.nodes.get(&id).is_some_and(|place| place.leads);
            self.one(if leads { "written" } else { "written late" });
        }
        if answered {
            self.answer(id, &patch.target, result);
        }
    }

    /// What became of a write. Failures come to the node a moment later, and the state
    /// that the host then reads with them.
    fn answer(&mut self, id: NodeId, target: &Target, result: Result<Scale, Failure>) {
        self.one(match &result {
            Ok(_) => "answered",
            Err(Failure::Conflict) => "conflict",
            Err(Failure::Gone(_)) => "gone",
            Err(Failure::Refused(_)) => "refused",
            Err(Failure::Unknown(_)) => "unknown",
        });
        match &result {
            Ok(_) => self.patched(id, target, result),
            // Where time has ended nothing waits, and it would be tried again right now.
            Err(_) => self.failures.push((id, target.clone(), result)),
        }
    }

    /// A node hears of its write, unless it is down.
    fn patched(&mut self, id: NodeId, target: &Target, result: Result<Scale, Failure>) {
        let up = self.up().any(|it| it == id);
        let Some(place) = self.nodes.get_mut(&id).filter(|_| up) else {
            return;
        };
        // Nobody but a leader waits for it, and nobody for what is forgotten.
        if let Ok(scale) = &result
            && place.leads
            && self.ledger.workloads.contains_key(target)
        {
            place.line.running.insert(target.clone(), scale.running);
        }
        let patched = Input::Patched {
            target: target.clone(),
            result,
        };
        self.step(id, patched);
    }

    fn arrive_all(&mut self) {
        for (id, patch) in std::mem::take(&mut self.under_way) {
            self.arrive(id, &patch, true);
        }
    }

    /// Something befalls the objects, the platform, or the way to it.
    pub fn disturb(&mut self) {
        let target = drawn::scaled(&mut self.draw);
        match self.draw.byte() % 16 {
            0 | 1 => {
                let replicas = self.draw.u32();
                self.one("set by hand");
                self.platform.set(&target, replicas);
            }
            2 => {
                if self.rivals.remove(&target).is_none() {
                    let by = format!("HorizontalPodAutoscaler {}", target.name);
                    self.rivals.insert(target, by);
                }
            }
            3 => self.platform.set(&target, 0),
            4 => self.platform.delete(&target),
            5..=7 => {
                let replicas = self.draw.u32();
                if self.platform.scale(&target).is_some() {
                    self.one("made anew");
                }
                self.platform.make(&target, replicas);
            }
            8 => {
                let (count, blocked) = (self.draw.u32(), self.draw.rarely(2));
                self.platform.change(&target, |scale| {
                    scale.unscheduled.count = count;
                    scale.blocked = blocked.then(|| "exceeded quota: pods=2".into());
                });
            }
            9 => {
                let selector = format!("tier={}", self.draw.byte() % 2);
                let fault = self.draw.rarely(4);
                self.platform.change(&target, |scale| {
                    scale.selector = selector;
                    scale.selector_fault = fault.then(|| "the selector is empty".into());
                });
            }
            10 => self.pods_follow = !self.pods_follow,
            11 | 12 => {
                self.writing = self.draw.pick(&[
                    Writing::Done,
                    Writing::Slow,
                    Writing::Unheard,
                    Writing::Unanswered,
                    Writing::Lost,
                    Writing::Refused,
                    Writing::Overtaken,
                ]);
            }
            13 => self.arrive_all(),
            14 => {
                let whole = self.draw.rarely(4);
                let cut = self.draw.rarely(2);
                for place in self.nodes.values_mut().filter(|_| whole) {
                    place.line.cut = cut;
                }
                if let Some(place) = self.some_place() {
                    place.line.cut = cut;
                }
            }
            _ => {
                let stuck = self.draw.rarely(2);
                if let Some(place) = self.some_place() {
                    place.line.stuck = stuck;
                }
            }
        }
    }

    /// Liveness: the faults stop, one node leads, and the platform comes to have what
    /// was granted, within the bounds.
    pub fn calm(&mut self) {
        self.arrive_all();
        (self.writing, self.pods_follow) = (Writing::Done, true);
        self.fate = Fate::Granted;
        for place in self.nodes.values_mut() {
            (place.line.cut, place.line.stuck) = (false, false);
        }
        self.recover();
        for _ in 0..CALM_S {
            self.second();
        }
        for _ in 0..SETTLED_S {
            self.second();
            for in_force in self.ledger.policies.values() {
                let policy = &in_force.policy;
                let size = self.ledger.workloads[&policy.target].size;
                let scale = self.platform.scale(&policy.target);
                let Some(scale) = scale.filter(|_| !policy.dry_run) else {
                    continue;
                };
                assert_eq!(scale.replicas, size, "{policy:?} is never written");
                let left = self.rivals.contains_key(&policy.target);
                let right = policy.bounds().contains(&size) || size == 0 || left;
                assert!(right, "I5: {size} is never brought within {policy:?}");
            }
        }
    }
}

fn unknown() -> Failure {
    Failure::Unknown("no answer".into())
}
