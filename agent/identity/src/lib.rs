//! The room of who an agent is in a Kubernetes cluster.
//!
//! Comes in: the cluster object, the pod's token, a data directory. Goes out: a
//! certificate in use, renewed in time; the first seeds; certificates for other
//! agents whose pods the API server vouches for.
//!
//! Never founds where a log was before, never lets its key leave the machine, and
//! never believes a name that somebody gives itself: names come from the API
//! server. With the API server away, who has a certificate goes on.
//!
//! How a certificate is made is in `keys`, what the API server says in `kube`.
//! [`establish`] is the way to a first certificate, [`Attendant`] what keeps it,
//! [`Desk`] what gives others theirs, [`rotate`] what renews the keys of gossip. Another way to prove who one is (SPIFFE)
//! would stand beside [`ask`].

mod ask;
mod attend;
mod daily;
mod desk;
mod error;
mod establish;
mod object;
mod store;
mod token;

use std::path::PathBuf;

use starling_kube::client::Connection;
use starling_kube::cluster::ClusterObject;
use starling_kube::discovery;

pub use attend::{Attendant, Troubles};
pub use daily::{Rotation, rotate};
pub use desk::{CERTIFICATES_AT_ONCE_MAX, Desk, LIFETIME};
pub use error::Error;
pub use establish::{Established, establish};
pub use store::Store;

/// What an agent is told about itself.
#[derive(Clone)]
pub struct Settings {
    pub cluster: String,
    pub node: String,
    pub data_dir: PathBuf,
    /// The file with the pod's token.
    pub token: PathBuf,
    pub connection: Connection,
    pub object: ClusterObject,
    pub pods: discovery::Wanted,
}

impl Settings {
    /// Whom tokens must be meant for, so that a token for something else is
    /// worth nothing here.
    pub fn audience(&self) -> String {
        format!("starling/{}", self.cluster)
    }
}
