//! Asks this machine's GPUs, and times what that costs:
//!
//!     cargo run --release -p starling-collect --example gpu -- [SECONDS]
//!
//! Prints the time of each question to the driver, of the mean and of the slowest, then
//! one line of JSON a second of what an agent would measure. Exits with 1 where there is
//! no driver.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use starling_collect::gpu::driver::{Answer, Driver};
use starling_collect::gpu::{Device, Meter, Process, nvml};
use starling_collect::node::Machine;
use starling_engine::demand::Totals;

/// How often each question is asked, once a second: drivers keep some answers for less.
const TIMES: u32 = 10;
const PAUSE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let seconds = std::env::args().nth(1).and_then(|n| n.parse().ok());
    let seconds: u32 = seconds.unwrap_or(10).max(1);
    match nvml::open()() {
        Ok(mut driver) => questions(driver.as_mut()),
        Err(failure) => {
            eprintln!("{failure}");
            return ExitCode::FAILURE;
        }
    }
    rounds(seconds);
    ExitCode::SUCCESS
}

type Question = (&'static str, fn(&mut dyn Driver) -> Answer<()>);

const QUESTIONS: [Question; 9] = [
    ("count", |it| it.count().map(drop)),
    ("identity", |it| it.identity(0).map(drop)),
    ("utilization", |it| it.utilization_percent(0).map(drop)),
    ("memory", |it| it.memory(0).map(drop)),
    ("temperature", |it| it.temperature_celsius(0).map(drop)),
    ("power", |it| it.power_milliwatts(0).map(drop)),
    ("instances", |it| it.instances(0).map(drop)),
    ("processes", |it| it.processes(0).map(drop)),
    ("samples", |it| it.samples(0, 0).map(drop)),
];

/// Of the first device.
fn questions(driver: &mut dyn Driver) {
    let mut costs = [Cost::default(); QUESTIONS.len()];
    for _ in 0..TIMES {
        std::thread::sleep(PAUSE);
        for ((_, ask), cost) in QUESTIONS.iter().zip(&mut costs) {
            let before = duration(clock_gettime(ClockId::ThreadCPUTime));
            let begun = Instant::now();
            // What it doesn't tell costs time, too.
            let _ = ask(driver);
            let took = begun.elapsed();
            let used = duration(clock_gettime(ClockId::ThreadCPUTime)).saturating_sub(before);
            cost.used += used;
            cost.wall += took;
            cost.slowest = cost.slowest.max(took);
        }
    }
    for ((what, _), cost) in QUESTIONS.iter().zip(costs) {
        println!(
            "{what}: {:?} of a processor, {:?}, {:?} at most",
            cost.used / TIMES,
            cost.wall / TIMES,
            cost.slowest
        );
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Cost {
    used: Duration,
    wall: Duration,
    slowest: Duration,
}

/// As an agent asks: on a thread apart, once a second. The first round loads the library,
/// and isn't counted.
fn rounds(seconds: u32) {
    let mut meter = Meter::new(Path::new("/proc"));
    let mut used = Duration::ZERO;
    for round in 0..=seconds {
        let before = duration(clock_gettime(ClockId::ProcessCPUTime));
        meter.ask();
        std::thread::sleep(PAUSE);
        let (mut totals, mut machine) = (Totals::default(), Machine::default());
        meter.read(&mut totals, &mut machine);
        if round == 0 {
            continue;
        }
        used += duration(clock_gettime(ClockId::ProcessCPUTime)).saturating_sub(before);
        let devices: Vec<_> = machine.gpus.devices.iter().map(device).collect();
        let unread = machine.unread.iter();
        let unread: Vec<_> = unread
            .map(|it| format!("{}: {}", it.what, it.why))
            .collect();
        println!("{}", json!({ "devices": devices, "unread": unread }));
    }
    println!("a round: {:?} of a processor", used / seconds);
}

fn device(device: &Device) -> serde_json::Value {
    let memory = device.memory;
    json!({
        "name": device.identity.name,
        "uuid": device.identity.uuid,
        "minor": device.identity.minor,
        "lost": device.lost,
        "utilizationMilli": device.utilization_milli,
        "memoryUsedBytes": memory.map(|it| it.used_bytes),
        "memoryTotalBytes": memory.map(|it| it.total_bytes),
        "temperatureCelsius": device.temperature_celsius,
        "powerMilliwatts": device.power_milliwatts,
        "parts": device.instances.as_ref().map(Vec::len),
        "processes": device.processes.as_ref().map(|all| {
            all.iter().map(process).collect::<Vec<_>>()
        }),
    })
}

fn process(process: &Process) -> serde_json::Value {
    json!({
        "pid": process.pid,
        "pod": process.pod,
        "memoryBytes": process.memory_bytes,
        "utilizationMilli": process.utilization.map(|share| share.milli),
    })
}

fn duration(time: rustix::time::Timespec) -> Duration {
    // Neither part is ever negative on these clocks.
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
