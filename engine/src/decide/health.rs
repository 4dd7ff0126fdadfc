//! How often a trigger failed in a row, and when it is trusted again.
//!
//! A poll counts once, however many passes see it. Counts stop at a bound: a
//! source that stays up or stays down costs no log entries.

use crate::history::Health;
use crate::policy::Fallback;
use crate::unit::Ms;

/// Failures are counted up to this where there is no fallback to count for.
pub const FAILURES_SHOWN_MAX: u32 = 3;

/// One poll's result.
#[derive(Debug, Clone, Copy)]
pub struct Poll {
    pub good: bool,
    pub at: Ms,
}

/// Takes in a poll, unless it was counted before or a later one was. A counted poll
/// whose time is ahead of `now` was stamped before the clock was set back; polls with an
/// earlier time than that one count all the same.
pub fn after(health: Health, poll: Poll, now: Ms, fallback: Option<&Fallback>) -> Health {
    let Poll { good, at } = poll;
    if at == health.at || (at < health.at && health.at <= now) {
        return health;
    }
    let next = if good {
        succeeded(health, fallback)
    } else {
        let bound = fallback.map_or(FAILURES_SHOWN_MAX, |f| {
            f.failure_threshold.saturating_add(1)
        });
        Health {
            failures: health.failures.saturating_add(1).min(bound),
            successes: 0,
            at,
        }
    };
    if (next.failures, next.successes) == (health.failures, health.successes) {
        return health;
    }
    Health { at, ..next }
}

/// Whether the fallback stands in (KEDA: strictly more failures than the threshold).
pub fn fallen_back(health: Health, fallback: Option<&Fallback>) -> bool {
    fallback.is_some_and(|f| health.failures > f.failure_threshold)
}

fn succeeded(health: Health, fallback: Option<&Fallback>) -> Health {
    let successes = health.successes.saturating_add(1);
    let needed = fallback.map_or(0, Fallback::recovery);
    if fallen_back(health, fallback) && successes < needed {
        Health {
            successes,
            ..health
        }
    } else {
        Health {
            failures: 0,
            successes: 0,
            ..health
        }
    }
}
