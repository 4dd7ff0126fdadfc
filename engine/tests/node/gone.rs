//! What becomes of what a member ran that is removed, with its policy and without.

use super::*;

fn removes(world: &mut World, node: NodeId) {
    world.up.remove(&node);
    world.apply(Command::Remove { node });
}

/// Three replicas, one on each node.
fn spread() -> World {
    let policy = Policy {
        replicas_min: 3,
        ..policy(vec![queue()])
    };
    let mut world = World::new(policy);
    world.seconds(3);
    assert_eq!(world.shares(), [(A, 1), (B, 1), (C, 1)]);
    world
}

#[test]
fn what_a_removed_member_ran_is_placed_anew_at_once() {
    let mut world = spread();
    removes(&mut world, C);
    world.seconds(2);
    assert_eq!(world.shares(), [(A, 2), (B, 1)]);
}

#[test]
fn it_is_placed_anew_also_where_the_policy_is_gone() {
    let mut world = spread();
    world.apply(Command::RemovePolicy {
        name: "web".into(),
        source: None,
    });
    world.offered = [target()].into();
    removes(&mut world, C);
    world.seconds(2);
    assert_eq!(world.shares(), [(A, 2), (B, 1)]);
    assert_eq!(world.size(), 3);
    // I9: once it is so, nothing more is proposed.
    let index = world.index;
    world.seconds(5);
    assert_eq!(world.index, index);
}

#[test]
fn what_a_dead_node_ran_without_a_policy_is_placed_anew_and_does_not_move_back() {
    let mut world = spread();
    world.apply(Command::RemovePolicy {
        name: "web".into(),
        source: None,
    });
    world.offered = [target()].into();
    world.up.remove(&C);
    world.seconds(LOST_AFTER_MS as usize / 1_000 - 1);
    assert_eq!(world.shares(), [(A, 1), (B, 1), (C, 1)]);
    world.seconds(4);
    assert_eq!(world.shares(), [(A, 2), (B, 1)]);
    world.up.insert(C);
    world.seconds(5);
    assert_eq!(world.shares(), [(A, 2), (B, 1)]);
}

#[test]
fn replicas_without_a_policy_stay_where_nobody_else_can_run_them() {
    let mut world = spread();
    world.apply(Command::RemovePolicy {
        name: "web".into(),
        source: None,
    });
    for node in [A, B, C] {
        world.unable.insert((node, target()));
    }
    world.up.remove(&C);
    world.seconds(10);
    assert_eq!(world.shares(), [(A, 1), (B, 1), (C, 1)]);
}

/// Gossip may believe in it for a while, and it may live on.
#[test]
fn a_removed_member_that_lives_on_is_given_nothing() {
    let mut world = spread();
    world.apply(Command::Remove { node: C });
    world.seconds(10);
    assert_eq!(world.shares(), [(A, 2), (B, 1)]);
}
