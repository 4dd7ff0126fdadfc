//! What a demo that was killed has left behind: its directory, and processes if
//! it was killed together with their way of noticing.
//!
//! A directory says who owns it; where that process is gone, what is left of the
//! demo is killed and removed. Directories of other users, of living demos and
//! those that don't say who owns them are left alone.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::process::Table;

/// Directories in the system's temporary one begin with this.
pub const PREFIX: &str = "starling-demo-";
const OWNER_FILE: &str = "owner.json";
/// The start of a process is known to the second, from two clocks.
const START_APART_S: u64 = 2;

/// The process that a directory belongs to. Process ids are used again, so its
/// start counts too.
#[derive(Debug, Serialize, Deserialize)]
struct Owner {
    pid: u32,
    /// Seconds since the Unix epoch.
    started_at: u64,
}

/// What was cleaned away.
#[derive(Debug, PartialEq, Eq)]
pub struct Swept {
    pub dir: PathBuf,
    pub processes: usize,
}

/// Writes this process into `dir` as its owner.
pub fn claim(dir: &Path, table: &mut Table) -> io::Result<()> {
    let pid = std::process::id();
    let started_at = table.started_at(pid).unwrap_or_default();
    let owner = serde_json::to_vec(&Owner { pid, started_at })?;
    // Renamed into place, so that nobody reads half of it.
    let draft = dir.join("owner.draft");
    fs::write(&draft, owner)?;
    fs::rename(draft, dir.join(OWNER_FILE))
}

/// Cleans up after killed demos under `temp`. What can't be cleaned is skipped:
/// it must not keep a new demo from starting.
pub fn sweep(temp: &Path, table: &mut Table) -> Vec<Swept> {
    let Ok(entries) = fs::read_dir(temp) else {
        return Vec::new();
    };
    let mut swept = Vec::new();
    for entry in entries.flatten() {
        let named = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(PREFIX));
        let dir = entry.path();
        if named && is_ours(&dir) && is_abandoned(&dir, table) {
            let processes = table.kill_all(&dir);
            if fs::remove_dir_all(&dir).is_ok() {
                swept.push(Swept { dir, processes });
            }
        }
    }
    swept
}

/// A real directory, not a link, of this user.
fn is_ours(dir: &Path) -> bool {
    fs::symlink_metadata(dir).is_ok_and(|metadata| {
        metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw()
    })
}

fn is_abandoned(dir: &Path, table: &mut Table) -> bool {
    let Ok(text) = fs::read(dir.join(OWNER_FILE)) else {
        return false;
    };
    let Ok(owner) = serde_json::from_slice::<Owner>(&text) else {
        return false;
    };
    match table.started_at(owner.pid) {
        None => true,
        Some(started_at) => started_at.abs_diff(owner.started_at) > START_APART_S,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Child, Command};

    use super::super::process;
    use super::*;

    /// A real process of the demo in `dir`.
    fn process_of(dir: &Path) -> Child {
        Command::new("sleep")
            .arg("600")
            .env(process::VARIABLE, dir)
            .spawn()
            .unwrap()
    }

    fn abandoned(temp: &Path, name: &str) -> PathBuf {
        let dir = temp.join(name);
        fs::create_dir_all(dir.join("agent-1")).unwrap();
        // No process has this id: the kernel's limit is 2^22.
        let owner = Owner {
            pid: u32::MAX >> 2,
            started_at: 1,
        };
        fs::write(dir.join(OWNER_FILE), serde_json::to_vec(&owner).unwrap()).unwrap();
        dir
    }

    #[test]
    fn the_directory_of_a_demo_that_is_gone_is_removed() {
        let temp = tempfile::tempdir().unwrap();
        let dir = abandoned(temp.path(), "starling-demo-old");
        let swept = sweep(temp.path(), &mut Table::new().unwrap());
        assert_eq!(
            swept,
            [Swept {
                dir: dir.clone(),
                processes: 0
            }]
        );
        assert!(!dir.exists());
    }

    #[test]
    fn the_processes_of_a_demo_that_is_gone_are_killed_and_no_others() {
        let temp = tempfile::tempdir().unwrap();
        let mut table = Table::new().unwrap();
        let dir = abandoned(temp.path(), "starling-demo-old");
        let mut left = process_of(&dir);
        let mut other = process_of(&temp.path().join("starling-demo-other"));

        let swept = sweep(temp.path(), &mut table);
        assert_eq!(swept, [Swept { dir, processes: 1 }]);
        assert_eq!(left.wait().unwrap().signal(), Some(9));
        assert_eq!(
            other.try_wait().unwrap(),
            None,
            "another demo's process lives on"
        );
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn a_living_demos_directory_is_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        let mut table = Table::new().unwrap();
        let dir = temp.path().join("starling-demo-live");
        fs::create_dir(&dir).unwrap();
        assert_eq!(
            sweep(temp.path(), &mut table),
            [],
            "not claimed yet: it may just be starting"
        );
        claim(&dir, &mut table).unwrap();
        assert_eq!(sweep(temp.path(), &mut table), []);
        assert!(dir.exists());
    }

    #[test]
    fn an_owner_whose_process_id_was_given_to_another_is_gone() {
        let temp = tempfile::tempdir().unwrap();
        let dir = abandoned(temp.path(), "starling-demo-reused");
        let owner = Owner {
            pid: std::process::id(),
            started_at: 1,
        };
        fs::write(dir.join(OWNER_FILE), serde_json::to_vec(&owner).unwrap()).unwrap();
        assert_eq!(sweep(temp.path(), &mut Table::new().unwrap()).len(), 1);
    }

    #[test]
    fn links_and_other_names_are_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        let elsewhere = abandoned(temp.path(), "precious");
        std::os::unix::fs::symlink(&elsewhere, temp.path().join("starling-demo-link")).unwrap();
        assert_eq!(sweep(temp.path(), &mut Table::new().unwrap()), []);
        assert!(elsewhere.join(OWNER_FILE).exists());
    }
}
