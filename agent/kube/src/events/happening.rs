//! What is worth an event, and what makes two of them the same.

use sha2::{Digest as _, Sha256};
use starling_engine::decide::reason::Status as Truth;
use starling_engine::ledger::{Cause, Ledger, Record};
use starling_engine::policy::{Form, Name, Policy, Target};
use starling_engine::unit::{Ms, Stamp};

use super::timestamp;
use crate::crd;
use crate::status::{Condition, Status};

/// The object that an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Of {
    pub api_version: String,
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happening {
    pub of: Of,
    /// The other one of policy and workload, where it is known.
    pub related: Option<Of>,
    /// `Warning`, else `Normal`.
    pub warning: bool,
    /// Such as `SuccessfulRescale`.
    pub reason: String,
    /// What was done or tried, such as `Scale`.
    pub action: &'static str,
    pub note: String,
    /// What distinguishes it from others with this reason: a repeat has the same.
    pub detail: String,
    /// Rises with each repeat, as text: what is marked with this or more was told.
    pub mark: String,
    pub at: Ms,
}

/// Kubernetes allows a note of 1,024 bytes.
const NOTE_BYTES_MAX: usize = 1_000;
/// Changes of size that a new leader may find untold: those of so much time.
pub const UNTOLD_MS: u64 = 60_000;

impl Of {
    pub fn policy(name: &Name, uid: &str) -> Of {
        Of {
            api_version: format!("{}/{}", crd::GROUP, crd::VERSION),
            kind: crd::KIND.to_owned(),
            namespace: name.namespace.clone(),
            name: name.name.clone(),
            uid: uid.to_owned(),
        }
    }

    /// KEDA's object, where it is decided for as a policy.
    pub fn scaled_object(name: &Name, uid: &str) -> Of {
        Of {
            api_version: "keda.sh/v1alpha1".to_owned(),
            kind: "ScaledObject".to_owned(),
            ..Of::policy(name, uid)
        }
    }

    /// A workload that was seen; one that wasn't has no uid to point to.
    pub fn target(target: &Target, version: &str, uid: &str) -> Option<Of> {
        let api_version = match target.group.as_str() {
            "" => version.to_owned(),
            group => format!("{group}/{version}"),
        };
        (target.form() == Form::Scaled && !uid.is_empty()).then(|| Of {
            api_version,
            kind: target.kind.clone(),
            namespace: target.namespace.clone(),
            name: target.name.clone(),
            uid: uid.to_owned(),
        })
    }
}

impl Happening {
    /// The name of the event, which every repeat has too.
    pub fn name(&self) -> String {
        let mut hash = Sha256::new();
        for part in [&self.of.uid, &self.of.kind, &self.reason, &self.detail] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        let digits: Vec<String> = hash
            .finalize()
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        // A name may have 253 bytes.
        let of: String = self.of.name.chars().take(200).collect();
        format!("{}.{}", of.trim_end_matches(['.', '-']), digits.concat())
    }
}

/// The changes of size since the entry at `told`; where that is `None`, those of the
/// last minute. For each one event on the policy's object, where there
/// is one, and one on the workload.
pub fn records(
    ledger: &Ledger,
    told: Option<u64>,
    now: Ms,
    of_policy: impl Fn(&Name) -> Option<Of>,
) -> Vec<Happening> {
    let is_new = |record: &&Record| match told {
        Some(told) => record.index > told,
        None => now.since(record.at) <= UNTOLD_MS,
    };
    let news: Vec<&Record> = ledger.decisions.iter().rev().take_while(is_new).collect();
    let mut happenings = Vec::new();
    for record in news.into_iter().rev() {
        let Some(in_force) = ledger.policies.get(&record.policy) else {
            continue;
        };
        let policy = &in_force.policy;
        // What a dry run would do happens to nobody.
        let others = matches!(record.cause, Cause::ByHand | Cause::Recreated);
        if policy.dry_run && !others {
            continue;
        }
        let workload = ledger.workloads.get(&policy.target);
        let seen = workload.and_then(|workload| workload.scaled.as_ref());
        let target_uid = seen.map_or("", |scaled| scaled.uid.as_str());
        let target = Of::target(&policy.target, &policy.target_version, target_uid);
        let object = of_policy(&record.policy);
        let stamp = Stamp {
            generation: ledger.generation,
            index: record.index,
        };
        for (of, related) in [(&object, &target), (&target, &object)] {
            if let Some(of) = of {
                happenings.push(resized(record, policy, of, related.clone(), stamp));
            }
        }
    }
    happenings
}

