//! Changes of size, for rate limits (hpa.md rule 15).

use super::Event;
use crate::unit::Ms;

/// More changes than HPA's passes, 15 s apart, can make within the longest period
/// (30 min: 120). Past this the two oldest become one with the newer's time, so
/// that the direction's own limits count them longer, never shorter.
pub const EVENTS_MAX: usize = 128;

/// Records a change of `change` replicas. Events older than the direction's
/// longest period are outdated; the last outdated one is overwritten.
pub fn store(events: &mut Vec<Event>, change: u32, now: Ms, period_ms_max: u64) {
    let next = Event {
        change,
        at: now,
        outdated: false,
    };
    for event in events.iter_mut() {
        event.outdated |= now.since(event.at) > period_ms_max;
    }
    match events.iter().rposition(|event| event.outdated) {
        Some(i) => events[i] = next,
        None => events.push(next),
    }
    if events.len() > EVENTS_MAX {
        events.sort_by_key(|event| event.at);
        let oldest = events.remove(0);
        events[0].change = events[0].change.saturating_add(oldest.change);
    }
}

/// How many replicas were changed less than `period_ms` ago.
pub fn within(events: &[Event], now: Ms, period_ms: u64) -> u32 {
    events
        .iter()
        .filter(|event| now.since(event.at) < period_ms)
        .fold(0, |sum, event| sum.saturating_add(event.change))
}
