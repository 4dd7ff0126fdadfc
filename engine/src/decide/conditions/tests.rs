//! Conditions of decisions that were really made, and of what happened beside them.

use super::*;
use crate::decide::{Inputs, Platform, Reading, decide, reason};
use crate::demand::pods::Sums;
use crate::history::History;
use crate::ledger::scaled::{Scaled, Seen};
use crate::policy::{Annotations, Fallback, Goal, Name, Resource, Source, Target, Trigger, Zero};
use crate::unit::Ms;

const NOW: Ms = Ms(1_000_000);

fn policy() -> Policy {
    let queue = Trigger {
        name: "queue".into(),
        source: Source::External {
            kind: "metrics-api".into(),
            metadata: std::collections::BTreeMap::default(),
        },
        goal: Goal::AverageValue { milli: 10_000 },
        activation_milli: 0,
        window_ms: None,
    };
    Policy {
        name: Name::new("shop", "web"),
        target: Target {
            group: "apps".into(),
            kind: "Deployment".into(),
            namespace: "shop".into(),
            name: "web".into(),
        },
        target_version: "v1".into(),
        replicas_min: 1,
        replicas_max: 10,
        triggers: vec![queue],
        ..Policy::default()
    }
}

fn cpu() -> Trigger {
    Trigger {
        name: "cpu".into(),
        source: Source::Resource(Resource::Cpu),
        goal: Goal::Utilization { percent: 70 },
        activation_milli: 0,
        window_ms: None,
    }
}

fn value(milli: i64) -> Reading {
    Reading::value(milli, NOW)
}

fn report(policy: &Policy, current: u32, reading: Reading, platform: Platform<'_>) -> Report {
    let history = History::default();
    let inputs = Inputs {
        policy,
        now: NOW,
        created_at: Ms(0),
        current,
        running: current,
        ready: Some(current),
        last_pass: None,
        readings: vec![reading],
        signal: None,
        started_ms: &[],
        history: &history,
        platform,
    };
    decide(inputs).report
}

/// `kind status reason: message`, a line each.
fn told(about: &About<'_>) -> Vec<String> {
    let line = |it: Stated| {
        let (kind, status) = (it.kind.code(), it.status.code());
        format!("{kind} {status} {}: {}", it.reason, it.message)
    };
    conditions(about).into_iter().map(line).collect()
}

#[track_caller]
fn check(policy: &Policy, report: &Report, expected: &[&str]) {
    let about = About {
        policy,
        workload: None,
        report: Some(report),
        write_failure: None,
    };
    assert_eq!(told(&about), expected);
}

#[test]
fn a_workload_that_grows_has_hpas_conditions_in_words() {
    let policy = policy();
    check(
        &policy,
        &report(&policy, 2, value(60_000), Platform::default()),
        &[
            "AbleToScale True SucceededRescale: the size was changed from 2 to 4",
            "ScalingActive True ValidMetricFound: the size was computed from queue, which asks \
             for 6 replicas",
            "ScalingLimited True ScaleUpLimit: The limit on growth allows 4 of 6 for now.",
            "Active True ScalerActive: there is work",
            "Paused False ScaledObjectUnpaused: nothing holds the size",
        ],
    );
}

#[test]
fn a_workload_at_rest_is_not_active() {
    let policy = Policy {
        replicas_min: 0,
        ..policy()
    };
    check(
        &policy,
        &report(&policy, 0, value(0), Platform::default()),
        &[
            "AbleToScale True SucceededGetScale: the size can be read and written",
            "Active False ScalerNotActive: no trigger is active",
            "Paused False ScaledObjectUnpaused: nothing holds the size",
        ],
    );
}

