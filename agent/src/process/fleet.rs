//! One pass over all workers: notices exits, compares with what is wanted,
//! starts and stops. Takes no hint. Times are milliseconds since boot.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use rustix::process::Signal;
use starling_engine::unit::Ms;

use super::marker::{self, Marker};
use super::{LOG_BYTES_MAX, READY_AFTER_MS, STOP_AFTER_MS, VANISH_MS, WORKERS_MAX};
use super::{Seen, Spec, Wanted, Worker};
use crate::actuate::tree::{Root, Table};
use crate::collect::proc::{Proc, Stat, boot_ms, ticks_to_ms};

/// How long a worker's second start waits; twice as long each time after that.
const BACKOFF_MS: u64 = 1_000;
const BACKOFF_MS_MAX: u64 = 60_000;
/// A worker that has run for this long has no failures behind it.
const SOUND_AFTER_MS: u64 = 60_000;

pub struct Fleet {
    proc: Proc,
    owner: String,
    logs: PathBuf,
    held: Vec<Held>,
    /// Workers that are wanted and wait for their next try, by name.
    vacancies: BTreeMap<String, Vec<Vacancy>>,
}

/// A worker that was started, until nothing is left of it.
struct Held {
    marker: Marker,
    root: Root,
    started_at: Ms,
    stop_after_ms: u64,
    failure: Option<Failure>,
    stop: Option<Stop>,
}

struct Stop {
    told: bool,
    kill_at_ms: u64,
}

struct Failure {
    why: String,
    /// In a row.
    times: u32,
}

struct Vacancy {
    edition: String,
    failure: Failure,
    until_ms: u64,
}

impl Fleet {
    /// Looks for workers that carry the same owner's marker. Of the processes
    /// with one mark, the eldest that leads a group is the worker, the others
    /// inherited it; where none leads, the worker has died and they are ended.
    pub fn find(cluster: &str, logs: PathBuf) -> io::Result<Fleet> {
        let (proc, now_ms) = (Proc::new("/proc"), boot_ms());
        let owner = marker::owner(cluster, &logs);
        let mut found: BTreeMap<String, Vec<Stat>> = BTreeMap::new();
        for (stat, mark) in Table::read(&proc, marker::VARIABLE, 0)?.marked() {
            if stat.pid != std::process::id() {
                found.entry(mark.to_owned()).or_default().push(*stat);
            }
        }
        let adopt = |(mark, stats): (String, Vec<Stat>)| {
            let marker = Marker::parse(&mark).filter(|marker| marker.owner == owner)?;
            let child = |stat: &Stat| stats.iter().any(|other| other.pid == stat.parent);
            let leaders = stats
                .iter()
                .filter(|stat| stat.pid == stat.group && !child(stat));
            let leader = leaders.min_by_key(|stat| stat.start_ticks);
            // Start 0 is the kernel's own: no worker's.
            let (pid, start_ticks) = match leader {
                Some(leader) => (leader.pid, leader.start_ticks),
                None => (stats.first()?.group, 0),
            };
            let root = Root {
                pid,
                start_ticks,
                mark,
            };
            let mut held = Held::new(marker, root, STOP_AFTER_MS, None);
            if leader.is_none() {
                held.stop(now_ms);
            }
            Some(held)
        };
        let held = found.into_iter().filter_map(adopt).collect();
        let vacancies = BTreeMap::new();
        Ok(Fleet {
            proc,
            owner,
            logs,
            held,
            vacancies,
        })
    }

    pub fn pass(&mut self, wanted: &Wanted) -> Seen {
        let now_ms = boot_ms();
        self.note_exits(now_ms);
        let mut troubles = BTreeMap::new();
        if wanted.ending {
            self.vacancies.clear();
            self.held.iter_mut().for_each(|held| held.stop(now_ms));
        } else if let Some(specs) = &wanted.specs {
            for (name, &(_, count)) in wanted.counts.iter() {
                let trouble = self.plan(name, count, specs.get(name), now_ms);
                troubles.extend(trouble.map(|trouble| (name.clone(), trouble)));
            }
        }
        self.carry_out_stops(now_ms);
        self.report(now_ms, &mut troubles);
        let running = self.held.iter().filter(|held| held.stop.is_none());
        let workers = running.map(|held| held.worker(now_ms)).collect();
        let ended = wanted.ending && self.held.is_empty();
        Seen {
            workers,
            troubles,
            ended,
        }
    }

