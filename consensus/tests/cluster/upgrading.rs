//! Agents of two releases in one cluster: one that supports the next version of the
//! ledger, and one that doesn't yet.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use prost::Message as _;
use starling_consensus::{Error, Log};
use starling_engine::ledger::version::{FIRST, HIGHEST};
use starling_proto::log::wire;
use starling_proto::raft::{Envelope, JoinRequest, Member, RaftRequest};
use tokio::task::JoinHandle;
use tonic::Code;

use crate::ailing::released;
use crate::harness::{
    Agent, Authority, CLUSTER, acting, agree, command, commit, completed, eventually, form,
};
use crate::refusing::client;

/// What no release has yet, and agents of a later one would support.
const NEXT: u32 = HIGHEST + 1;

fn version(log: &Log) -> u32 {
    log.ledger().read().unwrap().version()
}

async fn stop(logs: &mut Vec<Log>, n: usize) {
    logs.remove(n).shutdown().await;
}

async fn start(agents: &mut [Agent], logs: &mut Vec<Log>, n: usize, supports: u32) {
    agents[n].config.ledger_version = supports;
    logs.insert(n, agents[n].start().await);
}

async fn restart(agents: &mut [Agent], logs: &mut Vec<Log>, n: usize, supports: u32) {
    stop(logs, n).await;
    start(agents, logs, n, supports).await;
}

/// A client that commands one agent without a pause.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Load {
    fn on(log: Log) -> Load {
        let (stop, done) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (stopped, counted) = (stop.clone(), done.clone());
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                if log.propose(command("load")).await.is_ok() {
                    counted.fetch_add(1, Ordering::Relaxed);
                } else {
                    tokio::task::yield_now().await;
                }
            }
        });
        Load { stop, done, task }
    }

    /// Ends it, and lets go of the agent.
    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
    }

    /// It gets on.
    async fn goes_on(&self) {
        let before = self.done.load(Ordering::Relaxed);
        eventually("the load goes on", || async {
            (self.done.load(Ordering::Relaxed) > before + 5).then_some(())
        })
        .await;
    }
}

/// All files below `dir`.
fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        for file in std::fs::read_dir(dir).unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                all.insert(path.display().to_string(), bytes);
            }
        }
    }
    all
}

#[tokio::test]
async fn agents_are_upgraded_one_by_one_under_load_and_the_way_back_is_open_until_all_are() {
    let authority = Authority::new();
    let mut agents = Agent::some(&authority, 3);
    assert_eq!(agents[0].config.ledger_version, FIRST);
    let mut logs = form(&mut agents).await;
    let load = Load::on(logs[2].clone());
    for n in [0, 1] {
        restart(&mut agents, &mut logs, n, NEXT).await;
        load.goes_on().await;
    }
    // One goes back, since not all are there yet.
    restart(&mut agents, &mut logs, 1, FIRST).await;
    load.goes_on().await;
    assert!(logs.iter().all(|log| version(log) == FIRST));
    restart(&mut agents, &mut logs, 1, NEXT).await;
    load.goes_on().await;
    assert!(logs.iter().all(|log| version(log) == FIRST));
    load.end().await;

    let load = Load::on(logs[0].clone());
    restart(&mut agents, &mut logs, 2, NEXT).await;
    eventually("all have the next version", || async {
        logs.iter().all(|log| version(log) == NEXT).then_some(())
    })
    .await;
    load.goes_on().await;
    load.end().await;
    commit(&logs[1], "after").await;
    agree(&logs.iter().collect::<Vec<_>>()).await;

    // The way back is refused, by a log and by a snapshot, and changes nothing.
    for compacted in [false, true] {
        if compacted {
            completed(|| logs[2].compact()).await;
        }
        stop(&mut logs, 2).await;
        agents[2].config.ledger_version = FIRST;
        released(&agents[2]);
        let before = contents(&agents[2].config.data_dir);
        assert!(before.len() > 5, "{:?}", before.keys());
        let refused = agents[2].try_start().await.err().unwrap();
        assert!(matches!(refused, Error::Unreadable { .. }), "{refused}");
        let words = refused.to_string();
        let release = env!("CARGO_PKG_VERSION");
        assert!(
            words.contains(&format!("version {NEXT}")) && words.contains(release),
            "{words}"
        );
        let after = contents(&agents[2].config.data_dir);
        let changed = before.keys().chain(after.keys());
        let changed: Vec<_> = changed
            .filter(|file| before.get(*file) != after.get(*file))
            .collect();
        assert_eq!(changed, Vec::<&String>::new(), "not a byte is changed");

        start(&mut agents, &mut logs, 2, NEXT).await;
        commit(&logs[2], "back").await;
        agree(&logs.iter().collect::<Vec<_>>()).await;
    }

    // Nor is an old one let in.
    let leader = acting(&logs.iter().collect::<Vec<_>>()).await;
    let tls = authority.sign(&["peer.starling", "old"]);
    let mut client = client(&agents[leader].config.member.peer_address, &tls);
    let join = |ledger_version| JoinRequest {
        cluster: CLUSTER.into(),
        nonce: "0123456789abcdef0123456789abcdef".into(),
        member: Some(Member {
            name: "old".into(),
            peer_address: "127.0.0.1:9".into(),
            ..Member::default()
        }),
        cluster_id: String::new(),
        ledger_version,
    };
    for silent_or_old in [0, FIRST] {
        let status = client.join(join(silent_or_old)).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert!(status.message().contains("too old"), "{status}");
    }
    client.join(join(NEXT)).await.unwrap();
}

