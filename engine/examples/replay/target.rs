//! A target of 70 % utilization, decided by the engine itself, on signals as
//! Kubernetes has them or as an agent has them.

use starling_engine::decide::{Inputs, Platform, Reading, decide};
use starling_engine::demand::pods::Sums;
use starling_engine::history::History;
use starling_engine::policy::{Behavior, Goal, Policy as Spec, Resource, Source, Trigger, Zero};
use starling_engine::unit::Ms;

use crate::load::Profile;
use crate::peers::{Policy, REPLICAS_MAX};
use crate::world::World;

/// When a utilization is measured and acted upon, in seconds.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    pub every: u32,
    pub window: u32,
    /// Scrapes happen at `phase` in each `scrape`; a sample ends `lag` before.
    pub scrape: u32,
    pub phase: u32,
    pub lag: u32,
}

pub const KUBERNETES: Timing = Timing {
    every: 15,
    window: 15,
    scrape: 15,
    phase: 7,
    lag: 5,
};

/// A sample each second, a second old, and a decision each two.
pub const STARLING: Timing = Timing {
    every: 2,
    window: 15,
    scrape: 1,
    phase: 0,
    lag: 1,
};

#[derive(Debug)]
pub struct Target {
    slots: u32,
    timing: Timing,
    spec: Spec,
    history: History,
    last_pass: Option<Ms>,
}

const START: Ms = Ms(1_700_000_000_000);

impl Target {
    pub fn new(profile: Profile, timing: Timing) -> Target {
        let trigger = Trigger {
            name: "cpu".to_owned(),
            source: Source::Resource(Resource::Cpu),
            goal: Goal::Utilization { percent: 70 },
            activation_milli: 0,
            window_ms: None,
        };
        Target {
            slots: profile.slots,
            timing,
            spec: Spec {
                // Utilization can't bring back a workload without replicas.
                replicas_min: profile.min.max(1),
                replicas_max: REPLICAS_MAX,
                triggers: vec![trigger],
                zero: Zero::Hpa { allowed: false },
                behavior: Some(Behavior::default()),
                ..Spec::default()
            },
            history: History::default(),
            last_pass: None,
        }
    }

    /// The sums of the last window that was scraped. Replicas that weren't
    /// ready for it on average aren't ready yet (hpa.md rule 5).
    fn sums(&self, second: u32, world: &World, now: Ms) -> Option<Sums> {
        let Timing {
            window,
            scrape,
            phase,
            lag,
            ..
        } = self.timing;
        let scraped = second.checked_sub((second + scrape - phase) % scrape)?;
        let end = scraped.checked_sub(lag)? as usize;
        let start = end.checked_sub(window as usize)?;
        let seen = &world.seen;
        let busy: f64 = seen.busy[start..end].iter().copied().map(f64::from).sum();
        let ready: u32 = seen.ready[start..end].iter().sum();
        let sampled = ready.div_ceil(window).min(world.ready());
        if sampled == 0 {
            return None;
        }
        let request_milli = |replicas: u32| i64::from(replicas * self.slots) * 1_000;
        let used = busy / f64::from(ready * self.slots);
        let size = world.size();
        Some(Sums {
            pods: size,
            samples: sampled,
            ready: sampled,
            ready_usage_milli: (used * request_milli(sampled) as f64) as i64,
            ready_request_milli: request_milli(sampled),
            unready: size - sampled,
            unready_request_milli: request_milli(size - sampled),
            oldest: Some(now),
            ..Sums::default()
        })
    }
}

impl Policy for Target {
    fn wanted(&mut self, second: u32, world: &World) -> u32 {
        let current = world.size();
        if !second.is_multiple_of(self.timing.every) {
            return current;
        }
        let now = START.plus(u64::from(second) * 1_000);
        let Some(sums) = self.sums(second, world, now) else {
            return current;
        };
        let decision = decide(Inputs {
            policy: &self.spec,
            now,
            created_at: START,
            current,
            running: current,
            ready: Some(world.ready()),
            last_pass: self.last_pass,
            readings: vec![Reading::Pods(sums)],
            signal: None,
            started_ms: &[],
            history: &self.history,
            platform: Platform::default(),
        });
        self.last_pass = Some(now);
        for change in &decision.changes {
            self.history.apply(change, now, &self.spec);
        }
        decision.target
    }
}
