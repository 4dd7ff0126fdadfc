//! One pass over all workers: notices exits, compares with what is wanted,
//! starts and stops. Takes no hint. Times are milliseconds since boot.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use rustix::process::Signal;
use starling_engine::unit::Ms;

use super::{READY_AFTER_MS, STOP_AFTER_MS, Seen, Spec, VANISH_MS, WORKERS_MAX, Wanted, Worker};
use crate::collect::proc::{Proc, boot_ms, ticks_to_ms};
use crate::worker::tree::{Root, Table};
use crate::worker::{self, Mark};

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
    waiting: BTreeMap<String, Vec<Waiting>>,
}

/// A worker that was started, until nothing is left of it.
struct Held {
    mark: Mark,
    root: Root,
    started_at: Ms,
    stop_after_ms: u64,
    failure: Option<Failure>,
    /// It is being stopped, and is killed then.
    kill_at_ms: Option<u64>,
    told: bool,
}

struct Waiting {
    edition: String,
    failure: Failure,
    until_ms: u64,
}

struct Failure {
    why: String,
    /// In a row.
    times: u32,
}

impl Fleet {
    pub fn find(owner: String, logs: PathBuf) -> io::Result<Fleet> {
        let mut held = Vec::new();
        for found in worker::find(&owner)? {
            let mut adopted = Held::new(found.mark, found.root, STOP_AFTER_MS, None);
            // Of a worker that died while nobody looked, its children are ended.
            adopted.kill_at_ms = (!found.runs).then(|| boot_ms() + STOP_AFTER_MS);
            held.push(adopted);
        }
        let (proc, waiting) = (Proc::new("/proc"), BTreeMap::new());
        Ok(Fleet {
            proc,
            owner,
            logs,
            held,
            waiting,
        })
    }

    pub fn pass(&mut self, wanted: &Wanted) -> Seen {
        let now_ms = boot_ms();
        self.note_exits(now_ms);
        let mut troubles = BTreeMap::new();
        if wanted.ending {
            self.waiting.clear();
            self.held.iter_mut().for_each(|held| held.stop(now_ms));
        } else if let Some(specs) = &wanted.specs {
            for (name, &(_, count)) in wanted.counts.iter() {
                let trouble = self.plan(name, count as usize, specs.get(name), now_ms);
                troubles.extend(trouble.map(|trouble| (name.clone(), trouble)));
            }
        }
        self.carry_out_stops(now_ms);
        self.report(now_ms, &mut troubles);
        let running = self.held.iter().filter(|held| held.kill_at_ms.is_none());
        let workers = running.map(|held| held.worker(now_ms)).collect();
        let ended = wanted.ending && self.held.is_empty();
        Seen {
            workers,
            troubles,
            ended,
        }
    }

    fn note_exits(&mut self, now_ms: u64) {
        for held in self
            .held
            .iter_mut()
            .filter(|held| held.kill_at_ms.is_none())
        {
            let ran_ms = held.ran_ms(now_ms);
            held.failure.take_if(|_| ran_ms >= SOUND_AFTER_MS);
            if held.root.stat(&self.proc).is_some_and(|stat| stat.alive()) {
                continue;
            }
            let how = held.root.exit(&self.proc);
            let how = how.unwrap_or("status unknown".into());
            let why = match ran_ms {
                ..READY_AFTER_MS => format!("exits at once ({how})"),
                _ => format!("ended after {} s ({how})", ran_ms / 1_000),
            };
            let waiting = Waiting::new(held.failure.take(), why, &held.mark.edition, now_ms);
            self.waiting
                .entry(held.mark.name.clone())
                .or_default()
                .push(waiting);
            held.stop(now_ms);
        }
    }

    /// Makes one workload what it should be: `count` workers of the command that
    /// is offered. Says what keeps it from that.
    fn plan(
        &mut self,
        name: &str,
        count: usize,
        spec: Option<&Spec>,
        now_ms: u64,
    ) -> Option<String> {
        let edition = spec.map(Spec::edition);
        let mut missing = count;
        for held in self.running(name) {
            held.stop_after_ms = spec.map_or(held.stop_after_ms, |spec| spec.stop_after_ms);
            if missing > 0 && edition.as_ref() == Some(&held.mark.edition) {
                missing -= 1;
            } else {
                held.stop(now_ms);
            }
        }
        if missing < count {
            worker::trim(&self.log(name));
        }
        let mut waiting = self.waiting.remove(name).unwrap_or_default();
        let (Some(spec), Some(edition)) = (spec, edition) else {
            let why = "this machine has no Process of that name";
            return (count > 0).then(|| format!("{count} wanted, but {why}"));
        };
        waiting.retain(|waiting| waiting.edition == edition);
        waiting.sort_by_key(|waiting| waiting.until_ms);
        waiting.truncate(missing);
        let fresh = missing - waiting.len();
        let room = WORKERS_MAX.saturating_sub(self.held.len() + waiting.len());
        let due = waiting.partition_point(|waiting| waiting.until_ms <= now_ms);
        let again = waiting.drain(..due).map(|waiting| Some(waiting.failure));
        let tries: Vec<_> = again.chain((0..fresh.min(room)).map(|_| None)).collect();
        for failure in tries {
            match self.start(spec, &edition) {
                Ok((mark, root)) => {
                    let held = Held::new(mark, root, spec.stop_after_ms, failure);
                    self.held.push(held);
                }
                Err(why) => waiting.push(Waiting::new(failure, why, &edition, now_ms)),
            }
        }
        if !waiting.is_empty() {
            self.waiting.insert(name.into(), waiting);
        }
        (fresh > room).then(|| format!("one machine runs no more than {WORKERS_MAX} workers"))
    }

