//! Policies with any content, drawn byte by byte. Most are sound; the rest is
//! what a user might come up with.

use std::collections::BTreeMap;

use starling_engine::policy::{
    Annotations, Banded, Behavior, Controller, Fallback, FallbackBehavior, Goal, MISS_PPM_MAX,
    OBJECTIVE_WAIT_MS_MAX, Objective, Policy, Rate, RateKind, Resource, Rules, SLOTS_MAX, Select,
    Source, Strategy, Target, Trigger, WAIT_MS_MAX, Zero,
};

use super::draw::Draw;

pub const NAMES: [&str; 4] = ["a", "b", "c", "d"];

pub fn target(draw: &mut Draw<'_>) -> Target {
    Target::process(draw.pick(&NAMES))
}

/// A workload of the platform.
pub fn scaled(draw: &mut Draw<'_>) -> Target {
    named(draw.pick(&NAMES))
}

/// The platform's workload of that name.
pub fn named(name: &str) -> Target {
    Target {
        group: "apps".into(),
        kind: "Deployment".into(),
        ..Target::process(name)
    }
}

pub fn policy(draw: &mut Draw<'_>) -> Policy {
    let name = draw.pick(&NAMES);
    let elsewhere = draw.rarely(16);
    let replicas_min = draw.u32();
    let target = if elsewhere {
        target(draw)
    } else {
        Target::process(name)
    };
    let triggers = if draw.rarely(64) {
        110
    } else {
        1 + draw.below(4)
    };
    let mut policy = Policy {
        name: name.into(),
        target,
        target_version: String::new(),
        replicas_min,
        replicas_max: replicas_min.saturating_add(draw.u32()),
        replicas_idle: draw.rarely(8).then(|| draw.u32()),
        polling_interval_ms: 1_000 + draw.wait_ms() % 60_000,
        cooldown_ms: draw.wait_ms(),
        initial_cooldown_ms: draw.wait_ms(),
        triggers: (0..triggers).map(|i| trigger(draw, i)).collect(),
        fallback: draw.rarely(4).then(|| fallback(draw)),
        behavior: draw.maybe(|draw| {
            let (up, down) = (rules(draw), rules(draw));
            Behavior { up, down }
        }),
        strategy: strategy(draw),
        annotations: annotations(draw),
        dry_run: draw.rarely(32),
        zero: match draw.byte() % 8 {
            0 => Zero::Hpa { allowed: true },
            1 => Zero::Hpa { allowed: false },
            _ => Zero::Activation,
        },
        controller: controller(draw),
        stale_after_ms: draw.rarely(4).then(|| draw.wait_ms()),
    };
    if let Strategy::Objective(_) = policy.strategy {
        settle(draw, &mut policy);
    }
    policy
}

/// Puts a policy under `objective`: gives most of them a trigger that counts
/// their work, and lets half of those rest that can be woken.
pub fn settle(draw: &mut Draw<'_>, policy: &mut Policy) {
    if !draw.rarely(4) {
        policy.triggers.retain(|t| t.name != "work");
        policy.triggers.push(Trigger {
            name: "work".into(),
            source: Source::External {
                kind: "k".into(),
                metadata: BTreeMap::new(),
            },
            goal: Goal::AverageValue { milli: 10_000 },
            activation_milli: 0,
            window_ms: None,
        });
    }
    let outside = policy.triggers.iter().any(|t| t.source.is_outside());
    if draw.rarely(2) && outside {
        (policy.replicas_min, policy.replicas_idle) = (0, None);
    }
    let (arrivals, in_system) = (trigger_named(draw, policy), trigger_named(draw, policy));
    policy.strategy = Strategy::Objective(Box::new(objective(draw, arrivals, in_system)));
}

