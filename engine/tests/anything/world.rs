//! A small cluster to which anything may happen: nodes that measure, gossip,
//! lead, fall silent and come back, policies that come and go, clocks that jump,
//! proposals that are lost, late or granted unheard.
//!
//! Comes in: a [`Draw`] that makes every choice. Goes out: a digest of all that
//! was proposed and remembered. What must hold after every step is checked on
//! the way and panics.

use std::collections::{BTreeMap, BTreeSet};

use starling_engine::decide::{Decision, Inputs, decide};
use starling_engine::demand::pods::Pod;
use starling_engine::demand::{Sample, Summary};
use starling_engine::ledger::{Command, Entry, FOUNDER, Item, Ledger, Member, Outcome};
use starling_engine::node::{Input, Node, Output};
use starling_engine::unit::{Ms, NodeId};

use super::draw::Draw;
use super::drawn;

/// Replicas that one node reports of one workload; those beyond are not seen.
const REPORTED_MAX: u32 = 40;

/// The cluster, its clock and its choices.
struct World<'a> {
    draw: Draw<'a>,
    now: Ms,
    ledger: Ledger,
    /// Applies the same entries after they were encoded and decoded.
    replica: Ledger,
    nodes: BTreeMap<NodeId, Place>,
    /// What external sources answer; `None` is no answer at all.
    answer: Option<Result<i64, String>>,
    fate: Fate,
    /// Proposals that have not yet been applied.
    late: Vec<(NodeId, Command)>,
    term: u64,
    steps: u64,
    trace: u64,
}

/// One machine of the cluster.
struct Place {
    node: Node,
    up: bool,
    /// Hears nobody.
    deaf: bool,
    leads: bool,
    /// How far its clock is off.
    skew_ms: i64,
    /// What each of its replicas looks like; without it the node runs nothing.
    pod: Option<Pod>,
}

/// What becomes of a proposal.
#[derive(Clone, Copy)]
enum Fate {
    Granted,
    Lost,
    /// Applied some seconds later.
    Late,
    /// Applied, and the proposer never hears of it.
    Unheard,
}

/// Plays the life that `bytes` describe, for at most `steps` inputs, and gives
/// the digest of all that came of it. The first byte says when the clocks begin.
pub fn play(bytes: impl Iterator<Item = u8>, steps: u64) -> [u8; 16] {
    let mut draw = Draw::new(bytes);
    let start = match draw.byte() {
        0 => Ms(0),
        1 => Ms(u64::MAX - 10_000),
        _ => Ms(1_700_000_000_000),
    };
    World::new(draw, start).play(steps)
}

impl<'a> World<'a> {
    /// Three members, no policy, no leader.
    fn new(draw: Draw<'a>, now: Ms) -> Self {
        let mut world = World {
            draw,
            now,
            ledger: Ledger::default(),
            replica: Ledger::default(),
            nodes: BTreeMap::new(),
            answer: Some(Ok(0)),
            fate: Fate::Granted,
            late: Vec::new(),
            term: 0,
            steps: 0,
            trace: 0xcbf2_9ce4_8422_2325,
        };
        world.apply(
            now,
            Command::Found {
                cluster: "c".into(),
                generation: 1,
            },
        );
        for (nonce, name) in [(FOUNDER, "a"), ("b", "b"), ("c", "c")] {
            world.admit(nonce.into(), name.into());
        }
        world
    }

    fn play(&mut self, steps: u64) -> [u8; 16] {
        while self.steps < steps && !self.draw.ended() {
            self.happen();
        }
        assert_eq!(self.ledger, self.replica, "the replicas differ");
        self.restore();
        let mut digest = self.ledger.digest();
        assert_ne!(digest, [0; 16], "the ledger can't be encoded");
        for (byte, mixed) in digest.iter_mut().zip(self.trace.to_le_bytes()) {
            *byte ^= mixed;
        }
        digest
    }

    fn happen(&mut self) {
        match self.draw.byte() % 32 {
            0..=17 => self.second(),
            18 => self.now = self.draw_jump(),
            19 => {
                let skew_ms = self.draw.i64() % 3_600_000;
                if let Some(place) = self.some_place() {
                    place.skew_ms = skew_ms;
                }
            }
            20 => self.elect(),
            21 => self.split(),
            22 | 23 => {
                let policy = drawn::policy(&mut self.draw);
                let source = "test".into();
                self.apply(self.now, Command::PutPolicy { policy, source });
            }
            24 => {
                let name = self.draw.pick(&drawn::NAMES).into();
                self.apply(self.now, Command::RemovePolicy { name });
            }
            25 => {
                self.answer = match self.draw.byte() % 8 {
                    0 => None,
                    1 => Some(Err("refused".into())),
                    _ => Some(Ok(self.draw.i64())),
                }
            }
            26 | 27 => {
                let now = self.now;
                let pod = self.draw.maybe(|draw| drawn::pod(draw, now));
                if let Some(place) = self.some_place() {
                    place.pod = pod;
                }
            }
            28 => self.fail_or_recover(),
            29 => {
                self.fate = self.draw.pick(&[
                    Fate::Granted,
                    Fate::Granted,
                    Fate::Lost,
                    Fate::Late,
                    Fate::Unheard,
                ]);
            }
            30 => self.stray(),
            _ => self.decide(),
        }
    }

