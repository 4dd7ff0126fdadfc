//! One workload under one policy, remembered from the beginning by somebody to
//! whom leaders and restarts mean nothing.

use starling_engine::decide::objective::state::{GAPS_MAX, HELD_MAX, STARTS_MAX, WAKES_MAX};
use starling_engine::decide::reason::{Report, Step};
use starling_engine::decide::{Decision, Inputs, Reading};
use starling_engine::history::History;
use starling_engine::policy::{Policy, Rate, RateKind, Rules, Select, Source, Strategy};
use starling_engine::unit::Ms;

use super::{Called, HOLD_MS_MIN, always, by_objective};

#[derive(Default)]
pub struct Life {
    /// What `objective` grew to, and the size at the beginning.
    grown: Called,
    /// Whatever `objective` called for.
    called: Called,
    ups: Vec<(Ms, u32)>,
    downs: Vec<(Ms, u32)>,
    /// When a trigger was last active.
    busy_at: Option<Ms>,
    begun: bool,
}

impl Life {
    /// What a decision may not do, given all that was (I4, I5, I6).
    pub fn check(&self, inputs: &Inputs<'_>, decision: &Decision) {
        always(inputs, decision);
        let (policy, report, now) = (inputs.policy, &decision.report, inputs.now);
        let (from, to) = (inputs.current, report.target);
        let limited = !report.steps.iter().any(skips_limits);
        if to < from && by_objective(report) {
            let held = self.grown.highest(now, HOLD_MS_MIN).min(from);
            assert!(to >= held, "I6: {held} were called for: {report}");
        } else if to < from && limited && report.winner.is_some() {
            let window_ms = policy.windows().down_ms;
            let held = self.called.highest(now, window_ms).min(from);
            let banded = matches!(policy.strategy, Strategy::Banded(_));
            assert!(banded || to >= held, "I6: {held} in the window: {report}");
        }
        if limited && to != from {
            self.check_rates(policy, report, from, to, now);
        }
        let rests = |step: &Step| matches!(step, Step::Deactivated { .. });
        if report.steps.iter().any(rests) {
            let quiet_ms = self.busy_at.map(|at| now.since(at));
            let cooled = quiet_ms.is_none_or(|ms| ms > policy.cooldown_ms);
            assert!(cooled, "I6: busy {quiet_ms:?} ms ago: {report}");
        }
    }

    /// One replica more than the rule says is granted: HPA's percentages are
    /// floats, and 10 × 1.1 is a little more than 11.
    fn check_rates(&self, policy: &Policy, report: &Report, from: u32, to: u32, now: Ms) {
        let Some(behavior) = &policy.behavior else {
            let doubled = from.saturating_mul(2).max(4);
            let free = policy.strategy != Strategy::Target || to <= doubled;
            assert!(free, "I6: more than doubled: {report}");
            return;
        };
        if to > from {
            let most = self.limit(&behavior.up, from, now, true);
            let within = i128::from(to) <= most.max(i128::from(from)) + 1;
            assert!(within, "I6: at most {most}: {report}");
        } else {
            let least = self.limit(&behavior.down, from, now, false);
            let within = i128::from(to) + 1 >= least.min(i128::from(from));
            assert!(within, "I6: at least {least}: {report}");
        }
    }

    /// How far a direction's rates let the size go (hpa.md rule 14).
    fn limit(&self, rules: &Rules, from: u32, now: Ms, up: bool) -> i128 {
        let within = |changes: &[(Ms, u32)], rate: &Rate| -> i128 {
            let recent = changes
                .iter()
                .filter(|(at, _)| now.since(*at) < rate.period_ms);
            recent.map(|(_, change)| i128::from(*change)).sum()
        };
        let limits = rules.rates.iter().map(|rate| {
            let start = i128::from(from) - within(&self.ups, rate) + within(&self.downs, rate);
            let value = i128::from(rate.value);
            match (rate.kind, up) {
                (RateKind::Pods, true) => start + value,
                (RateKind::Pods, false) => start - value,
                (RateKind::Percent, true) => -((start * -(100 + value)).div_euclid(100)),
                (RateKind::Percent, false) => start * (100 - value) / 100,
            }
        });
        let furthest = match rules.select {
            Select::Disabled => None,
            Select::Max if up => limits.max(),
            Select::Max => limits.min(),
            Select::Min if up => limits.min(),
            Select::Min => limits.max(),
        };
        furthest.unwrap_or(i128::from(from))
    }

    /// A decision was committed at its own time.
    pub fn note(&mut self, inputs: &Inputs<'_>, decision: &Decision) {
        let (report, now) = (&decision.report, inputs.now);
        if !std::mem::replace(&mut self.begun, true) {
            self.grown.for_size(now, inputs.current);
        }
        let frozen = |step: &Step| matches!(step, Step::Frozen { .. });
        if by_objective(report) && !report.steps.iter().any(frozen) {
            let raw = report.raw.unwrap_or(0);
            self.called.for_size(now, raw);
            if raw > inputs.current {
                self.grown.for_size(now, raw);
            }
        }
        let (from, to) = (inputs.current, decision.target);
        if to > from {
            self.ups.push((now, to - from));
        } else if to < from {
            self.downs.push((now, from - to));
        }
        if busy(inputs) {
            self.busy_at = Some(now);
        }
    }
}

/// What was learned stays within its bounds, whatever it was learned from.
pub fn bounded(history: &History) {
    if let Some(learned) = &history.objective {
        assert!(learned.starts_ms.len() <= STARTS_MAX);
        assert!(learned.held.len() <= HELD_MAX);
        assert!(learned.idle.gaps_s.len() <= GAPS_MAX);
        assert!(learned.idle.wakes.len() <= WAKES_MAX);
    }
}

/// Steps that rates and windows don't apply to: between rest and work, into the
/// bounds, and by a human's hand.
fn skips_limits(step: &Step) -> bool {
    matches!(
        step,
        Step::Activated { .. }
            | Step::Deactivated { .. }
            | Step::AboveMax { .. }
            | Step::BelowMin { .. }
            | Step::Paused { .. }
            | Step::Bounded { .. }
    )
}

/// A trigger's fresh answer lies above its activation threshold.
fn busy(inputs: &Inputs<'_>) -> bool {
    let policy = inputs.policy;
    let old_ms = policy.polling_interval_ms.saturating_mul(3).max(60_000);
    let triggers = policy.triggers.iter().zip(&inputs.readings);
    let mut active = triggers.filter(|(trigger, reading)| match reading {
        Reading::Value {
            activity_milli, at, ..
        } => {
            matches!(trigger.source, Source::External { .. })
                && inputs.now.since(*at) <= old_ms
                && *activity_milli > trigger.activation_milli
        }
        _ => false,
    });
    active.next().is_some()
}
