//! Replicas that no node speaks of just now: missing ones, those that wait for a node,
//! and those that are gone.

use std::collections::BTreeMap;

use starling_engine::node::platform::{Asked, Unscheduled};
use starling_engine::policy::{Goal, Policy, Resource, Source, Trigger};

use super::{A, B, World, pod, policy, sampled};

fn cpu() -> Trigger {
    Trigger {
        name: "cpu".into(),
        source: Source::Resource(Resource::Cpu),
        goal: Goal::Utilization { percent: 50 },
        activation_milli: 0,
        window_ms: None,
    }
}

#[test]
fn i4_replicas_on_silent_nodes_count_as_missing_and_unscheduled_ones_as_starting() {
    let cpu = Policy {
        replicas_min: 1,
        triggers: vec![cpu()],
        ..policy()
    };
    let mut world = World::new(cpu, 4);
    world.observe();
    for _ in 0..3 {
        let at = world.now;
        world.step(A, sampled(vec![pod(5, at), pod(5, at)]));
        world.step(B, sampled(vec![pod(5, at), pod(5, at)]));
        world.second();
    }
    let wanted = |world: &World| {
        let decisions = world.nodes[&world.leader].decisions().expect("leads");
        decisions[&"shop/web".into()].report.raw
    };
    assert_eq!(wanted(&world), Some(1), "5 % of a goal of 50 %");
    for _ in 0..8 {
        let at = world.now;
        world.step(A, sampled(vec![pod(5, at), pod(5, at)]));
        world.second();
    }
    // B's two count as using all that they asked for: 210 of 400, above the goal.
    assert_eq!(wanted(&world), Some(4));
    // The same where the platform doesn't count them.
    world.change(|scale| scale.running = 0);
    world.second();
    assert_eq!(wanted(&world), Some(4));
    world.change(|scale| scale.running = 4);
    // The platform has others in their place, which A has now: B's aren't there any more.
    for _ in 0..8 {
        let at = world.now;
        world.step(A, sampled(vec![pod(5, at); 4]));
        world.second();
    }
    assert_eq!(wanted(&world), Some(1), "5 % of a goal of 50 %");
}

#[test]
fn replicas_on_no_node_count_with_what_they_themselves_ask_for() {
    let cpu = Policy {
        replicas_min: 1,
        triggers: vec![cpu()],
        dry_run: true,
        ..policy()
    };
    let mut world = World::new(cpu, 2);
    let asked = |milli| {
        let asked = Asked { milli, unstated: 0 };
        Unscheduled {
            count: 1,
            asked: BTreeMap::from([("cpu".to_owned(), asked)]),
        }
    };
    // 150 of 100 for the one that runs. With the other one's request, of 200 and of 500.
    for (milli, wanted) in [(100, 3), (400, 2)] {
        world.change(|scale| scale.unscheduled = asked(milli));
        for _ in 0..3 {
            let at = world.now;
            world.step(A, sampled(vec![pod(150, at)]));
            world.second();
        }
        let decisions = world.nodes[&world.leader].decisions().expect("leads");
        assert_eq!(decisions[&"shop/web".into()].report.raw, Some(wanted));
    }
}
