//! HPA's part of a pass: from the triggers' proposals to a size, by way of the
//! recommendation log, both windows, rates, bounds and pauses.

use std::borrow::Cow;

use super::Pass;
use crate::decide::banded;
use crate::decide::limit::{self, Limited, Recent};
use crate::decide::reason::{ConditionKind, Input, Outcome, Step, failure_code};
use crate::decide::stabilize::Log;
use crate::history::{Change, Recommendation, runs};
use crate::policy::{Banded, Strategy};

impl<'a> Pass<'a> {
    /// HPA's short circuits, then its arithmetic.
    pub(super) fn within(&mut self, min: u32) -> u32 {
        let max = *self.policy.bounds().end();
        let min = min.min(max);
        if self.inputs.current > max {
            self.step(Step::AboveMax { max });
            return max;
        }
        if self.inputs.current < min {
            self.step(Step::BelowMin { min });
            return min;
        }
        self.compute(min)
    }

    pub(super) fn compute(&mut self, min: u32) -> u32 {
        let current = self.inputs.current;
        self.recommended = true;
        if let Some(wanted) = self.account() {
            return self.by_objective(wanted, min);
        }
        let failed = self.failure();
        let Some(raw) = self.report.raw else {
            let reason = failed.unwrap_or("ScalingDisabled");
            self.step(Step::NoMetrics);
            self.condition(ConditionKind::ScalingActive, false, reason);
            return current;
        };
        if let Some(failed) = failed
            && raw < current
        {
            self.step(Step::Frozen { wanted: raw });
            self.condition(ConditionKind::ScalingActive, false, failed);
            return current;
        }
        match failed.filter(|_| self.goes_by_what_failed()) {
            Some(failed) => self.condition(ConditionKind::ScalingActive, false, failed),
            None => self.condition(ConditionKind::ScalingActive, true, "ValidMetricFound"),
        }
        let log = self.record(raw);
        let mut size = raw;
        if let Strategy::Banded(bands) = &self.policy.strategy {
            size = self.banded(raw, bands);
        }
        if self.policy.behavior.is_some() || !matches!(self.policy.strategy, Strategy::Banded(_)) {
            size = self.stabilized(size, &log);
            size = self.limited(size, min);
        } else {
            self.able = "ReadyForNewScale";
        }
        self.pauses(size)
    }

    /// Whether the largest proposal is only what triggers said before they failed.
    fn goes_by_what_failed(&self) -> bool {
        let sound = |input: &Input| {
            !matches!(input.outcome, Outcome::Failed { .. })
                && input.outcome.proposal() == self.report.raw
        };
        !self.report.inputs.iter().any(sound)
    }

    /// The reason of a trigger that fails, where one does.
    pub(super) fn failure(&self) -> Option<&'static str> {
        let failing = self.failing?;
        let outcome = self.report.inputs.get(failing).map(|input| &input.outcome);
        let trigger = self.policy.triggers.get(failing)?;
        Some(failure_code(&trigger.source, outcome))
    }

    /// Notes the recommendation where it is a new one; gives the log that this
    /// pass looks at.
    pub(super) fn record(&mut self, raw: u32) -> Cow<'a, [Recommendation]> {
        let (inputs, history) = (self.inputs, self.inputs.history);
        let seed = Recommendation {
            replicas: inputs.current,
            from: inputs.now,
            until: Some(inputs.now),
        };
        if !history.seeded {
            self.changes.push(Change::Recommended {
                replicas: inputs.current,
                until: None,
            });
            if raw != inputs.current {
                self.changes.push(Change::Recommended {
                    replicas: raw,
                    until: None,
                });
            }
            return Cow::Owned(vec![seed]);
        }
        if runs::open(&history.recommendations).is_none_or(|run| run.replicas != raw) {
            self.changes.push(Change::Recommended {
                replicas: raw,
                until: inputs.last_pass,
            });
        }
        Cow::Borrowed(&history.recommendations)
    }

    fn banded(&mut self, wanted: u32, bands: &Banded) -> u32 {
        let current = self.inputs.current;
        let capped = banded::capped(current, wanted, bands);
        if capped != wanted {
            self.step(Step::StepCapped {
                from: wanted,
                to: capped,
            });
        }
        let left_ms = self.inputs.history.changed_at.map_or(0, |at| {
            bands.cooldown_ms.saturating_sub(self.inputs.now.since(at))
        });
        if left_ms > 0 && capped != current {
            self.step(Step::Settling {
                wanted: capped,
                left_ms,
            });
            return current;
        }
        capped
    }

    fn stabilized(&mut self, desired: u32, runs: &[Recommendation]) -> u32 {
        let log = Log {
            runs,
            now: self.inputs.now,
            last_pass: self.inputs.last_pass,
        };
        let (current, windows) = (self.inputs.current, self.policy.windows());
        let with_behavior = self.policy.behavior.is_some();
        let stable = if with_behavior {
            log.hold_both(current, desired, windows)
        } else {
            log.hold_down(desired, windows.down_ms)
        };
        if stable.replicas == desired {
            self.able = "ReadyForNewScale";
            return desired;
        }
        let up = with_behavior && desired >= current;
        self.able = if up {
            "ScaleUpStabilized"
        } else {
            "ScaleDownStabilized"
        };
        self.step(Step::Stabilized {
            from: desired,
            to: stable.replicas,
            window_ms: if up { windows.up_ms } else { windows.down_ms },
            age_ms: stable.held_by_age_ms.unwrap_or(0),
        });
        stable.replicas
    }

    pub(super) fn limited(&mut self, desired: u32, min: u32) -> u32 {
        let step = limit::Step {
            current: self.inputs.current,
            desired,
            min,
            max: *self.policy.bounds().end(),
        };
        let (size, by) = match &self.policy.behavior {
            None => limit::plain(step),
            Some(behavior) => {
                let recent = Recent {
                    ups: &self.inputs.history.ups,
                    downs: &self.inputs.history.downs,
                    now: self.inputs.now,
                };
                limit::by_rates(step, behavior, recent)
            }
        };
        self.note_limit(desired, size, by);
        size
    }

    pub(super) fn note_limit(&mut self, desired: u32, size: u32, by: Limited) {
        let limited = by != Limited::Within;
        self.condition(ConditionKind::ScalingLimited, limited, by.code());
        if by == Limited::TooFew && self.policy.replicas_min == 0 {
            self.step(Step::LastReplica);
        } else if limited {
            self.step(Step::Limited {
                from: desired,
                to: size,
                by,
            });
        }
    }

    pub(super) fn pauses(&mut self, size: u32) -> u32 {
        let (current, notes) = (self.inputs.current, &self.policy.annotations);
        if size < current && notes.paused_scale_in {
            let said = |step: &Step| matches!(step, Step::ScaleInPaused { .. });
            if !self.report.steps.iter().any(said) {
                self.step(Step::ScaleInPaused { wanted: size });
            }
            return current;
        }
        if size > current && notes.paused_scale_out {
            self.step(Step::ScaleOutPaused { wanted: size });
            return current;
        }
        size
    }
}
