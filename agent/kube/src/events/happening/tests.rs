//! Names, marks and notes.

use super::*;

fn condition(kind: &str, status: &str, reason: &str) -> Condition {
    Condition {
        kind: kind.into(),
        status: status.into(),
        reason: reason.into(),
        message: "in words".into(),
        last_transition_time: "2026-01-01T00:00:00Z".into(),
    }
}

fn status(conditions: Vec<Condition>) -> Status {
    Status {
        conditions,
        ..Status::default()
    }
}

fn of() -> Of {
    Of::policy(&Name::new("shop", "web"), "u")
}

#[test]
fn a_repeat_has_the_name_of_the_first_and_another_thing_another_name() {
    let one = Happening {
        of: of(),
        related: None,
        warning: false,
        reason: "SuccessfulRescale".into(),
        action: "Scale",
        note: "a".into(),
        detail: "2 5 ScaleUpLimit".into(),
        mark: "1".into(),
        at: Ms(1),
    };
    let repeat = Happening {
        note: "b".into(),
        mark: "2".into(),
        at: Ms(2),
        ..one.clone()
    };
    assert_eq!(one.name(), repeat.name());
    assert!(one.name().starts_with("web."), "{}", one.name());
    let other = Happening {
        detail: "5 2 ScaleUpLimit".into(),
        ..one.clone()
    };
    assert_ne!(one.name(), other.name());
    let mut long = one;
    long.of.name = "a".repeat(253);
    assert!(long.name().len() <= 253);
}

#[test]
fn only_what_turned_bad_is_told() {
    let good = status(vec![
        condition("Ready", "True", "InForce"),
        condition("AbleToScale", "True", "ReadyForNewScale"),
        condition("ScalingActive", "True", "ValidMetricFound"),
        condition("ScalingLimited", "False", "DesiredWithinRange"),
    ]);
    let bad = status(vec![
        condition("Ready", "False", "Invalid"),
        condition("AbleToScale", "False", "FailedUpdateScale"),
        condition("ScalingActive", "False", "FailedGetExternalMetric"),
        condition("ScalingLimited", "True", "ReplicasBlocked"),
        condition("Fallback", "True", "FallbackExists"),
        condition("Adopted", "True", "ScaledByHand"),
    ]);
    let reasons = |former: &Status, wanted: &Status| -> Vec<String> {
        let flips = flips(&of(), former, wanted, Ms(1));
        flips.into_iter().map(|it| it.reason).collect()
    };
    assert_eq!(
        reasons(&good, &bad),
        [
            "Invalid",
            "FailedUpdateScale",
            "FailedGetExternalMetric",
            "ReplicasBlocked",
            "FallbackExists"
        ]
    );
    assert_eq!(reasons(&bad, &bad), Vec::<String>::new());
    assert_eq!(reasons(&bad, &good), Vec::<String>::new());
    let off = status(vec![
        condition("ScalingActive", "False", "ScalingDisabled"),
        condition("ScalingLimited", "True", "TooManyReplicas"),
    ]);
    assert_eq!(reasons(&good, &off), Vec::<String>::new());
    // Refused for another reason now.
    let taken = status(vec![condition("Ready", "False", "TargetTaken")]);
    assert_eq!(reasons(&bad, &taken), ["TargetTaken"]);
}

#[test]
fn what_turns_bad_again_is_a_repeat_however_soon_and_whatever_time_its_condition_has() {
    let good = status(vec![condition("Ready", "True", "InForce")]);
    let mut bad = status(vec![condition("Ready", "False", "AlreadyScaled")]);
    // As KEDA's conditions have none.
    for time in ["2026-01-01T00:00:00Z", ""] {
        bad.conditions[0].last_transition_time = time.to_owned();
        let mark = |at: u64| {
            let now = Ms(1_767_225_600_000 + at);
            let happening = flips(&of(), &good, &bad, now).remove(0);
            (happening.name(), happening.mark)
        };
        let (name, first) = mark(0);
        for later in [1, 300, 1_000, 60_000, 86_400_000] {
            let (again, mark) = mark(later);
            assert_eq!(again, name);
            assert!(mark > first, "{mark} after {first}");
        }
    }
}

#[test]
fn a_workload_that_nobody_has_seen_has_no_events() {
    let target = Target {
        group: "apps".into(),
        kind: "Deployment".into(),
        namespace: "shop".into(),
        name: "web".into(),
    };
    assert_eq!(Of::target(&target, "v1", ""), None);
    let seen = Of::target(&target, "v1", "u").unwrap();
    assert_eq!(seen.api_version, "apps/v1");
    assert_eq!(Of::target(&Target::process("web"), "", "u"), None);
}
