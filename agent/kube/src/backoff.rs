//! How long to wait before something that failed is tried again.
//!
//! Comes in: one call for each failure. Goes out: a wait that doubles up to a
//! bound, half of it at random, so that many agents that lost one API server
//! don't come back in step. Never gives up: the caller does.

use std::time::Duration;

/// Waits of `least`, twice that, and so on up to `most`; of each at least half.
#[derive(Debug, Clone)]
pub struct Backoff {
    least: Duration,
    most: Duration,
    failures: u32,
}

/// A server that asks for longer than this is tried again after this long: it
/// may have asked for hours by mistake.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

impl Backoff {
    pub fn new(least: Duration, most: Duration) -> Backoff {
        Backoff {
            least,
            most,
            failures: 0,
        }
    }

    /// The wait after one more failure.
    pub fn next_wait(&mut self) -> Duration {
        let doubled = 2_u32.saturating_pow(self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        let wait = self.least.saturating_mul(doubled).min(self.most);
        jittered(wait)
    }

    /// The same, but no less than what the server asked for.
    pub fn next_wait_after(&mut self, asked: Option<Duration>) -> Duration {
        let asked = asked.unwrap_or_default().min(RETRY_AFTER_MAX);
        self.next_wait().max(asked)
    }

    /// Forgets the failures; the next wait is the shortest one again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Between half of `wait` and all of it.
pub fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(0.5 + 0.5 * rand::random::<f64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_and_keep_at_least_half() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for expected in [100, 200, 400, 800, 1_000, 1_000] {
            let wait = backoff.next_wait();
            let full = Duration::from_millis(expected);
            assert!(wait >= full / 2 && wait <= full, "{wait:?} of {full:?}");
        }
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_millis(100));
    }

    #[test]
    fn a_server_that_asks_for_a_longer_wait_gets_it_within_reason() {
        let mut backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(10));
        let asked = Duration::from_secs(3);
        assert_eq!(backoff.next_wait_after(Some(asked)), asked);
        let hours = Some(Duration::from_hours(2));
        assert_eq!(backoff.next_wait_after(hours), RETRY_AFTER_MAX);
    }
}
