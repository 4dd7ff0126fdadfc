//! A cluster that was rebuilt changes nothing before it has looked around.

use starling_engine::ledger::rebuilt::{Rebuilt, WINDOW_MS_MIN, WINDOWS};
use starling_engine::ledger::version::{FIRST, REBUILT};

use super::*;

#[test]
fn nothing_grows_shrinks_or_moves_until_two_windows_were_seen() {
    let mut world = World::new(policy(vec![queue()]));
    world.queue = says(60_000);
    world.seconds(5);
    assert_eq!(world.size(), 6);
    let shares = world.shares();
    assert_eq!(world.ledger.version(), FIRST);
    assert_eq!(world.ledger.all_act_in_ms(world.now), None);

    world.ledger.rebuild(7, "0.1.0");
    assert_eq!(world.ledger.generation, 7);
    assert_eq!(world.ledger.version(), REBUILT);
    let away = |it: &starling_engine::ledger::Admitted| it.away_since.is_some();
    assert!(world.ledger.members.values().all(away));
    // One of three is gone for good, and the queue is longer, then empty.
    world.up.remove(&C);
    world.queue = says(110_000);
    world.seconds(5);
    assert_eq!((world.size(), world.shares()), (6, shares.clone()));
    world.apply(Command::LookAround);
    let since = world.ledger.time;
    assert_eq!(world.ledger.rebuilt, Some(Rebuilt::Since(since)));
    let whole_ms = WINDOWS * WINDOW_MS_MIN;
    assert_eq!(world.ledger.all_act_in_ms(since), Some(whole_ms));
    let seconds = usize::try_from(whole_ms / 1_000).expect("small");
    world.seconds(seconds / 2);
    world.queue = says(0);
    world.seconds(seconds / 2 - 1);
    assert_eq!((world.size(), world.shares()), (6, shares));
    let decisions = world.nodes[&A].decisions().expect("leads");
    let report = decisions[&"web".into()].report.to_string();
    assert!(report.contains("The cluster was rebuilt"), "{report}");

    world.queue = says(110_000);
    world.seconds(3);
    assert_eq!(world.ledger.all_act_in_ms(world.now), None);
    assert_eq!(world.size(), 11);
    assert!(world.shares().iter().all(|(node, _)| *node != C));
    // A second word doesn't make it begin anew.
    world.apply(Command::LookAround);
    assert_eq!(world.ledger.rebuilt, Some(Rebuilt::Since(since)));
}

#[test]
fn a_policy_with_a_longer_window_rests_for_two_of_these() {
    let mut slow = policy(vec![queue()]);
    slow.polling_interval_ms = 60_000;
    let mut world = World::new(slow.clone());
    world.ledger.rebuild(2, "0.1.0");
    world.apply(Command::LookAround);
    let since = world.ledger.time;
    let left = |at: Ms| world.ledger.rests_for_ms(&slow, at);
    assert_eq!(left(since), Some(120_000));
    assert_eq!(left(since.plus(119_999)), Some(1));
    assert_eq!(left(since.plus(120_000)), None);
    assert_eq!(world.ledger.all_act_in_ms(since), Some(120_000));
    assert!(world.ledger.rests(since.plus(29_999)));
    assert!(!world.ledger.rests(since.plus(30_000)));
}

#[test]
fn what_no_policy_sizes_stays_where_it_is_until_then() {
    let mut world = World::new(policy(vec![queue()]));
    world.queue = says(60_000);
    world.seconds(5);
    world.offered.insert(target());
    world.apply(Command::RemovePolicy {
        name: "web".into(),
        source: None,
    });
    let shares = world.shares();
    world.ledger.rebuild(2, "0.1.0");
    world.apply(Command::LookAround);
    world.up.remove(&C);
    world.seconds(29);
    assert_eq!(world.shares(), shares);
    world.seconds(3);
    assert!(world.shares().iter().all(|(node, _)| *node != C));
}
