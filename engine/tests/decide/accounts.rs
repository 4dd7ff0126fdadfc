//! Invariant I10 over random lives of a workload: a size never changes without
//! a reason, and never stays without a way to change it.

use crate::invariants::{act, happen, policy};
use crate::scenario::{Scenario, cpu, queue, usage};
use proptest::prelude::*;
use starling_engine::decide::Reading;
use starling_engine::decide::reason::{Outlook, Report, Step};
use starling_engine::policy::Goal;
use starling_engine::unit::Ms;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn i10_a_change_names_its_cause_and_a_size_that_stays_names_a_way_out(
        policy in policy(),
        size in 0_u32..40,
        life in prop::collection::vec(act(), 1..40),
    ) {
        let mut web = Scenario::new(Vec::new(), size).with(|p| *p = policy);
        for (after_s, act) in &life {
            happen(&mut web, *after_s, act);
            let report = web.pass().report;
            prop_assert_eq!(report.inputs.len(), web.policy.triggers.len());
            if report.target == report.from {
                prop_assert!(!report.outlook.is_empty(), "{report}\n{:?}", web.policy);
            } else {
                prop_assert!(report.winner.is_some() || !report.steps.is_empty(), "{report}");
            }
            let text = report.to_string();
            prop_assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        }
    }
}

/// The same readings, taken again now.
fn again(web: &mut Scenario) {
    for reading in &mut web.readings {
        taken_at(reading, web.now);
    }
}

fn taken_at(reading: &mut Reading, now: Ms) {
    match reading {
        Reading::Value { at, .. } | Reading::Answered { at, .. } | Reading::Failed { at, .. } => {
            *at = now;
        }
        Reading::Kept { at, last, .. } => {
            *at = now;
            taken_at(last, now);
        }
        Reading::Pods(sums) => sums.oldest = sums.oldest.map(|_| now),
        Reading::Unselected(_) | Reading::None => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_wait_that_is_the_only_way_out_leads_out(
        policy in policy(),
        size in 0_u32..40,
        life in prop::collection::vec(act(), 1..40),
    ) {
        let mut web = Scenario::new(Vec::new(), size).with(|p| *p = policy);
        for (after_s, act) in &life {
            happen(&mut web, *after_s, act);
            let before = web.pass().report;
            let [Outlook::Wait { ms }] = before.outlook[..] else { continue };
            if before.target != before.from {
                continue;
            }
            let mut later = web.clone();
            later.now = later.now.plus(ms + 1);
            again(&mut later);
            let after = later.pass().report;
            let codes = |report: &Report| report.steps.iter().map(Step::code).collect::<Vec<_>>();
            prop_assert!(
                after.target != after.from || codes(&after) != codes(&before),
                "{before}\n--- later\n{after}\n{:?}", web.policy
            );
        }
    }
}

/// A workload of `size` whose only trigger reads `number`: milli-units of an
/// external source, or percent of the requests.
fn reads(goal: Goal, size: u32, number: i64) -> Scenario {
    let trigger = match goal {
        Goal::Utilization { percent } => cpu(percent),
        _ => queue(goal),
    };
    let mut web = Scenario::new(vec![trigger], size).with(|p| p.replicas_max = 100_000);
    let at = web.now;
    let reading = match goal {
        Goal::Utilization { .. } => Reading::Pods(usage(size, number)),
        _ => Reading::value(number, at),
    };
    web.read(vec![reading]);
    web
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_value_just_beyond_what_a_report_says_asks_for_another_size(
        kind in 0_u8..3,
        target in 1_i32..5_000,
        size in 1_u32..60,
        within in 0.0_f64..1.0,
    ) {
        let (milli, many) = (i64::from(target) * 100, i64::from(size));
        let (goal, middle) = match kind {
            0 => (Goal::Value { milli }, milli),
            1 => (Goal::AverageValue { milli }, milli * many),
            _ => (Goal::Utilization { percent: target }, i64::from(target)),
        };
        let number = (middle as f64 * (0.5 + within)) as i64;
        let report = reads(goal, size, number).look().report;
        let Some(Outlook::Value { at_least, at_most, .. }) = report.outlook.first() else {
            prop_assert_ne!(report.raw, Some(size), "{}", report);
            return Ok(());
        };
        let raw = |number| reads(goal, size, number).look().report.raw.unwrap();
        let at_least = at_least.unwrap();
        prop_assert!(raw(at_least) > size, "{report}");
        prop_assert_eq!(raw(at_least - 1), size, "{}", report);
        prop_assert_eq!(at_most.is_none(), size == 1);
        if let Some(at_most) = at_most {
            prop_assert!(raw(*at_most) < size, "{report}");
            prop_assert_eq!(raw(at_most + 1), size, "{}", report);
        }
    }
}

#[test]
fn while_replicas_still_start_a_queue_s_limits_are_those_of_the_granted_size() {
    let goal = Goal::AverageValue { milli: 5_000 };
    let raw = |number| {
        let mut web = reads(goal, 4, number);
        web.running = Some(2);
        web.look().report
    };
    let report = raw(20_000);
    assert_eq!(report.raw, Some(4));
    let Some(Outlook::Value {
        at_least, at_most, ..
    }) = report.outlook.first()
    else {
        panic!("{report}")
    };
    assert_eq!((*at_least, *at_most), (Some(20_001), Some(15_000)));
    assert!(raw(20_001).raw > Some(4) && raw(15_000).raw < Some(4));
    assert_eq!(raw(20_000).raw, Some(4));
    assert_eq!(raw(15_001).raw, Some(4));
}
