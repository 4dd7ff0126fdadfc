//! Over real sockets on loopback.

mod cluster;
mod hostile;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use starling_engine::demand::{CPU, Summary, Totals};
use starling_engine::unit::{Ms, NodeId};
use tokio::sync::mpsc;

use super::{Clock, Config, Error, Key, LIFE_SPAN, Timing};

const KEY: Key = Key([7; 32]);

fn config(node: u64, address: &std::net::SocketAddr) -> Config {
    Config {
        node: NodeId(node),
        name: format!("node-{node}"),
        cluster: "blue".into(),
        generation: 1,
        keys: vec![KEY],
        advertise: address.to_string(),
        timing: Timing::default(),
        life: life(),
        clock: Clock(std::sync::Arc::new(clock)),
    }
}

/// Higher each time.
fn life() -> u64 {
    static LIVES: AtomicU64 = AtomicU64::new(1);
    LIVES.fetch_add(1, Ordering::Relaxed) * LIFE_SPAN
}

/// One that all nodes of a test share.
fn clock() -> Ms {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Ms(since.unwrap().as_millis() as u64)
}

fn bind() -> (std::net::UdpSocket, std::net::SocketAddr) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

fn summary(node: u64, cpu_used_milli: u64) -> Summary {
    let mut totals = Totals::default();
    totals.set(CPU, cpu_used_milli, None);
    Summary {
        node: NodeId(node),
        sequence: clock().0 * 1_000 + cpu_used_milli,
        at: clock(),
        totals,
        ..Summary::default()
    }
}

#[tokio::test]
async fn a_config_that_cant_work_is_refused() {
    let (events, _receiver) = mpsc::channel(1);
    let refused = |change: &dyn Fn(&mut Config)| {
        let (socket, address) = bind();
        let mut config = config(1, &address);
        change(&mut config);
        super::start(config, socket, events.clone()).unwrap_err()
    };
    assert!(matches!(refused(&|c| c.keys.clear()), Error::NoKey));
    for advertise in ["", "here", "0.0.0.0:7401", "127.0.0.1:0"] {
        let error = refused(&|c| c.advertise = advertise.into());
        assert!(matches!(error, Error::Advertise(_)), "{error}");
    }
    assert!(matches!(
        refused(&|c| c.timing.push_ms = 0),
        Error::Timing(_)
    ));
    let error = refused(&|c| c.timing.answer_ms = c.timing.probe_ms);
    assert!(matches!(error, Error::Timing(_)), "{error}");
}

#[tokio::test]
async fn leaving_alone_takes_no_time_and_dropping_ends_it() {
    let (socket, address) = bind();
    let (events, mut receiver) = mpsc::channel(1);
    let gossip = super::start(config(1, &address), socket, events).unwrap();
    assert_eq!(
        receiver.recv().await,
        Some(super::Event::Alive(vec![NodeId(1)]))
    );
    tokio::time::timeout(Duration::from_secs(10), gossip.leave())
        .await
        .unwrap();
    assert_eq!(receiver.recv().await, None);

    let (socket, address) = bind();
    let (events, mut receiver) = mpsc::channel(1);
    let gossip = super::start(config(1, &address), socket, events).unwrap();
    drop(gossip);
    while receiver.recv().await.is_some() {}
    std::net::UdpSocket::bind(address).expect("the socket is closed");
}
