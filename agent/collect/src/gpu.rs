//! Measures this node's GPUs.
//!
//! Comes in: a driver's answers, on a thread of its own. Goes out: what each device
//! and each of its processes uses, and the node's totals. No driver, a driver that
//! hangs, a device that fell off the bus are states that are told. How busy one part
//! of a device is that MIG splits NVML doesn't say: it is missing, never zero.

pub mod driver;
pub mod nvml;
mod owner;
pub mod pods;
mod read;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::{Duration, Instant};

use starling_engine::demand::{self, Totals};

use crate::apart::Apart;
use crate::node::Machine;
use crate::unread::Unread;
use driver::{Failure, Identity, Memory, Open};
use read::Reader;

/// Devices beyond this many aren't asked; a machine has 16 at most.
pub const DEVICES_MAX: u32 = 64;
/// Processes of one device beyond this many are left out, and what they use isn't
/// anybody's.
pub const PROCESSES_MAX: usize = 1_024;

/// All GPUs at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gpus {
    /// When the driver was asked. `None` before it has answered for the first time.
    pub at: Option<Instant>,
    /// Why the driver tells nothing at all.
    pub failure: Option<Failure>,
    pub devices: Vec<Device>,
    /// What of single devices it doesn't tell.
    pub unread: Vec<Unread>,
}

/// What is missing wasn't told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Device {
    pub index: u32,
    pub identity: Identity,
    /// It has fallen off the bus. Nothing below is known then.
    pub lost: bool,
    /// Thousandths of the time in which it computed at all: of a device that does
    /// little in parallel that is far from full.
    pub utilization_milli: Option<u64>,
    pub memory: Option<Memory>,
    pub temperature_celsius: Option<u32>,
    pub power_milliwatts: Option<u32>,
    /// `None` where the driver doesn't say.
    pub processes: Option<Vec<Process>>,
    /// Where MIG splits it.
    pub instances: Option<Vec<Instance>>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    pub uuid: String,
    pub memory: Option<Memory>,
    pub processes: Option<Vec<Process>>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Process {
    pub pid: u32,
    /// The pod that its cgroup is of.
    pub pod: Option<String>,
    pub memory_bytes: Option<u64>,
    pub utilization: Option<Share>,
}

/// How much of a device one process used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    pub milli: u64,
    /// When it was told. A driver whose samples stand still tells nothing new.
    pub at: Instant,
}

/// Asks the driver, once in a round.
#[derive(Debug)]
pub struct Meter {
    reader: Apart<Gpus>,
    /// The driver isn't there, and isn't asked for before this.
    rests_until: Option<Instant>,
}

/// Some ten calls a device, of microseconds as a rule.
const DEADLINE: Duration = Duration::from_millis(100);
/// What was told longer ago isn't used any more.
const AGE_MAX: Duration = Duration::from_secs(5);
/// How long a driver that isn't there is left alone: it may be installed later.
const RETRY: Duration = Duration::from_mins(1);
/// How long nobody is even asked then: waking a thread each second to say the same costs
/// more than all else on a machine without GPUs.
const REST: Duration = Duration::from_secs(15);

impl Meter {
    /// `proc` must show the processes under the pids by which the driver knows them.
    pub fn new(proc: &Path) -> Meter {
        Meter::with(nvml::open(), proc, DEADLINE)
    }

    fn with(open: Open, proc: &Path, deadline: Duration) -> Meter {
        let mut reader = Reader::new(open, proc);
        Meter {
            reader: Apart::new("gpu", deadline, move || reader.read(Instant::now())),
            rests_until: None,
        }
    }

    pub fn ask(&mut self) {
        self.ask_at(Instant::now());
    }

    fn ask_at(&mut self, now: Instant) {
        if self.rests_until.is_none_or(|until| now >= until) {
            self.reader.ask();
        }
    }

    pub fn read(&mut self, totals: &mut Totals, machine: &mut Machine) {
        self.read_at(Instant::now(), totals, machine);
    }

    fn read_at(&mut self, now: Instant, totals: &mut Totals, machine: &mut Machine) {
        let answer = self.reader.take();
        if let Some(trouble) = self.reader.trouble() {
            if let Some(since) = trouble.silence() {
                machine.silent.insert("gpus".into(), since);
            }
            let why = format!("NVIDIA's driver {trouble}");
            machine.unread.push(Unread::fault("gpus", why));
        }
        let absent = answer.as_ref().filter(|it| it.value.is_absent());
        self.rests_until = absent.map(|it| it.at + REST);
        let age_max = absent.map_or(AGE_MAX, |_| REST + AGE_MAX);
        let recent = answer.filter(|it| now.saturating_duration_since(it.at) <= age_max);
        let Some(gpus) = recent.map(|answer| answer.value) else {
            return;
        };
        gpus.tell(totals, &mut machine.unread);
        machine.gpus = gpus;
    }
}

impl Gpus {
    /// This machine has no driver.
    fn is_absent(&self) -> bool {
        let failure = self.failure.as_ref();
        failure.is_some_and(|it| matches!(it, Failure::NoLibrary(_) | Failure::NoDriver))
    }

    /// The node's totals, of the devices that tell them: what one keeps to itself
    /// counts neither as used nor as there.
    fn tell(&self, totals: &mut Totals, unread: &mut Vec<Unread>) {
        match &self.failure {
            Some(failure) if self.is_absent() => {
                unread.push(Unread::absent("gpus", failure.to_string()));
            }
            Some(failure) => unread.push(Unread::fault("gpus", failure.to_string())),
            None => {}
        }
        unread.extend(self.unread.iter().cloned());
        let busy = || self.devices.iter().filter_map(|it| it.utilization_milli);
        if busy().next().is_some() {
            let allocatable = 1_000 * busy().count() as u64;
            totals.set(demand::GPU, busy().sum(), Some(allocatable));
        }
        let memory = || self.devices.iter().filter_map(|device| device.memory);
        if memory().next().is_some() {
            let sum = |part: fn(Memory) -> u64| memory().map(part).fold(0, u64::saturating_add);
            let total = sum(|memory| memory.total_bytes);
            totals.set(demand::GPU_MEMORY, sum(|it| it.used_bytes), Some(total));
        }
    }
}
