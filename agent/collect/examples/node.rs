//! Times a node's totals, and what sysinfo takes for a full scan of the same machine:
//!
//!     cargo run --release -p starling-collect --example node -- [TIMES]
//!
//! Prints processor time and wall time of one sample, of the mean and of the slowest,
//! and what this machine can't tell. GPUs are asked where there is a driver.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use starling_collect::{Collector, HostRoot};
use starling_engine::unit::Ms;

/// So that each sample has a window of its own, as an agent's have.
const PAUSE: Duration = Duration::from_millis(100);

fn main() {
    let times = std::env::args().nth(1).and_then(|n| n.parse().ok());
    let times: u32 = times.unwrap_or(50).max(1);
    let host = HostRoot::from_env(None);
    let mut collector = Collector::new(host);
    timed("node totals", times, || {
        collector.sample(Ms(0), BTreeSet::new(), &[]);
    });
    let mut system = sysinfo::System::new_all();
    timed("sysinfo, all of it", times, || {
        if let Ok(system) = &mut system {
            system.refresh_all();
        }
    });
    let machine = collector.machine();
    println!(
        "{} disks, {} interfaces, {} file systems, {} pressures, {} GPUs",
        machine.disks.len(),
        machine.interfaces.len(),
        machine.file_systems.len(),
        machine.pressures.len(),
        machine.gpus.devices.len(),
    );
    for unread in &machine.unread {
        let kind = if unread.fault { "fails" } else { "isn't here" };
        println!("{} {kind}: {}", unread.what, unread.why);
    }
}

fn timed(what: &str, times: u32, mut sample: impl FnMut()) {
    sample();
    let (mut wall, mut slowest) = (Duration::ZERO, Duration::ZERO);
    let mut used = Duration::ZERO;
    for _ in 0..times {
        std::thread::sleep(PAUSE);
        let (begun, before) = (Instant::now(), processor_time());
        sample();
        let took = begun.elapsed();
        used += processor_time().saturating_sub(before);
        wall += took;
        slowest = slowest.max(took);
    }
    println!(
        "{what}: {:?} of a processor, {:?}, {slowest:?} at most",
        used / times,
        wall / times
    );
}

/// Of all threads of this process.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    // Neither part is ever negative on this clock.
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
