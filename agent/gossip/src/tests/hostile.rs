//! Datagrams that nobody of the cluster sent, or that were sent before.

use std::net::UdpSocket;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use prost::Message as _;
use starling_engine::demand::CPU;
use starling_engine::unit::NodeId;
use starling_proto::gossip as wire;
use starling_proto::summary as codec;

use super::super::seal::Seal;
use super::super::{Key, Stats};
use super::cluster::{Agent, all_alive, introduce};
use super::{KEY, bind, config, summary};

const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until a counter of node's stats has reached `count`.
async fn counted(agent: &Agent, count: u64, counter: impl Fn(&Stats) -> u64) {
    let started = Instant::now();
    while counter(&agent.gossip.stats()) < count {
        assert!(started.elapsed() < PATIENCE, "{:?}", agent.gossip.stats());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Two nodes that know each other and each other's summaries, and a stranger's socket.
async fn pair() -> (Vec<Agent>, UdpSocket) {
    let mut agents: Vec<Agent> = (1..=2).map(Agent::start).collect();
    introduce(&agents);
    all_alive(&mut agents, &[1, 2]).await;
    agents[1].gossip.publish(summary(2, 22));
    agents[0]
        .until("a summary of 2", |agent| agent.summaries.contains_key(&2))
        .await;
    (agents, bind().0)
}

/// A well-formed message of node 99 to node 1, with news of nodes 2 and 99.
fn message(sequence: u64) -> wire::Datagram {
    let sample = |node| wire::Sample {
        node,
        sequence: u64::MAX,
        summary: codec::encode(&summary(node, 666)).bytes,
        ..wire::Sample::default()
    };
    wire::Datagram {
        sender: 99,
        receiver: 1,
        sequence,
        body: Some(wire::datagram::Body::Samples(wire::Samples {
            receiver_life: 0,
            samples: vec![sample(2), sample(99)],
        })),
    }
}

fn sealed(keys: &[Key], cluster: &str, generation: u64, message: &wire::Datagram) -> Vec<u8> {
    let seal = Seal::new(keys, cluster, generation);
    seal.close(&message.encode_to_vec()).unwrap()
}

/// The first node still knows what it knew, and nothing else.
fn unmoved(agents: &mut [Agent]) {
    agents[0].catch_up();
    assert_eq!(agents[0].summaries.len(), 1, "heard of a stranger");
    assert_eq!(agents[0].summaries[&2].totals.used(CPU), 22);
    assert_eq!(agents[0].alive, [1, 2].into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_key_cluster_or_generation_sealed_changes_nothing() {
    let (mut agents, stranger) = pair().await;
    let message = message(1);
    let foreign = [
        sealed(&[Key([8; 32])], "blue", 1, &message),
        sealed(&[KEY], "green", 1, &message),
        sealed(&[KEY], "blue", 2, &message),
    ];
    for datagram in &foreign {
        stranger.send_to(datagram, agents[0].address).unwrap();
    }
    counted(&agents[0], 1, |stats| stats.unknown_key).await;
    counted(&agents[0], 2, |stats| stats.unsealable).await;
    unmoved(&mut agents);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_changes_nothing() {
    let (mut agents, stranger) = pair().await;
    let before = agents[0].gossip.stats();
    let whole = sealed(&[KEY], "blue", 1, &message(1));
    let mut garbage: Vec<Vec<u8>> = (0..whole.len())
        .step_by(7)
        .map(|cut| whole[..cut].to_vec())
        .collect();
    garbage.extend((0..200_usize).map(|n| vec![n as u8; n * 40]));
    garbage.push(vec![1; 60_000]);
    for datagram in &garbage {
        stranger.send_to(datagram, agents[0].address).unwrap();
    }
    let dropped = |stats: &Stats| stats.unsealable + stats.unknown_key + stats.malformed;
    let mut count = dropped(&before);
    // A few at a time, so that none is lost in front of a full socket.
    for some in garbage.chunks(4) {
        for datagram in some {
            stranger.send_to(datagram, agents[0].address).unwrap();
        }
        count += some.len() as u64;
        counted(&agents[0], count, dropped).await;
    }
    unmoved(&mut agents);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn well_sealed_nonsense_changes_nothing() {
    let (mut agents, insider) = pair().await;
    let body = |sequence, body| wire::Datagram {
        body,
        ..message(sequence)
    };
    let packet = |bytes: &[u8]| Some(wire::datagram::Body::Membership(bytes.to_vec()));
    let malformed = [
        body(1, None),
        body(2, packet(&[])),
        body(3, packet(&[0xff; 40])),
        body(4, packet(&[0; 1_300])),
    ];
    let misdirected = [
        message(5),
        wire::Datagram {
            receiver: 2,
            ..message(6)
        },
    ];
    let own_id = wire::Datagram {
        sender: 1,
        ..message(7)
    };
    for message in malformed.iter().chain(&misdirected).chain([&own_id]) {
        let datagram = sealed(&[KEY], "blue", 1, message);
        insider.send_to(&datagram, agents[0].address).unwrap();
    }
    counted(&agents[0], 4, |stats| stats.malformed).await;
    counted(&agents[0], 2, |stats| stats.misdirected).await;
    counted(&agents[0], 1, |stats| stats.own_id).await;
    unmoved(&mut agents);
}

/// Passes on what comes for `to`, and keeps a copy.
fn tap(to: std::net::SocketAddr) -> (std::net::SocketAddr, Arc<Mutex<Vec<Vec<u8>>>>) {
    let (socket, address) = bind();
    let socket = {
        socket.set_nonblocking(true).unwrap();
        tokio::net::UdpSocket::from_std(socket).unwrap()
    };
    let copies = Arc::new(Mutex::new(Vec::new()));
    let kept = copies.clone();
    tokio::spawn(async move {
        let mut buffer = vec![0; 65_536];
        while let Ok((bytes, _)) = socket.recv_from(&mut buffer).await {
            kept.lock().unwrap().push(buffer[..bytes].to_vec());
            let _ = socket.send_to(&buffer[..bytes], to).await;
        }
    });
    (address, copies)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replayed_datagram_changes_nothing_not_even_after_a_restart() {
    let (socket, address) = bind();
    let (tapped, copies) = tap(address);
    let listener = Agent::start_at(socket, config(1, &tapped));
    let mut agents = vec![listener, Agent::start(2)];
    agents[1].gossip.know(vec![(NodeId(1), tapped.to_string())]);
    all_alive(&mut agents, &[1, 2]).await;
    agents[1].gossip.publish(summary(2, 22));
    agents[0]
        .until("a summary of 2", |agent| agent.summaries.contains_key(&2))
        .await;

    let recorded = copies.lock().unwrap().clone();
    let stranger = bind().0;
    let before = agents[0].gossip.stats();
    for datagram in &recorded {
        stranger.send_to(datagram, address).unwrap();
    }
    let again = before.replayed + recorded.len() as u64;
    counted(&agents[0], again, |stats| stats.replayed).await;
    unmoved(&mut agents);

    // The next life has an empty window, but what was meant for the last one
    // says nothing to it: a summary that was news an hour ago can't pass for one.
    drop(agents);
    let (socket, address) = bind();
    let mut next = Agent::start_at(socket, config(1, &tapped));
    let samples = recorded.len() as u64;
    for datagram in &recorded {
        stranger.send_to(datagram, address).unwrap();
    }
    counted(&next, samples, |stats| stats.received).await;
    counted(&next, 1, |stats| stats.misdirected).await;
    next.catch_up();
    assert!(next.summaries.is_empty(), "a replayed summary was news");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_can_be_rotated_while_all_stay_connected() {
    let keyed = |node, keys: &[Key]| {
        let (socket, address) = bind();
        let mut config = config(node, &address);
        config.keys = keys.to_vec();
        Agent::start_at(socket, config)
    };
    let new = Key([9; 32]);
    let mut agents = vec![
        keyed(1, &[KEY, new.clone()]),
        keyed(2, &[new.clone(), KEY]),
        keyed(3, &[KEY, new]),
    ];
    introduce(&agents);
    all_alive(&mut agents, &[1, 2, 3]).await;
    for agent in &agents {
        assert_eq!(agent.gossip.stats().unknown_key, 0);
    }
}
