//! How far one pass may go: bounds and rate policies (hpa.md rules 13 and 14).

use serde::{Deserialize, Serialize};

use crate::history::{Event, events};
use crate::policy::{Behavior, RateKind, Rules, Select};
use crate::unit::Ms;

/// The reason of HPA's condition `ScalingLimited`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Limited {
    Within,
    TooFew,
    TooMany,
    Up,
    Down,
}

impl Limited {
    pub fn code(self) -> &'static str {
        match self {
            Limited::Within => "DesiredWithinRange",
            Limited::TooFew => "TooFewReplicas",
            Limited::TooMany => "TooManyReplicas",
            Limited::Up => "ScaleUpLimit",
            Limited::Down => "ScaleDownLimit",
        }
    }
}

/// What limits apply to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub current: u32,
    pub desired: u32,
    pub min: u32,
    pub max: u32,
}

/// Recent changes of size.
#[derive(Debug, Clone, Copy)]
pub struct Recent<'a> {
    pub ups: &'a [Event],
    pub downs: &'a [Event],
    pub now: Ms,
}

/// Without `behavior`: at most doubled, and four are always allowed; no limit
/// downwards (rule 13).
pub fn plain(step: Step) -> (u32, Limited) {
    let limit = step.current.saturating_mul(2).max(4);
    if step.desired < step.min {
        (step.min, Limited::TooFew)
    } else if step.desired > step.max.min(limit) {
        let reason = if limit < step.max {
            Limited::Up
        } else {
            Limited::TooMany
        };
        (step.max.min(limit), reason)
    } else {
        (step.desired, Limited::Within)
    }
}

/// With `behavior` (rule 14). The minimum isn't enforced on the way up, nor the
/// maximum on the way down.
pub fn by_rates(step: Step, behavior: &Behavior, recent: Recent<'_>) -> (u32, Limited) {
    let current = i64::from(step.current);
    if step.desired > step.current {
        let limit = replicas(up(step.current, &behavior.up, recent).max(current));
        if step.desired > step.max.min(limit) {
            let reason = if limit < step.max {
                Limited::Up
            } else {
                Limited::TooMany
            };
            return (step.max.min(limit), reason);
        }
    } else if step.desired < step.current {
        let limit = replicas(down(step.current, &behavior.down, recent).min(current));
        if step.desired < step.min.max(limit) {
            let reason = if limit > step.min {
                Limited::Down
            } else {
                Limited::TooFew
            };
            return (step.min.max(limit), reason);
        }
    }
    (step.desired, Limited::Within)
}

/// The raw limit upwards, before it is kept from falling below the current size.
/// Within 32 bits, as HPA's counts are; so is [`down`].
pub fn up(current: u32, rules: &Rules, recent: Recent<'_>) -> i64 {
    let proposals = rules.rates.iter().map(|rate| {
        let start = recent.start_of_period(current, rate.period_ms);
        match rate.kind {
            RateKind::Pods => start + i64::from(rate.value),
            RateKind::Percent => {
                (start as f64 * (1.0 + f64::from(rate.value) / 100.0)).ceil() as i64
            }
        }
    });
    let proposals = proposals.map(narrow);
    match rules.select {
        Select::Disabled => i64::from(current),
        Select::Max => proposals.max().unwrap_or(i64::from(current)),
        Select::Min => proposals.min().unwrap_or(i64::from(current)),
    }
}

/// The raw limit downwards, before it is kept from rising above the current
/// size. May be negative.
pub fn down(current: u32, rules: &Rules, recent: Recent<'_>) -> i64 {
    let proposals = rules.rates.iter().map(|rate| {
        let start = recent.start_of_period(current, rate.period_ms);
        match rate.kind {
            RateKind::Pods => start - i64::from(rate.value),
            RateKind::Percent => (start as f64 * (1.0 - f64::from(rate.value) / 100.0)) as i64,
        }
    });
    let proposals = proposals.map(narrow);
    match rules.select {
        Select::Disabled => i64::from(current),
        Select::Max => proposals.min().unwrap_or(i64::from(current)),
        Select::Min => proposals.max().unwrap_or(i64::from(current)),
    }
}

impl Recent<'_> {
    /// The size at the beginning of the period that ends now.
    fn start_of_period(&self, current: u32, period_ms: u64) -> i64 {
        let added = events::within(self.ups, self.now, period_ms);
        let removed = events::within(self.downs, self.now, period_ms);
        i64::from(current) - i64::from(added) + i64::from(removed)
    }
}

fn narrow(limit: i64) -> i64 {
    limit.clamp(i64::from(i32::MIN), i64::from(i32::MAX))
}

fn replicas(limit: i64) -> u32 {
    limit.clamp(0, i64::from(i32::MAX)) as u32
}
