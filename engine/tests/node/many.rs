//! More policies at once than one entry of the log can hold.

use starling_engine::node::{PASS_BYTES_MAX, PASS_ITEMS_MAX};
use starling_engine::policy::{Behavior, Rules};
use std::collections::BTreeSet;

use super::*;

/// What an entry has besides the items of a pass.
const FRAME: usize = 100;

/// So many policies, each asked of so many triggers, whose sizes follow at once.
fn world(policies: usize, triggers: usize) -> World {
    let trigger = |i| Trigger {
        name: format!("a-trigger-with-a-name-of-usual-length-{i}"),
        ..queue()
    };
    let at_once = Rules {
        window_ms: Some(0),
        ..Behavior::default().down
    };
    let one = |i| Policy {
        name: format!("web{i}").as_str().into(),
        target: Target::process(format!("web{i}")),
        behavior: Some(Behavior {
            down: at_once.clone(),
            ..Behavior::default()
        }),
        ..policy((0..triggers).map(trigger).collect())
    };
    let mut world = World::new(policy(vec![queue()]));
    for i in 0..policies {
        let source = "test".into();
        world.apply(Command::PutPolicy {
            policy: one(i),
            source,
        });
    }
    world
}

impl World {
    fn sizes(&self) -> BTreeSet<u32> {
        self.ledger.workloads.values().map(|w| w.size).collect()
    }
}

#[test]
fn more_than_an_entry_holds_is_committed_in_several_ones() {
    for (policies, triggers) in [(100, 100), (400, 15)] {
        let mut world = world(policies, triggers);
        world.seconds(2);
        world.queue = says(60_000);
        world.seconds(60);
        let bytes = world.heaviest;
        assert!(bytes <= PASS_BYTES_MAX + FRAME, "an entry of {bytes} bytes");
        assert!(bytes > PASS_BYTES_MAX / 2, "nothing was cut: {bytes} bytes");
        assert_eq!(world.sizes(), [6].into(), "{policies} of {triggers}");
    }
}

#[test]
fn failures_in_many_words_are_committed_in_several_entries() {
    let mut world = world(100, 100);
    world.queue = says(60_000);
    world.seconds(20);
    world.queue = Some(Err("the source says a great deal. ".repeat(10_000)));
    world.seconds(20);
    let bytes = world.heaviest;
    assert!(bytes <= PASS_BYTES_MAX + FRAME, "an entry of {bytes} bytes");
    let workloads = world.ledger.workloads.values();
    let heard = workloads.filter(|w| !w.history.health.is_empty());
    assert_eq!(heard.count(), 101);
}

#[test]
fn everybody_gets_a_turn_while_all_want_to_change_in_every_pass() {
    let policies = PASS_ITEMS_MAX + 200;
    let mut world = world(policies, 1);
    world.seconds(2);
    let begun = world.ledger.index;
    for second in 0..20 {
        world.queue = says(if second % 2 == 0 { 60_000 } else { 120_000 });
        world.second();
    }
    let waits: Vec<_> = world
        .ledger
        .workloads
        .iter()
        .filter(|(_, workload)| workload.stamp.index <= begun)
        .map(|(target, _)| target.to_string())
        .collect();
    assert_eq!(waits, Vec::<String>::new(), "they never changed");
}

#[test]
fn i9_what_was_cut_is_told_once() {
    let mut world = world(400, 15);
    world.queue = says(60_000);
    world.seconds(60);
    let proposed = world.proposed;
    world.seconds(10);
    assert_eq!(world.proposed, proposed);
}
