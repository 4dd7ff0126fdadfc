//! Whether a leader stands behind what an agent knows.

use std::time::Duration;

use starling_consensus::Log;

use crate::harness::{Agent, Authority, acting, eventually, form};

async fn led(log: &Log) {
    eventually("a leader stands behind an agent", || async {
        log.backing().led.then_some(())
    })
    .await;
}

#[tokio::test]
async fn nobody_stands_behind_a_learner_once_its_leader_is_gone() {
    let mut agents = Agent::some(&Authority::new(), 2);
    let logs = form(&mut agents).await;
    led(&logs[1]).await;
    logs[0].shutdown().await;
    let backing = eventually("nobody stands behind it", || async {
        Some(logs[1].backing()).filter(|backing| !backing.led)
    })
    .await;
    assert!(!backing.alone && backing.age.is_some(), "{backing:?}");
    let age = backing.age;
    eventually("its knowledge ages", || async {
        (logs[1].backing().age > age.map(|age| age + Duration::from_millis(100))).then_some(())
    })
    .await;
    // It goes on naming the one that is gone, which is why backing is asked.
    let leader = logs[1].leadership().borrow().leader;
    assert_eq!(leader, Some(logs[0].id()));
}

#[tokio::test]
async fn a_leader_without_a_majority_stands_behind_nobody_that_hears_it() {
    for _ in 0..3 {
        let mut agents = Agent::some(&Authority::new(), 4);
        let logs = form(&mut agents).await;
        let leader = &logs[acting(&logs.iter().collect::<Vec<_>>()).await];
        let voters = leader.leadership().borrow().voters.clone();
        let learner = logs.iter().find(|log| !voters.contains(&log.id()));
        let learner = learner.expect("three of four vote");
        led(learner).await;
        for log in &logs {
            let ends = log.id() != leader.id() && voters.contains(&log.id());
            if ends {
                log.shutdown().await;
            }
        }
        // One that another took over from before is a follower now, of nobody.
        let leads = || leader.leadership().borrow().leader == Some(leader.id());
        for log in [leader, learner] {
            eventually("it knows that the leader is alone", || async {
                let backing = log.backing();
                (!leads() || (!backing.led && backing.alone)).then_some(())
            })
            .await;
        }
        if leads() {
            return;
        }
        eprintln!("tried again: another one came to lead");
    }
    panic!("each of three times another one came to lead");
}
