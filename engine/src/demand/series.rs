//! One metric of one replica over the last seconds: its mean, and its noise.
//!
//! Comes in: the newest reading and those before it. Goes out: what stands for the
//! replica in sums. Readings of a second are noisy: a replica with a steady load of two
//! requests at a time is seen to use anything from none to all of a core. Means are
//! steady and late. So both are summed, with the noise, and whoever has all replicas'
//! sums sees whether the two differ by more than that ([`is_clear`]). A rise counts only
//! where it isn't made up of what the seconds before it fell short of: who was kept from
//! working, by a neighbour or a node that stood still, works it off afterwards. Never fills
//! a gap: a window holds the readings that there are.

use super::pods::Reading;
use crate::unit::Ms;

/// Over how long the mean goes by default: as long as metrics-server's readings cover,
/// so that HPA's arithmetic is as steady as on those.
pub const STEADY_MS: u64 = 15_000;
/// The shortest window that a policy may ask for: that of one reading.
pub const MEAN_MS_MIN: u64 = 1_000;
/// The longest window that a policy may ask for. Readings older than that aren't kept.
pub const MEAN_MS_MAX: u64 = 120_000;
/// The newest differs clearly from the mean by more than so many standard errors, …
const ERRORS: u128 = 4;
/// … and by more than a tenth of it: less is within HPA's tolerance, and changes no size.
const TENTHS: u128 = 1;
/// Up to so many readings before the newest tell what it makes up for.
const BEFORE: usize = 3;
/// A rise doesn't count where so many quarters of it, or more, make up for what those fell
/// short of: 160 after 40 where 100 is usual, but not 300 after 40.
const MADE_UP_QUARTERS: u128 = 3;

/// What a replica's readings come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// The mean over the whole window; as old as its newest reading.
    pub mean: Reading,
    /// The newest reading alone.
    pub newest_milli: i64,
    /// Where it is above the mean by more than a tenth: by how much the three readings
    /// before it were above the mean of those before them, together, each by as much of the
    /// newest one's time as it covers; below zero where they fell short. Else 0 (which takes
    /// no room on its way to other nodes), and where none is before them.
    pub before_milli: i64,
    /// The variance with which `newest_milli` would differ from the mean by chance, in
    /// squares of milli-units. It saturates where readings are billions of units apart;
    /// too little noise makes the newest count, as if there were no mean.
    pub noise: u64,
}

impl Look {
    /// Nothing but this reading is known.
    pub fn at(reading: Reading) -> Look {
        Look {
            mean: reading,
            newest_milli: reading.milli,
            before_milli: 0,
            noise: 0,
        }
    }
}

/// The mean over the last `window_ms`, at least of the newest reading. `since`: only
/// of what was read wholly after it, where anything was.
pub fn mean(newest: Reading, earlier: &[Reading], window_ms: u64, since: Ms) -> Reading {
    of(newest, within(newest, earlier, window_ms, since))
}

/// The default: see the module. A gauge (a reading that covers no time, such as memory)
/// isn't noisy, and stands as it is.
pub fn steady(newest: Reading, earlier: &[Reading], since: Ms) -> Look {
    if newest.window_ms == 0 {
        return Look::at(newest);
    }
    let all = within(newest, earlier, STEADY_MS, since);
    let mean = of(newest, all);
    let risen = newest.milli > mean.milli && is_more_than_tenths(mean.milli, newest.milli);
    Look {
        mean,
        newest_milli: newest.milli,
        before_milli: if risen { before(newest, all) } else { 0 },
        noise: noise(newest, all),
    }
}

/// Whether replicas' newest use together differs from their mean together by more than
/// noise does, and by more than they make up for.
pub fn is_clear(mean_milli: i64, newest_milli: i64, before_milli: i64, noise: u64) -> bool {
    let differ = u128::from(newest_milli.abs_diff(mean_milli));
    let short = if newest_milli > mean_milli {
        u128::from(before_milli.min(0).unsigned_abs())
    } else {
        0
    };
    // Squares of 64-bit numbers fit.
    is_more_than_tenths(mean_milli, newest_milli)
        && differ * differ > ERRORS * ERRORS * u128::from(noise)
        && short * 4 < differ * MADE_UP_QUARTERS
}

fn is_more_than_tenths(mean_milli: i64, newest_milli: i64) -> bool {
    let differ = u128::from(newest_milli.abs_diff(mean_milli));
    let of_mean = u128::from(mean_milli.unsigned_abs());
    differ * 10 > of_mean * TENTHS
}

