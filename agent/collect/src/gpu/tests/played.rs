//! A driver that plays recorded answers, and how a round is shown.
//!
//! A recording is text. Before the first round stand the pods (`pod UID NAME`), what
//! they hold (`holds NAME ID...`) and whose processes there are (`owns UID PID...`).
//! A round begins with `at MS` and has a line for each answer, by device: `gpu 0 UUID`
//! and then `busy`, `memory` (used, total), `warm`, `power`, `process` (pid, memory),
//! `sample` (pid, time, percent), `part` (uuid, used, total), `part-process` (uuid,
//! pid, memory). In place of a value there may be why there is none.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use starling_engine::demand::Totals;
use starling_engine::unit::Ms;

use super::super::driver::{self, Answer, Driver, Failure, Identity, Instance, Memory};
use super::super::pods::{self, Holder};
use super::super::read::Reader;
use super::super::{Device, Gpus, Process};
use crate::cgroup::PodRef;

/// One round's lines, without the first.
type Lines = Vec<Vec<String>>;

#[derive(Clone, Default)]
struct Played(Arc<Mutex<Lines>>);

fn failure(word: &str) -> Option<Failure> {
    Some(match word {
        "lost" => Failure::Lost,
        "denied" => Failure::NoPermission,
        "unsupported" => Failure::NotSupported,
        "nothing" => Failure::NotFound,
        "no-driver" => Failure::NoDriver,
        _ => return None,
    })
}

fn number<N: std::str::FromStr>(words: &[String], at: usize) -> Answer<N> {
    let word = words
        .get(at)
        .unwrap_or_else(|| panic!("{words:?} is short"));
    if let Some(failure) = failure(word) {
        return Err(failure);
    }
    Ok(word
        .parse()
        .unwrap_or_else(|_| panic!("{word} in {words:?}")))
}

impl Played {
    /// The lines of one device's answer to one question, without these two words.
    fn lines(&self, device: u32, question: &str) -> Lines {
        let lines = self.0.lock().unwrap();
        let device = device.to_string();
        let lines = lines
            .iter()
            .filter(|it| it[0] == question && it[1] == device);
        lines.map(|words| words[2..].to_vec()).collect()
    }

    fn one<N: std::str::FromStr>(&self, device: u32, question: &str) -> Answer<N> {
        match self.lines(device, question).first() {
            Some(words) => number(words, 0),
            None => Err(Failure::NotSupported),
        }
    }

    /// Where a recording isn't about it.
    fn one_or(&self, device: u32, question: &str, usual: u32) -> Answer<u32> {
        if self.lines(device, question).is_empty() {
            return Ok(usual);
        }
        self.one(device, question)
    }
}

impl Driver for Played {
    fn count(&mut self) -> Answer<u32> {
        let lines = self.0.lock().unwrap();
        if let Some(words) = lines.iter().find(|words| words[0] == "count") {
            return number(words, 1);
        }
        Ok(lines.iter().filter(|words| words[0] == "gpu").count() as u32)
    }

    fn identity(&mut self, device: u32) -> Answer<Identity> {
        let uuid: String = self.one(device, "gpu")?;
        Ok(Identity {
            uuid,
            name: "recorded".into(),
            minor: Some(device),
        })
    }

    fn utilization_percent(&mut self, device: u32) -> Answer<u32> {
        self.one(device, "busy")
    }

    fn memory(&mut self, device: u32) -> Answer<Memory> {
        let lines = self.lines(device, "memory");
        let words = lines.first().ok_or(Failure::NotSupported)?;
        memory(words, 0)
    }

    fn temperature_celsius(&mut self, device: u32) -> Answer<u32> {
        self.one_or(device, "warm", 50)
    }

    fn power_milliwatts(&mut self, device: u32) -> Answer<u32> {
        self.one_or(device, "power", 100_000)
    }

    fn processes(&mut self, device: u32) -> Answer<Vec<driver::Process>> {
        let lines = self.lines(device, "process");
        lines.iter().map(|words| process(words, 0)).collect()
    }

    fn samples(&mut self, device: u32, since_us: u64) -> Answer<Vec<driver::Sample>> {
        let lines = self.lines(device, "sample");
        let sample = |words: &Vec<String>| {
            Ok(driver::Sample {
                pid: number(words, 0)?,
                at_us: number(words, 1)?,
                percent: number(words, 2)?,
            })
        };
        let samples: Vec<driver::Sample> = lines.iter().map(sample).collect::<Answer<_>>()?;
        let newer = samples.into_iter().filter(|it| it.at_us > since_us);
        let newer: Vec<_> = newer.collect();
        if newer.is_empty() {
            return Err(Failure::NotFound);
        }
        Ok(newer)
    }

    fn instances(&mut self, device: u32) -> Answer<Option<Vec<Instance>>> {
        let parts = self.lines(device, "part");
        if parts.is_empty() {
            return Ok(None);
        }
        let processes = self.lines(device, "part-process");
        let instance = |words: &Vec<String>| Instance {
            uuid: words[0].clone(),
            memory: memory(words, 1),
            processes: (processes.iter().filter(|it| it[0] == words[0]))
                .map(|words| process(words, 1))
                .collect(),
        };
        Ok(Some(parts.iter().map(instance).collect()))
    }
}

fn memory(words: &[String], at: usize) -> Answer<Memory> {
    Ok(Memory {
        used_bytes: number(words, at)?,
        total_bytes: number(words, at + 1)?,
    })
}

