//! The lists of a history stop growing, and what is thinned out only ever holds
//! a size longer.

use proptest::prelude::*;
use starling_engine::decide::stabilize::Log;
use starling_engine::history::{Event, Recommendation, events, runs};
use starling_engine::policy::Windows;
use starling_engine::unit::Ms;

/// HPA's own list: every recommendation with its time, none ever dropped.
fn exact(all: &[(Ms, u32)], now: Ms, window_ms: u64) -> Vec<u32> {
    let recent = all.iter().filter(|(at, _)| now.since(*at) < window_ms);
    recent.map(|(_, replicas)| *replicas).collect()
}

proptest! {
    #[test]
    fn a_thinned_log_holds_a_size_as_long_or_longer(
        wanted in prop::collection::vec((1_u64..20, 0_u32..10_000), 70..300),
        up_s in 0_u64..1_800,
        down_s in 0_u64..1_800,
    ) {
        let windows = Windows { up_ms: up_s * 1_000, down_ms: down_s * 1_000 };
        let mut now = Ms(1_700_000_000_000);
        let (mut all, mut log, mut last) = (Vec::new(), Vec::new(), now);
        for (after_s, replicas) in wanted {
            now = now.plus(after_s * 1_000);
            runs::record(&mut log, replicas, last, now, windows);
            prop_assert!(log.len() <= runs::RUNS_MAX);
            all.push((now, replicas));
            last = now;
            let view = Log { runs: &log, now, last_pass: Some(now) };
            let highest = exact(&all, now, windows.down_ms).into_iter().max().unwrap_or(0);
            let lowest = exact(&all, now, windows.up_ms).into_iter().min().unwrap_or(u32::MAX);
            let down = view.hold_both(u32::MAX, 0, Windows { up_ms: 0, ..windows }).replicas;
            let up = view.hold_both(0, u32::MAX, Windows { down_ms: 0, ..windows }).replicas;
            prop_assert!(down >= highest, "{down} < {highest}");
            prop_assert!(up <= lowest, "{up} > {lowest}");
            if all.len() <= runs::RUNS_MAX {
                prop_assert_eq!((down, up), (highest, lowest));
            }
        }
    }
}

#[test]
fn events_stop_at_their_bound_and_keep_their_sum() {
    let mut list: Vec<Event> = Vec::new();
    let start = Ms(1_700_000_000_000);
    for second in 0..1_000 {
        events::store(&mut list, 2, start.plus(second * 1_000), 1_800_000);
    }
    assert_eq!(list.len(), events::EVENTS_MAX);
    assert_eq!(
        events::within(&list, start.plus(1_000_000), 1_800_000),
        2_000
    );
}

#[test]
fn an_unchanged_recommendation_extends_its_run() {
    let windows = Windows {
        up_ms: 0,
        down_ms: 300_000,
    };
    let start = Ms(1_700_000_000_000);
    let mut log = Vec::new();
    for second in 0..600 {
        let now = start.plus(second * 1_000);
        runs::record(&mut log, 7, now, now, windows);
    }
    let open = Recommendation {
        replicas: 7,
        from: start,
        until: None,
    };
    assert_eq!(log, [open]);
}
