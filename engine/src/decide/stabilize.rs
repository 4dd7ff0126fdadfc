//! Both stabilization windows over the recorded recommendations (hpa.md rules
//! 11 and 12). Comes in: the log and this pass's recommendation. Goes out: the
//! size that the windows allow, and which run decided.

use crate::history::Recommendation;
use crate::policy::Windows;
use crate::unit::Ms;

/// The log as it looks at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Log<'a> {
    pub runs: &'a [Recommendation],
    pub now: Ms,
    /// When the open run was last recommended, as far as the caller knows.
    pub last_pass: Option<Ms>,
}

/// What the windows made of a recommendation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stable {
    pub replicas: u32,
    /// How long ago the recommendation that holds the size was last made.
    pub held_by_age_ms: Option<u64>,
}

impl Log<'_> {
    /// Sizes with the time since they were last recommended.
    fn ages(&self) -> impl Iterator<Item = (u32, u64)> {
        self.runs.iter().map(|run| {
            let end = run.until.or(self.last_pass).unwrap_or(self.now);
            (run.replicas, self.now.since(end))
        })
    }

    /// Without `behavior`: only a fall is held back, and an age equal to the
    /// window still counts (rule 11).
    pub fn hold_down(&self, desired: u32, window_ms: u64) -> Stable {
        let highest = self
            .ages()
            .filter(|(replicas, age_ms)| *age_ms <= window_ms && *replicas > desired)
            .max_by_key(|(replicas, age_ms)| (*replicas, u64::MAX - age_ms));
        Stable {
            replicas: highest.map_or(desired, |(replicas, _)| replicas),
            held_by_age_ms: highest.map(|(_, age_ms)| age_ms),
        }
    }

    /// With `behavior`: the result lies between the lowest of the up window and
    /// the highest of the down window, as near to `current` as they allow. An
    /// age equal to the window no longer counts (rule 12).
    pub fn hold_both(&self, current: u32, desired: u32, windows: Windows) -> Stable {
        let lowest = self
            .ages()
            .filter(|(replicas, age_ms)| *age_ms < windows.up_ms && *replicas < desired)
            .map(|(replicas, _)| replicas)
            .min();
        let highest = self
            .ages()
            .filter(|(replicas, age_ms)| *age_ms < windows.down_ms && *replicas > desired)
            .map(|(replicas, _)| replicas)
            .max();
        let up = lowest.unwrap_or(desired);
        let down = highest.unwrap_or(desired);
        let replicas = current.max(up).min(down);
        // The youngest one that suffices: older ones may leave the window before
        // it and nothing changes.
        let grows = desired > current;
        let held_by = self.ages().filter(|(each, age_ms)| {
            if grows {
                *age_ms < windows.up_ms && *each <= replicas
            } else {
                *age_ms < windows.down_ms && *each >= replicas
            }
        });
        Stable {
            replicas,
            held_by_age_ms: held_by
                .map(|(_, age_ms)| age_ms)
                .min()
                .filter(|_| replicas != desired),
        }
    }
}
