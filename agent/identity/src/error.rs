//! Why an agent has no identity, and what mends it.

use std::io;
use std::path::PathBuf;

use starling_kube::cluster::{self, Cluster};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Keys(#[from] starling_keys::Error),
    #[error(transparent)]
    Object(#[from] cluster::Error),
    #[error(transparent)]
    Log(#[from] starling_consensus::Error),
    #[error("writing the new certificate broke off: {0}")]
    BrokeOff(String),
    #[error(
        "the data directory {} belongs to cluster {} with the id {}, but the ConfigMap \
         {object} names the one with the id {}, which {} founded. To let this node \
         join that one as new, empty the directory. If the ConfigMap is the wrong one, delete it, \
         and the agents of the former cluster make theirs again",
        data_dir.display(), ours.name, ours.id, found.id, found.founder
    )]
    OtherCluster {
        data_dir: PathBuf,
        ours: Box<Cluster>,
        object: String,
        found: Box<Cluster>,
    },
    #[error(
        "the ConfigMap {object} is of cluster {found}, but `cluster` in agent.yaml is {wanted}: \
         correct one of them, or name another ConfigMap in kubernetes.clusterObject"
    )]
    OtherName {
        object: String,
        found: String,
        wanted: String,
    },
    #[error("{} is damaged ({why}); remove it, and this agent proves anew who it is", path.display())]
    Damaged { path: PathBuf, why: String },
    #[error(
        "the token {} can't be read; the pod must mount a projected service account token with \
         the audience {audience} there",
        path.display()
    )]
    Token {
        path: PathBuf,
        audience: String,
        #[source]
        source: io::Error,
    },
    #[error("the token {} {why}; is it a service account token?", path.display())]
    NoToken { path: PathBuf, why: &'static str },
    #[error("{} can't be used", path.display())]
    Directory {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// What another agent said.
    #[error("{address}: {why}")]
    NotCertified { address: String, why: String },
    /// Ordinary: ask another agent.
    #[error("this agent can't certify itself yet: its ledger holds no authority")]
    NoAuthority,
}
