//! Policies, readings, replicas and histories with any content, drawn byte by
//! byte. Most are sound; the rest is what a user, a source or a broken clock
//! might come up with.

use std::collections::BTreeMap;

use starling_engine::decide::Reading;
use starling_engine::demand::pods::{self, Metric, Phase, Pod, Sums};
use starling_engine::history::{Activity, Event, Health, History, Recommendation};
use starling_engine::policy::{
    Annotations, Banded, Behavior, Controller, Fallback, FallbackBehavior, Goal, Policy, Rate,
    RateKind, Resource, Rules, Select, Source, Strategy, Target, Trigger, Zero,
};
use starling_engine::unit::Ms;

use super::draw::Draw;

pub const NAMES: [&str; 4] = ["a", "b", "c", "d"];

pub fn target(draw: &mut Draw<'_>) -> Target {
    Target {
        kind: "Process".into(),
        name: draw.pick(&NAMES).into(),
    }
}

pub fn policy(draw: &mut Draw<'_>) -> Policy {
    let name: String = draw.pick(&NAMES).into();
    let kind = "Process".into();
    let elsewhere = draw.rarely(16);
    let replicas_min = draw.u32();
    let target = if elsewhere {
        target(draw)
    } else {
        let name = name.clone();
        Target { kind, name }
    };
    let triggers = if draw.rarely(64) {
        110
    } else {
        1 + draw.below(4)
    };
    Policy {
        name,
        target,
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
    }
}

fn trigger(draw: &mut Draw<'_>, index: usize) -> Trigger {
    let metadata = BTreeMap::new;
    let kind = || "k".to_owned();
    let source = match draw.byte() % 64 {
        0..=23 => Source::Resource(Resource::Cpu),
        24..=33 => Source::Resource(Resource::Memory),
        34..=37 => Source::Container {
            resource: Resource::Cpu,
            container: "main".into(),
        },
        38..=41 => Source::Pods { metric: "m".into() },
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
    let utilization = |draw: &mut Draw<'_>| Goal::Utilization {
        percent: i32::try_from(draw.i64() / 40_000).unwrap_or(i32::MAX),
    };
    // The goals that suit the source, but for one in 32.
    let goal = match (&source, draw.byte() % 32) {
        (_, 31) | (Source::Resource(_) | Source::Container { .. }, 0..=23) => utilization(draw),
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

pub fn pod(draw: &mut Draw<'_>, now: Ms) -> Pod {
    Pod {
        phase: draw.pick(&[
            Phase::Running,
            Phase::Running,
            Phase::Pending,
            Phase::Failed,
        ]),
        deleted: draw.rarely(16),
        ready: draw.pick(&[Some(true), Some(true), Some(false), None]),
        started_at: draw.maybe(|draw| draw.near(now)),
        ready_changed_at: draw.maybe(|draw| draw.near(now)),
        cpu: metric(draw, now),
        memory: metric(draw, now),
        ..Pod::default()
    }
}

fn metric(draw: &mut Draw<'_>, now: Ms) -> Metric {
    Metric {
        request_milli: draw.maybe(Draw::i64),
        sample: draw.maybe(|draw| pods::Reading {
            milli: draw.i64(),
            at: draw.near(now),
            window_ms: draw.wait_ms(),
        }),
    }
}

pub fn reading(draw: &mut Draw<'_>, now: Ms) -> Reading {
    match draw.byte() % 4 {
        0 => Reading::None,
        1 => Reading::Value {
            milli: draw.i64(),
            at: draw.near(now),
        },
        2 => Reading::Failed {
            why: "down".into(),
            at: draw.near(now),
        },
        _ => Reading::Pods(sums(draw, now)),
    }
}

/// Sums that no replicas need ever have had.
fn sums(draw: &mut Draw<'_>, now: Ms) -> Sums {
    let missing = draw.below(4);
    Sums {
        pods: draw.u32(),
        samples: draw.u32(),
        ready: draw.u32(),
        ready_usage_milli: draw.i64(),
        ready_request_milli: draw.i64(),
        unready: draw.u32(),
        unready_request_milli: draw.i64(),
        missing: (0..missing).map(|_| (draw.i64(), draw.u32())).collect(),
        ignored: draw.u32(),
        without_request: u32::from(draw.rarely(4)),
        strangers: draw.u32(),
        strangers_usage_milli: draw.i64(),
        oldest: draw.maybe(|draw| draw.near(now)),
    }
}

/// A history that no sequence of changes need ever have written.
pub fn history(draw: &mut Draw<'_>, now: Ms) -> History {
    let (runs, ups, downs) = (draw.below(70), draw.below(70), draw.below(70));
    let run = |draw: &mut Draw<'_>| Recommendation {
        replicas: draw.u32(),
        from: draw.near(now),
        until: draw.maybe(|draw| draw.near(now)),
    };
    let event = |draw: &mut Draw<'_>| Event {
        change: draw.u32(),
        at: draw.near(now),
        outdated: draw.rarely(4),
    };
    let health = Health {
        failures: draw.u32(),
        successes: draw.u32(),
        at: draw.near(now),
    };
    History {
        seeded: draw.rarely(2),
        recommendations: (0..runs).map(|_| run(draw)).collect(),
        ups: (0..ups).map(|_| event(draw)).collect(),
        downs: (0..downs).map(|_| event(draw)).collect(),
        health: [("t0".to_owned(), health)].into(),
        activity: Activity {
            active: draw.rarely(2),
            last_active: draw.maybe(|draw| draw.near(now)),
        },
        changed_at: draw.maybe(|draw| draw.near(now)),
        scaled_to_zero: draw.rarely(2),
        objective: None,
    }
}
