//! One cgroup that is measured, a container's or a pod's own: its place, its open
//! files, its last counters.
//!
//! Comes in: the layout and the moment. Goes out: how far its counters grew and
//! what its gauges say. A cgroup that has gone is forgotten, and looked for
//! again after a wait that doubles. Never holds more than the last reading.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use starling_engine::node::FRESH_MS;
use starling_engine::policy::Resource;

use super::PodRef;
use super::counter::{Counter, Grown, Moment, Step};
use super::file::{Held, Reader};
use super::layout::Source;
use super::memory::{self, Memory};
use super::problem::Why;
use super::said::{CHARGED, Pace, Said, Stalled};

/// Not found: the next try has to wait, each time twice as long.
#[derive(Debug, Clone, Copy, Default)]
pub struct Backoff {
    not_before: Duration,
    last: Duration,
}

/// So that the measurement a second later may try again, though it comes early.
const WAIT_FIRST: Duration = Duration::from_millis(900);
/// The longest wait between two tries to find one container.
const WAIT_MAX: Duration = Duration::from_secs(30);

impl Backoff {
    pub fn due(&self, at: Duration) -> bool {
        at >= self.not_before
    }

    /// The next try has to wait.
    pub fn wait(&mut self, at: Duration, max: Duration) {
        self.wait_from(at, WAIT_FIRST, max);
    }

    /// The same, for `first` at first.
    fn wait_from(&mut self, at: Duration, first: Duration, max: Duration) {
        self.last = (self.last * 2).clamp(first, max);
        self.not_before = at + self.last;
    }
}

/// What one reading of a cgroup came to.
#[derive(Debug, Clone, Default)]
pub struct Values {
    /// Nanoseconds of CPU.
    pub cpu: Option<Grown<1>>,
    /// Periods, throttled periods, nanoseconds stopped.
    pub throttled: Option<Grown<3>>,
    pub memory: Option<Memory>,
    /// Bytes read and written.
    pub disk: Option<Grown<2>>,
    /// Processes, and when.
    pub pids: Option<(Duration, u64)>,
    /// Of CPU, memory and I/O.
    pub stalls: [Stall; 3],
    /// Since the cgroup was made, and when.
    pub oom_kills: Option<(Duration, u64)>,
    /// Why not all of that is new.
    pub doubt: Option<Why>,
}

/// Microseconds in which some, and all, waited.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stall {
    pub some: Option<Grown<1>>,
    pub full: Option<Grown<1>>,
}

/// A value that can't be renewed just now stands for so long, with the time that
/// it has: a machine that is short of CPU must not lose its samples by that.
/// Summaries of other nodes count for as long.
const STANDS_MAX: Duration = Duration::from_millis(FRESH_MS);

/// What is read seldom is read so long after the last time: at every fourth of
/// measurements a second apart, before the last values stop standing.
pub const SLOW_EVERY: Duration = Duration::from_millis(3_500);

#[derive(Debug, Default)]
pub struct Group {
    /// Its path within each hierarchy, once it is found.
    pub place: Option<PathBuf>,
    pub search: Backoff,
    /// The last measurement that asked for it.
    pub round: u64,
    /// Why it wasn't found, while the next try has to wait.
    pub missing: Option<Why>,
    /// One for each source.
    files: Vec<File>,
    beside: Beside,
    slow: Slow,
    counters: Counters,
    last: Values,
}

#[derive(Debug, Default)]
struct File {
    held: Held,
    /// The kernel doesn't have it, or says nothing known in it; asked again now and
    /// then, since a runtime makes a container's cgroups one after the other.
    absent: Option<Backoff>,
}

/// Whether its processes are in the hierarchy beside version 1 too. Few runtimes put
/// any there, and those that do put them there first.
#[derive(Debug, Default)]
struct Beside {
    has: bool,
    search: Backoff,
}

const BESIDE_WAIT_FIRST: Duration = Duration::from_secs(10);
const BESIDE_WAIT_MAX: Duration = Duration::from_mins(10);

impl Beside {
    fn has(&mut self, at: Duration, source: &Source, cgroup: &Path) -> bool {
        if !self.has && self.search.due(at) {
            self.has = source.is_populated(cgroup);
            self.search
                .wait_from(at, BESIDE_WAIT_FIRST, BESIDE_WAIT_MAX);
        }
        self.has
    }
}

/// When the files that are read seldom are next.
#[derive(Debug, Default)]
pub(super) struct Slow {
    readings: u32,
    not_before: Duration,
    /// Another one in each cgroup, so that not all have their turn at once.
    turn: u64,
}

impl Slow {
    pub(super) fn new(turn: u64) -> Slow {
        Slow {
            turn,
            ..Slow::default()
        }
    }

    /// All begins anew.
    pub(super) fn again(&mut self) {
        self.readings = 0;
    }

