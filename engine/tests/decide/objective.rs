//! Strategy `objective` within whole decisions: what it is asked, what limits
//! its answer, and what is left of it when an input or the leader goes.

use crate::scenario::{Scenario, failed, named, value};
use proptest::prelude::*;
use starling_engine::decide::objective::reason::Reason;
use starling_engine::decide::objective::signal::{SECONDS_MAX, Second};
use starling_engine::decide::reason::Step;
use starling_engine::decide::{Decision, Reading};
use starling_engine::history::Change;
use starling_engine::policy::{self, Behavior, Goal, Objective, Rate, RateKind, Rules, Trigger};

/// 250 ms for 97 of 100 pieces of work that take 40 ms, four at a time.
fn settings() -> Objective {
    Objective {
        wait_ms: 250,
        miss_ppm: 30_000,
        service_ms: Some(40),
        slots: Some(4),
        arrivals: Some("arrivals".into()),
        in_system: None,
    }
}

/// A goal of 50 arrivals a second for each replica.
fn arrivals() -> Trigger {
    named("arrivals", Goal::AverageValue { milli: 50_000 })
}

pub fn web(size: u32) -> Scenario {
    Scenario::new(vec![arrivals()], size).with(|p| {
        p.strategy = policy::Strategy::Objective(Box::new(settings()));
        p.replicas_min = 2;
        p.replicas_max = 50;
    })
}

/// `seconds` in which work arrives evenly, with a pass at each.
pub fn run(web: &mut Scenario, seconds: u32, per_s: i64) -> Decision {
    let mut last = web.look();
    for _ in 0..seconds {
        web.later(1).read(vec![value(per_s)]);
        let busy_milli = per_s as u64 * 40;
        web.signal.get_or_insert_default().push(Second {
            arrivals_milli: Some(per_s as u64 * 1_000),
            // Full slots tell nothing of how long work takes.
            busy_milli: (busy_milli < u64::from(web.size) * 4_000).then_some(busy_milli),
            in_system_milli: None,
            used_ppm: None,
            ready: web.size,
        });
        last = web.pass();
    }
    last
}

fn reasons(decision: &Decision) -> Vec<Reason> {
    let steps = decision.report.steps.iter();
    let reasons = steps.filter_map(|step| match step {
        Step::Objective(reason) => Some(*reason),
        _ => None,
    });
    reasons.collect()
}

#[test]
fn a_load_is_followed_all_the_way() {
    let mut web = web(4);
    run(&mut web, 60, 100);
    assert_eq!(web.size, 4, "the hold isn't over");
    let decision = run(&mut web, 8, 1_000);
    // 40 busy slots of four are ten replicas.
    assert!((10..=16).contains(&web.size), "{}", web.size);
    assert_eq!(decision.report.raw, Some(web.size));
    assert_eq!(decision.report.winner, None, "no trigger's goal decided");
}

#[test]
fn a_smaller_load_is_followed_after_the_hold_and_not_after_targets_window() {
    let mut web = web(12);
    run(&mut web, 200, 1_000);
    let high = web.size;
    // Nothing has been seen to start, so half a minute is taken for a start, and
    // six of them for the hold.
    run(&mut web, 160, 200);
    assert_eq!(web.size, high);
    run(&mut web, 60, 200);
    assert!(web.size < high, "{} replicas", web.size);
}

#[test]
fn without_arrivals_the_goals_decide_and_the_report_says_so() {
    let mut web = web(4);
    web.read(vec![value(400)]);
    let decision = web.pass();
    assert_eq!(reasons(&decision), [Reason::ArrivalsUnknown]);
    assert_eq!((decision.report.winner, decision.target), (Some(0), 8));
    // A source that fails shrinks nothing.
    web.later(1).read(vec![failed("refused")]);
    assert_eq!(web.pass().target, 8);
}

#[test]
fn without_a_service_time_the_goals_decide_until_it_is_measured() {
    let mut web = web(8).with(|p| {
        p.strategy = policy::Strategy::Objective(Box::new(Objective {
            service_ms: None,
            ..settings()
        }));
    });
    let early = run(&mut web, 30, 400);
    assert_eq!(reasons(&early), [Reason::ServiceUnknown]);
    assert_eq!(early.report.winner, Some(0));
    let late = run(&mut web, 60, 400);
    assert_eq!(late.report.winner, None);
    assert!(!reasons(&late).contains(&Reason::ServiceUnknown));
}

