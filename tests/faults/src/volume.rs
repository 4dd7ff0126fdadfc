//! A small file system of its own under an agent's data, whose power can be cut, and
//! that can fail, hang and run full: ext4 in a file, mounted through a loop device.
//!
//! Comes in: the folder. Goes out: what happens to it. Touches nothing outside of it.
#![allow(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "what can't be broken fails the test that breaks it"
)]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::leave_out;

const MIB: u64 = 48;
/// A large file leaves less than so many blocks to others.
const FILES_MAX: usize = 500;
/// Threads of a log that was just shut down still have files open.
const LET_GO_WITHIN: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(50);
/// What tests of file systems on Linux use for this (`XFS_IOC_GOINGDOWN`, and "without
/// flushing the journal"): nothing more reaches the device, and all that did not is lost.
const SHUT_DOWN: &str = "import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";

/// Until it is dropped.
pub struct Volume {
    image: TempDir,
    at: PathBuf,
    mib: u64,
}

fn run(command: &str, args: &[&Path]) -> Result<(), String> {
    let mut words = command.split(' ');
    let out = Command::new(words.next().unwrap())
        .args(words)
        .args(args)
        .output();
    let out = out.map_err(|why| format!("{command}: {why}"))?;
    let said = String::from_utf8_lossy(&out.stderr);
    if out.status.success() {
        Ok(())
    } else {
        Err(format!("{command}: {said}"))
    }
}

impl Volume {
    /// `None` for who may not mount, or where there are no loop devices: the test says so
    /// and passes.
    pub fn mount(at: &Path) -> Option<Volume> {
        Volume::mount_of(MIB, at)
    }

    /// The same, of so many MiB; those that aren't used take no room.
    pub fn mount_of(mib: u64, at: &Path) -> Option<Volume> {
        let volume = Volume {
            image: TempDir::new().unwrap(),
            at: at.to_owned(),
            mib,
        };
        std::fs::create_dir_all(at).unwrap();
        match volume.make() {
            Ok(()) => Some(volume),
            Err(why) => {
                leave_out(&why);
                None
            }
        }
    }

    fn file(&self) -> PathBuf {
        self.image.path().join("image")
    }

    fn make(&self) -> Result<(), String> {
        let file = File::create(self.file()).map_err(|why| why.to_string())?;
        file.set_len(self.mib << 20)
            .map_err(|why| why.to_string())?;
        run("mkfs.ext4 -q -F", &[&self.file()])?;
        self.mount_it()
    }

    fn mount_it(&self) -> Result<(), String> {
        run("mount -t ext4 -o loop", &[&self.file(), &self.at])
    }

    /// Every access fails from now on; what wasn't synced is lost.
    pub fn fail(&self) {
        let script = ["-c", SHUT_DOWN];
        let out = Command::new("python3").args(script).arg(&self.at).output();
        let out = out.unwrap();
        assert!(out.status.success(), "{out:?}");
    }

    /// As a machine starts that had a power cut. Nothing may have it open for much longer.
    ///
    /// What reached the device comes up on another one. The kernel would take the same one
    /// for the file system that has failed for as long as any mount of that is left, and
    /// every process with a mount namespace of its own that began meanwhile has one.
    pub fn mount_again(&self) {
        let end = Instant::now() + LET_GO_WITHIN;
        while let Err(why) = run("umount", &[&self.at]) {
            assert!(Instant::now() < end, "{why}");
            std::thread::sleep(LOOK);
        }
        let other = self.image.path().join("other");
        run("cp --sparse=always", &[&self.file(), &other]).unwrap();
        std::fs::rename(other, self.file()).unwrap();
        self.mount_it().unwrap();
    }

    /// Every write waits, until [`thaw`](Self::thaw).
    pub fn hang(&self) {
        run("fsfreeze --freeze", &[&self.at]).unwrap();
    }

    pub fn thaw(&self) {
        run("fsfreeze --unfreeze", &[&self.at]).unwrap();
    }

    /// Not a block of it is free.
    pub fn fill(&self) {
        std::fs::create_dir(self.filler()).unwrap();
        let large = std::fs::write(
            self.filler().join("large"),
            vec![1; (self.mib as usize) << 20],
        );
        assert!(large.is_err(), "it holds more than it should");
        // What a large file leaves once it has its place.
        let full = (0..FILES_MAX).any(|number| {
            run("sync -f", &[&self.at]).unwrap();
            std::fs::write(self.filler().join(number.to_string()), [1; 4096]).is_err()
        });
        assert!(full, "there is still room");
    }

    pub fn make_room(&self) {
        std::fs::remove_dir_all(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.at.join("filler")
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // A frozen one can't be unmounted.
        let _ = run("fsfreeze --unfreeze", &[&self.at]);
        let _ = run("umount -l", &[&self.at]);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::process::Stdio;

    use super::*;

    /// Tests of whole machines run beside those that cut the power.
    #[test]
    fn a_power_cut_ends_though_another_mount_namespace_holds_the_file_system() {
        let at = TempDir::new().unwrap();
        let Some(volume) = Volume::mount(at.path()) else {
            return;
        };
        let kept = at.path().join("kept");
        std::fs::write(&kept, "this").unwrap();
        File::open(&kept).unwrap().sync_all().unwrap();
        let mut other = Command::new("unshare")
            .args(["--mount", "sh", "-c", "echo; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut began = [0];
        let out = other.stdout.as_mut().unwrap();
        out.read_exact(&mut began).unwrap();
        volume.fail();
        volume.mount_again();
        let read = std::fs::read_to_string(&kept);
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(read.unwrap(), "this");
    }
}
