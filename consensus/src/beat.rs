//! One beat for all that only looks around now and then.
//!
//! Comes in: how often somebody looks. Goes out: the next moment for that, the same for
//! all who look as often, so that the process wakes once for all of them. Never runs
//! early, and never catches up on beats that were missed. Not for what is measured from
//! an event, such as a timeout.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Beats are counted from here.
static BEGIN: OnceLock<Instant> = OnceLock::new();

/// Returns at the next multiple of `every` since the first call in this process: after
/// `every` at the latest, and sooner the first time.
pub async fn beat(every: Duration) {
    tokio::time::sleep_until(next(every).into()).await;
}

/// When that is.
pub fn next(every: Duration) -> Instant {
    let now = Instant::now();
    following(*BEGIN.get_or_init(|| now), now, every)
}

fn following(begin: Instant, now: Instant, every: Duration) -> Instant {
    let every_ns = every.as_nanos().max(1);
    let gone_ns = now.saturating_duration_since(begin).as_nanos();
    let left_ns = every_ns - gone_ns % every_ns;
    now + Duration::from_nanos(u64::try_from(left_ns).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_looks_as_often_wakes_at_the_same_moment_whenever_it_began() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let half = Duration::from_millis(500);
        for begun in [0, 1, 130, 499] {
            assert_eq!(
                following(begin, at(begun), half),
                at(500),
                "begun after {begun}"
            );
        }
        assert_eq!(following(begin, at(500), half), at(1_000), "never at once");
        // Whoever looks half as often wakes with them too.
        assert_eq!(following(begin, at(730), half * 2), at(1_000));
        assert_eq!(
            following(begin, at(2_730), half),
            at(3_000),
            "none is caught up on"
        );
    }
}
