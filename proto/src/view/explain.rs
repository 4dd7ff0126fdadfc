//! The account of one decision, as structure and as prose.
//!
//! Comes in: a decision's report. Goes out: what each trigger said, what moved or
//! held the size, and what would change it, each with its code and its words.
//! Never adds anything to what the report says.

use starling_engine::decide::conditions::Stated;
use starling_engine::decide::objective;
use starling_engine::decide::reason::{Held, Input, Outcome, Outlook, Pods, Report, Status, Step};
use starling_engine::policy::Goal;

use super::policy::{goal, shown_milli};
use super::{duration, time};
use crate::v1;

/// The whole account.
pub fn explanation(report: &Report) -> v1::Explanation {
    let words: Vec<String> = report.reasons().map(|(_, words)| clean(&words)).collect();
    let (of_inputs, of_steps) = words.split_at(report.inputs.len().min(words.len()));
    let winner = report
        .winner
        .and_then(|n| report.inputs.get(n as usize))
        .map(|input| input.trigger.clone());
    v1::Explanation {
        lines: report.to_string().lines().map(str::to_owned).collect(),
        time: Some(time(report.at)),
        previous_size: report.from,
        size: report.target,
        dry_run: report.dry_run,
        inputs: (report.inputs.iter().zip(of_inputs))
            .map(|(it, words)| input(it, words))
            .collect(),
        winner: winner.unwrap_or_default(),
        raw_size: report.raw,
        limits: (report.steps.iter().zip(of_steps))
            .map(|(step, words)| limit(step, words))
            .collect(),
        thresholds: (report.outlook.iter().zip(report.thresholds()))
            .map(|(it, (code, words))| threshold(report, it, code, &words))
            .collect(),
    }
}

fn input(input: &Input, words: &str) -> v1::Input {
    let (within_tolerance, failures) = match &input.outcome {
        Outcome::Proposes {
            within_tolerance, ..
        } => (*within_tolerance, 0),
        Outcome::Fallback { failures, .. } | Outcome::Failed { failures, .. } => (false, *failures),
        Outcome::Stale | Outcome::Unheard | Outcome::NoReplicas | Outcome::Composed => (false, 0),
    };
    v1::Input {
        trigger: input.trigger.clone(),
        source: input.source.clone().into_owned(),
        goal: Some(goal(input.goal)),
        value_milli: input.value.map(|value| shown_milli(input.goal, value)),
        value_shared: shared(input),
        value_age: input.age_ms.map(duration),
        pods: input.pods.map(pods),
        band_low_percent: input.band.map(|(low, _)| low),
        band_high_percent: input.band.map(|(_, high)| high),
        proposal: input.outcome.proposal(),
        within_tolerance,
        code: input.outcome.code().into(),
        failures,
        text: words.into(),
    }
}

/// Whether the value is that of all replicas together, while the goal is for each.
pub fn shared(input: &Input) -> bool {
    matches!(input.goal, Goal::AverageValue { .. }) && input.pods.is_none()
}

fn pods(pods: Pods) -> v1::InputPods {
    v1::InputPods {
        counted: pods.counted,
        unready: pods.unready,
        missing: pods.missing,
        ignored: pods.ignored,
    }
}

fn limit(step: &Step, words: &str) -> v1::Limit {
    let (previous_size, size) = match step {
        Step::StepCapped { from, to }
        | Step::Stabilized { from, to, .. }
        | Step::Limited { from, to, .. }
        | Step::Bounded { from, to } => (Some(*from), Some(*to)),
        Step::Activated { to, .. } | Step::Deactivated { to, .. } => (None, Some(*to)),
        Step::Paused { at } => (None, *at),
        Step::AboveMax { max } => (None, Some(*max)),
        Step::BelowMin { min } => (None, Some(*min)),
        Step::Frozen { wanted }
        | Step::Settling { wanted, .. }
        | Step::ScaleInPaused { wanted }
        | Step::ScaleOutPaused { wanted }
        | Step::Blocked { wanted, .. } => (Some(*wanted), None),
        Step::JustChanged
        | Step::Disabled
        | Step::CoolingDown { .. }
        | Step::AtRest
        | Step::RestWithheld
        | Step::NoMetrics
        | Step::Objective(_)
        | Step::LastReplica
        | Step::Held(_) => (None, None),
    };
    v1::Limit {
        code: step.code().into(),
        previous_size,
        size,
        remaining: remaining_ms(step).map(duration),
        detail: words.into(),
    }
}

fn remaining_ms(step: &Step) -> Option<u64> {
    match step {
        Step::CoolingDown { left_ms }
        | Step::Settling { left_ms, .. }
        | Step::Held(Held::Rebuilt { left_ms }) => Some(*left_ms),
        Step::Stabilized {
            window_ms, age_ms, ..
        } => Some(window_ms.saturating_sub(*age_ms)),
        Step::Objective(objective::reason::Reason::Held { left_ms, .. }) => *left_ms,
        _ => None,
    }
}

fn threshold(report: &Report, outlook: &Outlook, code: &str, words: &str) -> v1::Threshold {
    let mut shown = v1::Threshold {
        code: code.into(),
        text: clean(words),
        ..v1::Threshold::default()
    };
    match outlook {
        Outlook::Value {
            trigger,
            at_least,
            at_most,
        } => {
            let input = report.inputs.iter().find(|it| it.trigger == *trigger);
            let milli = |value: &i64| input.map_or(*value, |it| shown_milli(it.goal, *value));
            shown.trigger.clone_from(trigger);
            shown.at_least_milli = at_least.as_ref().map(milli);
            shown.at_most_milli = at_most.as_ref().map(milli);
        }
        Outlook::Activity { trigger, above } => {
            shown.trigger.clone_from(trigger);
            shown.at_least_milli = Some(above.saturating_add(1));
        }
        Outlook::Answer { trigger }
        | Outlook::Samples { trigger }
        | Outlook::Recovery { trigger, .. }
        | Outlook::Failures { trigger, .. } => shown.trigger.clone_from(trigger),
        Outlook::Wait { ms } | Outlook::Quiet { ms } => shown.wait = Some(duration(*ms)),
        Outlook::Field { field, .. } => shown.field.clone_from(field),
        Outlook::Annotation { name } => shown.field.clone_from(name),
        Outlook::Together { .. }
        | Outlook::Load(_)
        | Outlook::Enable
        | Outlook::Platform
        | Outlook::Rival { .. }
        | Outlook::Room
        | Outlook::Bounds => {}
    }
    shown
}

/// One condition of a policy.
pub fn condition(stated: &Stated) -> v1::Condition {
    v1::Condition {
        r#type: stated.kind.code().into(),
        status: match stated.status {
            Status::True => v1::ConditionStatus::True,
            Status::False => v1::ConditionStatus::False,
            Status::Unknown => v1::ConditionStatus::Unknown,
        }
        .into(),
        reason: stated.reason.clone().into_owned(),
        message: stated.message.clone(),
    }
}

/// On one line, whatever a source put into its words.
pub fn clean(words: &str) -> String {
    words
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
