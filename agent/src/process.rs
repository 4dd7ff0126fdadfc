//! process

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What a worker is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    pub name: String,
    pub command: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub directory: Option<PathBuf>,
    pub cpu_request_milli: Option<u64>,
    pub memory_request_bytes: Option<u64>,
    pub stop_after_ms: u64,
}
