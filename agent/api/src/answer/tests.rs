//! What the API answers, from a ledger and a snapshot made by hand.

mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use starling_consensus::{Backing, Leadership};
use starling_engine::decide::reason::{Failure, Input, Outcome, Report};
use starling_engine::decide::{Decision, Inputs, Platform, Reading, decide};
use starling_engine::demand::{About, Summary, Usage};
use starling_engine::history::History;
use starling_engine::ledger::scaled::Scaled;
use starling_engine::ledger::{
    Admitted, Cause, Checkpoint, InForce, Ledger, Member, OBJECT, Record, Workload,
};
use starling_engine::node::platform::{Observation, Scale};
use starling_engine::policy::{Goal, Name, Policy, Resource, Source, Target, Trigger};
use starling_engine::unit::{Ms, NodeId, Stamp};
use starling_proto::{v1, view};

use super::Sight;
use crate::view::Snapshot;

const NOW: Ms = Ms(100_000);
const A: NodeId = NodeId(1);
const B: NodeId = NodeId(5);
const C: NodeId = NodeId(9);

/// Three members of which c is dead, and one workload with a worker on each.
struct State {
    ledger: Ledger,
    leadership: Leadership,
    backing: Backing,
    snapshot: Snapshot,
}

impl State {
    fn new() -> State {
        let member = |name: &str| Admitted {
            nonce: name.into(),
            member: Member {
                name: name.into(),
                ..Member::default()
            },
            away_since: None,
        };
        let target = Target::process("worker");
        let put = InForce {
            policy: Policy {
                name: "p".into(),
                target: target.clone(),
                ..Policy::default()
            },
            revision: 3,
            created_at: Ms(1),
            source: "a:p.yaml".into(),
            copies: BTreeSet::new(),
        };
        let workload = Workload {
            size: 3,
            stamp: Stamp {
                generation: 1,
                index: 1,
            },
            shares: [(A, 2), (B, 1)].into(),
            ..Workload::default()
        };
        let summary = |node, age_ms| {
            let usage = Usage {
                running: 1,
                ..Usage::default()
            };
            let summary = Summary {
                node,
                at: NOW.minus(age_ms),
                workloads: [(target.clone(), usage)].into(),
                ..Summary::default()
            };
            (node, Arc::new(summary))
        };
        State {
            ledger: Ledger {
                cluster: "home".into(),
                index: 48,
                members: [(A, member("a")), (B, member("b")), (C, member("c"))].into(),
                policies: [("p".into(), put)].into(),
                workloads: [(target.clone(), workload)].into(),
                ..Ledger::default()
            },
            leadership: Leadership {
                term: 2,
                leader: Some(A),
                voters: [A, B].into(),
                learners: [C].into(),
                ..Leadership::default()
            },
            backing: Backing {
                led: true,
                age: Some(Duration::from_millis(40)),
                alone: false,
            },
            snapshot: Snapshot {
                at: NOW.minus(250),
                summaries: BTreeMap::from([summary(A, 100), summary(B, 900), summary(C, 60_000)]),
                alive: vec![A],
                ..Snapshot::default()
            },
        }
    }

    /// As b sees it.
    fn sight(&self) -> Sight<'_> {
        Sight {
            me: B,
            now: NOW,
            ledger: &self.ledger,
            leadership: &self.leadership,
            backing: self.backing,
            voters_max: 5,
            snapshot: &self.snapshot,
        }
    }

    fn told(&mut self, node: NodeId, index: u64, digest: u8) {
        let told = Checkpoint {
            index,
            digest: [digest; 16],
        };
        Arc::make_mut(self.snapshot.summaries.entry(node).or_default()).checkpoint = Some(told);
    }
}

#[test]
fn what_a_dead_node_said_no_longer_counts_as_running() {
    let state = State::new();
    let policy = state.sight().policy(&"p".into()).unwrap();
    assert_eq!((policy.size, policy.running), (3, 2));
    let shares: Vec<(u64, u32, u32)> = policy
        .shares
        .iter()
        .map(|s| (s.node_id, s.granted, s.running))
        .collect();
    assert_eq!(shares, [(1, 2, 1), (5, 1, 1)]);
    let status = state.sight().status();
    assert_eq!((status.replicas_granted, status.replicas_running), (3, 2));
    assert_eq!((status.members, status.members_alive), (3, 2));
    assert_eq!(status.warnings[0].text, "1 of 3 members don't answer");
}

