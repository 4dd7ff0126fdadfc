//! The strategy on small made-up loads.

mod measured;
mod totality;

use super::signal::Second;
use super::*;

const START: Ms = Ms(1_700_000_000_000);

fn web() -> Settings {
    Settings {
        wait_ms: 250,
        miss_ppm: 30_000,
        service_ms: Some(40),
        slots: Some(4),
        replicas_min: 2,
        replicas_max: 1_000,
    }
}

fn job() -> Settings {
    Settings {
        wait_ms: 10_000,
        service_ms: Some(20_000),
        slots: Some(1),
        replicas_min: 1,
        ..web()
    }
}

/// A workload that is played second by second, with a pass at every one; sizes
/// take effect at once, as they would with replicas that start in no time.
struct Play {
    settings: Settings,
    signal: Signal,
    state: State,
    now: Ms,
    size: u32,
    changes: usize,
    last: Wanted,
}

impl Play {
    fn new(settings: Settings, size: u32) -> Play {
        Play {
            settings,
            signal: Signal::default(),
            state: State {
                starts_ms: vec![10_000; 10],
                ..State::default()
            },
            now: START,
            size,
            changes: 0,
            last: Wanted::default(),
        }
    }

    /// Lets `seconds` pass in which work arrives evenly and keeps `busy` slots.
    fn run(&mut self, seconds: u32, per_s: f64, busy: f64) -> &mut Play {
        for _ in 0..seconds {
            self.second(Second {
                arrivals_milli: Some((per_s * 1_000.0) as u64),
                busy_milli: Some((busy * 1_000.0) as u64),
                in_system_milli: Some((busy * 1_000.0) as u64),
                used_ppm: None,
                ready: self.size,
            });
        }
        self
    }

    fn second(&mut self, second: Second) {
        self.signal.push(second);
        self.now = self.now.plus(1_000);
        let observation = Observation {
            signal: &self.signal,
            current: self.size,
            ready: self.size,
            started_ms: &[],
        };
        self.last = want(&self.settings, &observation, &self.state, self.now);
        for change in &self.last.changes {
            self.state.apply(change);
        }
        self.changes += self.last.changes.len();
        self.size = self.last.replicas.unwrap_or(self.size);
    }

    fn says(&self, found: impl Fn(&Reason) -> bool) -> bool {
        self.last.reasons.iter().any(found)
    }
}

#[test]
fn a_steady_load_gets_what_the_wait_calls_for_and_keeps_it() {
    let mut play = Play::new(web(), 10);
    play.run(600, 435.0, 17.4);
    // 17.4 busy slots and a third of a deviation of headroom (1.3), and a tenth
    // on top, are 20.6 slots of four.
    assert_eq!(play.size, 6);
    let before = play.changes;
    play.run(600, 435.0, 17.4);
    assert_eq!(play.size, 6);
    // Two for the service time and two for the forecast each minute.
    assert!(play.changes - before <= 40, "{}", play.changes - before);
}

