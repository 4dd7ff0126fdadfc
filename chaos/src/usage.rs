//! What agents use: CPU and resident memory, seen in the process table once a second.
//!
//! Comes in: a cluster that runs. Goes out: what each of its agents used in a while. CPU is
//! the process's own accounting over the whole time, so anything that an agent does is in
//! it. Asks the agents nothing meanwhile, except once at either end who leads.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::Serialize;
use starling_rig::cluster::Cluster;
use starling_rig::cluster::process::Process;
use starling_rig::observe::Observer;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// For an agent to say that it leads: one with much to do may not answer at once.
const LEADER_WITHIN: Duration = Duration::from_secs(10);
const ASK_AGAIN: Duration = Duration::from_millis(200);

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

/// Watches for `seconds`; fails where no agent leads at first, or one ends.
pub async fn watch(
    cluster: &mut Cluster,
    observer: &Observer,
    seconds: u64,
) -> anyhow::Result<Vec<Usage>> {
    let leader = leader(cluster, observer).await?;
    let first = look(cluster)?;
    let start = Instant::now();
    let mut looks = Vec::new();
    for second in 1..=seconds {
        let due = start + LOOK_EVERY * u32::try_from(second).unwrap_or(u32::MAX);
        tokio::time::sleep_until(due.into()).await;
        looks.push(look(cluster)?);
    }
    let took = start.elapsed();
    let still = self::leader(cluster, observer).await;
    let still = still.is_ok_and(|still| still == leader);
    let names = cluster.names().into_iter().enumerate();
    let agents = names.map(|(position, name)| {
        let seen: Vec<Process> = looks.iter().map(|look| look[position]).collect();
        let led = still && position == leader;
        usage(name, first[position], &seen, took, led)
    });
    Ok(agents.collect())
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

/// The position of the agent that says that it leads.
async fn leader(cluster: &Cluster, observer: &Observer) -> anyhow::Result<usize> {
    let until = Instant::now() + LEADER_WITHIN;
    let name = loop {
        let statuses = observer.statuses().await;
        let mut statuses = statuses.into_iter().flatten();
        if let Some(leads) = statuses.find(|it| it.leader_id == Some(it.node_id)) {
            break leads.name;
        }
        ensure!(Instant::now() < until, "no agent leads the cluster");
        tokio::time::sleep(ASK_AGAIN).await;
    };
    let names = cluster.names();
    let position = names.iter().position(|it| *it == name);
    position.context("the leader is a stranger")
}

fn look(cluster: &mut Cluster) -> anyhow::Result<Vec<Process>> {
    cluster.check()?;
    let agents = cluster.sample().agents.into_iter();
    agents
        .collect::<Option<Vec<Process>>>()
        .context("an agent isn't in the process table")
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
