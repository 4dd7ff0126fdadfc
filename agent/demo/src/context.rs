//! Lets `starling status` and its like, in another shell, ask the running demo.

use std::fs;
use std::path::PathBuf;

use starling_cli::context::{self, Agent, Context};
use starling_rig::cluster::{self, Cluster};

/// The context file of a running demo; removed when dropped, unless another
/// demo has put its own in its place.
#[derive(Debug)]
pub struct Shown {
    path: PathBuf,
    text: Vec<u8>,
}

impl Shown {
    pub fn write(cluster: &Cluster) -> Result<Shown, context::Error> {
        let agents = cluster.names().into_iter().zip(cluster.api_addresses());
        let keys = cluster.user_keys();
        let context = Context {
            cluster: cluster::NAME.to_owned(),
            agents: agents
                .map(|(name, address)| Agent { name, address })
                .collect(),
            ca: keys.join("ca.pem"),
            certificate: keys.join("client.pem"),
            key: keys.join("client.key"),
        };
        let path = context.write_demo()?;
        let text = fs::read(&path).unwrap_or_default();
        Ok(Shown { path, text })
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if fs::read(&self.path).is_ok_and(|text| text == self.text) {
            let _ = fs::remove_file(&self.path);
            // Stays while anything else is in it.
            if let Some(directory) = self.path.parent() {
                let _ = fs::remove_dir(directory);
            }
        }
    }
}