/// Those of `earlier`, oldest first, that lie in a window which ends with `newest`.
fn within(newest: Reading, earlier: &[Reading], window_ms: u64, since: Ms) -> &[Reading] {
    let begin = newest.at.minus(window_ms);
    let first = earlier.partition_point(|it| it.at <= begin || it.at.minus(it.window_ms) < since);
    &earlier[first..]
}

/// By the time that each covers; gauges count alike.
fn of(newest: Reading, earlier: &[Reading]) -> Reading {
    let mut sum = 0_i128;
    let mut weight = 0_i128;
    let mut covered_ms = 0_u64;
    for reading in earlier.iter().chain([&newest]) {
        let its = i128::from(reading.window_ms.max(1));
        sum += i128::from(reading.milli) * its;
        weight += its;
        covered_ms = covered_ms.saturating_add(reading.window_ms);
    }
    Reading {
        // A mean of 64-bit numbers is one.
        milli: i64::try_from(sum / weight).unwrap_or(newest.milli),
        at: newest.at,
        window_ms: covered_ms,
    }
}

/// See [`Look::before_milli`]. They aren't held against a mean that they are part of: with
/// few readings they would fall short of that whatever they are.
fn before(newest: Reading, earlier: &[Reading]) -> i64 {
    let (older, these) = earlier.split_at(earlier.len().saturating_sub(BEFORE));
    let Some((last, older)) = older.split_last() else {
        return 0;
    };
    let usual = of(*last, older).milli;
    let above = these.iter().map(|reading| {
        let above = i128::from(reading.milli) - i128::from(usual);
        above * i128::from(reading.window_ms) / i128::from(newest.window_ms.max(1))
    });
    let sum = above.sum::<i128>();
    let most = i128::from(i64::MAX);
    sum.clamp(-most, most) as i64
}

