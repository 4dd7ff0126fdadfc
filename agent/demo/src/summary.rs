//! What was seen of a demo, and whether it went as it should.
//!
//! Comes in: looks at the process table, the queue's own count and the agents'
//! answers, as they are made. Goes out: the report. Takes no agent's word for how
//! many workers ran.

pub mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use starling_rig::cluster::process::Process;
use starling_rig::observe::digests::Digests;
use starling_rig::observe::failover::Failover;
use starling_rig::queue::Stats;

use report::{FailoverTo, Report};

/// Further decisions are counted as none: a demo makes a few dozen.
const DECISIONS_MAX: usize = 100_000;

/// Everything seen so far.
#[derive(Debug, Default)]
pub struct Seen {
    pub agents: usize,
    pub stats: Stats,
    pub digests: Digests,
    pub failover: Option<Failover>,
    pub leader_kills: u32,
    /// From a dead agent's restart to its having applied what the others had.
    pub caught_up: Option<Duration>,
    pub interrupted: bool,
    decisions: BTreeSet<u64>,
    workers: Workers,
    usage: Usage,
}

/// Workers in the process table.
#[derive(Debug, Default)]
struct Workers {
    first: Option<u32>,
    max: u32,
    /// The fewest since there were as many as `max`.
    min_since_max: u32,
}

/// The agents' use of the machine.
#[derive(Debug, Default)]
struct Usage {
    last: BTreeMap<u32, (Instant, Duration)>,
    cpu: Duration,
    wall: Duration,
    rss_bytes_max: u64,
}

impl Seen {
    pub fn new(agents: usize) -> Seen {
        Seen {
            agents,
            ..Seen::default()
        }
    }

    /// A committed change of size, told by any agent, any number of times;
    /// false if it was told before.
    pub fn decision(&mut self, index: u64) -> bool {
        self.decisions.len() < DECISIONS_MAX && self.decisions.insert(index)
    }

    /// How many workers a look at the process table found.
    pub fn workers(&mut self, running: u32) {
        let workers = &mut self.workers;
        workers.first.get_or_insert(running);
        if running >= workers.max {
            (workers.max, workers.min_since_max) = (running, running);
        }
        workers.min_since_max = workers.min_since_max.min(running);
    }

    /// An agent in the process table. Returns its CPU use since the last look,
    /// in percent of one core; 0 at the first one.
    pub fn agent(&mut self, process: &Process, now: Instant) -> f64 {
        let usage = &mut self.usage;
        usage.rss_bytes_max = usage.rss_bytes_max.max(process.rss_bytes);
        match usage.last.insert(process.pid, (now, process.cpu)) {
            None => 0.0,
            Some((then, before)) => {
                let (cpu, wall) = (process.cpu.saturating_sub(before), now - then);
                usage.cpu += cpu;
                usage.wall += wall;
                percent(cpu, wall)
            }
        }
    }

    pub fn report(&self) -> Report {
        let stats = &self.stats;
        let failover = self.failover.as_ref();
        Report {
            agents: self.agents,
            jobs_offered: stats.offered,
            jobs_done: stats.done,
            jobs_lost: stats.lost,
            jobs_left: stats.waiting + stats.leased,
            jobs_come_back: stats.expired + stats.given_back,
            jobs_reported_twice: stats.duplicates,
            replicas_first_seen: self.workers.first.unwrap_or(0),
            replicas_max_seen: self.workers.max,
            replicas_min_seen: self.workers.min_since_max,
            decisions: self.decisions.len(),
            leader_kills: self.leader_kills,
            failover_ms: failover.map(|failover| failover.after.as_millis() as u64),
            failover_to: failover.map(|failover| match failover.decision {
                Some(_) => FailoverTo::Decision,
                None => FailoverTo::FirstEntry,
            }),
            caught_up_ms: self.caught_up.map(|took| took.as_millis() as u64),
            ledger_digests_equal: self.digests.difference().is_none()
                && self.digests.told_by(self.agents).is_some(),
            ledger_digests_differ_at: self.digests.difference(),
            ledger_digests_equal_at: self.digests.told_by(self.agents),
            agent_rss_mib_max: tenths(self.usage.rss_bytes_max as f64 / 1_048_576.0),
            agent_cpu_percent_mean: tenths(percent(self.usage.cpu, self.usage.wall)),
            interrupted: self.interrupted,
        }
    }
}

