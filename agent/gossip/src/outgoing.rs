//! Seals datagrams and sends them, without ever waiting for the network.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use prost::Message as _;
use starling_engine::unit::NodeId;
use starling_proto::gossip as wire;
use tokio::net::UdpSocket;

use super::address::Addresses;
use super::seal::Seal;
use super::stats::Counters;
use super::{MEMBERSHIP_BYTES_MAX, SAMPLES_BYTES_MAX};

/// Datagrams that wait for room in the socket. At the bound the oldest is dropped:
/// what is newer says more.
const QUEUE_MAX: usize = 256;

pub struct Outgoing {
    own: NodeId,
    socket: Arc<UdpSocket>,
    seal: Arc<Seal>,
    addresses: Addresses,
    /// Of the last datagram. Starts at the life, so that after a restart it is beyond
    /// where it was.
    sequence: u64,
    queue: VecDeque<(SocketAddr, Vec<u8>)>,
    counters: Arc<Counters>,
}

impl Outgoing {
    pub fn new(
        own: NodeId,
        life: u64,
        socket: Arc<UdpSocket>,
        seal: Arc<Seal>,
        counters: Arc<Counters>,
    ) -> Outgoing {
        let ipv4 = socket.local_addr().is_ok_and(|address| address.is_ipv4());
        Outgoing {
            own,
            socket,
            seal,
            addresses: Addresses::new(ipv4),
            sequence: life,
            queue: VecDeque::new(),
            counters,
        }
    }

    pub fn membership(&mut self, receiver: NodeId, address: &str, packet: Vec<u8>) {
        let body = wire::datagram::Body::Membership(packet);
        self.put(receiver, address, body, MEMBERSHIP_BYTES_MAX);
    }

    pub fn samples(&mut self, receiver: NodeId, address: &str, samples: wire::Samples) {
        let body = wire::datagram::Body::Samples(samples);
        self.put(receiver, address, body, SAMPLES_BYTES_MAX);
    }

    /// Sends what waits, as far as the socket takes it.
    pub fn flush(&mut self) {
        while let Some((address, datagram)) = self.queue.front() {
            match self.socket.try_send_to(datagram, *address) {
                Ok(_) => {
                    self.counters.sent.one();
                    self.counters.sent_bytes.add(datagram.len() as u64);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // No way there just now. The same will be said again.
                Err(_) => self.counters.unsent.one(),
            }
            self.queue.pop_front();
        }
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Waits until more can be sent or a name has been looked up.
    pub async fn progress(&mut self) {
        let waits = !self.queue.is_empty();
        let socket = self.socket.clone();
        tokio::select! {
            _ = socket.writable(), if waits => {}
            () = self.addresses.progress() => {}
        }
    }

    fn put(
        &mut self,
        receiver: NodeId,
        address: &str,
        body: wire::datagram::Body,
        bytes_max: usize,
    ) {
        let Some(address) = self.addresses.find(address, Instant::now()) else {
            self.counters.unsent.one();
            return;
        };
        self.sequence += 1;
        let message = wire::Datagram {
            sender: self.own.0,
            receiver: receiver.0,
            sequence: self.sequence,
            body: Some(body),
        };
        let sealed = self.seal.close(&message.encode_to_vec());
        let Some(datagram) = sealed.filter(|datagram| datagram.len() <= bytes_max) else {
            debug_assert!(false, "a datagram beyond its bound");
            self.counters.unsent.one();
            return;
        };
        if self.queue.len() >= QUEUE_MAX {
            self.queue.pop_front();
            self.counters.unsent.one();
        }
        self.queue.push_back((address, datagram));
    }
}

/// How large a datagram with these samples gets at worst, sealed.
#[cfg(test)]
pub fn sealed_bytes(samples: Vec<wire::Sample>) -> usize {
    let samples = wire::Samples {
        receiver_life: u64::MAX,
        samples,
    };
    let message = wire::Datagram {
        sender: u64::MAX,
        receiver: u64::MAX,
        sequence: u64::MAX,
        body: Some(wire::datagram::Body::Samples(samples)),
    };
    message.encoded_len() + super::seal::OVERHEAD_BYTES
}
