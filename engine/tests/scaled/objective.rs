//! Strategy `objective` on a workload whose size the platform carries out, of replicas
//! that wait for something else rather than compute: it grows with the arrivals, stays
//! while they do, and shrinks in a stated time after them.

use starling_engine::policy::{Goal, Objective, Policy, Strategy};

use super::{A, World, pod, policy, sampled, target};

/// At most 3 of 100 pieces of work of 100 ms wait longer than 250 ms; a replica does one
/// at a time. By the trigger's goal one replica would do for a thousand arrivals.
fn objective() -> Policy {
    let mut policy = Policy {
        replicas_min: 1,
        strategy: Strategy::Objective(Box::new(Objective {
            wait_ms: 250,
            miss_ppm: 30_000,
            service_ms: Some(100),
            slots: Some(1),
            arrivals: Some("queue".into()),
            in_system: None,
        })),
        ..policy()
    };
    policy.triggers[0].goal = Goal::AverageValue { milli: 1_000_000 };
    policy
}

/// Replicas that run a second after the platform has their size.
struct Web {
    world: World,
    /// What each uses of the 100 thousandths of a core that it asks for.
    cpu_milli: i64,
}

impl Web {
    fn new(cpu_milli: i64) -> Web {
        let mut world = World::new(objective(), 1);
        world.observe();
        Web { world, cpu_milli }
    }

    /// Lets time pass with so many arrivals a second.
    fn work(&mut self, seconds: u32, per_s: i64) -> u32 {
        for _ in 0..seconds {
            let n = self.world.replicas();
            let world = &mut self.world;
            world.queue = per_s;
            world.second();
            world.change(|scale| scale.running = n);
            let at = world.now;
            world.step(A, sampled(vec![pod(self.cpu_milli, at); n as usize]));
        }
        self.world.size()
    }
}

#[test]
fn replicas_that_hardly_compute_stay_while_work_arrives_and_go_80_s_after_it() {
    for cpu_milli in [0, 1, 10] {
        let mut web = Web::new(cpu_milli);
        let grown = web.work(20, 40);
        assert!((5..=8).contains(&grown), "{grown} replicas");
        let learned = |web: &Web| {
            let history = &web.world.ledger.workloads[&target()].history;
            *history.objective.clone().expect("it has learned")
        };
        let starts_ms = learned(&web).starts_ms;
        assert!(!starts_ms.is_empty(), "the hold is as long as starts say");
        assert!(starts_ms.iter().all(|ms| *ms <= 3_000), "{starts_ms:?}");
        // Far longer than it takes to measure, and to forget what was stated.
        for minute in 0..20 {
            assert_eq!(web.work(60, 40), grown, "minute {minute}, {cpu_milli} %");
        }
        // The rate is known after 8 s, and what was needed is held for a minute from its
        // last stretch of 8 s on.
        assert_eq!(web.work(60, 24), grown);
        let shrunk = web.work(20, 24);
        assert!((3..=5).contains(&shrunk), "{shrunk} replicas");
        assert_eq!(web.work(120, 24), shrunk);
    }
}

#[test]
fn work_that_ceases_soon_after_it_came_asks_for_no_more_replicas() {
    let mut web = Web::new(0);
    let grown = web.work(10, 40);
    for second in 0..60 {
        let size = web.work(1, 2);
        assert!(size <= grown, "{size} replicas {second} s later");
    }
}
