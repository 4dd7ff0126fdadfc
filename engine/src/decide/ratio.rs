//! HPA's float arithmetic (hpa.md rule 3): the tolerance test and how a ratio
//! becomes a count. The only place where a float turns into replicas.

use crate::policy::Policy;

/// How far a ratio may be off before anything changes, as fractions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    pub up: f64,
    pub down: f64,
}

impl Tolerance {
    /// The policy's own tolerance for each direction, else the controller's.
    pub fn of(policy: &Policy) -> Tolerance {
        let own = policy.behavior.as_ref();
        let up = own.and_then(|b| b.up.tolerance_ppm);
        let down = own.and_then(|b| b.down.tolerance_ppm);
        let fraction = |ppm: u32| f64::from(ppm) / 1e6;
        Tolerance {
            up: fraction(up.unwrap_or(policy.controller.tolerance_up_ppm)),
            down: fraction(down.unwrap_or(policy.controller.tolerance_down_ppm)),
        }
    }

    /// Both ends count as within. The older form `|1 - ratio| <= tolerance`
    /// says otherwise of exactly 1.1.
    pub fn covers(self, ratio: f64) -> bool {
        1.0 - self.down <= ratio && ratio <= 1.0 + self.up
    }
}

/// Rounds up to a count of replicas. Negative numbers and NaN become 0, what
/// doesn't fit HPA's 32 bits becomes their largest.
pub fn count(replicas: f64) -> u32 {
    (replicas.ceil().max(0.0) as i32).max(0).unsigned_abs()
}
