//! One pass over all workers: notices exits, compares with what is wanted,
//! starts and stops. Takes no hint. Times are milliseconds since boot.

use std::collections::BTreeMap;
use std::io;

use starling_collect::proc::boot_ms;

use super::{Pass, Seen, VANISH_MS, WORKERS_MAX, Wanted};
use crate::spec::Spec;
use crate::worker::mark::edition;
use crate::worker::{Home, Process, READY_AFTER_MS};

/// How long a worker's second start waits; twice as long each time after that.
const BACKOFF_MS: u64 = 1_000;
const BACKOFF_MS_MAX: u64 = 60_000;
/// A worker that has run for this long has no failures behind it.
const SOUND_AFTER_MS: u64 = 60_000;

pub struct Fleet {
    home: Home,
    held: Vec<Held>,
    /// Workers that are wanted and wait for their next try, by name.
    waiting: BTreeMap<String, Vec<Waiting>>,
}

/// A worker that was started, until nothing is left of it.
struct Held {
    process: Process,
    failure: Option<Failure>,
}

struct Waiting {
    edition: String,
    failure: Failure,
    pause_ms: u64,
    until_ms: u64,
}

struct Failure {
    text: String,
    /// In a row.
    times: u32,
}

impl Fleet {
    pub fn find(home: Home) -> io::Result<Fleet> {
        let found = home.find()?.into_iter();
        let held = found.map(|process| Held {
            process,
            failure: None,
        });
        Ok(Fleet {
            held: held.collect(),
            home,
            waiting: BTreeMap::new(),
        })
    }
}

impl Pass for Fleet {
    fn is_idle(&self) -> bool {
        self.held.is_empty() && self.waiting.values().all(Vec::is_empty)
    }

    fn pass(&mut self, wanted: &Wanted) -> Seen {
        let now_ms = boot_ms();
        let mut troubles = BTreeMap::new();
        self.note_exits(now_ms, &mut troubles);
        if wanted.ending {
            self.waiting.clear();
            let held = self.held.iter_mut();
            held.for_each(|held| held.process.stop(now_ms));
        } else if let Some(specs) = &wanted.specs {
            for (name, &(_, count)) in wanted.counts.iter() {
                let trouble = self.plan(name, count as usize, specs.get(name), now_ms);
                troubles.extend(trouble.map(|trouble| (name.clone(), trouble)));
            }
        }
        let stopping = self.held.iter_mut().map(|held| &mut held.process);
        let stopping = stopping.filter(|process| !process.runs());
        let stopped = self.home.carry_out_stops(stopping.collect(), now_ms);
        let gone = stopped.unwrap_or_else(|e| {
            let stopping = self.held.iter().filter(|held| !held.process.runs());
            let named = stopping.map(|held| (held.process.mark.name.clone(), unread(&e)));
            troubles.extend(named);
            Vec::new()
        });
        self.held.retain(|held| !gone.contains(&held.process.root));
        self.report(now_ms, &mut troubles);
        let workers = self.held.iter().filter(|held| held.process.runs());
        Seen {
            workers: workers.map(|held| held.process.view(now_ms)).collect(),
            troubles,
            ended: wanted.ending && self.held.is_empty(),
        }
    }
}

impl Fleet {
    /// A worker of which it isn't known whether it runs counts as one that does.
    fn note_exits(&mut self, now_ms: u64, troubles: &mut BTreeMap<String, String>) {
        for held in self.held.iter_mut().filter(|held| held.process.runs()) {
            let ran_ms = held.process.ran_ms(now_ms);
            held.failure.take_if(|_| ran_ms >= SOUND_AFTER_MS);
            let name = &held.process.mark.name;
            let how = match self.home.exit(&held.process) {
                Ok(None) => continue,
                Ok(Some(how)) => how,
                Err(e) => {
                    troubles.insert(name.clone(), unread(&e));
                    continue;
                }
            };
            let why = match ran_ms {
                ..READY_AFTER_MS => format!("exits at once ({how})"),
                _ => format!("ended after {} s ({how})", ran_ms / 1_000),
            };
            let edition = &held.process.mark.edition;
            let waiting = Waiting::new(held.failure.take(), why, edition, now_ms);
            let name = name.clone();
            self.waiting.entry(name).or_default().push(waiting);
            held.process.stop(now_ms);
        }
    }

