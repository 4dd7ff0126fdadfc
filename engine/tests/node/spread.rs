//! Where replicas go when many workloads are placed in one pass, and what becomes of
//! those that a node has no room to speak of.

use std::collections::BTreeSet;

use starling_engine::demand::WORKLOADS_MAX;

use super::*;

/// So many policies of at least `min` replicas, beside the one that is there always.
fn put(world: &mut World, policies: usize, min: u32) {
    for i in 0..policies {
        let name = format!("p{i:03}");
        let policy = Policy {
            name: name.as_str().into(),
            target: Target::process(name),
            replicas_min: min,
            ..policy(vec![queue()])
        };
        let source = "test".into();
        world.apply(Command::PutPolicy { policy, source });
    }
}

impl World {
    /// Replicas of all workloads on each node.
    fn load(&self) -> BTreeMap<NodeId, u32> {
        let mut load = BTreeMap::new();
        for workload in self.ledger.workloads.values() {
            for (node, n) in &workload.shares {
                *load.entry(*node).or_default() += n;
            }
        }
        load
    }
}

#[test]
fn many_new_workloads_of_one_replica_are_spread_over_the_nodes() {
    let mut world = World::new(policy(vec![queue()]));
    put(&mut world, 50, 1);
    world.seconds(3);
    assert_eq!(world.load(), [(A, 17), (B, 17), (C, 17)].into());
}

#[test]
fn the_replicas_of_a_dead_node_are_spread_over_the_others() {
    let mut world = World::new(policy(vec![queue()]));
    put(&mut world, 50, 1);
    world.seconds(3);
    world.up.remove(&C);
    world.seconds(8);
    let load: Vec<u32> = world.load().into_values().collect();
    assert_eq!(load, [26, 25]);
}

#[test]
fn a_workload_that_a_summary_has_no_room_for_stays_where_it_is() {
    let mut world = World::new(policy(vec![queue()]));
    put(&mut world, 4, 3);
    world.seconds(3);
    let before = world.ledger.workloads.clone();
    let indexes = world.ledger.index;
    // More that come first by name, and that nobody sizes.
    world.offered = (0..WORKLOADS_MAX)
        .map(|i| Target::process(format!("a{i:03}")))
        .collect::<BTreeSet<_>>();
    world.seconds(LOST_AFTER_MS as usize / 1_000 + 10);
    for (target, workload) in &world.ledger.workloads {
        assert_eq!(workload.shares, before[target].shares, "{target}");
    }
    assert_eq!(world.ledger.index, indexes, "nothing is proposed for it");
    // Where there is room again, absence means that it can't run.
    world.offered.clear();
    let p = Target::process("p000");
    assert!(world.ledger.workloads[&p].shares.contains_key(&B));
    world.unable = [(B, p.clone())].into();
    world.seconds(3);
    assert!(!world.ledger.workloads[&p].shares.contains_key(&B));
}
