//! The gossip task: one loop that owns the socket, the failure detector and the
//! summaries, and never waits for anything but its next reason to act.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message as _;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use starling_engine::unit::NodeId;
use starling_proto::gossip as wire;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::detector::{self, Detector};
use super::events::Events;
use super::inbox::Inbox;
use super::membership::Identity;
use super::outgoing::Outgoing;
use super::replay::Replay;
use super::samples::{Samples, Taken};
use super::seal::{self, Seal};
use super::stats::Counters;
use super::{Clock, Config, Event, NODES_MAX, SAMPLES_BYTES_MAX, Timing};

/// Nodes that are told of samples at a time.
const FANOUT: usize = 3;
/// A new summary of this node goes out at once, but not sooner than this after
/// the last push.
const PUSH_GAP: Duration = Duration::from_millis(50);
/// Members that aren't alive are called this many at a time.
const CALLS_MAX: usize = 8;
/// Datagrams that are read before timers get their turn.
const READ_MAX: usize = 256;
/// How long a goodbye may take to leave the socket.
const GOODBYE: Duration = Duration::from_millis(500);
pub struct Task {
    name: String,
    own: NodeId,
    clock: Clock,
    timing: Timing,
    socket: Arc<UdpSocket>,
    seal: Arc<Seal>,
    replay: Replay,
    detector: Detector,
    samples: Samples,
    outgoing: Outgoing,
    events: Events,
    inbox: Arc<Inbox>,
    counters: Arc<Counters>,
    rng: SmallRng,
    /// The ledger's members, at most [`NODES_MAX`].
    contacts: Vec<(NodeId, String)>,
    /// One of them isn't alive.
    away: bool,
    /// Who is alive, this node left out, and whose turn it is to be told.
    peers: Vec<Identity>,
    turn: usize,
    /// What was told last.
    alive: BTreeSet<NodeId>,
    pushed: Instant,
    next_push: Instant,
    next_contact: Instant,
}

impl Task {
    pub fn new(
        config: Config,
        socket: Arc<UdpSocket>,
        seal: Arc<Seal>,
        events: mpsc::Sender<Event>,
        inbox: Arc<Inbox>,
        counters: Arc<Counters>,
    ) -> Task {
        let identity = Identity {
            node: config.node,
            address: config.advertise,
            life: config.life,
        };
        let now = Instant::now();
        Task {
            name: config.name,
            own: config.node,
            timing: config.timing,
            replay: Replay::default(),
            detector: Detector::new(identity, &config.timing, counters.clone()),
            samples: Samples::new(config.node),
            outgoing: Outgoing::new(
                config.node,
                config.life,
                socket.clone(),
                seal.clone(),
                counters.clone(),
            ),
            clock: config.clock,
            events: Events::new(events),
            rng: rand::make_rng(),
            contacts: Vec::new(),
            away: false,
            peers: Vec::new(),
            turn: 0,
            alive: BTreeSet::new(),
            pushed: now,
            next_push: now,
            next_contact: now,
            socket,
            seal,
            inbox,
            counters,
        }
    }

    pub async fn run(mut self) {
        self.settle();
        loop {
            // Alone there is nobody to push to, and with all others nobody to call.
            let push = (!self.peers.is_empty()).then_some(self.next_push);
            let contact = self.away.then_some(self.next_contact);
            let wake = [self.detector.next(), push, contact];
            let wake = wake.into_iter().flatten().min();
            tokio::select! {
                _ = self.socket.readable() => {}
                () = self.inbox.arrived() => {
                    if self.open_letters() {
                        break;
                    }
                }
                () = self.events.progress() => {}
                () = self.outgoing.progress() => {}
                () = until(wake) => {}
            }
            // What has arrived comes before what is due: an answer that waits in
            // the socket is in time, however late this task is.
            self.read();
            self.run_due();
            self.outgoing.flush();
        }
        self.say_goodbye().await;
    }

    /// Whether it is time to leave.
    fn open_letters(&mut self) -> bool {
        let letters = self.inbox.take();
        #[cfg(test)]
        assert!(!letters.breaks_off, "told to break off");
        let now = Instant::now();
        if let Some(summary) = letters.summary {
            let left_out = self.samples.publish(&summary, now, self.clock.now());
            self.counters.left_out.set(left_out.into());
            self.next_push = self.next_push.min(now.max(self.pushed + PUSH_GAP));
        }
        if let Some(mut members) = letters.members {
            members.retain(|(node, _)| *node != self.own);
            members.truncate(NODES_MAX);
            if members != self.contacts {
                self.contacts = members;
                self.next_contact = now;
                self.look_who_is_away();
            }
        }
        letters.leave
    }

