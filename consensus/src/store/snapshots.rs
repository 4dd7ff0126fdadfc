//! Snapshot files beside sled.
//!
//! Written under a temporary name, synced, renamed, directory synced; only then
//! does the pointer in sled move, and only after that may openraft purge
//! entries. One file counts; older ones are deleted.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use starling_engine::ledger::Ledger;
use tokio::sync::Mutex;

use super::disk::Disk;
use super::keys::{self, Pointer};
use super::needs::Needs;
use crate::types::{LogId, SnapshotMeta, StoredMembership};
use crate::{codec, version};

/// A snapshot that is larger is not written, and one that arrives is refused.
pub const SNAPSHOT_BYTES_MAX: usize = 256 << 20;
const PLACE: &[u8] = b"starling snapshot";

/// What a snapshot file holds, and what travels to other agents.
#[derive(Debug)]
pub struct Image {
    pub applied: Option<LogId>,
    pub membership: StoredMembership,
    pub ledger: Ledger,
}

impl Image {
    pub fn meta(&self) -> SnapshotMeta {
        SnapshotMeta {
            last_log_id: self.applied,
            last_membership: self.membership.clone(),
            snapshot_id: file_name(self.applied),
        }
    }

    /// Refuses a snapshot that needs a higher version of the ledger.
    pub fn check(&self, supports: u32) -> io::Result<()> {
        version::check(self.ledger.raised.as_ref(), supports)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
    }

    pub fn encode(&self) -> io::Result<Vec<u8>> {
        let sealed = codec::seal(PLACE, &codec::encode(self)?);
        if sealed.len() > SNAPSHOT_BYTES_MAX {
            return Err(io::Error::other(format!(
                "the snapshot has {} bytes, more than {SNAPSHOT_BYTES_MAX}",
                sealed.len()
            )));
        }
        Ok(sealed)
    }

    pub fn decode(sealed: &[u8]) -> io::Result<Image> {
        codec::decode(codec::unseal(PLACE, sealed)?)
    }

    /// As [`Image::decode`], away from the threads that heartbeats need and the ledger's
    /// lock, with all of it hashed; gives the bytes back too.
    pub async fn decode_aside(sealed: Vec<u8>) -> io::Result<(Image, Vec<u8>)> {
        blocking(move || {
            let mut image = Image::decode(&sealed)?;
            image.ledger.settle();
            Ok((image, sealed))
        })
        .await
    }
}

fn file_name(applied: Option<LogId>) -> String {
    applied.map_or("empty.snap".into(), |id| {
        format!(
            "{}-{}-{}.snap",
            id.leader_id.term, id.leader_id.node_id, id.index
        )
    })
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Snapshots {
    dir: Arc<PathBuf>,
    pointer: Arc<Mutex<Option<Pointer>>>,
    /// Of the ledger that snapshots are of.
    pub needs: Needs,
}

impl Snapshots {
    /// Checks the file that `pointer` names, which may need no higher version of the
    /// ledger than `supports`, and deletes all others. Blocks.
    pub fn open(dir: PathBuf, pointer: Option<Pointer>, supports: u32) -> io::Result<Snapshots> {
        let needs = Needs::open(dir.parent().unwrap_or(&dir));
        let snapshots = Snapshots {
            dir: Arc::new(dir),
            needs,
            pointer: Arc::new(Mutex::new(None)),
        };
        if let Some(pointer) = &pointer {
            let image = Image::decode(&fs::read(snapshots.dir.join(&pointer.file))?)?;
            image.check(supports)?;
            if image.applied != pointer.last {
                return Err(keys::damaged("the snapshot is another one than recorded"));
            }
        }
        snapshots.delete_others(pointer.as_ref().map(|p| p.file.as_str()))?;
        Ok(Snapshots {
            pointer: Arc::new(Mutex::new(pointer)),
            ..snapshots
        })
    }

    /// The bytes of the snapshot that counts.
    pub async fn current(&self) -> io::Result<Option<Vec<u8>>> {
        let pointer = self.pointer.lock().await;
        let Some(pointer) = &*pointer else {
            return Ok(None);
        };
        let path = self.dir.join(&pointer.file);
        blocking(move || fs::read(path)).await.map(Some)
    }

    /// Makes `sealed` the snapshot that counts, unless a newer one does already.
    pub async fn put(&self, disk: &Disk, last: Option<LogId>, sealed: Vec<u8>) -> io::Result<()> {
        let mut pointer = self.pointer.lock().await;
        if pointer.as_ref().is_some_and(|p| p.last >= last) {
            return Ok(());
        }
        let next = Pointer {
            file: file_name(last),
            last,
        };
        let this = self.clone();
        let file = next.file.clone();
        let work = disk.work();
        blocking(move || this.write(&file, &sealed)).await?;
        drop(work);
        disk.put(keys::SNAPSHOT, &next).await?;
        *pointer = Some(next.clone());
        let this = self.clone();
        blocking(move || this.delete_others(Some(&next.file))).await
    }

    fn write(&self, name: &str, sealed: &[u8]) -> io::Result<()> {
        let temporary = self.dir.join(format!("{name}.tmp"));
        let mut file = File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(sealed)?;
        file.sync_all()?;
        fs::rename(&temporary, self.dir.join(name))?;
        File::open(&*self.dir)?.sync_all()
    }

    fn delete_others(&self, keep: Option<&str>) -> io::Result<()> {
        for file in fs::read_dir(&*self.dir)? {
            let file = file?;
            if keep.is_none_or(|keep| file.file_name() != keep) {
                fs::remove_file(file.path())?;
            }
        }
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}