fn resized(
    record: &Record,
    policy: &Policy,
    of: &Of,
    related: Option<Of>,
    stamp: Stamp,
) -> Happening {
    let (from, to, target) = (record.from, record.to, &policy.target);
    let (reason, code, note) = match &record.cause {
        Cause::Decided { report, .. } => {
            let why = report.summary(NOTE_BYTES_MAX / 2);
            let code = report.steps.last().map_or("", |step| step.code());
            let note = format!("{target}: {from} to {to} by policy {}: {why}", policy.name);
            ("SuccessfulRescale", code, note)
        }
        Cause::Bounds { floor, cap } => {
            let note = format!(
                "{target}: {from} to {to}: policy {} allows {floor} to {cap}",
                policy.name
            );
            ("SuccessfulRescale", "Bounds", note)
        }
        Cause::ByHand => {
            let note = format!(
                "{target}: somebody else set {to} where {from} were granted; policy {} goes on \
                 from there",
                policy.name
            );
            ("ScaledByHand", "ByHand", note)
        }
        Cause::Recreated => {
            let note = format!(
                "{target} was deleted and made anew with {to} in place of {from}; policy {} goes on \
                 from there",
                policy.name
            );
            ("TargetRecreated", "Recreated", note)
        }
    };
    Happening {
        of: of.clone(),
        related,
        warning: false,
        reason: reason.to_owned(),
        action: "Scale",
        note: cut(&note),
        detail: format!("{from} {to} {code}"),
        mark: format!("{:020}/{:020}", stamp.generation, stamp.index),
        at: record.at,
    }
}

/// Conditions that turned bad between two statuses of a policy's object.
pub fn flips(of: &Of, former: &Status, wanted: &Status, now: Ms) -> Vec<Happening> {
    let flipped = wanted.conditions.iter().filter(|it| {
        let before = former.condition(&it.kind);
        let news = before.is_none_or(|before| {
            before.status != it.status || (it.kind == "Ready" && before.reason != it.reason)
        });
        news && is_bad(it)
    });
    flipped
        .map(|it| Happening {
            of: of.clone(),
            related: None,
            warning: true,
            reason: it.reason.clone(),
            action: action(&it.kind),
            note: cut(&it.message),
            detail: it.kind.clone(),
            mark: instant(now),
            at: now,
        })
        .collect()
}

/// Whether a status has what a flip tells of.
pub fn shows(status: &Status, flip: &Happening) -> bool {
    let condition = status.condition(&flip.detail);
    condition.is_some_and(|it| it.reason == flip.reason && is_bad(it))
}

/// As a mark: to the millisecond, since a condition may turn bad, good and bad again
/// within the second that its `lastTransitionTime` tells.
fn instant(at: Ms) -> String {
    format!("{:.3}", timestamp(at))
}

/// What somebody should look at: not a limit that does its work, nor a size that
/// somebody chose.
fn is_bad(condition: &Condition) -> bool {
    let is = |truth: Truth| condition.status == truth.code();
    match condition.kind.as_str() {
        "Ready" | "AbleToScale" => is(Truth::False),
        "ScalingActive" => is(Truth::False) && condition.reason != "ScalingDisabled",
        "ScalingLimited" => is(Truth::True) && condition.reason == "ReplicasBlocked",
        "Fallback" => is(Truth::True),
        _ => false,
    }
}

fn action(kind: &str) -> &'static str {
    match kind {
        "Ready" => "Apply",
        "AbleToScale" => "Scale",
        _ => "Decide",
    }
}

fn cut(note: &str) -> String {
    let end = (0..=note.len().min(NOTE_BYTES_MAX))
        .rev()
        .find(|&end| note.is_char_boundary(end));
    note[..end.unwrap_or(0)].to_owned()
}

#[cfg(test)]
mod tests;
