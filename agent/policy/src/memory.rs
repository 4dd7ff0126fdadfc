//! What this agent's directory last had acknowledged, kept across restarts in
//! `<data_dir>/policies.json`: without it, a file that was deleted while the
//! agent was down couldn't be told from one that was never there.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use starling_engine::policy::{Name, Policy};

use starling_process::spec::Spec;

const FILE: &str = "policies.json";

/// By name. Holds no more than the directory does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memory {
    pub policies: BTreeMap<Name, Seen>,
    /// The last good version of each process: it stays in force while its file
    /// is broken, over a restart too.
    pub processes: BTreeMap<String, Spec>,
    /// Device and inode of the directory when it last held a file.
    pub directory: Option<(u64, u64)>,
}

/// A policy of this directory that the cluster and this agent have settled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    pub policy: Policy,
}

/// Changes whenever a file is written, replaced or touched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    pub inode: u64,
    pub size: u64,
    pub modified_ns: i128,
}

/// What was found on disk.
pub(super) enum Loaded {
    Found(Memory),
    /// This agent has never scanned a directory with this data directory.
    Absent,
    /// It couldn't be understood and was moved out of the way.
    Broken {
        aside: PathBuf,
        why: String,
    },
}

pub(super) fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE)
}

pub(super) fn load(data_dir: &Path) -> io::Result<Loaded> {
    let path = path(data_dir);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Loaded::Absent),
        Err(error) => return Err(error),
    };
    match serde_json::from_slice(&bytes) {
        Ok(memory) => Ok(Loaded::Found(memory)),
        Err(error) => {
            let aside = data_dir.join(format!("{FILE}.broken"));
            fs::rename(&path, &aside)?;
            let why = error.to_string();
            Ok(Loaded::Broken { aside, why })
        }
    }
}

/// Replaces the file as a whole: after a crash it is the old or the new one.
pub(super) fn save(data_dir: &Path, memory: &Memory) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(data_dir)?;
    file.write_all(&serde_json::to_vec(memory)?)?;
    file.as_file().sync_all()?;
    file.persist(path(data_dir)).map_err(|error| error.error)?;
    File::open(data_dir)?.sync_all()
}
