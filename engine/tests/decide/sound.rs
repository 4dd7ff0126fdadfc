//! What `Policy::check` refuses, in the words of whoever wrote the policy.

use crate::scenario::{cpu, fallback, named, ten_each};
use starling_engine::policy::{
    Banded, Behavior, FallbackBehavior, Goal, Objective, Policy, Rate, RateKind, Rules, Source,
    Strategy, Target, Trigger, Zero,
};

fn sound() -> Policy {
    Policy {
        name: "web".into(),
        target: Target::process("web"),
        replicas_min: 1,
        triggers: vec![cpu(60), ten_each()],
        ..Policy::default()
    }
}

#[test]
fn a_sound_policy_passes() {
    assert_eq!(sound().check(), vec![]);
    let mut full = sound();
    full.behavior = Some(Behavior::default());
    full.fallback = Some(fallback(3, FallbackBehavior::Static));
    full.strategy = Strategy::Banded(Banded::default());
    assert_eq!(full.check(), vec![]);
}

#[test]
fn every_kind_of_nonsense_is_named_with_its_field() {
    type Break = fn(&mut Policy);
    let cases: Vec<(&str, Break)> = vec![
        ("metadata.name", |p| p.name.name = "x".repeat(254)),
        ("metadata.name", |p| p.name.name.clear()),
        ("metadata.name", |p| p.name = "a\nb".into()),
        ("spec.scaleTargetRef.name", |p| p.target.name.clear()),
        ("spec.scaleTargetRef.kind", |p| p.target.kind.clear()),
        ("spec.minReplicaCount", |p| p.replicas_min = 101),
        ("spec.maxReplicaCount", |p| p.replicas_max = 100_001),
        ("spec.maxReplicaCount", |p| {
            p.replicas_max = 0;
            p.replicas_min = 0;
        }),
        ("spec.idleReplicaCount", |p| {
            p.replicas_min = 2;
            p.replicas_idle = Some(2);
        }),
        ("spec.pollingInterval", |p| p.polling_interval_ms = 999),
        ("spec.cooldownPeriod", |p| p.cooldown_ms = u64::MAX),
        ("spec.initialCooldownPeriod", |p| {
            p.initial_cooldown_ms = u64::MAX;
        }),
        ("spec.triggers", |p| p.triggers.clear()),
        ("spec.triggers", |p| {
            p.triggers = (0..101)
                .map(|i| named(&format!("t{i}"), Goal::Value { milli: 1 }))
                .collect();
        }),
        ("spec.triggers", |p| {
            p.triggers = vec![cpu(60)];
            p.replicas_min = 0;
        }),
        ("spec.triggers[1].name", |p| {
            p.triggers[1].name = "cpu".into();
        }),
        ("spec.triggers[0].metadata.value", |p| {
            p.triggers[0].goal = Goal::Utilization { percent: 0 };
        }),
        ("spec.triggers[1].metadata.value", |p| {
            p.triggers[1].goal = Goal::AverageValue { milli: 0 };
        }),
        ("spec.triggers[1].metricType", |p| {
            p.triggers[1].goal = Goal::Utilization { percent: 50 };
        }),
        ("spec.triggers[0].metricType", |p| {
            p.triggers[0].goal = Goal::Value { milli: 50 };
        }),
        ("spec.triggers[0].type", |p| {
            p.triggers[0].source = Source::Unknown {
                kind: "tarot".into(),
            };
        }),
        ("spec.fallback.failureThreshold", |p| {
            p.fallback = Some(starling_engine::policy::Fallback {
                failure_threshold: 10_001,
                ..fallback(1, FallbackBehavior::Static)
            });
        }),
        ("spec.fallback.recoveryThreshold", |p| {
            p.fallback = Some(starling_engine::policy::Fallback {
                recovery_threshold: Some(0),
                ..fallback(1, FallbackBehavior::Static)
            });
        }),
        ("spec.staleAfter", |p| {
            p.stale_after_ms = Some(604_800_001);
        }),
        ("spec.fallback.replicas", |p| {
            p.fallback = Some(fallback(500, FallbackBehavior::Static));
        }),
        ("spec.behavior.scaleDown.stabilizationWindowSeconds", |p| {
            p.behavior = Some(down(Rules {
                window_ms: Some(3_600_001),
                ..Rules::default()
            }));
        }),
        ("spec.behavior.scaleDown.policies", |p| {
            p.behavior = Some(down(Rules {
                rates: vec![],
                ..Rules::default()
            }));
        }),
        ("spec.behavior.scaleDown.policies[0].periodSeconds", |p| {
            p.behavior = Some(down(rate(1, 0)));
        }),
        ("spec.behavior.scaleDown.policies[0].periodSeconds", |p| {
            p.behavior = Some(down(rate(1, 1_800_001)));
        }),
        ("spec.behavior.scaleDown.policies[0].value", |p| {
            p.behavior = Some(down(rate(-1, 1_000)));
        }),
        ("spec.banded.lowPercent", |p| {
            bands(p, |b| b.low_percent = 80);
        }),
        ("spec.banded.highAimPercent", |p| {
            bands(p, |b| b.high_aim_percent = 90);
        }),
        ("spec.banded.lowAimPercent", |p| {
            bands(p, |b| b.low_aim_percent = 10);
        }),
        ("spec.banded.stepUpPercent", |p| {
            bands(p, |b| b.step_up_percent = 0);
        }),
        ("spec.banded.stepDownPercent", |p| {
            bands(p, |b| b.step_down_percent = 101);
        }),
        ("spec.banded.cooldownPeriod", |p| {
            bands(p, |b| b.cooldown_ms = u64::MAX);
        }),
        (
            "metadata.annotations[autoscaling.keda.sh/paused-replicas]",
            |p| {
                p.annotations.paused_replicas = Some(0);
            },
        ),
        ("spec.minReplicaCount", |p| {
            p.zero = Zero::Hpa { allowed: true };
            p.replicas_min = 0;
            p.triggers = vec![cpu(60)];
        }),
    ];
    for (field, break_it) in cases {
        let mut policy = sound();
        break_it(&mut policy);
        let fields: Vec<String> = policy.check().into_iter().map(|v| v.field).collect();
        assert_eq!(fields, [field], "{policy:?}");
    }
}

