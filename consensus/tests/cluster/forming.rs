//! How a cluster comes about, and who may propose.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use starling_consensus::Error;
use starling_engine::ledger::Command;
use starling_engine::unit::NodeId;

use crate::harness::{Agent, Authority, acting, agree, command, commit, digest, eventually, form};

/// It counts as dead after ten seconds, and is replaced within thirty after that.
const REPLACED_WITHIN: Duration = Duration::from_secs(10 + 30);

#[tokio::test]
async fn three_agents_form_a_cluster_and_a_follower_proposes() {
    let mut agents = Agent::some(&Authority::new(), 3);
    let logs = form(&mut agents).await;
    assert_eq!(logs[0].id(), NodeId(1));
    assert!(logs[1].id() != logs[2].id() && logs[1].id() > NodeId(2));

    let outcome = commit(&logs[2], "x").await;
    assert_eq!(outcome.refused.len(), 1, "there is no such policy");
    let all: Vec<_> = logs.iter().collect();
    agree(&all).await;
    let members = logs[1].ledger().read().unwrap().members.len();
    assert_eq!(members, 3);
    for log in &logs {
        assert!(
            logs[0]
                .ledger()
                .read()
                .unwrap()
                .members
                .contains_key(&log.id())
        );
    }
}

#[tokio::test]
async fn i1_what_an_agent_decided_is_not_committed_by_another_that_leads() {
    let mut agents = Agent::some(&Authority::new(), 3);
    let logs = form(&mut agents).await;
    let pass = |by| Command::Pass {
        by,
        items: Vec::new(),
        moves: Vec::new(),
    };
    let all: Vec<_> = logs.iter().collect();
    // On a busy disk the lead may move between two looks.
    eventually(
        "who leads commits its own, and nobody else does",
        || async {
            let leader = acting(&all).await;
            let other = (leader + 1) % 3;
            let refused = logs[other].propose_here(pass(logs[other].id())).await;
            if refused.is_ok() {
                assert_eq!(acting(&all).await, other, "it committed and doesn't lead");
            }
            let taken = logs[leader].propose_here(pass(logs[leader].id())).await;
            (matches!(refused, Err(Error::NotLeader { .. })) && taken.is_ok()).then_some(())
        },
    )
    .await;
}

#[tokio::test]
async fn a_read_at_any_agent_sees_all_that_was_committed_before() {
    let mut agents = Agent::some(&Authority::new(), 3);
    let logs = form(&mut agents).await;
    for n in 0..20 {
        commit(&logs[n % 3], "x").await;
        let index = digest(&logs[0]).0.max(digest(&logs[1]).0);
        let log = &logs[(n + 1) % 3];
        // The others have a heartbeat's time to answer it.
        let read = eventually("a read is answered", || async { log.barrier().await.ok() });
        let reached = read.await;
        assert!(reached >= index, "read {reached}, committed {index}");
    }
}

#[tokio::test]
async fn when_the_leader_dies_another_one_commits_and_the_dead_one_catches_up() {
    let mut agents = Agent::some(&Authority::new(), 3);
    let mut logs = form(&mut agents).await;
    commit(&logs[0], "before").await;
    let leader = acting(&logs.iter().collect::<Vec<_>>()).await;
    let before = agree(&logs.iter().collect::<Vec<_>>()).await;
    let (id, term) = (logs[leader].id(), logs[leader].leadership().borrow().term);

    // Dropping it is a crash: nothing is said to the others.
    drop(logs.remove(leader));
    let mut dead = agents.remove(leader);
    commit(&logs[0], "after").await;
    let next = acting(&logs.iter().collect::<Vec<_>>()).await;
    assert!(logs[next].leadership().borrow().term > term);

    let back = dead.start().await;
    assert_eq!(back.id(), id);
    let after = agree(&[&logs[0], &logs[1], &back]).await;
    assert!(after > before);
}

