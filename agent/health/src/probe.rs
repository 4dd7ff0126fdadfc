//! Whether this agent is alive, and whether it is ready.
//!
//! Comes in: signs of life and milestones from the agent's loop. Goes out: the
//! answers of `/healthz` and `/readyz`, in words.
//!
//! Alive means that the loop turns: a restart would mend what is not. It doesn't
//! depend on other agents, so that a cluster without a quorum isn't restarted on
//! top of it, and an agent that has halted is alive.
//!
//! Ready means that this agent has read all that was committed when it started,
//! and has kept up since. That first read needs a quorum, so that a rolling
//! update stops where the next step would cost one. Later a lost quorum doesn't
//! make it unready: it still answers what it knows, and no other agent is better.
//! Were it unready, all would be at once, and a Service would have nobody left to say
//! what is wrong. The health service `starling.led` of the API tells the two apart.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::metrics::Metrics;
use crate::reading::{Reading, Source};

/// The loop turns five times a second. One that hasn't for so long hangs.
pub const LOOP_SILENCE_MAX: Duration = Duration::from_secs(10);
/// An agent that has applied so many entries less than its leader has committed
/// isn't ready. At a pass a second this is a quarter of an hour of them, and
/// what a member that was away catches up with in about a second.
pub const LAG_MAX: u64 = 1_000;

/// What the agent tells of itself, and what the listener answers from. Cheap to
/// clone; all clones are the same agent.
#[derive(Clone)]
pub struct Health {
    inner: Arc<Inner>,
}

struct Inner {
    begun: Instant,
    metrics: Metrics,
    /// What this agent waits for before that; empty while it doesn't say.
    waits_for: Mutex<String>,
    /// Set once this agent has certificates and an id.
    source: OnceLock<Box<dyn Source>>,
    /// Milliseconds from `begun` to the loop's last turn, plus one; 0 before the first.
    turned: AtomicU64,
    caught_up: AtomicBool,
    ending: AtomicBool,
}

/// One condition of being alive or ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub name: &'static str,
    pub holds: bool,
    pub words: String,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.holds { '+' } else { '-' };
        write!(f, "[{sign}] {}: {}", self.name, self.words)
    }
}

impl Default for Health {
    fn default() -> Health {
        Health::new(Metrics::default())
    }
}

impl Health {
    pub fn new(metrics: Metrics) -> Health {
        Health {
            inner: Arc::new(Inner {
                begun: Instant::now(),
                metrics,
                waits_for: Mutex::default(),
                source: OnceLock::new(),
                turned: AtomicU64::new(0),
                caught_up: AtomicBool::new(false),
                ending: AtomicBool::new(false),
            }),
        }
    }

    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// What this agent waits for until it has joined, in words.
    pub fn waits_for(&self, words: &str) {
        let waits_for = self.inner.waits_for.lock();
        words.clone_into(&mut waits_for.unwrap_or_else(PoisonError::into_inner));
    }

    /// This agent has its certificates and an id; `source` shows the rest. Only
    /// the first call counts.
    pub fn joined(&self, source: impl Source) {
        let _ = self.inner.source.set(Box::new(source));
    }

    /// The loop has turned.
    pub fn turned(&self) {
        let now = self.inner.begun.elapsed().as_millis() as u64 + 1;
        self.inner.turned.store(now, Ordering::Relaxed);
    }

    /// All that was committed when this agent started is applied here.
    pub fn caught_up(&self) {
        self.inner.caught_up.store(true, Ordering::Relaxed);
    }

    /// This agent was told to end; it isn't ready from now on.
    pub fn ending(&self) {
        self.inner.ending.store(true, Ordering::Relaxed);
    }

    /// What is so at the moment; `None` until [`Health::joined`].
    pub fn read(&self) -> Option<Reading> {
        self.inner.source.get().map(|source| source.read())
    }

    /// `/healthz`.
    pub fn alive(&self) -> Check {
        self.turning(self.inner.begun.elapsed())
    }

    /// `/readyz`: all must hold.
    pub fn ready(&self) -> Vec<Check> {
        let reading = self.read();
        let ending = self.inner.ending.load(Ordering::Relaxed);
        let caught_up = self.inner.caught_up.load(Ordering::Relaxed);
        vec![
            Check {
                name: "running",
                holds: !ending,
                words: if ending {
                    "this agent was told to end".into()
                } else {
                    "this agent was not told to end".into()
                },
            },
            self.alive(),
            self.member(reading.as_ref()),
            log(reading.as_ref(), caught_up),
            sound(reading.as_ref()),
        ]
    }

    fn member(&self, reading: Option<&Reading>) -> Check {
        let waits_for = self.inner.waits_for.lock();
        let waits_for = waits_for.unwrap_or_else(PoisonError::into_inner);
        let words = match reading {
            Some(reading) => format!(
                "this agent has its certificates and is member {}",
                reading.log.id
            ),
            None if waits_for.is_empty() => {
                "this agent has no id yet: it looks for the cluster through its seeds, or waits to \
                 be admitted; its log says which"
                    .to_owned()
            }
            None => format!("this agent has no id yet: {waits_for}"),
        };
        Check {
            name: "member",
            holds: reading.is_some(),
            words,
        }
    }