#[test]
fn what_keda_takes_is_taken() {
    type Write = fn(&mut Policy);
    let cases: [(&str, Write); 3] = [
        ("the first failure falls back", |p| {
            p.fallback = Some(starling_engine::policy::Fallback {
                failure_threshold: 0,
                ..fallback(0, FallbackBehavior::CurrentReplicasIfLower)
            });
        }),
        ("an idle size of 0 beside a minimum of 0", |p| {
            (p.replicas_min, p.replicas_idle) = (0, Some(0));
        }),
        ("an idle size below the minimum", |p| {
            (p.replicas_min, p.replicas_idle) = (5, Some(4));
        }),
    ];
    for (name, write) in cases {
        let mut policy = sound();
        write(&mut policy);
        assert_eq!(policy.check(), vec![], "{name}");
    }
}

fn down(rules: Rules) -> Behavior {
    Behavior {
        down: rules,
        ..Behavior::default()
    }
}

fn rate(value: i32, period_ms: u64) -> Rules {
    Rules {
        rates: vec![Rate {
            kind: RateKind::Pods,
            value,
            period_ms,
        }],
        ..Rules::default()
    }
}

fn bands(policy: &mut Policy, set: fn(&mut Banded)) {
    let mut banded = Banded::default();
    set(&mut banded);
    policy.strategy = Strategy::Banded(banded);
}

/// A field, and what makes it wrong.
type Wrong = (&'static str, fn(&mut Objective));

#[test]
fn an_objectives_bounds_and_triggers_are_checked() {
    let mut policy = sound();
    policy.triggers = vec![crate::scenario::ten_each(), crate::scenario::cpu(70)];
    let right = Objective {
        wait_ms: 3_600_000,
        miss_ppm: 500_000,
        service_ms: Some(1),
        slots: Some(10_000),
        arrivals: Some("queue".into()),
        in_system: Some("queue".into()),
    };
    policy.strategy = Strategy::Objective(Box::new(right.clone()));
    assert_eq!(policy.check(), []);
    let wrongs: [Wrong; 10] = [
        ("wait", |o| o.wait_ms = 0),
        ("wait", |o| o.wait_ms += 1),
        ("missRatio", |o| o.miss_ppm = 0),
        ("missRatio", |o| o.miss_ppm += 1),
        ("serviceTime", |o| o.service_ms = Some(0)),
        ("serviceTime", |o| o.service_ms = Some(u64::MAX)),
        ("slots", |o| o.slots = Some(0)),
        ("slots", |o| o.slots = Some(10_001)),
        ("arrivals", |o| o.arrivals = Some("other".into())),
        ("inSystem", |o| o.in_system = Some("cpu".into())),
    ];
    for (field, change) in wrongs {
        let mut wrong = right.clone();
        change(&mut wrong);
        policy.strategy = Strategy::Objective(Box::new(wrong));
        let found: Vec<String> = policy.check().into_iter().map(|v| v.field).collect();
        assert_eq!(
            found,
            [format!("spec.objective.{field}")],
            "{:?}",
            policy.strategy
        );
    }
}

#[test]
fn a_violation_reads_as_field_and_reason() {
    let mut policy = sound();
    policy.replicas_min = 101;
    insta::assert_snapshot!(
        policy.check()[0],
        @"spec.minReplicaCount: is 101, more than spec.maxReplicaCount, 100"
    );
}

#[test]
fn the_bounds_never_panic_and_never_cross() {
    for (min, max, idle) in [(5, 3, None), (0, 0, Some(9)), (u32::MAX, u32::MAX, None)] {
        let bounds = Policy {
            replicas_min: min,
            replicas_max: max,
            replicas_idle: idle,
            ..Policy::default()
        }
        .bounds();
        assert!(bounds.start() <= bounds.end());
    }
}

#[test]
fn a_policy_survives_its_wire_form() {
    let mut policy = sound();
    policy.behavior = Some(Behavior::default());
    policy.triggers.push(Trigger {
        source: Source::Container {
            resource: starling_engine::policy::Resource::Cpu,
            container: "app".into(),
        },
        ..cpu(50)
    });
    let bytes = postcard::to_allocvec(&policy).unwrap();
    assert_eq!(postcard::from_bytes::<Policy>(&bytes).unwrap(), policy);
}
