//! How the cluster is, in one word and in words.

use super::*;

#[test]
fn a_cluster_is_healthy_degraded_without_a_leader_or_without_a_quorum_and_names_who_is_missing() {
    use v1::ClusterState::{Degraded, Healthy, NoLeader, NoQuorum};
    const LED: Backing = Backing {
        led: true,
        age: None,
        alone: false,
    };
    const ALONE: Backing = Backing {
        led: false,
        age: None,
        alone: true,
    };
    const NONE: Backing = Backing {
        led: false,
        age: None,
        alone: false,
    };
    let check = |backing, voters: &[NodeId], alive: &[NodeId]| {
        let mut state = State::new();
        state.backing = backing;
        state.leadership.voters = voters.iter().copied().collect();
        state.snapshot.alive = alive.to_vec();
        let status = state.sight().status();
        let missing = (
            status.missing_voters.join(","),
            status.missing_members.join(","),
        );
        (status.state(), status.state_reasons.join("; "), missing)
    };
    let none = || (String::new(), String::new());
    let voters = [A, B, C];
    assert_eq!(
        check(LED, &voters, &[A, C]),
        (Healthy, String::new(), none())
    );
    assert_eq!(
        check(LED, &voters, &[A]),
        (
            Degraded,
            "who votes and doesn't answer: c".into(),
            ("c".into(), String::new())
        )
    );
    assert_eq!(
        check(LED, &[A], &[A]),
        (
            Degraded,
            "who doesn't answer: c; 1 of 3 that should vote do".into(),
            (String::new(), "c".into())
        )
    );
    let (state, why, missing) = check(NONE, &voters, &[]);
    assert_eq!((state, missing.0.as_str()), (NoQuorum, "a,c"));
    assert_eq!(why, "2 of 3 voters don't answer: a, c");
    let (state, why, missing) = check(NONE, &voters, &[A]);
    assert_eq!((state, missing.0.as_str()), (NoLeader, "c"));
    assert!(
        why.starts_with("2 of 3 voters answer and none of them leads"),
        "{why}"
    );
    assert!(why.ends_with("; c is missing"), "{why}");
    // Gossip goes on where peers' ports are cut.
    let (state, why, _) = check(ALONE, &voters, &[A, C]);
    assert_eq!(state, NoQuorum);
    assert_eq!(why, "no majority of the voters answers a, which leads");
}

#[test]
fn a_halted_agent_and_ledgers_that_differ_are_no_healthy_cluster() {
    let mut state = State::new();
    state.leadership.voters = [A, B, C].into();
    state.snapshot.alive = vec![A, C];
    state.snapshot.halted = Some("it differs at 16".into());
    state.told(A, 64, 9);
    state.told(C, 64, 8);
    let status = state.sight().status();
    assert_eq!(status.state(), v1::ClusterState::Degraded);
    assert_eq!(
        status.state_reasons,
        [
            "nodes hold different ledgers",
            "b has stopped acting: it differs at 16"
        ]
    );
}
