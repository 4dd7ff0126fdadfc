//! Watches the agent's loop, and the thread that everything beside it runs on, from
//! outside of both.
//!
//! Comes in: signs of life from either, and whether this agent leads. Goes out: the
//! lead, where nothing is decided any more or the ledger is halted, and in the end the
//! process, with [`STUCK_STATUS`], so that whatever watches over it starts it anew. Workers
//! outlive that. Counts only the time in which it ran itself: a process that was stopped, or a
//! machine that slept, hasn't hung.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use starling_consensus::beat::beat;
use starling_consensus::{Error, Kept, Log};
use tracing::{error, info, warn};

/// How often the loop's thread and the other one are looked at, and how often the
/// latter gives a sign. The loop turns once a second at least. Each look wakes a thread,
/// and the shortest time that counts is six of them.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A leader that hangs for so long gives up the lead. It is six election timeouts:
/// the others would have elected another one long ago, had it fallen silent.
const LEADER_HANGS_MAX: Duration = Duration::from_secs(3);
/// A leader that hasn't decided for so long gives up the lead, though its loop turns.
/// It decides each second, and waits 5 s for a decision that isn't committed.
const UNDECIDED_MAX: Duration = Duration::from_secs(15);
/// An agent that hangs for so long is ended, whether it leads or not.
const HANGS_MAX: Duration = Duration::from_secs(30);
/// One that has given up the lead may lead again once all has gone well for so long.
const WELL_FOR: Duration = Duration::from_secs(30);
/// A halted agent gives the lead up as often as this, for as long as it is halted, should
/// it have got it back or not been rid of it.
const HALTED_AGAIN: Duration = Duration::from_secs(10);
/// Without any leader for so long, a halted agent stands for election after all: it may
/// be the only one left with all of the log. Whoever is next takes that from it.
const HALTED_UNLED_MAX: Duration = Duration::from_secs(30);
/// How a process ends that hangs (`EX_SOFTWARE`).
pub const STUCK_STATUS: i32 = 70;

/// What is counted for the watchdog. All clones are the same agent's.
#[derive(Debug, Clone, Default)]
pub struct Pulse {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    turns: AtomicU64,
    beats: AtomicU64,
    passes: AtomicU64,
    halted: AtomicBool,
    ended: AtomicBool,
}

impl Pulse {
    /// The loop has turned.
    pub fn turned(&self) {
        self.counts.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// The leader has decided.
    pub fn passed(&self) {
        self.counts.passes.fetch_add(1, Ordering::Relaxed);
    }

    /// This agent's ledger differs from the others': it must not lead any more.
    pub fn halted(&self) {
        self.counts.halted.store(true, Ordering::Relaxed);
    }

    /// The loop has ended in order; what comes now has deadlines of its own.
    pub fn ended(&self) {
        self.counts.ended.store(true, Ordering::Relaxed);
    }

    fn read(&self) -> Signs {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Signs {
            turns: read(&self.counts.turns),
            beats: read(&self.counts.beats),
            passes: read(&self.counts.passes),
            halted: self.counts.halted.load(Ordering::Relaxed),
        }
    }

    /// Gives signs of the runtime's own thread for as long as it runs.
    async fn beat(self) {
        loop {
            self.counts.beats.fetch_add(1, Ordering::Relaxed);
            beat(LOOK_EVERY).await;
        }
    }
}

/// Starts watching, within the runtime that is watched, until [`Pulse::ended`].
pub fn start(log: Log, pulse: Pulse) -> io::Result<()> {
    tokio::spawn(pulse.clone().beat());
    // Of its own, since the other may be what hangs.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let work = move || {
        let mut watch = Watch::default();
        let mut looked = Instant::now();
        while !pulse.counts.ended.load(Ordering::Relaxed) {
            std::thread::sleep(LOOK_EVERY);
            let gone_by = std::mem::replace(&mut looked, Instant::now()).elapsed();
            let led = log.backing().led;
            let verdict = watch.look(pulse.read(), log.acting(), led, gone_by);
            runtime.block_on(carry_out(&log, verdict));
        }
    };
    std::thread::Builder::new()
        .name("watchdog".into())
        .spawn(work)?;
    Ok(())
}

