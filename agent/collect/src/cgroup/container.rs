//! One container that is measured: its place, its open files, its last counters.
//!
//! Comes in: the layout and the moment. Goes out: how far its counters grew and
//! what its gauges say. A cgroup that has gone is forgotten, and looked for
//! again after a wait that doubles. Never holds more than the last reading.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use starling_engine::node::FRESH_MS;

use super::counter::{Counter, Grown, Step};
use super::file::{Descriptors, Held, Said};
use super::layout::{Layout, Roots};
use super::problem::Why;
use super::{Clock, PodRef, place};

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
        self.last = (self.last * 2).clamp(WAIT_FIRST, max);
        self.not_before = at + self.last;
    }
}

/// What one reading of a container came to.
#[derive(Debug, Clone, Default)]
pub struct Values {
    /// Nanoseconds of CPU.
    pub cpu: Option<Grown<1>>,
    /// Periods, throttled periods, nanoseconds stopped.
    pub throttled: Option<Grown<3>>,
    /// The working set in bytes, and when.
    pub memory: Option<(Duration, u64)>,
    /// Why not all of that is new.
    pub doubt: Option<Why>,
}

/// A value that can't be renewed just now stands for so long, with the time that
/// it has: a machine that is short of CPU must not lose its samples by that.
/// Summaries of other nodes count for as long.
const STANDS_MAX: Duration = Duration::from_millis(FRESH_MS);

#[derive(Debug, Default)]
pub struct Container {
    /// Its path within each hierarchy, once it is found.
    pub place: Option<PathBuf>,
    pub search: Backoff,
    /// The last measurement that asked for it.
    pub round: u64,
    /// Why it wasn't found, while the next try has to wait.
    missing: Option<Why>,
    /// One for each source of the layout.
    files: Vec<File>,
    cpu: Counter<1>,
    throttled: Counter<3>,
    last: Values,
}

#[derive(Debug, Default)]
struct File {
    held: Held,
    /// The kernel doesn't have it; asked again now and then, since a runtime
    /// makes a container's cgroups one after the other.
    absent: Option<Backoff>,
}

impl Container {
    /// Looks for the cgroup, unless that was in vain a moment ago.
    pub fn look(
        &mut self,
        at: Duration,
        layout: &Layout,
        roots: &Roots,
        pod: &PodRef,
        id: &str,
    ) -> Result<(), Why> {
        if !self.search.due(at)
            && let Some(why) = &self.missing
        {
            return Err(why.clone());
        }
        match place::find(layout.base(), roots, pod, id) {
            Ok(place) => {
                self.place = Some(place);
                self.missing = None;
                self.files = layout.sources.iter().map(|_| File::default()).collect();
                Ok(())
            }
            Err(why) => {
                self.lose(at, why.clone());
                Err(why)
            }
        }
    }

    /// Reads all files once.
    pub fn read(
        &mut self,
        layout: &Layout,
        descriptors: &Descriptors,
        clock: &Clock,
        buffer: &mut [u8],
    ) -> Result<Values, Why> {
        let Some(place) = &self.place else {
            return Err(Why::NoContainer);
        };
        let at = clock();
        let mut said = Said::default();
        let mut known = false;
        let mut why = Why::Gone;
        for ((hierarchy, kind), file) in layout.sources.iter().zip(&mut self.files) {
            if file.absent.is_some_and(|absent| !absent.due(at)) {
                continue;
            }
            let path = || hierarchy.join(place).join(kind.name);
            match file.held.read(path, descriptors, clock, buffer) {
                Ok((text, moment)) => {
                    file.absent = None;
                    if (kind.read)(text, moment, &mut said) {
                        known = true;
                    } else if why == Why::Gone {
                        why = Why::Unreadable(format!("{} says nothing known", kind.name));
                    }
                }
                Err(e) => {
                    file.held.close();
                    file.absent.get_or_insert_default().wait(at, WAIT_MAX);
                    // Neither says more than that the file isn't there.
                    let gone = e.kind() == io::ErrorKind::NotFound
                        || e.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error());
                    if !gone {
                        why = Why::Unreadable(format!("{}: {e}", kind.name));
                    }
                }
            }
        }
        if !known {
            self.lose(at, why.clone());
            return Err(why);
        }
        let mut doubt = None;
        let cpu = said
            .cpu_ns
            .map(|(moment, ns)| self.cpu.advance(moment, [ns]))
            .unwrap_or_default();
        if cpu == Step::Unsure {
            doubt = Some(Why::Slow);
        }
        let throttled = said
            .throttled
            .map(|(moment, counts)| self.throttled.advance(moment, counts))
            .unwrap_or_default();
        let working_set = said.memory_bytes.zip(said.inactive_file_bytes);
        self.last = Values {
            cpu: stands(at, cpu, self.last.cpu),
            throttled: stands(at, throttled, self.last.throttled),
            memory: working_set
                .map(|((moment, used), inactive)| (moment.at, used.saturating_sub(inactive))),
            doubt,
        };
        Ok(self.last.clone())
    }

    /// The values of the last reading, as far as they may still stand, for want
    /// of a new one.
    pub fn unread(&self, at: Duration, doubt: Why) -> Values {
        let last = &self.last;
        Values {
            cpu: stands(at, Step::Soon, last.cpu),
            throttled: stands(at, Step::Soon, last.throttled),
            memory: last.memory.filter(|(then, _)| is_fresh(at, *then)),
            doubt: Some(doubt),
        }
    }

    /// Closes everything; the next try to find it has to wait.
    fn lose(&mut self, at: Duration, why: Why) {
        self.place = None;
        self.files.clear();
        self.search.wait(at, WAIT_MAX);
        self.missing = Some(why);
        self.last = Values::default();
    }
}

/// The new growth, or the last one where there is none yet.
fn stands<const N: usize>(at: Duration, step: Step<N>, last: Option<Grown<N>>) -> Option<Grown<N>> {
    match step {
        Step::Grown(grown) => Some(grown),
        Step::Soon | Step::Unsure => last.filter(|grown| is_fresh(at, grown.at)),
        Step::None => None,
    }
}

fn is_fresh(at: Duration, then: Duration) -> bool {
    at.saturating_sub(then) <= STANDS_MAX
}
