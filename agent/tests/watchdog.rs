//! A leader that hangs or is halted, among real logs: the others have a leader soon.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use starling_agent::run::watchdog::{self, Pulse};
use starling_consensus::{Config, Credentials, Error, Kept, Log, Timing, Tls, Upkeep};
use starling_engine::demand::Summary;
use starling_engine::ledger::{self, CHECKPOINT_EVERY, Command, Member};
use starling_engine::node::{self as engine, Input, Output};
use starling_keys::{Authority, Node, Role};

const CLUSTER: &str = "test";

async fn start(dir: &Path, authority: &Authority, name: &str, seeds: &[String]) -> (Log, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let node = Node {
        name: name.into(),
        ..Node::default()
    };
    let leaf = authority.issue(Role::Node(&node)).unwrap();
    let tls = Tls {
        ca: authority.certificate.clone(),
        certificate: leaf.certificate,
        key: leaf.key,
    };
    let config = Config {
        data_dir: dir.join(name),
        member: Member {
            name: name.into(),
            peer_address: address.clone(),
            gossip_address: "127.0.0.1:1".into(),
            api_address: "127.0.0.1:2".into(),
            zone: String::new(),
        },
        cluster: CLUSTER.into(),
        seeds: seeds.to_vec().into(),
        bootstrap: seeds.is_empty(),
        cluster_id: None,
        founding: starling_consensus::Founding::default(),
        authority: None,
        timing: Timing::default(),
        upkeep: Upkeep::default(),
        ledger_version: starling_engine::ledger::version::HIGHEST,
        credentials: Credentials::new(&tls).unwrap(),
    };
    (Log::start(config, listener).await.unwrap(), address)
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !holds() {
        assert!(Instant::now() < deadline, "never seen: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A runtime as an agent has one, with a loop that turns and decides.
fn agent(log: &Log, pulse: &Pulse) -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (log, pulse) = (log.clone(), pulse.clone());
    let entered = runtime.enter();
    watchdog::start(log, pulse.clone()).unwrap();
    drop(entered);
    std::thread::spawn(move || {
        loop {
            pulse.turned();
            pulse.passed();
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    runtime
}

/// Three agents' logs that vote, and which of them acts.
async fn three(dir: &Path) -> (Vec<Log>, usize) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let authority = Authority::found(CLUSTER).unwrap();
    let mut logs = Vec::new();
    let mut seeds = Vec::new();
    for name in ["a", "b", "c"] {
        let (log, address) = start(dir, &authority, name, &seeds).await;
        logs.push(log);
        seeds.push(address);
    }
    let voters = || logs[0].leadership().borrow().voters.len();
    until("three voters", || voters() == 3).await;
    let mut leader = None;
    until("a leader that may act", || {
        leader = logs.iter().position(Log::acting);
        leader.is_some()
    })
    .await;
    (logs, leader.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_only_thread_is_held_up_gives_the_lead_to_another() {
    let dir = tempfile::tempdir().unwrap();
    let (logs, hung) = three(dir.path()).await;
    let pulse = Pulse::default();
    let runtime = agent(&logs[hung], &pulse);
    let (release, released) = mpsc::channel::<()>();
    runtime.spawn(async move {
        let _ = released.recv();
    });
    let others = || logs.iter().enumerate().filter(|(at, _)| *at != hung);
    until("another leader", || others().any(|(_, log)| log.acting())).await;
    assert!(!logs[hung].acting());
    pulse.ended();
    drop(release);
    runtime.shutdown_background();
}

/// Its ledger really differs, its own engine finds that out from what the others say, and
/// from then on it neither leads nor comes to lead.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_ledger_is_halted_gives_the_lead_away_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let (mut logs, halted) = three(dir.path()).await;
    let wrong = ledger::Authority {
        certificate: "nobody else has it".into(),
        key: String::new(),
    };
    logs[halted].ledger().write().unwrap().authority = Some(wrong);
    for _ in 0..2 * CHECKPOINT_EVERY {
        // On a busy disk the lead may move, and the outcome of one be unknown.
        let deadline = Instant::now() + Duration::from_mins(1);
        while let Err(why) = logs[halted].propose(nothing()).await {
            assert!(Instant::now() < deadline, "{why}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let index = |log: &Log| log.ledger().read().unwrap().index;
    let reached = index(&logs[halted]);
    until("all have it", || {
        logs.iter().all(|log| index(log) >= reached)
    })
    .await;

    let mut node = engine::Node::new(logs[halted].id());
    let mut outputs = Vec::new();
    let ledger = logs[halted].ledger();
    let mut step = |input| {
        let now = logs[halted].clock().now();
        outputs.extend(node.step(now, input, &ledger.read().unwrap()));
    };
    for log in logs.iter().filter(|log| log.id() != logs[halted].id()) {
        step(Input::Heard(Summary {
            node: log.id(),
            sequence: 1,
            at: log.clock().now(),
            checkpoint: log.ledger().read().unwrap().checkpoints.back().copied(),
            ..Summary::default()
        }));
    }
    step(Input::Tick);
    let why = outputs.iter().find_map(|output| match output {
        Output::Halt(why) => Some(why.clone()),
        _ => None,
    });
    assert!(why.is_some_and(|why| why.contains("differs from 2 others'")));
    drop(ledger);

    let pulse = Pulse::default();
    let runtime = agent(&logs[halted], &pulse);
    pulse.halted();
    let others = |logs: &[Log]| {
        let others = logs.iter().enumerate();
        let acting = others.filter(|(_, log)| log.acting());
        acting.map(|(at, _)| at).find(|at| *at != halted)
    };
    // Nobody can give it the lead once its watchdog has looked, which is after half a second, and
    // it doesn't take it where the leader's process ends.
    let id = logs[halted].id();
    let began = Instant::now();
    let next = loop {
        let asked = began.elapsed();
        assert!(asked < Duration::from_mins(1), "it doesn't refuse the lead");
        if let Some(next) = others(&logs) {
            let given = logs[next].transfer(Some(id)).await;
            let taken = given.as_ref().is_ok_and(|leader| *leader == id);
            assert!(
                !taken || asked < Duration::from_secs(5),
                "it took the lead {asked:?} after it was halted"
            );
            // Who doesn't answer at all is called silent too, and refuses nothing.
            let silent = matches!(given, Err(Error::LeadKept(Kept::Silent(_))));
            if silent && logs[next].answers(id).await.unwrap() {
                break next;
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    logs[next].shutdown().await;
    let third = 3 - halted - next;
    until("the third leads", || {
        assert!(!logs[halted].acting(), "the halted one leads");
        logs[third].acting()
    })
    .await;
    pulse.ended();
    runtime.shutdown_background();
    logs.clear();
}

/// A command that changes nothing but the ledger's index and time.
fn nothing() -> Command {
    Command::RemovePolicy {
        name: "nothing".into(),
        source: None,
    }
}
