//! Grants that don't count any more when they could be written at last.

use super::*;

/// 6 replicas are granted where there are 2, and can't be written.
fn granted() -> World {
    let mut world = World::new(policy(), 2);
    world.observe();
    world.queue = 60;
    world.writable = false;
    world.seconds(3);
    assert_eq!(world.size(), 6, "granted, and not written yet");
    world
}

#[test]
fn i5_what_was_granted_under_other_bounds_is_not_written_any_more() {
    let mut world = granted();
    world.writable = true;
    world.put(Policy {
        replicas_max: 3,
        ..policy()
    });
    world.lead(B);
    world.seconds(3);
    assert_eq!(world.written(), [(2, 3)]);
}

#[test]
fn a_workload_that_its_policy_leaves_for_another_is_forgotten_with_its_grant() {
    let mut world = granted();
    let other = Target {
        name: "api".into(),
        ..target()
    };
    world.put(Policy {
        target: other,
        ..policy()
    });
    assert!(!world.ledger.workloads.contains_key(&target()));
    world.writable = true;
    world.put(Policy {
        name: "shop/again".into(),
        ..policy()
    });
    world.queue = 20;
    world.seconds(3);
    assert_eq!((world.size(), world.written()), (2, vec![]));
}

#[test]
fn a_dry_run_writes_nothing_that_was_granted_before_it_nor_afterwards() {
    let mut world = granted();
    let dry = Policy {
        dry_run: true,
        ..policy()
    };
    world.put(dry);
    assert_eq!(world.size(), 2, "what the platform has");
    world.writable = true;
    world.seconds(3);
    world.queue = 20;
    world.put(policy());
    world.seconds(3);
    assert_eq!((world.size(), world.written()), (2, vec![]));
}