    fn note_exits(&mut self, now_ms: u64) {
        for held in self.held.iter_mut().filter(|held| held.stop.is_none()) {
            let sound = held.ran_ms(now_ms) >= SOUND_AFTER_MS;
            held.failure.take_if(|_| sound);
            if held.root.stat(&self.proc).is_some_and(|stat| stat.alive()) {
                continue;
            }
            let how = held
                .root
                .exit(&self.proc)
                .unwrap_or("status unknown".into());
            let why = match held.ran_ms(now_ms) {
                ..READY_AFTER_MS => format!("exits at once ({how})"),
                ran_ms => format!("ended after {} s ({how})", ran_ms / 1_000),
            };
            let vacancy = Vacancy::new(held.failure.take(), why, &held.marker.edition, now_ms);
            self.vacancies
                .entry(held.marker.name.clone())
                .or_default()
                .push(vacancy);
            held.stop(now_ms);
        }
    }

    /// Makes one workload what it should be: `count` workers of the command that
    /// is offered. Says what keeps it from that.
    fn plan(&mut self, name: &str, count: u32, spec: Option<&Spec>, now_ms: u64) -> Option<String> {
        self.trim(name);
        let edition = spec.map(marker::edition);
        let held = self.held.iter_mut().filter(|held| held.stop.is_none());
        let mut eldest_first: Vec<_> = held.filter(|held| held.marker.name == name).collect();
        eldest_first.sort_by_key(|held| held.root.start_ticks);
        let mut missing = count as usize;
        for held in eldest_first {
            held.stop_after_ms = spec.map_or(held.stop_after_ms, |spec| spec.stop_after_ms);
            if missing > 0 && edition.as_ref() == Some(&held.marker.edition) {
                missing -= 1;
            } else {
                held.stop(now_ms);
            }
        }
        let mut waiting = self.vacancies.remove(name).unwrap_or_default();
        let (Some(spec), Some(edition)) = (spec, edition) else {
            let text = || format!("{count} wanted, but this machine has no Process of this name");
            return (count > 0).then(text);
        };
        waiting.retain(|vacancy| vacancy.edition == edition);
        waiting.sort_by_key(|vacancy| vacancy.until_ms);
        waiting.truncate(missing);
        let fresh = missing - waiting.len();
        let room = WORKERS_MAX.saturating_sub(self.held.len() + waiting.len());
        let due = waiting.partition_point(|vacancy| vacancy.until_ms <= now_ms);
        let again: Vec<_> = waiting
            .drain(..due)
            .map(|vacancy| Some(vacancy.failure))
            .collect();
        for failure in again.into_iter().chain((0..fresh.min(room)).map(|_| None)) {
            match self.start(spec, &edition) {
                Ok((marker, root)) => {
                    let held = Held::new(marker, root, spec.stop_after_ms, failure);
                    self.held.push(held);
                }
                Err(why) => waiting.push(Vacancy::new(failure, why, &edition, now_ms)),
            }
        }
        if !waiting.is_empty() {
            self.vacancies.insert(name.into(), waiting);
        }
        let text = || format!("no more than {WORKERS_MAX} workers are run on one machine");
        (fresh > room).then(text)
    }

