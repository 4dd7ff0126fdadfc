//! The newest summary of every node, and which of them go into the next datagrams.
//!
//! A summary is passed on as the bytes that it came in, with its age: a holder
//! adds the time that it held it, so clocks are never compared.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::{Duration, Instant};

use prost::Message as _;
use starling_engine::demand::Summary;
use starling_engine::unit::{Ms, NodeId};
use starling_proto::{gossip as wire, summary};

use super::{NODES_MAX, SAMPLES_BYTES_MAX, seal};

/// Summaries older than this are neither kept, nor passed on, nor believed.
pub const AGE_MAX: Duration = Duration::from_mins(1);
/// Larger summaries travel in parts of this size: two of them fit a datagram.
const PART_BYTES: usize = 3_900;
const PARTS_MAX: usize = summary::BYTES_MAX.div_ceil(PART_BYTES);
/// Summaries that are being put together. At the bound the oldest is dropped; it
/// comes again.
const ASSEMBLIES_MAX: usize = 64;
/// What surrounds the samples in a datagram: the seal, four numbers of at most
/// 11 bytes with their tags, and the length of all samples with its tag.
const SAMPLES_ROOM: usize = SAMPLES_BYTES_MAX - seal::OVERHEAD_BYTES - 4 * 11 - 4;
/// Tag and length before each sample.
const SAMPLE_FRAME_BYTES: usize = 4;

/// What became of a sample that came in.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is news.
    Newer(Summary),
    /// As new or newer is known, more parts have to come, or it is too old to matter.
    Nothing,
    Malformed,
    /// There are too many nodes.
    Full,
}

#[derive(Debug)]
pub struct Samples {
    own: NodeId,
    held: BTreeMap<NodeId, Held>,
    assemblies: BTreeMap<NodeId, Assembly>,
}

#[derive(Debug)]
struct Held {
    sequence: u64,
    bytes: Vec<u8>,
    age: Age,
    /// How often this one was sent.
    sent: u32,
}

/// A summary of which some parts are there.
#[derive(Debug)]
struct Assembly {
    sequence: u64,
    parts: BTreeMap<usize, Vec<u8>>,
    count: usize,
    age: Age,
}

/// How old something was at one moment.
#[derive(Debug, Clone, Copy)]
struct Age {
    then: Duration,
    at: Instant,
}

impl Age {
    fn now(self, now: Instant) -> Duration {
        self.then
            .saturating_add(now.saturating_duration_since(self.at))
    }
}

impl Samples {
    pub fn new(own: NodeId) -> Samples {
        Samples {
            own,
            held: BTreeMap::new(),
            assemblies: BTreeMap::new(),
        }
    }

    /// This node's own; `clock` is the one that its `at` was taken from. Says how many
    /// of its workloads had no room.
    pub fn publish(&mut self, summary: &Summary, now: Instant, clock: Ms) -> u32 {
        let encoded = summary::encode(summary);
        let held = Held {
            sequence: summary.sequence,
            bytes: encoded.bytes,
            age: Age {
                then: Duration::from_millis(clock.since(summary.at)),
                at: now,
            },
            sent: 0,
        };
        self.held.insert(self.own, held);
        encoded.left_out
    }

    pub fn take(&mut self, sample: wire::Sample, now: Instant, clock: Ms) -> Taken {
        let node = NodeId(sample.node);
        let age = Age {
            then: Duration::from_millis(sample.age_ms),
            at: now,
        };
        if node == NodeId(0) {
            return Taken::Malformed;
        }
        let known = self.held.get(&node).map(|held| held.sequence);
        if node == self.own || age.then > AGE_MAX || known >= Some(sample.sequence) {
            return Taken::Nothing;
        }
        if known.is_none() && self.held.len() >= NODES_MAX {
            return Taken::Full;
        }
        let sequence = sample.sequence;
        let (bytes, age) = match self.assemble(node, sample, age) {
            Ok(Some(whole)) => whole,
            Ok(None) => return Taken::Nothing,
            Err(()) => return Taken::Malformed,
        };
        let at = clock.minus(age.now(now).as_millis() as u64);
        let Ok(summary) = summary::decode(node, sequence, at, &bytes) else {
            return Taken::Malformed;
        };
        let held = Held {
            sequence,
            bytes,
            age,
            sent: 0,
        };
        self.held.insert(node, held);
        Taken::Newer(summary)
    }

