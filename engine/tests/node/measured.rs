//! Triggers on what agents measure, from samples to sizes: means over a window, the nodes
//! that replicas run on, parts of the time, GPUs, and agents that say less.

use starling_engine::demand::{self, Summary};

use super::*;

/// One second in which each node samples what `sample` makes of its share; a node that
/// gets none is silent. `tell` may change what a node says of it.
fn second(
    world: &mut World,
    sample: &dyn Fn(&World, NodeId, u32) -> Option<Sample>,
    tell: &dyn Fn(&mut Summary),
) {
    world.now = world.now.plus(1_000);
    for id in world.up.clone() {
        world.step(id, Input::Alive(world.up.clone()));
        let shares = &world.ledger.workloads[&target()].shares;
        let share = shares.get(&id).copied().unwrap_or(0);
        let Some(sample) = sample(world, id, share) else {
            continue;
        };
        let node = world.nodes.get_mut(&id).expect("a node");
        for output in node.step(world.now, Input::Sampled(sample), &world.ledger) {
            if let Output::Publish(mut summary) = output {
                tell(&mut summary);
                for other in world.up.clone() {
                    world.step(other, Input::Heard(summary.clone()));
                }
            }
        }
    }
    for id in world.up.clone() {
        world.step(id, Input::Tick);
    }
}

fn seconds(
    world: &mut World,
    n: usize,
    sample: &dyn Fn(&World, NodeId, u32) -> Option<Sample>,
) -> u32 {
    for _ in 0..n {
        second(world, sample, &|_| {});
    }
    world.size()
}

/// Replicas that each read this much of what they ask for.
fn replicas(
    world: &World,
    id: NodeId,
    share: u32,
    resource: Resource,
    request_milli: Option<i64>,
    milli: i64,
) -> Sample {
    let pod = |n: u32| {
        let metric = Metric {
            request_milli,
            sample: Some(Reading {
                milli,
                at: world.now,
                window_ms: 1_000,
            }),
            ..Metric::default()
        };
        Pod {
            id: format!("{id:?}-{n}"),
            ready: Some(true),
            started_at: Some(Ms(0)),
            ready_changed_at: Some(Ms(0)),
            metrics: [(resource, metric)].into(),
            ..Pod::default()
        }
    };
    Sample {
        workloads: [(target(), (0..share).map(pod).collect())].into(),
        ..Sample::default()
    }
}

/// A world of `size` replicas and a trigger that may shrink it at once.
fn world(size: u32, source: Source, goal: Goal, window_ms: Option<u64>) -> World {
    let trigger = Trigger {
        name: "measured".into(),
        source,
        goal,
        activation_milli: 0,
        window_ms,
    };
    let mut policy = policy(vec![trigger]);
    policy.replicas_min = size;
    policy.controller.down_window_ms = 0;
    let mut world = World::new(policy.clone());
    seconds(&mut world, 3, &|world, id, share| {
        Some(replicas(world, id, share, Resource::Memory, None, 0))
    });
    assert_eq!(world.size(), size);
    // From here on it may shrink.
    policy.replicas_min = 1;
    world.apply(Command::PutPolicy {
        policy,
        source: "test".into(),
    });
    world
}

const HALF: Goal = Goal::Utilization { percent: 50 };

/// Half a minute at what is aimed at, a second of six times as much, and back again: what
/// sizes it goes through.
fn burst(window_ms: Option<u64>) -> BTreeSet<u32> {
    let cpu = |milli| {
        move |world: &World, id, share| {
            let sample = replicas(world, id, share, Resource::Cpu, Some(100), milli);
            Some(sample)
        }
    };
    let mut world = world(4, Source::Resource(Resource::Cpu), HALF, window_ms);
    seconds(&mut world, 60, &cpu(50));
    let mut sizes = BTreeSet::from([seconds(&mut world, 1, &cpu(300))]);
    for _ in 0..60 {
        sizes.insert(seconds(&mut world, 1, &cpu(50)));
    }
    sizes
}

#[test]
fn a_burst_that_a_window_averages_out_changes_nothing_and_is_followed_without_one() {
    assert_eq!(burst(Some(60_000)), [4].into(), "54 of 100 over the minute");
    assert!(burst(None).contains(&12), "{:?}", burst(None));
    assert!(
        burst(Some(1_000)).contains(&8),
        "at most twice as many at once"
    );
}

#[test]
fn a_load_that_lasts_fills_a_window_little_by_little() {
    let mut world = world(4, Source::Resource(Resource::Cpu), HALF, Some(60_000));
    let cpu = |milli| {
        move |world: &World, id, share| {
            let sample = replicas(world, id, share, Resource::Cpu, Some(100), milli);
            Some(sample)
        }
    };
    seconds(&mut world, 60, &cpu(50));
    // 55 % is within the tolerance of a tenth, 56 % (rounded down) is above it.
    assert_eq!(seconds(&mut world, 6, &cpu(100)), 4);
    assert_eq!(seconds(&mut world, 2, &cpu(100)), 5);
}

/// How much of a node's 1,000 milli-cores is in use.
fn node(world: &World, id: NodeId, share: u32, used: u64) -> Sample {
    let mut sample = replicas(world, id, share, Resource::Memory, None, 0);
    sample.totals.set(demand::CPU, used, Some(1_000));
    sample
}

