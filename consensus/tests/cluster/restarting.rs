//! Agents that crash, restart, move or lose their disk.

use std::path::Path;
use std::time::Duration;

use starling_consensus::Log;
use starling_engine::unit::NodeId;

use crate::harness::{
    Agent, Authority, acting, agree, command, commit, completed, digest, eventually, form,
};

#[tokio::test]
async fn a_single_agent_restarts_with_its_state() {
    let mut agents = Agent::some(&Authority::new(), 1);
    let log = agents[0].start().await;
    for n in 0..10 {
        commit(&log, &n.to_string()).await;
    }
    let before = digest(&log);
    log.shutdown().await;
    drop(log);

    let log = agents[0].start().await;
    assert_eq!(log.id(), NodeId(1));
    eventually("its state is back", || async {
        (digest(&log) == before).then_some(())
    })
    .await;
    commit(&log, "more").await;
    assert_eq!(digest(&log).0, before.0 + 1);
}

#[tokio::test]
async fn an_agent_that_missed_purged_entries_gets_a_snapshot() {
    let mut agents = Agent::some(&Authority::new(), 4);
    let mut late = agents.pop().unwrap();
    let mut logs = form(&mut agents).await;
    drop(logs.pop());
    for n in 0..10 {
        // Larger than a snapshot's part, all in all.
        let source = format!("{n}-{}", "x".repeat(1_000));
        commit(&logs[0], &source).await;
    }
    agree(&[&logs[0], &logs[1]]).await;
    for log in &logs {
        completed(|| log.compact()).await;
    }

    let back = agents[2].start().await;
    let new = late.start().await;
    commit(&logs[1], "y").await;
    let before = agree(&[&logs[0], &logs[1], &back, &new]).await;

    // The snapshot is all that a restarted agent has of the purged entries.
    for log in [&logs[0], &logs[1], &back, &new] {
        log.shutdown().await;
    }
    drop((logs, back, new));
    let mut logs = Vec::new();
    for agent in agents.iter_mut().chain([&mut late]) {
        logs.push(agent.start().await);
    }
    commit(&logs[0], "z").await;
    assert!(agree(&logs.iter().collect::<Vec<_>>()).await > before);
}

pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let to = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            copy(&file.path(), &to);
        } else {
            std::fs::copy(file.path(), to).unwrap();
        }
    }
}

