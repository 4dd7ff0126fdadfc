//! What the failure detector asks for, until the task does it: datagrams to send
//! and timers to set.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foca::{Notification, Timer};

use super::health::Health;
use super::membership::Identity;
use super::stats::Counters;

/// Timers that wait. At the bound those that only tidy up or end a suspicion are
/// dropped: a suspicion is raised again by the next probe. The few that keep the
/// detector going are always kept; there are at most five at a time.
pub const TIMERS_MAX: usize = 4_096;

/// The host of the failure detector.
#[derive(Debug)]
pub struct Runtime {
    /// Packets to send; emptied after each call of the detector, which makes a
    /// handful at most.
    pub sends: Vec<(Identity, Vec<u8>)>,
    /// Whether the members may have changed since the task looked.
    pub changed: bool,
    pub health: Health,
    timers: BTreeMap<(Instant, u64), Pending>,
    /// Tells timers of one instant apart, in the order of their making.
    count: u64,
    counters: Arc<Counters>,
}

/// A timer that waits.
#[derive(Debug)]
pub struct Pending {
    pub timer: Timer<Identity>,
    pub set: Instant,
    /// How often the end of a suspicion was put off.
    pub put_off: u8,
}

impl Runtime {
    pub fn new(counters: Arc<Counters>) -> Runtime {
        Runtime {
            sends: Vec::new(),
            changed: true,
            health: Health::default(),
            timers: BTreeMap::new(),
            count: 0,
            counters,
        }
    }

    pub fn next(&self) -> Option<Instant> {
        self.timers.keys().next().map(|(at, _)| *at)
    }

    /// The first timer that is due, and when it was.
    pub fn pop(&mut self, now: Instant) -> Option<(Instant, Pending)> {
        let entry = self.timers.first_entry()?;
        let at = entry.key().0;
        (at <= now).then(|| (at, entry.remove()))
    }

    pub fn set(&mut self, at: Instant, pending: Pending) {
        let spare = matches!(
            pending.timer,
            Timer::ChangeSuspectToDown { .. } | Timer::RemoveDown(_)
        );
        if spare && self.timers.len() >= TIMERS_MAX {
            self.counters.timers_dropped.one();
            return;
        }
        self.count += 1;
        self.timers.insert((at, self.count), pending);
    }

    /// How long to wait for others, given this agent's own health.
    pub fn patient(&self, duration: Duration) -> Duration {
        duration.saturating_mul(self.health.patience())
    }
}

impl foca::Runtime<Identity> for Runtime {
    fn notify(&mut self, _: Notification<'_, Identity>) {
        self.changed = true;
    }

    fn send_to(&mut self, to: Identity, data: &[u8]) {
        self.sends.push((to, data.to_vec()));
    }

    fn submit_after(&mut self, timer: Timer<Identity>, after: Duration) {
        let after = match timer {
            // All waits of a probe alike, so that their order stays.
            Timer::ProbeRandomMember(_)
            | Timer::SendIndirectProbe { .. }
            | Timer::ChangeSuspectToDown { .. } => self.patient(after),
            _ => after,
        };
        let set = Instant::now();
        let pending = Pending {
            timer,
            set,
            put_off: 0,
        };
        self.set(set + after, pending);
    }
}

#[cfg(test)]
mod tests {
    use starling_engine::unit::NodeId;

    use super::*;

    #[test]
    fn at_the_bound_the_timers_that_keep_it_going_are_kept() {
        let counters = Arc::new(Counters::default());
        let mut runtime = Runtime::new(counters.clone());
        let identity = Identity {
            node: NodeId(1),
            address: "192.0.2.1:1".into(),
            life: 1,
        };
        for _ in 0..=TIMERS_MAX {
            let timer = Timer::RemoveDown(identity.clone());
            foca::Runtime::submit_after(&mut runtime, timer, Duration::from_mins(1));
        }
        let timer = Timer::ProbeRandomMember(0);
        foca::Runtime::submit_after(&mut runtime, timer.clone(), Duration::ZERO);
        assert_eq!(runtime.timers.len(), TIMERS_MAX + 1);
        assert_eq!(counters.read().timers_dropped, 1);
        assert_eq!(runtime.pop(Instant::now()).unwrap().1.timer, timer);
        assert!(
            runtime.pop(Instant::now()).is_none(),
            "popped before it was due"
        );
    }
}
