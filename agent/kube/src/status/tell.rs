//! What the status of a policy's object is to say.
//!
//! Comes in: how the object stands, the ledger, the last decision, what the platform
//! shows. Goes out: a [`Status`]. The same facts give the same status, whoever leads.

use jiff::Timestamp;
use starling_engine::decide::conditions::{self, About, Stated};
use starling_engine::decide::reason::{ConditionKind, Held, Report, Step};
use starling_engine::ledger::{InForce, Workload};
use starling_engine::unit::Ms;
use starling_policy::objects::{Object, Standing};

use super::{Condition, Status};

/// All that a status speaks of.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    pub object: &'a Object,
    pub standing: &'a Standing,
    /// The policy, where it is this object's.
    pub in_force: Option<&'a InForce>,
    pub workload: Option<&'a Workload>,
    /// Of the last decision.
    pub report: Option<&'a Report>,
    /// Replicas that exist, as the platform shows them.
    pub running: Option<u32>,
    /// Why the last write of the size failed.
    pub write_failure: Option<&'a str>,
}

/// Longer words are cut: a status is read in a terminal.
const REASON_CHARS_MAX: usize = 400;

/// The status that the facts make, with `former` kept where HPA would keep it.
/// `now` is when what has flipped did so.
pub fn status(facts: &Facts<'_>, former: &Status, now: Ms) -> Status {
    let mut status = Status {
        observed_generation: Some(facts.object.generation),
        ..Status::default()
    };
    let mut stated = vec![ready(facts.standing)];
    if let Some(in_force) = facts.in_force {
        let policy = &in_force.policy;
        let about = About {
            policy,
            workload: facts.workload,
            report: facts.report,
            write_failure: facts.write_failure,
        };
        stated.extend(conditions::conditions(&about));
        if is_away(facts.report) {
            // It would be wrong by the time at which it can be written.
            stated.retain(|it| it.kind != ConditionKind::AbleToScale);
        }
        status.min_replicas = Some(i64::from(policy.replicas_min));
        status.max_replicas = Some(i64::from(policy.replicas_max));
        put_sizes(&mut status, facts, former);
    }
    status.conditions = flipped(stated, former, facts.in_force.is_some(), now);
    status
}

fn is_away(report: Option<&Report>) -> bool {
    report.is_some_and(|report| report.steps.contains(&Step::Held(Held::Away)))
}

fn put_sizes(status: &mut Status, facts: &Facts<'_>, former: &Status) {
    status.current_replicas = facts.running.map(i64::from);
    if let Some(workload) = facts.workload {
        // Nobody has seen a scaled workload yet that was never adopted.
        let seen = workload
            .scaled
            .as_ref()
            .is_none_or(|scaled| scaled.carried.is_some());
        status.size = seen.then_some(i64::from(workload.size));
        status.last_grant = seen.then(|| workload.stamp.to_string());
        status.last_scale_time = workload.history.changed_at.and_then(time);
    }
    if let Some(report) = facts.report {
        status.desired_replicas = Some(i64::from(report.target));
        status.triggers = Some(report.measures()).filter(|text| !text.is_empty());
        status.reason = Some(report.summary(REASON_CHARS_MAX)).filter(|text| !text.is_empty());
    } else {
        // A new leader that hasn't decided yet unsays nothing.
        status.desired_replicas = former.desired_replicas;
        status.triggers.clone_from(&former.triggers);
        status.reason.clone_from(&former.reason);
    }
}

fn ready(standing: &Standing) -> Stated {
    Stated {
        kind: ConditionKind::Ready,
        status: standing.ready(),
        reason: standing.code().into(),
        message: standing.words(),
    }
}

/// In the order of their types, each with the time at which its status flipped.
fn flipped(stated: Vec<Stated>, former: &Status, in_force: bool, now: Ms) -> Vec<Condition> {
    let mut conditions: Vec<Condition> = stated
        .into_iter()
        .map(|it| {
            let kind = it.kind.code();
            let before = former.condition(kind);
            let same = before.filter(|before| before.status == it.status.code());
            Condition {
                kind: kind.to_owned(),
                status: it.status.code().to_owned(),
                reason: it.reason.into_owned(),
                message: it.message,
                last_transition_time: match same {
                    Some(before) => before.last_transition_time.clone(),
                    None => time(now).unwrap_or_default(),
                },
            }
        })
        .collect();
    let kept = former.conditions.iter().filter(|before| {
        let outlasts = KINDS
            .iter()
            .any(|kind| kind.code() == before.kind && conditions::outlasts(*kind));
        in_force && outlasts && !conditions.iter().any(|it| it.kind == before.kind)
    });
    let kept: Vec<Condition> = kept.cloned().collect();
    conditions.extend(kept);
    conditions.sort_by_key(|it| rank(&it.kind));
    conditions
}

/// The order in which people look for them.
const KINDS: [ConditionKind; 9] = [
    ConditionKind::Ready,
    ConditionKind::AbleToScale,
    ConditionKind::ScalingActive,
    ConditionKind::ScalingLimited,
    ConditionKind::Active,
    ConditionKind::Paused,
    ConditionKind::Fallback,
    ConditionKind::ScaledToZero,
    ConditionKind::Adopted,
];

fn rank(kind: &str) -> usize {
    let found = KINDS.iter().position(|it| it.code() == kind);
    found.unwrap_or(KINDS.len())
}

/// As Kubernetes writes a time; `None` beyond the year 9999.
pub(crate) fn time(at: Ms) -> Option<String> {
    let seconds = i64::try_from(at.0 / 1_000).ok()?;
    Some(Timestamp::from_second(seconds).ok()?.to_string())
}
