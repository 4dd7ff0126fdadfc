//! The last minutes of one workload, second by second, in the memory of
//! whoever decides.
//!
//! Comes in: merged readings, one for each second. Goes out: rates, means and
//! their noise over windows. Not replicated: every agent can fill its own from
//! gossip, and what is learned from it goes into [`super::State`].

use std::collections::VecDeque;

/// What was seen in one second, in thousandths where a name says so. `None`
/// where nobody measures it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Second {
    pub arrivals_milli: Option<u64>,
    /// Mean of the slots at work on ready replicas.
    pub busy_milli: Option<u64>,
    /// What the ready replicas used of the CPU that they request, in millionths;
    /// `None` also where it is about all of it, because such replicas do an
    /// unknown part of the work that is there.
    pub used_ppm: Option<u32>,
    /// Work in service or waiting, at the end of the second.
    pub in_system_milli: Option<u64>,
    /// Replicas that were ready.
    pub ready: u32,
}

/// The newest [`SECONDS_MAX`] seconds; older ones fall out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signal {
    seconds: VecDeque<Second>,
}

/// Twice the longest window, so that two of them can be compared.
pub const SECONDS_MAX: usize = 256;

/// Less CPU than this part of what is requested, in millionths, says nothing of the
/// slots at work: such replicas may be full of work that waits for something else.
pub const USED_PPM_MIN: u32 = 200_000;

/// How fast work arrives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    pub per_s: f64,
    /// The window that was chosen.
    pub window_s: u32,
    /// Variance/mean of a second's arrivals.
    pub dispersion: f64,
}

/// Windows that a rate may be taken over. The longest one bounds the error of
/// sparse work: two minutes.
const WINDOWS_S: [usize; 5] = [8, 16, 32, 64, 128];
/// A hundred arrivals give a rate to within a tenth.
const SURE_ARRIVALS: f64 = 100.0;
/// A shorter window may overrule a longer one from here on: below it three
/// standard deviations are a handful of arrivals.
const BURST_ARRIVALS: f64 = 40.0;
const BURST_SIGMAS: f64 = 3.0;
/// Seconds that the noise is measured over.
const DISPERSION_S: usize = 128;
const DISPERSION_MAX: f64 = 16.0;

impl Signal {
    pub fn push(&mut self, second: Second) {
        if self.seconds.len() == SECONDS_MAX {
            self.seconds.pop_front();
        }
        self.seconds.push_back(second);
    }

    pub fn len(&self) -> usize {
        self.seconds.len()
    }

    pub fn is_empty(&self) -> bool {
        self.seconds.is_empty()
    }

    /// Until the shortest window is full, in milliseconds.
    pub fn cold_ms(&self) -> u64 {
        WINDOWS_S[0].saturating_sub(self.seconds.len()) as u64 * 1_000
    }

    /// For how many seconds up to now nothing has arrived or been there; `None`
    /// where nobody measures either.
    pub fn idle_s(&self) -> Option<u32> {
        let newest = self.last()?;
        newest.arrivals_milli.or(newest.in_system_milli)?;
        let works = |second: &&Second| {
            let counts = [
                second.arrivals_milli,
                second.busy_milli,
                second.in_system_milli,
            ];
            counts.into_iter().flatten().any(|count| count > 0)
        };
        let idle = self
            .seconds
            .iter()
            .rev()
            .take_while(|second| !works(second));
        Some(idle.count() as u32)
    }

    /// Work in service or waiting; `None` where nobody counts it.
    pub fn in_system(&self) -> Option<f64> {
        let milli = self.last()?.in_system_milli?;
        Some(milli as f64 / 1_000.0)
    }

    pub fn last(&self) -> Option<&Second> {
        self.seconds.back()
    }

    /// The newest `count` seconds, fewer where there aren't as many.
    pub fn newest(&self, count: usize) -> impl Iterator<Item = &Second> + Clone {
        let skipped = self.seconds.len().saturating_sub(count);
        self.seconds.iter().skip(skipped)
    }

    /// Arrivals in the newest `count` seconds; `None` where any of them is unknown.
    fn arrivals(&self, count: usize) -> Option<f64> {
        let mut sum = 0_u64;
        for second in self.newest(count) {
            sum = sum.saturating_add(second.arrivals_milli?);
        }
        Some(sum as f64 / 1_000.0)
    }

    /// Variance/mean of the arrivals of a second, from the differences between
    /// neighbours, so that a slope isn't noise, and without the largest of these, so
    /// that a step isn't: 40 a second that become 2 would look like a burst of bursts
    /// for as long as little else was seen. At least 1: hardly a source is more even
    /// than chance, and a short sample that looks so is luck.
    fn dispersion(&self) -> f64 {
        let counts = self
            .newest(DISPERSION_S)
            .filter_map(|second| second.arrivals_milli)
            .map(|milli| milli as f64 / 1_000.0);
        let (mut n, mut sum, mut before) = (0.0, 0.0, None);
        let (mut squares, mut largest) = (0.0, 0.0_f64);
        for count in counts {
            n += 1.0;
            sum += count;
            let step = count - before.unwrap_or(count);
            squares += step * step;
            largest = largest.max(step * step);
            before = Some(count);
        }
        if n < 3.0 || sum <= 0.0 {
            return 1.0;
        }
        let variance = (squares - largest) / (n - 2.0) / 2.0;
        (variance / (sum / n)).clamp(1.0, DISPERSION_MAX)
    }

    /// The rate over the shortest window that is sure of it, or over a shorter
    /// one that lies so far above it that chance doesn't explain it. `None`
    /// where arrivals aren't known.
    pub fn rate(&self) -> Option<Rate> {
        self.last()?.arrivals_milli?;
        let dispersion = self.dispersion();
        let over = |window: usize| {
            let window = window.min(self.seconds.len());
            self.arrivals(window).map(|count| (count, window))
        };
        let mut base = None;
        for window in WINDOWS_S {
            let Some((count, window)) = over(window) else {
                break;
            };
            base = Some((count, window));
            if count >= SURE_ARRIVALS * dispersion || window < WINDOWS_S[0] {
                break;
            }
        }
        let (count, window) = base?;
        let mut rate = Rate {
            per_s: count / window as f64,
            window_s: window as u32,
            dispersion,
        };
        for shorter in WINDOWS_S.into_iter().filter(|&s| s < window) {
            let Some((count, _)) = over(shorter) else {
                continue;
            };
            let expected = rate.per_s * shorter as f64;
            // Where nothing is expected one arrival's worth of chance still is.
            let sigma = (expected.max(1.0) * dispersion).sqrt();
            if count >= BURST_ARRIVALS && count > expected + BURST_SIGMAS * sigma {
                rate = Rate {
                    per_s: count / shorter as f64,
                    window_s: shorter as u32,
                    dispersion,
                };
                break;
            }
        }
        Some(rate)
    }
}
