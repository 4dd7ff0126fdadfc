//! Workloads whose size a platform carries out: a leader, the log, and a platform
//! that can be slow, away, or scaled by somebody else.

#![allow(clippy::expect_used, reason = "a panic is how a test fails")]

#[path = "scaled/objective.rs"]
mod objective;
#[allow(dead_code, reason = "the random world plays more of it")]
#[path = "anything/platform.rs"]
mod platform;
#[path = "scaled/rebuilt.rs"]
mod rebuilt;
#[path = "scaled/rivals.rs"]
mod rivals;
#[path = "scaled/unheard.rs"]
mod unheard;
#[path = "scaled/void.rs"]
mod void;

use std::collections::BTreeMap;

use starling_engine::decide::reason::{Held, Step};
use starling_engine::decide::{Inputs, Platform, decide};
use starling_engine::demand::Sample;
use starling_engine::demand::pods::{Metric, Pod, Reading};
use starling_engine::history::History;
use starling_engine::ledger::{Cause, Command, Entry, FOUNDER, Item, Ledger, Member, Why};
use starling_engine::node::platform::{Failure, Patch, Scale};
use starling_engine::node::{Answer, Input, Node, Output, PASS_GAP_MS};
use starling_engine::policy::{Goal, Policy, Resource, Source, Target, Trigger, Zero};
use starling_engine::unit::{Ms, NodeId};

use platform::Platform as Simulated;

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(3);

fn target() -> Target {
    Target {
        group: "apps".into(),
        kind: "Deployment".into(),
        namespace: "shop".into(),
        name: "web".into(),
    }
}

fn policy() -> Policy {
    Policy {
        name: "shop/web".into(),
        target: target(),
        target_version: "v1".into(),
        replicas_min: 2,
        replicas_max: 10,
        polling_interval_ms: 1_000,
        triggers: vec![Trigger {
            name: "queue".into(),
            source: Source::External {
                kind: "metrics-api".into(),
                metadata: BTreeMap::new(),
            },
            goal: Goal::AverageValue { milli: 10_000 },
            activation_milli: 0,
            window_ms: None,
        }],
        ..Policy::default()
    }
}

/// Two agents, one log, one platform with one workload.
struct World {
    now: Ms,
    ledger: Ledger,
    nodes: BTreeMap<NodeId, Node>,
    leader: NodeId,
    term: u64,
    platform: Simulated,
    queue: i64,
    /// Writes reach the platform.
    writable: bool,
    proposed: usize,
    /// A write that is on its way while the test does something else.
    held: Option<Patch>,
    hold: bool,
}

impl World {
    fn new(policy: Policy, replicas: u32) -> World {
        let mut world = World {
            now: Ms(1_000_000),
            ledger: Ledger::default(),
            nodes: [A, B].map(|id| (id, Node::new(id))).into(),
            leader: A,
            term: 0,
            platform: Simulated::new(true),
            queue: 0,
            writable: true,
            proposed: 0,
            held: None,
            hold: false,
        };
        world.platform.make(&target(), replicas);
        world.apply(Command::Found {
            cluster: "c".into(),
            generation: 1,
            authority: None,
        });
        for (nonce, name) in [(FOUNDER, "a"), ("b", "b")] {
            world.apply(Command::Admit {
                nonce: nonce.into(),
                member: Member {
                    name: name.into(),
                    ..Member::default()
                },
            });
        }
        world.put(policy);
        world.each(&Input::Platform(true));
        world.lead(A);
        world
    }

    fn put(&mut self, policy: Policy) {
        self.apply(Command::PutPolicy {
            policy,
            source: "test".into(),
        });
    }

    fn apply(&mut self, command: Command) -> Vec<Why> {
        let index = self.ledger.index + 1;
        let entry = Entry {
            at: self.now,
            command,
        };
        let outcome = self.ledger.apply(index, &entry);
        outcome.refused.into_iter().map(|no| no.why).collect()
    }

    fn lead(&mut self, id: NodeId) {
        self.leader = id;
        self.term += 1;
        for each in [A, B] {
            let leads = (each == id).then_some(self.term);
            self.step(each, Input::Leads(leads));
        }
    }