/// Shows that an acknowledged command has left the process, not that it would
/// survive a power cut: a copy sees the kernel's cache too. That fdatasync is
/// called before each acknowledgement is the next test's business.
#[tokio::test]
async fn what_was_acknowledged_is_in_the_files_at_that_moment() {
    let mut agents = Agent::some(&Authority::new(), 1);
    let log = agents[0].start().await;
    // Until then it writes by itself, and nothing may be written while files are copied.
    eventually("it has admitted itself", || async {
        (!log.ledger().read().unwrap().members.is_empty()).then_some(())
    })
    .await;
    for round in 0..5 {
        commit(&log, &round.to_string()).await;
        let before = digest(&log);
        let dir = tempfile::TempDir::new().unwrap();
        copy(&agents[0].config.data_dir, &dir.path().join("data"));

        let mut copied = Agent::some(&Authority::new(), 1).remove(0);
        copied.config.data_dir = dir.path().join("data");
        let reopened = copied.start().await;
        assert_eq!(reopened.id(), NodeId(1));
        eventually("the copy has the acknowledged state", || async {
            // The copy's leader may already have noted its own new address.
            (digest(&reopened).0 >= before.0).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn every_acknowledged_command_was_synced() {
    let mut agents = Agent::some(&Authority::new(), 1);
    let log = agents[0].start().await;
    commit(&log, "x").await;
    for _ in 0..20 {
        let before = eventually("a command is acknowledged", || async {
            let before = log.disk_syncs();
            let acknowledged = log.propose(command("x")).await.is_ok();
            acknowledged.then_some(before)
        })
        .await;
        assert!(log.disk_syncs() > before);
    }
}

#[tokio::test]
async fn an_agent_that_lost_its_disk_comes_back_under_a_new_id() {
    let mut agents = Agent::some(&Authority::new(), 3);
    let mut logs = form(&mut agents).await;
    let former = logs[2].id();
    drop(logs.pop());
    std::fs::remove_dir_all(&agents[2].config.data_dir).unwrap();

    let back = agents[2].start().await;
    assert!(back.id() > former);
    eventually("the former id is gone and the new one votes", || async {
        let seen = logs[0].leadership().borrow().clone();
        let known = |id| seen.voters.contains(&id) || seen.learners.contains(&id);
        (seen.voters.contains(&back.id()) && !known(former)).then_some(())
    })
    .await;
    agree(&[&logs[0], &logs[1], &back]).await;
}

#[tokio::test]
async fn a_damaged_log_is_moved_aside_and_its_owner_joins_again() {
    let mut agents = Agent::some(&Authority::new(), 3);
    let mut logs = form(&mut agents).await;
    for _ in 0..5 {
        commit(&logs[0], "x").await;
    }
    agree(&logs.iter().collect::<Vec<_>>()).await;
    let former = logs[2].id();
    logs[2].shutdown().await;
    drop(logs.pop());
    // What sled recovers is then shorter than what the last write said.
    let db = agents[2].data("raft/sled/db");
    let bytes = std::fs::read(&db).unwrap();
    std::fs::write(&db, vec![0xA5; bytes.len()]).unwrap();

    let back = agents[2].start().await;
    assert!(back.id() > former);
    let aside = std::fs::read_dir(&agents[2].config.data_dir)
        .unwrap()
        .filter(|f| {
            let name = f.as_ref().unwrap().file_name();
            name.to_string_lossy().starts_with("raft.doubtful-")
        })
        .count();
    assert_eq!(aside, 1);
    agree(&[&logs[0], &logs[1], &back]).await;
}

#[tokio::test]
async fn agents_that_come_back_at_other_addresses_find_each_other_through_their_seeds() {
    let mut agents = Agent::some(&Authority::new(), 3);
    let logs = form(&mut agents).await;
    commit(&logs[0], "x").await;
    let before = agree(&logs.iter().collect::<Vec<_>>()).await;
    for log in &logs {
        log.shutdown().await;
    }
    drop(logs);

    for agent in &mut agents {
        agent.move_away();
    }
    let seeds: Vec<String> = agents
        .iter()
        .map(|a| a.config.member.peer_address.clone())
        .collect();
    let mut logs = Vec::new();
    for agent in &mut agents {
        agent.config.seeds = seeds.clone().into();
        logs.push(agent.start().await);
    }
    commit(&logs[1], "y").await;
    eventually("the ledger has all new addresses", || async {
        let ledger = logs[0].ledger();
        let ledger = ledger.read().unwrap();
        let known: Vec<_> = ledger
            .members
            .values()
            .map(|m| &m.member.peer_address)
            .collect();
        seeds.iter().all(|seed| known.contains(&seed)).then_some(())
    })
    .await;
    assert!(agree(&logs.iter().collect::<Vec<_>>()).await > before);
}

/// Ends an agent, lets its directory go back to `then`, and starts it again.
async fn go_back(agent: &mut Agent, log: Log, then: &Path) {
    log.shutdown().await;
    drop(log);
    std::fs::remove_dir_all(&agent.config.data_dir).unwrap();
    copy(then, &agent.config.data_dir);
}

/// An agent that was ended and started again, with its directory as it was between.
async fn copied(agent: &mut Agent, log: Log, to: &Path) -> Log {
    log.shutdown().await;
    drop(log);
    copy(&agent.config.data_dir, to);
    agent.start().await
}

#[tokio::test]
async fn a_whole_directory_that_went_back_rejoins_as_a_new_member() {
    for leading in [false, true] {
        let mut agents = Agent::some(&Authority::new(), 3);
        // A founder that lost its log joins whom it can find.
        let second = agents[1].config.member.peer_address.clone();
        agents[0].config.seeds = vec![second].into();
        agents[0].config.founding.silent = Duration::ZERO;
        let mut logs = form(&mut agents).await;
        let leader = acting(&logs.iter().collect::<Vec<_>>()).await;
        let chosen = if leading { leader } else { (leader + 1) % 3 };
        let then = tempfile::TempDir::new().unwrap();
        let then = then.path().join("then");
        let log = copied(&mut agents[chosen], logs.remove(chosen), &then).await;
        let former = log.id();
        commit(&logs[0], "acknowledged meanwhile").await;
        agree(&[&logs[0], &logs[1], &log]).await;

        go_back(&mut agents[chosen], log, &then).await;
        let back = agents[chosen].start().await;
        assert!(back.id() > former, "leading {leading}");
        agree(&[&logs[0], &logs[1], &back]).await;
        assert!(logs[0].ledger().read().unwrap().members.len() == 3);
    }
}

/// The term in which it leads.
fn leads_in(log: &Log) -> Option<u64> {
    let seen = log.leadership().borrow().clone();
    (seen.leader == Some(log.id())).then_some(seen.term)
}

/// Three agents of which two have ended, and whose directories went back; the log of the first,
/// which goes on; and the index up to which all was acknowledged before. Only who leads learns
/// how far the others are: where another one came to lead meanwhile, all begins anew.
async fn two_went_back() -> (Vec<Agent>, Log, u64) {
    for _ in 0..3 {
        let mut agents = Agent::some(&Authority::new(), 3);
        let mut logs = form(&mut agents).await;
        commit(&logs[0], "x").await;
        agree(&logs.iter().collect::<Vec<_>>()).await;
        let dir = tempfile::TempDir::new().unwrap();
        let (first, second) = (dir.path().join("1"), dir.path().join("2"));
        let log = copied(&mut agents[1], logs.remove(1), &first).await;
        logs.insert(1, log);
        let log = copied(&mut agents[2], logs.remove(2), &second).await;
        logs.push(log);
        let term = eventually("the first one leads", || async {
            let leader = acting(&logs.iter().collect::<Vec<_>>()).await;
            if leader != 0 {
                logs[leader].transfer(Some(logs[0].id())).await.ok();
            }
            leads_in(&logs[0])
        })
        .await;
        for _ in 0..5 {
            commit(&logs[0], "acknowledged").await;
        }
        let before = agree(&logs.iter().collect::<Vec<_>>()).await;

        let log = logs.pop().unwrap();
        go_back(&mut agents[2], log, &second).await;
        let log = logs.pop().unwrap();
        go_back(&mut agents[1], log, &first).await;
        let stays = logs.pop().unwrap();
        if leads_in(&stays) == Some(term) {
            return (agents, stays, before);
        }
        eprintln!("tried again: another one came to lead");
    }
    panic!("each of three times another one came to lead");
}

/// The two could elect one of them and forget what the third has; it is there to
/// say so. Were it gone too, nobody could know.
#[tokio::test]
async fn a_majority_that_went_back_overwrites_nothing_that_one_who_is_there_knows() {
    let (mut agents, stays, before) = two_went_back().await;
    let mut third = agents.pop().unwrap();
    let mut second = agents.pop().unwrap();
    let both = async { tokio::join!(second.try_start(), third.try_start()) };
    let joined = tokio::time::timeout(Duration::from_secs(6), both).await;
    assert!(
        joined.is_err(),
        "a majority is gone: nobody can let them in"
    );
    assert!(digest(&stays).0 >= before && !stays.acting());
}

/// Its log ends before the leader was let in, so that others must tell it who
/// that is.
#[tokio::test]
async fn an_agent_that_was_away_follows_a_leader_that_came_meanwhile() {
    let mut agents = Agent::some(&Authority::new(), 4);
    let mut logs = form(&mut agents).await;
    commit(&logs[0], "x").await;
    agree(&logs.iter().collect::<Vec<_>>()).await;
    let away = logs.pop().unwrap();
    away.shutdown().await;
    drop(away);

    let leader = acting(&logs.iter().collect::<Vec<_>>()).await;
    let new = (leader + 1) % 3;
    drop(logs.remove(new));
    std::fs::remove_dir_all(&agents[new].config.data_dir).unwrap();
    let known = agents[leader].config.member.peer_address.clone();
    agents[new].config.seeds = vec![known].into();
    logs.push(agents[new].start().await);
    let id = logs[2].id();
    eventually("the new one votes", || async {
        let voters = logs[2].leadership().borrow().voters.clone();
        voters.contains(&id).then_some(())
    })
    .await;
    // Each of the others gives the lead away for good.
    eventually("the new one leads", || async {
        let all: Vec<_> = logs.iter().collect();
        let leader = acting(&all).await;
        if leader != 2 {
            logs[leader].hand_over().await.ok();
        }
        (leader == 2).then_some(())
    })
    .await;
    commit(&logs[2], "y").await;

    let back = agents[3].start().await;
    agree(&[&logs[0], &logs[1], &logs[2], &back]).await;
}

#[tokio::test]
async fn a_log_of_few_large_entries_is_compacted_too() {
    let mut agents = Agent::some(&Authority::new(), 1);
    let log = agents[0].start().await;
    let large = "x".repeat(1_000_000);
    for n in 0..68 {
        commit(&log, &format!("{n}-{large}")).await;
    }
    let snapshots = agents[0].data("raft/snapshots");
    eventually("a snapshot is written", || async {
        std::fs::read_dir(&snapshots).ok()?.next().map(drop)
    })
    .await;
    let before = digest(&log);
    log.shutdown().await;
    drop(log);
    let log = agents[0].start().await;
    eventually("its state is back", || async {
        (digest(&log) == before).then_some(())
    })
    .await;
}
