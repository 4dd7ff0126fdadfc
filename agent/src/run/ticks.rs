//! When the loop asks the engine whether something is due, and shows what is.
//!
//! Comes in: that something has happened, and when the engine has something to do by
//! itself. Goes out: the moment of the next tick: soon after news, but not sooner than
//! [`TICK_EVERY`] after the last one, however much happens; and where nothing does, when
//! the engine asks for it. An agent at rest isn't woken for nothing.

use std::time::Duration;

use tokio::time::Instant;

/// Two ticks are at least so far apart.
pub const TICK_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub struct Ticks {
    last: Instant,
    due: Instant,
}

impl Ticks {
    /// The first is due now.
    pub fn new(now: Instant) -> Ticks {
        Ticks {
            last: now,
            due: now,
        }
    }

    pub fn due(&self) -> Instant {
        self.due
    }

    /// Something has happened.
    pub fn stir(&mut self) {
        self.due = self.due.min(self.last + TICK_EVERY);
    }

    /// A tick was made at `now`. Without news the next one is due after `wait`.
    pub fn ticked(&mut self, now: Instant, wait: Duration) {
        self.last = now;
        self.due = now + wait.max(TICK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_comes_soon_after_news_and_never_sooner_than_a_while_after_the_last_one() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let second = Duration::from_secs(1);
        let mut ticks = Ticks::new(start);
        assert_eq!(ticks.due(), start);
        ticks.ticked(at(0), second);
        assert_eq!(ticks.due(), at(1_000), "nothing has happened");
        ticks.stir();
        ticks.stir();
        assert_eq!(ticks.due(), at(200));
        ticks.ticked(at(230), second);
        assert_eq!(ticks.due(), at(1_230), "what was news is seen to");
        ticks.ticked(at(1_230), Duration::from_millis(3));
        assert_eq!(ticks.due(), at(1_430));
    }
}
