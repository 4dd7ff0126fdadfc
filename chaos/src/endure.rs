//! Watches whether what agents use levels off: memory, their directories, and how long
//! they need to come back.
//!
//! Three agents keep many policies whose sources want another size each time they are
//! asked, so that the log grows all the time. At each look one agent is killed and
//! started again, each in turn.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;
use starling_rig::cluster::Cluster;
use starling_rig::cluster::files::Documents;
use starling_rig::observe::Observer;

use crate::gauge::Gauge;

const AGENTS: usize = 3;
/// Of the first and the last looks that are compared, a part of all.
const PART: usize = 4;

#[derive(Debug, Clone, Serialize)]
pub struct Result {
    pub policies: usize,
    pub looks: Vec<Look>,
}

/// What was seen at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct Look {
    pub after_s: u64,
    /// Entries of the ledger.
    pub index: u64,
    /// The largest of the agents', without the one that was started last.
    pub rss_bytes: u64,
    /// The largest of the agents'.
    pub directory_bytes: u64,
    /// Of one that was killed, from its start to having applied what the others had.
    pub restart: Duration,
}

/// Watches `policies` for `minutes`, and looks `looks` times; `told` hears each.
pub async fn run(
    binary: &Path,
    policies: usize,
    minutes: u64,
    looks: u32,
    mut told: impl FnMut(&str),
) -> anyhow::Result<Result> {
    let gauge = Gauge::start().await?;
    let mut cluster = Cluster::new(binary, AGENTS)?;
    let observer = cluster.start(&documents(policies, &gauge.url())).await?;
    let start = Instant::now();
    let every = Duration::from_mins(minutes) / looks;
    let mut seen = Vec::new();
    for number in 1..=looks {
        tokio::time::sleep_until((start + every * number).into()).await;
        let position = number as usize % AGENTS;
        let mut look = look(&mut cluster, &observer, position).await?;
        look.after_s = start.elapsed().as_secs();
        cluster.kill(position).await;
        cluster.restart(position)?;
        look.restart = cluster.caught_up(position, &observer).await?;
        told(&look.to_string());
        seen.push(look);
    }
    cluster.stop_all().await;
    Ok(Result {
        policies,
        looks: seen,
    })
}

async fn look(
    cluster: &mut Cluster,
    observer: &Observer,
    restarted_next: usize,
) -> anyhow::Result<Look> {
    cluster.check()?;
    // The one that was started last had less time to grow.
    let young = (restarted_next + AGENTS - 1) % AGENTS;
    let agents = cluster.sample().agents.into_iter().enumerate();
    let old = agents.filter(|(position, _)| *position != young);
    let rss = old.filter_map(|(_, agent)| agent).map(|it| it.rss_bytes);
    let directories = cluster.names().into_iter();
    let bytes = directories.map(|name| bytes_in(&cluster.dir().join(name).join("data")));
    let status = observer.status(restarted_next).await?;
    Ok(Look {
        after_s: 0,
        index: status.applied_index,
        rss_bytes: rss.max().context("no agent is in the process table")?,
        directory_bytes: bytes.max().unwrap_or(0),
        restart: Duration::ZERO,
    })
}

/// What a file system holds for a directory; what vanishes meanwhile counts for nothing.
fn bytes_in(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(of) if of.is_dir() => bytes_in(&entry.path()),
        // Blocks, since files may have holes.
        Ok(of) => of.blocks() * 512,
        Err(_) => 0,
    });
    bytes.sum()
}

/// Each policy has a workload of its own, of one replica or two.
fn documents(policies: usize, url: &str) -> Documents {
    let process = |number| {
        format!(
            "---
apiVersion: starling.sh/v1alpha1
kind: Process
metadata: {{name: p{number}}}
spec:
  command: [sleep, infinity]
  requests: {{cpu: 1m, memory: 1Mi}}
  gracePeriodSeconds: 2
"
        )
    };
    let policy = |number| {
        format!(
            "---
apiVersion: starling.sh/v1alpha1
kind: ScalingPolicy
metadata: {{name: p{number}}}
spec:
  scaleTargetRef: {{kind: Process, name: p{number}}}
  minReplicaCount: 1
  maxReplicaCount: 2
  pollingInterval: 10
  behavior:
    scaleDown: {{stabilizationWindowSeconds: 0}}
  triggers:
    - type: metrics-api
      metadata: {{url: \"{url}\", valueLocation: waiting, targetValue: \"8\"}}
"
        )
    };
    Documents {
        each: (0..policies).map(process).collect(),
        first: (0..policies).map(policy).collect(),
    }
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        write!(
            f,
            "after {} s, entry {}: resident {:.1} MiB, directory {:.1} MiB, back in {} ms",
            self.after_s,
            self.index,
            mib(self.rss_bytes),
            mib(self.directory_bytes),
            self.restart.as_millis()
        )
    }
}

/// The first and the last looks beside each other, each as its largest.
impl fmt::Display for Result {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = self.looks.len().div_ceil(PART);
        let (first, last) = (&self.looks[..part], &self.looks[self.looks.len() - part..]);
        let mib = |looks: &[Look], of: fn(&Look) -> u64| {
            let bytes = looks.iter().map(of).max().unwrap_or(0);
            bytes as f64 / f64::from(1 << 20)
        };
        let ms = |looks: &[Look]| {
            let longest = looks.iter().map(|look| look.restart).max();
            longest.unwrap_or_default().as_millis()
        };
        write!(
            f,
            "{} policies, the first {part} looks and the last {part}:\n  \
             resident  {:.1} MiB, {:.1} MiB\n  directory {:.1} MiB, {:.1} MiB\n  \
             restart   {} ms, {} ms",
            self.policies,
            mib(first, |look| look.rss_bytes),
            mib(last, |look| look.rss_bytes),
            mib(first, |look| look.directory_bytes),
            mib(last, |look| look.directory_bytes),
            ms(first),
            ms(last)
        )
    }
}