#[test]
fn of_nodes_each_replica_counts_what_its_node_uses_of_what_it_has() {
    let mut world = world(3, Source::Nodes(Resource::Cpu), HALF, Some(1_000));
    let spread = |world: &World, id, share| {
        let used = match (world.size(), id) {
            (3, A) => 1_000,
            (3, C) => 600,
            _ => 500,
        };
        Some(node(world, id, share, used))
    };
    // 100, 50 and 60 % are 70 %: 1.4 times as many.
    assert_eq!(seconds(&mut world, 5, &spread), 5);
    assert_eq!(
        seconds(&mut world, 30, &spread),
        5,
        "all are where they shall be"
    );
    // The share of a node with two replicas counts twice: (2 × 100 + 2 × 100 + 40) / 5.
    let last = world
        .shares()
        .iter()
        .find(|(_, n)| *n == 1)
        .map(|(id, _)| *id);
    let uneven = |world: &World, id, share| {
        let used = match world.size() {
            5 if Some(id) == last => 400,
            5 => 1_000,
            _ => 500,
        };
        Some(node(world, id, share, used))
    };
    assert_eq!(
        seconds(&mut world, 5, &uneven),
        9,
        "88 % of 50 %: 1.76 times five"
    );
}

#[test]
fn i4_a_node_that_reads_nothing_of_itself_shrinks_nothing() {
    for goal in [HALF, Goal::AverageValue { milli: 500 }] {
        let mut unread = world(6, Source::Nodes(Resource::Cpu), goal, None);
        let size = seconds(&mut unread, 60, &|world, id, share| {
            let mut sample = node(world, id, share, 500);
            if id == B {
                sample.totals = demand::Totals::default();
            }
            Some(sample)
        });
        assert_eq!(size, 6, "{goal:?}");
        let mut silent = world(6, Source::Nodes(Resource::Cpu), goal, None);
        seconds(&mut silent, 30, &|world, id, share| {
            Some(node(world, id, share, 500))
        });
        // Alive and without a word.
        let size = seconds(&mut silent, 60, &|world, id, share| {
            (id != B).then(|| node(world, id, share, 500))
        });
        // As using nothing, they made it two thirds.
        assert_eq!(size, 6, "{goal:?}");
    }
}

#[test]
fn once_all_nodes_are_heard_idle_ones_do_shrink_it() {
    let mut world = world(6, Source::Nodes(Resource::Cpu), HALF, None);
    let size = seconds(&mut world, 60, &|world, id, share| {
        Some(node(world, id, share, 250))
    });
    assert!(size < 6, "{size}");
}

/// The size after replicas have read this for a while.
fn sized(resource: Resource, goal: Goal, request_milli: Option<i64>, milli: i64) -> u32 {
    let mut world = world(4, Source::Resource(resource), goal, None);
    seconds(&mut world, 1, &|world, id, share| {
        Some(replicas(world, id, share, resource, request_milli, milli))
    })
}

#[test]
fn a_share_of_the_time_is_a_percentage_of_all_of_it() {
    let goal = Goal::Utilization { percent: 20 };
    for resource in [
        Resource::PsiCpu,
        Resource::PsiMemory,
        Resource::PsiIo,
        Resource::Throttling,
    ] {
        // 30 % of the time.
        assert_eq!(sized(resource, goal, Some(1_000), 300), 6, "{resource:?}");
        assert_eq!(sized(resource, goal, Some(1_000), 210), 4, "{resource:?}");
    }
}

#[test]
fn gpus_are_held_against_those_that_replicas_hold_or_against_an_amount() {
    let gpu = |goal, request, milli| sized(Resource::Gpu, goal, request, milli);
    assert_eq!(gpu(HALF, Some(1_000), 750), 6);
    assert_eq!(gpu(HALF, Some(2_000), 1_500), 6, "75 % of two");
    assert_eq!(gpu(HALF, None, 750), 4, "of nothing there is no percentage");
    assert_eq!(gpu(HALF, None, 0), 4, "nor does that shrink it");
    assert_eq!(gpu(Goal::AverageValue { milli: 500 }, None, 750), 6);
}

/// As an agent tells it that knows neither the newest readings nor their noise.
fn as_before(summary: &mut Summary) {
    for usage in summary.workloads.values_mut() {
        for measure in usage.metrics.values_mut() {
            measure.sums.ready_newest_milli = measure.sums.ready_usage_milli;
            measure.sums.ready_before_milli = 0;
            measure.sums.ready_noise = 0;
        }
    }
}

#[test]
fn what_older_agents_tell_counts_as_it_did() {
    let cpu = |milli| {
        move |world: &World, id, share| {
            let sample = replicas(world, id, share, Resource::Cpu, Some(100), milli);
            Some(sample)
        }
    };
    let after = |tell: &dyn Fn(&mut Summary)| {
        let mut world = world(6, Source::Resource(Resource::Cpu), HALF, None);
        for _ in 0..30 {
            second(&mut world, &cpu(50), tell);
        }
        second(&mut world, &cpu(100), tell);
        world.size()
    };
    assert_eq!(after(&|_| {}), 12, "the newest");
    // Of the leader, which reads its own in full, and of two older ones the mean.
    let mixed = after(&as_before);
    assert!((7..12).contains(&mixed), "{mixed}");
}

#[test]
fn i4_replicas_of_an_older_agent_that_does_not_know_the_metric_are_missing() {
    let mut world = world(6, Source::Resource(Resource::PsiIo), HALF, None);
    for _ in 0..60 {
        second(
            &mut world,
            &|world, id, share| {
                let sample = replicas(world, id, share, Resource::PsiIo, Some(1_000), 400);
                Some(sample)
            },
            &|summary| {
                if summary.node == B {
                    for usage in summary.workloads.values_mut() {
                        usage.metrics.remove("psi-io");
                    }
                }
            },
        );
    }
    // 40 % on four of them alone would make five of six do.
    assert_eq!(world.size(), 6);
}
