//! What the API answers, from a ledger and a snapshot made by hand.

use std::collections::BTreeMap;

use starling_consensus::Leadership;
use starling_engine::demand::{Summary, Usage};
use starling_engine::ledger::{Admitted, Checkpoint, InForce, Ledger, Member, Workload};
use starling_engine::policy::{Policy, Target};
use starling_engine::unit::{Ms, NodeId};
use starling_proto::v1;

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
        };
        let workload = Workload {
            size: 3,
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
            (node, summary)
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
        self.snapshot.summaries.entry(node).or_default().checkpoint = Some(told);
    }
}

#[test]
fn what_a_dead_node_said_no_longer_counts_as_running() {
    let state = State::new();
    let policy = state.sight().policy("p").unwrap();
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
                m.heard_age_ms,
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
    let explained = state.sight().explain("p", 0).unwrap();
    assert_eq!(explained.live, None);
    assert_eq!(explained.live_absent_reason, "this agent doesn't lead");
}
