//! What is true of a policy in force and of its workload, as conditions: HPA's
//! types and reasons where HPA has them (hpa.md rule 16), KEDA's for rest, pauses
//! and fallback, and `Adopted` for sizes that somebody else chose.
//!
//! Comes in: the last decision's report, what the ledger holds, what became of the
//! last write. Goes out: each condition with words for people. The API and the
//! status of a policy's object both show these. Never reads a clock.

use std::borrow::Cow;

use super::reason::prose::on_one_line;
use super::reason::quantity::replicas;
use super::reason::{Condition, ConditionKind, Held, Outcome, Report, Status, Step};
use crate::ledger::Workload;
use crate::policy::Policy;

/// What is known of one policy.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    pub policy: &'a Policy,
    /// As the ledger holds it.
    pub workload: Option<&'a Workload>,
    /// Of the last pass; `None` where this agent hasn't made one.
    pub report: Option<&'a Report>,
    /// Why the last write of the size failed.
    pub write_failure: Option<&'a str>,
}

/// One condition, with words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stated {
    pub kind: ConditionKind,
    pub status: Status,
    /// Stable.
    pub reason: Cow<'static, str>,
    pub message: String,
}

/// Longer words are cut.
pub const MESSAGE_CHARS_MAX: usize = 1_000;

/// Every condition that can be told now, by kind. One that HPA leaves as it was in
/// such a pass isn't among them: see [`outlasts`].
pub fn conditions(about: &About<'_>) -> Vec<Stated> {
    let mut stated = Vec::new();
    if let Some(report) = about.report {
        for condition in &report.conditions {
            if !unsaid(condition, report) {
                stated.push(state(condition, about, report));
            }
        }
        add_active(&mut stated);
        add_blocked(&mut stated, report);
    }
    if let Some(why) = about.write_failure {
        stated.retain(|it| it.kind != ConditionKind::AbleToScale);
        stated.push(Stated {
            kind: ConditionKind::AbleToScale,
            status: Status::False,
            reason: "FailedUpdateScale".into(),
            message: format!("the size could not be written: {why}"),
        });
    }
    if !stated.iter().any(|it| it.kind == ConditionKind::Paused) {
        stated.push(paused(about.policy));
    }
    stated.extend(adopted(about));
    for it in &mut stated {
        it.message = on_one_line(&it.message, MESSAGE_CHARS_MAX);
    }
    stated.sort_by_key(|it| it.kind);
    stated
}

/// KEDA's condition `Ready` where a trigger fails, with the first one's words; `None`
/// while all answer, or haven't been asked yet.
pub fn failing(report: &Report) -> Option<Stated> {
    let conditions = &mut report.conditions.iter();
    let ready = conditions.find(|it| it.kind == ConditionKind::Ready)?;
    let mut inputs = report.inputs.iter();
    let fails = |it: &Outcome| matches!(it, Outcome::Failed { .. } | Outcome::Stale);
    let first = inputs.position(|input| fails(&input.outcome))?;
    let words = report.reasons().nth(first).map(|(_, words)| words);
    (ready.status != Status::True).then(|| Stated {
        kind: ConditionKind::Ready,
        status: ready.status,
        reason: ready.reason.clone(),
        message: on_one_line(&words.unwrap_or_default(), MESSAGE_CHARS_MAX),
    })
}

/// Whether a condition stays as it was while nothing is said of it: HPA touches
/// these only where it comes to them (hpa.md rule 16).
pub fn outlasts(kind: ConditionKind) -> bool {
    matches!(
        kind,
        ConditionKind::AbleToScale
            | ConditionKind::ScalingActive
            | ConditionKind::ScalingLimited
            | ConditionKind::ScaledToZero
            | ConditionKind::Active
    )
}

/// What a pass can't know yet: a leader that has just begun has asked nobody, and
/// what it doesn't know is no change.
fn unsaid(condition: &Condition, report: &Report) -> bool {
    let bad = condition.status != Status::True;
    match condition.kind {
        // Whether the policy is in force as it is written is for its host to say.
        ConditionKind::Ready => true,
        ConditionKind::ScalingActive | ConditionKind::Active => {
            let mut inputs = report.inputs.iter();
            bad && inputs.any(|input| input.outcome == Outcome::Unheard)
        }
        ConditionKind::AbleToScale => bad && report.steps.contains(&Step::Held(Held::Unseen)),
        _ => false,
    }
}

fn state(condition: &Condition, about: &About<'_>, report: &Report) -> Stated {
    Stated {
        kind: condition.kind,
        status: condition.status,
        reason: condition.reason.clone(),
        message: message(condition, about, report),
    }
}

