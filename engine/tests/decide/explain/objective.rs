//! The words for what the strategy `objective` decided.

use super::*;
use crate::objective::{run, web};
use starling_engine::decide::objective::signal::Second;

#[test]
fn the_objective_grows() {
    let mut web = web(4);
    run(&mut web, 60, 100);
    insta::assert_snapshot!(explain(&run(&mut web, 3, 1_000)), @"
    Grows from 5 to 6 replicas.

    - arrivals (metrics-api) asks for 20 replicas: 1000 in all, target 50 a replica;
      measured just now.

    The objective decides: arrivals of 437.5/s over 8 s at 0.040 s each keep 17.5
    slots busy; with 0.3 deviations of headroom that takes 23 slots, 6 replicas. The
    work that waits is not counted; staffed by rate.
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
    slots busy; with 0.3 deviations of headroom that takes 19 slots, 5 replicas. The
    work that waits is not counted; staffed by rate.
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
    slots busy; with 0.3 deviations of headroom that takes 11 slots, 3 replicas. The
    work that waits is not counted; staffed by rate. 12 replicas were needed in the
    last 180 s.
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
        ready: web.size,
    });
    insta::assert_snapshot!(explain(&web.look()), @"
    Grows from 10 to 11 replicas.

    - arrivals (metrics-api) asks for 8 replicas: 400 in all, target 50 a replica;
      measured just now.

    The objective decides: arrivals of 400.0/s over 8 s at 0.040 s each keep 16.0
    slots busy; with 0.5 deviations of headroom that takes 20 slots, 5 replicas.
    1960 wait already, which takes 11 replicas.
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
fn the_objective_is_new_to_the_workload() {
    let mut web = web(9);
    insta::assert_snapshot!(explain(&run(&mut web, 3, 100)), @"
    Stays at 9 replicas.

    - arrivals (metrics-api) asks for 2 replicas: 100 in all, target 50 a replica;
      measured just now.

    The objective decides: arrivals of 100.0/s over 3 s at 0.040 s each keep 4.0
    slots busy; with 0.3 deviations of headroom that takes 6 slots, 2 replicas. The
    work that waits is not counted; staffed by rate. Too little has been seen to
    shrink on.
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
    slots busy; with 0.3 deviations of headroom that takes 1 slot, 1 replica. The
    work that waits is not counted; staffed by rate. Idle for 70 s; the last replica
    stays for 60 s. 1 replica was needed in the last 180 s.
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
    slots busy; with 0.3 deviations of headroom that takes 47 slots, 12 replicas.
    The work that waits is not counted; staffed by rate. The bounds keep that
    between 2 and 6.
    [ValidMetricFound ObjectiveStaffed ObjectiveQueueUnknown ObjectiveBounded]
    ");
}