    fn read(&mut self) {
        let mut buffer = [0; SAMPLES_BYTES_MAX + 1];
        for _ in 0..READ_MAX {
            match self.socket.try_recv_from(&mut buffer) {
                Ok((bytes, _)) => {
                    self.counters.received.one();
                    self.counters.received_bytes.add(bytes as u64);
                    self.datagram(&buffer[..bytes]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // Somebody's refusal of an earlier datagram, or a passing trouble
                // of the host: either way nothing arrived.
                Err(_) => {}
            }
        }
    }

    fn datagram(&mut self, datagram: &[u8]) {
        let counters = self.counters.clone();
        if datagram.len() > SAMPLES_BYTES_MAX {
            return counters.malformed.one();
        }
        let plain = match self.seal.open(datagram) {
            Ok(plain) => plain,
            Err(seal::Refused::UnknownKey) => return counters.unknown_key.one(),
            Err(seal::Refused::Unsealable) => return counters.unsealable.one(),
        };
        let Ok(message) = wire::Datagram::decode(plain.as_slice()) else {
            return counters.malformed.one();
        };
        if message.receiver != self.own.0 {
            return counters.misdirected.one();
        }
        if message.sender == self.own.0 {
            return counters.own_id.one();
        }
        if !self
            .replay
            .is_new(message.sender, message.sequence, Instant::now())
        {
            return counters.replayed.one();
        }
        match message.body {
            Some(wire::datagram::Body::Membership(packet)) => self.membership(&packet),
            Some(wire::datagram::Body::Samples(samples)) => self.take(samples),
            None => counters.malformed.one(),
        }
    }

    fn membership(&mut self, packet: &[u8]) {
        match self.detector.receive(packet) {
            Ok(()) => {}
            Err(detector::Refused::Malformed) => self.counters.malformed.one(),
            Err(detector::Refused::Full) => self.counters.full.one(),
        }
        self.settle();
    }

    fn take(&mut self, samples: wire::Samples) {
        if samples.receiver_life != self.detector.life() {
            return self.counters.misdirected.one();
        }
        let (now, clock) = (Instant::now(), self.clock.now());
        for sample in samples.samples {
            match self.samples.take(sample, now, clock) {
                Taken::Newer(summary) => {
                    self.counters.heard.one();
                    self.events.heard(summary);
                }
                Taken::Nothing => {}
                Taken::Malformed => self.counters.malformed.one(),
                Taken::Full => self.counters.full.one(),
            }
        }
    }

    fn run_due(&mut self) {
        self.detector.run_due(|node| self.replay.heard(node.0));
        self.settle();
        let now = Instant::now();
        if self.next_push <= now {
            self.push(now);
        }
        if self.away && self.next_contact <= now {
            self.call(now);
        }
    }

    fn push(&mut self, now: Instant) {
        self.pushed = now;
        self.next_push = now + Duration::from_millis(self.timing.push_ms);
        self.samples.expire(now);
        for _ in 0..FANOUT.min(self.peers.len()) {
            if self.turn >= self.peers.len() {
                self.peers.shuffle(&mut self.rng);
                self.turn = 0;
            }
            let peer = &self.peers[self.turn];
            self.turn += 1;
            for samples in self.samples.fill(peer.node, now) {
                let samples = wire::Samples {
                    receiver_life: peer.life,
                    samples,
                };
                self.outgoing.samples(peer.node, &peer.address, samples);
            }
        }
    }

    /// Calls members of the ledger that aren't alive, a few at a time.
    fn call(&mut self, now: Instant) {
        self.next_contact = now + Duration::from_millis(self.timing.contact_ms);
        let mut away: Vec<&(NodeId, String)> = self
            .contacts
            .iter()
            .filter(|(node, _)| !self.alive.contains(node))
            .collect();
        away.shuffle(&mut self.rng);
        for (node, address) in away.into_iter().take(CALLS_MAX) {
            self.detector.call(*node, address);
        }
        self.settle();
    }

    /// Carries out what the detector asked for, and tells who is alive if that changed.
    fn settle(&mut self) {
        for (to, packet) in self.detector.take_sends() {
            self.outgoing.membership(to.node, &to.address, packet);
        }
        if !self.detector.take_changed() {
            return;
        }
        self.peers = self.detector.peers();
        self.turn = self.peers.len();
        let mut alive: BTreeSet<NodeId> = self.peers.iter().map(|peer| peer.node).collect();
        alive.insert(self.own);
        if alive != self.alive {
            let ids: Vec<String> = alive.iter().map(|node| node.0.to_string()).collect();
            let ids = ids.join(", ");
            tracing::debug!(node = %self.name, ids, "these nodes are alive");
            self.events.alive(alive.iter().copied().collect());
            self.alive = alive;
            self.look_who_is_away();
        }
    }

    fn look_who_is_away(&mut self) {
        let mut contacts = self.contacts.iter();
        self.away = contacts.any(|(node, _)| !self.alive.contains(node));
    }

    async fn say_goodbye(mut self) {
        self.detector.leave();
        self.settle();
        self.outgoing.flush();
        let emptied = async {
            while !self.outgoing.is_empty() {
                self.outgoing.progress().await;
                self.outgoing.flush();
            }
        };
        // At worst the others find out by themselves.
        let _ = tokio::time::timeout(GOODBYE, emptied).await;
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
