//! What counts: violation minutes, replica-hours, changes of size, flips and
//! the peak. Comes in: what happened each second. Goes out: one [`Total`] for
//! a run, and their means.

/// A run's books. The first [`UNSCORED_S`] don't count.
#[derive(Debug)]
pub struct Score {
    /// Requests that arrived in each minute, and those of them that missed.
    minutes: Vec<(f64, f64)>,
    replica_seconds: u64,
    changes: u32,
    flips: u32,
    last_change: Option<(u32, bool)>,
    peak: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct Total {
    pub violation_minutes: f64,
    pub active_minutes: f64,
    pub replica_hours: f64,
    pub changes: f64,
    /// Changes against the direction of one at most ten minutes before.
    pub flips: f64,
    pub peak: f64,
}

pub const UNSCORED_S: u32 = 300;
const FLIP_S: u32 = 600;
/// A minute is violated where more than this part of its requests missed.
const MISSED_PART: f64 = 0.05;

impl Score {
    pub fn new(seconds: usize, size: u32) -> Score {
        Score {
            minutes: vec![(0.0, 0.0); seconds.div_ceil(60)],
            replica_seconds: 0,
            changes: 0,
            flips: 0,
            last_change: None,
            peak: size,
        }
    }

    pub fn arrived(&mut self, second: u32, count: u32) {
        self.minutes[second as usize / 60].0 += f64::from(count);
    }

    /// `count` of the requests that arrived at `second` waited too long or were dropped.
    pub fn missed(&mut self, second: u32, count: f64) {
        self.minutes[second as usize / 60].1 += count;
    }

    pub fn paid(&mut self, second: u32, replicas: u32) {
        if second >= UNSCORED_S {
            self.replica_seconds += u64::from(replicas);
            self.peak = self.peak.max(replicas);
        }
    }

    pub fn resized(&mut self, second: u32, from: u32, to: u32) {
        if second < UNSCORED_S {
            return;
        }
        let up = to > from;
        if let Some((at, was_up)) = self.last_change
            && was_up != up
            && second - at <= FLIP_S
        {
            self.flips += 1;
        }
        self.changes += 1;
        self.last_change = Some((second, up));
    }

    pub fn total(&self) -> Total {
        let scored = self.minutes.iter().skip(UNSCORED_S as usize / 60);
        let active = scored.clone().filter(|minute| minute.0 > 0.0);
        let violated = active
            .clone()
            .filter(|(arrived, missed)| *missed > arrived * MISSED_PART);
        Total {
            violation_minutes: violated.count() as f64,
            active_minutes: active.count() as f64,
            replica_hours: self.replica_seconds as f64 / 3600.0,
            changes: f64::from(self.changes),
            flips: f64::from(self.flips),
            peak: f64::from(self.peak),
        }
    }

    /// The minutes that are violated, for a look at what went wrong.
    pub fn violated(&self) -> Vec<usize> {
        let minutes = self.minutes.iter().enumerate();
        minutes
            .skip(UNSCORED_S as usize / 60)
            .filter(|(_, (arrived, missed))| *missed > arrived * MISSED_PART)
            .map(|(minute, _)| minute)
            .collect()
    }
}

impl Total {
    pub fn mean(totals: &[Total]) -> Total {
        let count = totals.len().max(1) as f64;
        let mean = |part: fn(&Total) -> f64| totals.iter().map(part).sum::<f64>() / count;
        Total {
            violation_minutes: mean(|total| total.violation_minutes),
            active_minutes: mean(|total| total.active_minutes),
            replica_hours: mean(|total| total.replica_hours),
            changes: mean(|total| total.changes),
            flips: mean(|total| total.flips),
            peak: mean(|total| total.peak),
        }
    }

    /// No more violations than `other`, but for a minute or 0.05 % of the
    /// active ones, and no more replica-hours.
    pub fn dominates(&self, other: &Total) -> bool {
        let slack = (self.active_minutes * 0.0005).max(1.0);
        self.violation_minutes <= other.violation_minutes + slack
            && self.replica_hours <= other.replica_hours
    }
}