    fn start(&self, spec: &Spec, edition: &str) -> Result<(Marker, Root), String> {
        let (program, arguments) = spec.command.split_first().ok_or("the command is empty")?;
        let directory = spec.directory.as_deref().unwrap_or(Path::new("."));
        if !directory.is_dir() {
            return Err(format!("directory {} doesn't exist", directory.display()));
        }
        // For appending, so that workers can share it and it can be emptied.
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log(&spec.name));
        let logs = log.and_then(|log| Ok((log.try_clone()?, log)));
        let (out, err) = logs.map_err(|e| format!("its log can't be opened: {e}"))?;
        let (owner, edition, name) = (self.owner.clone(), edition.into(), spec.name.clone());
        let marker = Marker {
            owner,
            edition,
            name,
        };
        let mark = marker.fresh();
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(directory)
            .process_group(0);
        command.envs(&spec.env).env(marker::VARIABLE, &mark);
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        let pid = command
            .spawn()
            .map(|child| child.id())
            .map_err(|e| match e.kind() {
                io::ErrorKind::NotFound => format!("command {program} doesn't exist"),
                _ => format!("command {program} can't be started: {e}"),
            })?;
        // Nobody has waited for it yet, so it has an entry, be it a zombie's.
        let start_ticks = self.proc.stat(pid).map_or(0, |stat| stat.start_ticks);
        Ok((
            marker,
            Root {
                pid,
                start_ticks,
                mark,
            },
        ))
    }

    fn log(&self, name: &str) -> PathBuf {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
        let name = name.chars().map(|c| if plain(c) { c } else { '_' });
        self.logs.join(name.take(200).collect::<String>() + ".log")
    }

    fn trim(&self, name: &str) {
        let path = self.log(name);
        if path.metadata().is_ok_and(|log| log.len() > LOG_BYTES_MAX)
            && let Err(e) = File::options().write(true).truncate(true).open(&path)
        {
            tracing::warn!("can't empty {}: {e}", path.display());
        }
    }

    /// Tells those that are to stop, kills those whose time is up, and forgets
    /// those of which nothing is left.
    fn carry_out_stops(&mut self, now_ms: u64) {
        let stopping = self.held.iter().filter(|held| held.stop.is_some());
        let Some(since) = stopping.map(|held| held.root.start_ticks).min() else {
            return;
        };
        let Ok(table) = Table::read(&self.proc, marker::VARIABLE, since) else {
            return;
        };
        self.held.retain_mut(|held| {
            let Some(stop) = &mut held.stop else {
                return true;
            };
            let signal = match stop.told {
                _ if now_ms >= stop.kill_at_ms => Some(Signal::KILL),
                false => Some(Signal::TERM),
                true => None,
            };
            stop.told = true;
            table.end(&held.root, signal)
        });
    }

    fn report(&self, now_ms: u64, troubles: &mut BTreeMap<String, String>) {
        let mut say = |name: &String, text| {
            troubles.entry(name.clone()).or_insert(text);
        };
        for (name, vacancies) in &self.vacancies {
            if let Some(worst) = vacancies.iter().max_by_key(|vacancy| vacancy.failure.times) {
                let Failure { why, times } = &worst.failure;
                let wait_s = worst.until_ms.saturating_sub(now_ms).div_ceil(1_000);
                say(
                    name,
                    format!("{why}, {times} times, next try in {wait_s} s"),
                );
            }
        }
        for held in &self.held {
            if held
                .stop
                .as_ref()
                .is_some_and(|stop| now_ms > stop.kill_at_ms + VANISH_MS)
            {
                let pid = held.root.pid;
                say(
                    &held.marker.name,
                    format!("pid {pid} doesn't end after SIGKILL"),
                );
            } else if let Some(Failure { why, times }) = &held.failure {
                say(
                    &held.marker.name,
                    format!("{why}, {times} times, runs again"),
                );
            }
        }
    }
}

impl Held {
    fn new(marker: Marker, root: Root, stop_after_ms: u64, failure: Option<Failure>) -> Held {
        let age_ms = boot_ms().saturating_sub(ticks_to_ms(root.start_ticks));
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let started_at = Ms(now.as_millis() as u64).minus(age_ms);
        let stop = None;
        Held {
            marker,
            root,
            started_at,
            stop_after_ms,
            failure,
            stop,
        }
    }

    fn ran_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(ticks_to_ms(self.root.start_ticks))
    }

    fn stop(&mut self, now_ms: u64) {
        let kill_at_ms = now_ms.saturating_add(self.stop_after_ms);
        self.stop.get_or_insert(Stop {
            told: false,
            kill_at_ms,
        });
    }

    fn worker(&self, now_ms: u64) -> Worker {
        Worker {
            name: self.marker.name.clone(),
            pid: self.root.pid,
            start_ticks: self.root.start_ticks,
            started_at: self.started_at,
            ready: self.ran_ms(now_ms) >= READY_AFTER_MS,
        }
    }
}

impl Vacancy {
    fn new(former: Option<Failure>, why: String, edition: &str, now_ms: u64) -> Vacancy {
        let times = former.map_or(0, |former| former.times).saturating_add(1);
        let doublings = (times - 1).min(BACKOFF_MS_MAX.ilog2());
        let wait_ms = BACKOFF_MS
            .saturating_mul(1 << doublings)
            .min(BACKOFF_MS_MAX);
        let failure = Failure { why, times };
        Vacancy {
            edition: edition.into(),
            failure,
            until_ms: now_ms + wait_ms,
        }
    }
}
