//! Measured times and what is said about them.

use std::time::Duration;

use serde::Serialize;

/// Times in the order measured, and their percentiles by nearest rank: the
/// smallest measured time that at least that share of all times doesn't exceed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Times {
    pub p50_ms: u64,
    pub p99_ms: u64,
    pub max_ms: u64,
    pub all_ms: Vec<u64>,
}

impl Times {
    /// All zero if nothing was measured.
    pub fn of(times: &[Duration]) -> Times {
        let all_ms: Vec<u64> = times.iter().map(|time| time.as_millis() as u64).collect();
        let mut sorted = all_ms.clone();
        sorted.sort_unstable();
        let percentile = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100);
            sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
        };
        Times {
            p50_ms: percentile(50),
            p99_ms: percentile(99),
            max_ms: percentile(100),
            all_ms,
        }
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (p50, p99, max) = (self.p50_ms, self.p99_ms, self.max_ms);
        write!(
            f,
            "p50 {p50} ms, p99 {p99} ms, max {max} ms over {}",
            self.all_ms.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ms: impl IntoIterator<Item = u64>) -> Times {
        Times::of(
            &ms.into_iter()
                .map(Duration::from_millis)
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let times = of((1..=200).rev());
        assert_eq!((times.p50_ms, times.p99_ms, times.max_ms), (100, 198, 200));
        assert_eq!(times.all_ms[0], 200, "the order measured stays");
        // Of twenty, the 99th percentile is the largest.
        let times = of(1..=20);
        assert_eq!((times.p50_ms, times.p99_ms, times.max_ms), (10, 20, 20));
        let times = of([7]);
        assert_eq!((times.p50_ms, times.p99_ms, times.max_ms), (7, 7, 7));
        assert_eq!(of([]).max_ms, 0);
    }
}