async fn carry_out(log: &Log, verdict: Verdict) {
    match verdict {
        Verdict::Well => {}
        // Where it doesn't lead, this keeps it from being elected.
        Verdict::StepDown => match log.hand_over().await {
            Ok(Some(next)) => warn!(
                id = next.0,
                "this agent is halted and has given up the lead"
            ),
            Ok(None) => {}
            Err(kept) => warn!(%kept, "this agent is halted and can't give up the lead"),
        },
        Verdict::Stand => {
            warn!("nobody leads; this agent stands for election though it is halted");
            log.stand_again();
        }
        Verdict::GiveUp(why) => {
            error!("{why}; this agent leads and gives up the lead");
            match log.hand_over().await {
                Ok(Some(next)) => warn!(id = next.0, "another agent leads from now on"),
                Ok(None) => {}
                Err(Error::LeadKept(Kept::Alone)) => warn!("nobody else can lead"),
                Err(kept) if why.hangs() => end(&format!("{why}, and {kept}")),
                Err(kept) => warn!(%kept, "the lead couldn't be given up"),
            }
        }
        Verdict::End(why) => {
            // Those who hear of it at once wait for no timeout.
            let _ = log.hand_over().await;
            end(&why.to_string());
        }
        Verdict::Recovered => {
            info!("all goes well again; this agent may lead again");
            // It has an id, or it could not have led.
            log.stand_again();
        }
    }
}

fn end(why: &str) -> ! {
    error!("{why}; this agent ends with status {STUCK_STATUS}, to be started anew");
    std::process::exit(STUCK_STATUS)
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Signs {
    turns: u64,
    beats: u64,
    passes: u64,
    halted: bool,
}

/// What is wrong, and for how long it has been.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Why {
    #[error("the loop hasn't turned for {} s", .0.as_secs())]
    Loop(Duration),
    #[error("gossip and the API haven't been served for {} s", .0.as_secs())]
    Runtime(Duration),
    #[error("nothing has been decided for {} s", .0.as_secs())]
    Undecided(Duration),
}

impl Why {
    fn hangs(self) -> bool {
        !matches!(self, Why::Undecided(_))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Well,
    GiveUp(Why),
    End(Why),
    /// After the lead was given up.
    Recovered,
    /// The ledger is halted: this agent must not lead, nor come to.
    StepDown,
    /// It is, but nobody else has come to lead.
    Stand,
}

/// What was seen at the last look, and since when.
#[derive(Debug, Default)]
struct Watch {
    seen: Signs,
    loop_hangs: Duration,
    runtime_hangs: Duration,
    undecided: Duration,
    gave_up: bool,
    well: Duration,
    /// Since when nobody leads.
    unled: Duration,
    /// When a halted agent last stepped down, or stood.
    stepped_down: Option<Duration>,
}

impl Watch {
    /// `led`: whether a leader, this agent or another, stands behind the ledger.
    fn look(&mut self, now: Signs, leads: bool, led: bool, gone_by: Duration) -> Verdict {
        // Whatever is more was spent by a process that didn't run.
        let step = gone_by.min(LOOK_EVERY * 2);
        let since = |still: bool, former: Duration| {
            if still {
                former.saturating_add(step)
            } else {
                Duration::ZERO
            }
        };
        let begun = now.turns > 0;
        self.loop_hangs = since(begun && now.turns == self.seen.turns, self.loop_hangs);
        self.runtime_hangs = since(now.beats == self.seen.beats, self.runtime_hangs);
        let undecided = begun && leads && now.passes == self.seen.passes;
        self.undecided = since(undecided, self.undecided);
        self.unled = since(!led, self.unled);
        self.seen = now;
        let hangs = if self.loop_hangs >= self.runtime_hangs {
            Why::Loop(self.loop_hangs)
        } else {
            Why::Runtime(self.runtime_hangs)
        };
        let longest = self.loop_hangs.max(self.runtime_hangs);
        self.well = since(longest < LOOK_EVERY * 5, self.well);
        if longest >= HANGS_MAX {
            return Verdict::End(hangs);
        }
        if now.halted {
            return self.halted(step);
        }
        let why = match longest {
            longest if longest >= LEADER_HANGS_MAX => Some(hangs),
            _ if self.undecided >= UNDECIDED_MAX => Some(Why::Undecided(self.undecided)),
            _ => None,
        };
        match why {
            Some(why) if leads && !self.gave_up => {
                self.gave_up = true;
                self.well = Duration::ZERO;
                Verdict::GiveUp(why)
            }
            _ if self.gave_up && self.well >= WELL_FOR => {
                self.gave_up = false;
                self.undecided = Duration::ZERO;
                Verdict::Recovered
            }
            _ => Verdict::Well,
        }
    }