/// A sound policy for a workload of the platform that moves as soon as its answers
/// do: few replicas, and mostly nothing that waits.
pub fn brisk(draw: &mut Draw<'_>) -> Policy {
    let name = draw.pick(&NAMES);
    let replicas_min = u32::from(draw.byte() % 4);
    let at_once = Rules {
        window_ms: Some(0),
        ..Behavior::default().down
    };
    let queue = Trigger {
        name: "queue".into(),
        source: Source::External {
            kind: "k".into(),
            metadata: BTreeMap::new(),
        },
        goal: Goal::AverageValue { milli: 10_000 },
        activation_milli: 0,
        window_ms: None,
    };
    let cpu = Trigger {
        name: "cpu".into(),
        source: Source::Resource(Resource::Cpu),
        goal: Goal::AverageValue { milli: 100_000 },
        activation_milli: 0,
        window_ms: None,
    };
    Policy {
        name: name.into(),
        target: named(if draw.rarely(8) { "d" } else { name }),
        target_version: "v1".into(),
        replicas_min,
        replicas_max: replicas_min.saturating_add(1 + u32::from(draw.byte() % 32)),
        polling_interval_ms: 1_000,
        cooldown_ms: u64::from(draw.byte() % 8) * 1_000,
        triggers: match draw.byte() % 4 {
            0 => vec![cpu],
            1 => vec![cpu, queue],
            _ => vec![queue],
        },
        behavior: (!draw.rarely(4)).then(|| Behavior {
            down: at_once,
            ..Behavior::default()
        }),
        dry_run: draw.rarely(16),
        ..Policy::default()
    }
}

/// The name of a trigger that counts work, of any trigger, or of none.
fn trigger_named(draw: &mut Draw<'_>, policy: &Policy) -> Option<String> {
    match draw.byte() % 16 {
        0 | 1 => None,
        2 => Some("nobody".into()),
        3 => {
            let which = draw.below(policy.triggers.len());
            policy.triggers.get(which).map(|t| t.name.clone())
        }
        _ => {
            let outside = |t: &&Trigger| matches!(t.source, Source::External { .. });
            let last = policy.triggers.iter().rfind(outside);
            last.map(|t| t.name.clone())
        }
    }
}

fn objective(
    draw: &mut Draw<'_>,
    arrivals: Option<String>,
    in_system: Option<String>,
) -> Objective {
    Objective {
        wait_ms: match draw.byte() {
            0 => 0,
            1 => u64::MAX,
            2 => OBJECTIVE_WAIT_MS_MAX,
            3 => 1,
            n => u64::from(n) * 20,
        },
        miss_ppm: match draw.byte() {
            0 => 0,
            1 => u32::MAX,
            2 => MISS_PPM_MAX,
            3 => 1,
            n => u32::from(n) * 1_000,
        },
        service_ms: match draw.byte() {
            0 => Some(0),
            1 => Some(u64::MAX),
            2 => Some(WAIT_MS_MAX),
            3 => Some(1),
            n if n % 4 == 0 => None,
            n => Some(u64::from(n) * 10),
        },
        slots: match draw.byte() {
            0 => Some(0),
            1 => Some(u32::MAX),
            2 => Some(SLOTS_MAX),
            n if n % 4 == 0 => None,
            n => Some(1 + u32::from(n) % 16),
        },
        arrivals,
        in_system,
    }
}

