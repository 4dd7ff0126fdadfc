//! A leader over a real ledger and node: objects come, are decided on, change, go.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use starling_engine::ledger::{Entry, Member};
use starling_engine::node::platform::Scale;
use starling_engine::node::{Answer, Input, Output};
use starling_engine::unit::NodeId;
use starling_policy::objects::{Object, Written, read};

use super::*;

struct Bench {
    ledger: Ledger,
    node: Node,
    keeper: Keeper,
    scale: Scale,
    now: Ms,
    instant: Instant,
    /// Each object's status, as the API server has it.
    statuses: BTreeMap<Name, Status>,
    writes: usize,
    happenings: Vec<Happening>,
    /// Why the target isn't there.
    gone: Option<String>,
    /// Statuses can't be written.
    refuses: bool,
    /// They are written, and nobody hears of it but by the object's stream, later.
    late: bool,
    shown_at: Instant,
}

fn spec(max: u32) -> Value {
    json!({
        "scaleTargetRef": { "name": "web" },
        "minReplicaCount": 1,
        "maxReplicaCount": max,
        "triggers": [{
            "type": "metrics-api",
            "name": "queue",
            "metadata": { "url": "http://q/x", "valueLocation": "a", "targetValue": "10" },
        }],
    })
}

fn seen(generation: i64, spec: &Value, status: Status) -> Seen {
    let written = Written {
        namespace: "shop",
        name: "web",
        annotations: &BTreeMap::new(),
        spec,
    };
    Seen {
        object: Object {
            uid: "u".into(),
            generation,
            created: "2026-01-01T00:00:00Z".into(),
            wish: read(written).map(Arc::new),
        },
        status,
        adopted: None,
    }
}

fn web() -> Name {
    Name::new("shop", "web")
}

fn target() -> Target {
    Target {
        group: "apps".into(),
        kind: "Deployment".into(),
        namespace: "shop".into(),
        name: "web".into(),
    }
}

impl Bench {
    /// A cluster of one agent, which leads, and an API server with nothing in it.
    fn new() -> Bench {
        let mut bench = Bench {
            ledger: Ledger::default(),
            node: Node::new(NodeId(1)),
            keeper: Keeper::new(1),
            scale: Scale {
                uid: "d".into(),
                resource_version: "1".into(),
                replicas: 2,
                running: 2,
                ..Scale::default()
            },
            now: Ms(1_700_000_000_000),
            instant: Instant::now(),
            statuses: BTreeMap::new(),
            writes: 0,
            happenings: Vec::new(),
            gone: None,
            refuses: false,
            late: false,
            shown_at: Instant::now(),
        };
        let cluster = "c".to_owned();
        let found = Command::Found {
            cluster,
            generation: 1,
            authority: None,
        };
        bench.commit(&found);
        let member = Member {
            name: "n1".into(),
            ..Member::default()
        };
        let nonce = starling_engine::ledger::FOUNDER.to_owned();
        bench.commit(&Command::Admit { nonce, member });
        bench.step(Input::Leads(Some(1)));
        bench.step(Input::Platform(true));
        bench
            .keeper
            .take(News::Listed(Origin::Policies, BTreeMap::new()));
        bench.keeper.take(News::Rivals(Rivals {
            known: true,
            ..Rivals::default()
        }));
        bench
    }

    fn commit(&mut self, command: &Command) -> Outcome {
        let entry = Entry {
            at: self.now,
            command: command.clone(),
        };
        self.ledger.apply(self.ledger.index + 1, &entry)
    }

