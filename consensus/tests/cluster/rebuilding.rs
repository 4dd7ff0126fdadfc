//! Clusters that lost most of their voters, and snapshots that are restored.

use std::path::{Path, PathBuf};

use starling_consensus::rebuild::{self, Said};
use starling_consensus::{Error, Log, Past, export, generation, past, supersede};
use starling_engine::ledger::Ledger;
use starling_engine::ledger::rebuilt::Rebuilt;
use starling_engine::ledger::version::{FIRST, HIGHEST, REBUILT};

use crate::harness::{
    Agent, Authority, CLUSTER, acting, agree, commit, completed, digest, eventually, form,
};
use crate::restarting::copy;

async fn end(log: Log) {
    log.shutdown().await;
    drop(log);
}

fn agents(authority: &Authority, count: usize) -> Vec<Agent> {
    let mut agents = Agent::some(authority, count);
    for agent in &mut agents {
        agent.config.ledger_version = HIGHEST;
    }
    agents
}

fn see<T>(log: &Log, look: impl FnOnce(&Ledger) -> T) -> T {
    look(&log.ledger().read().unwrap())
}

/// What the others of `known` say.
async fn ask_others(known: &rebuild::Known, of: &Agent) -> Vec<Said> {
    let mut said = Vec::new();
    for holder in known.holders.iter().filter(|it| it.id.0 != known.id) {
        said.extend(rebuild::ask(&holder.address, &of.config.credentials).await);
    }
    said
}

async fn why_it_failed(log: &Log) -> String {
    let mut failed = log.failed();
    let why = failed.wait_for(Option::is_some).await.unwrap().clone();
    why.unwrap()
}

#[tokio::test]
async fn one_survivor_of_three_goes_on_in_the_next_generation_and_the_others_come_over() {
    let mut agents = agents(&Authority::new(), 3);
    let mut logs = form(&mut agents).await;
    for n in 0..10 {
        commit(&logs[n % 3], &n.to_string()).await;
    }
    let index = agree(&logs.iter().collect::<Vec<_>>()).await;
    let ids: Vec<_> = logs.iter().map(Log::id).collect();
    let cluster_id = logs[0].cluster_id().to_owned();
    let leader = acting(&logs.iter().collect::<Vec<_>>()).await;
    // The survivor is a follower with a nonce of its own; the last two are gone for now.
    let survivor = (1..3).find(|n| *n != leader).unwrap_or(1);
    let data = agents[survivor].config.data_dir.clone();
    let mut left: Vec<Option<Log>> = logs.drain(..).map(Some).collect();
    let looked = rebuild::look(&data, CLUSTER).await;
    assert!(matches!(looked, Err(Error::Locked { .. })), "it runs");
    end(left[survivor].take().unwrap()).await;

    // While the others are a majority, they are seen to be.
    let known = rebuild::look(&data, CLUSTER).await.unwrap();
    assert_eq!((known.holders.len(), known.generation), (3, 1));
    assert_eq!(known.cluster_id, cluster_id);
    assert!(known.holders.iter().all(|it| it.votes));
    eventually("a leader stands behind both", || async {
        let said = ask_others(&known, &agents[survivor]).await;
        let led = said.iter().all(|it| it.generation == 1 && it.led);
        (said.len() == 2 && led).then_some(())
    })
    .await;
    // One alone names no leader, though it had one.
    let other = (1..3).find(|n| *n != survivor).unwrap();
    let another = 0;
    end(left[other].take().unwrap()).await;
    let said = eventually("the last one is led by nobody", || async {
        let said = ask_others(&known, &agents[survivor]).await;
        (said.len() == 1 && !said[0].led).then_some(said)
    })
    .await;
    assert_eq!(said[0].generation, 1);
    assert!(said[0].last >= known.last);
    let stays = left[another].take().unwrap();

    let made = rebuild::recover(&data, CLUSTER, 2).await.unwrap();
    assert_eq!(made.generation, 2);
    assert!(made.index >= index);
    assert_eq!(generation(&data), Some(2));
    // A second time is the same, and an earlier generation is refused.
    assert_eq!(rebuild::recover(&data, CLUSTER, 2).await.unwrap(), made);
    assert!(rebuild::recover(&data, CLUSTER, 1).await.is_err());
    let log = agents[survivor].start().await;
    assert_eq!((log.id(), log.generation()), (ids[survivor], 2));
    assert_eq!(log.cluster_id(), cluster_id);
    commit(&log, "on").await;
    assert!(digest(&log).0 > made.index);
    eventually("its leader looks around", || async {
        see(&log, |it| matches!(it.rebuilt, Some(Rebuilt::Since(_)))).then_some(())
    })
    .await;
    // This release alone holds the log, so that it raises it further.
    assert!(see(&log, Ledger::version) >= REBUILT);

    // One that ran all the while, and one that comes back, are told and have no part any
    // more; started again they have the ids that they had, but for a founder.
    let stayed = why_it_failed(&stays).await;
    assert!(stayed.contains("was rebuilt"), "{stayed}");
    end(stays).await;
    let back = agents[other].start().await;
    let why = why_it_failed(&back).await;
    assert!(
        why.contains("was rebuilt") && why.contains("generation 2"),
        "{why}"
    );
    assert!(!back.acting());
    assert!(!log.leadership().borrow().voters.contains(&back.id()));
    end(back).await;
    assert_eq!(generation(&agents[other].config.data_dir), None);
    let seed = agents[survivor].config.member.peer_address.clone();
    for n in [other, another] {
        agents[n].config.seeds = vec![seed.clone()].into();
    }
    let back = agents[other].start().await;
    assert_eq!((back.id(), back.generation()), (ids[other], 2));
    let founder = agents[another].start().await;
    assert_eq!(founder.generation(), 2);
    assert!(founder.id() > ids[survivor]);
    commit(&back, "over").await;
    agree(&[&log, &back, &founder]).await;
    eventually("all three vote", || async {
        (log.leadership().borrow().voters.len() == 3).then_some(())
    })
    .await;
    assert_eq!(see(&log, |it| it.members.len()), 3);
}

