//! Autoscalers that a policy is held against, as they see the world: KEDA with
//! Kubernetes' intervals, and Knative. Both aim at 70 % of the slots.

use crate::load::Profile;
use crate::world::World;

/// Something that sizes a workload.
pub trait Policy {
    /// The size wanted at the end of `second`.
    fn wanted(&mut self, second: u32, world: &World) -> u32;
}

const AIM: f64 = 0.7;
const TOLERANCE: f64 = 0.1;
const DOWN_WINDOW_S: u32 = 300;
const UP_PODS: u32 = 4;
pub const REPLICAS_MAX: u32 = 1_000;

/// KEDA's HPA on the way from a number to a size, with the defaults of
/// `behavior` (hpa.md rules 12 and 14). A recommendation is remembered as far
/// as the limit let it go: the whole of it would keep the size rising long
/// after a cold start's queue is gone.
#[derive(Debug, Default)]
struct Stabilized {
    recommendations: Vec<(u32, u32)>,
}

impl Stabilized {
    fn apply(&mut self, second: u32, size: u32, wanted: u32, min: u32) -> u32 {
        if self.recommendations.is_empty() {
            self.recommendations.push((second, size));
        }
        let limit = (size * 2).max(size + UP_PODS).min(REPLICAS_MAX);
        let wanted = wanted.min(limit);
        self.recommendations.push((second, wanted));
        self.recommendations
            .retain(|&(at, _)| second - at < DOWN_WINDOW_S);
        let highest = self.recommendations.iter().map(|entry| entry.1).max();
        highest.unwrap_or(wanted).clamp(min.min(limit), limit)
    }
}

fn within_tolerance(ratio: f64) -> bool {
    (1.0 - TOLERANCE..=1.0 + TOLERANCE).contains(&ratio)
}

/// Requests in service, be it on a replica that is leaving, or waiting, for
/// each replica; zero after a cooldown.
#[derive(Debug)]
pub struct Keda {
    pub profile: Profile,
    stabilized: Stabilized,
    last_active: u32,
}

const KEDA_POLL_S: u32 = 30;
const KEDA_COOLDOWN_S: u32 = 300;

impl Keda {
    pub fn new(profile: Profile) -> Keda {
        Keda {
            profile,
            stabilized: Stabilized::default(),
            last_active: 0,
        }
    }
}

impl Policy for Keda {
    fn wanted(&mut self, second: u32, world: &World) -> u32 {
        let size = world.size();
        let in_flight = world.seen.in_system.last().zip(world.seen.leaving.last());
        let in_system = in_flight.map_or(0.0, |(here, leaving)| f64::from(here + leaving));
        if second.is_multiple_of(KEDA_POLL_S) && self.profile.min == 0 {
            if in_system > 0.0 {
                self.last_active = second;
                if size == 0 {
                    return 1;
                }
            } else if second - self.last_active > KEDA_COOLDOWN_S {
                self.stabilized.recommendations.clear();
                return 0;
            }
        }
        if size == 0 || !second.is_multiple_of(15) || second == 0 {
            return size;
        }
        let each = AIM * f64::from(self.profile.slots);
        let wanted = if within_tolerance(in_system / (each * f64::from(size))) {
            size
        } else {
            (in_system / each).ceil() as u32
        };
        let min = self.profile.min.max(1);
        self.stabilized.apply(second, size, wanted, min)
    }
}

/// Knative's KPA: a stable window of 60 s, a panic window of 6 s.
#[derive(Debug)]
pub struct Kpa {
    pub profile: Profile,
    panic_until: Option<u32>,
    panic_most: u32,
    idle_since: Option<u32>,
}

const STABLE_S: usize = 60;
const PANIC_S: usize = 6;
const PANIC_RATIO: f64 = 2.0;
const GRACE_S: u32 = 30;

impl Kpa {
    pub fn new(profile: Profile) -> Kpa {
        Kpa {
            profile,
            panic_until: None,
            panic_most: 0,
            idle_since: None,
        }
    }
}

impl Policy for Kpa {
    fn wanted(&mut self, second: u32, world: &World) -> u32 {
        let size = world.size();
        if !second.is_multiple_of(2) || second == 0 {
            return size;
        }
        let mean = |window: usize| {
            let all = &world.seen.in_system;
            let last = &all[all.len().saturating_sub(window)..];
            last.iter().map(|&x| f64::from(x)).sum::<f64>() / last.len() as f64
        };
        let each = AIM * f64::from(self.profile.slots);
        let ready = f64::from(world.ready().max(1));
        let bounded = |concurrency: f64| {
            (concurrency / each)
                .ceil()
                .clamp((ready / 2.0).floor(), ready * 1000.0) as u32
        };
        let (stable, panic) = (bounded(mean(STABLE_S)), bounded(mean(PANIC_S)));
        if (mean(PANIC_S) / each).ceil() / ready >= PANIC_RATIO {
            self.panic_until = Some(second + STABLE_S as u32);
        } else if self.panic_until.is_some_and(|until| second > until) {
            self.panic_until = None;
            self.panic_most = 0;
        }
        let mut wanted = stable;
        if self.panic_until.is_some() {
            self.panic_most = self.panic_most.max(panic).max(stable);
            wanted = self.panic_most;
        }
        if wanted > 0 {
            self.idle_since = None;
        } else if self.profile.min == 0 {
            let since = *self.idle_since.get_or_insert(second);
            wanted = u32::from(second - since < GRACE_S && size > 0);
        }
        wanted.clamp(self.profile.min, REPLICAS_MAX)
    }
}
