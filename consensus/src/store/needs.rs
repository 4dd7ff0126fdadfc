//! A note beside sled of which version of the ledger lies here, so that an older release
//! can tell without opening sled, which writes when it is opened.
//!
//! Comes in: what the applied ledger was raised to. Goes out: what whoever opens this
//! directory has to support. What is read of entries and snapshots counts as well; without
//! the note, or with one that can't be read, that alone does.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use starling_engine::ledger::version::{FIRST, Raised};

use super::marker;
use crate::codec;

const PLACE: &[u8] = b"starling needs";

/// Cheap to clone.
#[derive(Clone)]
pub struct Needs {
    raft_dir: Arc<PathBuf>,
    noted: Arc<AtomicU32>,
}

impl Needs {
    /// Blocks.
    pub fn open(raft_dir: &Path) -> Needs {
        let noted = read(raft_dir).map_or(FIRST, |raised| raised.version);
        Needs {
            raft_dir: Arc::new(raft_dir.to_owned()),
            noted: Arc::new(AtomicU32::new(noted)),
        }
    }

    /// Returns once it is on disk, where it wasn't before: once in the life of a version.
    pub async fn note(&self, raised: Option<Raised>) -> io::Result<()> {
        let Some(raised) = raised.filter(|it| it.version > self.noted.load(Ordering::Acquire))
        else {
            return Ok(());
        };
        let (raft_dir, version) = (self.raft_dir.clone(), raised.version);
        tokio::task::spawn_blocking(move || write(&raft_dir, &raised))
            .await
            .map_err(io::Error::other)??;
        self.noted.fetch_max(version, Ordering::AcqRel);
        Ok(())
    }
}

fn path(raft_dir: &Path) -> PathBuf {
    raft_dir.join("needs")
}

fn write(raft_dir: &Path, raised: &Raised) -> io::Result<()> {
    let body = format!("{} {}", raised.version, raised.release);
    marker::put(&path(raft_dir), &codec::seal(PLACE, body.as_bytes()))
}

/// What is noted; `None` where nothing is, or it can't be read.
pub fn read(raft_dir: &Path) -> Option<Raised> {
    let sealed = fs::read(path(raft_dir)).ok()?;
    let body = codec::unseal(PLACE, &sealed).ok()?;
    let (version, release) = std::str::from_utf8(body).ok()?.split_once(' ')?;
    Some(Raised {
        version: version.parse().ok()?,
        release: release.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_highest_version_stays_noted_and_damage_is_no_version() {
        let dir = tempfile::tempdir().unwrap();
        let raised = |version| Raised {
            version,
            release: format!("0.{version}.0"),
        };
        assert_eq!(read(dir.path()), None);
        let needs = Needs::open(dir.path());
        needs.note(None).await.unwrap();
        needs.note(Some(raised(FIRST))).await.unwrap();
        assert_eq!(read(dir.path()), None, "the first one needs no note");
        needs.note(Some(raised(FIRST + 2))).await.unwrap();
        needs.note(Some(raised(FIRST + 1))).await.unwrap();
        assert_eq!(read(dir.path()), Some(raised(FIRST + 2)));
        Needs::open(dir.path())
            .note(Some(raised(FIRST + 1)))
            .await
            .unwrap();
        assert_eq!(read(dir.path()), Some(raised(FIRST + 2)));
        fs::write(path(dir.path()), "no note").unwrap();
        assert_eq!(read(dir.path()), None);
    }
}