#[tokio::test]
async fn a_leader_without_its_quorum_stops_acting_and_commits_nothing() {
    let mut agents = Agent::some(&Authority::new(), 3);
    let mut logs = form(&mut agents).await;
    commit(&logs[0], "x").await;
    let leader = acting(&logs.iter().collect::<Vec<_>>()).await;
    let left = logs.remove(leader);
    drop(logs);
    eventually("the leader is fenced", || async {
        let seen = left.leadership().borrow().acting;
        (!seen && !left.acting()).then_some(())
    })
    .await;
    match left.propose(command("y")).await {
        Err(Error::Unknown(_) | Error::NotLeader { .. }) => {}
        other => panic!("committed without a quorum: {other:?}"),
    }
}

#[tokio::test]
async fn seven_agents_have_five_voters() {
    let mut agents = Agent::some(&Authority::new(), 7);
    let logs = form(&mut agents).await;
    let seen = logs[6].leadership().borrow().clone();
    assert_eq!((seen.voters.len(), seen.learners.len()), (5, 2));
}

/// No timeout would come while the test waits.
#[tokio::test]
async fn a_leader_whose_process_ends_is_replaced_without_a_timeout() {
    for count in [3, 7] {
        let mut agents = Agent::some(&Authority::new(), count);
        for agent in &mut agents {
            agent.config.timing.election_min_ms = 600_000;
            agent.config.timing.election_max_ms = 700_000;
        }
        let mut logs = form(&mut agents).await;
        commit(&logs[0], "before").await;
        agree(&logs.iter().collect::<Vec<_>>()).await;
        let leader = acting(&logs.iter().collect::<Vec<_>>()).await;
        drop(logs.remove(leader));
        acting(&logs.iter().collect::<Vec<_>>()).await;
        commit(&logs[0], "after").await;
        agree(&logs.iter().collect::<Vec<_>>()).await;
    }
}

/// Two of five die one after the other, the leader among them; without somebody
/// who stands in for the first, the second would stop the cluster.
#[tokio::test]
async fn a_dead_voter_is_replaced_by_a_member_that_is_there() {
    let mut agents = Agent::some(&Authority::new(), 5);
    let mut logs = form(&mut agents).await;
    for leading in [false, true] {
        let leader = acting(&logs.iter().collect::<Vec<_>>()).await;
        let voters = logs[leader].leadership().borrow().voters.clone();
        let dies = (0..logs.len())
            .find(|n| voters.contains(&logs[*n].id()) && (*n == leader) == leading)
            .unwrap();
        let dead = logs[dies].id();
        let begin = Instant::now();
        drop(logs.remove(dies));
        let living: BTreeSet<_> = logs.iter().map(starling_consensus::Log::id).collect();
        let seen = eventually("another one votes in its place", || async {
            let leader = logs.iter().find(|log| log.acting())?;
            let voters = leader.leadership().borrow().voters.clone();
            (voters.len() == 3 && voters.is_subset(&living)).then_some(voters)
        })
        .await;
        let took = begin.elapsed();
        println!("replaced {:.1} s after its death", took.as_secs_f64());
        assert!(took < REPLACED_WITHIN, "only after {took:?}");
        assert!(!seen.contains(&dead));
        commit(&logs[0], "it goes on").await;
        agree(&logs.iter().collect::<Vec<_>>()).await;
    }
}

#[tokio::test]
async fn many_proposers_share_syncs() {
    let mut agents = Agent::some(&Authority::new(), 1);
    let logs = form(&mut agents).await;
    commit(&logs[0], "x").await;
    let before = logs[0].disk_syncs();
    let proposers: Vec<_> = (0..64)
        .map(|_| {
            let log = logs[0].clone();
            tokio::spawn(async move { commit(&log, "x").await })
        })
        .collect();
    for proposer in proposers {
        proposer.await.unwrap();
    }
    let syncs = logs[0].disk_syncs() - before;
    assert!((1..64).contains(&syncs), "{syncs} syncs for 64 commands");
}