    fn turning(&self, now: Duration) -> Check {
        let turned = self.inner.turned.load(Ordering::Relaxed);
        let (holds, words) = match turned.checked_sub(1) {
            // Looking for a cluster may take any time, and a restart would
            // only begin it anew.
            None => (true, "the loop has not begun yet".to_owned()),
            Some(turned) => {
                let silence = now.saturating_sub(Duration::from_millis(turned));
                let words = format!("the loop turned {:.1} s ago", silence.as_secs_f64());
                (silence <= LOOP_SILENCE_MAX, words)
            }
        };
        Check {
            name: "loop",
            holds,
            words,
        }
    }
}

fn log(reading: Option<&Reading>, caught_up: bool) -> Check {
    let check = |holds, words| Check {
        name: "log",
        holds,
        words,
    };
    let Some(log) = reading.map(|reading| &reading.log) else {
        return check(false, "the log is not open yet".into());
    };
    let lag = log.lag();
    let leader = match (log.leader, log.leads) {
        (Some(_), true) => "this agent leads".to_owned(),
        (Some(id), false) if id == log.id => {
            "this agent leads and must not act, because no majority of the voters answers".into()
        }
        (Some(id), false) if log.led => format!("member {id} leads"),
        (Some(_), false) | (None, _) => match log.led_age {
            Some(age) => format!(
                "no leader is known, none has spoken for {:.1} s, so sizes stay as they are",
                age.as_secs_f64()
            ),
            None => "no leader is known, so sizes stay as they are".to_owned(),
        },
    };
    if !caught_up {
        let words = format!(
            "all that was committed has not been read since the start, which needs a majority of \
             the voters; applied entry {}, {leader}",
            log.applied_index
        );
        return check(false, words);
    }
    let words = format!(
        "applied entry {}, {lag} behind what is known to be committed; {leader}",
        log.applied_index
    );
    check(lag <= LAG_MAX, words)
}

fn sound(reading: Option<&Reading>) -> Check {
    let halted = reading.and_then(|reading| reading.halted.clone());
    Check {
        name: "ledger",
        holds: halted.is_none(),
        words: match halted {
            None => "nothing speaks against this agent's ledger".into(),
            Some(why) => format!("this agent has stopped acting: {why}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::Log;

    struct Fixed(Reading);

    impl Source for Fixed {
        fn read(&self) -> Reading {
            self.0.clone()
        }
    }

    fn reading(applied: u64, committed: u64) -> Reading {
        Reading {
            log: Log {
                id: 7,
                leader: Some(3),
                led: true,
                applied_index: applied,
                committed_index: committed,
                ..Log::default()
            },
            ..Reading::default()
        }
    }

    fn unmet(health: &Health) -> Vec<&'static str> {
        let checks = health.ready().into_iter();
        checks.filter(|c| !c.holds).map(|c| c.name).collect()
    }

    #[test]
    fn an_agent_that_looks_for_its_cluster_is_alive_and_not_ready() {
        let health = Health::default();
        assert!(health.alive().holds);
        assert_eq!(unmet(&health), ["member", "log"]);
        health.waits_for("no agent certifies this one yet");
        let member = health.ready().into_iter().find(|c| c.name == "member");
        let words = member.expect("a check").words;
        assert!(
            words.ends_with(": no agent certifies this one yet"),
            "{words}"
        );
    }

    #[test]
    fn an_agent_is_ready_once_it_has_caught_up_and_until_it_is_told_to_end() {
        let health = Health::default();
        health.joined(Fixed(reading(10, 12)));
        health.turned();
        assert_eq!(unmet(&health), ["log"]);
        health.caught_up();
        assert!(unmet(&health).is_empty());
        health.ending();
        assert_eq!(unmet(&health), ["running"]);
        assert!(health.alive().holds, "it still has work to do");
    }

    #[test]
    fn a_lost_quorum_leaves_an_agent_ready() {
        let health = Health::default();
        let mut alone = reading(10, 10);
        // As a learner has it, which goes on naming its last leader.
        alone.log.led = false;
        alone.log.led_age = Some(Duration::from_secs(3));
        health.joined(Fixed(alone));
        health.caught_up();
        assert!(unmet(&health).is_empty());
        let log = health.ready().into_iter().find(|c| c.name == "log");
        let words = log.expect("a check").words;
        assert!(
            words.ends_with("none has spoken for 3.0 s, so sizes stay as they are"),
            "{words}"
        );
    }

    #[test]
    fn an_agent_far_behind_its_leader_is_not_ready() {
        for (behind, ready) in [(LAG_MAX, true), (LAG_MAX + 1, false)] {
            let health = Health::default();
            health.joined(Fixed(reading(5, 5 + behind)));
            health.caught_up();
            assert_eq!(unmet(&health).is_empty(), ready, "{behind} entries behind");
        }
    }

    #[test]
    fn a_halted_agent_is_alive_and_not_ready() {
        let health = Health::default();
        let halted = Reading {
            halted: Some("its ledger differs at entry 16".into()),
            ..reading(1, 1)
        };
        health.joined(Fixed(halted));
        health.caught_up();
        health.turned();
        assert!(health.alive().holds);
        assert_eq!(unmet(&health), ["ledger"]);
    }

    #[test]
    fn an_agent_whose_loop_hangs_is_not_alive() {
        let health = Health::default();
        health.turned();
        let begun = health.inner.begun.elapsed();
        assert!(health.turning(begun + LOOP_SILENCE_MAX / 2).holds);
        assert!(!health.turning(begun + LOOP_SILENCE_MAX * 2).holds);
    }
}
