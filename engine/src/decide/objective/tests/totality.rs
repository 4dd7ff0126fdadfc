//! Any input gives an answer, within the bounds, and the same one again.

use proptest::prelude::*;

use super::START;
use crate::decide::objective::signal::{Second, Signal};
use crate::decide::objective::state::State;
use crate::decide::objective::{Observation, Settings, want};
use crate::unit::Ms;

fn seconds() -> impl Strategy<Value = Second> {
    let count = || {
        prop_oneof![
            Just(None),
            Just(Some(u64::MAX)),
            any::<Option<u64>>(),
            (0_u64..1_000_000).prop_map(Some)
        ]
    };
    let used = any::<Option<u32>>();
    (count(), count(), used, count(), any::<u32>()).prop_map(
        |(arrivals_milli, busy_milli, used_ppm, in_system_milli, ready)| Second {
            arrivals_milli,
            busy_milli,
            used_ppm,
            in_system_milli,
            ready,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_input_gives_an_answer_within_bounds_and_the_same_one_again(
        seen in proptest::collection::vec(seconds(), 0..80),
        wait_ms in any::<u64>(), miss_ppm in any::<u32>(), service_ms in any::<Option<u64>>(),
        slots in any::<Option<u32>>(), min in 0_u32..50, more in 0_u32..100_000,
        starts in proptest::collection::vec(any::<u32>(), 0..40),
        jumps in proptest::collection::vec(any::<u64>(), 0..8),
        sizes in proptest::collection::vec((any::<u32>(), any::<u32>()), 1..8),
    ) {
        let settings = Settings { wait_ms, miss_ppm, service_ms, slots, replicas_min: min, replicas_max: min + more };
        let mut signal = Signal::default();
        for second in seen {
            signal.push(second);
        }
        let mut state = State::default();
        for (index, &(current, ready)) in sizes.iter().enumerate() {
            let now = Ms(jumps.get(index).copied().unwrap_or(START.0));
            let observation = Observation { signal: &signal, current, ready, started_ms: &starts };
            let wanted = want(&settings, &observation, &state, now);
            prop_assert_eq!(&wanted, &want(&settings, &observation, &state, now));
            if let Some(replicas) = wanted.replicas {
                prop_assert!((min..=min + more).contains(&replicas));
            }
            for change in &wanted.changes {
                state.apply(change);
            }
            for reason in &wanted.reasons {
                prop_assert!(!reason.to_string().is_empty());
            }
        }
    }
}
