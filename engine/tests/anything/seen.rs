//! What is seen and remembered of a workload, with any content, drawn byte by
//! byte: replicas, readings, minutes and histories as they come from sources and
//! clocks of which some are broken.

use std::sync::Arc;

use starling_engine::decide::Reading;
use starling_engine::decide::objective::signal::{Second, Signal};
use starling_engine::decide::objective::state::{
    self, Forecast, Foretold, GAPS_MAX, HELD_MAX, Headroom, Held, Idle, STARTS_MAX, Service, Slots,
    State, WAKES_MAX, Wake,
};
use starling_engine::demand::pods::{self, Metric, Phase, Pod, Sums};
use starling_engine::history::{Activity, Change, Event, Health, History, Recommendation};
use starling_engine::policy::{Policy, Resource, Strategy};
use starling_engine::unit::Ms;

use super::draw::Draw;

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
        metrics: [
            (Resource::Cpu, metric(draw, now)),
            (Resource::Memory, metric(draw, now)),
        ]
        .into(),
        ..Pod::default()
    }
}

fn metric(draw: &mut Draw<'_>, now: Ms) -> Metric {
    Metric {
        request_milli: draw.maybe(Draw::i64),
        sample: draw.maybe(|draw| sample(draw, now)),
        earlier: Some(Arc::new(
            (0..draw.byte() % 4).map(|_| sample(draw, now)).collect(),
        )),
    }
}

fn sample(draw: &mut Draw<'_>, now: Ms) -> pods::Reading {
    pods::Reading {
        milli: draw.i64(),
        at: draw.near(now),
        window_ms: draw.wait_ms(),
    }
}

pub fn reading(draw: &mut Draw<'_>, now: Ms) -> Reading {
    match draw.byte() % 5 {
        0 => Reading::None,
        1 => Reading::value(draw.i64(), draw.near(now)),
        2 => {
            let before = draw.maybe(|draw| Reading::value(draw.i64(), draw.near(now)));
            let mut reading = before.unwrap_or(Reading::None);
            reading.fail("down".into(), draw.near(now));
            reading
        }
        3 => Reading::Answered {
            sums: sums(draw, now),
            at: draw.near(now),
        },
        _ => Reading::Pods(sums(draw, now)),
    }
}

/// Sums that no replicas need ever have had.
pub fn sums(draw: &mut Draw<'_>, now: Ms) -> Sums {
    let missing = draw.below(4);
    let [pods, samples, ready] = [(); 3].map(|()| draw.u32());
    let [ready_usage_milli, ready_newest_milli] = [(); 2].map(|()| draw.i64());
    // One number for both.
    let ready_noise = draw.u64();
    Sums {
        pods,
        samples,
        ready,
        ready_usage_milli,
        ready_newest_milli,
        ready_before_milli: ready_noise.cast_signed(),
        ready_noise,
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
pub fn history(draw: &mut Draw<'_>, now: Ms, policy: &Policy) -> History {
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
        objective: match policy.strategy {
            Strategy::Objective(_) => draw.maybe(|draw| Box::new(learned(draw, now))),
            _ => None,
        },
    }
}

/// Up to a second of anything, in thousandths.
fn amount(draw: &mut Draw<'_>) -> u64 {
    match draw.byte() {
        250 => u64::MAX,
        251..=255 => draw.u64(),
        n => u64::from(n) * 500,
    }
}

/// Minutes that nobody need ever have seen: stretches of seconds that are alike.
pub fn signal(draw: &mut Draw<'_>) -> Signal {
    let mut signal = Signal::default();
    for _ in 0..draw.below(6) {
        let second = Second {
            arrivals_milli: (!draw.rarely(8)).then(|| amount(draw)),
            busy_milli: draw.maybe(amount),
            used_ppm: draw.maybe(|draw| draw.u32() % 2_000_000),
            in_system_milli: draw.maybe(amount),
            ready: draw.u32(),
        };
        for _ in 0..draw.pick(&[2, 16, 128, 128]) {
            signal.push(second);
        }
    }
    signal
}

/// A memory of strategy `objective` that its lists' bounds need not hold for.
fn learned(draw: &mut Draw<'_>, now: Ms) -> State {
    let (starts, held, gaps, wakes) = (
        draw.below(STARTS_MAX + 4),
        draw.below(HELD_MAX + 4),
        draw.below(GAPS_MAX + 4),
        draw.below(WAKES_MAX + 4),
    );
    State {
        service: draw.maybe(|draw| service(draw, now)),
        slots: draw.maybe(|draw| slots(draw, now)),
        starts_ms: (0..starts).map(|_| start_ms(draw)).collect(),
        headroom: draw.maybe(|draw| headroom(draw, now)),
        held: (0..held).map(|_| stretch(draw, now)).collect(),
        idle: Idle {
            since: draw.maybe(|draw| draw.near(now)),
            gaps_s: (0..gaps).map(|_| draw.u32()).collect(),
            wakes: (0..wakes).map(|_| wake(draw, now)).collect(),
        },
        forecast: forecast(draw, now),
    }
}

/// One thing that nobody need ever have learned.
pub fn lesson(draw: &mut Draw<'_>, now: Ms) -> Change {
    Change::Objective(match draw.byte() % 9 {
        0 => state::Change::Service(service(draw, now)),
        1 => {
            let starts = draw.below(2 * STARTS_MAX);
            state::Change::Started((0..starts).map(|_| start_ms(draw)).collect())
        }
        2 => state::Change::Headroom(headroom(draw, now)),
        3 => state::Change::Held(stretch(draw, now)),
        4 => state::Change::Paused(draw.near(now)),
        5 => state::Change::Resumed {
            gap_s: draw.maybe(Draw::u32),
            wake: draw.maybe(|draw| wake(draw, now)),
        },
        6 => state::Change::WakeGrew(draw.u32()),
        7 => state::Change::Slots(slots(draw, now)),
        _ => state::Change::Forecast(forecast(draw, now)),
    })
}

fn start_ms(draw: &mut Draw<'_>) -> u32 {
    draw.u32().saturating_mul(1_000)
}

fn service(draw: &mut Draw<'_>, now: Ms) -> Service {
    Service {
        work_milli: amount(draw),
        slot_ms: amount(draw),
        at: draw.near(now),
    }
}

fn slots(draw: &mut Draw<'_>, now: Ms) -> Slots {
    Slots {
        work_milli: amount(draw),
        replicas_milli: amount(draw),
        at: draw.near(now),
    }
}

fn headroom(draw: &mut Draw<'_>, now: Ms) -> Headroom {
    Headroom {
        milli: draw.u32().saturating_mul(50),
        at: draw.near(now),
    }
}

fn stretch(draw: &mut Draw<'_>, now: Ms) -> Held {
    Held {
        from: draw.near(now),
        replicas: draw.u32(),
    }
}

fn wake(draw: &mut Draw<'_>, now: Ms) -> Wake {
    Wake {
        at: draw.near(now),
        replicas: draw.u32(),
    }
}

fn forecast(draw: &mut Draw<'_>, now: Ms) -> Forecast {
    Forecast {
        error: amount(draw),
        naive_error: amount(draw),
        scored: draw.u32(),
        told_at: draw.near(now),
        pending: draw.maybe(|draw| Foretold {
            due: draw.near(now),
            milli: amount(draw),
            naive_milli: amount(draw),
        }),
    }
}
