//! KEDA's arithmetic for Kafka (keda.md 4): from where a group stands in each partition, and
//! where that ends, to one number.
//!
//! Comes in: offsets, and the rules that the trigger's settings make. Goes out: the number
//! that sizes the workload, and the one that says whether it is to run. Asks nobody.

use crate::{Number, Reason, number};

/// What a partition counts that the group has committed nothing of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Uncommitted {
    /// Its consumers will begin at the end: one, so that they run at all and commit it.
    One,
    /// They will begin at the beginning.
    All,
    Nothing,
}

/// How the sum is bounded by the partitions, of which each has one consumer at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cap {
    /// As many replicas as there are partitions.
    Partitions,
    /// As many as there are partitions that lag.
    Lagging,
    /// As many that each has as many partitions as the others.
    Even,
    /// None: further replicas stand by.
    Free,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    pub uncommitted: Uncommitted,
    pub cap: Cap,
    /// What one replica is to have.
    pub threshold: u64,
}

impl Rules {
    /// Of a partition. An end before where the group stands, as a broker may tell that has
    /// just begun to lead, leaves nothing to do.
    pub(super) fn lag(self, committed: i64, end: i64) -> u64 {
        let behind = match (committed, self.uncommitted) {
            (0.., _) => end.saturating_sub(committed),
            (_, Uncommitted::All) => end,
            (_, Uncommitted::One) => 1,
            (_, Uncommitted::Nothing) => 0,
        };
        u64::try_from(behind).unwrap_or_default()
    }

    /// Of all partitions.
    pub(super) fn number(self, lags: &[u64]) -> Result<Number, Reason> {
        let whole: u128 = lags.iter().copied().map(u128::from).sum();
        let counted = |it: u128| number::count(u64::try_from(it).unwrap_or(u64::MAX));
        Ok(Number {
            activity_milli: counted(whole)?.milli,
            ..counted(self.capped(whole, lags))?
        })
    }

    fn capped(self, whole: u128, lags: &[u64]) -> u128 {
        let (partitions, each) = (lags.len() as u128, u128::from(self.threshold));
        let (whole, most) = match self.cap {
            Cap::Free => return whole,
            Cap::Partitions => (whole, partitions),
            Cap::Lagging => (whole, lags.iter().filter(|lag| **lag > 0).count() as u128),
            Cap::Even => (replicas(whole, partitions, each) * each, partitions),
        };
        // As KEDA does it, by whole replicas: 39 of 3 partitions at 10 each is left as it is.
        if whole / each > most {
            most * each
        } else {
            whole
        }
    }
}

/// The fewest that do so much and divide the partitions among them; one for each partition
/// where none are enough.
fn replicas(whole: u128, partitions: u128, each: u128) -> u128 {
    let divisors = (1..=partitions).filter(|it| partitions.is_multiple_of(*it));
    let mut enough = divisors.filter(|it| it * each >= whole);
    enough.next().unwrap_or(partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        uncommitted: Uncommitted::One,
        cap: Cap::Partitions,
        threshold: 10,
    };

    #[test]
    fn a_partition_lags_by_what_keda_says() {
        use Uncommitted::{All, Nothing, One};

        for (uncommitted, committed, end, lag) in [
            (One, 100, 150, 50),
            (All, 100, 150, 50),
            (Nothing, 100, 150, 50),
            (One, 150, 150, 0),
            // Also where the topic is empty.
            (One, -1, 0, 1),
            (One, -1, 150, 1),
            (All, -1, 150, 150),
            (All, -1, 0, 0),
            (Nothing, -1, 150, 0),
            // KEDA takes it from the others' lag.
            (One, 150, 100, 0),
            (All, i64::MAX, 0, 0),
            (All, 0, i64::MAX, i64::MAX as u64),
        ] {
            let rules = Rules {
                uncommitted,
                ..RULES
            };
            assert_eq!(
                rules.lag(committed, end),
                lag,
                "{uncommitted:?} {committed}"
            );
        }
    }

    #[test]
    fn replicas_that_share_partitions_evenly_are_a_divisor_of_them() {
        for (whole, partitions, found) in [
            // KEDA's own table: 100 partitions, 10 for each replica.
            (10, 100, 1),
            (20, 100, 2),
            (40, 100, 4),
            (50, 100, 5),
            (99, 100, 10),
            (100, 100, 10),
            (101, 100, 20),
            // Its documentation's: 10 partitions.
            (1, 10, 1),
            (11, 10, 2),
            (21, 10, 5),
            (50, 10, 5),
            (51, 10, 10),
            (5_000, 10, 10),
            (0, 10, 1),
        ] {
            assert_eq!(replicas(whole, partitions, 10), found, "{whole}");
        }
    }

    #[test]
    fn the_sum_is_capped_as_keda_caps_it() {
        let lags = |lags: &[u64]| lags.to_vec();
        for (cap, lags, size, activity) in [
            (Cap::Partitions, lags(&[5, 7, 0]), 12, 12),
            (Cap::Partitions, lags(&[30, 0, 0]), 30, 30),
            // Whole replicas are compared, so that up to 9 more stay: KEDA's own quirk.
            (Cap::Partitions, lags(&[39, 0, 0]), 39, 39),
            (Cap::Partitions, lags(&[40, 0, 0]), 30, 40),
            (Cap::Partitions, lags(&[0, 0, 0]), 0, 0),
            (Cap::Free, lags(&[400, 0, 0]), 400, 400),
            (Cap::Lagging, lags(&[400, 7, 0]), 20, 407),
            (Cap::Lagging, lags(&[0, 0, 0]), 0, 0),
            (Cap::Even, lags(&[8, 8, 8, 8]), 40, 32),
            (Cap::Even, lags(&[8, 8, 0, 0]), 20, 16),
            (Cap::Even, lags(&[21, 0, 0, 0]), 40, 21),
            (Cap::Even, lags(&[500, 0, 0, 0]), 40, 500),
            // One replica's worth, and yet nothing to run for.
            (Cap::Even, lags(&[0, 0, 0, 0]), 10, 0),
        ] {
            let number = Rules { cap, ..RULES }.number(&lags).unwrap();
            let found = (number.milli, number.activity_milli);
            assert_eq!(found, (size * 1_000, activity * 1_000), "{cap:?} {lags:?}");
        }
        let huge = [i64::MAX as u64; 4];
        for cap in [Cap::Partitions, Cap::Free] {
            let why = Rules { cap, ..RULES }.number(&huge).unwrap_err();
            assert!(matches!(why, Reason::TooLarge { .. }), "{why}");
        }
    }
}