    /// Does what the node wants done, and what it wants then.
    fn step(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for output in self.node.step(self.now, input, &self.ledger) {
                match output {
                    Output::Propose(command) => {
                        self.commit(&command);
                        inputs.push(Input::Proposed);
                    }
                    Output::Patch(patch) => {
                        self.scale.replicas = patch.to;
                        inputs.push(Input::Patched {
                            target: patch.target,
                            result: Ok(self.scale.clone()),
                        });
                    }
                    _ => {}
                }
            }
        }
    }

    fn poll(&mut self, milli: i64) {
        self.step(Input::Polled {
            policy: web(),
            trigger: "queue".into(),
            age_ms: 0,
            result: Ok(Answer::value(milli)),
        });
    }

    /// A second passes: the platform is seen, the node decides, the keeper acts, and
    /// what it wants done is done.
    fn second(&mut self) {
        self.now = self.now.plus(1_000);
        self.instant += Duration::from_secs(1);
        let observation = match self.gone.clone() {
            Some(why) => Observation::Gone(why),
            None => Observation::Scale(self.scale.clone()),
        };
        self.step(Input::Observed {
            target: target(),
            observation,
        });
        self.step(Input::Tick);
        if self.late && self.instant == self.shown_at {
            self.apply(1, &spec(9));
        }
        let turn = self.keeper.lead(
            &World {
                ledger: &self.ledger,
                node: &self.node,
                now: self.now,
                instant: self.instant,
            },
            true,
        );
        for command in &turn.proposals {
            let outcome = self.commit(command);
            self.keeper.answered(command, &outcome);
        }
        self.happenings.extend(turn.happenings);
        for (name, status) in turn.statuses {
            self.writes += 1;
            if !self.refuses {
                self.statuses.insert(name.clone(), status.clone());
            }
            let known = !self.refuses && !self.late;
            let written = known.then(|| Box::new(status));
            self.keeper.take(News::Written(name, written));
            if self.late {
                self.shown_at = self.instant + Duration::from_secs(2);
            }
        }
    }

    fn seconds(&mut self, count: usize) {
        for _ in 0..count {
            self.second();
        }
    }

    fn apply(&mut self, generation: i64, spec: &Value) {
        let status = self.statuses.get(&web()).cloned().unwrap_or_default();
        let seen = seen(generation, spec, status);
        self.keeper.take(News::Put(web(), Box::new(seen)));
    }

    fn status(&self) -> &Status {
        &self.statuses[&web()]
    }

    fn condition(&self, kind: &str) -> Option<String> {
        let it = self.status().condition(kind)?;
        Some(format!("{} {}", it.status, it.reason))
    }

    /// Reasons of events, by what they are about.
    fn told(&self) -> Vec<String> {
        let told = self.happenings.iter();
        told.map(|it| format!("{} {}", it.of.kind, it.reason))
            .collect()
    }
}

#[test]
fn a_status_follows_what_happens_and_is_left_alone_at_rest() {
    let mut bench = Bench::new();
    bench.apply(1, &spec(9));
    bench.seconds(3);
    bench.poll(50_000);
    bench.seconds(3);
    let status = bench.status().clone();
    assert_eq!(status.observed_generation, Some(1));
    assert_eq!(bench.condition("Ready").as_deref(), Some("True InForce"));
    assert_eq!(
        bench.condition("Active").as_deref(),
        Some("True ScalerActive")
    );
    assert_eq!(
        (status.min_replicas, status.max_replicas),
        (Some(1), Some(9))
    );
    assert_eq!(status.size, Some(5));
    assert_eq!(status.current_replicas, Some(2));
    assert_eq!(status.triggers.as_deref(), Some("queue: 50/10"));
    assert!(
        status
            .last_grant
            .as_ref()
            .is_some_and(|it| it.starts_with("1/"))
    );
    assert!(status.last_scale_time.is_some());

    bench.scale.running = 5;
    bench.seconds(6);
    assert_eq!(bench.status().current_replicas, Some(5));
    // The values rest; so does the API server.
    for _ in 0..30 {
        bench.poll(50_000);
        bench.second();
    }
    let before = bench.writes;
    for _ in 0..120 {
        bench.poll(50_000);
        bench.second();
    }
    assert_eq!(bench.writes, before, "{:#?}", bench.status());
    // They change a little all the time.
    for n in 0..60 {
        bench.poll(50_000 + n);
        bench.second();
    }
    let noisy = bench.writes - before;
    assert!((1..=4).contains(&noisy), "{noisy} writes in a minute");
}

