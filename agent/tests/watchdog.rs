//! A leader that hangs, among real logs: the others have a leader soon.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use starling_agent::run::watchdog::{self, Pulse};
use starling_consensus::{Config, Credentials, Log, Timing, Tls, Upkeep};
use starling_engine::ledger::Member;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_only_thread_is_held_up_gives_the_lead_to_another() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::found(CLUSTER).unwrap();
    let mut logs = Vec::new();
    let mut seeds = Vec::new();
    for name in ["a", "b", "c"] {
        let (log, address) = start(dir.path(), &authority, name, &seeds).await;
        logs.push(log);
        seeds.push(address);
    }
    let voters = || logs[0].leadership().borrow().voters.len();
    until("three voters", || voters() == 3).await;
    until("a leader that may act", || logs.iter().any(Log::acting)).await;
    let hung = logs.iter().position(Log::acting).unwrap();
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
