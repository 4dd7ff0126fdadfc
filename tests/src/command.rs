//! The `starling` binary as a user runs it against a cluster of the rig's agents.
//!
//! Comes in: the words of a command. Goes out: how it ended, and what it said.
#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "what isn't there fails the test that looks for it"
)]

use std::path::{Path, PathBuf};
use std::process::Stdio;

use starling_cli::context::{Agent, Context};
use starling_rig::cluster::{Cluster, NAME};
use tokio::process::Command;

use crate::{DEADLINE, binary};

/// How a command has ended.
pub struct Said {
    /// `None` where a signal ended it.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// Runs a command with the context in that file, and waits for its end.
pub async fn starling(context: &Path, args: &[&str]) -> Said {
    let run = Command::new(binary())
        .args(args)
        .env("STARLING_CONTEXT", context)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let ended = tokio::time::timeout(DEADLINE, run).await;
    let output = ended.expect("it ends").expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said {
        code: output.status.code(),
        out: text(&output.stdout),
        err: text(&output.stderr),
    }
}

/// Writes a context that names all agents of a cluster, which has formed; where it is.
pub fn context(cluster: &Cluster) -> PathBuf {
    let keys = cluster.user_keys();
    let agents = cluster.names().into_iter().zip(cluster.api_addresses());
    let context = Context {
        cluster: NAME.into(),
        agents: agents
            .map(|(name, address)| Agent { name, address })
            .collect(),
        ca: keys.join("ca.pem"),
        certificate: keys.join("client.pem"),
        key: keys.join("client.key"),
    };
    let path = cluster.dir().join("context.yaml");
    context.write(&path).expect("written");
    path
}