fn process(words: &[String], at: usize) -> Answer<driver::Process> {
    Ok(driver::Process {
        pid: number(words, at)?,
        memory_bytes: match number(words, at + 1) {
            Ok(bytes) => Some(bytes),
            Err(Failure::NotSupported) => None,
            Err(failure) => return Err(failure),
        },
    })
}

/// What comes of a recording, round by round.
pub fn play(recording: &str) -> String {
    let proc = tempfile::tempdir().unwrap();
    let played = Played::default();
    let opened = played.clone();
    let open = Box::new(move || Ok(Box::new(opened.clone()) as Box<dyn Driver>));
    let mut reader = Reader::new(open, proc.path());
    let (mut pods, mut holders) = (Vec::new(), Vec::new());
    let mut rounds: Vec<(u64, Lines)> = Vec::new();
    for line in recording.lines() {
        let words: Vec<String> = line.split_ascii_whitespace().map(str::to_owned).collect();
        let Some(first) = words.first() else { continue };
        match first.as_str() {
            "pod" => pods.push(PodRef {
                uid: words[1].clone(),
                namespace: "default".into(),
                name: words[2].clone(),
                static_hash: words.get(3).cloned(),
                ..PodRef::default()
            }),
            "holds" => holders.push(Holder {
                namespace: "default".into(),
                pod: words[1].clone(),
                devices: words[2..].to_vec(),
            }),
            "owns" => owns(proc.path(), &words[1], &words[2..]),
            "at" => rounds.push((words[1].parse().unwrap(), Vec::new())),
            _ => rounds.last_mut().expect("a round first").1.push(words),
        }
    }
    let begun = Instant::now();
    let mut shown = String::new();
    for (ms, lines) in rounds {
        *played.0.lock().unwrap() = lines;
        let at = begun + Duration::from_millis(ms);
        let gpus = reader.read(at);
        writeln!(shown, "at {ms}").unwrap();
        show(&mut shown, &gpus, begun);
        let usages = pods::by_pod(Ms(ms), at, &gpus, &holders, &pods);
        let names: BTreeMap<&str, &str> =
            (pods.iter().map(|pod| (pod.uid.as_str(), pod.name.as_str()))).collect();
        for (uid, usage) in usages {
            let pods::Usage {
                gpu,
                memory,
                gpu_request_milli,
                memory_request_milli,
            } = usage;
            let reading = |it: Option<starling_engine::demand::pods::Reading>| {
                it.map_or("-".to_owned(), |it| {
                    format!("{} (at {})", it.milli, it.at.0)
                })
            };
            let of = memory_request_milli.map_or("-".to_owned(), |it| it.to_string());
            writeln!(
                shown,
                "  {}: gpu {} of {gpu_request_milli}, memory {} of {of}",
                names[uid.as_str()],
                reading(gpu),
                reading(memory),
            )
            .unwrap();
        }
    }
    shown
}

/// As a process's cgroup shows its pod.
fn owns(proc: &Path, uid: &str, pids: &[String]) {
    for pid in pids {
        let dir = proc.join(pid);
        std::fs::create_dir_all(&dir).unwrap();
        let line = format!("0::/kubepods/burstable/pod{uid}/0123\n");
        std::fs::write(dir.join("cgroup"), line).unwrap();
    }
}

fn show(shown: &mut String, gpus: &Gpus, begun: Instant) {
    if let Some(failure) = &gpus.failure {
        writeln!(shown, "  failure: {failure}").unwrap();
    }
    for device in &gpus.devices {
        show_device(shown, device, begun);
    }
    let (mut totals, mut unread) = (Totals::default(), Vec::new());
    gpus.tell(&mut totals, &mut unread);
    for (name, amount) in totals.0 {
        let allocatable = amount.allocatable.unwrap_or(0);
        writeln!(shown, "  node {name} {} of {allocatable}", amount.used).unwrap();
    }
    for unread in unread {
        let kind = if unread.fault { "fault" } else { "absent" };
        writeln!(shown, "  {kind}: {}: {}", unread.what, unread.why).unwrap();
    }
}

fn show_device(shown: &mut String, device: &Device, begun: Instant) {
    let number = |it: Option<u64>| it.map_or("-".to_owned(), |it| it.to_string());
    let memory = |it: Option<Memory>| {
        let both = it.map(|it| format!("{} of {}", it.used_bytes, it.total_bytes));
        both.unwrap_or("-".to_owned())
    };
    let process = |it: &Process| {
        let since = |at: Instant| at.saturating_duration_since(begun).as_millis();
        let share = it.utilization.map_or("-".to_owned(), |share| {
            format!("{} (at {})", share.milli, since(share.at))
        });
        format!("{}: {share}, memory {}", it.pid, number(it.memory_bytes))
    };
    if device.lost {
        writeln!(shown, "  {} lost", device.identity.uuid).unwrap();
        return;
    }
    let (busy, memory_of_it) = (number(device.utilization_milli), memory(device.memory));
    let uuid = &device.identity.uuid;
    writeln!(shown, "  {uuid} busy {busy} memory {memory_of_it}").unwrap();
    for it in device.processes.iter().flatten() {
        writeln!(shown, "    {}", process(it)).unwrap();
    }
    for part in device.instances.iter().flatten() {
        writeln!(shown, "    {} memory {}", part.uuid, memory(part.memory)).unwrap();
        for it in part.processes.iter().flatten() {
            writeln!(shown, "      {}", process(it)).unwrap();
        }
    }
}
