//! Strategy `objective` in a cluster: what is learned goes through the ledger.

use starling_engine::decide::objective::reason::Reason;
use starling_engine::decide::objective::state::State;
use starling_engine::decide::reason::Step;
use starling_engine::policy::{Objective, Policy, Strategy};

use super::*;

/// At most 3 of 100 pieces of work wait longer than 250 ms.
fn objective() -> Policy {
    let mut policy = policy(vec![queue()]);
    policy.strategy = Strategy::Objective(Box::new(Objective {
        wait_ms: 250,
        miss_ppm: 30_000,
        service_ms: Some(40),
        slots: Some(4),
        arrivals: Some("queue".into()),
        in_system: None,
    }));
    policy
}

impl World {
    /// `seconds` in which `per_s` pieces of work of 40 ms arrive, four of which
    /// keep a replica busy.
    fn work(&mut self, seconds: usize, per_s: i64) {
        for _ in 0..seconds {
            self.queue = says(per_s * 1_000);
            let slots = i64::from(self.size()) * 4;
            self.cpu_milli = (per_s * 40 / 10 / slots.max(1)).min(100);
            self.second();
        }
    }

    fn objectives_reasons(&self) -> Vec<Reason> {
        let leader = &self.nodes[&self.leader.expect("a leader")];
        let decisions = leader.decisions().expect("it leads");
        let steps = decisions[&"web".into()].report.steps.iter();
        let reasons = steps.filter_map(|step| match step {
            Step::Objective(reason) => Some(*reason),
            _ => None,
        });
        reasons.collect()
    }

    fn learned(&self) -> State {
        let history = &self.ledger.workloads[&target()].history;
        *history.objective.clone().expect("something was learned")
    }
}

#[test]
fn an_objective_is_kept_over_load_failure_and_a_change_of_leader() {
    let mut world = World::new(objective());
    world.work(90, 100);
    let small = world.size();
    assert!((1..=3).contains(&small), "{small}");
    world.work(30, 400);
    // 16 busy slots of four are four replicas, and some for the noise.
    let size = world.size();
    assert!((5..=6).contains(&size), "{size}");
    world.work(100, 400);
    let learned = world.learned();
    assert!(!learned.starts_ms.is_empty());
    assert!(
        learned.starts_ms.iter().all(|ms| *ms <= 2_000),
        "{learned:?}"
    );
    let service = learned.service.expect("measured");
    let service_ms = service.slot_ms * 1_000 / service.work_milli;
    assert!((36..=41).contains(&service_ms), "{service_ms} ms");

    let proposed = world.proposed;
    world.work(60, 400);
    assert!(world.proposed - proposed <= 4, "a steady load costs little");

    world.restart(B);
    world.lead(Some(B));
    for second in 0..8 {
        world.work(1, 100);
        assert_eq!(world.size(), size, "after {second} s");
    }
    let reasons = world.objectives_reasons();
    assert!(
        reasons
            .iter()
            .any(|r| matches!(r, Reason::SignalShort { .. }))
    );
    assert_eq!(world.learned().starts_ms, learned.starts_ms);
    world.work(90, 100);
    assert_eq!(world.size(), small, "the hold is over");

    world.work(60, 400);
    for _ in 0..100 {
        world.queue = Some(Err("refused".into()));
        world.second();
    }
    assert_eq!(world.size(), size, "nothing shrinks on what nobody knows");
    assert_eq!(world.objectives_reasons(), [Reason::ArrivalsUnknown]);
}
