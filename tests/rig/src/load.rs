//! When jobs arrive: a bursty day pressed into the demo's duration.
//!
//! A pure function of progress (0 at the start, 1 at the end) and a seed: quiet,
//! a burst, calm, a larger burst in which the leader dies, then quiet long
//! enough for the workers to go back to one.

/// Progress, and jobs a second from there to the next line; between two lines
/// the rate goes straight. One worker does 10 a second, twelve do 120. The rate
/// steps up at 0.48, so workers are being added when the leader dies at 0.5.
const CURVE: [(f64, f64); 11] = [
    (0.00, 3.0),
    (0.10, 4.0),
    (0.12, 40.0),
    (0.24, 48.0),
    (0.28, 12.0),
    (0.47, 10.0),
    (0.49, 70.0),
    (0.55, 96.0),
    (0.60, 96.0),
    (0.64, 4.0),
    (1.00, 2.0),
];
/// A seed makes each part of the curve up to this much higher or lower.
const SPREAD: f64 = 0.10;
/// Within a burst the rate swings by this much about every fiftieth of the duration.
const RIPPLE: f64 = 0.15;
/// After this progress the load is quiet to the end.
pub const QUIET_FROM: f64 = 0.64;

/// Jobs a second at `progress`; the ends of the curve go on beyond 0 and 1.
pub fn rate(progress: f64, seed: u64) -> f64 {
    let progress = progress.clamp(0.0, 1.0);
    let next = CURVE
        .iter()
        .position(|(at, _)| *at > progress)
        .unwrap_or(CURVE.len() - 1);
    let ((from, low), (to, high)) = (CURVE[next - 1], CURVE[next]);
    let (low, high) = (low * spread(seed, next - 1), high * spread(seed, next));
    let straight = low + (high - low) * (progress - from) / (to - from);
    let phase = (seed % 628) as f64 / 100.0;
    straight * (1.0 + RIPPLE * (progress * 50.0 * std::f64::consts::TAU + phase).sin())
}

/// Between 1 - [`SPREAD`] and 1 + [`SPREAD`], for one line of the curve.
fn spread(seed: u64, line: usize) -> f64 {
    // SplitMix64's finalizer: near seeds and lines must not give near results.
    let mut mixed = seed.wrapping_add((line as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^= mixed >> 31;
    let unit = (mixed >> 11) as f64 / (1_u64 << 53) as f64;
    1.0 + SPREAD * (2.0 * unit - 1.0)
}

/// Turns the rate into whole jobs.
#[derive(Debug, Clone)]
pub struct Arrivals {
    seed: u64,
    duration_s: f64,
    elapsed_s: f64,
    owed: f64,
}

impl Arrivals {
    pub fn new(duration_s: f64, seed: u64) -> Arrivals {
        Arrivals {
            seed,
            duration_s,
            elapsed_s: 0.0,
            owed: 0.0,
        }
    }

    /// Jobs that have arrived since the last call; none after the end. The rate
    /// is taken in steps of at most 50 ms, so it doesn't matter how often this
    /// is called.
    pub fn until(&mut self, elapsed_s: f64) -> usize {
        const STEP_S: f64 = 0.05;
        let end = elapsed_s.min(self.duration_s);
        while self.elapsed_s < end {
            let step = (end - self.elapsed_s).min(STEP_S);
            let middle = (self.elapsed_s + step / 2.0) / self.duration_s;
            self.owed += rate(middle, self.seed) * step;
            self.elapsed_s += step;
        }
        let jobs = self.owed.floor();
        self.owed -= jobs;
        jobs as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(from: f64, to: f64, seed: u64) -> f64 {
        let points = 500;
        let at = |i: i32| from + (to - from) * f64::from(i) / f64::from(points);
        (0..points).map(|i| rate(at(i), seed)).sum::<f64>() / f64::from(points)
    }

    #[test]
    fn every_seed_is_quiet_bursts_twice_and_ends_quiet() {
        for seed in 0..200 {
            assert!(mean(0.0, 0.10, seed) < 6.0, "one worker is enough at first");
            assert!(mean(0.12, 0.24, seed) > 30.0, "four workers are too few");
            assert!(mean(0.30, 0.46, seed) < 20.0);
            assert!(mean(0.50, 0.60, seed) > 75.0, "eight workers are too few");
            assert!(
                mean(QUIET_FROM, 1.0, seed) < 6.0,
                "one worker is enough in the end"
            );
        }
    }

    #[test]
    fn twelve_workers_can_do_all_that_arrives() {
        for seed in 0..200 {
            assert!(mean(0.5, 0.64, seed) < 115.0, "seed {seed}");
        }
    }

    #[test]
    fn the_rate_is_the_same_for_the_same_seed_and_differs_between_seeds() {
        assert_eq!(rate(0.6, 7).to_bits(), rate(0.6, 7).to_bits());
        assert!((rate(0.2, 7) - rate(0.2, 8)).abs() > 1e-9);
    }

    #[test]
    fn a_progress_outside_the_duration_gives_a_rate_too() {
        for progress in [-1.0, 0.0, 1.0, 2.0, f64::INFINITY] {
            assert!(rate(progress, 1) > 0.0, "{progress}");
        }
    }

    #[test]
    fn the_same_jobs_arrive_however_often_one_looks() {
        let mut once = Arrivals::new(45.0, 3);
        let mut often = once.clone();
        let total = once.until(45.0);
        let parts: usize = (1..=4_500).map(|i| often.until(f64::from(i) / 100.0)).sum();
        assert!(total.abs_diff(parts) <= 1, "{total} and {parts}");
        assert!(total > 900, "{total}");
        assert_eq!(once.until(1_000.0), 0, "nothing arrives after the end");
    }
}
