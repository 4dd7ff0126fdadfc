//! Disks that fail or hang under the log, and what is told of them.
//!
//! A disk that fails says so, and the log ends with what it said. One that hangs says
//! nothing: what is under way on it is watched, and the log ends with that too, since
//! an agent that can't write takes no part while everybody takes it for alive.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use openraft::error::Fatal;

use crate::Error;
use crate::beat::beat;
use crate::store::Disk;
use crate::types::Raft;

/// Opening the largest log takes a few seconds.
const OPEN_DEADLINE: Duration = Duration::from_secs(30);
/// A disk that has been at one write for so long has stopped answering. Others count
/// an agent that is silent for so long as dead, too.
const HANG: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_secs(1);

/// Why openraft has ended, with what can be done; `None` where it was told to end.
pub fn why_ended(disk: &Disk, raft: &Raft) -> Option<String> {
    let state = raft.metrics().borrow().running_state.clone();
    let failed = match (disk.failure(), state) {
        (Some(why), _) => why,
        (None, Err(Fatal::StorageError(why))) => why.to_string(),
        (None, Err(Fatal::Stopped)) => return None,
        (None, Err(why @ Fatal::Panicked)) => return Some(why.to_string()),
        (None, Ok(())) => return Some("it should not have".to_owned()),
    };
    Some(format!(
        "the log can't be written: {failed}; make room or see to the disk, and start anew"
    ))
}

/// Returns once the disk under `data_dir` has been at one write for too long.
pub async fn hangs(disk: &Disk, data_dir: PathBuf) -> Error {
    loop {
        let waited = disk.busy_for();
        if waited >= HANG {
            return Error::Hangs {
                path: data_dir,
                waited,
            };
        }
        beat(LOOK).await;
    }
}

/// [`Error::Hangs`] where `opening` the log under `data_dir` takes too long.
pub async fn opened<T>(data_dir: &Path, opening: impl Future<Output = T>) -> Result<T, Error> {
    let opened = tokio::time::timeout(OPEN_DEADLINE, opening).await;
    opened.map_err(|_| Error::Hangs {
        path: data_dir.to_owned(),
        waited: OPEN_DEADLINE,
    })
}
