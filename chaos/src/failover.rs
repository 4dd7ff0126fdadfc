//! Kills the leader with SIGKILL again and again, or tells it to end, and
//! measures how long the cluster goes without a decision.
//!
//! A source that wants another size each time keeps decisions coming. What is
//! measured is defined in [`starling_rig::observe::failover`].

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::Serialize;
use starling_rig::cluster::Cluster;
use starling_rig::observe::failover::{self, Before, Failover};
use starling_rig::observe::{Observer, Status};
use starling_rig::queue::http::Server;
use starling_rig::workload::{self, Workload};

use crate::gauge::Gauge;
use crate::times::Times;

const AGENTS: usize = 3;
/// For the survivors' next decision.
const FAILOVER_WITHIN: Duration = Duration::from_secs(20);
/// For a whole cluster with a known leader before each kill.
const WHOLE_WITHIN: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Between the cluster being whole and a kill: at least this long.
const CALM: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Serialize)]
pub struct Result {
    pub kills: usize,
    /// Kills after which the next decision was seen.
    pub decided: usize,
    /// From the kill to the next committed decision.
    pub failover: Times,
    /// From the kill to the commit of the new leader's own first entry.
    pub able: Times,
    /// From the restart to having applied what the others had.
    pub caught_up: Times,
}

/// How a leader comes to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// SIGKILL: nothing is said to the others.
    Killed,
    /// SIGTERM: it hands the lead over first, as in a rolling restart.
    Told,
}

/// Ends `kills` leaders; `told` hears of each.
pub async fn run(
    binary: &Path,
    kills: usize,
    end: End,
    mut told: impl FnMut(&str),
) -> anyhow::Result<Result> {
    let queue = Server::start().await?;
    let gauge = Gauge::start().await?;
    let mut cluster = Cluster::new(binary, AGENTS)?;
    let documents = workload::documents(&Workload {
        binary,
        queue: &queue.url(),
        stats: &gauge.url(),
        // A dead agent's workers can't be measured; the source alone decides here.
        by_cpu: false,
        down_window_s: 0,
    });
    let observer = cluster.start(&documents).await?;
    cluster.working().await?;
    let (mut failovers, mut able, mut caught_up) = (Vec::new(), Vec::new(), Vec::new());
    let mut decided = 0;
    for kill in 0..kills {
        whole(&mut cluster, &observer).await?;
        // Passes come once a second; kills shall not keep step with them.
        let phase = Duration::from_millis(kill as u64 * 377 % 1_000);
        tokio::time::sleep(CALM + phase).await;
        let (position, seen) = end_leader(&mut cluster, &observer, end).await?;
        let seen = seen.context("nobody took over from the leader")?;
        cluster.ended(position).await?;
        cluster.restart(position)?;
        let took = cluster.caught_up(position, &observer).await?;
        told(&line(kill + 1, kills, &seen, took));
        decided += usize::from(seen.decision.is_some());
        failovers.push(seen.after);
        able.extend(seen.able_after);
        caught_up.push(took);
    }
    cluster.stop_all().await;
    Ok(Result {
        kills,
        decided,
        failover: Times::of(&failovers),
        able: Times::of(&able),
        caught_up: Times::of(&caught_up),
    })
}

async fn end_leader(
    cluster: &mut Cluster,
    observer: &Observer,
    end: End,
) -> anyhow::Result<(usize, Option<Failover>)> {
    let statuses = observer.statuses().await;
    let before = Before::from(&statuses).context("the leader is gone before it was killed")?;
    let leads = |status: &Option<Status>| {
        status
            .as_ref()
            .is_some_and(|status| status.node_id == before.leader_id)
    };
    let position = statuses
        .iter()
        .position(leads)
        .context("the leader doesn't answer")?;
    let survivors: Vec<usize> = (0..AGENTS).filter(|it| *it != position).collect();
    let killed_at = match end {
        End::Killed => cluster.kill(position).await,
        End::Told => cluster.terminate(position),
    };
    let deadline = killed_at + FAILOVER_WITHIN;
    let seen = failover::watch(observer, &survivors, before, killed_at, deadline).await;
    Ok((position, seen))
}

/// Waits until all agents agree on a leader and believe each other alive.
async fn whole(cluster: &mut Cluster, observer: &Observer) -> anyhow::Result<()> {
    let until = Instant::now() + WHOLE_WITHIN;
    loop {
        cluster.check()?;
        let statuses = observer.statuses().await;
        let whole = statuses
            .iter()
            .flatten()
            .filter(|status| status.members_alive as usize == AGENTS && status.leader_id.is_some());
        if whole.count() == AGENTS && Before::from(&statuses).is_some() {
            return Ok(());
        }
        if Instant::now() > until {
            bail!(
                "the cluster isn't whole again within {} s: {statuses:?}",
                WHOLE_WITHIN.as_secs()
            );
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn line(kill: usize, kills: usize, seen: &Failover, caught_up: Duration) -> String {
    let what = if seen.decision.is_some() {
        "decision"
    } else {
        "first entry"
    };
    let able = seen
        .able_after
        .map_or_else(|| "?".into(), |able| able.as_millis().to_string());
    format!(
        "leader {kill} of {kills}: {what} after {} ms (able after {able} ms), {} in term {}; \
         restarted, caught up in {} ms",
        seen.after.as_millis(),
        seen.leader,
        seen.term,
        caught_up.as_millis()
    )
}