    /// The first two readings have all, so that every rate is there soon.
    pub(super) fn due(&mut self, at: Duration) -> bool {
        self.readings = self.readings.saturating_add(1);
        if self.readings > 2 && at < self.not_before {
            return false;
        }
        let early = match self.readings {
            2 => Duration::from_secs(self.turn % 4),
            _ => Duration::ZERO,
        };
        self.not_before = at + SLOW_EVERY.saturating_sub(early);
        true
    }
}

#[derive(Debug, Default)]
struct Counters {
    cpu: Counter<1>,
    throttled: Counter<3>,
    disk: Counter<2>,
    stalls: [[Counter<1>; 2]; 3],
    oom_kills: u64,
}

impl Group {
    /// One of many; each has a turn of its own.
    pub fn new(turn: u64) -> Group {
        Group {
            slow: Slow::new(turn),
            ..Group::default()
        }
    }

    /// It was found: its files are opened by the next reading.
    pub fn settle(&mut self, place: PathBuf, sources: &[Source]) {
        self.place = Some(place);
        self.missing = None;
        self.files = sources.iter().map(|_| File::default()).collect();
    }

    /// Reads all files once that are due for this pod.
    pub fn read(
        &mut self,
        sources: &[Source],
        pod: &PodRef,
        reader: &mut Reader<'_>,
    ) -> Result<&Values, Why> {
        let at = (reader.clock)();
        let each = |pace: Pace| pace.is_each(&pod.seldom);
        let wanted = |pace: Pace| pace != Pace::Wanted || pod.pressure_by_container;
        let mut slow = self.slow.due(at);
        let mut said = Said::default();
        if !slow && !sources.iter().any(|source| each(source.kind.pace)) {
            // Nobody sizes by a pod's own cgroup.
            self.last = self.counters.advance(at, &said, |_| false, &self.last);
            return Ok(&self.last);
        }
        let former = self.last.memory;
        let moved = |pace, said: &Said| pace == Pace::Moved && memory::has_moved(former, said);
        let due = |pace, said: &Said| slow && wanted(pace) || each(pace) || moved(pace, said);
        let mut found = self.ask(due, at, sources, reader, &mut said);
        if found.is_err() && !slow {
            // Before it counts as gone, every file has been asked.
            slow = true;
            let more = |pace, _: &Said| wanted(pace) && !each(pace);
            let more = self.ask(more, at, sources, reader, &mut said);
            found = found.or_else(|why| more.map_err(|_| why));
        }
        match found {
            Ok(()) => {
                let due = |pace| slow || each(pace) || moved(pace, &said);
                self.last = self.counters.advance(at, &said, due, &self.last);
                Ok(&self.last)
            }
            Err(why) => {
                self.lose(at, why.clone());
                Err(why)
            }
        }
    }

    /// Reads the files of which `due` holds, given their pace and what was said before
    /// them; an error where none says anything.
    fn ask(
        &mut self,
        due: impl Fn(Pace, &Said) -> bool,
        at: Duration,
        sources: &[Source],
        reader: &mut Reader<'_>,
        said: &mut Said,
    ) -> Result<(), Why> {
        let cgroup = self.place.as_ref().ok_or(Why::NoContainer)?;
        let mut found = Err(Why::Gone);
        for (source, file) in sources.iter().zip(&mut self.files) {
            let kind = &source.kind;
            if file.absent.is_some_and(|absent| !absent.due(at)) || !due(kind.pace, said) {
                continue;
            }
            if source.beside && !self.beside.has(at, source, cgroup) {
                continue;
            }
            match file.held.read(|| source.open(cgroup), reader) {
                Ok((text, moment)) => {
                    if (kind.read)(text, moment, said) {
                        file.absent = None;
                        found = Ok(());
                        continue;
                    }
                    // As version 1 tells of bytes on newer kernels: it isn't worth
                    // a reading each time.
                    file.absent.get_or_insert_default().wait(at, WAIT_MAX);
                    if found == Err(Why::Gone) {
                        let why = format!("{} says nothing known", kind.name);
                        found = Err(Why::Unreadable(why));
                    }
                }
                Err(e) => {
                    file.held.close();
                    file.absent.get_or_insert_default().wait(at, WAIT_MAX);
                    // Neither says more than that the file isn't there.
                    let gone = e.kind() == io::ErrorKind::NotFound
                        || e.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error());
                    if !gone && found.is_err() {
                        found = Err(Why::Unreadable(format!("{}: {e}", kind.name)));
                    }
                }
            }
        }
        found
    }

    /// The values of the last reading, as far as they may still stand, for want
    /// of a new one.
    pub fn unread(&self, at: Duration, doubt: Why) -> Values {
        let last = &self.last;
        Values {
            cpu: stands(at, Step::Soon, last.cpu),
            throttled: stands(at, Step::Soon, last.throttled),
            memory: last.memory.filter(|memory| is_fresh(at, memory.at)),
            disk: stands(at, Step::Soon, last.disk),
            pids: gauge(at, None, false, last.pids),
            stalls: last.stalls.map(|last| Stall {
                some: stands(at, Step::Soon, last.some),
                full: stands(at, Step::Soon, last.full),
            }),
            oom_kills: gauge(at, None, false, last.oom_kills),
            doubt: Some(doubt),
        }
    }

    /// Closes everything; the next try to find it has to wait.
    pub fn lose(&mut self, at: Duration, why: Why) {
        self.place = None;
        self.files.clear();
        self.search.wait(at, WAIT_MAX);
        self.missing = Some(why);
        self.last = Values::default();
        self.slow.again();
    }
}

