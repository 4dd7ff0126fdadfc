//! The note by which a running agent is asked to rebuild the cluster from its log.
//!
//! Comes in: a generation that the cluster object says already. Goes out: the end of the
//! agent that runs, and a log of that generation at its next start. A command in the
//! agent's container can't do it itself: the agent holds the directory, and ends the
//! container with itself.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use starling_consensus::beat::beat;
use starling_consensus::{generation, rebuild};
use starling_keys::file;
use tracing::{info, warn};

use crate::config::Config;

const NAME: &str = "recover";
/// The running agent looks so often.
const LOOK: Duration = Duration::from_secs(2);

/// Asks for it.
pub fn write(data_dir: &Path, generation: u64) -> anyhow::Result<()> {
    Ok(file::replace(
        &data_dir.join(NAME),
        &format!("{generation}\n"),
    )?)
}

/// Returns once it is asked for.
pub async fn noted(data_dir: &Path) {
    loop {
        beat(LOOK).await;
        let path = data_dir.join(NAME);
        let there = tokio::task::spawn_blocking(move || path.exists()).await;
        if there.unwrap_or(false) {
            return;
        }
    }
}

/// Does what was asked for, before anything opens the log.
pub async fn carry_out(config: &Config) -> anyhow::Result<()> {
    let path = config.data_dir.join(NAME);
    let Ok(text) = std::fs::read_to_string(&path) else {
        return Ok(());
    };
    let wanted: u64 = text
        .trim()
        .parse()
        .with_context(|| format!("{} names no generation; remove it", path.display()))?;
    if generation(&config.data_dir).is_some_and(|now| now > wanted) {
        warn!(
            generation = wanted,
            "this agent's log is of a later generation than it was asked to rebuild; nothing is done"
        );
    } else {
        let made = rebuild::recover(&config.data_dir, &config.cluster, wanted).await;
        let made = made.with_context(|| {
            format!(
                "the cluster can't be rebuilt from this agent's log; remove {} to start as before",
                path.display()
            )
        })?;
        info!(
            generation = made.generation,
            command = made.index,
            "the cluster goes on from this agent's log; nothing changes its size until two windows \
             of measurements were seen"
        );
    }
    std::fs::remove_file(&path).with_context(|| format!("can't remove {}", path.display()))
}
