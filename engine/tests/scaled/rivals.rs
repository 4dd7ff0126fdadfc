//! Workloads that something else scales, too.

use super::*;

const HPA: &str = "HorizontalPodAutoscaler shop/web";

#[test]
fn what_something_else_begins_to_scale_is_left_alone_at_once_and_sized_on_from_what_it_has() {
    let mut world = World::new(policy(), 2);
    world.observe();
    world.second();
    world.queue = 60;
    world.writable = false;
    world.seconds(2);
    assert!(world.size() > 2, "granted, and not written yet");
    world.rival(Some(HPA));
    world.writable = true;
    world.seconds(40);
    assert_eq!(world.written(), []);
    assert_eq!(world.codes(), ["AlreadyScaled"]);
    let report = &world.nodes[&A].decisions().expect("leads")[&"shop/web".into()].report;
    assert!(report.to_string().contains(HPA), "{report}");
    assert_eq!(world.size(), 2, "what was granted before doesn't count");
    world.by_hand(5);
    world.lead(B);
    world.seconds(20);
    assert_eq!((world.size(), world.replicas()), (5, 5));
    let index = world.ledger.index;
    world.seconds(20);
    assert_eq!(world.ledger.index, index, "I9");
    // The load would be content with five; that it wanted six once is forgotten, as
    // with a policy that is removed and put again.
    world.queue = 50;
    world.seconds(2);
    world.rival(None);
    world.seconds(20);
    assert_eq!(world.written(), []);
    world.queue = 70;
    world.seconds(2);
    assert_eq!(world.written(), [(5, 7)]);
}

#[test]
fn a_dry_run_stands_beside_whatever_else_scales_the_workload() {
    let dry = Policy {
        dry_run: true,
        ..policy()
    };
    let mut world = World::new(dry, 2);
    world.rival(Some(HPA));
    world.observe();
    world.queue = 60;
    world.seconds(5);
    let decisions = world.nodes[&A].decisions().expect("leads");
    assert_eq!(decisions[&"shop/web".into()].report.target, 4);
    assert_eq!(world.written(), []);
}