#[test]
fn sizes_of_the_objective_hold_the_workload_once_the_goals_decide() {
    let mut web = web(4);
    web.read(vec![value(100)]).pass();
    run(&mut web, 400, 1_000);
    let high = web.size;
    // The goals alone would ask for two.
    web.signal = None;
    web.later(1).read(vec![value(100)]);
    assert_eq!(web.pass().target, high, "held by target's window of 300 s");
    web.later(301).read(vec![value(100)]);
    web.pass();
    web.later(301).read(vec![value(100)]);
    assert_eq!(web.pass().target, 2);
}

#[test]
fn i6_a_new_leader_knows_headroom_and_start_times_and_shrinks_on_nothing() {
    let mut web = web(4);
    web.started_ms = vec![90_000, 95_000, 80_000];
    run(&mut web, 1, 1_000);
    web.started_ms.clear();
    run(&mut web, 120, 1_000);
    // Far more work than slots: an episode that calls for more headroom.
    for _ in 0..3 {
        web.later(1).read(vec![value(1_000)]);
        web.signal.as_mut().unwrap().push(Second {
            arrivals_milli: Some(1_000_000),
            busy_milli: Some(u64::from(web.size) * 4_000),
            in_system_milli: Some(400_000),
            used_ppm: None,
            ready: web.size,
        });
        web.pass();
    }
    let known = web.history.objective.clone().unwrap();
    assert_eq!(known.starts_ms, [90_000, 95_000, 80_000]);
    let headroom = known.headroom.unwrap();
    assert!(headroom.milli > 300);
    let size = web.size;
    web.fail_over();
    web.later(2).read(vec![Reading::None]);
    assert_eq!(web.pass().target, size, "nothing is known of the load");
    for second in 1..8_u64 {
        let decision = run(&mut web, 1, 200);
        assert_eq!(decision.target, size, "after {second} s");
        let short = Reason::SignalShort {
            left_ms: 8_000 - second * 1_000,
        };
        assert!(reasons(&decision).contains(&short));
    }
    let after = web.history.objective.as_ref().unwrap();
    assert_eq!(after.starts_ms, known.starts_ms);
    assert_eq!(after.headroom, known.headroom);
    let decision = run(&mut web, 1, 200);
    let staffed = reasons(&decision)
        .into_iter()
        .find_map(|reason| match reason {
            Reason::Staffed { headroom_milli, .. } => Some(headroom_milli),
            _ => None,
        });
    assert!(staffed.unwrap() > 300, "{staffed:?}");
    let held = reasons(&decision).into_iter().any(|reason| {
        // As long as starts of 95 s call for; half a minute would call for two.
        matches!(reason, Reason::Held { window_ms, .. } if window_ms > 120_000)
    });
    assert!(held, "{:?}", reasons(&decision));
}

#[test]
fn a_dry_run_learns_and_changes_no_size() {
    let mut web = web(4).with(|p| p.dry_run = true);
    let decision = run(&mut web, 90, 1_000);
    assert_eq!(web.size, 4);
    assert!(decision.report.target >= 10 && decision.report.dry_run);
    let learned = web.history.objective.as_ref().unwrap();
    assert!(learned.held.iter().any(|held| held.replicas >= 10));
    assert_eq!(web.history.changed_at, None);
}

#[test]
fn a_pause_holds_the_size_and_lifting_it_lets_the_objective_go_on() {
    let mut web = web(4).with(|p| p.annotations.paused_scale_out = true);
    let decision = run(&mut web, 20, 1_000);
    assert_eq!(decision.target, 4);
    let held = decision.report.steps.iter();
    assert!(
        held.last()
            .is_some_and(|step| matches!(step, Step::ScaleOutPaused { wanted } if *wanted >= 10))
    );
    web.policy.annotations.paused_scale_out = false;
    assert!(run(&mut web, 1, 1_000).target >= 10);
}

#[test]
fn rate_policies_limit_the_objective_too() {
    let mut web = web(4).with(|p| {
        p.behavior = Some(Behavior {
            up: Rules {
                rates: vec![Rate {
                    kind: RateKind::Pods,
                    value: 1,
                    period_ms: 60_000,
                }],
                ..Rules::default()
            },
            ..Behavior::default()
        });
    });
    run(&mut web, 59, 1_000);
    assert_eq!(web.size, 5);
    run(&mut web, 60, 1_000);
    assert_eq!(web.size, 6);
}

fn may_rest(size: u32) -> Scenario {
    web(size).with(|p| {
        p.replicas_min = 0;
        p.cooldown_ms = 30_000;
    })
}

