//! The time that commands are stamped with and decisions are made at.
//!
//! It starts as this machine's wall clock and then runs by the monotonic one, so
//! that a wall clock that is set while the agent runs moves no window or
//! cooldown. It is never behind the log: a leader whose machine is late goes on
//! from where the former leader's time was, rather than standing still until its
//! own has caught up.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use starling_engine::unit::Ms;

/// Shared by all of an agent that needs to know the time.
#[derive(Debug)]
pub struct Clock {
    /// What the time was at one instant.
    anchor: Mutex<(Instant, Ms)>,
}

impl Default for Clock {
    fn default() -> Clock {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        Clock::starting_at(Instant::now(), Ms(millis(wall.unwrap_or_default())))
    }
}

impl Clock {
    fn starting_at(instant: Instant, time: Ms) -> Clock {
        Clock {
            anchor: Mutex::new((instant, time)),
        }
    }

    /// Milliseconds since the epoch; never less than before.
    pub fn now(&self) -> Ms {
        self.at(Instant::now())
    }

    /// The log is at `time`, so it is at least as late.
    pub fn reach(&self, time: Ms) {
        self.reach_at(Instant::now(), time);
    }

    fn at(&self, instant: Instant) -> Ms {
        let (since, time) = *self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        time.plus(millis(instant.saturating_duration_since(since)))
    }

    fn reach_at(&self, instant: Instant, time: Ms) {
        if self.at(instant) < time {
            let mut anchor = self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
            *anchor = (instant, time);
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_from_the_logs_where_the_machine_is_late() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let clock = Clock::starting_at(start, Ms(1_000));
        assert_eq!(clock.at(after(500)), Ms(1_500));
        clock.reach_at(after(500), Ms(1_200));
        assert_eq!(
            clock.at(after(600)),
            Ms(1_600),
            "an older entry moves nothing"
        );
        clock.reach_at(after(600), Ms(3_601_000));
        assert_eq!(clock.at(after(600)), Ms(3_601_000));
        assert_eq!(
            clock.at(after(850)),
            Ms(3_601_250),
            "nor does it stand still"
        );
        assert_eq!(clock.at(start), Ms(3_601_000), "nor go back");
    }
}