fn message(condition: &Condition, about: &About<'_>, report: &Report) -> String {
    let told = |code: &str| {
        let mut reasons = report.reasons();
        reasons.find(|(it, _)| *it == code).map(|(_, words)| words)
    };
    let step = |is: fn(&Step) -> bool| {
        let found = report.steps.iter().find(|step| is(step))?;
        told(found.code())
    };
    let code = condition.reason.as_ref();
    let words = match (condition.kind, code) {
        (ConditionKind::AbleToScale, "FailedGetScale" | "AlreadyScaled" | "ClusterRebuilt") => {
            step(|it| matches!(it, Step::Held(_)))
        }
        (ConditionKind::AbleToScale, "SucceededRescale") => Some(format!(
            "the size was changed from {} to {}",
            report.from, report.target
        )),
        (ConditionKind::AbleToScale, "ReadyForNewScale") => {
            Some("the size that is wanted needs no wait".to_owned())
        }
        (ConditionKind::AbleToScale, "SucceededGetScale") => {
            Some("the size can be read and written".to_owned())
        }
        (ConditionKind::ScalingActive, "ValidMetricFound") => winner(report),
        (ConditionKind::ScalingActive, "ScalingDisabled") => {
            step(|it| matches!(it, Step::Disabled | Step::NoMetrics))
        }
        (ConditionKind::ScalingActive, _) => failed(report),
        (ConditionKind::ScalingLimited, "DesiredWithinRange") => {
            Some("the wanted size is within every limit".to_owned())
        }
        (ConditionKind::Active, "ScalerActive") => Some("there is work".to_owned()),
        (ConditionKind::Active, "ScalerNotActive") => Some("no trigger is active".to_owned()),
        (ConditionKind::Fallback, "FallbackExists") => fallen_back(report),
        (ConditionKind::Fallback, _) => Some("every trigger speaks for itself".to_owned()),
        (ConditionKind::Paused, _) => Some(paused(about.policy).message),
        (ConditionKind::ScaledToZero, "ScaledToZero") => {
            Some("the workload was scaled to 0 and will be woken".to_owned())
        }
        (ConditionKind::ScaledToZero, _) => Some("the workload is not at 0".to_owned()),
        _ => None,
    };
    words
        .or_else(|| told(code))
        .unwrap_or_else(|| code.to_owned())
}

fn winner(report: &Report) -> Option<String> {
    let input = report.inputs.get(report.winner? as usize)?;
    Some(format!(
        "the size was computed from {}, which asks for {}",
        input.trigger,
        replicas(input.outcome.proposal()?)
    ))
}

/// The words of the first trigger that says nothing.
fn failed(report: &Report) -> Option<String> {
    let silent = report.inputs.iter().position(|input| {
        matches!(
            input.outcome,
            Outcome::Failed { .. } | Outcome::Stale | Outcome::Unheard | Outcome::NoReplicas
        )
    })?;
    report.reasons().nth(silent).map(|(_, words)| words)
}

fn fallen_back(report: &Report) -> Option<String> {
    let fallen = report
        .inputs
        .iter()
        .position(|input| matches!(input.outcome, Outcome::Fallback { .. }))?;
    report.reasons().nth(fallen).map(|(_, words)| words)
}

/// Under HPA's rules at 0 a workload whose metrics can be computed is active.
fn add_active(stated: &mut Vec<Stated>) {
    if stated.iter().any(|it| it.kind == ConditionKind::Active) {
        return;
    }
    let scaling = stated
        .iter()
        .find(|it| it.kind == ConditionKind::ScalingActive);
    if let Some(scaling) = scaling.cloned() {
        stated.push(Stated {
            kind: ConditionKind::Active,
            ..scaling
        });
    }
}

/// HPA has no word for replicas that couldn't run: here that is a limit.
fn add_blocked(stated: &mut Vec<Stated>, report: &Report) {
    let blocked = report
        .steps
        .iter()
        .find(|step| matches!(step, Step::Blocked { .. }));
    let Some(step) = blocked else { return };
    stated.retain(|it| it.kind != ConditionKind::ScalingLimited);
    let mut reasons = report.reasons();
    let words = reasons.find(|(code, _)| *code == step.code());
    stated.push(Stated {
        kind: ConditionKind::ScalingLimited,
        status: Status::True,
        reason: step.code().into(),
        message: words.map(|(_, words)| words).unwrap_or_default(),
    });
}

fn paused(policy: &Policy) -> Stated {
    let notes = &policy.annotations;
    let (truth, message) = match notes.paused_replicas {
        Some(n) => (true, format!("an annotation holds the size at {n}")),
        None if notes.paused => (true, "an annotation holds the size".to_owned()),
        None => match (notes.paused_scale_in, notes.paused_scale_out) {
            (false, false) => (false, "nothing holds the size".to_owned()),
            (true, false) => (true, "an annotation forbids to shrink".to_owned()),
            (false, true) => (true, "an annotation forbids to grow".to_owned()),
            (true, true) => (true, "annotations forbid to shrink and to grow".to_owned()),
        },
    };
    Stated {
        kind: ConditionKind::Paused,
        status: Status::of(truth),
        reason: if truth {
            "ScaledObjectPaused".into()
        } else {
            "ScaledObjectUnpaused".into()
        },
        message,
    }
}

/// The present size is one that somebody else chose, until the next decision.
fn adopted(about: &About<'_>) -> Option<Stated> {
    let scaled = about.workload?.scaled.as_ref()?;
    let by_hand = scaled.by_hand?;
    let target = &about.policy.target;
    let to = replicas(by_hand.to);
    let (reason, message) = if by_hand.anew {
        (
            "TargetRecreated",
            format!(
                "{target} was deleted and made anew; {to}, which it had then, {} taken over",
                are(by_hand.to)
            ),
        )
    } else {
        (
            "ScaledByHand",
            format!(
                "somebody else set {to} where {} {} granted; that is taken as the present size",
                by_hand.from,
                were(by_hand.from)
            ),
        )
    };
    Some(Stated {
        kind: ConditionKind::Adopted,
        status: Status::True,
        reason: reason.into(),
        message,
    })
}

fn are(n: u32) -> &'static str {
    if n == 1 { "is" } else { "are" }
}

fn were(n: u32) -> &'static str {
    if n == 1 { "was" } else { "were" }
}

#[cfg(test)]
mod tests;
