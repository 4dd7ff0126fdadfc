//! Whole agents without their I/O: a small deterministic cluster in which the
//! nodes gossip, one of them leads, and what it proposes is applied at once.

#![allow(clippy::expect_used, reason = "a panic is how a test fails")]

mod asked;
mod gone;
mod kept;
mod many;
mod measured;
mod objective;
mod rebuilt;
mod spread;

use std::collections::{BTreeMap, BTreeSet};

use starling_engine::demand::Sample;
use starling_engine::demand::pods::{Metric, Pod, Reading};
use starling_engine::ledger::{Command, Entry, FOUNDER, Ledger, Member, Workload};
use starling_engine::node::{Answer, Input, LOST_AFTER_MS, Node, Output, PASS_GAP_MS};
use starling_engine::policy::{Goal, Policy, Resource, Source, Target, Trigger};
use starling_engine::unit::{Ms, NodeId};
use starling_engine::weight;

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(3);
const C: NodeId = NodeId(4);

fn target() -> Target {
    Target::process("web")
}

fn queue() -> Trigger {
    Trigger {
        name: "queue".into(),
        source: Source::External {
            kind: "metrics-api".into(),
            metadata: BTreeMap::new(),
        },
        goal: Goal::AverageValue { milli: 10_000 },
        activation_milli: 0,
        window_ms: None,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "as the queue has it")]
fn says(milli: i64) -> Option<Result<Answer, String>> {
    Some(Ok(Answer::value(milli)))
}

fn cpu() -> Trigger {
    Trigger {
        name: "cpu".into(),
        source: Source::Resource(Resource::Cpu),
        goal: Goal::Utilization { percent: 50 },
        activation_milli: 0,
        window_ms: None,
    }
}

fn policy(triggers: Vec<Trigger>) -> Policy {
    Policy {
        name: "web".into(),
        target: target(),
        replicas_min: 1,
        replicas_max: 12,
        polling_interval_ms: 1_000,
        triggers,
        ..Policy::default()
    }
}

struct World {
    now: Ms,
    ledger: Ledger,
    index: u64,
    nodes: BTreeMap<NodeId, Node>,
    /// Nodes that are up.
    up: BTreeSet<NodeId>,
    leader: Option<NodeId>,
    term: u64,
    /// What all nodes can run besides what policies size.
    offered: BTreeSet<Target>,
    /// What single nodes can't run.
    unable: BTreeSet<(NodeId, Target)>,
    /// Each replica's CPU use.
    cpu_milli: i64,
    /// What the queue answers; `None` gives no answer at all.
    queue: Option<Result<Answer, String>>,
    proposed: usize,
    /// Of the largest proposal, in bytes.
    heaviest: usize,
    polls: usize,
    halted: Vec<NodeId>,
}

impl World {
    fn new(policy: Policy) -> Self {
        let mut world = World {
            now: Ms(1_000_000),
            ledger: Ledger::default(),
            index: 0,
            nodes: [A, B, C].map(|id| (id, Node::new(id))).into(),
            up: [A, B, C].into(),
            leader: None,
            term: 0,
            offered: BTreeSet::new(),
            unable: BTreeSet::new(),
            cpu_milli: 50,
            queue: says(0),
            proposed: 0,
            heaviest: 0,
            polls: 0,
            halted: Vec::new(),
        };
        world.apply(Command::Found {
            cluster: "c".into(),
            generation: 1,
            authority: None,
        });
        for (nonce, name) in [(FOUNDER, "a"), ("b", "b"), ("c", "c")] {
            world.apply(Command::Admit {
                nonce: nonce.into(),
                member: Member {
                    name: name.into(),
                    ..Member::default()
                },
            });
        }
        world.apply(Command::PutPolicy {
            policy,
            source: "test".into(),
        });
        world.lead(Some(A));
        world
    }

    fn apply(&mut self, command: Command) {
        self.index += 1;
        let at = self.now;
        let outcome = self.ledger.apply(self.index, &Entry { at, command });
        assert_eq!(outcome.refused, []);
    }

    fn lead(&mut self, leader: Option<NodeId>) {
        self.leader = leader;
        self.term += 1;
        for id in self.up.clone() {
            let leads = (leader == Some(id)).then_some(self.term);
            self.step(id, Input::Leads(leads));
        }
    }

    fn restart(&mut self, id: NodeId) {
        let node = Node::new(id).in_life(self.now.0);
        self.nodes.insert(id, node);
        self.up.insert(id);
    }