fn percent(cpu: Duration, wall: Duration) -> f64 {
    if wall.is_zero() {
        0.0
    } else {
        100.0 * cpu.as_secs_f64() / wall.as_secs_f64()
    }
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use starling_rig::cluster::process::Role;
    use starling_rig::observe::digests::Checkpoint;

    use super::*;

    /// A demo in which all went well.
    fn good() -> Seen {
        let mut seen = Seen {
            agents: 3,
            stats: Stats {
                offered: 1_312,
                done: 1_312,
                given_back: 3,
                ..Stats::default()
            },
            leader_kills: 1,
            failover: Some(Failover {
                after: Duration::from_millis(812),
                decision: None,
                leader: "agent-1".into(),
                term: 5,
                able_after: None,
            }),
            caught_up: Some(Duration::from_millis(1_043)),
            ..Seen::default()
        };
        for running in [1, 4, 2, 12, 12, 3, 1] {
            seen.workers(running);
        }
        for index in [20, 21, 20, 35] {
            seen.decision(index);
        }
        for node_id in 1..=3 {
            seen.digests.note(&Checkpoint {
                node_id,
                index: 144,
                digest: "ab".into(),
            });
        }
        seen
    }

    fn failures(change: fn(&mut Seen)) -> Vec<String> {
        let mut seen = good();
        change(&mut seen);
        seen.report().failures()
    }

    #[test]
    fn a_demo_without_fault_has_no_failures_and_five_lines() {
        assert_eq!(failures(|_| ()), Vec::<String>::new());
        insta::assert_snapshot!(good().report().text());
    }

    #[test]
    fn the_json_object_has_the_promised_fields() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&good().report()).unwrap());
    }

    #[test]
    fn each_fault_is_a_failure_with_its_reason() {
        let told = [
            failures(|seen| seen.stats.lost = 2),
            failures(|seen| seen.stats.waiting = 7),
            failures(|seen| {
                seen.workers = Workers {
                    first: Some(1),
                    max: 1,
                    min_since_max: 1,
                }
            }),
            failures(|seen| {
                seen.workers = Workers {
                    first: Some(1),
                    max: 12,
                    min_since_max: 12,
                }
            }),
            failures(|seen| {
                seen.digests.note(&Checkpoint {
                    node_id: 2,
                    index: 144,
                    digest: "cd".into(),
                });
            }),
            failures(|seen| seen.digests = Digests::default()),
            failures(|seen| seen.failover = None),
        ];
        assert!(told.iter().all(|told| told.len() == 1), "{told:#?}");
        insta::assert_snapshot!(told.concat().join("\n"));
    }

    #[test]
    fn the_fewest_workers_count_from_the_most_on() {
        let mut seen = Seen::default();
        for running in [0, 1, 3, 1, 9, 4, 6] {
            seen.workers(running);
        }
        let report = seen.report();
        assert_eq!((report.replicas_max_seen, report.replicas_min_seen), (9, 4));
    }

    #[test]
    fn an_agents_cpu_is_counted_over_the_time_that_it_was_seen() {
        let mut seen = Seen::default();
        let start = Instant::now();
        let mut look = |pid, at_ms, cpu_ms| {
            let cpu = Duration::from_millis(cpu_ms);
            let process = Process {
                pid,
                role: Role::Agent,
                rss_bytes: 15 << 20,
                cpu,
            };
            seen.agent(&process, start + Duration::from_millis(at_ms))
        };
        assert!(
            look(7, 0, 500).abs() < f64::EPSILON,
            "what it used before isn't known"
        );
        assert!((look(7, 1_000, 520) - 2.0).abs() < 1e-9);
        // The restarted agent is a new process.
        assert!(look(8, 60_000, 40).abs() < f64::EPSILON);
        look(8, 61_000, 80);
        let report = seen.report();
        assert!((report.agent_cpu_percent_mean - 3.0).abs() < 1e-9);
        assert!((report.agent_rss_mib_max - 15.0).abs() < 1e-9);
    }
}
