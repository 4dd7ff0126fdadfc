//! The context in an agent's own container, for `starling status` and the like in there.
//!
//! Comes in: the settings, the user's certificate, and who is a member. Goes out: a file
//! that names this agent first and then all others, written anew when they change, so that
//! what is asked of every agent, or of another one, can be asked here.

use std::path::PathBuf;
use std::sync::PoisonError;
use std::time::Duration;

use starling_cli::context::{AGENTS_MAX, Agent, Context};
use starling_consensus::Log;
use starling_keys as keys;
use tracing::warn;

use crate::config::Config;

/// Members that come one after the other are written together.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// After a write that failed.
const RETRY_AFTER: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub struct OwnContext {
    path: PathBuf,
    /// As it was written last.
    context: Context,
}

impl OwnContext {
    /// With this agent alone: whom else there is the log tells later.
    pub fn write(config: &Config, papers: keys::Paths) -> anyhow::Result<OwnContext> {
        let dir = config.data_dir.join("client");
        keys::file::make_directory(&dir)?;
        let context = Context {
            cluster: config.cluster.clone(),
            agents: vec![Agent {
                name: config.node_name().to_owned(),
                address: reached_from_here(&config.listen.api),
            }],
            ca: papers.ca,
            certificate: papers.certificate,
            key: papers.key,
        };
        let path = dir.join("context.yaml");
        context.write(&path)?;
        Ok(OwnContext { path, context })
    }

    /// As long as the agent runs.
    pub async fn keep(mut self, log: Log) {
        let mut applied = log.applied();
        loop {
            let agents = with_members(&self.context.agents[0], &log);
            if agents != self.context.agents {
                let mut context = self.context.clone();
                context.agents = agents;
                let (next, path) = (context.clone(), self.path.clone());
                // It waits for the disk.
                let written = tokio::task::spawn_blocking(move || next.write(&path)).await;
                let why = match written {
                    Ok(Ok(())) => None,
                    Ok(Err(why)) => Some(why.to_string()),
                    Err(why) => Some(why.to_string()),
                };
                if let Some(why) = why {
                    warn!("the context for commands in this container stays as it was: {why}");
                    tokio::time::sleep(RETRY_AFTER).await;
                    continue;
                }
                self.context = context;
            }
            tokio::time::sleep(LOOK_EVERY).await;
            // An ended log has no more members.
            if applied.changed().await.is_err() {
                return;
            }
        }
    }
}

/// Further ones than a context may have are left out: one that answers is enough.
fn with_members(own: &Agent, log: &Log) -> Vec<Agent> {
    let ledger = log.ledger();
    let ledger = ledger.read().unwrap_or_else(PoisonError::into_inner);
    let members = ledger.members.values().map(|admitted| &admitted.member);
    let others = members.filter(|member| member.name != own.name);
    let others = others.map(|member| Agent {
        name: member.name.clone(),
        address: member.api_address.clone(),
    });
    let all = [own.clone()].into_iter().chain(others);
    all.take(AGENTS_MAX).collect()
}

/// Where a process beside the agent finds what listens on `address`.
fn reached_from_here(address: &str) -> String {
    match address.rsplit_once(':') {
        Some(("0.0.0.0", port)) => format!("127.0.0.1:{port}"),
        Some(("[::]", port)) => format!("[::1]:{port}"),
        _ => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::reached_from_here;

    #[test]
    fn an_agent_that_listens_everywhere_is_reached_over_loopback() {
        for (listen, reached) in [
            ("0.0.0.0:7402", "127.0.0.1:7402"),
            ("[::]:7402", "[::1]:7402"),
            ("10.0.0.1:1", "10.0.0.1:1"),
        ] {
            assert_eq!(reached_from_here(listen), reached);
        }
    }
}
