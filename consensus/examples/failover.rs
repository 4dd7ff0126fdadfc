//! Measures how long a cluster of three is without commits after its leader died.
//!
//! `cargo run --release -p starling-consensus --example failover [KILLS]` drops
//! the leader's log as in a crash, proposes at another agent until a command is
//! committed, restarts the dead one and waits until it votes with the others.
#![expect(clippy::unwrap_used, reason = "a measurement that fails is none")]

use std::time::Instant;

#[expect(dead_code, reason = "it serves the tests first")]
#[path = "../tests/cluster/harness.rs"]
mod harness;

use harness::{Agent, Authority, acting, agree, commit, form};

#[tokio::main]
async fn main() {
    let kills: usize = std::env::args().nth(1).map_or(20, |s| s.parse().unwrap());
    let mut agents = Agent::some(&Authority::new(), 3);
    let mut logs = form(&mut agents).await;
    let mut times_ms = Vec::new();
    for _ in 0..kills {
        commit(&logs[0], "before").await;
        let leader = acting(&logs.iter().collect::<Vec<_>>()).await;
        agree(&logs.iter().collect::<Vec<_>>()).await;
        let mut dead = agents.remove(leader);
        let killed = Instant::now();
        drop(logs.remove(leader));
        commit(&logs[0], "after").await;
        times_ms.push(killed.elapsed().as_millis());
        logs.push(dead.start().await);
        agents.push(dead);
    }
    times_ms.sort_unstable();
    let at = |q: f64| times_ms[(kills as f64 * q).ceil() as usize - 1];
    println!(
        "{kills} kills: p50 {} ms, p99 {} ms, all {times_ms:?}",
        at(0.50),
        at(0.99)
    );
}