#[test]
fn members_have_their_part_and_ages_by_the_answering_clock() {
    let mut state = State::new();
    state.told(A, 32, 1);
    let members: Vec<v1::Member> = state
        .sight()
        .members(None)
        .map(|(_, member)| member)
        .collect();
    let shown: Vec<_> = members
        .iter()
        .map(|m| {
            (
                m.name.as_str(),
                m.role(),
                m.alive,
                m.applied_index,
                m.heard_age.as_ref().map(view::duration_ms),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("a", v1::Role::Leader, true, Some(32), Some(100)),
            ("b", v1::Role::Voter, true, Some(48), Some(900)),
            ("c", v1::Role::Learner, false, None, Some(60_000)),
        ]
    );
    let after: Vec<String> = state
        .sight()
        .members(Some(B.0))
        .map(|(key, _)| key)
        .collect();
    assert_eq!(after, ["9"]);
}

#[test]
fn what_each_member_says_of_itself_is_shown_and_a_certificate_that_ends_soon_is_warned_of() {
    const DAY_S: u64 = 86_400;
    let now_s = 700 * DAY_S;
    let mut state = State::new();
    let tell = |state: &mut State, node, left_s| {
        let about = About {
            release: "0.1.0".into(),
            ledger_version: 2,
            certificate_from_s: 0,
            certificate_until_s: now_s + left_s,
        };
        let summary = state.snapshot.summaries.get_mut(&node).unwrap();
        Arc::make_mut(summary).about = Some(about);
    };
    let shown = |state: &State| {
        let now = Ms(now_s * 1_000);
        let status = Sight {
            now,
            ..state.sight()
        }
        .status();
        let agents = status.agents.into_iter();
        let agents: Vec<_> = agents
            .map(|it| (it.node_name, it.ledger_version, it.certificate_due))
            .collect();
        let warnings = status.warnings.into_iter();
        let certificates = warnings.filter(|it| it.subject.starts_with("certificate"));
        let certificates: Vec<_> = certificates.map(|it| (it.subject, it.text)).collect();
        (status.ledger_version, agents, certificates)
    };
    let agents = |a_due| {
        vec![
            ("a".to_owned(), Some(2), a_due),
            ("b".to_owned(), Some(2), true),
            ("c".to_owned(), None, false),
        ]
    };
    // The answering agent's own is for its loop to warn of.
    tell(&mut state, B, DAY_S);
    tell(&mut state, A, 31 * DAY_S);
    assert_eq!(shown(&state), (1, agents(false), Vec::new()));
    tell(&mut state, A, 30 * DAY_S);
    let words = "it expires on 1972-01-01; `starling status --agent a` says what to do";
    let warned = vec![("certificate of a".to_owned(), words.to_owned())];
    assert_eq!(shown(&state), (1, agents(true), warned));
}

#[test]
fn a_policy_that_only_files_of_former_members_ask_for_is_ownerless() {
    let mut state = State::new();
    let ownerless = |source: &str, copies: &[&str], state: &mut State| {
        let put = state.ledger.policies.get_mut(&"p".into()).unwrap();
        put.source = source.into();
        put.copies = copies.iter().map(|copy| (*copy).to_owned()).collect();
        state.sight().policy(&"p".into()).unwrap().ownerless
    };
    assert!(!ownerless("a:p.yaml", &[], &mut state));
    assert!(ownerless("z:p.yaml", &[], &mut state));
    assert!(ownerless("z:p.yaml", &["y:p.yaml"], &mut state));
    assert!(
        !ownerless("z:p.yaml", &["b:p.yaml"], &mut state),
        "to be handed over"
    );
    let object = format!("{OBJECT}ScalingPolicy default/p");
    assert!(!ownerless(&object, &[], &mut state));
}

#[test]
fn digests_are_compared_at_equal_indexes_only() {
    let mut state = State::new();
    assert_eq!(
        state.sight().status().digest_state(),
        v1::DigestState::Unspecified
    );
    state.ledger.checkpoints = [16, 32, 48]
        .map(|index| Checkpoint {
            index,
            digest: [7; 16],
        })
        .into();
    state.told(A, 64, 9);
    assert_eq!(
        state.sight().status().digest_state(),
        v1::DigestState::Unspecified
    );
    state.told(A, 32, 7);
    assert_eq!(
        state.sight().status().digest_state(),
        v1::DigestState::Equal
    );
    state.told(C, 16, 8);
    let status = state.sight().status();
    assert_eq!(status.digest_state(), v1::DigestState::Different);
    assert!(
        status.warnings.iter().any(|w| w.subject == "ledger"),
        "{:?}",
        status.warnings
    );
}

#[test]
fn without_a_leader_the_status_says_so_and_decides_nothing_live() {
    let mut state = State::new();
    state.leadership.leader = None;
    state.backing = Backing::default();
    let status = state.sight().status();
    assert_eq!((status.leader_id, status.leader_name.as_str()), (None, ""));
    assert!(
        status.warnings.iter().any(|w| w.subject == "leader"),
        "{:?}",
        status.warnings
    );
    let explained = state.sight().explain(&"p".into(), 0).unwrap();
    assert_eq!(explained.live, None);
    assert_eq!(explained.live_absent_reason, "this agent doesn't lead");
}

/// A pass works no such values out: who asks for the account does.
#[test]
fn what_is_decided_live_names_the_values_that_would_change_the_size() {
    let mut state = State::new();
    state.leadership.acting = true;
    let put = state.ledger.policies.get_mut(&"p".into()).unwrap();
    put.policy.replicas_max = 10;
    put.policy.triggers = vec![Trigger {
        name: "queue".into(),
        source: Source::External {
            kind: "metrics-api".into(),
            metadata: BTreeMap::new(),
        },
        goal: Goal::AverageValue { milli: 5_000 },
        activation_milli: 0,
        window_ms: None,
    }];
    let decision = decide(Inputs {
        policy: &put.policy,
        now: NOW,
        created_at: Ms(1),
        current: 3,
        running: 3,
        ready: Some(3),
        last_pass: None,
        readings: vec![Reading::value(15_000, NOW)],
        signal: None,
        started_ms: &[],
        history: &History::default(),
        platform: Platform::default(),
    });
    assert_eq!(decision.target, 3);
    assert_eq!(decision.report.outlook, []);
    state.snapshot.live = Arc::new([("p".into(), decision)].into());
    let live = |state: &State| state.sight().explain(&"p".into(), 0).unwrap().live.unwrap();
    let shown = live(&state);
    let [threshold] = shown.thresholds.as_slice() else {
        panic!("{shown:?}")
    };
    let values = (threshold.at_least_milli, threshold.at_most_milli);
    assert_eq!(values, (Some(16_501), Some(10_000)));
    let named = |line: &String| line.contains("What would change the size");
    assert!(shown.lines.iter().any(named), "{:?}", shown.lines);
    // Under another goal these would be others.
    let put = state.ledger.policies.get_mut(&"p".into()).unwrap();
    put.policy.triggers[0].goal = Goal::AverageValue { milli: 1_000 };
    assert_eq!(live(&state).thresholds, []);
}

/// The same, and a Deployment `shop/web` with a policy of its own name.
fn with_a_deployment() -> (State, Target) {
    let mut state = State::new();
    let target = Target {
        group: "apps".into(),
        kind: "Deployment".into(),
        namespace: "shop".into(),
        name: "web".into(),
    };
    let name = Name::new("shop", "web");
    let put = InForce {
        policy: Policy {
            name: name.clone(),
            target: target.clone(),
            ..Policy::default()
        },
        revision: 4,
        created_at: Ms(1),
        source: "kubernetes".into(),
        copies: BTreeSet::new(),
    };
    let workload = Workload {
        size: 4,
        stamp: Stamp {
            generation: 1,
            index: 1,
        },
        scaled: Some(Scaled {
            carried: Some(4),
            selector: "app=web".into(),
            ..Scaled::default()
        }),
        ..Workload::default()
    };
    let scale = Scale {
        replicas: 4,
        running: 3,
        blocked: Some("quota pods: 3 of 3 are used".into()),
        ..Scale::default()
    };
    state.ledger.policies.insert(name, put);
    state.ledger.workloads.insert(target.clone(), workload);
    let scale = Observation::Scale(scale);
    Arc::make_mut(&mut state.snapshot.observations).insert(target.clone(), scale);
    (state, target)
}

#[test]
fn lists_hold_one_namespace_or_all_and_a_name_alone_is_in_default() {
    let (state, _) = with_a_deployment();
    let sight = state.sight();
    let listed = |namespace: &str| -> Vec<String> {
        let policies = sight.policies(None, namespace);
        policies.map(|(key, _)| key).collect()
    };
    assert_eq!(listed(""), ["p", "shop/web"]);
    assert_eq!(listed("shop"), ["shop/web"]);
    assert_eq!(listed("default"), ["p"]);
    let shown = sight.policy(&super::named("shop", "web")).unwrap();
    assert_eq!(
        (shown.namespace.as_str(), shown.name.as_str()),
        ("shop", "web")
    );
    let refused = sight.policy(&super::named("", "web")).unwrap_err();
    assert!(
        refused.message().contains("did you mean shop/web?"),
        "{}",
        refused.message()
    );
}

#[test]
fn a_scaled_workload_counts_as_its_platform_says_and_tells_what_blocks_it() {
    let (mut state, target) = with_a_deployment();
    let broken = "pod web-1 container app: ErrImagePull".to_owned();
    let usage = Usage {
        trouble: broken.clone(),
        ..Usage::default()
    };
    // Another node tells of it, not the one that is asked.
    let summary = state.snapshot.summaries.get_mut(&B).unwrap();
    Arc::make_mut(summary).workloads.insert(target, usage);
    let sight = state.sight();
    let asked = v1::GetWorkloadRequest {
        kind: "Deployment".into(),
        namespace: "shop".into(),
        name: "web".into(),
        ..Default::default()
    };
    let shown = sight.workload(&asked).unwrap();
    assert_eq!((shown.size, shown.running), (4, 3));
    assert_eq!(shown.policy, "web");
    assert_eq!(shown.blocked_reason, "quota pods: 3 of 3 are used");
    let policy = sight.policy(&Name::new("shop", "web")).unwrap();
    assert_eq!(
        (policy.running, policy.blocked_reason),
        (3, shown.blocked_reason)
    );
    let warnings: Vec<_> = policy
        .warnings
        .into_iter()
        .map(|w| (w.subject, w.text))
        .collect();
    assert_eq!(warnings, [("on node b".to_owned(), broken)]);
    let (running, status) = (sight.status().replicas_running, sight.status());
    assert_eq!((running, status.replicas_granted), (5, 7));
    let missing = v1::GetWorkloadRequest {
        name: "wob".into(),
        ..asked
    };
    let refused = sight.workload(&missing).unwrap_err();
    assert!(
        refused
            .message()
            .contains("did you mean Deployment shop/web?"),
        "{}",
        refused.message()
    );
}

#[test]
fn workloads_are_listed_from_where_a_page_ended() {
    let (state, _) = with_a_deployment();
    let sight = state.sight();
    let keys: Vec<String> = sight.workloads(None, "").map(|(key, _)| key).collect();
    assert_eq!(
        keys,
        ["|Process|default|worker", "apps|Deployment|shop|web"]
    );
    let rest: Vec<String> = sight
        .workloads(Some(&keys[0]), "")
        .map(|(key, _)| key)
        .collect();
    assert_eq!(rest, keys[1..]);
    let of_shop: Vec<_> = sight
        .workloads(None, "shop")
        .map(|(_, it)| it.form())
        .collect();
    assert_eq!(of_shop, [v1::WorkloadForm::Scaled]);
}

#[test]
fn a_policys_conditions_have_words_even_where_nobody_has_decided_yet() {
    let state = State::new();
    let policy = state.sight().policy(&"p".into()).unwrap();
    let shown: Vec<_> = policy
        .conditions
        .iter()
        .map(|it| (it.r#type.as_str(), it.status(), it.message.as_str()))
        .collect();
    assert_eq!(
        shown,
        [(
            "Paused",
            v1::ConditionStatus::False,
            "nothing holds the size"
        )]
    );
}

/// A change of size of `p` at `index`, long ago, whose only trigger failed.
fn failed_long_ago(state: &mut State, index: u64) {
    let trigger = Trigger {
        name: "queue".into(),
        source: Source::Resource(Resource::Cpu),
        goal: Goal::Value { milli: 1_000 },
        activation_milli: 0,
        window_ms: None,
    };
    let put = state.ledger.policies.get_mut(&Name::from("p")).unwrap();
    put.policy.triggers = vec![trigger];
    let outcome = Outcome::Failed {
        reason: Failure::Source("no route to the old queue".into()),
        failures: 2,
        kept: None,
    };
    let report = Report {
        at: NOW.minus(60_000),
        inputs: vec![Input {
            band: None,
            trigger: "queue".into(),
            source: "queue".to_owned().into(),
            goal: Goal::Value { milli: 1_000 },
            value: Some(7),
            age_ms: Some(500),
            pods: None,
            outcome,
        }],
        ..Report::default()
    };
    state.ledger.decisions.push_back(Record {
        index,
        at: NOW.minus(60_000),
        policy: "p".into(),
        from: 1,
        to: 3,
        cause: Cause::Decided { by: A, report },
    });
}

#[test]
fn what_was_found_for_a_former_target_is_not_shown_of_the_present_one() {
    let mut state = State::new();
    // Decided at 2, while the policy in force was put at 3.
    failed_long_ago(&mut state, 2);
    let policy = state.sight().policy(&"p".into()).unwrap();
    let trigger = &policy.triggers[0];
    assert_eq!((trigger.value_milli, trigger.error.as_str()), (None, ""));
    assert_eq!(policy.evaluated_age, None);
    assert!(policy.last_change.unwrap().earlier_policy);
}

#[test]
fn what_a_recorded_change_says_is_shown_with_its_age_and_as_not_of_now() {
    let mut state = State::new();
    failed_long_ago(&mut state, 5);
    let policy = state.sight().policy(&"p".into()).unwrap();
    assert_eq!(
        (
            policy.evaluated_age.as_ref().map(view::duration_ms),
            policy.evaluated_now
        ),
        (Some(60_000), false)
    );
    let trigger = &policy.triggers[0];
    assert_eq!(
        (
            trigger.value_milli,
            trigger.value_age.as_ref().map(view::duration_ms)
        ),
        (Some(7), Some(60_500))
    );
    assert!(trigger.error.contains("no route"), "{}", trigger.error);
    assert!(!policy.last_change.unwrap().earlier_policy);
    // What the leader decides now is of now.
    let decision = Decision {
        target: 3,
        changes: Vec::new(),
        report: Report {
            at: NOW.minus(300),
            ..Report::default()
        },
        evidence: None,
    };
    state.leadership.acting = true;
    state.snapshot.live = Arc::new([("p".into(), decision)].into());
    let policy = state.sight().policy(&"p".into()).unwrap();
    assert_eq!(
        (
            policy.evaluated_age.as_ref().map(view::duration_ms),
            policy.evaluated_now
        ),
        (Some(300), true)
    );
    assert_eq!(policy.triggers[0].error, "");
}

#[test]
fn what_the_platform_said_before_it_fell_silent_is_shown_as_that_old() {
    let (mut state, _) = with_a_deployment();
    let name = Name::new("shop", "web");
    assert_eq!(state.sight().policy(&name).unwrap().platform_silent, None);
    state.snapshot.platform_silent_ms = Some(90_000);
    let sight = state.sight();
    let silent = Some(view::duration(90_000));
    assert_eq!(sight.policy(&name).unwrap().platform_silent, silent);
    let silences: Vec<_> = sight
        .workloads(None, "")
        .map(|(_, it)| it.platform_silent)
        .collect();
    assert_eq!(silences, [None, silent], "no platform runs a process");
}
