//! Measures what an agent uses while nothing happens: CPU and resident memory.
//!
//! Three agents keep one policy with four workers that only sleep; every agent
//! goes on measuring once a second. CPU is the process's own accounting over the
//! whole time, so anything that an agent does is in it. Asks the agents nothing
//! meanwhile, except once at either end who leads.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::Serialize;
use starling_rig::cluster::Cluster;
use starling_rig::cluster::files::Documents;
use starling_rig::cluster::process::Process;
use starling_rig::observe::Observer;

const AGENTS: usize = 3;
const WORKERS: usize = 4;
/// For the workers to run.
const WORKING_WITHIN: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Starting up and its aftermath aren't rest.
const CALM: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Serialize)]
pub struct Result {
    pub seconds: u64,
    pub workers: usize,
    pub agents: Vec<Usage>,
}

/// What one agent used.
#[derive(Debug, Clone, Serialize)]
pub struct Usage {
    pub name: String,
    /// It led all the time. Where the leader changed, no agent did.
    pub led: bool,
    /// Of one core, a mean.
    pub cpu_percent: f64,
    pub rss_p50_bytes: u64,
    pub rss_max_bytes: u64,
}

/// Watches a cluster at rest for `seconds`; `told` hears when that begins.
pub async fn run(
    binary: &Path,
    seconds: u64,
    mut told: impl FnMut(&str),
) -> anyhow::Result<Result> {
    let mut cluster = Cluster::new(binary, AGENTS)?;
    let observer = cluster.start(&documents()).await?;
    working(&mut cluster).await?;
    tokio::time::sleep(CALM).await;
    let leader = leader(&cluster, &observer).await?;
    told(&format!(
        "{AGENTS} agents and {WORKERS} workers are at rest; watching them for {seconds} s"
    ));
    let first = look(&mut cluster)?;
    let start = Instant::now();
    let mut looks = Vec::new();
    for second in 1..=seconds {
        let due = start + LOOK_EVERY * u32::try_from(second).unwrap_or(u32::MAX);
        tokio::time::sleep_until(due.into()).await;
        looks.push(look(&mut cluster)?);
    }
    let took = start.elapsed();
    let still = self::leader(&cluster, &observer).await? == leader;
    let agents = cluster
        .names()
        .into_iter()
        .enumerate()
        .map(|(position, name)| {
            let seen: Vec<Process> = looks.iter().map(|look| look[position]).collect();
            usage(
                name,
                first[position],
                &seen,
                took,
                still && position == leader,
            )
        });
    let agents = agents.collect();
    cluster.stop_all().await;
    Ok(Result {
        seconds,
        workers: WORKERS,
        agents,
    })
}

fn usage(name: String, first: Process, seen: &[Process], took: Duration, led: bool) -> Usage {
    let mut rss: Vec<u64> = seen.iter().map(|process| process.rss_bytes).collect();
    rss.sort_unstable();
    let last = seen.last().map_or(first.cpu, |process| process.cpu);
    let spent = last.saturating_sub(first.cpu);
    Usage {
        name,
        led,
        cpu_percent: spent.as_secs_f64() / took.as_secs_f64() * 100.0,
        rss_p50_bytes: rss
            .get(rss.len().saturating_sub(1) / 2)
            .copied()
            .unwrap_or(0),
        rss_max_bytes: rss.last().copied().unwrap_or(0),
    }
}

async fn working(cluster: &mut Cluster) -> anyhow::Result<()> {
    let until = Instant::now() + WORKING_WITHIN;
    loop {
        cluster.check()?;
        let workers = cluster.sample().workers.len();
        if workers == WORKERS {
            return Ok(());
        }
        if Instant::now() > until {
            bail!(
                "{workers} of {WORKERS} workers run after {} s",
                WORKING_WITHIN.as_secs()
            );
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The position of the agent that says that it leads.
async fn leader(cluster: &Cluster, observer: &Observer) -> anyhow::Result<usize> {
    let names = cluster.names();
    let statuses = observer.statuses().await;
    let leads = statuses
        .iter()
        .flatten()
        .find(|status| status.leader_id == Some(status.node_id))
        .context("no agent leads the cluster")?;
    names
        .iter()
        .position(|name| *name == leads.name)
        .context("the leader is a stranger")
}

fn look(cluster: &mut Cluster) -> anyhow::Result<Vec<Process>> {
    cluster.check()?;
    let agents = cluster.sample().agents.into_iter();
    agents
        .collect::<Option<Vec<Process>>>()
        .context("an agent isn't in the process table")
}

/// Nothing but the workers' own CPU could ever move this policy's size.
fn documents() -> Documents {
    Documents {
        each: String::from(
            "\
apiVersion: starling.sh/v1alpha1
kind: Process
metadata:
  name: sleeper
spec:
  command: [sleep, infinity]
  requests:
    cpu: 100m
    memory: 32Mi
  gracePeriodSeconds: 2
",
        ),
        first: format!(
            "\
apiVersion: starling.sh/v1alpha1
kind: ScalingPolicy
metadata:
  name: sleeper
spec:
  scaleTargetRef:
    kind: Process
    name: sleeper
  minReplicaCount: {WORKERS}
  maxReplicaCount: {max}
  triggers:
    - type: cpu
      metricType: Utilization
      metadata:
        value: \"50\"
",
            max = WORKERS * 2
        ),
    }
}

impl fmt::Display for Result {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at rest for {} s:", self.seconds)?;
        for agent in &self.agents {
            write!(f, "\n  {agent}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        write!(
            f,
            "{}: {:.2} % of a core, resident p50 {:.1} MiB, max {:.1} MiB{}",
            self.name,
            self.cpu_percent,
            mib(self.rss_p50_bytes),
            mib(self.rss_max_bytes),
            if self.led { " (leader)" } else { "" }
        )
    }
}

#[cfg(test)]
mod tests {
    use starling_rig::cluster::process::Role;

    use super::*;

    #[test]
    fn usage_is_a_share_of_one_core_and_the_middle_and_largest_memory() {
        let process = |cpu_ms, mib: u64| Process {
            pid: 1,
            role: Role::Agent,
            rss_bytes: mib << 20,
            cpu: Duration::from_millis(cpu_ms),
        };
        let seen = [process(1_010, 30), process(1_020, 20), process(1_030, 40)];
        let took = Duration::from_secs(3);
        let usage = usage("a".into(), process(1_000, 99), &seen, took, true);
        assert_eq!(
            usage.to_string(),
            "a: 1.00 % of a core, resident p50 30.0 MiB, max 40.0 MiB (leader)"
        );
    }
}
