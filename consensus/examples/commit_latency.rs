//! Measures commits with fdatasync, over loopback with mutual TLS.
//!
//! `cargo run --release -p starling-consensus --example commit_latency [SECONDS]`
//! prints what one write of 4 KiB with fdatasync takes on the same disk, and for one
//! agent and for three the latency of one command after the other (p50, p99) and the
//! commands per second of 64 concurrent proposers. `TMPDIR` chooses the disk.
#![expect(clippy::unwrap_used, reason = "a measurement that fails is none")]

use std::io::{Seek, SeekFrom, Write};
use std::time::{Duration, Instant};

use starling_consensus::Log;

#[expect(dead_code, reason = "it serves the tests first")]
#[path = "../tests/cluster/harness.rs"]
mod harness;

use harness::{Agent, Authority, acting, command, form};

const PROPOSERS: usize = 64;

#[tokio::main]
async fn main() {
    let seconds = std::env::args().nth(1).map_or(5, |s| s.parse().unwrap());
    let span = Duration::from_secs(seconds);
    let syncs = disk(span);
    println!(
        "the disk alone: {:.0} writes with fdatasync a second, p50 {:.2} ms, p99 {:.2} ms",
        syncs.len() as f64 / span.as_secs_f64(),
        quantile(&syncs, 0.50),
        quantile(&syncs, 0.99),
    );
    for count in [1, 3] {
        let mut agents = Agent::some(&Authority::new(), count);
        let logs = form(&mut agents).await;
        let leader = &logs[acting(&logs.iter().collect::<Vec<_>>()).await];
        let latencies = one_by_one(leader, span).await;
        println!(
            "{count} agent(s): {} commits one by one, p50 {:.2} ms, p99 {:.2} ms",
            latencies.len(),
            quantile(&latencies, 0.50),
            quantile(&latencies, 0.99),
        );
        let syncs = leader.disk_syncs();
        let done = all_at_once(leader, span).await;
        println!(
            "{count} agent(s): {:.0} commits/s with {PROPOSERS} proposers, {:.1} commits for each sync",
            done as f64 / span.as_secs_f64(),
            done as f64 / (leader.disk_syncs() - syncs) as f64,
        );
    }
}

/// Each over the same place, as the guard is written; sorted.
fn disk(span: Duration) -> Vec<Duration> {
    let mut file = tempfile::tempfile().unwrap();
    let begin = Instant::now();
    let mut latencies = Vec::new();
    while begin.elapsed() < span {
        let written = Instant::now();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.write_all(&[0; 4_096]).unwrap();
        file.sync_data().unwrap();
        latencies.push(written.elapsed());
    }
    latencies.sort_unstable();
    latencies
}

/// Sorted.
async fn one_by_one(log: &Log, span: Duration) -> Vec<Duration> {
    let begin = Instant::now();
    let mut latencies = Vec::new();
    while begin.elapsed() < span {
        let proposed = Instant::now();
        log.propose(command("x")).await.unwrap();
        latencies.push(proposed.elapsed());
    }
    latencies.sort_unstable();
    latencies
}

async fn all_at_once(log: &Log, span: Duration) -> usize {
    let begin = Instant::now();
    let proposers: Vec<_> = (0..PROPOSERS)
        .map(|_| {
            let log = log.clone();
            tokio::spawn(async move {
                let mut done = 0;
                while begin.elapsed() < span {
                    log.propose(command("x")).await.unwrap();
                    done += 1;
                }
                done
            })
        })
        .collect();
    let mut done = 0;
    for proposer in proposers {
        done += proposer.await.unwrap();
    }
    done
}

/// In milliseconds, of sorted latencies.
fn quantile(latencies: &[Duration], q: f64) -> f64 {
    let rank = (latencies.len() as f64 * q).ceil() as usize;
    latencies[rank.saturating_sub(1)].as_secs_f64() * 1_000.0
}
