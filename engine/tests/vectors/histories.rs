//! Kinds `behavior`, `stabilization` and `sequence`: limits, windows and the
//! history that both look back on.

use serde_json::{Value, json};
use starling_engine::decide::limit::{self, Limited, Recent, Step};
use starling_engine::decide::stabilize::Log;
use starling_engine::decide::{Inputs, Platform, Reading, decide};
use starling_engine::history::{Event, History, Recommendation, events, runs};
use starling_engine::policy::{
    Behavior, Controller, Goal, Policy, Rate, RateKind, Rules, Select, Source, Trigger, Windows,
    Zero,
};
use starling_engine::unit::Ms;

use crate::field::{NOW, count, flag, int, list, moment, ms, unreadable};

pub fn rules(of: &Value) -> Rules {
    Rules {
        window_ms: ms(of, "stabilization_window_s"),
        select: match of["select_policy"].as_str() {
            Some("Min") => Select::Min,
            Some("Disabled") => Select::Disabled,
            Some("Max") | None => Select::Max,
            Some(other) => unreadable(format!("unknown select_policy {other}")),
        },
        rates: list(of, "policies").iter().map(rate).collect(),
        tolerance_ppm: None,
    }
}

fn rate(of: &Value) -> Rate {
    Rate {
        kind: match of["type"].as_str() {
            Some("Pods") => RateKind::Pods,
            Some("Percent") => RateKind::Percent,
            other => unreadable(format!("unknown policy {other:?}")),
        },
        value: i32::try_from(int(of, "value")).unwrap(),
        period_ms: ms(of, "period_s").unwrap(),
    }
}

pub fn behavior_of(of: &Value) -> Option<Behavior> {
    (!of.is_null()).then(|| Behavior {
        up: rules(&of["scale_up"]),
        down: rules(&of["scale_down"]),
    })
}

fn events_of(of: &Value, name: &str) -> Vec<Event> {
    list(of, name)
        .iter()
        .map(|e| Event {
            change: count(e, "change"),
            at: moment(e, "age_s").unwrap(),
            outdated: flag(e, "outdated"),
        })
        .collect()
}

pub fn recommendations(of: &Value) -> Vec<Recommendation> {
    list(of, "recommendations")
        .iter()
        .map(|r| {
            let at = moment(r, "age_s").unwrap();
            Recommendation {
                replicas: count(r, "replicas"),
                from: at,
                until: Some(at),
            }
        })
        .collect()
}

pub fn behavior(of: &Value) -> Value {
    let (ups, downs) = (
        events_of(of, "scale_up_events"),
        events_of(of, "scale_down_events"),
    );
    let recent = Recent {
        ups: &ups,
        downs: &downs,
        now: NOW,
    };
    let step = || Step {
        current: count(of, "current_replicas"),
        // Below zero nothing can be wanted; the minimum decides either way.
        desired: u32::try_from(int(of, "desired_replicas").max(0)).unwrap(),
        min: count(of, "min_replicas"),
        max: count(of, "max_replicas"),
    };
    let answer = |(replicas, limited): (u32, Limited)| json!({"replicas": replicas, "reason": limited.code()});
    match of["op"].as_str().unwrap_or_default() {
        "rate_limit" => answer(limit::by_rates(step(), &behavior_of(of).unwrap(), recent)),
        "clamp_without_behavior" => answer(limit::plain(step())),
        "scale_up_limit" => {
            json!({"limit": limit::up(count(of, "current_replicas"), &rules(&of["rules"]), recent)})
        }
        "scale_down_limit" => {
            json!({"limit": limit::down(count(of, "current_replicas"), &rules(&of["rules"]), recent)})
        }
        "store_scale_event" => store(of),
        other => unreadable(format!("unknown op {other}")),
    }
}

