//! The leader's care for the cluster object: one that was deleted is made again,
//! so that a new agent finds this cluster rather than founds another one.
//!
//! Comes in: who leads. Goes out: a create, or a warning where the object names
//! another cluster; the end of this agent where the cluster was rebuilt without it. Never
//! deletes one that is there, and changes only a generation that is behind.

use std::sync::Arc;
use std::time::Duration;

use starling_kube::cluster::{Cluster, Raised};
use tokio::time::Instant;

use crate::attend::Attendant;

/// One read in this time, by the leader, and by whoever hears of none: for so long an
/// agent that should have no part any more may go on.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Between two looks whether it is time.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs as long as the agent does.
pub async fn keep(attendant: Arc<Attendant>) {
    let mut leadership = attendant.log().leadership();
    let mut looked: Option<Instant> = None;
    let mut led = Instant::now();
    loop {
        if leadership.borrow_and_update().acting {
            led = Instant::now();
            if looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
                attendant.trouble("cluster object", look(&attendant).await);
                looked = Some(Instant::now());
            }
        } else {
            attendant.trouble("cluster object", None);
            looked = None;
            if attendant.log().backing().led {
                led = Instant::now();
            } else if led.elapsed() >= LOOK_EVERY {
                look_for_later(&attendant).await;
                led = Instant::now();
            }
        }
        tokio::time::sleep(PAUSE).await;
        // An error says that the log has ended.
        if leadership.has_changed().is_err() {
            return;
        }
    }
}

/// What is wrong with the object.
async fn look(attendant: &Attendant) -> Option<String> {
    let object = &attendant.settings().object;
    let ours = &Cluster {
        generation: attendant.log().generation(),
        ..attendant.cluster().clone()
    };
    match object.get().await {
        Ok(Some(found)) if found.id == ours.id => {
            if found.generation > ours.generation {
                give_up(attendant, &found);
                return None;
            }
            if found.generation == ours.generation {
                return None;
            }
            // It was made again from what was known before the cluster was rebuilt.
            match object.raise(Some(&found), ours).await {
                Ok(Raised::Done) => {
                    tracing::warn!(
                        %object, generation = ours.generation,
                        "the cluster object was of an earlier generation; it is corrected"
                    );
                    None
                }
                Ok(Raised::Other(_)) => None,
                Err(why) => Some(why.to_string()),
            }
        }
        Ok(Some(found)) => Some(format!(
            "the ConfigMap {object} names another cluster of this name (id {}, founded by {}), not \
             this one ({}): new agents go there; delete it, and this cluster's leader makes its own \
             again",
            found.id, found.founder, ours.id
        )),
        Ok(None) => match object.create(ours).await {
            Ok(made) => {
                if made {
                    tracing::warn!(%object, "the cluster object was missing; it is made again");
                }
                None
            }
            Err(why) => Some(why.to_string()),
        },
        // The API server is away: others say so.
        Err(why) => {
            tracing::debug!(%why, "the cluster object can't be looked at");
            None
        }
    }
}

/// Whether the cluster goes on without this agent, which hears of no leader.
async fn look_for_later(attendant: &Attendant) {
    let own = attendant.log().generation();
    if let Ok(Some(found)) = attendant.settings().object.get().await
        && found.id == attendant.cluster().id
        && found.generation > own
    {
        give_up(attendant, &found);
    }
}

/// At its next start it waits for that generation, and joins it. The agent whose log it
/// goes on from is told by who asked for that.
fn give_up(attendant: &Attendant, found: &Cluster) {
    if found.recovered_by == attendant.settings().node {
        return;
    }
    attendant.log().give_up(format!(
        "the cluster was rebuilt: the ConfigMap {} says that node {} goes on with it in generation \
         {}, and this agent's log is of generation {}; started again, it joins that one",
        attendant.settings().object,
        found.recovered_by,
        found.generation,
        attendant.log().generation()
    ));
}
