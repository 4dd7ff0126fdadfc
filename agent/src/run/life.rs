//! Which start of this agent it is, so that what it says is newer than what it said
//! before, whatever the machine's clock says.
//!
//! Comes in: the data directory. Goes out: a number that is higher at each start, by
//! [`LIFE_SPAN`] at least; it is on disk before anything is said in it.

use std::path::Path;

use starling_gossip::LIFE_SPAN;
use starling_keys::file;
use tracing::warn;

/// `<data_dir>/starts`: how often the agent was started, in digits.
const FILE: &str = "starts";
/// Lives begin here. Releases that took the clock for it were below: microseconds since
/// 1970 stay below this until 2041.
const FIRST: u64 = 1 << 11;

/// Counts this start. Only for the agent that holds the data directory. `wall_ms` is
/// what the machine's clock says; it stands in for a count that is lost.
pub fn begin(data_dir: &Path, wall_ms: u64) -> Result<u64, starling_keys::Error> {
    let path = data_dir.join(FILE);
    let former = match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().ok(),
        Err(_) => None,
    };
    // More hours have gone by since 1970 than an agent is started.
    let hours = wall_ms / 3_600_000;
    let starts = former.map_or(hours, |former: u64| former.saturating_add(1));
    if former.is_none() && path.exists() {
        warn!(
            starts,
            "{} holds no number; starts are counted anew",
            path.display()
        );
    }
    file::replace(&path, &format!("{starts}\n"))?;
    Ok(FIRST.saturating_add(starts).saturating_mul(LIFE_SPAN))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_764_201_600_000;

    #[test]
    fn each_start_is_a_later_life_whatever_the_clock_says() {
        let dir = tempfile::tempdir().unwrap();
        let mut lives = vec![NOW_MS * 1_000];
        for wall_ms in [NOW_MS, NOW_MS - 3_600_000, 0, NOW_MS + 3_600_000, NOW_MS] {
            lives.push(begin(dir.path(), wall_ms).unwrap());
        }
        assert!(lives.is_sorted_by(|a, b| a < b), "{lives:?}");
        assert!(
            lives[1..]
                .windows(2)
                .all(|two| two[1] - two[0] >= LIFE_SPAN)
        );
    }

    #[test]
    fn a_count_that_is_lost_goes_on_beyond_what_it_can_have_been() {
        let dir = tempfile::tempdir().unwrap();
        let before = begin(dir.path(), NOW_MS).unwrap();
        std::fs::write(dir.path().join(FILE), "\0\0").unwrap();
        assert!(begin(dir.path(), NOW_MS + 3_600_000).unwrap() > before);
    }
}
