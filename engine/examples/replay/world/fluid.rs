//! Fast work: a backlog that flows, and within each second the Halfin-Whitt
//! tail of the wait.

use starling_engine::decide::objective::erlang;

use crate::load::Profile;
use crate::score::Score;

#[derive(Debug, Default)]
pub struct Fluid {
    backlog: f64,
}

impl Fluid {
    /// Mean busy slots and requests in the system over the second.
    pub fn step(
        &mut self,
        second: u32,
        arrivals: u32,
        slots: u32,
        profile: &Profile,
        score: &mut Score,
    ) -> (f64, f64) {
        let arrived = f64::from(arrivals);
        if slots == 0 {
            self.backlog = 0.0;
            score.missed(second, arrived);
            return (0.0, arrived);
        }
        let per_second = f64::from(slots) / profile.service_s;
        let before = self.backlog;
        let offered = before + arrived;
        let served = offered.min(per_second);
        let most = per_second * profile.timeout_s;
        self.backlog = (offered - served).min(most);
        let dropped = (offered - served - self.backlog).min(arrived);
        let late = late_part(
            before / per_second,
            self.backlog / per_second,
            profile.wait_s,
        );
        let tail = tail(slots, arrived, profile);
        let missed = late + (1.0 - late) * tail;
        score.missed(second, dropped + (arrived - dropped) * missed);
        let busy = served * profile.service_s;
        (busy, busy + self.backlog)
    }
}

/// The part of a second in which the wait, going evenly from `from_s` to
/// `to_s`, is above `limit_s`.
fn late_part(from_s: f64, to_s: f64, limit_s: f64) -> f64 {
    let (low, high) = (from_s.min(to_s), from_s.max(to_s));
    if low > limit_s {
        1.0
    } else if high <= limit_s {
        0.0
    } else {
        (high - limit_s) / (high - low)
    }
}

fn tail(slots: u32, rate: f64, profile: &Profile) -> f64 {
    let servers = f64::from(slots);
    let load = rate * profile.service_s;
    if load >= servers {
        return 0.0;
    }
    let spare_per_s = servers / profile.service_s - rate;
    erlang::halfin_whitt(servers, load) * (-spare_per_s * profile.wait_s).exp()
}
