//! Notices that the files of an identity were replaced: copied anew, or swapped by
//! a link, as Kubernetes does with a Secret's volume.
//!
//! Comes in: a node's directory. Goes out: what is in it now, when that has
//! changed and belongs together. Never waits: somebody asks now and then.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::{Error, Keys, RING, load, paths};

/// What tells a file from the one that was there before.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

/// The files of one node.
#[derive(Debug, Clone)]
pub struct Watcher {
    dir: PathBuf,
    name: String,
    seen: Vec<Option<Mark>>,
}

impl Watcher {
    /// What is in the directory now counts as known.
    pub fn new(dir: &Path, name: &str) -> Watcher {
        Watcher {
            dir: dir.to_owned(),
            name: name.to_owned(),
            seen: marks(dir),
        }
    }

    /// The keys, if they are others than those that were given last. An error is
    /// given again until the files are sound.
    pub fn look(&mut self) -> Option<Result<Keys, Error>> {
        let now = marks(&self.dir);
        if now == self.seen {
            return None;
        }
        let loaded = load(&self.dir, &self.name);
        if loaded.is_ok() {
            // Marked before they were read: what came since is seen next time.
            self.seen = now;
        }
        Some(loaded)
    }
}

fn marks(dir: &Path) -> Vec<Option<Mark>> {
    let paths = paths(dir, "node");
    [paths.ca, paths.certificate, paths.key, dir.join(RING)]
        .iter()
        .map(|path| {
            let found = fs::metadata(path).ok()?;
            Some(Mark {
                device: found.dev(),
                inode: found.ino(),
                bytes: found.len(),
                modified: (found.mtime(), found.mtime_nsec()),
            })
        })
        .collect()
}
