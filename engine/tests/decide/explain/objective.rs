//! The words for what the strategy `objective` decided.

use super::*;
use crate::objective::{run, web};
use starling_engine::decide::objective::signal::Second;
use starling_engine::policy;

#[test]
fn the_objective_grows() {
    let mut web = web(4);
    run(&mut web, 60, 100);
    insta::assert_snapshot!(explain(&run(&mut web, 3, 1_000)), @"
    Grows from 4 to 6 replicas.

    - arrivals (metrics-api) asks for 20 replicas: 1000 in all, target 50 a replica;
      measured just now.

    The objective decides: arrivals of 437.5/s over 8 s at 0.040 s each keep 17.5
    slots busy; with 0.3 deviations of headroom that takes 21 slots, or 6 replicas
    of 4. The work that waits is not counted; staffed by rate.
    [ValidMetricFound ObjectiveStaffed ObjectiveQueueUnknown]
    ");
}

#[test]
fn the_objective_is_steady() {
    let mut web = web(4);
    insta::assert_snapshot!(explain(&run(&mut web, 60, 400)), @"
    Stays at 5 replicas.

    - arrivals (metrics-api) asks for 8 replicas: 400 in all, target 50 a replica;
      measured just now.

    The objective decides: arrivals of 400.0/s over 8 s at 0.040 s each keep 16.0
    slots busy; with 0.3 deviations of headroom that takes 19 slots, or 5 replicas
    of 4. The work that waits is not counted; staffed by rate.

    What would change the size:
    - the load goes above 18.2 busy slots or stays below 13.4
    [ValidMetricFound ObjectiveStaffed ObjectiveQueueUnknown]
    ");
}

#[test]
fn the_objective_holds() {
    let mut web = web(4);
    run(&mut web, 60, 1_000);
    insta::assert_snapshot!(explain(&run(&mut web, 30, 200)), @"
    Stays at 12 replicas.

    - arrivals (metrics-api) asks for 4 replicas: 200 in all, target 50 a replica;
      measured just now.

    The objective decides: arrivals of 200.0/s over 8 s at 0.040 s each keep 8.0
    slots busy; with 0.3 deviations of headroom that takes 10 slots, or 3 replicas
    of 4. The work that waits is not counted; staffed by rate. 12 replicas were
    needed in the last 180 s.

    What would change the size:
    - the load goes above 43.6 busy slots
    - 2 min 54 s pass
    [ValidMetricFound ObjectiveStaffed ObjectiveQueueUnknown ObjectiveHeld]
    ");
}

#[test]
fn the_objective_sees_work_that_waits() {
    let mut web = web(10);
    run(&mut web, 60, 400);
    web.later(1).read(vec![value(400)]);
    web.signal.as_mut().unwrap().push(Second {
        arrivals_milli: Some(400_000),
        busy_milli: Some(40_000),
        in_system_milli: Some(2_000_000),
        used_ppm: None,
        ready: web.size,
    });
    insta::assert_snapshot!(explain(&web.look()), @"
    Grows from 10 to 11 replicas.

    - arrivals (metrics-api) asks for 8 replicas: 400 in all, target 50 a replica;
      measured just now.

    The objective decides: arrivals of 400.0/s over 8 s at 0.040 s each keep 16.0
    slots busy; with 0.5 deviations of headroom that takes 20 slots, or 5 replicas
    of 4. 1960 wait already, which takes 11 replicas.
    [ValidMetricFound ObjectiveStaffed ObjectiveQueue]
    ");
}

#[test]
fn the_objective_does_not_know_the_arrivals() {
    let mut web = web(4);
    web.read(vec![value(300)]);
    insta::assert_snapshot!(explain(&web.look()), @"
    Grows from 4 to 6 replicas.

    - arrivals (metrics-api) asks for 6 replicas: 300 in all, target 50 a replica;
      measured just now.

    The arrival rate is not known, so the triggers' goals decide.
    [ValidMetricFound ObjectiveArrivalsUnknown]
    ");
}

#[test]
fn the_objective_does_not_know_what_a_replica_does_at_a_time() {
    let mut web = web(4).with(|p| {
        if let policy::Strategy::Objective(objective) = &mut p.strategy {
            objective.slots = None;
        }
    });
    insta::assert_snapshot!(explain(&run(&mut web, 10, 200)), @"
    Stays at 4 replicas.

    - arrivals (metrics-api) is near enough to its target to keep 4 replicas: 200 in
      all, target 50 a replica; measured just now.

    How much a replica does at a time is neither stated nor measured yet, so the
    triggers' goals decide.

    What would change the size:
    - arrivals goes above 220 or falls to 150
    [ValidMetricFound ObjectiveSlotsUnknown]
    ");
}

#[test]
fn the_objective_meets_the_minimum() {
    let mut web = web(2);
    insta::assert_snapshot!(explain(&run(&mut web, 60, 20)), @"
    Stays at 2 replicas.

    - arrivals (metrics-api) asks for 1 replica: 20 in all, target 50 a replica;
      measured just now.

    The objective decides: arrivals of 20.0/s over 8 s at 0.040 s each keep 0.8
    slots busy; with 0.3 deviations of headroom that takes 2 slots, or 1 replica of
    4. The work that waits is not counted; staffed by rate. The bounds keep that
    between 2 and 50.

    What would change the size:
    - spec.minReplicaCount allows 1
    - the load goes above 7.3 busy slots
    [ValidMetricFound ObjectiveStaffed ObjectiveQueueUnknown ObjectiveBounded]
    ");
}

#[test]
fn the_objective_is_new_to_the_workload() {
    let mut web = web(9);
    insta::assert_snapshot!(explain(&run(&mut web, 3, 100)), @"
    Stays at 9 replicas.

    - arrivals (metrics-api) asks for 2 replicas: 100 in all, target 50 a replica;
      measured just now.

    The objective decides: arrivals of 100.0/s over 3 s at 0.040 s each keep 4.0
    slots busy; with 0.3 deviations of headroom that takes 6 slots, or 2 replicas of
    4. The work that waits is not counted; staffed by rate. Too little has been seen
    to shrink on.

    What would change the size:
    - the load goes above 32.7 busy slots
    - 5 s pass
    [ValidMetricFound ObjectiveStaffed ObjectiveQueueUnknown ObjectiveSignalShort]
    ");
}

#[test]
fn the_objective_lets_the_last_replica_go() {
    let mut web = web(1).with(|p| p.replicas_min = 0);
    run(&mut web, 30, 20);
    insta::assert_snapshot!(explain(&run(&mut web, 70, 0)), @"
    Stays at 1 replica.

    - arrivals (metrics-api) asks for 0 replicas: 0 in all, target 50 a replica;
      measured just now.

    The objective decides: arrivals of 6.0/s over 100 s at 0.040 s each keep 0.2
    slots busy; with 0.3 deviations of headroom that takes 1 slot, or 1 replica of
    4. The work that waits is not counted; staffed by rate. Idle for 70 s; the last
    replica stays for 60 s. 1 replica was needed in the last 180 s.

    What would change the size:
    - the load goes above 3.5 busy slots
    - 2 min 50 s pass
    [ValidMetricFound ObjectiveStaffed ObjectiveQueueUnknown ObjectiveIdle ObjectiveHeld]
    ");
}

#[test]
fn the_objective_meets_the_maximum() {
    let mut web = web(5).with(|p| p.replicas_max = 6);
    insta::assert_snapshot!(explain(&run(&mut web, 10, 1_000)), @"
    Stays at 6 replicas.

    - arrivals (metrics-api) asks for 20 replicas: 1000 in all, target 50 a replica;
      measured just now.

    The objective decides: arrivals of 1000.0/s over 8 s at 0.040 s each keep 40.0
    slots busy; with 0.3 deviations of headroom that takes 47 slots, or 12 replicas
    of 4. The work that waits is not counted; staffed by rate. The bounds keep that
    between 2 and 6.

    What would change the size:
    - spec.maxReplicaCount allows 12
    - the load stays below 16.9 busy slots
    [ValidMetricFound ObjectiveStaffed ObjectiveQueueUnknown ObjectiveBounded]
    ");
}
