//! The nodes: they measure, gossip, tick, lead, fail and recover, each by a
//! clock of its own.

use std::collections::BTreeSet;

use starling_engine::demand::pods::Pod;
use starling_engine::demand::{Sample, Summary};
use starling_engine::ledger::{Command, Member};
use starling_engine::node::{Input, Node, Output};
use starling_engine::policy::{Policy, Target};
use starling_engine::unit::{Ms, NodeId};

use super::line::Line;
use super::{World, model};

/// Replicas that one node reports of one workload; those beyond are not seen.
pub const REPORTED_MAX: u32 = 40;

/// One machine of the cluster.
pub struct Place {
    pub node: Node,
    up: bool,
    /// Hears nobody.
    deaf: bool,
    pub leads: bool,
    /// How far its clock is off.
    pub skew_ms: i64,
    /// What each of its replicas looks like; without it the node runs none of the
    /// placed ones, and says nothing of the others.
    pub pod: Option<Pod>,
    /// Its connection to the platform of the scaled ones.
    pub line: Line,
}

impl World<'_> {
    /// Nothing but time passes.
    pub fn minute(&mut self) {
        for _ in 0..60 {
            self.second();
        }
    }

    /// Everybody measures and gossips, then the clocks tick.
    pub fn second(&mut self) {
        self.now = self.now.plus(1_000);
        for (id, command) in std::mem::take(&mut self.late) {
            self.grant(id, command);
            self.step(id, Input::Proposed);
        }
        let up: BTreeSet<NodeId> = self.up().collect();
        for id in &up {
            let sample = self.sample(*id);
            self.step(*id, Input::Alive(up.clone()));
            self.step(*id, Input::Sampled(sample));
        }
        if self.scales {
            self.watch_platform();
        }
        for id in up {
            self.step(id, Input::Tick);
            self.count(id);
        }
    }

    /// One node takes one input, and what it asks for is done.
    pub fn step(&mut self, id: NodeId, input: Input) {
        let now = self.clock(id);
        let Some(place) = self.nodes.get_mut(&id) else {
            return;
        };
        self.steps += 1;
        if place.leads {
            self.model.takes(id, &input, &self.ledger);
        }
        let planned_at = place.node.planned_at();
        let outputs = place.node.step(now, input, &self.ledger);
        if planned_at != Some(now) && place.node.planned_at() == Some(now) {
            model::silence(place, now, &self.ledger);
        }
        // Before anything else happens: a plan is of what was known then.
        for output in &outputs {
            match output {
                Output::Propose(command) => {
                    self.model.check((id, &*place), now, command, &self.ledger);
                }
                Output::Patch(patch) => self.model.may_write(patch, &*place, &self.ledger),
                _ => {}
            }
        }
        for output in outputs {
            match output {
                Output::Publish(summary) => self.publish(id, &summary),
                Output::Poll {
                    policy, trigger, ..
                } => {
                    if let Some(result) = self.answer.clone() {
                        let trigger = trigger.name;
                        let polled = Input::Polled {
                            policy,
                            trigger,
                            age_ms: 0,
                            result,
                        };
                        self.step(id, polled);
                    }
                }
                Output::Propose(command) => self.propose(id, command),
                Output::Patch(patch) => self.ask(id, patch),
                Output::Halt(why) => panic!("node {id} halted: {why}"),
            }
        }
    }

    /// All sources say that something has changed, and one that nobody knows.
    pub fn push(&mut self) {
        let all = self.ledger.policies.values();
        let of = |policy: &Policy| {
            let triggers = policy.triggers.iter();
            let name = policy.name.clone();
            let keys = triggers.map(move |trigger| (name.clone(), trigger.name.clone()));
            keys.collect::<Vec<_>>()
        };
        let mut pushed: BTreeSet<_> = all.flat_map(|put| of(&put.policy)).collect();
        pushed.insert(("nobody".into(), "knows".to_owned()));
        let up: Vec<NodeId> = self.up().collect();
        for id in up {
            self.step(id, Input::Pushed(pushed.clone()));
        }
    }

    fn publish(&mut self, from: NodeId, summary: &Summary) {
        let bytes = postcard::to_allocvec(summary).expect("a summary encodes");
        let others: Vec<NodeId> = self.up().filter(|id| *id != from).collect();
        for id in others {
            if self.nodes.get(&id).is_some_and(|place| !place.deaf) {
                let heard = postcard::from_bytes(&bytes).expect("a summary decodes");
                assert_eq!(&heard, summary);
                self.step(id, Input::Heard(heard));
            }
        }
    }

    /// A leader from among those that are up, or none; everybody is told.
    pub fn elect(&mut self) {
        self.term += 1;
        let up: Vec<NodeId> = self.up().collect();
        let leader = (!up.is_empty()).then(|| self.draw.pick(&up));
        let leader = leader.filter(|_| !self.draw.rarely(8));
        for id in up {
            self.tell(id, leader == Some(id));
        }
    }

    /// A second leader of which the first one has not heard.
    pub fn split(&mut self) {
        self.term += 1;
        let up: Vec<NodeId> = self.up().collect();
        if !up.is_empty() {
            let id = self.draw.pick(&up);
            self.tell(id, true);
        }
    }

    fn tell(&mut self, id: NodeId, leads: bool) {
        if let Some(place) = self.nodes.get_mut(&id) {
            place.leads = leads;
            self.model.forgets(id);
            self.step(id, Input::Leads(leads.then_some(self.term)));
        }
    }

    pub fn fail_or_recover(&mut self) {
        let what = self.draw.byte() % 4;
        let mut ids = self.nodes.keys().copied();
        let id = ids.nth(self.draw.below(3)).unwrap_or_default();
        let Some(place) = self.nodes.get_mut(&id) else {
            return;
        };
        match what {
            0 => place.up = false,
            1 => place.deaf = !place.deaf,
            2 => place.up = true,
            _ => {
                place.node = Node::new(id).in_life(self.now.0);
                place.line = Line::default();
                (place.up, place.leads) = (true, false);
            }
        }
    }

    pub fn admit(&mut self, nonce: String, name: String) {
        let member = Member {
            name,
            ..Member::default()
        };
        let outcome = self.apply(self.now, Command::Admit { nonce, member });
        let id = outcome.admitted.expect("there is room");
        let members = &self.ledger.members;
        self.nodes.retain(|id, _| members.contains_key(id));
        let place = Place {
            node: Node::new(id),
            up: true,
            deaf: false,
            leads: false,
            skew_ms: 0,
            pod: Some(Pod::default()),
            line: Line::default(),
        };
        self.nodes.insert(id, place);
    }

    /// Takes a member out, whatever it is doing; the last one stays.
    pub fn remove(&mut self, node: NodeId) {
        self.apply(self.now, Command::Remove { node });
        let members = &self.ledger.members;
        self.nodes.retain(|id, _| members.contains_key(id));
        let strangers = self.ledger.workloads.values();
        let mut strangers = strangers.flat_map(|workload| workload.shares.keys());
        assert_eq!(strangers.find(|id| !members.contains_key(id)), None);
    }

    /// All are up and hear each other, and one leads.
    pub fn recover(&mut self) {
        self.term += 1;
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for (i, id) in ids.into_iter().enumerate() {
            if let Some(place) = self.nodes.get_mut(&id) {
                (place.up, place.deaf) = (true, false);
            }
            self.tell(id, i == 0);
        }
    }

    fn sample(&self, id: NodeId) -> Sample {
        let mut sample = Sample::default();
        let Some(pod) = self.nodes.get(&id).and_then(|place| place.pod.as_ref()) else {
            return sample;
        };
        for (target, workload) in &self.ledger.workloads {
            let count = match &workload.scaled {
                None => workload.shares.get(&id).copied().unwrap_or(0),
                Some(scaled) => self.pods_on(id, target, &scaled.selector),
            };
            if count > 0 || workload.scaled.is_none() {
                let pods = vec![pod.clone(); count.min(REPORTED_MAX) as usize];
                sample.workloads.insert(target.clone(), pods);
            }
        }
        sample
    }

    /// Pods of a scaled workload that a node has and knows by their selector. They
    /// lie evenly on all nodes, whether those are up or not.
    fn pods_on(&self, id: NodeId, target: &Target, selector: &str) -> u32 {
        let scale = self.platform.scale(target);
        let Some(scale) = scale.filter(|scale| scale.selector == selector) else {
            return 0;
        };
        let placed = scale.running.saturating_sub(scale.unscheduled.count);
        let nodes = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX).max(1);
        let position = self.nodes.keys().take_while(|it| **it < id).count();
        let rest = u32::try_from(position).is_ok_and(|position| position < placed % nodes);
        placed / nodes + u32::from(rest)
    }

    /// What a leader's last pass said of every workload.
    fn count(&mut self, id: NodeId) {
        let decisions = self.nodes.get(&id).and_then(|place| place.node.decisions());
        for decision in decisions.into_iter().flat_map(|all| all.values()) {
            model::count(&mut self.tally, &decision.report);
        }
    }

    pub fn some_place(&mut self) -> Option<&mut Place> {
        let which = self.draw.below(self.nodes.len());
        self.nodes.values_mut().nth(which)
    }

    pub fn up(&self) -> impl Iterator<Item = NodeId> {
        let up = self.nodes.iter().filter(|(_, place)| place.up);
        up.map(|(id, _)| *id)
    }

    pub fn clock(&self, id: NodeId) -> Ms {
        let skew_ms = self.nodes.get(&id).map_or(0, |place| place.skew_ms);
        Ms(self.now.0.saturating_add_signed(skew_ms))
    }
}
