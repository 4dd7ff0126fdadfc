//! A note beside sled of who this agent is.
//!
//! sled answers some damage by being empty. An empty log beside this note is in
//! doubt; without the note the agent would take itself for a new one, and a
//! founder would found its cluster a second time.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::keys::Identity;
use crate::codec;

const PLACE: &[u8] = b"starling member";

fn path(raft_dir: &Path) -> PathBuf {
    raft_dir.join("member")
}

/// Blocks until the note is durable.
pub fn write(raft_dir: &Path, identity: &Identity) -> io::Result<()> {
    let sealed = codec::seal(PLACE, &codec::encode(identity)?);
    put(&path(raft_dir), &sealed)
}

/// Blocks until a note of this content is durable in place of the former one.
pub fn put(path: &Path, sealed: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(sealed)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    path.parent()
        .map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

pub fn is_there(raft_dir: &Path) -> bool {
    path(raft_dir).exists()
}

pub fn read(raft_dir: &Path) -> io::Result<Option<Identity>> {
    match fs::read(path(raft_dir)) {
        Ok(sealed) => codec::decode(codec::unseal(PLACE, &sealed)?).map(Some),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}