#[tokio::test]
async fn an_agent_that_meets_a_newer_entry_takes_no_further_part_and_says_what_it_needs() {
    let authority = Authority::new();
    let mut agents = Agent::some(&authority, 3);
    let logs = form(&mut agents).await;
    let all: Vec<_> = logs.iter().collect();
    let leader = acting(&all).await;
    let (met, sender) = ((leader + 1) % 3, (leader + 2) % 3);
    let tls = authority.sign(&["peer.starling", &agents[sender].config.member.name]);
    let mut client = client(&agents[met].config.member.peer_address, &tls);
    let index = agree(&all).await;
    let vote = Some(wire::Vote {
        term: 1_000,
        node: logs[sender].id().0,
        committed: true,
    });
    let entry = wire::LogEntry {
        id: Some(wire::LogId {
            term: 1_000,
            node: logs[sender].id().0,
            index: 1_000,
        }),
        payload: Some(wire::log_entry::Payload::Batch(wire::Batch {
            entries: vec![],
            needs: Some(wire::Raised {
                version: 9,
                release: "7.8.9".into(),
            }),
        })),
    };
    let envelope = || {
        Some(Envelope {
            target: logs[met].id().0,
            sender: logs[sender].id().0,
            cluster: CLUSTER.into(),
            generation: 1,
            cluster_id: logs[met].cluster_id().into(),
        })
    };
    let append = wire::AppendRequest {
        vote,
        entries: vec![entry.encode_to_vec()],
        ..wire::AppendRequest::default()
    };
    let request = RaftRequest {
        envelope: envelope(),
        body: append.encode_to_vec(),
        alone: false,
    };
    let status = client.append(request).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    let mut failed = logs[met].failed();
    let why = failed.wait_for(Option::is_some).await.unwrap().clone();
    let why = why.unwrap();
    assert!(why.contains("7.8.9") && why.contains("version 9"), "{why}");

    // It votes no more, and its log is as it was.
    let ask = wire::VoteRequest {
        vote: Some(wire::Vote {
            term: 2_000,
            node: logs[sender].id().0,
            committed: false,
        }),
        last: None,
    };
    let request = RaftRequest {
        envelope: envelope(),
        body: ask.encode_to_vec(),
        alone: false,
    };
    let status = client.vote(request).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(logs[met].ledger().read().unwrap().index >= index);
    // The others go on without it.
    let others = [&logs[leader], &logs[sender]];
    commit(others[1], "without it").await;
    agree(&others).await;
}