impl Counters {
    /// How far they grew since the last reading. `due`: what is read at a pace was read
    /// by this one.
    fn advance(
        &mut self,
        at: Duration,
        said: &Said,
        due: impl Fn(Pace) -> bool,
        last: &Values,
    ) -> Values {
        let (each, slow) = (due(Pace::Each), due(Pace::Slow));
        let cpu = step(&mut self.cpu, said.cpu_ns.map(|(at, ns)| (at, [ns])), each);
        let doubt = (cpu == Step::Unsure).then_some(Why::Slow);
        let asked = |resource| due(Pace::Asked(resource));
        let throttled = asked(Resource::Throttling);
        let throttled = step(&mut self.throttled, said.throttled, throttled);
        let disk = step(&mut self.disk, said.disk_bytes, asked(Resource::Disk));
        let mut stalls = [Stall::default(); 3];
        for (((stall, last), said), counters) in stalls
            .iter_mut()
            .zip(last.stalls)
            .zip(said.stalled)
            .zip(&mut self.stalls)
        {
            *stall = advance(counters, at, said, slow, last);
        }
        let unsaid = due(CHARGED) && said.memory_bytes.is_none()
            || due(Pace::Moved) && said.inactive_file_bytes.is_none();
        let oom_kills = said.oom_kills.map(|(moment, count)| (moment.at, count));
        // A count of kills that went back is no count; the next one is compared with it.
        let back = oom_kills.is_some_and(|(_, count)| count < self.oom_kills);
        self.oom_kills = oom_kills.map_or(self.oom_kills, |(_, count)| count);
        Values {
            cpu: stands(at, cpu, last.cpu),
            throttled: stands(at, throttled, last.throttled),
            memory: Memory::of(said)
                .or_else(|| last.memory.filter(|it| !unsaid && is_fresh(at, it.at))),
            disk: stands(at, disk, last.disk),
            pids: gauge(
                at,
                said.pids.map(|(moment, count)| (moment.at, count)),
                slow,
                last.pids,
            ),
            stalls,
            oom_kills: gauge(at, oom_kills.filter(|_| !back), slow, last.oom_kills),
            doubt,
        }
    }
}

/// A file of a pod's own cgroup is read each time and one of a container seldom, so
/// what wasn't said by a reading without the latter may only not have been asked.
fn advance(
    [some, full]: &mut [Counter<1>; 2],
    at: Duration,
    said: Option<Stalled>,
    slow: bool,
    last: Stall,
) -> Stall {
    let some_us = said.map(|said| (said.moment, [said.some_us]));
    let full_us = said.and_then(|said| Some((said.moment, [said.full_us?])));
    let due = slow || said.is_some();
    Stall {
        some: stands(at, step(some, some_us, due), last.some),
        full: stands(at, step(full, full_us, due), last.full),
    }
}

/// What wasn't said although it was `due` is missing.
fn step<const N: usize>(
    counter: &mut Counter<N>,
    said: Option<(Moment, [u64; N])>,
    due: bool,
) -> Step<N> {
    match said {
        Some((moment, counts)) => counter.advance(moment, counts),
        None if due => Step::None,
        None => Step::Soon,
    }
}

/// The new growth, or the last one where there is none yet.
pub(super) fn stands<const N: usize>(
    at: Duration,
    step: Step<N>,
    last: Option<Grown<N>>,
) -> Option<Grown<N>> {
    match step {
        Step::Grown(grown) => Some(grown),
        Step::Soon | Step::Unsure => last.filter(|grown| is_fresh(at, grown.at)),
        Step::None => None,
    }
}

/// The new value, or the last one where none was due.
fn gauge(
    at: Duration,
    said: Option<(Duration, u64)>,
    due: bool,
    last: Option<(Duration, u64)>,
) -> Option<(Duration, u64)> {
    match said {
        None if !due => last.filter(|(then, _)| is_fresh(at, *then)),
        said => said,
    }
}

fn is_fresh(at: Duration, then: Duration) -> bool {
    at.saturating_sub(then) <= STANDS_MAX
}
