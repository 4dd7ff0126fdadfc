//! Which cluster an agent belongs to, and that no second one of its name mixes in.

use std::time::Duration;

use starling_consensus::Log;
use starling_proto::raft::IdentifyRequest;

use crate::harness::{Agent, Authority, acting, agree, commit, eventually, form};
use crate::refusing::client;

fn know_each_other(agents: &mut [Agent]) {
    let all: Vec<String> = agents
        .iter()
        .map(|agent| agent.config.member.peer_address.clone())
        .collect();
    for agent in agents {
        agent.config.seeds = all.clone().into();
    }
}

/// Three agents of a cluster, ended, and the founder's disk emptied.
async fn founder_wiped(authority: &Authority) -> (Vec<Agent>, String) {
    let mut agents = Agent::some(authority, 3);
    know_each_other(&mut agents);
    agents[1].config.bootstrap = false;
    // The others are not there yet.
    agents[0].config.founding.silent = Duration::ZERO;
    let logs = form(&mut agents).await;
    commit(&logs[0], "x").await;
    agree(&logs.iter().collect::<Vec<_>>()).await;
    let id = logs[0].cluster_id().to_owned();
    for log in &logs {
        assert_eq!(log.cluster_id(), id);
        log.shutdown().await;
    }
    std::fs::remove_dir_all(&agents[0].config.data_dir).unwrap();
    (agents, id)
}

#[tokio::test]
async fn a_founder_that_lost_its_disk_waits_for_its_seeds_and_joins_them() {
    let authority = Authority::new();
    let (mut agents, id) = founder_wiped(&authority).await;
    let mut founder = agents.remove(0);
    founder.config.founding.silent = Duration::from_mins(5);
    let address = founder.config.member.peer_address.clone();
    let starting = tokio::spawn(async move { founder.start().await });
    let caller = authority.sign(&["peer.starling", "caller"]);
    eventually("the founder looks for its cluster", || async {
        let answer = client(&address, &caller)
            .identify(IdentifyRequest::default())
            .await;
        answer.ok().filter(|answer| answer.get_ref().founds)
    })
    .await;
    assert!(!starting.is_finished());

    let first = agents[0].start().await;
    let second = agents[1].start().await;
    let back = starting.await.unwrap();
    assert_eq!(back.cluster_id(), id);
    assert!(back.id() > second.id());
    commit(&first, "y").await;
    agree(&[&first, &second, &back]).await;
}

/// Why the agent has ended its part.
async fn ends(log: &Log) -> String {
    eventually("it takes no part any more", || async {
        log.failed().borrow().clone()
    })
    .await
}

#[tokio::test]
async fn a_cluster_that_was_founded_a_second_time_ends_and_the_first_goes_on() {
    let (mut agents, id) = founder_wiped(&Authority::new()).await;
    // It knows nobody; the others know where it was.
    agents[0].config.seeds = Vec::new().into();
    let founder = agents[0].start().await;
    assert_ne!(founder.cluster_id(), id);
    let first = agents[1].start().await;
    let second = agents[2].start().await;
    commit(&first, "y").await;
    let why = ends(&founder).await;
    assert!(
        why.contains(&id) && why.contains("3 members") && why.contains("empty"),
        "{why}"
    );
    acting(&[&first, &second]).await;
    assert_eq!(first.ledger().read().unwrap().members.len(), 3);
    assert!(first.failed().borrow().is_none());
}

#[tokio::test]
async fn of_two_agents_that_may_found_only_one_does() {
    let mut agents = Agent::some(&Authority::new(), 2);
    know_each_other(&mut agents);
    for agent in &mut agents {
        agent.config.bootstrap = true;
    }
    let mut second = agents.pop().unwrap();
    let mut first = agents.pop().unwrap();
    let (second, first) = tokio::join!(second.start(), first.start());
    assert_eq!(first.cluster_id(), second.cluster_id());
    assert_ne!(first.id(), second.id());
    agree(&[&first, &second]).await;
}

#[tokio::test]
async fn of_two_founders_that_are_alone_one_ends() {
    let mut agents = Agent::some(&Authority::new(), 2);
    know_each_other(&mut agents);
    let mut logs = Vec::new();
    for agent in &mut agents {
        agent.config.bootstrap = true;
        agent.config.founding.silent = Duration::ZERO;
        let log = agent.start().await;
        let id = log.cluster_id().to_owned();
        log.shutdown().await;
        logs.push(id);
    }
    assert_ne!(logs[0], logs[1]);
    let first = agents[0].start().await;
    let second = agents[1].start().await;
    let (stays, goes) = if first.cluster_id() < second.cluster_id() {
        (&first, &second)
    } else {
        (&second, &first)
    };
    let why = ends(goes).await;
    assert!(why.contains(stays.cluster_id()), "{why}");
    commit(stays, "x").await;
    assert!(stays.failed().borrow().is_none());
}

#[tokio::test]
async fn an_agent_that_knows_its_clusters_id_joins_no_other_of_the_name() {
    let mut agents = Agent::some(&Authority::new(), 2);
    let mut other = agents.pop().unwrap();
    let _logs = form(&mut agents).await;
    other.config.cluster_id = Some("another".into());
    let waiting = tokio::time::timeout(Duration::from_secs(2), other.try_start()).await;
    assert!(waiting.is_err(), "it joined another cluster");
}
