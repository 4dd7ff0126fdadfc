//! How many replicas the work calls for by the time that new ones would be
//! ready.
//!
//! Comes in: policy, signal and what was learned. Goes out: the size that is
//! just enough and the one with headroom. Remembers nothing.

use super::erlang::{self, Aim};
use super::learn;
use super::reason::Reason;
use super::slots;
use super::state::State;
use super::{Observation, Settings};

/// The workload as the last second shows it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Situation {
    pub per_s: f64,
    pub window_s: u32,
    /// Variance/mean of a second's arrivals.
    pub dispersion: f64,
    pub service_s: f64,
    /// Slots of one replica.
    pub slots_each: u32,
    /// How long a replica takes to become ready.
    pub start_s: f64,
    /// From what was measured to the first work of a replica that is wanted now.
    pub lead_s: f64,
    pub in_system: Option<f64>,
    pub ready_slots: f64,
    /// How long the queue would take to drain into the slots that are ready,
    /// as a part of the wait that is allowed.
    pub queue: f64,
}

/// From busy slots to replicas.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    pub aim: Aim,
    /// See [`erlang::slots_peaked`].
    pub peakedness: f64,
    /// In thousandths of the load's square root.
    pub headroom_milli: u32,
    pub slots_each: u32,
}

impl Rule {
    /// Slots for a load without headroom.
    pub fn least(&self, load: f64) -> f64 {
        let staffed = erlang::slots_peaked(load, self.peakedness, &self.aim);
        staffed.max(load * SLOTS_PER_BUSY_MIN)
    }

    pub fn enough(&self, load: f64) -> f64 {
        self.least(load + load.sqrt() * f64::from(self.headroom_milli) / 1_000.0)
    }

    pub fn replicas(&self, slots: f64) -> u32 {
        (slots / f64::from(self.slots_each)).ceil() as u32
    }
}

/// What a number of replicas has to be at least, and should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// Without headroom.
    pub least: u32,
    pub enough: u32,
    pub reasons: Vec<Reason>,
}

impl Needs {
    pub fn at_least(&mut self, replicas: u32) {
        self.least = self.least.max(replicas);
        self.enough = self.enough.max(replicas);
    }
}

/// A size takes effect at the earliest this long after what it is based on was
/// measured: one second of age, and one until the next pass.
const DELAY_S: f64 = 2.0;
/// A queue that takes more than this part of the allowed wait is served with
/// slots of its own.
const QUEUE_PART: f64 = 0.5;
/// Slots for each slot that is expected to be busy, at the least: a rate is
/// known to within a tenth ([`super::signal`]), and many slots or short work
/// would otherwise be planned to the brim.
const SLOTS_PER_BUSY_MIN: f64 = 1.1;

/// Looks at the last second. The error says what is missing.
pub fn situation(
    settings: &Settings,
    observation: &Observation,
    state: &State,
) -> Result<Situation, Reason> {
    let signal = observation.signal;
    let rate = signal.rate().ok_or(Reason::ArrivalsUnknown)?;
    let service_s = learn::service_s(settings, state).ok_or(Reason::ServiceUnknown)?;
    let start_s = learn::start_s(state);
    let slots_each = slots::of_one(settings, state).ok_or(Reason::SlotsUnknown)?;
    let ready_slots = f64::from(observation.ready) * f64::from(slots_each);
    let in_system = signal.in_system();
    let waiting = in_system.map_or(0.0, |count| (count - ready_slots).max(0.0));
    let drain_s = waiting * service_s / ready_slots.max(1.0);
    Ok(Situation {
        per_s: rate.per_s,
        window_s: rate.window_s,
        dispersion: rate.dispersion,
        service_s,
        slots_each,
        start_s,
        lead_s: start_s + DELAY_S,
        in_system,
        ready_slots,
        // A wait of nothing at all is held to a millisecond.
        queue: drain_s / wait_s(settings).max(0.001),
    })
}

fn wait_s(settings: &Settings) -> f64 {
    settings.wait_ms as f64 / 1_000.0
}

/// Staffs for the load by the time that new replicas are ready. `floor` is the
/// rate that a proven forecast expects, `headroom_milli` thousandths of the
/// load's square root.
pub fn needs(
    settings: &Settings,
    now: &Situation,
    floor: Option<f64>,
    headroom_milli: u32,
) -> Needs {
    let mut reasons = Vec::new();
    let mut per_s = now.per_s;
    if let Some(floor) = floor.filter(|&floor| floor > per_s) {
        per_s = floor;
        reasons.push(Reason::Forecast {
            rate_milli: milli(floor),
        });
    }
    let load = load_ahead(now, per_s);
    let rule = Rule {
        aim: Aim {
            service_s: now.service_s,
            wait_s: wait_s(settings),
            miss: f64::from(settings.miss_ppm) / 1e6,
        },
        // Of work that takes a random time half of the burstiness remains.
        peakedness: f64::midpoint(now.dispersion, 1.0),
        headroom_milli,
        slots_each: now.slots_each,
    };
    let (mut least, mut enough) = (rule.least(load), rule.enough(load));
    reasons.push(Reason::Staffed {
        rate_milli: milli(now.per_s),
        window_s: now.window_s,
        service_us: (now.service_s * 1e6) as u64,
        load_milli: milli(load),
        peakedness_milli: milli(rule.peakedness) as u32,
        headroom_milli,
        slots: enough.ceil() as u32,
        slots_each: now.slots_each,
        replicas: rule.replicas(enough),
    });
    match now.in_system {
        None => reasons.push(Reason::QueueUnknown),
        Some(in_system) if now.queue > QUEUE_PART => {
            let waiting = (in_system - now.ready_slots).max(0.0);
            // Replicas for it are there after the lead, so it gets as long to
            // drain: faster would be ready when the queue is gone.
            let own = waiting * now.service_s / now.service_s.max(now.lead_s);
            least = least.max(now.ready_slots + own);
            enough = enough.max(now.ready_slots + own);
            reasons.push(Reason::Queue {
                waiting: waiting as u64,
                replicas: rule.replicas(enough),
            });
        }
        Some(_) => {}
    }
    Needs {
        least: rule.replicas(least),
        enough: rule.replicas(enough),
        reasons,
    }
}

/// Busy slots to expect after the lead: of the work that is here a part is
/// still there, e^(-lead/service), and what arrives meanwhile takes the place
/// of the rest. Fast work forgets at once, and only its rate counts.
fn load_ahead(now: &Situation, per_s: f64) -> f64 {
    let offered = per_s * now.service_s;
    let Some(in_system) = now.in_system else {
        return offered;
    };
    let stays = (-now.lead_s / now.service_s).exp();
    in_system * stays + offered * (1.0 - stays)
}

fn milli(value: f64) -> u64 {
    (value * 1_000.0) as u64
}