    /// What to tell `peer`: this node's own summary, then as many others as fit
    /// one datagram: those that were sent least often, of these the youngest, which
    /// fewest have heard. More than one datagram only where the first two of these
    /// don't fit one.
    pub fn fill(&mut self, peer: NodeId, now: Instant) -> Vec<Vec<wire::Sample>> {
        let mut order: Vec<(bool, u32, Duration, NodeId)> = self
            .held
            .iter()
            .map(|(&node, held)| (node != self.own, held.sent, held.age.now(now), node))
            .filter(|&(_, _, age, node)| node != peer && age <= AGE_MAX)
            .collect();
        order.sort_unstable();
        let own = usize::from(order.first().is_some_and(|&(other, ..)| !other));
        let mut packer = Packer::default();
        for (index, (_, _, age, node)) in order.into_iter().enumerate() {
            let Some(held) = self.held.get_mut(&node) else {
                continue;
            };
            let parts = held.parts(node, age);
            if index > own && !packer.fits(&parts) {
                break;
            }
            held.sent = held.sent.saturating_add(1);
            for part in parts {
                packer.push(part);
            }
        }
        packer.datagrams
    }

    /// Forgets what is too old to be told.
    pub fn expire(&mut self, now: Instant) {
        self.held.retain(|_, held| held.age.now(now) <= AGE_MAX);
        self.assemblies
            .retain(|_, half| half.age.now(now) <= AGE_MAX);
    }

    /// The whole summary, if this sample is it or completes it.
    fn assemble(
        &mut self,
        node: NodeId,
        sample: wire::Sample,
        age: Age,
    ) -> Result<Option<(Vec<u8>, Age)>, ()> {
        let (part, count) = (sample.part as usize, sample.parts as usize);
        if count == 0 {
            return Ok(Some((sample.summary, age)));
        }
        let last = part + 1 == count;
        let bytes = sample.summary.len();
        if part >= count || count > PARTS_MAX || bytes > PART_BYTES || (!last && bytes < PART_BYTES)
        {
            return Err(());
        }
        if self.assemblies.len() >= ASSEMBLIES_MAX && !self.assemblies.contains_key(&node) {
            let oldest = self.assemblies.iter().min_by_key(|(_, half)| half.age.at);
            if let Some(oldest) = oldest.map(|(&node, _)| node) {
                self.assemblies.remove(&oldest);
            }
        }
        let fresh = || Assembly {
            sequence: sample.sequence,
            parts: BTreeMap::new(),
            count,
            age,
        };
        let half = match self.assemblies.entry(node) {
            Entry::Vacant(vacant) => vacant.insert(fresh()),
            Entry::Occupied(occupied) => {
                let half = occupied.into_mut();
                if half.sequence > sample.sequence {
                    return Ok(None);
                }
                if half.sequence < sample.sequence || half.count != count {
                    *half = fresh();
                }
                half
            }
        };
        // Of several ages the oldest: it is the one that can't be too young.
        if age.then > half.age.now(age.at) {
            half.age = age;
        }
        half.parts.insert(part, sample.summary);
        if half.parts.len() < count {
            return Ok(None);
        }
        Ok(self.assemblies.remove(&node).map(|half| {
            let bytes = half.parts.into_values().collect::<Vec<_>>().concat();
            (bytes, half.age)
        }))
    }
}

impl Held {
    fn parts(&self, node: NodeId, age: Duration) -> Vec<wire::Sample> {
        let sample = |part: usize, parts: usize, bytes: &[u8]| wire::Sample {
            node: node.0,
            sequence: self.sequence,
            age_ms: age.as_millis() as u64,
            part: part as u32,
            parts: parts as u32,
            summary: bytes.to_vec(),
        };
        if self.bytes.len() <= PART_BYTES {
            return vec![sample(0, 0, &self.bytes)];
        }
        let parts = self.bytes.len().div_ceil(PART_BYTES);
        let chunks = self.bytes.chunks(PART_BYTES).enumerate();
        chunks
            .map(|(part, bytes)| sample(part, parts, bytes))
            .collect()
    }
}

/// Puts samples into as few datagrams as they need, in order.
#[derive(Debug, Default)]
struct Packer {
    datagrams: Vec<Vec<wire::Sample>>,
    /// Left in the last datagram, in bytes.
    room: usize,
}

impl Packer {
    /// Whether all of it goes into the last datagram.
    fn fits(&self, samples: &[wire::Sample]) -> bool {
        samples.iter().map(size).sum::<usize>() <= self.room
    }

    fn push(&mut self, sample: wire::Sample) {
        let size = size(&sample);
        if size > self.room || self.datagrams.is_empty() {
            self.datagrams.push(Vec::new());
            self.room = SAMPLES_ROOM;
        }
        if let Some(last) = self.datagrams.last_mut() {
            last.push(sample);
        }
        self.room = self.room.saturating_sub(size);
    }
}

fn size(sample: &wire::Sample) -> usize {
    sample.encoded_len() + SAMPLE_FRAME_BYTES
}

#[cfg(test)]
mod tests;
