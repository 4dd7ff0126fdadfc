//! Detectors side by side without a network.

use foca::{Codec as _, Header, Message};
use proptest::prelude::*;

use super::*;

fn identity(node: u64, life: u64) -> Identity {
    Identity {
        node: NodeId(node),
        address: format!("192.0.2.{}:7401", node % 250 + 1),
        life,
    }
}

fn detector(node: u64) -> Detector {
    let timing = Timing {
        push_ms: 20,
        probe_ms: 40,
        answer_ms: 15,
        suspect_ms: 60,
        contact_ms: 50,
    };
    Detector::new(identity(node, 1), &timing, Arc::new(Counters::default()))
}

/// Two detectors that know each other.
fn pair() -> (Detector, Detector) {
    let (mut a, mut b) = (detector(1), detector(2));
    a.call(NodeId(2), "192.0.2.3:7401");
    exchange(&mut a, &mut b);
    assert_eq!((a.peers().len(), b.peers().len()), (1, 1));
    (a, b)
}

/// Passes packets on until there are none.
fn exchange(a: &mut Detector, b: &mut Detector) {
    loop {
        let (to_b, to_a) = (a.take_sends(), b.take_sends());
        if to_b.is_empty() && to_a.is_empty() {
            return;
        }
        for (_, packet) in to_b {
            b.receive(&packet).unwrap();
        }
        for (_, packet) in to_a {
            a.receive(&packet).unwrap();
        }
    }
}

/// Runs `a` alone for so long that someone silent is down; whether it was.
fn is_given_up(a: &mut Detector, heard: impl Fn() -> Option<Instant>, for_ms: u64) -> bool {
    let end = Instant::now() + Duration::from_millis(for_ms);
    while Instant::now() < end && !a.peers().is_empty() {
        a.run_due(|_| heard());
        a.take_sends();
        std::thread::yield_now();
    }
    a.peers().is_empty()
}

#[test]
fn a_silent_node_is_given_up() {
    let (mut a, _b) = pair();
    assert!(is_given_up(&mut a, || None, 60_000));
}

#[test]
fn a_node_that_is_heard_but_doesnt_answer_gets_more_time_but_not_for_ever() {
    let (mut silent, _b) = pair();
    let (mut talking, _b) = pair();
    let started = Instant::now();
    assert!(is_given_up(&mut silent, || None, 60_000));
    let silent = started.elapsed();
    let started = Instant::now();
    assert!(is_given_up(&mut talking, || Some(Instant::now()), 60_000));
    let talking = started.elapsed();
    let more = Duration::from_millis(60) * u32::from(PUT_OFF_MAX);
    assert!(
        talking > more + Duration::from_millis(100),
        "{talking:?} against {silent:?}"
    );
}

#[test]
fn nodes_beyond_the_bound_are_not_taken_in() {
    let mut a = detector(1);
    for node in 2..2 + NODES_MAX as u64 {
        let mut other = detector(node);
        other.call(NodeId(1), "192.0.2.2:7401");
        for (_, packet) in other.take_sends() {
            let taken = a.receive(&packet);
            let room = a.peers().len() < NODES_MAX;
            assert!(taken.is_ok() || !room, "node {node}: {taken:?}");
        }
    }
    let mut other = detector(99_999);
    other.call(NodeId(1), "192.0.2.2:7401");
    let packet = other.take_sends().remove(0).1;
    assert_eq!(a.receive(&packet), Err(Refused::Full));
    assert!(a.peers().len() <= NODES_MAX);
}

#[test]
fn packets_of_a_large_cluster_stay_within_their_bound() {
    let mut a = detector(1);
    for node in 2..302 {
        let mut other = detector(node);
        other.call(NodeId(1), "192.0.2.2:7401");
        let packet = other.take_sends().remove(0).1;
        a.receive(&packet).unwrap();
    }
    let sends = a.take_sends();
    let largest = sends.iter().map(|(_, packet)| packet.len()).max().unwrap();
    assert!(largest <= PACKET_BYTES_MAX, "{largest} bytes");
    assert!(
        largest > PACKET_BYTES_MAX * 9 / 10,
        "only {largest} bytes used"
    );
}

fn any_identity() -> impl Strategy<Value = Identity> {
    (1..5_u64, 0..3_u64).prop_map(|(node, life)| identity(node, life))
}

fn any_message() -> impl Strategy<Value = Message<Identity>> {
    (0..10_u8, any::<u8>(), any_identity()).prop_map(|(kind, probe_number, node)| match kind {
        0 => Message::Ping(probe_number),
        1 => Message::Ack(probe_number),
        2 => Message::PingReq {
            target: node,
            probe_number,
        },
        3 => Message::IndirectPing {
            origin: node,
            probe_number,
        },
        4 => Message::IndirectAck {
            target: node,
            probe_number,
        },
        5 => Message::ForwardedAck {
            origin: node,
            probe_number,
        },
        6 => Message::Announce,
        7 => Message::Feed,
        8 => Message::Gossip,
        _ => Message::TurnUndead,
    })
}

/// A packet as anyone who holds a key could make it.
fn any_packet() -> impl Strategy<Value = Vec<u8>> {
    let incarnation = prop_oneof![0..3_u16, Just(u16::MAX)];
    let state = prop_oneof![Just(State::Alive), Just(State::Suspect), Just(State::Down)];
    let member = (any_identity(), incarnation.clone(), state)
        .prop_map(|(identity, incarnation, state)| Member::new(identity, incarnation, state));
    let members = proptest::collection::vec(member, 0..6);
    let ends = (any_identity(), incarnation, any_identity());
    (ends, any_message(), members).prop_map(|((src, src_incarnation, dst), message, members)| {
        let mut packet = Vec::new();
        let header = Header {
            src,
            src_incarnation,
            dst,
            message,
        };
        Codec.encode_header(&header, &mut packet).unwrap();
        packet.extend((members.len() as u16).to_be_bytes());
        for member in &members {
            Codec.encode_member(member, &mut packet).unwrap();
        }
        packet
    })
}

proptest! {
    #[test]
    fn whatever_an_insider_sends_the_detector_goes_on(
        packets in proptest::collection::vec(any_packet(), 1..60)
    ) {
        let mut a = detector(1);
        for packet in packets {
            // Refused or not, there is an answer.
            let _ = a.receive(&packet);
            a.run_due(|_| None);
            a.take_sends();
            prop_assert!(a.peers().iter().all(|peer| peer.node != NodeId(1)));
        }
        // A new node is still taken in, and taken note of.
        let mut other = detector(9);
        other.call(NodeId(1), "192.0.2.2:7401");
        exchange(&mut a, &mut other);
        prop_assert!(a.peers().iter().any(|peer| peer.node == NodeId(9)));
    }
}
