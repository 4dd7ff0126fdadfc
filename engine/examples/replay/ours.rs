//! The `objective` strategy as an agent would run it: a signal that is a second
//! old, a pass every two seconds.

use starling_engine::decide::objective::signal::{Second, Signal};
use starling_engine::decide::objective::state::State;
use starling_engine::decide::objective::{self, Observation, Settings};
use starling_engine::unit::Ms;

use crate::load::Profile;
use crate::peers::{Policy, REPLICAS_MAX};
use crate::world::World;

#[derive(Debug)]
pub struct Ours {
    settings: Settings,
    signal: Signal,
    state: State,
    seen: usize,
    starts: usize,
}

const EVERY_S: u32 = 2;
const AGE_S: usize = 1;
/// Three of a hundred may wait longer.
const MISS_PPM: u32 = 30_000;
/// Log time at the start of a replay.
const EPOCH_MS: u64 = 1_700_000_000_000;

impl Ours {
    pub fn new(profile: Profile) -> Ours {
        Ours {
            settings: Settings {
                wait_ms: (profile.wait_s * 1_000.0) as u64,
                miss_ppm: MISS_PPM,
                service_ms: Some((profile.service_s * 1_000.0) as u64),
                slots: Some(profile.slots),
                replicas_min: profile.min,
                replicas_max: REPLICAS_MAX,
            },
            signal: Signal::default(),
            state: State::default(),
            seen: 0,
            starts: 0,
        }
    }
}

fn milli(value: f32) -> u64 {
    (f64::from(value) * 1_000.0) as u64
}

impl Policy for Ours {
    fn wanted(&mut self, second: u32, world: &World) -> u32 {
        let seen = &world.seen;
        let visible = seen.arrivals.len().saturating_sub(AGE_S);
        for index in self.seen..visible {
            self.signal.push(Second {
                arrivals_milli: Some(u64::from(seen.arrivals[index]) * 1_000),
                busy_milli: Some(milli(seen.busy[index])),
                in_system_milli: Some(milli(seen.in_system[index])),
                ready: seen.ready[index],
                used_ppm: None,
            });
        }
        self.seen = visible;
        if !second.is_multiple_of(EVERY_S) {
            return world.size();
        }
        let started: Vec<u32> = seen.starts[self.starts..]
            .iter()
            .map(|(_, takes)| milli(*takes) as u32)
            .collect();
        self.starts = seen.starts.len();
        let observation = Observation {
            signal: &self.signal,
            current: world.size(),
            ready: world.ready(),
            started_ms: &started,
        };
        let now = Ms(EPOCH_MS + u64::from(second + 1) * 1_000);
        let wanted = objective::want(&self.settings, &observation, &self.state, now);
        for change in &wanted.changes {
            self.state.apply(change);
        }
        wanted.replicas.unwrap_or(world.size())
    }
}
