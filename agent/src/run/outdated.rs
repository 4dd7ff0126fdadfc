//! An agent whose cluster was rebuilt without it.
//!
//! Comes in: the cluster object's generation, and that of the log on this disk. Goes
//! out, once an agent of the later one answers: the former log given up, so that the start
//! goes on by joining. Until then nothing opens that log: it has no vote and acts on
//! nothing, and it is there should nobody go on.

use std::time::Duration;

use starling_consensus::{Credentials, Seeds, generation, rebuild, supersede};
use starling_health::Health;
use starling_kube::cluster::Cluster;
use tracing::info;

use crate::config::Config;

/// Between two rounds of asking.
const PAUSE: Duration = Duration::from_secs(2);

/// Returns at once where this agent's log is as new as the object says.
pub async fn wait(
    config: &Config,
    cluster: &Cluster,
    seeds: &Seeds,
    credentials: &Credentials,
    health: &Health,
) -> anyhow::Result<()> {
    let Some(own) = generation(&config.data_dir) else {
        return Ok(());
    };
    if own >= cluster.generation {
        return Ok(());
    }
    let words = if cluster.recovered_by == config.node_name() {
        format!(
            "the cluster was to go on from this agent's log in generation {}, and that was broken \
             off: `starling recover` here, once more, does it",
            cluster.generation
        )
    } else {
        format!(
            "the cluster was rebuilt: node {} goes on with it in generation {}, and this agent's log \
             is of generation {own}. It joins once an agent of that generation answers (if there \
             will be none, `starling recover --force` here goes on from this log)",
            cluster.recovered_by, cluster.generation
        )
    };
    info!("waiting: {words}");
    loop {
        health.waits_for(&words);
        for seed in seeds.now() {
            let said = rebuild::ask(&seed, credentials).await;
            let later = said.filter(|said| {
                said.id != 0
                    && said.cluster_id == cluster.id
                    && said.generation >= cluster.generation
            });
            if let Some(later) = later {
                let why = format!(
                    "agent {} at {seed} goes on with the cluster in generation {}",
                    later.name, later.generation
                );
                return Ok(supersede(&config.data_dir, &why)?);
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