/// Through [`History::apply`], as a committed change of size.
fn store(of: &Value) -> Value {
    let stored = events_of(of, "events");
    let up = match of["direction"].as_str() {
        Some("up") => true,
        Some("down") => false,
        other => unreadable(format!("unknown direction {other:?}")),
    };
    let rules = Rules {
        rates: list(of, "policies").iter().map(rate).collect(),
        ..Rules::default()
    };
    let policy = Policy {
        behavior: (!of["policies"].is_null()).then(|| Behavior {
            up: rules.clone(),
            down: rules,
        }),
        ..Policy::default()
    };
    let change_in_last_60s = events::within(&stored, NOW, 60_000);
    let mut history = History::default();
    *(if up {
        &mut history.ups
    } else {
        &mut history.downs
    }) = stored;
    let change = starling_engine::history::Change::Resized {
        from: count(of, "previous_replicas"),
        to: count(of, "new_replicas"),
    };
    history.apply(&change, NOW, &policy);
    let events = if up { history.ups } else { history.downs };
    let listed: Vec<Value> = events
        .iter()
        .map(|e| json!({"change": e.change, "outdated": e.outdated}))
        .collect();
    json!({"change_in_last_60s": change_in_last_60s, "events": listed})
}

pub fn stabilization(of: &Value) -> Value {
    let mut recorded = recommendations(of);
    let desired = count(of, "desired_replicas");
    let windows = Windows {
        up_ms: ms(of, "up_window_s").unwrap_or(0),
        down_ms: ms(of, "down_window_s").unwrap(),
    };
    let log = Log {
        runs: &recorded,
        now: NOW,
        last_pass: None,
    };
    let stable = match of["op"].as_str() {
        Some("down_window_only") => log.hold_down(desired, windows.down_ms),
        Some("up_and_down_windows") => {
            log.hold_both(count(of, "current_replicas"), desired, windows)
        }
        other => unreadable(format!("unknown op {other:?}")),
    };
    runs::record(&mut recorded, desired, NOW, NOW, windows);
    let log: Vec<u32> = recorded.iter().map(|run| run.replicas).collect();
    json!({"replicas": stable.replicas, "log_length": log.len(), "log": log})
}

/// Whole passes of [`decide`]: a trigger with target 1 a replica wants what the
/// vector says. It may wake a workload at zero, since every wanted number counts.
pub fn sequence(of: &Value) -> Value {
    let mut size = count(of, "start_replicas");
    let mut history = History {
        seeded: true,
        recommendations: vec![Recommendation {
            replicas: size,
            from: NOW,
            until: None,
        }],
        scaled_to_zero: size == 0,
        ..History::default()
    };
    let policy = Policy {
        replicas_min: count(of, "min_replicas"),
        replicas_max: count(of, "max_replicas"),
        behavior: behavior_of(&of["behavior"]),
        zero: Zero::Hpa { allowed: true },
        controller: Controller {
            down_window_ms: ms(of, "downscale_stabilization_s").unwrap(),
            tolerance_up_ppm: 0,
            tolerance_down_ppm: 0,
            ..Controller::default()
        },
        triggers: vec![Trigger {
            name: "wanted".into(),
            source: Source::External {
                kind: "wanted".into(),
                metadata: std::collections::BTreeMap::new(),
            },
            goal: Goal::AverageValue { milli: 1_000 },
            activation_milli: 0,
            window_ms: None,
        }],
        ..Policy::default()
    };
    let (mut now, mut last_pass) = (NOW, Some(NOW));
    let mut sizes = Vec::new();
    for step in list(of, "steps") {
        now = now.plus(u64::try_from(int(step, "after_ms")).unwrap());
        size = one_pass(
            &policy,
            &mut history,
            size,
            now,
            last_pass,
            int(step, "desired_replicas"),
        );
        last_pass = Some(now);
        sizes.push(size);
    }
    json!({ "sizes": sizes })
}

fn one_pass(
    policy: &Policy,
    history: &mut History,
    size: u32,
    now: Ms,
    last_pass: Option<Ms>,
    wanted: i64,
) -> u32 {
    let decision = decide(Inputs {
        platform: Platform::default(),
        policy,
        now,
        created_at: NOW,
        current: size,
        running: size,
        ready: Some(size),
        last_pass,
        readings: vec![Reading::value(wanted * 1_000, now)],
        signal: None,
        started_ms: &[],
        history,
    });
    for change in &decision.changes {
        history.apply(change, now, policy);
    }
    decision.target
}
