//! Disks that stall for a moment, again and again, the leader's and others'.
//!
//! Comes in: writers whose data is each on a volume of its own, and for how long. Goes
//! out: how many elections there were, how many of them nobody needed, and how long
//! writers waited at most. A leader whose disk stalls for longer than an election timeout
//! is silent meanwhile (openraft waits for its own disk), so another one is needed; where
//! it stalls for less, or another's does, none is. The example `stalls` does it for long.

use std::fmt;
use std::time::{Duration, Instant};

use rand::RngExt as _;
use rand::rngs::StdRng;

use starling_faults::volume::Volume;

use crate::harness::Authority;
use crate::process::{Writer, eventually, pause};

/// Room for what an hour of writing leaves on the way.
const MIB: u64 = 1_024;
/// So many milliseconds nothing is written, and so many all goes well between.
const STALLED: std::ops::Range<u64> = 200..2_000;
const WELL: std::ops::Range<u64> = 300..1_000;
/// A leader that is silent for less is given up by nobody: an election timeout, less
/// what a freeze takes and the time between two heartbeats.
const SHORT: Duration = Duration::from_millis(350);

/// After so many stalls it is told what was seen so far.
const TOLD_EACH: u32 = 50;

/// What was seen.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    pub stalls: u32,
    /// Of these, under who led.
    pub of_leaders: u32,
    /// Terms that have begun.
    pub elections: u64,
    /// Those of them for which there was no reason.
    pub needless: u64,
    /// The longest time that one of the writers waited for an acknowledgement.
    pub gap: Duration,
    pub written: u64,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} stalls, {} of them under the leader: {} elections, {} of them needless; {} \
             numbers written, the longest wait {} ms",
            self.stalls,
            self.of_leaders,
            self.elections,
            self.needless,
            self.written,
            self.gap.as_millis()
        )
    }
}

/// Writers that all vote, each with a disk of its own.
pub fn on_volumes(count: usize) -> Option<(Vec<Volume>, Vec<Writer>)> {
    let mut writers = Writer::some(&Authority::new(), count);
    let volumes: Option<Vec<Volume>> = (writers.iter())
        .map(|writer| Volume::mount_of(MIB, &writer.data()))
        .collect();
    let volumes = volumes?;
    for writer in &mut writers {
        writer.start();
        writer.await_found();
    }
    eventually("all vote", || {
        let states: Vec<_> = writers.iter_mut().filter_map(Writer::state).collect();
        let whole = states.len() == count && states.iter().all(|it| it.voters.len() == count);
        whole.then_some(()).ok_or_else(|| format!("{states:?}"))
    });
    Some((volumes, writers))
}

/// Stalls one disk after the other for so long; every other time that of the leader.
pub fn stall(
    volumes: &[Volume],
    writers: &mut [Writer],
    random: &mut StdRng,
    length: Duration,
    told: impl Fn(&Seen),
) -> Seen {
    let (mut term, written) = (highest_term(writers), all_written(writers));
    for writer in writers.iter() {
        writer.gap();
    }
    let begin = Instant::now();
    let mut seen = Seen::default();
    while begin.elapsed() < length {
        let leader = leader(writers);
        let others: Vec<usize> = (0..writers.len()).filter(|n| *n != leader).collect();
        let stalled = if random.random_bool(0.5) {
            leader
        } else {
            others[random.random_range(0..others.len())]
        };
        let from = Instant::now();
        volumes[stalled].hang();
        pause(random, STALLED);
        volumes[stalled].thaw();
        let took = from.elapsed();
        pause(random, WELL);
        let now = highest_term(writers);
        let elections = now - std::mem::replace(&mut term, now);
        seen.stalls += 1;
        seen.of_leaders += u32::from(stalled == leader);
        seen.elections += elections;
        if stalled != leader || took < SHORT {
            seen.needless += elections;
        }
        let gap = writers.iter().map(Writer::gap).max();
        seen.gap = seen.gap.max(gap.unwrap());
        seen.written = all_written(writers) - written;
        if seen.stalls.is_multiple_of(TOLD_EACH) {
            told(&seen);
        }
    }
    seen
}

/// Whoever came to act last.
fn leader(writers: &[Writer]) -> usize {
    (0..writers.len())
        .max_by_key(|n| writers[*n].leads())
        .unwrap()
}

fn highest_term(writers: &mut [Writer]) -> u64 {
    let terms = writers.iter_mut().map(|writer| {
        let state = || writer.state().ok_or_else(String::new);
        eventually("it says its term", state).term
    });
    terms.max().unwrap()
}

fn all_written(writers: &[Writer]) -> u64 {
    writers.iter().map(Writer::acknowledged).sum()
}
