//! What the API answers, from a ledger and a snapshot made by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use starling_consensus::Leadership;
use starling_engine::demand::{Summary, Usage};
use starling_engine::ledger::scaled::Scaled;
use starling_engine::ledger::{Admitted, Checkpoint, InForce, Ledger, Member, Workload};
use starling_engine::node::platform::{Observation, Scale};
use starling_engine::policy::{Name, Policy, Target};
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
