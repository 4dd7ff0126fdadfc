//! What a data directory remembers of who the agent is: `identity/` in it.
//!
//! `cluster.json` says which cluster it belongs to, `current/` holds certificates
//! and keys as `starling keys` names them, and `founding.json`, until the ledger
//! has it, what a founder began with. All of it is for its owner alone; a pair of
//! certificate and key is replaced as a whole.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use starling_engine::ledger;
use starling_keys::{Expired, Keys, file};
use starling_kube::cluster::Cluster;

use crate::Error;

/// On disk before the cluster object is made, so that a founder that ends in
/// between goes on where it was.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founding {
    pub cluster: Cluster,
    /// None where certificates come from elsewhere.
    pub authority: Option<ledger::Authority>,
    /// The text of the first key ring.
    pub gossip: String,
}

/// Everything that makes an agent one of its cluster, as PEM texts, and the
/// identity of users of its pod's command line.
pub struct Papers {
    pub authority: String,
    pub certificate: String,
    pub key: String,
    pub user_certificate: String,
    pub user_key: String,
    pub gossip: String,
}

/// The directory.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
    node: String,
}

impl Store {
    pub fn open(data_dir: &Path, node: &str) -> Result<Store, Error> {
        let dir = data_dir.join("identity");
        file::make_directory(&dir)?;
        Ok(Store {
            dir,
            node: node.to_owned(),
        })
    }

    /// Where the certificates and keys in use are.
    pub fn current(&self) -> PathBuf {
        self.dir.join("current")
    }

    pub fn belonging(&self) -> Result<Option<Cluster>, Error> {
        self.read("cluster.json")
    }

    pub fn belong(&self, cluster: &Cluster) -> Result<(), Error> {
        self.write("cluster.json", cluster)
    }

    pub fn founding(&self) -> Result<Option<Founding>, Error> {
        self.read("founding.json")
    }

    pub fn begin_founding(&self, founding: &Founding) -> Result<(), Error> {
        self.write("founding.json", founding)
    }

    /// The ledger has it, or somebody else has founded.
    pub fn end_founding(&self) -> Result<(), Error> {
        self.remove("founding.json")
    }

    /// `None` where there are none yet.
    pub fn keys(&self, expired: Expired) -> Result<Option<Keys>, Error> {
        let current = self.current();
        if fs::metadata(&current).is_err() {
            return Ok(None);
        }
        Ok(Some(starling_keys::load_with(
            &current, &self.node, expired,
        )?))
    }

    /// Puts new certificates and keys in place of the former ones, if they are
    /// sound. The former ones stay until the next time, for who is just reading.
    pub fn put(&self, papers: &Papers) -> Result<Keys, Error> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let name = format!("keys-{}", since.map_or(0, |since| since.as_millis()));
        let new = self.dir.join(&name);
        let files = [
            ("ca.pem", papers.authority.as_str()),
            ("node.pem", &papers.certificate),
            ("node.key", &papers.key),
            ("gossip.keys", &papers.gossip),
            ("client.pem", &papers.user_certificate),
            ("client.key", &papers.user_key),
        ];
        file::write_directory(&new, &files)?;
        let loaded = starling_keys::load(&new, &self.node)
            .and_then(|keys| starling_keys::load_client(&new).map(|_| keys));
        let keys = match loaded {
            Ok(keys) => keys,
            Err(error) => {
                // It is of no use, and the next one has another name.
                let _ = fs::remove_dir_all(&new);
                return Err(error.into());
            }
        };
        let former = fs::read_link(self.current()).ok();
        file::point(&self.current(), Path::new(&name))?;
        self.tidy(&[Some(PathBuf::from(name)), former]);
        Ok(keys)
    }

    /// For an agent that has lost its log, or never had one, and is to be of
    /// another cluster.
    pub fn forget(&self) -> Result<(), Error> {
        self.remove("current")?;
        self.remove("cluster.json")?;
        self.tidy(&[]);
        Ok(())
    }

    /// What can't be removed now is tried again next time.
    fn tidy(&self, kept: &[Option<PathBuf>]) {
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = PathBuf::from(entry.file_name());
            let is_keys = entry.file_name().to_string_lossy().starts_with("keys-");
            if is_keys && !kept.iter().flatten().any(|keep| *keep == name) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error> {
        let path = self.dir.join(name);
        if fs::symlink_metadata(&path).is_err() {
            return Ok(None);
        }
        let text = file::read_secret(&path)?;
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|why| Error::Damaged {
                path,
                // Without the text: it may hold a key.
                why: format!("line {}, column {}", why.line(), why.column()),
            })
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<(), Error> {
        let path = self.dir.join(name);
        let text = serde_json::to_string_pretty(value).map_err(|why| Error::Damaged {
            path: path.clone(),
            why: why.to_string(),
        })?;
        Ok(file::replace(&path, &text)?)
    }

    fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.dir.join(name);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                Err(Error::Directory { path, source })
            }
            _ => Ok(()),
        }
    }
}
