//! Stalls disks under a cluster for a stated time, and counts elections that nobody needed.
//!
//! `cargo run --release -p starling-consensus --example stalls [SECONDS] [AGENTS]`, as root:
//! agents as processes that write all the time, each on an ext4 file system of its own,
//! which is frozen for 0.2 to 2 s again and again, every other time the leader's. An hour
//! of three agents unless it is said otherwise. `STARLING_SEED` repeats an order.
#![expect(clippy::unwrap_used, reason = "a measurement that fails is none")]

use std::time::{Duration, Instant};

#[expect(dead_code, reason = "it serves the tests first")]
#[path = "../tests/cluster/harness.rs"]
mod harness;
#[expect(dead_code, reason = "it serves the tests first")]
#[path = "../tests/cluster/network.rs"]
mod network;
#[expect(dead_code, reason = "it serves the tests first")]
#[path = "../tests/cluster/process.rs"]
mod process;
#[path = "../tests/cluster/stalling.rs"]
mod stalling;
#[path = "../tests/cluster/writer.rs"]
mod writer;

fn main() {
    writer::live();
    let mut arguments = std::env::args().skip(1);
    let mut next = |or: u64| arguments.next().map_or(or, |n| n.parse().unwrap());
    let (length, agents) = (Duration::from_secs(next(3_600)), next(3) as usize);
    let mut random = process::seeded();
    let Some((volumes, mut writers)) = stalling::on_volumes(agents) else {
        return;
    };
    println!("{agents} agents, {} s", length.as_secs());
    let begin = Instant::now();
    let told = |seen: &stalling::Seen| println!("after {} s: {seen}", begin.elapsed().as_secs());
    let seen = stalling::stall(&volumes, &mut writers, &mut random, length, told);
    println!("in all: {seen}");
}
