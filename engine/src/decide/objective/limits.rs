//! How far the load would have to move for another size: the staffing rule,
//! turned round. Worked out when somebody asks, because a search is too dear for
//! each pass.

use serde::{Deserialize, Serialize};

use super::erlang::Aim;
use super::hold;
use super::staff::Rule;

/// What a size was staffed by, in whole numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub replicas: u32,
    /// Whether the bounds let it grow and shrink.
    pub may_grow: bool,
    pub may_shrink: bool,
    pub slots_each: u32,
    pub service_us: u64,
    pub wait_ms: u64,
    pub miss_ppm: u32,
    pub peakedness_milli: u32,
    pub headroom_milli: u32,
}

/// Halvings of the range that the answer lies in: to a ten-thousandth of it.
const STEPS: u32 = 14;

impl Limits {
    /// Busy slots above which the size is too small; `None` at the upper bound.
    pub fn above(&self) -> Option<f64> {
        let (rule, replicas) = (self.rule(), self.replicas);
        let fits = |load: f64| rule.replicas(rule.least(load)) <= replicas;
        self.may_grow.then(|| self.largest(fits))
    }

    /// Busy slots below which the next step down is worth it; `None` at the
    /// lower bound.
    pub fn below(&self) -> Option<f64> {
        let (rule, replicas) = (self.rule(), self.replicas);
        let fits = |load: f64| hold::worth_it(replicas, rule.replicas(rule.enough(load)));
        (self.may_shrink && replicas > 0).then(|| self.largest(fits))
    }

    /// The largest load that `fits`, on a rule that only grows: a load never
    /// takes fewer slots than it keeps busy.
    fn largest(&self, fits: impl Fn(f64) -> bool) -> f64 {
        let (mut low, mut high) = (0.0, f64::from(self.replicas) * f64::from(self.slots_each));
        for _ in 0..STEPS {
            let middle = f64::midpoint(low, high);
            if fits(middle) {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    }

    fn rule(&self) -> Rule {
        Rule {
            aim: Aim {
                service_s: self.service_us as f64 / 1e6,
                wait_s: self.wait_ms as f64 / 1e3,
                miss: f64::from(self.miss_ppm) / 1e6,
            },
            peakedness: f64::from(self.peakedness_milli) / 1e3,
            headroom_milli: self.headroom_milli,
            slots_each: self.slots_each.max(1),
        }
    }
}
