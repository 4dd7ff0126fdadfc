//! Slow work: first in, first out, onto slots that each finish in a second
//! with the chance 1 / service time.

use std::collections::VecDeque;

use crate::load::Profile;
use crate::random::Random;
use crate::score::Score;

#[derive(Debug, Default)]
pub struct Slots {
    /// Slots at work on ready replicas.
    pub busy: u32,
    /// Arrival second and how many of it still wait.
    waiting: VecDeque<(u32, u32)>,
    waiting_count: u32,
    /// Busy slots of each replica that is on its way out.
    leaving: Vec<u32>,
}

impl Slots {
    pub fn in_system(&self) -> f64 {
        f64::from(self.busy + self.waiting_count)
    }

    pub fn leaving(&self) -> u32 {
        self.leaving.iter().sum()
    }

    pub fn draining(&self) -> u32 {
        self.leaving.len() as u32
    }

    /// Takes one replica out; any slot is as likely to be busy as any other.
    pub fn drain(&mut self, slots: u32, of_one: u32, random: &mut Random) {
        let (mut left, mut taken) = (slots, 0);
        for _ in 0..of_one {
            if random.unit() * f64::from(left) <= f64::from(self.busy) {
                self.busy -= 1;
                taken += 1;
            }
            left -= 1;
        }
        if taken > 0 {
            self.leaving.push(taken);
        }
    }

    pub fn step(
        &mut self,
        second: u32,
        arrivals: u32,
        slots: u32,
        profile: &Profile,
        random: &mut Random,
        score: &mut Score,
    ) {
        let chance = 1.0 / profile.service_s;
        self.busy -= random.binomial(self.busy, chance);
        for busy in &mut self.leaving {
            *busy -= random.binomial(*busy, chance);
        }
        self.leaving.retain(|&busy| busy > 0);
        if arrivals > 0 {
            self.waiting.push_back((second, arrivals));
            self.waiting_count += arrivals;
        }
        self.drop_late(second, profile, score);
        let mut free = slots.saturating_sub(self.busy);
        while let Some((arrived, count)) = self.waiting.front_mut() {
            let taken = free.min(*count);
            if f64::from(second - *arrived) > profile.wait_s {
                score.missed(*arrived, f64::from(taken));
            }
            free -= taken;
            self.busy += taken;
            self.waiting_count -= taken;
            *count -= taken;
            if *count > 0 {
                break;
            }
            self.waiting.pop_front();
        }
    }

    fn drop_late(&mut self, second: u32, profile: &Profile, score: &mut Score) {
        while let Some(&(arrived, count)) = self.waiting.front() {
            if f64::from(second - arrived) <= profile.timeout_s {
                break;
            }
            score.missed(arrived, f64::from(count));
            self.waiting_count -= count;
            self.waiting.pop_front();
        }
    }

    /// Those that still wait at the end, longer than they should.
    pub fn finish(&self, second: u32, profile: &Profile, score: &mut Score) {
        for &(arrived, count) in &self.waiting {
            if f64::from(second - arrived) > profile.wait_s {
                score.missed(arrived, f64::from(count));
            }
        }
    }
}