    fn each(&mut self, input: &Input) {
        for id in [A, B] {
            self.step(id, input.clone());
        }
    }

    fn observe(&mut self) {
        let observation = self.platform.says(&target());
        self.each(&Input::Observed {
            target: target(),
            observation,
        });
    }

    fn step(&mut self, id: NodeId, input: Input) {
        let node = self.nodes.get_mut(&id).expect("a node");
        for output in node.step(self.now, input, &self.ledger) {
            match output {
                Output::Publish(summary) => self.each(&Input::Heard(summary)),
                Output::Poll {
                    policy, trigger, ..
                } => self.step(
                    id,
                    Input::Polled {
                        policy,
                        trigger: trigger.name,
                        age_ms: 0,
                        result: Ok(Answer::value(self.queue * 1_000)),
                    },
                ),
                Output::Propose(command) => {
                    self.proposed += 1;
                    assert_eq!(self.apply(command), []);
                    self.step(id, Input::Proposed);
                }
                Output::Patch(patch) if self.hold => self.held = Some(patch),
                Output::Patch(patch) => self.write(id, &patch),
                Output::Halt(why) => panic!("{why}"),
            }
        }
    }

    fn write(&mut self, by: NodeId, patch: &Patch) {
        let result = if self.writable {
            self.platform.write(patch)
        } else {
            Err(Failure::Unknown("no answer".into()))
        };
        let refused = result.is_err();
        self.step(
            by,
            Input::Patched {
                target: target(),
                result,
            },
        );
        if refused && self.writable {
            self.observe();
        }
    }

    fn by_hand(&mut self, replicas: u32) {
        self.platform.set(&target(), replicas);
        self.observe();
    }

    /// Something else begins to scale the workload, or ceases to.
    fn rival(&mut self, by: Option<&str>) {
        let by = by.map(|by| (target(), by.to_owned()));
        self.each(&Input::Rivals(by.into_iter().collect()));
    }

    fn change(&mut self, change: impl FnOnce(&mut Scale)) {
        self.platform.change(&target(), change);
        self.observe();
    }

    /// What the platform has.
    fn replicas(&self) -> u32 {
        let scale = self.platform.scale(&target());
        scale.expect("it is there").replicas
    }

    /// Every write that reached it: from which size to which.
    fn written(&self) -> Vec<(u32, u32)> {
        let written = self.platform.written.iter();
        written.map(|patch| (patch.from, patch.to)).collect()
    }

    fn second(&mut self) {
        for _ in 0..5 {
            self.now = self.now.plus(200);
            self.each(&Input::Tick);
        }
    }

    fn seconds(&mut self, n: u32) {
        for _ in 0..n {
            self.second();
        }
    }

    fn size(&self) -> u32 {
        self.ledger.workloads[&target()].size
    }

    fn codes(&self) -> Vec<&'static str> {
        let decisions = self.nodes[&self.leader].decisions().expect("a leader");
        let report = &decisions[&"shop/web".into()].report;
        report.steps.iter().map(Step::code).collect()
    }
}

/// A replica that serves, asks for 100 thousandths of a core and uses so many.
fn pod(used_milli: i64, at: Ms) -> Pod {
    Pod {
        ready: Some(true),
        started_at: Some(Ms(1)),
        metrics: [(
            Resource::Cpu,
            Metric {
                request_milli: Some(100),
                sample: Some(Reading {
                    milli: used_milli,
                    at,
                    window_ms: 1_000,
                }),
                ..Metric::default()
            },
        )]
        .into(),
        ..Pod::default()
    }
}

/// A node has measured these replicas of the workload.
fn sampled(pods: Vec<Pod>) -> Input {
    Input::Sampled(Sample {
        workloads: BTreeMap::from([(target(), pods)]),
        ..Sample::default()
    })
}

