//! Counters that only grow, until they don't: how much one grew, in which time.
//!
//! Comes in: what a counter says and the moment that it was read. Goes out: its
//! growth over the time that really passed, or nothing where there is no honest
//! answer. Never a negative growth, and never CPU time that the machine doesn't have.

use std::path::Path;
use std::time::Duration;

/// When a file was read: halfway between before and after.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moment {
    pub at: Duration,
    /// How long the reading took, so how much may be wrong with `at`.
    pub took: Duration,
}

/// `N` counters of one file, which are read together.
#[derive(Debug, Clone)]
pub struct Counter<const N: usize> {
    former: Option<(Moment, [u64; N])>,
}

impl<const N: usize> Default for Counter<N> {
    fn default() -> Counter<N> {
        Counter { former: None }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Step<const N: usize> {
    /// The first reading, or one long after it, or after a counter went back.
    #[default]
    None,
    /// Too soon after the last one that counted.
    Soon,
    /// One of the two readings took so long that the window isn't known well enough.
    Unsure,
    Grown(Grown<N>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grown<const N: usize> {
    pub by: [u64; N],
    pub at: Duration,
    pub window: Duration,
}

/// The kernel adds CPU time at ticks of up to 10 ms; in a shorter window than
/// this they are too large a part. The next reading covers more.
pub const WINDOW_MIN: Duration = Duration::from_millis(100);
/// A mean over more than this says nothing of now; counting starts anew.
pub const WINDOW_MAX: Duration = Duration::from_mins(1);
/// Both readings together may take this part of the window: 50 ms of a second,
/// so that a rate is wrong by at most a twentieth.
const UNSURE_PART: u32 = 20;

impl<const N: usize> Counter<N> {
    /// Takes what the counters say now. What grew is counted in one step only.
    pub fn advance(&mut self, moment: Moment, now: [u64; N]) -> Step<N> {
        let Some((before, former)) = self.former else {
            self.former = Some((moment, now));
            return Step::None;
        };
        let window = moment.at.saturating_sub(before.at);
        let mut by = now;
        let back = by.iter_mut().zip(former).any(|(count, former)| {
            let less = *count < former;
            *count = count.saturating_sub(former);
            less
        });
        if back || window > WINDOW_MAX {
            self.former = Some((moment, now));
            return Step::None;
        }
        if window < WINDOW_MIN {
            return Step::Soon;
        }
        let took = before.took.saturating_add(moment.took);
        if took.saturating_mul(UNSURE_PART) > window {
            // Of two doubtful readings the better one stays. While the former
            // does, the window grows until the doubt is small beside it.
            if moment.took < before.took {
                self.former = Some((moment, now));
            }
            return Step::Unsure;
        }
        self.former = Some((moment, now));
        Step::Grown(Grown {
            by,
            at: moment.at,
            window,
        })
    }
}

impl Grown<1> {
    /// Nanoseconds of CPU as thousandths of a core. `None` where that is more
    /// than `cpus` can give. Up to an eighth above is doubt about the window, and
    /// means all of them: 2,100 on 2 CPUs is 2,000, 2,300 is none.
    pub fn cpu_milli(&self, cpus: u64) -> Option<i64> {
        let [by] = self.by;
        let milli = u128::from(by) * 1_000 / self.window.as_nanos().max(1);
        let all = u128::from(cpus) * 1_000;
        if milli > all + all / 8 {
            return None;
        }
        i64::try_from(milli.min(all)).ok()
    }
}

/// No device that is known moves as much: 1 TiB in a second.
const BYTES_PER_S_MAX: u128 = 1 << 40;

impl<const N: usize> Grown<N> {
    /// The mean of the counter at `index` for each second, in thousandths. `None`
    /// where it is more bytes than any device moves.
    pub fn per_second_milli(&self, index: usize) -> Option<i64> {
        let by = u128::from(*self.by.get(index)?);
        let nanos = self.window.as_nanos().max(1);
        let milli = by * 1_000 * 1_000_000_000 / nanos;
        (milli <= BYTES_PER_S_MAX * 1_000).then(|| i64::try_from(milli).ok())?
    }

    /// Microseconds as thousandths of the window. Up to an eighth more than all of it
    /// is doubt about the window, and means all; more than that is `None`.
    pub fn share_milli(&self, index: usize) -> Option<i64> {
        let by = u128::from(*self.by.get(index)?);
        let milli = by * 1_000_000 / self.window.as_nanos().max(1);
        (milli <= 1_125).then(|| i64::try_from(milli.min(1_000)).ok())?
    }
}

/// As many as Linux can be built for; the bound where the number isn't known.
const CPUS_MAX: u64 = 8_192;

/// How many CPUs are online, from a list such as `0-3,8`. Asked of the host:
/// what this process may use is less, in a container with a quota.
pub fn cpus(online: &Path) -> u64 {
    let text = std::fs::read_to_string(online).unwrap_or_default();
    parse_list(text.trim()).map_or(CPUS_MAX, |count| count.clamp(1, CPUS_MAX))
}

fn parse_list(text: &str) -> Option<u64> {
    let mut count = 0u64;
    for part in text.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to): (u64, u64) = (from.parse().ok()?, to.parse().ok()?);
        count = count.saturating_add(to.checked_sub(from)?.saturating_add(1));
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn moment(at_ms: u64, took_ms: u64) -> Moment {
        Moment {
            at: Duration::from_millis(at_ms),
            took: Duration::from_millis(took_ms),
        }
    }

    fn grown<const N: usize>(step: Step<N>) -> Option<([u64; N], u64)> {
        match step {
            Step::Grown(grown) => Some((grown.by, grown.window.as_millis() as u64)),
            Step::None | Step::Soon | Step::Unsure => None,
        }
    }

    #[test]
    fn growth_has_the_window_that_really_passed() {
        let mut counter = Counter::default();
        assert_eq!(counter.advance(moment(0, 0), [5]), Step::None);
        assert_eq!(
            grown(counter.advance(moment(1_000, 1), [25])),
            Some(([20], 1_000))
        );
        // Too soon: it stays for the next one.
        assert_eq!(counter.advance(moment(1_050, 0), [30]), Step::Soon);
        assert_eq!(
            grown(counter.advance(moment(3_500, 0), [75])),
            Some(([50], 2_500))
        );
    }

    #[test]
    fn a_counter_that_goes_back_starts_anew() {
        let mut counter = Counter::default();
        counter.advance(moment(0, 0), [100, 7]);
        assert_eq!(counter.advance(moment(1_000, 0), [110, 6]), Step::None);
        let next = counter.advance(moment(2_000, 0), [111, 6]);
        assert_eq!(grown(next), Some(([1, 0], 1_000)));
    }

    #[test]
    fn a_slow_reading_waits_for_a_longer_window() {
        let mut counter = Counter::default();
        counter.advance(moment(0, 1), [0]);
        assert_eq!(counter.advance(moment(1_000, 100), [10]), Step::Unsure);
        assert_eq!(
            grown(counter.advance(moment(2_000, 1), [20])),
            Some(([20], 2_000))
        );
        assert_eq!(counter.advance(moment(3_000, 140), [30]), Step::Unsure);
        assert_eq!(counter.advance(moment(4_000, 140), [40]), Step::Unsure);
        assert_eq!(
            grown(counter.advance(moment(5_000, 140), [50])),
            Some(([30], 3_000))
        );
        // The first was the slow one: the quicker one takes its place.
        let mut counter = Counter::default();
        counter.advance(moment(0, 500), [0]);
        assert_eq!(counter.advance(moment(1_000, 0), [10]), Step::Unsure);
        assert_eq!(
            grown(counter.advance(moment(2_000, 0), [15])),
            Some(([5], 1_000))
        );
    }

    #[test]
    fn nothing_is_said_of_a_window_that_is_long_past() {
        let mut counter = Counter::default();
        counter.advance(moment(0, 0), [0]);
        assert_eq!(counter.advance(moment(60_001, 0), [10]), Step::None);
        assert_eq!(
            grown(counter.advance(moment(61_001, 0), [12])),
            Some(([2], 1_000))
        );
    }

    #[test]
    fn more_cpu_than_there_is_is_no_rate() {
        let of = |by| Grown {
            by: [by],
            at: Duration::ZERO,
            window: Duration::from_secs(1),
        };
        assert_eq!(of(1_500_000_000).cpu_milli(2), Some(1_500));
        assert_eq!(of(2_100_000_000).cpu_milli(2), Some(2_000));
        assert_eq!(of(2_300_000_000).cpu_milli(2), None);
        assert_eq!(of(u64::MAX).cpu_milli(CPUS_MAX), None);
    }

    #[test]
    fn bytes_and_stalls_are_rates_of_the_window_and_never_absurd() {
        let of = |by| Grown {
            by: [0, by],
            at: Duration::ZERO,
            window: Duration::from_secs(2),
        };
        assert_eq!(of(5_000).per_second_milli(1), Some(2_500_000));
        assert_eq!(of(5_000).per_second_milli(0), Some(0));
        assert_eq!(of(5_000).per_second_milli(2), None);
        assert_eq!(of(2 << 40).per_second_milli(1), Some((1 << 40) * 1_000));
        assert_eq!(of(3 << 40).per_second_milli(1), None);
        assert_eq!(of(u64::MAX).per_second_milli(1), None);
        assert_eq!(of(500_000).share_milli(1), Some(250));
        assert_eq!(of(2_100_000).share_milli(1), Some(1_000));
        assert_eq!(of(2_300_000).share_milli(1), None);
        assert_eq!(of(u64::MAX).share_milli(1), None);
    }

    #[test]
    fn the_hosts_cpus_are_counted_from_the_kernels_list() {
        for (text, count) in [("0", 1), ("0-1", 2), ("0-3,8,10-11", 7)] {
            assert_eq!(parse_list(text), Some(count), "{text}");
        }
        for text in ["", "a", "3-1", "0-"] {
            assert_eq!(parse_list(text), None, "{text}");
        }
        assert_eq!(cpus(Path::new("/nowhere/online")), CPUS_MAX);
    }

    proptest! {
        #[test]
        fn no_readings_give_a_negative_or_absurd_rate(
            cpus in 1u64..=256,
            readings in prop::collection::vec(
                (0u64..=90_000, prop_oneof![any::<u64>(), 0u64..=4_000_000_000], 0u64..=200),
                1..60,
            ),
        ) {
            let mut counter = Counter::default();
            let mut at_ms = 0;
            for (step_ms, count, took_ms) in readings {
                at_ms += step_ms;
                if let Step::Grown(grown) = counter.advance(moment(at_ms, took_ms), [count]) {
                    prop_assert!(grown.window >= WINDOW_MIN && grown.window <= WINDOW_MAX);
                    if let Some(milli) = grown.cpu_milli(cpus) {
                        prop_assert!((0..=cpus as i64 * 1_000).contains(&milli));
                    }
                }
            }
        }

        #[test]
        fn what_grows_is_counted_once_and_with_all_its_time(
            readings in prop::collection::vec((0u64..=2_000, 0u64..=1_000_000, 0u64..=60), 2..60),
        ) {
            let mut counter = Counter::default();
            let (mut at_ms, mut count) = (0, 0);
            let (mut by, mut window) = (0, Duration::ZERO);
            for (step_ms, more, took_ms) in readings {
                at_ms += step_ms;
                count += more;
                if let Step::Grown(grown) = counter.advance(moment(at_ms, took_ms), [count]) {
                    by += grown.by[0];
                    window += grown.window;
                }
            }
            prop_assert!(by <= count);
            prop_assert!(window <= Duration::from_millis(at_ms));
        }
    }
}
