//! The way down: what was needed a while ago may be needed again, so a smaller
//! size has to have been enough for some time.

use super::state::{Change, Held, State};
use crate::unit::Ms;

/// How long a size is held: a few start times, because what is given away takes
/// one to get back; at least a minute, at most HPA's five.
const WINDOW_STARTS: f64 = 6.0;
const WINDOW_MS_MIN: f64 = 60_000.0;
const WINDOW_MS_MAX: f64 = 300_000.0;
/// Stretches that a window is divided into; each is remembered by its highest.
const STRETCHES: u64 = 8;
/// A smaller move down isn't worth a change; the same as HPA's tolerance.
const STEP_PERCENT_MIN: u64 = 10;

pub fn window_ms(start_s: f64) -> u64 {
    (start_s * 1_000.0 * WINDOW_STARTS).clamp(WINDOW_MS_MIN, WINDOW_MS_MAX) as u64
}

/// Remembers `replicas` where it is news.
pub fn remember(replicas: u32, window_ms: u64, state: &State, now: Ms) -> Option<Change> {
    let Some(last) = state.held.last() else {
        return Some(Change::Held(Held {
            from: now,
            replicas,
        }));
    };
    let same_stretch = now.since(last.from) < window_ms / STRETCHES;
    let news = if same_stretch {
        replicas > last.replicas
    } else {
        replicas != last.replicas
    };
    let from = if same_stretch { last.from } else { now };
    news.then_some(Change::Held(Held { from, replicas }))
}

/// The highest recommendation of the window, this one included.
pub fn highest(replicas: u32, window_ms: u64, state: &State, now: Ms) -> u32 {
    let begins = now.minus(window_ms);
    let mut highest = replicas;
    for held in state.held.iter().rev() {
        highest = highest.max(held.replicas);
        if held.from <= begins {
            break;
        }
    }
    highest
}

/// How long recommendations still hold that forbid a step down from `current`.
pub fn left_ms(current: u32, window_ms: u64, state: &State, now: Ms) -> u64 {
    let ends = |index: usize| state.held.get(index + 1).map_or(now, |next| next.from);
    let forbid = state.held.iter().enumerate();
    forbid
        .filter(|(_, held)| !worth_it(current, held.replicas))
        .map(|(index, _)| ends(index).plus(window_ms).since(now))
        .max()
        .unwrap_or_default()
}

/// Whether going down from `current` to `wanted` is a step that counts.
pub fn worth_it(current: u32, wanted: u32) -> bool {
    let step = current.saturating_sub(wanted);
    u64::from(step) * 100 >= u64::from(current) * STEP_PERCENT_MIN
}
