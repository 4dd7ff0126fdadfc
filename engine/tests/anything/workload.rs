//! One workload and what surrounds it: the sources that its triggers ask, its
//! replicas, and what its leader knows that no other one would.
//!
//! Uses what production uses: a [`Watch`] looks at each second, and a history
//! takes in what was committed.

use starling_engine::decide::{Decision, Inputs, Platform, Reading};
use starling_engine::demand::pick::Pick;
use starling_engine::demand::pods::{Pod, Sums};
use starling_engine::history::History;
use starling_engine::node::watch::{Look, Watch};
use starling_engine::policy::{Objective, Policy, Resource, Source, Trigger};
use starling_engine::unit::Ms;

use super::cluster::REPORTED_MAX;

/// What a trigger's source does when it is asked.
#[derive(Clone, Copy)]
pub enum Voice {
    Says(i64),
    Fails,
    /// Nothing; what it said last grows old.
    Silent,
}

pub struct Workload<'a> {
    pub policy: &'a Policy,
    pub now: Ms,
    pub created_at: Ms,
    pub size: u32,
    pub history: History,
    /// One for each trigger.
    pub voices: Vec<Voice>,
    /// What each replica looks like.
    pub pod: Pod,
    /// Replicas run so long after the last change of size, …
    pub start_ms: u64,
    /// … at most so many, and where it is `None` nobody speaks of them.
    pub running_max: Option<u32>,
    pub running: u32,
    pub resized_at: Ms,
    pub leader: Leader,
}

/// What a leader knows that no other one does.
#[derive(Default)]
pub struct Leader {
    watch: Watch,
    readings: Vec<Reading>,
    last_pass: Option<Ms>,
}

impl Workload<'_> {
    pub fn pass_time(&mut self, ms: u64) {
        self.now = self.now.plus(ms);
        if self.now.since(self.resized_at) >= self.start_ms {
            self.running = self.size;
        }
    }

    /// Asks every source; replicas are measured by their nodes.
    pub fn listen(&mut self) {
        let heard = self.policy.triggers.iter().enumerate().map(|(i, trigger)| {
            let before = self.leader.readings.get(i);
            match (&trigger.source, self.voices[i]) {
                (_, Voice::Silent) => before.cloned().unwrap_or(Reading::None),
                (Source::Resource(resource), Voice::Says(_)) => Reading::Pods(self.sums(*resource)),
                (Source::Pods { .. }, Voice::Says(_)) => Reading::Answered {
                    sums: self.sums(Resource::Cpu),
                    at: self.now,
                },
                (_, Voice::Says(level)) => Reading::value(self.noisy(level, i), self.now),
                (_, Voice::Fails) => Reading::Failed {
                    why: "down".into(),
                    at: self.now,
                },
            }
        });
        self.leader.readings = heard.collect();
    }

    /// Within a quarter to either side, by the second and the trigger.
    fn noisy(&self, level: i64, index: usize) -> i64 {
        let second = self.now.0 / 1_000 + index as u64;
        let noise = second.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
        let part = i64::try_from(noise).unwrap_or(0) - 128;
        level.saturating_add(level / 512 * part)
    }

    pub fn look(&mut self, objective: &Objective) {
        let read = |name: &Option<String>| {
            let named = |trigger: &Trigger| Some(&trigger.name) == name.as_ref();
            let place = self.policy.triggers.iter().position(named);
            let reading = place.and_then(|i| self.leader.readings.get(i));
            reading.cloned().unwrap_or(Reading::None)
        };
        let (arrivals, in_system) = (read(&objective.arrivals), read(&objective.in_system));
        let look = Look {
            arrivals: &arrivals,
            in_system: &in_system,
            cpu: &self.sums(Resource::Cpu),
            size: self.size,
            resized_at: self.history.changed_at,
            running: self.seen_running(),
        };
        self.leader.watch.look(objective, &look, self.now);
        let known = matches!(arrivals, Reading::Value { .. });
        assert_eq!(self.leader.watch.signal().is_some(), known, "{arrivals:?}");
    }

    fn seen_running(&self) -> Option<u32> {
        let most = self.running_max.filter(|_| self.size > 0)?;
        Some(self.running.min(most))
    }

    /// The replicas that run, of which a node reports only so many.
    fn sums(&self, resource: Resource) -> Sums {
        let running = self.seen_running().unwrap_or(0);
        let reported = running.min(REPORTED_MAX);
        let pods = vec![self.pod.clone(); reported as usize];
        let pick = Pick::replica(resource);
        let mut sums = Sums::of(&pods, pick, &self.policy.controller, self.now);
        sums.add_missing(self.size - reported, None);
        sums
    }

    pub fn inputs(&self) -> Inputs<'_> {
        Inputs {
            policy: self.policy,
            now: self.now,
            created_at: self.created_at,
            current: self.size,
            running: self.size,
            ready: self.seen_running(),
            last_pass: self.leader.last_pass,
            readings: self.leader.readings.clone(),
            signal: self.leader.watch.signal(),
            started_ms: self.leader.watch.started_ms(),
            history: &self.history,
            platform: Platform::default(),
        }
    }

    pub fn commit(&mut self, decision: &Decision) {
        for change in &decision.changes {
            self.history.apply(change, self.now, self.policy);
        }
        if decision.target != self.size {
            self.resized_at = self.now;
        }
        self.size = decision.target;
        self.running = self.running.min(self.size);
        self.leader.passed(self.now);
    }
}

impl Leader {
    pub fn passed(&mut self, now: Ms) {
        self.last_pass = Some(now);
        self.watch.forget_started();
    }
}
