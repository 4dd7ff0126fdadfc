//! Compacts this agent's log by bytes: openraft counts entries, and one of them may
//! hold a megabyte.
//!
//! Comes in: how many bytes of entries were written since the log was last cut. Goes
//! out: a snapshot, and a log without what it holds. Changes nothing of what is
//! replicated: each agent cuts its own log.

use std::time::Duration;

use openraft::error::Fatal;

use crate::beat::beat;
use crate::store::LogStore;
use crate::types::Raft;

/// With more bytes of entries than this a snapshot is written and what it holds is
/// dropped. A start reads and applies as much again, in a second or two. A snapshot of a
/// large cluster has a few megabytes, so that writing it costs little beside this.
pub const LOG_BYTES_MAX: u64 = 16 << 20;
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A snapshot takes no longer; where it does, it is tried again.
const SNAPSHOT_DEADLINE: Duration = Duration::from_mins(1);

/// Runs until openraft ends.
pub async fn run(raft: Raft, store: LogStore, bytes_max: u64) {
    loop {
        beat(LOOK_EVERY).await;
        let bytes = store.bytes();
        if bytes <= bytes_max {
            continue;
        }
        match cut(&raft).await {
            // What was written meanwhile is still there.
            Ok(true) => store.forget_bytes(bytes),
            Ok(false) => tracing::warn!(
                bytes,
                "no snapshot was written in {} s; the log grows until one is",
                SNAPSHOT_DEADLINE.as_secs()
            ),
            Err(_) => return,
        }
    }
}

async fn cut(raft: &Raft) -> Result<bool, Fatal<u64>> {
    let applied = raft.metrics().borrow().last_applied;
    let Some(applied) = applied else {
        return Ok(true);
    };
    raft.trigger().snapshot().await?;
    let wait = raft.wait(Some(SNAPSHOT_DEADLINE));
    let written = wait.metrics(
        |m| m.snapshot >= Some(applied) || m.running_state.is_err(),
        "a snapshot is written",
    );
    if written.await.is_err() {
        return Ok(false);
    }
    raft.trigger().purge_log(applied.index).await?;
    Ok(true)
}