#[tokio::test]
async fn an_agent_of_the_old_generation_that_is_told_before_its_start_takes_no_part_in_it() {
    let mut agents = agents(&Authority::new(), 3);
    let logs = form(&mut agents).await;
    let ids: Vec<_> = logs.iter().map(Log::id).collect();
    agree(&logs.iter().collect::<Vec<_>>()).await;
    for log in logs {
        end(log).await;
    }
    let data = agents[1].config.data_dir.clone();
    rebuild::recover(&data, CLUSTER, 5).await.unwrap();
    let log = agents[1].start().await;
    let other = agents[2].config.data_dir.clone();
    assert_eq!(generation(&other), Some(1));
    supersede(&other, "it goes on in generation 5").unwrap();
    assert_eq!(generation(&other), None);
    let back = agents[2].start().await;
    assert_eq!((back.id(), back.generation()), (ids[2], 5));
    agree(&[&log, &back]).await;
}

/// Lets an agent commit something and end: its data directory.
async fn ended(agent: &mut Agent) -> PathBuf {
    let log = agent.start().await;
    commit(&log, "x").await;
    end(log).await;
    agent.config.data_dir.clone()
}

/// Threads of what was dropped have a data directory for a moment longer: nothing is moved
/// under them.
fn let_go(data: &Path) {
    for theirs in ["lock", "raft/sled/db"] {
        let file = std::fs::File::open(data.join(theirs)).unwrap();
        file.lock().unwrap();
    }
}

#[tokio::test]
async fn a_rebuilding_that_was_broken_off_leaves_the_former_log_or_goes_on() {
    let mut agents = agents(&Authority::new(), 1);
    let data = ended(&mut agents[0]).await;
    let former = rebuild::look(&data, CLUSTER).await.unwrap();
    // Half a draft is nothing.
    std::fs::create_dir_all(data.join("rebuilt/raft/sled")).unwrap();
    std::fs::write(data.join("rebuilt/raft/sled/db"), "half").unwrap();
    assert_eq!(rebuild::look(&data, CLUSTER).await.unwrap(), former);
    let made = rebuild::recover(&data, CLUSTER, 2).await.unwrap();
    // A whole one that was not yet put in place, with the former log still there or moved
    // aside already.
    let back = || {
        let_go(&data);
        std::fs::create_dir_all(data.join("rebuilt")).unwrap();
        std::fs::rename(data.join("raft"), data.join("rebuilt/raft")).unwrap();
    };
    for begun in [true, false] {
        back();
        if begun {
            std::fs::create_dir_all(data.join("raft")).unwrap();
        }
        assert_eq!(rebuild::recover(&data, CLUSTER, 2).await.unwrap(), made);
    }
    back();
    let known = rebuild::look(&data, CLUSTER).await.unwrap();
    assert_eq!(known.generation, 2);
    assert!(!data.join("rebuilt").exists());
    let log = agents[0].start().await;
    assert_eq!(log.generation(), 2);
    commit(&log, "y").await;
}