    /// Everybody measures and gossips, then the clocks tick.
    fn second(&mut self) {
        self.now = self.now.plus(1_000);
        for (id, command) in std::mem::take(&mut self.late) {
            self.apply(self.clock(id), command);
            self.step(id, Input::Proposed);
        }
        let up: BTreeSet<NodeId> = self.up().collect();
        for id in &up {
            let sample = self.sample(*id);
            self.step(*id, Input::Alive(up.clone()));
            self.step(*id, Input::Sampled(sample));
        }
        for id in up {
            self.step(id, Input::Tick);
        }
    }

    /// One node takes one input, and what it asks for is done.
    fn step(&mut self, id: NodeId, input: Input) {
        let now = self.clock(id);
        let Some(place) = self.nodes.get_mut(&id) else {
            return;
        };
        self.steps += 1;
        for output in place.node.step(now, input, &self.ledger) {
            match output {
                Output::Publish(summary) => self.publish(id, &summary),
                Output::Poll { policy, trigger } => {
                    if let Some(result) = self.answer.clone() {
                        let trigger = trigger.name;
                        let polled = Input::Polled {
                            policy,
                            trigger,
                            result,
                        };
                        self.step(id, polled);
                    }
                }
                Output::Propose(command) => self.propose(id, command),
                Output::Halt(why) => panic!("node {id} halted: {why}"),
            }
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

    fn propose(&mut self, id: NodeId, command: Command) {
        assert!(self.nodes[&id].leads, "node {id} proposes without leading");
        self.mix(&command);
        match self.fate {
            Fate::Granted => {
                let outcome = self.apply(self.clock(id), command);
                assert_eq!(outcome.refused, [], "a plan from this state is granted");
                self.step(id, Input::Proposed);
            }
            Fate::Lost => self.step(id, Input::Proposed),
            Fate::Late => self.late.push((id, command)),
            Fate::Unheard => {
                self.apply(self.clock(id), command);
            }
        }
    }

    /// Applies a command to both replicas and checks what must hold then (I5).
    fn apply(&mut self, at: Ms, command: Command) -> Outcome {
        self.steps += 1;
        let (index, before) = (self.ledger.index + 1, self.ledger.time);
        let entry = Entry { at, command };
        let outcome = self.ledger.apply(index, &entry);
        let bytes = postcard::to_allocvec(&entry).expect("an entry encodes");
        let decoded: Entry = postcard::from_bytes(&bytes).expect("an entry decodes");
        assert_eq!(decoded, entry);
        assert_eq!(self.replica.apply(index, &decoded), outcome);
        let ledger = &self.ledger;
        assert_eq!(ledger.checkpoints.back(), self.replica.checkpoints.back());
        assert_eq!(ledger.halted, None);
        assert!(ledger.time >= before, "log time went back");
        for in_force in ledger.policies.values() {
            let policy = &in_force.policy;
            let workload = &ledger.workloads[&policy.target];
            assert!(policy.bounds().contains(&workload.size), "{workload:?}");
            let placed: u64 = workload.shares.values().map(|n| u64::from(*n)).sum();
            assert!(placed <= u64::from(workload.size), "{workload:?}");
        }
        if let Some(checkpoint) = ledger.checkpoints.back().copied() {
            self.mix(&checkpoint);
        }
        outcome
    }

    /// A leader from among those that are up, or none; everybody is told.
    fn elect(&mut self) {
        self.term += 1;
        let up: Vec<NodeId> = self.up().collect();
        let leader = (!up.is_empty()).then(|| self.draw.pick(&up));
        let leader = leader.filter(|_| !self.draw.rarely(8));
        for id in up {
            self.tell(id, leader == Some(id));
        }
    }

    /// A second leader of which the first one has not heard.
    fn split(&mut self) {
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
            self.step(id, Input::Leads(leads.then_some(self.term)));
        }
    }

    fn fail_or_recover(&mut self) {
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
                place.node = Node::new(id);
                (place.up, place.leads) = (true, false);
            }
        }
    }

    /// An entry that no sound leader would propose, a member that lost its disk,
    /// or a ledger that goes on from its encoding.
    fn stray(&mut self) {
        match self.draw.byte() % 4 {
            0 => {
                let item = self.draw_item();
                let by = NodeId(u64::from(self.draw.byte()));
                let items = vec![item.clone(), item];
                let at = self.draw.near(self.now).min(self.now.plus(3_600_000));
                self.apply(at, Command::Pass { by, items });
            }
            1 => {
                let nonce = format!("again-{}", self.ledger.index);
                let name = self.draw.pick(&["a", "b", "c"]).into();
                self.admit(nonce, name);
            }
            2 => {
                let node = NodeId(self.draw.u64() % 8);
                let member = Member::default();
                self.apply(self.now, Command::Readdress { node, member });
            }
            _ => self.restore(),
        }
    }

    fn admit(&mut self, nonce: String, name: String) {
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
        };
        self.nodes.insert(id, place);
    }

    /// Goes on from what a snapshot would bring.
    fn restore(&mut self) {
        let bytes = postcard::to_allocvec(&self.ledger).expect("the ledger encodes");
        self.replica = postcard::from_bytes(&bytes).expect("the ledger decodes");
        assert_eq!(self.replica, self.ledger);
    }

    /// One decision from inputs that no cluster need ever bring about.
    fn decide(&mut self) {
        let (draw, now) = (&mut self.draw, self.now);
        let policy = drawn::policy(draw);
        let readings = draw.below(6);
        let inputs = Inputs {
            policy: &policy,
            now: draw.near(now),
            created_at: draw.near(now),
            current: draw.u32(),
            running: draw.u32(),
            ready: draw.maybe(Draw::u32),
            last_pass: draw.maybe(|draw| draw.near(now)),
            readings: (0..readings).map(|_| drawn::reading(draw, now)).collect(),
            history: &drawn::history(draw, now),
            signal: None,
            started_ms: &[],
        };
        self.steps += 1;
        let decision = decide(&inputs);
        assert_eq!(decision, decide(&inputs));
        assert!(
            policy.bounds().contains(&decision.target) || decision.target == inputs.current,
            "{decision:?}"
        );
        self.mix(&decision.report);
        Self::read_and_remember(&inputs, &decision);
    }

    fn read_and_remember(inputs: &Inputs<'_>, decision: &Decision) {
        assert!(!decision.report.to_string().is_empty());
        let mut history = inputs.history.clone();
        for change in &decision.changes {
            history.apply(change, inputs.now, inputs.policy);
        }
    }

    fn draw_item(&mut self) -> Item {
        let draw = &mut self.draw;
        let name = draw.pick(&drawn::NAMES);
        let in_force = self.ledger.policies.get(name);
        let from = in_force.map_or(0, |p| self.ledger.workloads[&p.policy.target].size);
        let shares = draw.below(4);
        let share = |draw: &mut Draw<'_>| (NodeId(u64::from(draw.byte() % 8)), draw.u32());
        Item {
            policy: name.into(),
            revision: in_force.map_or(0, |p| p.revision),
            from,
            to: draw.u32(),
            shares: draw.maybe(|draw| (0..shares).map(|_| share(draw)).collect()),
            changes: Vec::new(),
            report: None,
        }
    }

    fn draw_jump(&mut self) -> Ms {
        let ms = u64::from(self.draw.byte()) * 14_200;
        if self.draw.rarely(2) {
            self.now.minus(ms)
        } else {
            self.now.plus(ms)
        }
    }

    fn sample(&self, id: NodeId) -> Sample {
        let mut sample = Sample::default();
        let Some(pod) = self.nodes.get(&id).and_then(|place| place.pod.as_ref()) else {
            return sample;
        };
        for (target, workload) in &self.ledger.workloads {
            let share = workload.shares.get(&id).copied().unwrap_or(0);
            let pods = vec![pod.clone(); share.min(REPORTED_MAX) as usize];
            sample.workloads.insert(target.clone(), pods);
        }
        sample
    }

    fn some_place(&mut self) -> Option<&mut Place> {
        let which = self.draw.below(self.nodes.len());
        self.nodes.values_mut().nth(which)
    }

    fn up(&self) -> impl Iterator<Item = NodeId> {
        let up = self.nodes.iter().filter(|(_, place)| place.up);
        up.map(|(id, _)| *id)
    }

    fn clock(&self, id: NodeId) -> Ms {
        let skew_ms = self.nodes.get(&id).map_or(0, |place| place.skew_ms);
        Ms(self.now.0.saturating_add_signed(skew_ms))
    }

    /// FNV-1a, so that what was refused or lost counts in the digest too.
    fn mix(&mut self, what: &impl serde::Serialize) {
        for byte in postcard::to_allocvec(what).expect("it encodes") {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
