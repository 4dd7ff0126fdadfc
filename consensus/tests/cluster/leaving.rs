//! Members that are removed or stay away, and who votes in their place.

use std::collections::BTreeSet;
use std::time::Duration;

use starling_consensus::Log;
use starling_engine::ledger::Command;
use starling_engine::unit::NodeId;

use crate::harness::{Agent, Authority, acting, agree, commit, eventually, form};

/// Names of those that vote, as far as `log` knows.
fn voters(log: &Log) -> BTreeSet<String> {
    let seen = log.leadership().borrow().clone();
    let ledger = log.ledger();
    let ledger = ledger.read().unwrap();
    let name = |id: &NodeId| Some(ledger.members.get(id)?.member.name.clone());
    seen.voters.iter().filter_map(name).collect()
}

fn members(log: &Log) -> Vec<NodeId> {
    let ledger = log.ledger();
    let ledger = ledger.read().unwrap();
    ledger.members.keys().copied().collect()
}

/// Waits until `log` shows so many members, of which so many vote, and none else is
/// in the log.
async fn settled(log: &Log, count: usize, voting: usize) {
    eventually("the membership follows", || async {
        let seen = log.leadership().borrow().clone();
        let in_log = seen.voters.len() + seen.learners.len();
        (members(log).len() == count && in_log == count && seen.voters.len() == voting)
            .then_some(())
    })
    .await;
}

async fn remove(log: &Log, node: NodeId) {
    eventually("it is removed", || async {
        let outcome = log.propose(Command::Remove { node }).await.ok()?;
        // One whose outcome was unknown may have come through.
        (outcome.refused.is_empty() || !members(log).contains(&node)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_member_that_stays_away_is_forgotten_and_joins_anew() {
    let mut agents = Agent::some(&Authority::new(), 3);
    for agent in &mut agents {
        agent.config.upkeep.forget_after = Duration::from_secs(1);
    }
    let mut logs = form(&mut agents).await;
    commit(&logs[0], "x").await;
    let leader = acting(&logs.iter().collect::<Vec<_>>()).await;
    let gone = (leader + 1) % 3;
    let id = logs[gone].id();
    drop(logs.remove(gone));
    settled(&logs[0], 2, 1).await;
    assert!(!members(&logs[0]).contains(&id));

    let back = agents[gone].start().await;
    assert!(back.id() > id, "it is a new member");
    settled(&logs[0], 3, 3).await;
    commit(&back, "y").await;
    agree(&[&logs[0], &logs[1], &back]).await;
}

#[tokio::test]
async fn a_member_that_is_away_is_noted_until_it_answers_again() {
    let mut agents = Agent::some(&Authority::new(), 3);
    let mut logs = form(&mut agents).await;
    commit(&logs[0], "x").await;
    let leader = acting(&logs.iter().collect::<Vec<_>>()).await;
    let gone = (leader + 1) % 3;
    let id = logs[gone].id();
    drop(logs.remove(gone));
    let away = |log: &Log| {
        let ledger = log.ledger();
        let ledger = ledger.read().unwrap();
        ledger.members[&id].away_since.is_some()
    };
    eventually("it is noted", || async { away(&logs[0]).then_some(()) }).await;
    let back = agents[gone].start().await;
    assert_eq!(back.id(), id);
    eventually("it is noted back", || async {
        (!away(&logs[0])).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_member_that_is_removed_while_it_lives_is_told_and_joins_anew() {
    let mut agents = Agent::some(&Authority::new(), 3);
    let mut logs = form(&mut agents).await;
    commit(&logs[0], "x").await;
    let leader = acting(&logs.iter().collect::<Vec<_>>()).await;
    let gone = (leader + 1) % 3;
    let id = logs[gone].id();
    remove(&logs[leader], id).await;
    settled(&logs[leader], 2, 1).await;
    let mut failed = logs[gone].failed();
    let why = failed.wait_for(Option::is_some).await.unwrap().clone();
    let why = why.unwrap();
    assert!(why.contains("was removed from the cluster"), "{why}");

    let former = logs.remove(gone);
    former.shutdown().await;
    drop(former);
    let back = agents[gone].start().await;
    assert!(back.id() > id, "it is a new member");
    settled(&logs[0], 3, 3).await;
    commit(&back, "y").await;
}

#[tokio::test]
async fn a_member_that_was_removed_while_it_was_off_joins_anew_by_itself() {
    let mut agents = Agent::some(&Authority::new(), 4);
    let mut logs = form(&mut agents).await;
    commit(&logs[0], "x").await;
    let all: Vec<_> = logs.iter().collect();
    let leader = acting(&all).await;
    agree(&all).await;
    let gone = (leader + 1) % 4;
    let id = logs[gone].id();
    let former = logs.remove(gone);
    former.shutdown().await;
    drop(former);
    remove(&logs[0], id).await;
    settled(&logs[0], 3, 3).await;
    let back = agents[gone].start().await;
    assert!(back.id() > id, "it is a new member");
    settled(&logs[0], 4, 3).await;
    commit(&back, "y").await;
}

#[tokio::test]
async fn a_leader_that_is_removed_gives_the_lead_away_and_leaves() {
    let mut agents = Agent::some(&Authority::new(), 3);
    let logs = form(&mut agents).await;
    commit(&logs[0], "x").await;
    let leader = acting(&logs.iter().collect::<Vec<_>>()).await;
    remove(&logs[leader], logs[leader].id()).await;
    let other = &logs[(leader + 1) % 3];
    settled(other, 2, 1).await;
    assert!(!logs[leader].acting());
    commit(other, "y").await;
}

#[tokio::test]
async fn voters_are_spread_over_zones_also_where_one_zone_came_first() {
    let mut agents = Agent::some(&Authority::new(), 5);
    for (agent, zone) in agents.iter_mut().zip(["x", "x", "x", "y", "z"]) {
        agent.config.member.zone = zone.into();
    }
    let (first, rest) = agents.split_at_mut(3);
    let mut logs = form(first).await;
    let all_of_x: BTreeSet<String> = (0..3).map(|n| format!("agent-{n}")).collect();
    assert_eq!(voters(&logs[0]), all_of_x);
    for agent in rest {
        logs.push(agent.start().await);
    }
    eventually("each zone has one", || async {
        let voters = voters(&logs[0]);
        let spread = voters.contains("agent-3") && voters.contains("agent-4");
        (spread && voters.len() == 3).then_some(())
    })
    .await;
    commit(&logs[4], "x").await;
    agree(&logs.iter().collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn seven_vote_where_that_is_chosen() {
    let mut agents = Agent::some(&Authority::new(), 9);
    for agent in &mut agents {
        agent.config.upkeep.voters_max = 7;
    }
    let mut logs = Vec::new();
    for agent in &mut agents {
        logs.push(agent.start().await);
    }
    settled(&logs[0], 9, 7).await;
    commit(&logs[8], "x").await;
}

#[tokio::test]
async fn an_even_number_of_voters_is_refused_at_the_start() {
    let mut agents = Agent::some(&Authority::new(), 1);
    agents[0].config.upkeep.voters_max = 4;
    let refused = agents[0].try_start().await.err().map(|e| e.to_string());
    assert_eq!(
        refused.as_deref(),
        Some("upkeep.voters_max must be 1, 3, 5 or 7")
    );
}
