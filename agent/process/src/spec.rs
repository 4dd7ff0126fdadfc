//! What a workload is on this machine: the command, and what it needs.
//!
//! Comes from what users wrote, goes to whoever starts workers. Holds no state
//! and starts nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How a policy's target calls what is run here.
pub const KIND: &str = "Process";
/// From SIGTERM to SIGKILL, unless a [`Spec`] says otherwise.
pub const STOP_AFTER_MS: u64 = 10_000;

/// What a workload is on this machine. The command must stay in the foreground:
/// when it ends, what it left running is ended too, and it is started again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    pub name: String,
    /// The program, looked up in the agent's `PATH`, and its arguments.
    pub command: Vec<String>,
    /// Added to the agent's own environment.
    pub env: BTreeMap<String, String>,
    /// Where it runs; `None`: where the agent does.
    pub directory: Option<PathBuf>,
    pub cpu_request_milli: Option<u64>,
    pub memory_request_bytes: Option<u64>,
    /// From SIGTERM to SIGKILL.
    pub stop_after_ms: u64,
}
