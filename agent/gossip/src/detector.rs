//! The failure detector: foca, its timers, and patience for those who were heard.
//!
//! Comes in: membership packets, the time, whom to call. Goes out: packets to
//! send and who is alive. Does no I/O itself.

use std::collections::BTreeSet;
use std::num::{NonZeroU8, NonZeroUsize};
use std::sync::Arc;
use std::time::{Duration, Instant};

use foca::{Foca, Member, NoCustomBroadcast, PeriodicParams, State, Timer};
use rand::rngs::SmallRng;
use starling_engine::unit::NodeId;

use super::membership::{self, Codec, Identity};
use super::runtime::{Pending, Runtime};
use super::stats::Counters;
use super::{MEMBERSHIP_BYTES_MAX, NODES_MAX, Timing, seal};

/// Timers that are run before datagrams get their turn.
const TIMERS_PER_TURN_MAX: usize = 64;
/// How often the end of a suspicion is put off because the suspect was heard.
const PUT_OFF_MAX: u8 = 3;
/// How long the others remember a life that ended. It keeps a node out whose
/// clock was set back at its restart, so it is short.
const REMEMBER_DOWN: Duration = Duration::from_mins(1);
/// What a membership datagram holds beside its packet: the seal, three numbers
/// of at most 11 bytes with their tags, and the packet's length with its tag.
const PACKET_BYTES_MAX: usize = MEMBERSHIP_BYTES_MAX - seal::OVERHEAD_BYTES - 3 * 11 - 4;

/// Why a packet was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    Malformed,
    /// It names more nodes than are kept track of.
    Full,
}

pub struct Detector {
    foca: Foca<Identity, Codec, SmallRng, NoCustomBroadcast>,
    runtime: Runtime,
    suspect: Duration,
}

impl Detector {
    pub fn new(identity: Identity, timing: &Timing, counters: Arc<Counters>) -> Detector {
        Detector {
            foca: Foca::new(identity, settings(timing), rand::make_rng(), Codec),
            runtime: Runtime::new(counters),
            suspect: Duration::from_millis(timing.suspect_ms),
        }
    }

    /// This node's present life: it renews itself when others believed the last
    /// one to be over.
    pub fn life(&self) -> u64 {
        self.foca.identity().life
    }

    /// Who is alive, this node left out.
    pub fn peers(&self) -> Vec<Identity> {
        let members = self.foca.iter_members();
        members.map(|member| member.id().clone()).collect()
    }

    pub fn receive(&mut self, packet: &[u8]) -> Result<(), Refused> {
        let read = membership::read(packet).map_err(|_| Refused::Malformed)?;
        if !self.has_room(&read) {
            return Err(Refused::Full);
        }
        let own = self.foca.identity();
        let suspected =
            |update: &Member<Identity>| update.id() == own && update.state() == State::Suspect;
        if read.updates.iter().any(suspected) {
            self.runtime.health.suspected();
        }
        self.foca
            .handle_data(packet, &mut self.runtime)
            .map_err(|_| Refused::Malformed)
    }

    /// Tells a node of which only the address is known that this one is here.
    pub fn call(&mut self, node: NodeId, address: &str) {
        let contact = Identity {
            node,
            address: address.to_owned(),
            life: 0,
        };
        // It fails only where the address doesn't fit a packet: nobody is there.
        let _ = self.foca.announce(contact, &mut self.runtime);
    }

    /// When there is something to do next.
    pub fn next(&self) -> Option<Instant> {
        self.runtime.next()
    }

    /// Does what is due; `heard` says when a node was last heard.
    pub fn run_due(&mut self, heard: impl Fn(NodeId) -> Option<Instant>) {
        for _ in 0..TIMERS_PER_TURN_MAX {
            let now = Instant::now();
            let Some((at, pending)) = self.runtime.pop(now) else {
                return;
            };
            match &pending.timer {
                Timer::ProbeRandomMember(_) => {
                    let late = now.saturating_duration_since(at);
                    self.runtime.health.probed(late);
                }
                // A suspect that has been heard since isn't dead. It may be that
                // it can't hear, so this goes on for a while only.
                Timer::ChangeSuspectToDown { member_id, .. }
                    if pending.put_off < PUT_OFF_MAX
                        && heard(member_id.node).is_some_and(|heard| heard > pending.set) =>
                {
                    self.put_off(pending, now);
                    continue;
                }
                _ => {}
            }
            // An error says that a probe was cut short; the next one is whole.
            let _ = self.foca.handle_timer(pending.timer, &mut self.runtime);
        }
    }

    /// Tells some others that this node is going.
    pub fn leave(&mut self) {
        // It fails only where this node's own address doesn't fit a packet, and
        // then nobody knows it.
        let _ = self.foca.leave_cluster(&mut self.runtime);
    }

    /// Packets to send since the last call.
    pub fn take_sends(&mut self) -> Vec<(Identity, Vec<u8>)> {
        std::mem::take(&mut self.runtime.sends)
    }

    /// Whether who is alive may have changed since the last call.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.runtime.changed)
    }

    fn put_off(&mut self, pending: Pending, now: Instant) {
        let wait = self.runtime.patient(self.suspect);
        let pending = Pending {
            set: now,
            put_off: pending.put_off + 1,
            ..pending
        };
        self.runtime.set(now + wait, pending);
    }

    /// Whether the nodes that a packet names are known or can be.
    fn has_room(&self, packet: &membership::Packet) -> bool {
        let known = self.foca.iter_membership_state();
        if known.len() + packet.updates.len() < NODES_MAX {
            return true;
        }
        let mut nodes: BTreeSet<NodeId> = known.map(|member| member.id().node).collect();
        nodes.extend(packet.updates.iter().map(|member| member.id().node));
        nodes.insert(packet.source.node);
        nodes.len() <= NODES_MAX
    }
}

fn settings(timing: &Timing) -> foca::Config {
    let periodic = |every_ms, members| {
        Some(PeriodicParams {
            frequency: Duration::from_millis(every_ms),
            num_members: members,
        })
    };
    foca::Config {
        probe_period: Duration::from_millis(timing.probe_ms),
        probe_rtt: Duration::from_millis(timing.answer_ms),
        num_indirect_probes: const { NonZeroUsize::new(3).unwrap() },
        max_transmissions: const { NonZeroU8::new(10).unwrap() },
        suspect_to_down_after: Duration::from_millis(timing.suspect_ms),
        remove_down_after: Some(REMEMBER_DOWN),
        max_packet_size: const { NonZeroUsize::new(PACKET_BYTES_MAX).unwrap() },
        notify_down_members: true,
        // A large cluster's members don't all fit one answer to a call.
        periodic_announce: periodic(10_000, NonZeroUsize::MIN),
        // The ledger's members that aren't alive are called anyway.
        periodic_announce_to_down_members: None,
        periodic_gossip: periodic(timing.push_ms, const { NonZeroUsize::new(3).unwrap() }),
    }
}

#[cfg(test)]
mod tests;
