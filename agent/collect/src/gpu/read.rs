//! One round of questions to the driver.
//!
//! Comes in: the driver, opened when it is there. Goes out: [`Gpus`]. Remembers of
//! each process only its last sample. A device that fails stops none of the others.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::driver::{self, Answer, Driver, Failure, Identity, Memory, Open};
use super::{
    AGE_MAX, DEVICES_MAX, Device, Gpus, Instance, PROCESSES_MAX, Process, RETRY, Share, owner,
};
use crate::unread::Unread;

pub struct Reader {
    proc: PathBuf,
    open: Open,
    driver: Option<Box<dyn Driver>>,
    /// The last attempt to open it, and why that failed.
    failed: Option<(Instant, Failure)>,
    /// Who was under a number: a lost device may not even say that.
    identities: BTreeMap<u32, Identity>,
    /// By device.
    samples: HashMap<String, Samples>,
}

/// What was last told of one device's processes.
#[derive(Default)]
struct Samples {
    /// The driver's own time of the newest sample.
    newest_us: u64,
    /// Nothing newer came, though the device was busy: its clock may have gone back.
    doubted: bool,
    processes: HashMap<u32, Told>,
}

struct Told {
    at_us: u64,
    share: Option<Share>,
}

/// What is missing of one device, by question.
type Missing = Vec<(&'static str, Failure)>;

impl Reader {
    pub fn new(open: Open, proc: &Path) -> Reader {
        Reader {
            proc: proc.to_owned(),
            open,
            driver: None,
            failed: None,
            identities: BTreeMap::new(),
            samples: HashMap::new(),
        }
    }

    pub fn read(&mut self, at: Instant) -> Gpus {
        let found = self.devices(at);
        let mut gpus = Gpus {
            at: Some(at),
            ..Gpus::default()
        };
        match found {
            Ok((devices, unread)) => {
                gpus.devices = devices;
                gpus.unread = unread;
            }
            Err(failure) => {
                // Opened anew, later: an upgraded driver needs another library.
                self.driver = None;
                self.samples.clear();
                gpus.failure = Some(failure);
            }
        }
        gpus
    }

    fn devices(&mut self, at: Instant) -> Answer<(Vec<Device>, Vec<Unread>)> {
        let mut driver = self.opened(at)?;
        let count = driver.count();
        if let Err(failure) = &count {
            self.failed = Some((at, failure.clone()));
        }
        let count = count?;
        let (mut devices, mut unread) = (Vec::new(), Vec::new());
        if count > DEVICES_MAX {
            let why = format!("{count} devices, of which {DEVICES_MAX} are asked");
            unread.push(Unread::fault("gpus", why));
        }
        for index in 0..count.min(DEVICES_MAX) {
            let mut missing = Missing::new();
            let device = self.device(driver.as_mut(), index, at, &mut missing);
            let subject = format!("gpu {index}");
            if device.lost {
                unread.push(Unread::fault(&subject, Failure::Lost.to_string()));
            }
            unread.extend(missing.into_iter().map(|(question, failure)| {
                let what = format!("{subject} {question}");
                match failure {
                    Failure::NotSupported => Unread::absent(what, failure.to_string()),
                    failure => Unread::fault(what, failure.to_string()),
                }
            }));
            devices.push(device);
        }
        let known = |uuid: &String| devices.iter().any(|it| &it.identity.uuid == uuid);
        self.samples.retain(|uuid, _| known(uuid));
        self.driver = Some(driver);
        Ok((devices, unread))
    }

    fn opened(&mut self, at: Instant) -> Answer<Box<dyn Driver>> {
        if let Some(driver) = self.driver.take() {
            return Ok(driver);
        }
        if let Some((tried, failure)) = &self.failed
            && at.saturating_duration_since(*tried) < RETRY
        {
            return Err(failure.clone());
        }
        let opened = (self.open)();
        self.failed = (opened.as_ref().err()).map(|failure| (at, failure.clone()));
        opened
    }

    fn device(
        &mut self,
        driver: &mut dyn Driver,
        index: u32,
        at: Instant,
        missing: &mut Missing,
    ) -> Device {
        let mut ask = Ask {
            lost: false,
            missing,
        };
        let mut device = Device {
            index,
            ..Device::default()
        };
        match ask.of("identity", driver.identity(index)) {
            Some(identity) => {
                self.identities.insert(index, identity.clone());
                device.identity = identity;
            }
            None => device.identity = self.identities.get(&index).cloned().unwrap_or_default(),
        }
        if !ask.lost {
            let percent = ask.of("utilization", driver.utilization_percent(index));
            device.utilization_milli = ask.share("utilization", percent);
            let memory = driver.memory(index);
            device.memory = ask.memory("memory", memory);
            device.temperature_celsius = ask.of("temperature", driver.temperature_celsius(index));
            device.power_milliwatts = ask.of("power", driver.power_milliwatts(index));
            let instances = ask.of("instances", driver.instances(index)).flatten();
            device.instances = instances.map(|instances| {
                let instances = instances.into_iter();
                instances.map(|it| self.instance(it, &mut ask)).collect()
            });
            // Of one that is split its parts say which processes they have.
            if device.instances.is_none() {
                let found = ask.of("processes", driver.processes(index));
                if let Some(found) = found {
                    let shared = is_shared(&found);
                    let mut processes = self.processes(found);
                    if shared {
                        self.share_out(driver, &device, &mut processes, &mut ask, at);
                    } else {
                        // What it says of an earlier time is of no use later.
                        self.samples.remove(&device.identity.uuid);
                        for process in &mut processes {
                            let milli = device.utilization_milli;
                            process.utilization = milli.map(|milli| Share { milli, at });
                        }
                    }
                    device.processes = Some(processes);
                }
            }
        }
        if ask.lost {
            // What it said before it was lost may be anything.
            missing.clear();
            return Device {
                index,
                identity: device.identity,
                lost: true,
                ..Device::default()
            };
        }
        device
    }

    /// Asks who used how much of a device that several processes are on. That takes the
    /// driver a hundred times as long as any other question: 1.5 to 2.5 ms on an H200.
    fn share_out(
        &mut self,
        driver: &mut dyn Driver,
        device: &Device,
        processes: &mut [Process],
        ask: &mut Ask<'_>,
        at: Instant,
    ) {
        let samples = self.samples.entry(device.identity.uuid.clone());
        let samples = samples.or_default();
        let idle = device.utilization_milli == Some(0);
        let told = match driver.samples(device.index, samples.since_us()) {
            // No process used anything.
            Err(Failure::NotFound) => Some(Vec::new()),
            told => ask.of("samples", told),
        };
        samples.fill(processes, told.as_deref(), idle, at);
    }

    fn instance(&self, instance: driver::Instance, ask: &mut Ask<'_>) -> Instance {
        let processes = ask.of("processes", instance.processes);
        Instance {
            uuid: instance.uuid,
            memory: ask.memory("memory", instance.memory),
            processes: processes.map(|found| self.processes(found)),
        }
    }

    /// With their owners; one that computes and draws is one.
    fn processes(&self, found: Vec<driver::Process>) -> Vec<Process> {
        let mut by_pid: BTreeMap<u32, Option<u64>> = BTreeMap::new();
        // 0 is one of another pid namespace.
        for process in found.into_iter().filter(|process| process.pid != 0) {
            let memory = by_pid.entry(process.pid).or_default();
            // Both lists have the same number.
            *memory = (*memory).max(process.memory_bytes);
        }
        let by_pid = by_pid.into_iter().take(PROCESSES_MAX);
        let process = |(pid, memory_bytes)| Process {
            pid,
            pod: owner::pod_of(&self.proc, pid),
            memory_bytes,
            utilization: None,
        };
        by_pid.map(process).collect()
    }
}

/// Whether more than one process is on it, those of other pid namespaces included.
fn is_shared(found: &[driver::Process]) -> bool {
    found.windows(2).any(|two| two[0].pid != two[1].pid) || found.iter().any(|it| it.pid == 0)
}

/// Takes the answers of one device apart.
struct Ask<'a> {
    lost: bool,
    missing: &'a mut Missing,
}

