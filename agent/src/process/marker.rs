//! What a worker carries in its environment: whose it is, what it runs, and
//! which one it is. Its children inherit it.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::Spec;

pub const VARIABLE: &str = "STARLING_WORKER";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    pub owner: String,
    /// Of the command; see [`edition`].
    pub edition: String,
    /// The workload.
    pub name: String,
}

impl Marker {
    /// A value that no other process carries.
    pub fn fresh(&self) -> String {
        let instance = format!("{:016x}", rand::random::<u64>());
        format!("{} {} {instance} {}", self.owner, self.edition, self.name)
    }

    pub fn parse(mark: &str) -> Option<Marker> {
        // The name comes last, because it alone may hold spaces.
        let mut parts = mark.splitn(4, ' ').map(str::to_owned);
        let (owner, edition, _, name) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        Some(Marker {
            owner,
            edition,
            name,
        })
    }
}

/// One agent across its restarts.
pub fn owner(cluster: &str, directory: &Path) -> String {
    digest(&serde_json::json!([cluster, directory.to_string_lossy()]))
}

/// What a worker runs. Its requests aren't part of it: a new one replaces no worker.
pub fn edition(spec: &Spec) -> String {
    let directory = spec.directory.as_deref().map(Path::to_string_lossy);
    digest(&serde_json::json!([spec.command, spec.env, directory]))
}

/// 64 bits are plenty to tell the agents and commands of one machine apart.
fn digest(value: &serde_json::Value) -> String {
    let hash = Sha256::digest(value.to_string());
    hash.iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
