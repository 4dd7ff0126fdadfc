//! `kind: Process`: what command a workload is on a machine. Only in files.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::Metadata;

/// `kind: Process`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Process {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    pub metadata: Metadata,
    pub spec: ProcessSpec,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ProcessSpec {
    pub command: Vec<String>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    pub directory: Option<PathBuf>,
    #[serde(default)]
    pub requests: Requests,
    pub grace_period_seconds: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requests {
    pub cpu: Option<String>,
    pub memory: Option<String>,
}
