//! What a trigger said before it failed, in a cluster of several releases.

use starling_engine::decide::reason::Outcome;
use starling_engine::ledger::version::{PATIENCE, Raised};

use super::*;

fn kept(world: &World) -> Option<u32> {
    let decisions = world.nodes[&A].decisions().expect("a leader");
    let decision = decisions.get(&"web".into()).expect("a decision");
    match decision.report.inputs[0].outcome {
        Outcome::Failed { kept, .. } => kept,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn it_counts_once_all_agents_know_of_that_and_not_before() {
    let mut world = World::new(policy(vec![queue()]));
    world.queue = says(40_000);
    world.seconds(3);
    assert_eq!(world.size(), 4);
    let failed = || Some(Err("down".to_owned()));
    world.queue = failed();
    world.seconds(2);
    assert_eq!(kept(&world), None);

    world.queue = says(40_000);
    world.apply(Command::Raise(Raised {
        version: PATIENCE,
        release: "next".into(),
    }));
    world.seconds(2);
    world.queue = failed();
    world.seconds(2);
    assert_eq!(kept(&world), Some(4));
    // Not longer than three intervals, silence or failures alike.
    world.queue = None;
    world.seconds(3);
    assert_eq!(kept(&world), None);
    assert_eq!(world.size(), 4);
}