    /// Nothing but a new start with an empty directory mends it, so it never recovers.
    fn halted(&mut self, step: Duration) -> Verdict {
        let since = self.stepped_down.map(|since| since.saturating_add(step));
        if let Some(since) = since.filter(|since| *since < HALTED_AGAIN) {
            self.stepped_down = Some(since);
            return Verdict::Well;
        }
        self.stepped_down = Some(Duration::ZERO);
        if self.unled >= HALTED_UNLED_MAX {
            Verdict::Stand
        } else {
            Verdict::StepDown
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks until something else than [`Verdict::Well`] comes, or `long` is over.
    fn until(watch: &mut Watch, long: Duration, leads: bool, next: impl Fn(&mut Signs)) -> Verdict {
        let mut signs = watch.seen;
        for _ in 0..long.as_millis() / LOOK_EVERY.as_millis() {
            next(&mut signs);
            match watch.look(signs, leads, true, LOOK_EVERY) {
                Verdict::Well => {}
                other => return other,
            }
        }
        Verdict::Well
    }

    fn well(signs: &mut Signs) {
        signs.turns += 1;
        signs.beats += 1;
        signs.passes += 1;
    }

    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn a_leader_whose_loop_or_runtime_hangs_gives_up_the_lead_and_later_ends() {
        for (runtime, why) in [
            (false, Why::Loop(LEADER_HANGS_MAX)),
            (true, Why::Runtime(LEADER_HANGS_MAX)),
        ] {
            let mut watch = Watch::default();
            assert_eq!(until(&mut watch, MINUTE, true, well), Verdict::Well);
            let hangs = |signs: &mut Signs| {
                signs.passes += 1;
                *(if runtime {
                    &mut signs.turns
                } else {
                    &mut signs.beats
                }) += 1;
            };
            let given = until(&mut watch, MINUTE, true, hangs);
            assert_eq!(given, Verdict::GiveUp(why));
            let ended = until(&mut watch, MINUTE, false, hangs);
            assert!(matches!(ended, Verdict::End(why) if why.hangs()));
        }
    }

    #[test]
    fn a_leader_that_decides_nothing_gives_up_the_lead_and_goes_on() {
        let mut watch = Watch::default();
        let idle = |signs: &mut Signs| {
            signs.turns += 1;
            signs.beats += 1;
        };
        assert_eq!(until(&mut watch, MINUTE, false, idle), Verdict::Well);
        let given = until(&mut watch, MINUTE, true, idle);
        assert_eq!(given, Verdict::GiveUp(Why::Undecided(UNDECIDED_MAX)));
        let recovered = until(&mut watch, MINUTE, false, idle);
        assert_eq!(recovered, Verdict::Recovered, "it may lead again");
        assert_eq!(until(&mut watch, MINUTE, true, well), Verdict::Well);
    }

    #[test]
    fn a_halted_agent_steps_down_again_and_again_and_stands_only_where_nobody_leads() {
        let mut watch = Watch::default();
        let halted = |signs: &mut Signs| {
            well(signs);
            signs.halted = true;
        };
        for _ in 0..10 {
            let next = until(&mut watch, MINUTE, false, halted);
            assert_eq!(next, Verdict::StepDown, "it never recovers");
        }
        let mut seen = Vec::new();
        let mut signs = watch.seen;
        for _ in 0..(HALTED_UNLED_MAX * 3).as_millis() / LOOK_EVERY.as_millis() {
            halted(&mut signs);
            match watch.look(signs, false, false, LOOK_EVERY) {
                Verdict::Well => {}
                other => seen.push(other),
            }
        }
        assert_eq!(seen.first(), Some(&Verdict::StepDown));
        assert_eq!(seen.last(), Some(&Verdict::Stand));
        assert_eq!(until(&mut watch, MINUTE, false, halted), Verdict::StepDown);
    }

    #[test]
    fn an_agent_that_hangs_ends_whether_it_leads_or_not_and_one_that_has_not_begun_waits() {
        let mut watch = Watch::default();
        let joins = |signs: &mut Signs| signs.beats += 1;
        assert_eq!(until(&mut watch, MINUTE, false, joins), Verdict::Well);
        assert_eq!(until(&mut watch, MINUTE, false, well), Verdict::Well);
        let ended = until(&mut watch, MINUTE, false, |_| {});
        assert_eq!(ended, Verdict::End(Why::Loop(HANGS_MAX)));
    }

    #[test]
    fn a_process_that_was_stopped_has_not_hung() {
        let mut watch = Watch::default();
        until(&mut watch, MINUTE, true, well);
        let seen = watch.seen;
        assert_eq!(watch.look(seen, true, true, MINUTE), Verdict::Well);
        assert_eq!(until(&mut watch, MINUTE, true, well), Verdict::Well);
    }
}