    fn step(&mut self, id: NodeId, input: Input) {
        let now = self.now;
        let node = self.nodes.get_mut(&id).expect("a node");
        for output in node.step(now, input, &self.ledger) {
            match output {
                Output::Publish(summary) => {
                    for other in self.up.clone() {
                        self.step(other, Input::Heard(summary.clone()));
                    }
                }
                Output::Poll {
                    policy, trigger, ..
                } => {
                    self.polls += 1;
                    if let Some(result) = self.queue.clone() {
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
                Output::Propose(command) => {
                    self.proposed += 1;
                    self.heaviest = self.heaviest.max(weight::bytes_max(&command));
                    self.apply(command);
                    self.step(id, Input::Proposed);
                }
                Output::Patch(patch) => panic!("nothing here is scaled: {patch:?}"),
                Output::Halt(_) => self.halted.push(id),
            }
        }
    }

    fn sample(&self, id: NodeId) -> Sample {
        let pod = |request, milli| Metric {
            request_milli: Some(request),
            sample: Some(Reading {
                milli,
                at: self.now,
                window_ms: 1_000,
            }),
            ..Metric::default()
        };
        let pod = Pod {
            ready: Some(true),
            started_at: Some(Ms(0)),
            ready_changed_at: Some(Ms(0)),
            metrics: [
                (Resource::Cpu, pod(100, self.cpu_milli)),
                (Resource::Memory, pod(1_000_000, 500_000)),
            ]
            .into(),
            ..Pod::default()
        };
        let pods = |workload: &Workload| {
            let share = workload.shares.get(&id).copied().unwrap_or(0);
            vec![pod.clone(); share as usize]
        };
        let workloads = self.ledger.workloads.iter();
        let workloads = workloads.filter(|(target, _)| {
            let known = self.unable.iter();
            known.into_iter().all(|it| *it != (id, (*target).clone()))
        });
        let offered = self.offered.iter().map(|it| (it.clone(), Vec::new()));
        Sample {
            troubles: BTreeMap::new(),
            workloads: workloads
                .map(|(target, workload)| (target.clone(), pods(workload)))
                .chain(offered)
                .collect(),
            ..Sample::default()
        }
    }

    /// One second: everybody measures and gossips, then the clock ticks.
    fn second(&mut self) {
        self.now = self.now.plus(1_000);
        for id in self.up.clone() {
            let sample = self.sample(id);
            self.step(id, Input::Alive(self.up.clone()));
            self.step(id, Input::Sampled(sample));
        }
        for id in self.up.clone() {
            self.step(id, Input::Tick);
        }
    }

    fn seconds(&mut self, n: usize) {
        for _ in 0..n {
            self.second();
        }
    }

    fn size(&self) -> u32 {
        self.ledger.workloads[&target()].size
    }

    fn shares(&self) -> Vec<(NodeId, u32)> {
        let shares = &self.ledger.workloads[&target()].shares;
        shares.iter().map(|(id, n)| (*id, *n)).collect()
    }
}

#[test]
fn a_load_is_followed_and_spread_over_the_nodes() {
    let mut world = World::new(policy(vec![queue(), cpu()]));
    world.seconds(3);
    assert_eq!(world.shares(), [(A, 1)]);
    world.queue = says(60_000);
    world.seconds(20);
    assert_eq!(world.size(), 6);
    assert_eq!(world.shares(), [(A, 2), (B, 2), (C, 2)]);
}

#[test]
fn i9_a_second_without_news_proposes_nothing() {
    let mut world = World::new(policy(vec![queue(), cpu()]));
    world.queue = says(60_000);
    world.seconds(30);
    let (proposed, index) = (world.proposed, world.index);
    world.seconds(30);
    assert_eq!((world.proposed, world.index), (proposed, index));
}

#[test]
fn i8_without_a_leader_nothing_is_proposed() {
    let mut world = World::new(policy(vec![queue(), cpu()]));
    world.seconds(5);
    world.lead(None);
    let proposed = world.proposed;
    world.queue = says(90_000);
    world.seconds(30);
    assert_eq!(world.proposed, proposed);
}

#[test]
fn i6_a_new_leader_goes_on_with_the_old_ones_stabilization_window() {
    let mut world = World::new(policy(vec![queue()]));
    world.queue = says(60_000);
    world.seconds(60);
    world.queue = says(10_000);
    world.seconds(200);
    assert_eq!(world.size(), 6, "the window of 300 s holds the size");
    world.lead(Some(B));
    world.seconds(90);
    assert_eq!(world.size(), 6, "the window isn't over");
    world.seconds(15);
    assert!(
        world.size() < 6,
        "the window didn't start anew: {}",
        world.size()
    );
}

#[test]
fn i4_replicas_of_a_silent_node_count_as_missing_not_as_idle() {
    let mut world = World::new(policy(vec![cpu()]));
    world.cpu_milli = 100;
    world.seconds(30);
    let size = world.size();
    assert!(size > 4, "{size}");
    // Exactly at the target: half of the replicas gone from the sums would
    // look like half of the load.
    world.cpu_milli = 50;
    world.up.remove(&B);
    world.seconds(400);
    assert_eq!(world.size(), size);
}

#[test]
fn a_lost_nodes_replicas_are_placed_elsewhere_after_a_while_and_not_before() {
    let mut world = World::new(policy(vec![queue()]));
    world.queue = says(60_000);
    world.seconds(20);
    world.up.remove(&C);
    let patience = usize::try_from(LOST_AFTER_MS / 1_000).expect("small");
    world.seconds(patience);
    assert_eq!(world.shares(), [(A, 2), (B, 2), (C, 2)]);
    world.seconds(2);
    assert_eq!(world.shares(), [(A, 3), (B, 3)]);
}

#[test]
fn a_new_leader_that_has_heard_of_nobody_moves_nothing() {
    let mut world = World::new(policy(vec![queue()]));
    world.queue = says(60_000);
    world.seconds(20);
    let shares = world.shares();
    world.restart(B);
    world.lead(Some(B));
    world.now = world.now.plus(1_000);
    let sample = world.sample(B);
    world.step(B, Input::Sampled(sample));
    world.step(B, Input::Tick);
    assert_eq!(world.shares(), shares);
}

#[test]
fn a_source_that_never_answers_has_failed_and_changes_nothing() {
    let mut world = World::new(policy(vec![queue()]));
    world.queue = says(60_000);
    world.seconds(20);
    world.queue = None;
    world.seconds(600);
    assert_eq!(world.size(), 6);
    let health = &world.ledger.workloads[&target()].history.health;
    assert!(health["queue"].failures > 0);
}

#[test]
fn a_source_is_asked_once_in_each_polling_interval() {
    let mut slow = policy(vec![queue()]);
    slow.polling_interval_ms = 5_000;
    let mut world = World::new(slow);
    world.seconds(21);
    assert_eq!(world.polls, 5);
}

#[test]
fn i7_the_node_that_differs_from_the_majority_stops() {
    let mut world = World::new(policy(vec![queue()]));
    while world.index < 20 {
        world.apply(Command::RemovePolicy {
            name: "web".into(),
            source: None,
        });
        world.apply(Command::PutPolicy {
            policy: policy(vec![queue()]),
            source: "test".into(),
        });
    }
    world.seconds(2);
    assert_eq!(world.halted, []);
    // Node C's ledger is another one from here on.
    let true_ledger = world.ledger.clone();
    for checkpoint in &mut world.ledger.checkpoints {
        checkpoint.digest[0] ^= 1;
    }
    let sample = world.sample(C);
    world.step(C, Input::Sampled(sample));
    world.step(C, Input::Tick);
    assert_eq!(world.halted, [C]);
    world.step(C, Input::Tick);
    assert_eq!(world.halted, [C], "it says so once");
    world.ledger = true_ledger;
    world.step(A, Input::Tick);
    assert_eq!(world.halted, [C], "the others go on");
}

#[test]
fn an_answer_is_acted_on_without_waiting_for_the_next_second() {
    let mut world = World::new(policy(vec![queue()]));
    world.seconds(3);
    world.queue = says(60_000);
    world.second();
    let before = world.size();
    let now = world.now;
    assert_eq!(world.nodes[&A].wakeup(now), now.plus(PASS_GAP_MS));
    world.now = now.plus(PASS_GAP_MS);
    world.step(A, Input::Tick);
    assert!(world.size() > before, "{before}");
}

#[test]
fn a_host_that_ticks_only_when_it_is_told_to_asks_triggers_in_time() {
    let mut seldom = policy(vec![queue()]);
    seldom.polling_interval_ms = 1_700;
    let mut world = World::new(seldom);
    world.queue = says(10_000);
    world.seconds(3);
    let (begin, before) = (world.now, world.polls);
    let mut ticks = 0;
    while world.now.since(begin) < 17_000 {
        world.now = world.nodes[&A].next_tick(world.now);
        world.step(A, Input::Tick);
        ticks += 1;
        assert!(ticks < 100, "{ticks} in {} ms", world.now.since(begin));
    }
    let asked = world.polls - before;
    assert!((10..=11).contains(&asked), "{asked}");
}

#[test]
fn a_trigger_that_is_asked_no_more_makes_nothing_due() {
    let mut world = World::new(policy(vec![queue()]));
    world.queue = says(10_000);
    world.seconds(3);
    // Another kind of trigger under the same name.
    let mut measured = cpu();
    measured.name = queue().name;
    world.apply(Command::PutPolicy {
        policy: policy(vec![measured]),
        source: "test".into(),
    });
    world.seconds(10);
    assert!(world.nodes[&A].next_tick(world.now) > world.now);
}

#[test]
fn a_new_leaders_first_answer_is_acted_on_at_once() {
    let mut world = World::new(policy(vec![queue()]));
    world.queue = says(10_000);
    world.seconds(10);
    world.queue = says(60_000);
    world.lead(Some(B));
    let before = world.size();
    world.step(B, Input::Tick);
    assert_eq!(world.nodes[&B].wakeup(world.now), world.now);
    world.step(B, Input::Tick);
    assert!(world.size() > before, "{before}");
}

#[test]
fn a_dry_run_decides_but_changes_no_size() {
    let mut dry = policy(vec![queue()]);
    dry.dry_run = true;
    let mut world = World::new(dry);
    world.queue = says(60_000);
    world.seconds(20);
    assert_eq!(world.size(), 1);
    let history = &world.ledger.workloads[&target()].history;
    assert_eq!(history.changed_at, None, "nor does it count as a change");
    assert_eq!(world.shares(), [], "no node is given any of it");
    world.apply(Command::RemovePolicy {
        name: "web".into(),
        source: None,
    });
    let part = world.ledger.part(A);
    assert_eq!(part.shares.len(), 0, "nor afterwards");
}
