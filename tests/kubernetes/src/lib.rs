//! A whole Kubernetes cluster on the machine it runs on, as root, without Docker: control
//! plane, and any number of real nodes with kubelet, containerd and kube-proxy in namespaces
//! of their own. For tests, which start, break and end it, and for a person to play with.
//! It knows nothing of Starling but how its image is built, and depends on none of its
//! crates. The next fault goes beside `network` and `proxy`, the next image under `images/`.

mod assets;
mod client;
mod cluster;
mod component;
mod container;
mod control;
mod crowd;
mod error;
pub mod image;
mod network;
mod node;
mod pki;
mod proxy;
mod run;
pub mod shell;
pub mod turn;

pub use assets::{REQUIRED, cache, check};
pub use cluster::{Cluster, Settings};
pub use container::{Container, Signal};
pub use crowd::FakePods;
pub use error::{Error, Result};
pub use network::Cut;
pub use run::sweep;