#[test]
fn each_change_of_size_is_an_event_on_policy_and_workload_once() {
    let mut bench = Bench::new();
    bench.apply(1, &spec(9));
    bench.seconds(3);
    bench.poll(40_000);
    bench.seconds(5);
    assert_eq!(
        bench.told(),
        [
            "ScalingPolicy SuccessfulRescale",
            "Deployment SuccessfulRescale",
        ]
    );
    let note = &bench.happenings[0].note;
    assert!(
        note.starts_with("Deployment shop/web: 2 to 4 by policy shop/web: "),
        "{note}"
    );
    // Another leader finds the same, and tells the same under the same name and mark.
    let first = bench.happenings.clone();
    bench.happenings.clear();
    bench.keeper.follow();
    bench.seconds(2);
    let names = |of: &[Happening]| -> Vec<(String, String)> {
        of.iter().map(|it| (it.name(), it.mark.clone())).collect()
    };
    assert_eq!(names(&bench.happenings), names(&first));
    bench.happenings.clear();
    bench.keeper.follow();
    bench.seconds(70);
    bench.happenings.clear();
    bench.keeper.follow();
    bench.second();
    assert_eq!(bench.told(), Vec::<String>::new(), "that is long ago");
}

#[test]
fn somebody_who_scales_by_hand_is_told_until_the_next_decision() {
    let mut bench = Bench::new();
    bench.apply(1, &spec(20));
    bench.seconds(3);
    bench.poll(100_000);
    bench.seconds(6);
    assert_eq!(bench.status().size, Some(10));
    // Near enough to what is wanted to be left alone.
    (bench.scale.replicas, bench.scale.running) = (11, 11);
    bench.seconds(2);
    assert_eq!(
        bench.condition("Adopted").as_deref(),
        Some("True ScaledByHand")
    );
    assert_eq!(bench.status().size, Some(11));
    assert!(bench.told().contains(&"Deployment ScaledByHand".to_owned()));
    bench.poll(150_000);
    bench.seconds(2);
    assert_eq!(bench.condition("Adopted"), None);
}

#[test]
fn what_is_refused_says_so_once_in_an_event_and_until_it_is_mended_in_the_status() {
    let mut bench = Bench::new();
    bench.apply(1, &spec(9));
    bench.seconds(2);
    let mut wrong = spec(9);
    wrong["pollingInterval"] = json!(0);
    bench.apply(2, &wrong);
    bench.seconds(5);
    assert_eq!(bench.condition("Ready").as_deref(), Some("False Invalid"));
    assert_eq!(bench.status().observed_generation, Some(2));
    assert_eq!(
        bench.status().max_replicas,
        Some(9),
        "the last good version"
    );
    let invalid = || "ScalingPolicy Invalid".to_owned();
    let told = bench.told().into_iter().filter(|it| *it == invalid());
    assert_eq!(told.count(), 1);
    let problems = bench.keeper.problems();
    assert!(
        problems["policy shop/web"].starts_with("spec.pollingInterval: must be 1 to 604800"),
        "{problems:?}"
    );
    bench.apply(3, &spec(8));
    bench.seconds(2);
    assert_eq!(bench.condition("Ready").as_deref(), Some("True InForce"));
    assert_eq!(bench.keeper.problems(), BTreeMap::new());
}

#[test]
fn a_policy_whose_workload_another_scales_keeps_nothing_but_the_reason() {
    let mut bench = Bench::new();
    bench.apply(1, &spec(9));
    bench.seconds(3);
    assert_eq!(bench.status().max_replicas, Some(9));
    let rival = ("HorizontalPodAutoscaler shop/web".to_owned(), target());
    bench.keeper.take(News::Rivals(Rivals {
        known: true,
        by_target: [(rival.1, rival.0)].into(),
    }));
    bench.seconds(3);
    assert_eq!(
        bench.condition("Ready").as_deref(),
        Some("False AlreadyScaled")
    );
    assert_eq!(bench.status().size, None);
    assert_eq!(bench.status().conditions.len(), 1);
    bench.keeper.take(News::Rivals(Rivals {
        known: true,
        ..Rivals::default()
    }));
    bench.seconds(3);
    assert_eq!(bench.condition("Ready").as_deref(), Some("True InForce"));
    assert_eq!(bench.status().size, Some(2));
}

