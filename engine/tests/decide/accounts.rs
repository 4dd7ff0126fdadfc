//! Invariant I10 over random lives of a workload: a size never changes without
//! a reason, and never stays without a way to change it.

use crate::invariants::{act, happen, policy};
use crate::scenario::Scenario;
use proptest::prelude::*;
use starling_engine::decide::Reading;
use starling_engine::decide::reason::Outlook;

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
        match reading {
            Reading::Value { at, .. } | Reading::Failed { at, .. } => *at = web.now,
            Reading::Pods(sums) => sums.oldest = sums.oldest.map(|_| web.now),
            Reading::None => {}
        }
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
            let codes = |report: &starling_engine::decide::reason::Report| {
                report.steps.iter().map(|step| step.code()).collect::<Vec<_>>()
            };
            prop_assert!(
                after.target != after.from || codes(&after) != codes(&before),
                "{before}\n--- later\n{after}\n{:?}", web.policy
            );
        }
    }
}
