//! The leader's care for the cluster object: one that was deleted is made again,
//! so that a new agent finds this cluster rather than founds another one.
//!
//! Comes in: who leads. Goes out: a create, or a warning where the object names
//! another cluster. Never changes or deletes one that is there.

use std::sync::Arc;
use std::time::Duration;

use crate::attend::Attendant;

/// One read in this time, by the leader alone.
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// Nobody leads right after the start.
const LOOK_FIRST: Duration = Duration::from_secs(1);

/// Runs as long as the agent does.
pub async fn keep(attendant: Arc<Attendant>) {
    let mut leadership = attendant.log().leadership();
    loop {
        if leadership.borrow_and_update().acting {
            attendant.trouble("cluster object", look(&attendant).await);
            tokio::time::sleep(LOOK_EVERY).await;
            continue;
        }
        attendant.trouble("cluster object", None);
        tokio::time::sleep(LOOK_FIRST).await;
        // An error says that the log has ended.
        if leadership.has_changed().is_err() {
            return;
        }
    }
}

/// What is wrong with the object.
async fn look(attendant: &Attendant) -> Option<String> {
    let object = &attendant.settings().object;
    let ours = attendant.cluster();
    match object.get().await {
        Ok(Some(found)) if found.id == ours.id => None,
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