#[test]
fn a_workload_without_work_rests_in_the_end_and_work_wakes_it() {
    let mut web = may_rest(1);
    run(&mut web, 60, 20);
    assert!(web.size >= 1);
    // A minute of keep, three of hold, half of one of cooldown.
    run(&mut web, 260, 0);
    assert_eq!(web.size, 1);
    run(&mut web, 60, 0);
    assert_eq!(web.size, 0);
    run(&mut web, 60, 0);
    assert_eq!(web.size, 0, "the kept replica wakes nothing");
    run(&mut web, 1, 20);
    assert_eq!(web.size, 1);
}

#[test]
fn work_that_has_come_at_even_intervals_is_waited_for() {
    let mut web = may_rest(0);
    for _ in 0..4 {
        run(&mut web, 120, 400);
        run(&mut web, 1_660, 0);
        if web.size > 0 {
            break;
        }
        run(&mut web, 20, 0);
    }
    assert!(web.size > 0, "half a minute before the next batch");
}

#[test]
fn what_was_learned_goes_with_the_strategy() {
    let mut web = web(4);
    let decision = run(&mut web, 90, 400);
    assert!(web.history.objective.is_some());
    web.policy.strategy = policy::Strategy::Target;
    let mut target = starling_engine::history::History::default();
    let learned = Change::Objective(starling_engine::decide::objective::state::Change::Started(
        vec![1],
    ));
    target.apply(&learned, web.now, &web.policy);
    assert_eq!(
        target.objective, None,
        "a late entry teaches no other strategy"
    );
    assert!(decision.report.steps.len() >= 2);
}

fn second() -> impl Strategy<Value = Second> {
    let milli = || prop::option::weighted(0.8, prop_oneof![0_u64..2_000_000, any::<u64>()]);
    (
        milli(),
        milli(),
        prop::option::of(0_u32..950_000),
        milli(),
        prop_oneof![0_u32..100, any::<u32>()],
    )
        .prop_map(
            |(arrivals_milli, busy_milli, used_ppm, in_system_milli, ready)| Second {
                arrivals_milli,
                busy_milli,
                used_ppm,
                in_system_milli,
                ready,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Any signal, any start times, changes of leader in between: the granted
    /// size stays within the bounds (I5), the same pass gives the same answer,
    /// and a pass at the same instant after it learns nothing (I9).
    #[test]
    fn i5_i9_whatever_was_seen_the_answer_is_in_bounds_and_the_same_again(
        seconds in prop::collection::vec((second(), any::<bool>(), 0_u8..30), 1..SECONDS_MAX),
        started in prop::collection::vec(any::<u32>(), 0..4),
        (min, span) in (0_u32..5, 0_u32..60),
        (size, slots) in (0_u32..70, prop::option::of(1_u32..10)),
        measured in any::<bool>(),
        dry_run in prop::bool::weighted(0.1),
    ) {
        let mut web = web(size).with(|p| {
            (p.replicas_min, p.replicas_max) = (min, (min + span).max(1));
            p.dry_run = dry_run;
            p.strategy = policy::Strategy::Objective(Box::new(Objective {
                service_ms: (!measured).then_some(40),
                slots,
                ..settings()
            }));
        });
        prop_assert_eq!(web.policy.check(), vec![]);
        web.size = web.size.clamp(*web.policy.bounds().start(), *web.policy.bounds().end());
        for (second, known, event) in seconds {
            web.later(1);
            web.started_ms.clone_from(&started);
            let milli = second.arrivals_milli.map(|milli| i64::try_from(milli).unwrap_or(i64::MAX));
            let reading = milli.map_or(Reading::None, |milli| Reading::value(milli, web.now));
            web.read(vec![reading]);
            if event == 0 {
                web.fail_over();
            }
            let mut signal = web.signal.take().unwrap_or_default();
            signal.push(second);
            web.signal = known.then_some(signal);
            let (one, two) = (web.look(), web.look());
            prop_assert_eq!(&one, &two);
            prop_assert!(web.policy.bounds().contains(&one.target));
            prop_assert!(!dry_run || one.target == web.size);
            for line in one.report.to_string().lines() {
                prop_assert!(line.chars().count() <= 80, "too wide: {}", line);
            }
            let bytes = postcard::to_allocvec(&one.report).unwrap();
            prop_assert_eq!(&postcard::from_bytes::<starling_engine::decide::reason::Report>(&bytes).unwrap(), &one.report);
            web.pass();
            web.started_ms.clear();
            let again = web.look();
            prop_assert_eq!(again.target, web.size);
            prop_assert_eq!(again.changes, vec![]);
        }
    }
}