impl Ask<'_> {
    fn of<T>(&mut self, question: &'static str, answer: Answer<T>) -> Option<T> {
        match answer {
            Ok(answer) => Some(answer),
            Err(Failure::Lost) => {
                self.lost = true;
                None
            }
            Err(failure) => {
                self.miss(question, failure);
                None
            }
        }
    }

    fn miss(&mut self, question: &'static str, failure: Failure) {
        // Several parts of a device may miss the same.
        if !self.missing.iter().any(|(missed, _)| *missed == question) {
            self.missing.push((question, failure));
        }
    }

    fn share(&mut self, question: &'static str, percent: Option<u32>) -> Option<u64> {
        let percent = percent?;
        if percent > 100 {
            let why = format!("the driver says {percent} %");
            self.miss(question, Failure::Other(why));
            return None;
        }
        Some(u64::from(percent) * 10)
    }

    fn memory(&mut self, question: &'static str, answer: Answer<Memory>) -> Option<Memory> {
        let memory = self.of(question, answer)?;
        if memory.used_bytes > memory.total_bytes {
            let why = "the driver says that more is used than there is";
            self.miss(question, Failure::Other(why.into()));
            return None;
        }
        Some(memory)
    }
}

impl Samples {
    /// What is asked for: all that is known, where nothing newer came.
    fn since_us(&self) -> u64 {
        if self.doubted { 0 } else { self.newest_us }
    }

