//! Measures what an agent uses while nothing happens: CPU and resident memory.
//!
//! Three agents keep one policy with four workers that only sleep; every agent
//! goes on measuring once a second.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;
use serde::Serialize;
use starling_rig::cluster::Cluster;
use starling_rig::cluster::files::Documents;

use crate::usage::{self, Usage};

const AGENTS: usize = 3;
const WORKERS: usize = 4;
/// For the workers to run.
const WORKING_WITHIN: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Starting up and its aftermath aren't rest.
const CALM: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Serialize)]
pub struct Result {
    pub seconds: u64,
    pub workers: usize,
    pub agents: Vec<Usage>,
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
    told(&format!(
        "{AGENTS} agents and {WORKERS} workers are at rest; watching them for {seconds} s"
    ));
    let agents = usage::watch(&mut cluster, &observer, seconds).await?;
    cluster.stop_all().await;
    Ok(Result {
        seconds,
        workers: WORKERS,
        agents,
    })
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