    /// The eldest first, so that the youngest are stopped first.
    fn running(&mut self, name: &str) -> Vec<&mut Held> {
        let held = self
            .held
            .iter_mut()
            .filter(|held| held.kill_at_ms.is_none());
        let mut running: Vec<_> = held.filter(|held| held.mark.name == name).collect();
        running.sort_by_key(|held| held.root.start_ticks);
        running
    }

    fn start(&self, spec: &Spec, edition: &str) -> Result<(Mark, Root), String> {
        let mark = Mark {
            owner: self.owner.clone(),
            edition: edition.into(),
            name: spec.name.clone(),
        };
        let log = self.log(&spec.name);
        let directory = spec.directory.as_deref();
        let root = worker::start(&spec.command, &spec.env, directory, &log, &mark.fresh())?;
        Ok((mark, root))
    }

    fn log(&self, name: &str) -> PathBuf {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
        let name = name.chars().map(|c| if plain(c) { c } else { '_' });
        self.logs.join(name.take(200).collect::<String>() + ".log")
    }

    /// Tells those that are to stop, kills those whose time is up, and forgets
    /// those of which nothing is left.
    fn carry_out_stops(&mut self, now_ms: u64) {
        let stopping = self.held.iter().filter(|held| held.kill_at_ms.is_some());
        let Some(since) = stopping.map(|held| held.root.start_ticks).min() else {
            return;
        };
        let Ok(table) = Table::read(&self.proc, worker::VARIABLE, since) else {
            return;
        };
        self.held.retain_mut(|held| {
            let Some(kill_at_ms) = held.kill_at_ms else {
                return true;
            };
            let told = std::mem::replace(&mut held.told, true);
            let first = (!told).then_some(Signal::TERM);
            let signal = if now_ms >= kill_at_ms {
                Some(Signal::KILL)
            } else {
                first
            };
            table.end(&held.root, signal)
        });
    }

    fn report(&self, now_ms: u64, troubles: &mut BTreeMap<String, String>) {
        let mut say = |name: &String, text| {
            troubles.entry(name.clone()).or_insert(text);
        };
        for (name, waiting) in &self.waiting {
            if let Some(worst) = waiting.iter().max_by_key(|waiting| waiting.failure.times) {
                let wait_s = worst.until_ms.saturating_sub(now_ms).div_ceil(1_000);
                say(name, format!("{}, next try in {wait_s} s", worst.failure));
            }
        }
        for held in &self.held {
            if held
                .kill_at_ms
                .is_some_and(|at_ms| now_ms > at_ms + VANISH_MS)
            {
                let pid = held.root.pid;
                say(
                    &held.mark.name,
                    format!("pid {pid} doesn't end after SIGKILL"),
                );
            } else if let Some(failure) = &held.failure {
                say(&held.mark.name, format!("{failure}, runs again"));
            }
        }
    }
}

impl Held {
    fn new(mark: Mark, root: Root, stop_after_ms: u64, failure: Option<Failure>) -> Held {
        let age_ms = boot_ms().saturating_sub(ticks_to_ms(root.start_ticks));
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let started_at = Ms(now.as_millis() as u64).minus(age_ms);
        let (kill_at_ms, told) = (None, false);
        Held {
            mark,
            root,
            started_at,
            stop_after_ms,
            failure,
            kill_at_ms,
            told,
        }
    }

    fn ran_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(ticks_to_ms(self.root.start_ticks))
    }

    fn stop(&mut self, now_ms: u64) {
        let kill_at_ms = now_ms.saturating_add(self.stop_after_ms);
        self.kill_at_ms.get_or_insert(kill_at_ms);
    }

    fn worker(&self, now_ms: u64) -> Worker {
        Worker {
            name: self.mark.name.clone(),
            pid: self.root.pid,
            start_ticks: self.root.start_ticks,
            started_at: self.started_at,
            ready: self.ran_ms(now_ms) >= READY_AFTER_MS,
        }
    }
}

impl Waiting {
    fn new(former: Option<Failure>, why: String, edition: &str, now_ms: u64) -> Waiting {
        let times = former.map_or(1, |former| former.times.saturating_add(1));
        let doublings = (times - 1).min(BACKOFF_MS_MAX.ilog2());
        let wait_ms = (BACKOFF_MS << doublings).min(BACKOFF_MS_MAX);
        Waiting {
            edition: edition.into(),
            failure: Failure { why, times },
            until_ms: now_ms + wait_ms,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {} times", self.why, self.times)
    }
}