#[test]
fn a_trigger_that_fails_is_said_in_its_own_words() {
    let policy = policy();
    let failed = Reading::Failed {
        why: "http://queue: answered HTTP 500\n".into(),
        at: NOW,
    };
    check(
        &policy,
        &report(&policy, 3, failed, Platform::default()),
        &[
            "AbleToScale True SucceededGetScale: the size can be read and written",
            "ScalingActive False FailedGetExternalMetric: queue (metrics-api) failed: http://queue: \
             answered HTTP 500 .",
            "Active False ScalerNotActive: no trigger is active",
            "Paused False ScaledObjectUnpaused: nothing holds the size",
        ],
    );
}

#[test]
fn a_fallback_says_what_stands_in() {
    let policy = Policy {
        fallback: Some(Fallback {
            failure_threshold: 0,
            replicas: 4,
            behavior: crate::policy::FallbackBehavior::default(),
            recovery_threshold: None,
        }),
        ..policy()
    };
    let failed = Reading::Failed {
        why: "away".into(),
        at: NOW,
    };
    let about = report(&policy, 3, failed, Platform::default());
    let about = About {
        policy: &policy,
        workload: None,
        report: Some(&about),
        write_failure: None,
    };
    let told = told(&about);
    assert!(
        told.contains(
            &"Fallback True FallbackExists: queue (metrics-api) failed 1 time in a row (away), so \
              the fallback of 4 replicas stands in."
                .to_owned()
        ),
        "{told:?}"
    );
}

#[test]
fn a_target_that_is_gone_and_one_that_is_full_say_so() {
    let policy = policy();
    let gone = Platform {
        held: Some(reason::Held::Gone("deployments \"web\" not found".into())),
        ..Platform::default()
    };
    check(
        &policy,
        &report(&policy, 3, value(60_000), gone),
        &[
            "AbleToScale False FailedGetScale: There is nothing to size: deployments \"web\" not \
             found.",
            "Paused False ScaledObjectUnpaused: nothing holds the size",
        ],
    );
    let taken = Platform {
        held: Some(reason::Held::Rival("ScaledObject shop/web".into())),
        ..Platform::default()
    };
    check(
        &policy,
        &report(&policy, 3, value(60_000), taken),
        &[
            "AbleToScale False AlreadyScaled: ScaledObject shop/web scales the workload already, \
             so it is left alone.",
            "Paused False ScaledObjectUnpaused: nothing holds the size",
        ],
    );
    let full = Platform {
        blocked: Some("the quota of namespace shop is used up"),
        ..Platform::default()
    };
    let report = report(&policy, 3, value(60_000), full);
    let about = About {
        policy: &policy,
        workload: None,
        report: Some(&report),
        write_failure: None,
    };
    let told = told(&about);
    assert!(
        told.contains(
            &"ScalingLimited True ReplicasBlocked: 6 replicas would be wanted, but no more can \
              run: the quota of namespace shop is used up."
                .to_owned()
        ),
        "{told:?}"
    );
}

#[test]
fn a_write_that_fails_keeps_the_workload_from_scaling() {
    let policy = policy();
    let report = report(&policy, 3, value(30_000), Platform::default());
    let about = About {
        policy: &policy,
        workload: None,
        report: Some(&report),
        write_failure: Some("forbidden by the quota"),
    };
    assert_eq!(
        told(&about)[0],
        "AbleToScale False FailedUpdateScale: the size could not be written: forbidden by the quota"
    );
}

