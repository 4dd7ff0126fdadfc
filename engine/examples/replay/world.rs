//! The replicas and the queue in front of them, second by second. Comes in:
//! arrivals and the size that a policy wants. Goes out: what a policy can see,
//! and the score. Knows no policy.

mod fluid;
mod slots;

use crate::load::Profile;
use crate::random::Random;
use crate::score::Score;

/// What there is to see, one entry for each second that has passed.
#[derive(Debug, Default)]
pub struct Seen {
    pub arrivals: Vec<u32>,
    /// Mean of the slots at work on replicas that are ready.
    pub busy: Vec<f32>,
    /// Requests waiting, or in service on replicas that are ready.
    pub in_system: Vec<f32>,
    /// Requests in service on replicas that are on their way out.
    pub leaving: Vec<f32>,
    pub ready: Vec<u32>,
    /// Seconds that a replica took to become ready, and when it did.
    pub starts: Vec<(u32, f32)>,
}

#[derive(Debug)]
pub struct World {
    profile: Profile,
    random: Random,
    /// When each starting replica was made and when it will be ready.
    starting: Vec<(u32, f32)>,
    ready: u32,
    queue: Queue,
    pub seen: Seen,
    pub score: Score,
}

#[derive(Debug)]
enum Queue {
    Fluid(fluid::Fluid),
    Slots(slots::Slots),
}

/// Work at least this long is followed request by request.
const SLOW_SERVICE_S: f64 = 1.0;

impl World {
    pub fn new(profile: Profile, seed: u64, ready: u32, seconds: usize) -> World {
        let queue = if profile.service_s >= SLOW_SERVICE_S {
            Queue::Slots(slots::Slots::default())
        } else {
            Queue::Fluid(fluid::Fluid::default())
        };
        World {
            profile,
            random: Random::new(seed, 2),
            starting: Vec::new(),
            ready,
            queue,
            seen: Seen::default(),
            score: Score::new(seconds, ready),
        }
    }

    /// The size that was last asked for.
    pub fn size(&self) -> u32 {
        self.ready + self.starting.len() as u32
    }

    pub fn ready(&self) -> u32 {
        self.ready
    }

    pub fn resize(&mut self, second: u32, wanted: u32) {
        let size = self.size();
        if wanted == size {
            return;
        }
        self.score.resized(second, size, wanted);
        for _ in size..wanted {
            let profile = &self.profile;
            let takes = self
                .random
                .lognormal(profile.start_median_s, profile.start_sigma);
            self.starting
                .push((second, (second + 1) as f32 + takes as f32));
        }
        for _ in wanted..size {
            if self.starting.pop().is_none() {
                if let Queue::Slots(queue) = &mut self.queue {
                    queue.drain(
                        self.ready * self.profile.slots,
                        self.profile.slots,
                        &mut self.random,
                    );
                }
                self.ready -= 1;
            }
        }
    }

    /// Lets one second pass.
    pub fn step(&mut self, second: u32, arrivals: u32) {
        let (seen, ready) = (&mut self.seen, &mut self.ready);
        self.starting.retain(|&(made, ready_at)| {
            let waits = ready_at > second as f32 + 0.5;
            if !waits {
                *ready += 1;
                seen.starts.push((second, ready_at - made as f32));
            }
            waits
        });
        let slots = self.ready * self.profile.slots;
        self.score.arrived(second, arrivals);
        let (busy, in_system, leaving, draining) = match &mut self.queue {
            Queue::Fluid(queue) => {
                let (busy, in_system) =
                    queue.step(second, arrivals, slots, &self.profile, &mut self.score);
                (busy, in_system, 0, 0)
            }
            Queue::Slots(queue) => {
                let profile = &self.profile;
                queue.step(
                    second,
                    arrivals,
                    slots,
                    profile,
                    &mut self.random,
                    &mut self.score,
                );
                let busy = f64::from(queue.busy);
                (busy, queue.in_system(), queue.leaving(), queue.draining())
            }
        };
        self.score
            .paid(second, self.ready + self.starting.len() as u32 + draining);
        self.seen.arrivals.push(arrivals);
        self.seen.busy.push(busy as f32);
        self.seen.in_system.push(in_system as f32);
        self.seen.leaving.push(leaving as f32);
        self.seen.ready.push(self.ready);
    }

    /// Counts what never got served.
    pub fn finish(mut self, seconds: u32) -> Score {
        if let Queue::Slots(queue) = &self.queue {
            queue.finish(seconds, &self.profile, &mut self.score);
        }
        self.score
    }
}
