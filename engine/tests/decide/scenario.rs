//! A workload under one policy, played pass by pass: what the ledger and the
//! node do around `decide`, and nothing more.

use std::collections::BTreeMap;

use starling_engine::decide::objective::signal::Signal;
use starling_engine::decide::{Decision, Inputs, Platform, Reading, decide};
use starling_engine::demand::pods::Sums;
use starling_engine::history::History;
use starling_engine::policy::{
    Fallback, FallbackBehavior, Goal, Policy, Resource, Source, Target, Trigger,
};
use starling_engine::unit::Ms;

pub const START: Ms = Ms(1_700_000_000_000);

/// Stands for the scenario's time when a reading is taken in.
const NOW: Ms = Ms(0);

#[derive(Debug, Clone)]
pub struct Scenario {
    pub policy: Policy,
    pub history: History,
    pub created_at: Ms,
    pub now: Ms,
    pub last_pass: Option<Ms>,
    pub size: u32,
    /// Where it isn't the size.
    pub running: Option<u32>,
    pub readings: Vec<Reading>,
    /// What a leader under strategy `objective` has seen.
    pub signal: Option<Signal>,
    pub started_ms: Vec<u32>,
}

impl Scenario {
    pub fn new(triggers: Vec<Trigger>, size: u32) -> Scenario {
        let policy = Policy {
            name: "web".into(),
            target: Target::process("web"),
            replicas_min: 1,
            replicas_max: 10,
            triggers,
            ..Policy::default()
        };
        Scenario {
            policy,
            history: History::default(),
            created_at: START,
            now: START,
            last_pass: None,
            size,
            running: None,
            readings: Vec::new(),
            signal: None,
            started_ms: Vec::new(),
        }
    }

    pub fn with(mut self, change: impl FnOnce(&mut Policy)) -> Scenario {
        change(&mut self.policy);
        self
    }

    pub fn later(&mut self, seconds: u64) -> &mut Scenario {
        self.now = self.now.plus(seconds * 1_000);
        self
    }

    /// Readings without a time of their own were taken now.
    pub fn read(&mut self, mut readings: Vec<Reading>) -> &mut Scenario {
        for reading in &mut readings {
            let at = match reading {
                Reading::Value { at, .. }
                | Reading::Answered { at, .. }
                | Reading::Failed { at, .. }
                | Reading::Kept { at, .. } => Some(at),
                Reading::Pods(sums) => sums.oldest.as_mut(),
                Reading::Unselected(_) | Reading::None => None,
            };
            if let Some(at) = at.filter(|at| **at == NOW) {
                *at = self.now;
            }
        }
        self.readings = readings;
        self
    }

    /// Looks without changing anything. The report is the whole account.
    pub fn look(&self) -> Decision {
        let decision = decide(Inputs {
            policy: &self.policy,
            now: self.now,
            created_at: self.created_at,
            current: self.size,
            running: self.running.unwrap_or(self.size),
            ready: (self.size > 0).then_some(self.size),
            last_pass: self.last_pass,
            readings: self.readings.clone(),
            signal: self.signal.as_ref(),
            started_ms: &self.started_ms,
            history: &self.history,
            platform: Platform::default(),
        });
        Decision {
            report: decision.account(&self.policy),
            ..decision
        }
    }

    /// One pass whose outcome is committed.
    pub fn pass(&mut self) -> Decision {
        let decision = self.look();
        for change in &decision.changes {
            self.history.apply(change, self.now, &self.policy);
        }
        self.size = decision.target;
        self.last_pass = Some(self.now);
        decision
    }

    /// A new leader: the history stays, what the old one knew besides is gone.
    pub fn fail_over(&mut self) -> &mut Scenario {
        self.last_pass = None;
        self.readings.clear();
        self.signal = None;
        self.started_ms.clear();
        self
    }
}

pub fn value(whole: i64) -> Reading {
    Reading::value(whole * 1_000, NOW)
}

pub fn failed(why: &str) -> Reading {
    Reading::Failed {
        why: why.into(),
        at: NOW,
    }
}

pub fn queue(goal: Goal) -> Trigger {
    named("queue", goal)
}

pub fn named(name: &str, goal: Goal) -> Trigger {
    Trigger {
        name: name.into(),
        source: Source::External {
            kind: "metrics-api".into(),
            metadata: BTreeMap::new(),
        },
        goal,
        activation_milli: 0,
        window_ms: None,
    }
}

/// 10 for each replica.
pub fn ten_each() -> Trigger {
    queue(Goal::AverageValue { milli: 10_000 })
}

pub fn cpu(percent: i32) -> Trigger {
    Trigger {
        name: "cpu".into(),
        source: Source::Resource(Resource::Cpu),
        goal: Goal::Utilization { percent },
        activation_milli: 0,
        window_ms: None,
    }
}

/// `ready` replicas that request one core each and use `percent` of it.
pub fn usage(ready: u32, percent: i64) -> Sums {
    Sums {
        pods: ready,
        samples: ready,
        ready,
        ready_usage_milli: i64::from(ready) * percent * 10,
        ready_request_milli: i64::from(ready) * 1_000,
        oldest: (ready > 0).then_some(NOW),
        ..Sums::default()
    }
}

pub fn fallback(replicas: u32, behavior: FallbackBehavior) -> Fallback {
    Fallback {
        failure_threshold: 3,
        replicas,
        behavior,
        recovery_threshold: None,
    }
}

/// What stands in for the external triggers.
pub fn formula(text: &str, goal: Goal) -> Trigger {
    Trigger {
        name: "formula".into(),
        source: Source::Formula { text: text.into() },
        goal,
        activation_milli: 0,
        window_ms: None,
    }
}