#[test]
fn a_size_that_somebody_else_chose_is_told_until_the_next_decision() {
    let policy = policy();
    let seen = |uid: &str, replicas| Seen {
        uid: uid.into(),
        selector: String::new(),
        replicas,
        ruled: false,
    };
    let mut scaled = Scaled::default();
    let adopted = |scaled: &Scaled| {
        let workload = Workload {
            scaled: Some(scaled.clone()),
            ..Workload::default()
        };
        let about = About {
            policy: &policy,
            workload: Some(&workload),
            report: None,
            write_failure: None,
        };
        let found = conditions(&about)
            .into_iter()
            .find(|it| it.kind == ConditionKind::Adopted);
        found.map(|it| format!("{}: {}", it.reason, it.message))
    };
    scaled.take_in(0, &seen("a", 3), NOW);
    assert_eq!(adopted(&scaled), None, "it was found so");
    scaled.take_in(3, &seen("a", 5), NOW);
    assert_eq!(
        adopted(&scaled).as_deref(),
        Some(
            "ScaledByHand: somebody else set 5 replicas where 3 were granted; that is taken as \
             the present size"
        )
    );
    scaled.granted_anew(5);
    assert_eq!(adopted(&scaled), None);
    scaled.take_in(5, &seen("b", 1), NOW);
    assert_eq!(
        adopted(&scaled).as_deref(),
        Some(
            "TargetRecreated: Deployment shop/web was deleted and made anew; 1 replica, which it \
             had then, is taken over"
        )
    );
}

#[test]
fn a_trigger_that_fails_is_what_keda_calls_not_ready() {
    let said = |reading| {
        let report = report(&policy(), 3, reading, Platform::default());
        failing(&report).map(|it| (it.status, it.reason.into_owned(), it.message))
    };
    let failed = Reading::Failed {
        why: "there is no Secret shop/queue".into(),
        at: NOW,
    };
    assert_eq!(
        said(failed),
        Some((
            Status::False,
            "TriggerError".into(),
            "queue (metrics-api) failed: there is no Secret shop/queue.".into()
        ))
    );
    assert_eq!(said(value(30_000)), None);
    // Nobody has been asked yet.
    assert_eq!(said(Reading::None), None);
}

#[test]
fn pauses_say_what_they_hold() {
    let with = |annotations| {
        let policy = Policy {
            annotations,
            ..policy()
        };
        let about = About {
            policy: &policy,
            workload: None,
            report: None,
            write_failure: None,
        };
        told(&about)
    };
    let held = with(Annotations {
        paused_replicas: Some(2),
        ..Annotations::default()
    });
    assert_eq!(
        held,
        ["Paused True ScaledObjectPaused: an annotation holds the size at 2"]
    );
    let down = with(Annotations {
        paused_scale_in: true,
        ..Annotations::default()
    });
    assert_eq!(
        down,
        ["Paused True ScaledObjectPaused: an annotation forbids to shrink"]
    );
}

#[test]
fn under_hpas_rules_a_computed_size_is_activity() {
    let policy = Policy {
        zero: Zero::Hpa { allowed: true },
        triggers: vec![cpu()],
        ..policy()
    };
    let nothing = report(
        &policy,
        2,
        Reading::Pods(Sums::default()),
        Platform::default(),
    );
    let about = About {
        policy: &policy,
        workload: None,
        report: Some(&nothing),
        write_failure: None,
    };
    let active = conditions(&about)
        .into_iter()
        .find(|it| it.kind == ConditionKind::Active);
    let active = active.map(|it| (it.status, it.reason.into_owned()));
    assert_eq!(
        active,
        Some((Status::False, "FailedGetResourceMetric".to_owned()))
    );
}

#[test]
fn a_selector_that_finds_no_pods_has_hpas_reason_and_changes_nothing() {
    let policy = Policy {
        triggers: vec![cpu()],
        ..policy()
    };
    let why = Reading::Unselected("the selector is empty".into());
    let report = report(&policy, 3, why, Platform::default());
    assert_eq!(report.target, 3);
    let stated = conditions(&About {
        policy: &policy,
        workload: None,
        report: Some(&report),
        write_failure: None,
    });
    let active = stated
        .iter()
        .find(|it| it.kind == ConditionKind::ScalingActive)
        .map(|it| (it.status, it.reason.as_ref(), it.message.as_str()));
    let words = "cpu failed: no replica can be told from others: the selector is empty.";
    assert_eq!(active, Some((Status::False, "InvalidSelector", words)));
}