fn trigger(draw: &mut Draw<'_>, index: usize) -> Trigger {
    let metadata = BTreeMap::new;
    let kind = || "k".to_owned();
    let source = match draw.byte() % 64 {
        0..=23 => Source::Resource(Resource::Cpu),
        24..=26 => Source::Nodes(draw.pick(&Resource::ALL)),
        27..=29 => Source::Resource(draw.pick(&Resource::ALL)),
        30..=33 => Source::Resource(Resource::Memory),
        34..=37 => Source::Container {
            resource: Resource::Cpu,
            container: "main".into(),
        },
        38..=41 => Source::Pods {
            metric: "m".into(),
            selector: None,
        },
        42..=45 => Source::Object {
            kind: kind(),
            metadata: metadata(),
        },
        46..=62 => Source::External {
            kind: kind(),
            metadata: metadata(),
        },
        _ => Source::Unknown { kind: kind() },
    };
    let measured = matches!(
        source,
        Source::Resource(_) | Source::Nodes(_) | Source::Container { .. }
    );
    let utilization = |draw: &mut Draw<'_>| Goal::Utilization {
        percent: i32::try_from(draw.i64() / 40_000).unwrap_or(i32::MAX),
    };
    // The goals that suit the source, but for one in 32.
    let goal = match (&source, draw.byte() % 32) {
        (_, 31) => utilization(draw),
        (_, 0..=23) if measured => utilization(draw),
        (Source::External { .. } | Source::Object { .. }, 0..=15) => {
            Goal::Value { milli: draw.i64() }
        }
        _ => Goal::AverageValue { milli: draw.i64() },
    };
    Trigger {
        name: if draw.rarely(32) {
            "t0".into()
        } else {
            format!("t{index}")
        },
        source,
        goal,
        activation_milli: if draw.rarely(4) { draw.i64() } else { 0 },
        window_ms: (measured && draw.rarely(4)).then(|| draw.wait_ms()),
    }
}

fn fallback(draw: &mut Draw<'_>) -> Fallback {
    Fallback {
        failure_threshold: draw.u32(),
        replicas: draw.u32(),
        behavior: draw.pick(&[
            FallbackBehavior::Static,
            FallbackBehavior::CurrentReplicas,
            FallbackBehavior::CurrentReplicasIfHigher,
            FallbackBehavior::CurrentReplicasIfLower,
        ]),
        recovery_threshold: draw.maybe(Draw::u32),
    }
}

fn rules(draw: &mut Draw<'_>) -> Rules {
    let rate = |draw: &mut Draw<'_>| Rate {
        kind: draw.pick(&[RateKind::Pods, RateKind::Percent]),
        value: i32::try_from(draw.u32()).unwrap_or(i32::MIN),
        period_ms: 1_000 + draw.wait_ms() % 1_800_000,
    };
    let rates = if draw.rarely(32) {
        0
    } else {
        1 + draw.below(3)
    };
    Rules {
        window_ms: draw.maybe(|draw| draw.wait_ms() % 3_700_000),
        select: draw.pick(&[Select::Max, Select::Min, Select::Disabled]),
        rates: (0..rates).map(|_| rate(draw)).collect(),
        tolerance_ppm: draw.maybe(|draw| draw.u32().wrapping_mul(10_000)),
    }
}

fn strategy(draw: &mut Draw<'_>) -> Strategy {
    match draw.byte() % 8 {
        0 => Strategy::Banded(Banded::default()),
        1 => Strategy::Banded(Banded {
            high_percent: draw.u32(),
            high_aim_percent: draw.u32(),
            low_percent: draw.u32(),
            low_aim_percent: draw.u32(),
            step_up_percent: draw.u32(),
            step_down_percent: draw.u32(),
            cooldown_ms: draw.wait_ms(),
        }),
        // Its content depends on the triggers, which come first.
        2..=4 => Strategy::Objective(Box::default()),
        _ => Strategy::Target,
    }
}

fn annotations(draw: &mut Draw<'_>) -> Annotations {
    let which = draw.byte();
    Annotations {
        paused: which == 1,
        paused_replicas: (which == 2).then(|| draw.u32()),
        paused_scale_in: which == 3,
        paused_scale_out: which == 4,
        force_activation: which == 5,
    }
}

fn controller(draw: &mut Draw<'_>) -> Controller {
    if !draw.rarely(8) {
        return Controller::default();
    }
    Controller {
        down_window_ms: draw.wait_ms(),
        tolerance_up_ppm: draw.u32(),
        tolerance_down_ppm: draw.u32(),
        cpu_initialization_ms: draw.wait_ms(),
        initial_readiness_ms: draw.wait_ms(),
    }
}