#[test]
fn a_workload_is_adopted_at_the_size_that_it_has() {
    let mut world = World::new(policy(), 5);
    world.queue = 50;
    world.observe();
    world.seconds(3);
    assert_eq!(world.size(), 5);
    assert_eq!(world.written(), []);
    let workload = &world.ledger.workloads[&target()];
    let scaled = workload.scaled.as_ref().expect("scaled");
    assert_eq!(scaled.selector, "app=web");
    assert!(world.ledger.decisions.is_empty());
}

#[test]
fn nothing_is_decided_before_the_platform_has_spoken() {
    let mut world = World::new(policy(), 5);
    world.queue = 1_000;
    world.seconds(5);
    assert_eq!((world.proposed, world.written().len()), (0, 0));
    assert_eq!(world.codes(), ["TargetUnseen"]);
}

#[test]
fn a_grant_is_written_once_and_only_after_it_is_committed() {
    let mut world = World::new(policy(), 2);
    world.observe();
    world.second();
    world.queue = 55;
    world.seconds(5);
    // HPA's limit is twice the size, so it takes two steps.
    assert_eq!(world.written(), [(2, 4), (4, 6)]);
    assert_eq!(world.size(), 6);
    let (proposed, index) = (world.proposed, world.ledger.index);
    world.seconds(5);
    // I9: at rest the log stands still.
    assert_eq!((world.proposed, world.ledger.index), (proposed, index));
}

#[test]
fn i1_a_new_leader_writes_what_the_old_one_was_granted_and_the_late_write_is_refused() {
    let mut world = World::new(policy(), 2);
    world.observe();
    world.second();
    world.queue = 55;
    world.hold = true;
    world.seconds(2);
    let late = world.held.take().expect("a write under way");
    world.hold = false;
    world.lead(B);
    world.second();
    assert_eq!(
        world.written(),
        [(2, 6)],
        "the new leader writes the old grant"
    );
    world.write(A, &late);
    world.seconds(3);
    assert_eq!(world.written(), [(2, 6)]);
    assert_eq!(world.replicas(), 6);
}

#[test]
fn i1_a_late_write_of_a_replaced_grant_is_undone_and_is_nobodys_wish() {
    let mut world = World::new(policy(), 2);
    world.observe();
    world.second();
    world.queue = 35;
    world.hold = true;
    world.seconds(2);
    let late = world.held.take().expect("a write under way");
    assert_eq!(late.to, 4);
    // The next leader grants more before anything is written.
    world.queue = 80;
    world.lead(B);
    world.seconds(2);
    assert_eq!(world.size(), 8);
    world.write(A, &late);
    world.hold = false;
    world.seconds(20);
    assert_eq!(world.replicas(), 8);
    let by_hand = |record: &&starling_engine::ledger::Record| record.cause == Cause::ByHand;
    assert_eq!(world.ledger.decisions.iter().find(by_hand), None);
}

#[test]
fn a_size_set_by_hand_is_taken_as_it_is_and_recorded() {
    let mut world = World::new(policy(), 2);
    world.observe();
    world.queue = 60;
    world.seconds(3);
    assert_eq!(world.size(), 6);
    world.by_hand(9);
    world.second();
    let mut records = world.ledger.decisions.iter();
    let taken = records.find(|record| record.cause == Cause::ByHand);
    assert_eq!(taken.map(|record| (record.from, record.to)), Some((6, 9)));
    assert_eq!(
        world.replicas(),
        6,
        "nothing ever called for more, so HPA goes back at once"
    );
    world.by_hand(4);
    world.seconds(3);
    assert_eq!(world.replicas(), 6, "the load wants six");
}

#[test]
fn a_size_of_0_set_by_hand_switches_scaling_off_until_a_size_is_set() {
    let mut world = World::new(policy(), 3);
    world.observe();
    world.queue = 60;
    world.seconds(3);
    world.by_hand(0);
    world.seconds(20);
    assert_eq!(world.replicas(), 0);
    assert_eq!(world.codes(), ["ScalingDisabled"]);
    world.lead(B);
    world.seconds(20);
    assert_eq!(world.replicas(), 0, "the next leader knows it, too");
    world.by_hand(1);
    world.seconds(5);
    assert_eq!(world.replicas(), 6);
}

