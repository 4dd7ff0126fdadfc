//! Looks whether the seeds' cluster is this agent's, and whether callers' is.
//!
//! Two agents that may found can each have founded a cluster of the same name,
//! and a machine whose disk was emptied can have founded it a second time. Then
//! whoever is alone in its cluster ends; everybody else says it as an error. Where a cluster
//! was rebuilt meanwhile, its later generation counts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::core::Core;
use crate::join::identify;
use crate::net::identity::shorten;

/// Often at first: a second cluster is mostly as young as this agent.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// The same cluster is told of again after so long, if it is still there.
const SAID_FOR: Duration = Duration::from_mins(10);
/// Of more at once nothing is said.
const MET_MAX: usize = 16;

/// An agent of some cluster, as it says itself.
pub struct Other<'a> {
    pub name: &'a str,
    /// Where it answers, or that it has called.
    pub place: &'a str,
    pub cluster: &'a str,
    pub cluster_id: &'a str,
    pub generation: u64,
    pub members: u32,
}

/// Runs as long as the agent does.
pub async fn run(core: Arc<Core>) {
    let mut pause = PAUSE_FIRST;
    loop {
        for seed in core.config.seeds.now() {
            if seed == core.config.member.peer_address {
                continue;
            }
            if let Ok(answer) = identify(&core, &seed).await
                && answer.id != 0
            {
                let other = Other {
                    name: &answer.name,
                    place: &seed,
                    cluster: &answer.cluster,
                    cluster_id: &answer.cluster_id,
                    generation: answer.generation,
                    members: answer.members,
                };
                meet(&core, &other);
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Says or does what is to be done where `other` is of another cluster of this
/// one's name.
pub fn meet(core: &Core, other: &Other<'_>) {
    let Some(own) = core.own.get() else { return };
    if *other.cluster_id == own.cluster_id && other.generation > own.generation {
        core.later.send_if_modified(|later| {
            let first = later.is_none();
            later.get_or_insert_with(|| {
                format!(
                    "the cluster was rebuilt: agent {} ({}) goes on with it in generation {}, and \
                     this one's log is of generation {}",
                    shorten(other.name),
                    other.place,
                    other.generation,
                    own.generation
                )
            });
            first
        });
        return;
    }
    let nobody = other.cluster_id.is_empty() || other.cluster_id == own.cluster_id;
    if nobody || other.cluster != own.cluster {
        return;
    }
    let (name, place) = (shorten(other.name), other.place);
    let theirs = shorten(other.cluster_id);
    let members = core.members();
    // Of two that are alone the one with the lower id goes on.
    let alone = own.founder && members <= 1;
    if alone && (other.members > 1 || *other.cluster_id < *own.cluster_id) {
        core.failed.tell(format!(
            "this agent has founded a cluster {} (id {}) in which it is alone, while agent {name} \
             ({place}) belongs to another one of that name (id {theirs}, {} members): to join that \
             one, empty {}, set `bootstrap: false` and name that agent in `seeds`; to keep this one, \
             give it another name and seeds of its own",
            own.cluster,
            own.cluster_id,
            other.members,
            core.config.data_dir.display()
        ));
    } else if core.met.is_news(&theirs) {
        tracing::error!(
            "agent {name} ({place}) belongs to another cluster of the name {} (id {theirs}, {} \
             members; this one has id {} and {members} members): they were founded apart and never \
             mix; stop one of them, empty its agents' data directories and let them join the other",
            own.cluster,
            other.members,
            own.cluster_id,
        );
    }
}

/// Clusters of this one's name that were told of.
#[derive(Default)]
pub struct Met {
    told: Mutex<BTreeMap<String, Instant>>,
}

impl Met {
    fn is_news(&self, id: &str) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        told.retain(|_, at| now.saturating_duration_since(*at) < SAID_FOR);
        let news = !told.contains_key(id) && told.len() < MET_MAX;
        if news {
            told.insert(id.to_owned(), now);
        }
        news
    }
}

impl Core {
    /// How many agents belong to the cluster, as far as this one knows.
    pub fn members(&self) -> usize {
        let ledger = self.ledger.read().unwrap_or_else(PoisonError::into_inner);
        ledger.members.len()
    }
}