#[tokio::test]
async fn i3_a_draft_of_long_ago_replaces_no_log_that_went_on() {
    let mut agents = agents(&Authority::new(), 1);
    let data = ended(&mut agents[0]).await;
    // A rebuilding whose last step failed, after which the agent was started again.
    let_go(&data);
    copy(&data.join("raft"), &data.join("kept"));
    let drafted = rebuild::recover(&data, CLUSTER, 2).await.unwrap();
    let_go(&data);
    std::fs::create_dir_all(data.join("rebuilt")).unwrap();
    std::fs::rename(data.join("raft"), data.join("rebuilt/raft")).unwrap();
    std::fs::rename(data.join("kept"), data.join("raft")).unwrap();
    let log = agents[0].start().await;
    assert_eq!(log.generation(), 1);
    for _ in 0..5 {
        commit(&log, "y").await;
    }
    let acknowledged = digest(&log).0;
    assert!(acknowledged > drafted.index);
    end(log).await;
    let made = rebuild::recover(&data, CLUSTER, 2).await.unwrap();
    assert!(made.index >= acknowledged, "{made:?}, {acknowledged}");
}

#[tokio::test]
async fn a_snapshot_is_restored_to_an_empty_directory_as_a_cluster_of_its_own() {
    let authority = Authority::new();
    let mut agents = agents(&authority, 2);
    let mut fresh = agents.pop().unwrap();
    let logs = form(&mut agents).await;
    commit(&logs[0], "x").await;
    let sealed = completed(|| logs[0].save()).await;
    let former = export::inspect(&sealed).unwrap();
    let (data, member) = (fresh.config.data_dir.clone(), fresh.config.member.clone());
    let into = |dir: PathBuf, cluster: &'static str, sealed: Vec<u8>| {
        let member = member.clone();
        async move { rebuild::restore(&dir, &member, cluster, &sealed).await }
    };
    let refused = into(data.clone(), "other", sealed.clone()).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("is of cluster test"), "{refused}");
    let cut = sealed[..sealed.len() - 1].to_vec();
    assert!(into(data.clone(), CLUSTER, cut).await.is_err());
    assert_eq!(past(&data).unwrap(), Past::Nothing, "nothing was made");
    let used = agents[0].config.data_dir.clone();
    let refused = into(used, CLUSTER, sealed.clone()).await.unwrap_err();
    let refused = refused.to_string();
    assert!(refused.contains("holds a log already"), "{refused}");

    let made = into(data, CLUSTER, sealed).await.unwrap();
    assert_eq!((made.generation, made.index), (2, former.index + 1));
    fresh.config.seeds = Vec::new().into();
    let log = fresh.start().await;
    assert_eq!(log.generation(), 2);
    assert_ne!(log.cluster_id(), logs[0].cluster_id());
    commit(&log, "on").await;
    let members: Vec<String> = see(&log, |it| {
        let members = it.members.values();
        members.map(|it| it.member.name.clone()).collect()
    });
    assert_eq!(members, ["agent-0", "agent-1"]);
}

#[tokio::test]
async fn a_snapshot_of_a_newer_ledger_is_not_restored() {
    const NEXT: u32 = HIGHEST + 1;
    let authority = Authority::new();
    let mut agents = agents(&authority, 2);
    let fresh = agents.pop().unwrap();
    agents[0].config.ledger_version = NEXT;
    let log = agents[0].start().await;
    eventually("the next version is in force", || async {
        (see(&log, Ledger::version) == NEXT).then_some(())
    })
    .await;
    let sealed = completed(|| log.save()).await;
    let (data, member) = (fresh.config.data_dir.clone(), fresh.config.member.clone());
    let refused = rebuild::restore(&data, &member, CLUSTER, &sealed).await;
    let refused = refused.unwrap_err().to_string();
    let wanted = format!("version {NEXT}");
    assert!(refused.contains(&wanted), "{refused}");
    assert_eq!(past(&data).unwrap(), Past::Nothing);
}

#[tokio::test]
async fn an_older_release_is_not_let_into_a_rebuilt_cluster() {
    let mut agents = agents(&Authority::new(), 2);
    for agent in &mut agents {
        agent.config.ledger_version = FIRST;
    }
    let logs = form(&mut agents).await;
    assert_eq!(see(&logs[1], Ledger::version), FIRST);
    agree(&logs.iter().collect::<Vec<_>>()).await;
    for log in logs {
        end(log).await;
    }
    let data = agents[0].config.data_dir.clone();
    rebuild::recover(&data, CLUSTER, 2).await.unwrap();
    let refused = agents[0].try_start().await.err().unwrap().to_string();
    assert!(refused.contains("version 2"), "{refused}");
    agents[0].config.ledger_version = HIGHEST;
    let log = agents[0].start().await;
    commit(&log, "on").await;
}