#[test]
fn what_a_write_said_whose_answer_came_too_late_is_told_once() {
    let mut bench = Bench::new();
    bench.apply(1, &spec(9));
    bench.seconds(3);
    bench.late = true;
    bench.gone = Some("deployments.apps \"web\" not found".into());
    for value in 0..20 {
        // So that there is always something else to write.
        bench.poll(20_000 + value);
        bench.second();
    }
    let failed = "ScalingPolicy FailedGetScale".to_owned();
    let told = bench.told();
    assert_eq!(
        told.iter().filter(|it| **it == failed).count(),
        1,
        "{told:?}"
    );
}

#[test]
fn what_was_never_written_and_is_over_is_not_told() {
    let mut bench = Bench::new();
    bench.apply(1, &spec(9));
    bench.seconds(3);
    bench.refuses = true;
    bench.gone = Some("deployments.apps \"web\" not found".into());
    bench.seconds(2);
    bench.gone = None;
    bench.seconds(20);
    bench.refuses = false;
    bench.seconds(20);
    let failed = "ScalingPolicy FailedGetScale".to_owned();
    assert!(!bench.told().contains(&failed), "{:?}", bench.told());
}

#[test]
fn a_target_that_is_gone_is_said_and_its_return_as_another_too() {
    let mut bench = Bench::new();
    bench.apply(1, &spec(9));
    bench.seconds(3);
    bench.poll(20_000);
    bench.seconds(6);
    let scale = bench.scale.clone();
    bench.gone = Some("deployments.apps \"web\" not found".into());
    // It is told once it is written: a write that fails is made again.
    let failed = "ScalingPolicy FailedGetScale".to_owned();
    let told = |bench: &Bench| bench.told().iter().filter(|it| **it == failed).count();
    bench.refuses = true;
    let before = bench.writes;
    bench.seconds(20);
    assert!(bench.writes > before + 1, "it is tried again");
    assert_eq!(told(&bench), 0);
    bench.refuses = false;
    bench.seconds(20);
    assert_eq!(told(&bench), 1);
    let able = bench.status().condition("AbleToScale").unwrap();
    assert_eq!(
        (able.status.as_str(), able.reason.as_str()),
        ("False", "FailedGetScale")
    );
    assert!(able.message.contains("not found"), "{}", able.message);
    bench.gone = None;
    bench.scale = Scale {
        uid: "another".into(),
        replicas: 1,
        running: 1,
        ..scale
    };
    bench.poll(20_000);
    bench.second();
    // It is sized again right away.
    let recreated = "Deployment TargetRecreated".to_owned();
    assert!(bench.told().contains(&recreated), "{:?}", bench.told());
    bench.seconds(2);
    assert_eq!(bench.scale.replicas, 2);
    assert_eq!(
        bench.condition("AbleToScale").unwrap().split(' ').next(),
        Some("True")
    );
}

#[test]
fn a_change_by_somebody_else_to_the_status_is_put_right() {
    let mut bench = Bench::new();
    bench.apply(1, &spec(9));
    bench.seconds(5);
    let right = bench.status().clone();
    let before = bench.writes;
    bench.statuses.insert(web(), Status::default());
    bench.apply(1, &spec(9));
    bench.seconds(2);
    assert_eq!(bench.writes, before + 1);
    assert_eq!(bench.status().size, right.size);
}

#[test]
fn all_names_have_their_turn_some_at_a_time() {
    let names: BTreeSet<Name> = (0..7)
        .map(|n| Name::new("shop", format!("web-{n}")))
        .collect();
    let mut round = Round::default();
    let mut turn = || {
        let rest = names.range(round.rest());
        let taken = round.take(rest, 3);
        taken.iter().map(|it| it.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(turn(), ["web-0", "web-1", "web-2"]);
    assert_eq!(turn(), ["web-3", "web-4", "web-5"]);
    assert_eq!(turn(), ["web-6"]);
    assert_eq!(turn(), ["web-0", "web-1", "web-2"]);
}