/// The variance of the difference between the newest reading and the mean of all. That
/// of one reading is half of the mean square of how much it differs from the one before
/// it: a load that has changed once adds to that once, and not with each reading since.
fn noise(newest: Reading, earlier: &[Reading]) -> u64 {
    let pairs = earlier.len() as u128;
    if pairs == 0 {
        return 0;
    }
    let following = earlier.iter().skip(1).chain([&newest]);
    // The one change that may be more than noise is left out, where others are left.
    let mut largest = 0_u128;
    let mut sum = 0_u128;
    for (one, next) in earlier.iter().zip(following) {
        let differ = u128::from(next.milli.abs_diff(one.milli));
        let square = differ * differ;
        sum = sum.saturating_add(square.min(largest));
        largest = largest.max(square);
    }
    let (sum, others) = match pairs {
        1 => (largest, 1),
        _ => (sum, pairs - 1),
    };
    // variance × (1 − 1/count), as the mean holds the newest too.
    let noise = sum.saturating_mul(pairs) / (2 * others * (pairs + 1));
    u64::try_from(noise).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One reading a second, the last one the newest.
    fn series(milli: &[i64]) -> (Reading, Vec<Reading>) {
        let readings = milli.iter().enumerate().map(|(second, milli)| Reading {
            milli: *milli,
            at: Ms(100_000 + second as u64 * 1_000),
            window_ms: 1_000,
        });
        let mut all: Vec<Reading> = readings.collect();
        (all.pop().unwrap_or_default(), all)
    }

    fn look(milli: &[i64]) -> Look {
        let (newest, earlier) = series(milli);
        let look = steady(newest, &earlier, Ms(0));
        assert_eq!(look.mean.at, newest.at);
        look
    }

    /// What counts of these replicas together.
    fn counts(replicas: &[&[i64]]) -> i64 {
        let (mut mean, mut newest, mut before, mut noise) = (0, 0, 0, 0);
        for look in replicas.iter().map(|milli| look(milli)) {
            mean += look.mean.milli;
            newest += look.newest_milli;
            before += look.before_milli;
            noise += look.noise;
        }
        if is_clear(mean, newest, before, noise) {
            newest
        } else {
            mean
        }
    }

    const NOISY: [i64; 13] = [50, 150, 80, 120, 100, 60, 140, 90, 110, 130, 70, 100, 100];

    #[test]
    fn noise_is_averaged_over_all_of_the_window_and_no_more() {
        let noisy = [
            0, 400, 100, 300, 200, 350, 50, 250, 150, 400, 0, 300, 100, 200, 200,
        ];
        assert_eq!(counts(&[&noisy]), 200);
        assert_eq!(look(&noisy).mean.window_ms, 15_000);
        let longer = [&[9_000; 5], noisy.as_slice()].concat();
        let seen = |look: Look| (look.mean.milli, look.newest_milli, look.noise);
        assert_eq!(
            seen(look(&longer)),
            seen(look(&noisy)),
            "older ones are out"
        );
    }

    #[test]
    fn a_clear_change_counts_at_once() {
        let quiet = [100, 104, 98, 101, 99, 103, 97, 100, 102, 100, 99, 101];
        let after = |new: &[i64]| counts(&[&[quiet.as_slice(), new].concat()]);
        assert_eq!(after(&[300]), 300);
        assert_eq!(after(&[300, 310]), 310);
        assert_eq!(after(&[20, 20]), 20, "a fall as much as a rise");
        assert_eq!(after(&[106, 106]), 101, "within the tolerance");
    }

    #[test]
    fn work_that_is_made_up_for_is_no_rise() {
        let quiet = [100, 104, 98, 101, 99, 103, 97, 100, 102, 100, 99, 101];
        let after = |new: &[i64]| counts(&[&[quiet.as_slice(), new].concat()]);
        assert_eq!(after(&[40, 160]), 100, "of one second");
        assert_eq!(after(&[60, 60, 60, 210]), 99, "of three");
        assert_eq!(after(&[40, 300]), 300, "there is more than that");
        assert_eq!(after(&[40, 160, 160]), 160, "it stays, so it is a rise");
        assert_eq!(after(&[160]), 160, "nothing was missed");
        assert_eq!(after(&[160, 40]), 40, "a fall after a rise is one");
        // Of a replica that has just started it isn't known what is usual.
        assert_eq!(counts(&[&[100, 900, 900]]), 900);
        assert_eq!(counts(&[&[100, 100, 100, 100, 900]]), 900);
        // All of a node's replicas stand still together, and begin anew together.
        let stalled = [quiet.as_slice(), &[40, 160]].concat();
        assert_eq!(counts(&[stalled.as_slice(); 8]), 8 * 100);
        // Others have no part in it, and rise.
        let risen = [quiet.as_slice(), &[100, 160]].concat();
        let mut some = vec![risen.as_slice(); 7];
        some.push(&stalled);
        assert_eq!(counts(&some), 8 * 160);
    }

    #[test]
    fn a_change_that_one_replica_may_have_by_chance_is_clear_if_all_have_it() {
        let risen = [NOISY.as_slice(), &[180, 170]].concat();
        assert_eq!(counts(&[&risen]), 110, "one of them means little");
        assert_eq!(counts(&[risen.as_slice(); 8]), 8 * 170);
        let mut some = vec![NOISY.as_slice(); 7];
        some.push(&risen);
        assert!((807..=811).contains(&counts(&some)), "{}", counts(&some));
    }

    #[test]
    fn a_gauge_stands_as_it_is_unless_a_window_is_asked_for() {
        let (mut newest, mut earlier) = series(&[10, 20, 60]);
        for reading in earlier.iter_mut().chain([&mut newest]) {
            reading.window_ms = 0;
        }
        assert_eq!(steady(newest, &earlier, Ms(0)), Look::at(newest));
        assert_eq!(mean(newest, &earlier, 10_000, Ms(0)).milli, 30);
    }

    #[test]
    fn a_window_holds_what_lies_in_it_weighted_by_the_time_that_each_covers() {
        let (newest, earlier) = series(&[10, 20, 30, 40]);
        let over = |window_ms| mean(newest, &earlier, window_ms, Ms(0));
        assert_eq!((over(1_000).milli, over(1_000).window_ms), (40, 1_000));
        assert_eq!((over(2_000).milli, over(2_000).window_ms), (35, 2_000));
        assert_eq!((over(60_000).milli, over(60_000).window_ms), (25, 4_000));
        let mut longer = earlier.clone();
        longer[2].window_ms = 3_000;
        let weighted = mean(newest, &longer[2..], 60_000, Ms(0));
        assert_eq!(weighted.milli, (3 * 30 + 40) / 4);
        let since = mean(newest, &earlier, 60_000, Ms(101_500));
        assert_eq!(
            (since.milli, since.window_ms),
            (40, 1_000),
            "those before it don't count"
        );
    }

    #[test]
    fn the_largest_numbers_do_no_harm() {
        let (newest, earlier) = series(&[i64::MAX, i64::MIN, i64::MAX, i64::MAX]);
        let look = steady(newest, &earlier, Ms(0));
        assert!(look.noise > u64::MAX / 16);
        assert!(is_clear(i64::MIN, i64::MAX, 0, u64::MAX));
    }
}
