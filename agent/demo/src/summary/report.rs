//! How a demo went: five lines for people or one JSON object for machines, and
//! why it has failed, if it has.

use serde::Serialize;

/// The JSON object at the end. `null` is what wasn't seen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub agents: usize,
    pub jobs_offered: u64,
    pub jobs_done: u64,
    /// Neither done nor still in the queue.
    pub jobs_lost: u64,
    /// Still in the queue at the end.
    pub jobs_left: u64,
    /// Went back into the queue from a worker that was stopped or died.
    pub jobs_come_back: u64,
    pub jobs_reported_twice: u64,
    pub replicas_first_seen: u32,
    pub replicas_max_seen: u32,
    /// The fewest after the most.
    pub replicas_min_seen: u32,
    /// Committed changes of size.
    pub decisions: usize,
    pub leader_kills: u32,
    pub failover_ms: Option<u64>,
    /// What `failover_ms` counts to.
    pub failover_to: Option<FailoverTo>,
    pub caught_up_ms: Option<u64>,
    pub ledger_digests_equal: bool,
    pub ledger_digests_differ_at: Option<u64>,
    /// The newest log index for which every agent told a digest.
    pub ledger_digests_equal_at: Option<u64>,
    pub agent_rss_mib_max: f64,
    /// Of one core, for each agent.
    pub agent_cpu_percent_mean: f64,
    pub interrupted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FailoverTo {
    /// Another leader's committed change of size.
    Decision,
    /// No size had to change: the commit of the new leader's own first entry.
    FirstEntry,
}

impl Report {
    /// Why the demo has failed; empty if it went as it should.
    pub fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        if self.jobs_lost > 0 {
            failures.push(format!(
                "{} of {} jobs were lost: neither done nor in the queue any more",
                self.jobs_lost, self.jobs_offered
            ));
        }
        if self.jobs_left > 0 {
            failures.push(format!(
                "{} jobs were still in the queue at the end",
                self.jobs_left
            ));
        }
        if self.replicas_max_seen <= self.replicas_first_seen.max(1) {
            failures.push(format!(
                "the workers never scaled up: the process table never showed more than {}",
                self.replicas_max_seen
            ));
        } else if self.replicas_min_seen >= self.replicas_max_seen {
            failures.push(format!(
                "the workers never scaled down again: {} of them ran to the end",
                self.replicas_min_seen
            ));
        }
        if let Some(index) = self.ledger_digests_differ_at {
            failures.push(format!("the agents' ledgers differ at entry {index}"));
        } else if !self.ledger_digests_equal {
            failures.push(
                "the agents' ledgers could not be compared: no entry for which all of \
                           them told a digest"
                    .into(),
            );
        }
        if self.leader_kills > 0 && self.failover_ms.is_none() {
            failures.push("no agent took over from the leader that was killed".into());
        }
        failures
    }

    /// Five lines.
    pub fn text(&self) -> String {
        let jobs = format!(
            "{} jobs arrived, {} were done, {} were lost{}{}.",
            self.jobs_offered,
            self.jobs_done,
            count(self.jobs_lost),
            left(self.jobs_left),
            come_back(self.jobs_come_back)
        );
        let scaled = self.scaled_line();
        let (mib, cpu) = (self.agent_rss_mib_max, self.agent_cpu_percent_mean);
        let used =
            format!("An agent used {cpu:.1} % of a core on average and at most {mib:.1} MiB.");
        [
            scaled,
            jobs,
            self.failover_line(),
            self.digests_line(),
            used,
        ]
        .join("\n")
    }

    fn scaled_line(&self) -> String {
        let (first, max) = (self.replicas_first_seen, self.replicas_max_seen);
        let (min, decisions) = (self.replicas_min_seen, self.decisions);
        let back = if min < max {
            format!(" and back to {min}")
        } else {
            String::new()
        };
        format!(
            "{} agents took the workers from {first} to {max}{back} in {decisions} decisions.",
            self.agents
        )
    }

    fn failover_line(&self) -> String {
        let (Some(ms), Some(to)) = (self.failover_ms, self.failover_to) else {
            return if self.leader_kills == 0 {
                "The leader was not killed.".into()
            } else {
                "The leader was killed, and no other agent was seen to take over.".into()
            };
        };
        let what = match to {
            FailoverTo::Decision => "the next leader's first decision was committed",
            FailoverTo::FirstEntry => "the next leader could have decided",
        };
        let back = self.caught_up_ms.map_or_else(String::new, |took| {
            format!("; once restarted it caught up in {took} ms")
        });
        format!("The leader was killed, and {what} {ms} ms later{back}.")
    }

    fn digests_line(&self) -> String {
        match (self.ledger_digests_differ_at, self.ledger_digests_equal_at) {
            (Some(index), _) => format!("The agents' ledgers differ at entry {index}."),
            (None, Some(index)) => {
                format!("The agents' ledgers were equal wherever compared, last at entry {index}.")
            }
            (None, None) => "The agents' ledgers could not be compared.".into(),
        }
    }
}

fn count(number: u64) -> String {
    if number == 0 {
        "none".into()
    } else {
        number.to_string()
    }
}

fn left(jobs: u64) -> String {
    if jobs == 0 {
        String::new()
    } else {
        format!(", {jobs} were still in the queue")
    }
}

fn come_back(jobs: u64) -> String {
    if jobs == 0 {
        String::new()
    } else {
        format!("; {jobs} came back from workers that ended")
    }
}