    /// Gives each process its share of the device.
    ///
    /// The driver has a sample only for processes that used something, so one
    /// without a new sample was idle, if the device was or if others have new ones.
    /// Otherwise the samples stand still and nobody knows: the last share holds for
    /// a while, with its own time. At the first sight of a device its samples may be
    /// of any age, and at the first one after the driver's clock went back, too.
    fn fill(
        &mut self,
        processes: &mut [Process],
        told: Option<&[driver::Sample]>,
        idle: bool,
        at: Instant,
    ) {
        let first = self.newest_us == 0 && self.processes.is_empty();
        self.processes
            .retain(|pid, _| processes.iter().any(|process| process.pid == *pid));
        let Some(told) = told else {
            return;
        };
        let mut newest: HashMap<u32, driver::Sample> = HashMap::new();
        // More than all of a device is what drivers say of a process that ended.
        for sample in told.iter().filter(|sample| sample.percent <= 100) {
            let kept = newest.entry(sample.pid).or_insert(*sample);
            if sample.at_us > kept.at_us {
                *kept = *sample;
            }
        }
        let last = newest.values().map(|sample| sample.at_us).max();
        let moved = last.is_some_and(|last| last > self.newest_us);
        let back = last.is_some_and(|last| last < self.newest_us);
        for process in processes {
            let sample = newest.get(&process.pid);
            let former = self.processes.get(&process.pid);
            let is_new =
                |sample: &&driver::Sample| former.is_none_or(|former| sample.at_us > former.at_us);
            let share = |milli| Some(Share { milli, at });
            let share = match sample.filter(is_new) {
                _ if first || back => None,
                Some(sample) => share(u64::from(sample.percent) * 10),
                None if idle || moved => share(0),
                None => former.and_then(|former| former.share),
            };
            let recent = |share: &Share| at.saturating_duration_since(share.at) <= AGE_MAX;
            let share = share.filter(recent);
            let at_us = sample.map_or_else(
                || former.map_or(0, |former| former.at_us),
                |sample| sample.at_us,
            );
            self.processes.insert(process.pid, Told { at_us, share });
            process.utilization = share;
        }
        self.newest_us = last.unwrap_or(self.newest_us);
        self.doubted = !moved && !idle;
    }
}
