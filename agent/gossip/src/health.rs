//! How fair a judge of others this agent is just now (as in Lifeguard): one that
//! gets no time to run, or that others suspect, gives everyone more time.

use std::time::Duration;

/// A probe that starts this late means that this machine is overloaded.
const LATE: Duration = Duration::from_millis(100);
/// At worst everyone gets this much more time, plus one.
const SCORE_MAX: u32 = 3;

/// 0 is in good health.
#[derive(Debug, Default, Clone, Copy)]
pub struct Health {
    score: u32,
}

impl Health {
    /// A probe started, `late` after it should have: at every one of them.
    pub fn probed(&mut self, late: Duration) {
        let missed = (late.as_millis() / LATE.as_millis()) as u32;
        self.score = match missed {
            0 => self.score.saturating_sub(1),
            _ => self.score.saturating_add(missed).min(SCORE_MAX),
        };
    }

    /// Others didn't hear from this agent in time.
    pub fn suspected(&mut self) {
        self.score = (self.score + 1).min(SCORE_MAX);
    }

    /// What all waits for others are multiplied by: 1 to 4.
    pub fn patience(self) -> u32 {
        1 + self.score
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_grows_with_trouble_and_returns_step_by_step() {
        let mut health = Health::default();
        let ms = Duration::from_millis;
        let mut after = |late| {
            health.probed(ms(late));
            health.patience()
        };
        assert_eq!([after(0), after(99), after(100), after(250)], [1, 1, 2, 4]);
        assert_eq!(
            [after(60_000), after(0), after(0), after(0), after(0)],
            [4, 3, 2, 1, 1]
        );
        health.suspected();
        assert_eq!(health.patience(), 2);
    }
}