/// In a dry run somebody else goes by what the policy wants, which wakes it as well.
#[test]
fn in_a_dry_run_a_size_of_0_is_no_switch() {
    let mut trial = policy();
    trial.dry_run = true;
    let mut world = World::new(trial, 0);
    world.observe();
    world.queue = 60;
    world.seconds(5);
    assert_eq!(world.replicas(), 0);
    let decisions = world.nodes[&A].decisions().expect("a leader");
    let report = &decisions.values().next().expect("one policy").report;
    assert_eq!(report.target, 2, "its minimum: {report}");
}

#[test]
fn in_a_dry_run_a_rest_under_hpas_rules_is_nobodys_switch_either() {
    let mut trial = policy();
    trial.dry_run = true;
    trial.replicas_min = 0;
    trial.zero = Zero::Hpa { allowed: true };
    assert_eq!(trial.check(), []);
    let mut world = World::new(trial, 0);
    world.observe();
    world.queue = 60;
    world.seconds(5);
    let decisions = world.nodes[&A].decisions().expect("a leader");
    let report = &decisions.values().next().expect("one policy").report;
    assert_eq!(report.target, 4, "as HPA begins: {report}");
}

#[test]
fn i8_while_the_platform_is_away_the_size_stays() {
    let mut world = World::new(policy(), 4);
    world.observe();
    world.queue = 40;
    world.seconds(3);
    world.each(&Input::Platform(false));
    let before = world.ledger.index;
    world.queue = 100;
    world.seconds(60);
    assert_eq!(world.size(), 4);
    assert_eq!(world.ledger.index, before);
    assert_eq!(world.codes(), ["PlatformAway"]);
    world.each(&Input::Platform(true));
    world.observe();
    world.seconds(2);
    assert_eq!(world.replicas(), 10);
}

#[test]
fn i8_a_size_outside_of_the_bounds_stays_while_the_platform_is_away() {
    let history = History {
        changed_at: Some(Ms(5_000)),
        ..History::default()
    };
    // At the instant of the last change, too.
    for now in [Ms(5_000), Ms(6_000)] {
        let decision = decide(Inputs {
            policy: &policy(),
            now,
            created_at: Ms(1),
            current: 12,
            running: 12,
            ready: Some(12),
            last_pass: None,
            readings: Vec::new(),
            signal: None,
            started_ms: &[],
            history: &history,
            platform: Platform {
                held: Some(Held::Away),
                ..Platform::default()
            },
        });
        assert_eq!((decision.target, decision.changes), (12, vec![]));
    }
}

#[test]
fn a_write_of_unknown_outcome_is_tried_again_and_never_in_a_hurry() {
    let mut world = World::new(policy(), 2);
    world.observe();
    world.queue = 40;
    world.writable = false;
    world.seconds(60);
    assert_eq!(world.size(), 4);
    assert_eq!(world.replicas(), 2);
    world.writable = true;
    world.seconds(31);
    assert_eq!(world.written(), [(2, 4)]);
}

#[test]
fn a_workload_that_is_gone_is_left_alone_and_one_made_anew_is_adopted() {
    let mut world = World::new(policy(), 2);
    world.observe();
    world.queue = 40;
    world.seconds(3);
    world.platform.delete(&target());
    world.observe();
    world.queue = 90;
    world.seconds(5);
    assert_eq!(world.codes(), ["TargetGone"]);
    assert_eq!(world.size(), 4);
    world.queue = 70;
    world.platform.make(&target(), 7);
    world.observe();
    world.second();
    assert_eq!(world.size(), 7);
    let by_hand = world
        .ledger
        .decisions
        .iter()
        .any(|r| r.cause == Cause::ByHand);
    assert!(!by_hand, "nobody scaled it: it is another one");
}

#[test]
fn what_cannot_run_does_not_grow_but_the_minimum_holds() {
    let mut world = World::new(policy(), 2);
    let quota = || Some("exceeded quota: pods=2".into());
    world.change(|scale| scale.blocked = quota());
    world.queue = 90;
    world.seconds(5);
    assert_eq!(world.written(), []);
    assert!(world.codes().contains(&"ReplicasBlocked"));
    let mut world = World::new(policy(), 1);
    world.change(|scale| scale.blocked = quota());
    world.seconds(3);
    assert_eq!(world.written(), [(1, 2)], "I5");
}

