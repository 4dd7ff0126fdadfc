//! Sizes a workload so that work seldom waits longer than it may.
//!
//! Comes in: how long work may wait and how often longer, what was seen of the
//! workload in the last minutes, and what was learned before. Goes out: a
//! size, what to learn, and why. Where an input is missing it says so, and the
//! caller decides by `target`; it never shrinks on what it doesn't know.

pub mod erlang;
mod forecast;
mod hold;
mod idle;
mod learn;
pub mod limits;
pub mod reason;
pub mod signal;
mod slots;
mod staff;
pub mod state;

use reason::Reason;
use signal::Signal;
use staff::Needs;
use state::{Change, State};

use crate::unit::Ms;

/// What the policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How long work may wait for a slot.
    pub wait_ms: u64,
    /// The part of it that may wait longer, in millionths.
    pub miss_ppm: u32,
    /// How long a piece of work takes; measured where it isn't stated.
    pub service_ms: Option<u64>,
    /// Pieces of work that one replica does at a time, 0 counts as 1; measured
    /// where it isn't stated.
    pub slots: Option<u32>,
    pub replicas_min: u32,
    pub replicas_max: u32,
}

/// What is known now.
#[derive(Debug, Clone, Copy)]
pub struct Observation<'a> {
    pub signal: &'a Signal,
    /// The size that was granted last; replicas that still start are in it, so
    /// that no deficit is answered twice.
    pub current: u32,
    /// Replicas of it that are ready.
    pub ready: u32,
    /// How long the replicas took that became ready since the last pass, in
    /// milliseconds.
    pub started_ms: &'a [u32],
}

/// The answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Within the bounds; `None` where this strategy can't tell and `target`
    /// has to decide.
    pub replicas: Option<u32>,
    /// What the state has to take in, in this order.
    pub changes: Vec<Change>,
    pub reasons: Vec<Reason>,
}

/// One pass: the state as far as this pass has learned, and what it will say.
struct Pass<'a> {
    settings: &'a Settings,
    observation: &'a Observation<'a>,
    now: Ms,
    state: State,
    wanted: Wanted,
}

/// What the size should be. Total: any input gives an answer, and the same
/// input the same one.
pub fn want(settings: &Settings, observation: &Observation, state: &State, now: Ms) -> Wanted {
    let mut pass = Pass {
        settings,
        observation,
        now,
        state: state.clone(),
        wanted: Wanted::default(),
    };
    pass.wanted.replicas = pass.decide();
    pass.wanted
}

impl Pass<'_> {
    fn decide(&mut self) -> Option<u32> {
        self.learn(learn::starts(self.observation));
        self.learn(learn::calibrate(
            self.observation.signal,
            &self.state,
            self.now,
        ));
        self.learn(slots::measure(
            self.settings,
            self.observation.signal,
            &self.state,
            self.now,
        ));
        let needs = match staff::situation(self.settings, self.observation, &self.state) {
            Ok(situation) => {
                self.learn(learn::headroom(&situation, &self.state, self.now));
                let signal = self.observation.signal;
                let lead_s = situation.lead_s;
                self.learn(forecast::score(signal, &situation, &self.state, self.now));
                let floor = forecast::floor(signal, lead_s, &self.state);
                let headroom = learn::headroom_milli(&self.state, self.now);
                staff::needs(self.settings, &situation, floor, headroom)
            }
            Err(missing) => {
                self.wanted.reasons.push(missing);
                // What `target` keeps meanwhile is held like any other size.
                let window_ms = hold::window_ms(learn::start_s(&self.state));
                let current = self.observation.current;
                self.learn(hold::remember(current, window_ms, &self.state, self.now));
                return None;
            }
        };
        self.wanted.reasons.extend(needs.reasons.iter().copied());
        let needs = self.around_idleness(needs);
        Some(self.move_to(&needs))
    }

    fn learn(&mut self, change: Option<Change>) {
        if let Some(change) = change {
            self.state.apply(&change);
            self.wanted.changes.push(change);
        }
    }

    /// Where a workload may have no replicas: keeps the last one for a while,
    /// and has some ready when work is expected.
    fn around_idleness(&mut self, mut needs: Needs) -> Needs {
        if self.settings.replicas_min > 0 {
            return needs;
        }
        if let Some(idle_s) = self.observation.signal.idle_s() {
            self.learn(idle::observe(
                idle_s,
                needs.enough,
                &self.state.idle,
                self.now,
            ));
            if idle_s == 0 {
                self.learn(idle::grew(needs.enough, &self.state.idle, self.now));
            }
        }
        let keep_ms = idle::keep_ms(&self.state.idle);
        let idle_ms = self
            .state
            .idle
            .since
            .map_or(0, |since| self.now.since(since));
        let kept = u32::from(idle_ms < keep_ms);
        if idle_ms > 0 {
            self.wanted.reasons.push(Reason::Idle { idle_ms, keep_ms });
            needs = Needs {
                least: kept,
                enough: kept,
                reasons: Vec::new(),
            };
        }
        needs.at_least(kept);
        let start_s = learn::start_s(&self.state);
        if let Some(expected) = idle::expected(start_s, &self.state.idle, self.now) {
            self.wanted.reasons.push(Reason::Expected(expected));
            needs.at_least(expected.replicas);
        }
        needs
    }

    /// Up at once and all the way, but only where the size is too small without
    /// any headroom; down only to what was enough for a while, and only by a
    /// step that is worth it.
    fn move_to(&mut self, needs: &Needs) -> u32 {
        let (min, max) = (self.settings.replicas_min, self.settings.replicas_max);
        let bounded = |replicas: u32| replicas.min(max).max(min);
        let (least, enough) = (bounded(needs.least), bounded(needs.enough));
        if enough != needs.enough {
            self.wanted.reasons.push(Reason::Bounded { min, max });
        }
        let window_ms = hold::window_ms(learn::start_s(&self.state));
        self.learn(hold::remember(enough, window_ms, &self.state, self.now));
        let current = bounded(self.observation.current);
        if enough > current {
            if least > current {
                return enough;
            }
            self.wanted.reasons.push(Reason::WithinHeadroom { enough });
            return current;
        }
        let left_ms = self.observation.signal.cold_ms();
        if left_ms > 0 {
            self.wanted.reasons.push(Reason::SignalShort { left_ms });
            return current;
        }
        let held = hold::highest(enough, window_ms, &self.state, self.now).min(max);
        if held > enough {
            let left_ms = hold::worth_it(current, enough)
                .then(|| hold::left_ms(current, window_ms, &self.state, self.now));
            self.wanted.reasons.push(Reason::Held {
                held: held.min(current),
                window_ms,
                left_ms,
            });
        }
        if held >= current {
            return current;
        }
        if !hold::worth_it(current, held) {
            self.wanted.reasons.push(Reason::StepSmall { wanted: held });
            return current;
        }
        held
    }
}

#[cfg(test)]
mod tests;