    /// Makes one workload what it should be: `count` workers of the command that
    /// is offered. Says what keeps it from that.
    fn plan(&mut self, name: &str, count: usize, spec: Option<&Spec>, now: u64) -> Option<String> {
        let offered = spec.map(edition);
        let mut missing = count;
        let running = self.held.iter_mut().filter(|held| held.process.runs());
        let mut named: Vec<_> = running
            .filter(|held| held.process.mark.name == name)
            .collect();
        // The eldest are kept, the youngest stopped.
        named.sort_by_key(|held| held.process.root.start_ticks);
        for held in named {
            let process = &mut held.process;
            process.stop_after_ms = spec.map_or(process.stop_after_ms, |spec| spec.stop_after_ms);
            if missing > 0 && offered.as_ref() == Some(&process.mark.edition) {
                missing -= 1;
            } else {
                process.stop(now);
                held.failure = None;
            }
        }
        let mut waiting = self.waiting.remove(name).unwrap_or_default();
        let (Some(spec), Some(edition)) = (spec, offered) else {
            let why = "this machine has no Process of that name";
            return (count > 0).then(|| format!("{count} wanted, but {why}"));
        };
        if missing < count {
            self.home.trim(name);
        }
        waiting.retain(|waiting| waiting.edition == edition);
        waiting.sort_by_key(|waiting| waiting.until_ms);
        waiting.truncate(missing);
        let fresh = missing - waiting.len();
        let places = WORKERS_MAX.saturating_sub(self.held.len() + waiting.len());
        let due = waiting.partition_point(|waiting| waiting.until_ms <= now);
        let again = waiting.drain(..due).map(|waiting| Some(waiting.failure));
        let tries: Vec<_> = again.chain((0..fresh.min(places)).map(|_| None)).collect();
        for failure in tries {
            match self.home.start(spec) {
                Ok(process) => self.held.push(Held { process, failure }),
                Err(why) => waiting.push(Waiting::new(failure, why, &edition, now)),
            }
        }
        if !waiting.is_empty() {
            self.waiting.insert(name.into(), waiting);
        }
        (fresh > places).then(|| format!("a machine runs at most {WORKERS_MAX} workers"))
    }

    fn report(&self, now_ms: u64, troubles: &mut BTreeMap<String, String>) {
        for (name, waiting) in &self.waiting {
            if let Some(worst) = waiting.iter().max_by_key(|waiting| waiting.failure.times) {
                // No countdown: a trouble that stays the same is told once.
                let pause_s = worst.pause_ms / 1_000;
                let text = format!("{}, tried again after {pause_s} s", worst.failure.text);
                troubles.entry(name.clone()).or_insert(text);
            }
        }
        for held in &self.held {
            let text = match &held.failure {
                _ if held.process.overdue_ms(now_ms) > VANISH_MS => {
                    format!("pid {} doesn't end after SIGKILL", held.process.root.pid)
                }
                Some(failure) => format!("{}, runs again", failure.text),
                None => continue,
            };
            let name = held.process.mark.name.clone();
            troubles.entry(name).or_insert(text);
        }
    }
}

fn unread(why: &io::Error) -> String {
    format!("it can't be seen whether its workers run ({why}); they count as running until it can")
}

impl Waiting {
    fn new(former: Option<Failure>, why: String, edition: &str, now_ms: u64) -> Waiting {
        let times = former.map_or(1, |former| former.times.saturating_add(1));
        let text = match times {
            1 => why,
            _ => format!("{why}, {times} times"),
        };
        let doublings = (times - 1).min(BACKOFF_MS_MAX.ilog2());
        let pause_ms = (BACKOFF_MS << doublings).min(BACKOFF_MS_MAX);
        Waiting {
            edition: edition.into(),
            failure: Failure { text, times },
            pause_ms,
            until_ms: now_ms + pause_ms,
        }
    }
}
