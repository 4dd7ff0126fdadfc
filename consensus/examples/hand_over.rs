//! Measures how long a cluster of three, or of seven with five voters, is
//! without commits when its leader ends in order.
//!
//! `cargo run --release -p starling-consensus --example hand_over [TIMES] [AGENTS]`
//! hands the lead over and ends the leader's log, proposes at another agent all
//! the while, and takes the longest time from one commit to the next. Then the
//! ended one starts again and votes with the others.
#![expect(clippy::unwrap_used, reason = "a measurement that fails is none")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use starling_consensus::Log;

#[expect(dead_code, reason = "it serves the tests first")]
#[path = "../tests/cluster/harness.rs"]
mod harness;

use harness::{Agent, Authority, acting, agree, command, commit, form};

/// Commits one command after the other until `end`: the longest gap.
async fn longest_gap(log: Log, end: Arc<AtomicBool>) -> Duration {
    let (mut last, mut gap) = (Instant::now(), Duration::ZERO);
    loop {
        let ended = end.load(Ordering::Relaxed);
        if log.propose(command("x")).await.is_ok() {
            gap = gap.max(last.elapsed());
            last = Instant::now();
            if ended {
                return gap;
            }
        }
    }
}

#[tokio::main]
async fn main() {
    let argument = |n| std::env::args().nth(n).map(|s| s.parse().unwrap());
    let times = argument(1).unwrap_or(20);
    let mut agents = Agent::some(&Authority::new(), argument(2).unwrap_or(3));
    let mut logs = form(&mut agents).await;
    let (mut gaps_ms, mut took_ms) = (Vec::new(), Vec::new());
    for _ in 0..times {
        commit(&logs[0], "before").await;
        let leader = acting(&logs.iter().collect::<Vec<_>>()).await;
        agree(&logs.iter().collect::<Vec<_>>()).await;
        let mut ending = agents.remove(leader);
        let log = logs.remove(leader);
        let end = Arc::new(AtomicBool::new(false));
        let asking = tokio::spawn(longest_gap(logs[0].clone(), end.clone()));
        let begin = Instant::now();
        log.hand_over().await.unwrap();
        took_ms.push(begin.elapsed().as_millis());
        log.shutdown().await;
        drop(log);
        end.store(true, Ordering::Relaxed);
        gaps_ms.push(asking.await.unwrap().as_millis());
        logs.push(ending.start().await);
        agents.push(ending);
    }
    for (what, times_ms) in [("hand-over", &mut took_ms), ("longest gap", &mut gaps_ms)] {
        times_ms.sort_unstable();
        let at = |q: f64| times_ms[(times as f64 * q).ceil() as usize - 1];
        println!(
            "{what}: p50 {} ms, p99 {} ms, all {times_ms:?}",
            at(0.50),
            at(0.99)
        );
    }
}