#[test]
fn granted_replicas_that_cannot_run_are_spoken_of() {
    let mut world = World::new(policy(), 4);
    world.observe();
    world.queue = 40;
    world.seconds(2);
    world.change(|scale| {
        scale.running = 2;
        scale.blocked = Some("exceeded quota: pods=2".into());
    });
    world.seconds(2);
    assert_eq!(world.size(), 4);
    assert!(world.codes().contains(&"ReplicasBlocked"));
}

#[test]
fn a_dry_run_decides_and_records_but_never_writes() {
    let dry = Policy {
        dry_run: true,
        ..policy()
    };
    let mut world = World::new(dry, 2);
    world.observe();
    world.queue = 60;
    world.seconds(10);
    assert_eq!((world.size(), world.replicas()), (2, 2));
    let told: Vec<_> = world
        .ledger
        .decisions
        .iter()
        .map(|r| (r.from, r.to))
        .collect();
    assert_eq!(told, [(2, 4)], "once, not each second");
    let history = &world.ledger.workloads[&target()].history;
    assert_eq!(history.changed_at, None, "no cooldown begins");
    let index = world.ledger.index;
    world.seconds(10);
    assert_eq!(world.ledger.index, index);
    world.apply(Command::RemovePolicy {
        name: "shop/web".into(),
        source: None,
    });
    world.seconds(2);
    assert_eq!(world.replicas(), 2);
}

#[test]
fn what_a_node_measures_anew_is_decided_on_before_the_second_is_over() {
    let mut world = World::new(policy(), 2);
    world.observe();
    world.step(A, sampled(vec![pod(5, world.now)]));
    world.seconds(2);
    while world.nodes[&A].planned_at() != Some(world.now) {
        world.now = world.now.plus(200);
        world.each(&Input::Tick);
    }
    let next = |world: &World| world.nodes[&A].wakeup(world.now).since(world.now);
    assert!(next(&world) > PASS_GAP_MS);
    world.step(A, sampled(vec![pod(9, world.now)]));
    assert!(next(&world) > PASS_GAP_MS, "noise");
    world.step(A, sampled(vec![pod(90, world.now)]));
    assert!(next(&world) <= PASS_GAP_MS, "{} ms", next(&world));
}

#[test]
fn a_selector_that_finds_no_pods_holds_the_size_and_is_said() {
    let asked = Source::Pods {
        metric: "requests".into(),
        selector: None,
    };
    for (source, goal) in [
        (
            Source::Resource(Resource::Cpu),
            Goal::Utilization { percent: 50 },
        ),
        (asked, Goal::AverageValue { milli: 10_000 }),
    ] {
        let trigger = Trigger {
            name: "load".into(),
            source,
            goal,
            activation_milli: 0,
            window_ms: None,
        };
        let mut world = World::new(
            Policy {
                triggers: vec![trigger],
                ..policy()
            },
            4,
        );
        world.change(|scale| scale.selector_fault = Some("the selector is empty".into()));
        world.seconds(3);
        assert_eq!((world.size(), world.written().len()), (4, 0));
        let decisions = world.nodes[&A].decisions().expect("leads");
        let conditions = &decisions[&"shop/web".into()].report.conditions;
        assert!(conditions.iter().any(|it| it.reason == "InvalidSelector"));
    }
}

#[test]
fn shares_are_refused_for_what_the_platform_places() {
    let mut world = World::new(policy(), 2);
    world.observe();
    world.second();
    let item = Item {
        policy: "shop/web".into(),
        revision: world.ledger.policies[&"shop/web".into()].revision,
        from: 2,
        to: 3,
        shares: Some(BTreeMap::from([(A, 3)])),
        seen: None,
        changes: Vec::new(),
        report: None,
    };
    let refused = world.apply(Command::Pass {
        by: A,
        items: vec![item],
        moves: Vec::new(),
    });
    assert_eq!(refused, [Why::NotPlaced(Box::new(target()))]);
}