#[test]
fn the_reasons_read_as_an_account_of_the_size() {
    let mut play = Play::new(web(), 20);
    play.run(300, 870.0, 34.8).run(30, 435.0, 17.4);
    let words: Vec<String> = play.last.reasons.iter().map(Reason::to_string).collect();
    insta::assert_snapshot!(words.join("\n"), @"
    435.0/s over 8 s at 0.040 s each keep 17.4 slots busy; with 0.3 deviations of headroom that takes 21 slots, or 6 replicas of 4
    11 replicas were needed in the last 60 s
    ");
}

#[test]
fn a_second_pass_over_the_same_input_learns_nothing_new() {
    let mut play = Play::new(web(), 10);
    play.run(300, 435.0, 17.4);
    let observation = Observation {
        signal: &play.signal,
        current: play.size,
        ready: play.size,
        started_ms: &[],
    };
    let again = want(&play.settings, &observation, &play.state, play.now);
    assert_eq!(again.changes, Vec::new());
    assert_eq!(again.replicas, Some(play.size));
}

#[test]
fn more_load_is_answered_in_the_same_pass_and_only_once() {
    let mut play = Play::new(job(), 30);
    play.run(300, 1.0, 20.0);
    let before = play.size;
    // Forty wait beyond the slots that are ready; none of the new ones is.
    let observation = |current| Observation {
        signal: &play.signal,
        current,
        ready: before,
        started_ms: &[],
    };
    let mut signal = play.signal.clone();
    signal.push(Second {
        arrivals_milli: Some(1_000),
        busy_milli: Some(u64::from(before) * 1_000),
        in_system_milli: Some(u64::from(before + 40) * 1_000),
        used_ppm: None,
        ready: before,
    });
    let first = Observation {
        signal: &signal,
        ..observation(before)
    };
    let up = want(&play.settings, &first, &play.state, play.now);
    let wanted = up.replicas.unwrap();
    assert!(wanted >= before + 40, "{wanted}");
    for change in &up.changes {
        play.state.apply(change);
    }
    let second = Observation {
        signal: &signal,
        current: wanted,
        ..first
    };
    let again = want(&play.settings, &second, &play.state, play.now.plus(2_000));
    assert_eq!(again.replicas, Some(wanted), "starting replicas count");
}

#[test]
fn a_smaller_load_is_believed_after_the_hold() {
    let mut play = Play::new(web(), 20);
    play.run(300, 870.0, 34.8);
    let high = play.size;
    play.run(55, 200.0, 8.0);
    assert_eq!(play.size, high, "held for a minute");
    assert!(play.says(|reason| matches!(reason, Reason::Held { .. })));
    play.run(30, 200.0, 8.0);
    assert!(play.size < high);
}

#[test]
fn the_hold_grows_with_the_start_time() {
    let mut play = Play::new(web(), 20);
    play.state.starts_ms = vec![45_000; 10];
    play.run(600, 870.0, 34.8);
    let high = play.size;
    play.run(270, 200.0, 8.0);
    assert_eq!(play.size, high, "held for six starts of 45 s");
    play.run(60, 200.0, 8.0);
    assert!(play.size < high);
}

#[test]
fn the_limits_of_a_size_are_where_it_changes() {
    let steady = |size: u32, busy: f64| {
        let mut play = Play::new(web(), size);
        play.run(600, busy / 0.04, busy);
        play.size
    };
    let size = steady(2, 17.4);
    let mut play = Play::new(web(), size);
    play.run(600, 435.0, 17.4);
    let staffed = play.last.reasons.iter().find_map(|reason| match *reason {
        Reason::Staffed {
            service_us,
            peakedness_milli,
            headroom_milli,
            slots_each,
            ..
        } => Some(limits::Limits {
            replicas: size,
            may_grow: true,
            may_shrink: true,
            slots_each,
            service_us,
            wait_ms: 250,
            miss_ppm: 30_000,
            peakedness_milli,
            headroom_milli,
        }),
        _ => None,
    });
    let limits = staffed.unwrap();
    let (above, below) = (limits.above().unwrap(), limits.below().unwrap());
    assert!(below < 17.4 && 17.4 < above, "{below} to {above}");
    assert_eq!(steady(size, above - 0.1), size);
    assert!(steady(size, above + 0.1) > size);
    assert_eq!(steady(size, below + 0.1), size);
    assert!(steady(size, below - 0.1) < size);
}

#[test]
fn a_new_leader_with_an_empty_signal_never_shrinks() {
    let mut play = Play::new(web(), 20);
    play.state.held.clear();
    for _ in 0..7 {
        play.run(1, 100.0, 4.0);
        assert_eq!(play.size, 20);
    }
    assert!(play.says(|reason| *reason == Reason::SignalShort { left_ms: 1_000 }));
}

#[test]
fn headroom_rises_once_an_episode_and_fades() {
    let mut play = Play::new(job(), 10);
    let late = Second {
        arrivals_milli: Some(1_000),
        busy_milli: Some(10_000),
        in_system_milli: Some(30_000),
        used_ppm: None,
        ready: 10,
    };
    for _ in 0..59 {
        play.size = 10;
        play.second(late);
    }
    let once = play.state.headroom.unwrap();
    assert_eq!(once.milli, 500);
    play.size = 10;
    play.second(late);
    play.size = 10;
    play.second(late);
    assert_eq!(play.state.headroom.unwrap().milli, 700, "a second episode");
    let later = play.now.plus(24 * 3_600_000);
    assert_eq!(learn::headroom_milli(&play.state, later), 300);
}

#[test]
fn the_last_replica_stays_a_minute_and_goes() {
    let settings = Settings {
        replicas_min: 0,
        ..job()
    };
    let mut play = Play::new(settings, 1);
    play.run(60, 0.1, 1.0).run(50, 0.0, 0.0);
    assert!(play.size >= 1);
    play.run(100, 0.0, 0.0);
    assert_eq!(play.size, 0);
    assert!(play.says(|reason| matches!(reason, Reason::Idle { .. })));
    play.run(5, 2.0, 4.0);
    assert!(play.size > 0);
}

#[test]
fn replicas_wait_for_work_that_has_come_at_even_intervals() {
    let settings = Settings {
        replicas_min: 0,
        service_ms: Some(1_000),
        wait_ms: 2_000,
        ..job()
    };
    let mut play = Play::new(settings, 0);
    for _ in 0..4 {
        play.run(120, 4.0, 4.0).run(1_680, 0.0, 0.0);
    }
    // Two start times before the batch is due they are asked for.
    assert!(play.size >= 4, "{} ready", play.size);
    assert!(play.says(|reason| matches!(reason, Reason::Expected(_))));
    play.run(300, 0.0, 0.0);
    assert_eq!(play.size, 0, "it didn't come");
}

#[test]
fn i9_work_that_goes_on_stronger_after_a_short_pause_is_learned_in_one_pass() {
    let settings = Settings {
        replicas_min: 0,
        service_ms: Some(1_000),
        ..job()
    };
    let mut play = Play::new(settings, 0);
    play.run(5, 1.0, 1.0).run(15, 0.0, 0.0);
    assert!(play.state.idle.since.is_some(), "a pause within the minute");
    play.run(1, 20.0, 20.0);
    assert_eq!(play.state.idle.since, None);
    let observation = Observation {
        signal: &play.signal,
        current: play.size,
        ready: play.size,
        started_ms: &[],
    };
    let again = want(&settings, &observation, &play.state, play.now);
    assert_eq!(again.changes, []);
}

#[test]
fn a_forecast_counts_only_where_it_has_been_better() {
    let forecasts = |play: &Play| play.says(|reason| matches!(reason, Reason::Forecast { .. }));
    // Up and down in turns: a trend is always over when it has been seen.
    let mut turning = Play::new(web(), 10);
    turning.state.starts_ms = vec![90_000; 10];
    for slice in 0..540 {
        let per_s = if slice / 10 % 2 == 0 { 300.0 } else { 500.0 };
        turning.run(20, per_s, per_s * 0.04);
        assert!(!forecasts(&turning));
    }
    assert!(turning.state.forecast.scored >= 30);
    let mut rising = Play::new(web(), 10);
    rising.state.starts_ms = vec![90_000; 10];
    for minute in 0..180 {
        let per_s = 100.0 + 5.0 * f64::from(minute);
        rising.run(60, per_s, per_s * 0.04);
    }
    assert!(forecasts(&rising));
}

#[test]
fn the_state_stays_small_over_a_week_of_noise() {
    let mut play = Play::new(
        Settings {
            replicas_min: 0,
            ..job()
        },
        1,
    );
    let mut seed = 7_u64;
    let mut largest = 0;
    for step in 0..20_000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // Half a minute each: a week has twenty thousand of them.
        let work = f64::from((seed >> 33) as u32 % 40) / 10.0;
        play.now = play.now.plus(25_000);
        let quiet = step % 7 == 0;
        play.run(5, if quiet { 0.0 } else { work }, work * 20.0);
        let bytes = postcard::to_allocvec(&play.state).unwrap();
        assert_eq!(postcard::from_bytes::<State>(&bytes).unwrap(), play.state);
        largest = largest.max(bytes.len());
    }
    assert!(largest <= 800, "{largest} bytes");
}
