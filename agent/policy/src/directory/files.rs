//! The files of a directory and what they say, kept as long as they don't change.
//!
//! Comes in: a path and the time. Goes out: each file's latest contents. Files
//! that are being written, replaced or deleted just now count as they were.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use starling_engine::unit::Ms;

use crate::file::{self, BYTES_MAX, Contents};
use crate::memory::Stamp;

/// More YAML files in the directory are left unread, the last by name first.
pub const FILES_MAX: usize = 1_000;
/// A directory with more entries of any sort is refused.
pub const ENTRIES_MAX: usize = 10_000;
/// More changed files wait for the next scan, which bounds how long one may take.
pub const READ_MAX: usize = 100;
/// A file is read, or taken for deleted, once it hasn't changed for this long:
/// editors write in place, or rename a backup first. Renaming a finished file
/// into place is the sure way to change one.
pub const SETTLE_MS: u64 = 500;

/// What is known of each file.
#[derive(Default)]
pub(super) struct Files {
    known: BTreeMap<PathBuf, Known>,
    /// What is to be said of the directory as a whole.
    whole: Contents,
    /// When the directory was first listed.
    first: Option<Ms>,
    /// Device and inode of the directory.
    identity: Option<(u64, u64)>,
    /// It has been listed for long enough that what isn't there counts as gone.
    settled: bool,
}

#[derive(Default)]
struct Known {
    /// As last seen; `None`: it is gone.
    stamp: Option<Stamp>,
    /// When it was first seen so.
    since: Ms,
    /// As it was when `contents` was read; `None` before the first reading.
    read: Option<Stamp>,
    contents: Contents,
    /// Reading failed, perhaps for a reason that leaves no trace in the stamp.
    failed: bool,
}

/// One file as it was read last.
pub(super) struct Latest<'a> {
    pub path: &'a Path,
    pub stamp: Stamp,
    pub contents: &'a Contents,
    /// It holds something else by now, to be read soon.
    pub changing: bool,
}

impl Files {
    /// Looks at the directory and reads what has changed and settled. Fails,
    /// and forgets nothing, where the directory can't be listed.
    pub fn refresh(&mut self, directory: &Path, now: Ms) -> Result<(), String> {
        let (mut listed, left_out) = list(directory)?;
        let metadata = fs::metadata(directory).ok();
        self.identity = metadata.map(|metadata| (metadata.dev(), metadata.ino()));
        for (path, known) in &mut self.known {
            known.saw(listed.remove(path), now);
        }
        for (path, stamp) in listed {
            let known = self.known.entry(path).or_default();
            known.saw(Some(stamp), now);
        }
        self.known
            .retain(|_, known| known.stamp.is_some() || known.is_unsettled(now));
        self.read_due(now);
        self.whole = match left_out {
            0 => Contents::default(),
            _ => Contents::unreadable(format!(
                "holds more than {FILES_MAX} YAML files; the last {left_out} by name are not read"
            )),
        };
        let first = *self.first.get_or_insert(now);
        self.settled |= now.since(first) >= SETTLE_MS;
        Ok(())
    }

    /// Reads what has changed first, then what failed before: that can't keep
    /// the rest waiting.
    fn read_due(&mut self, now: Ms) {
        let due = |known: &Known, failed| {
            let changed = known.stamp != known.read;
            (if failed {
                known.failed && !changed
            } else {
                changed
            }) && !known.is_unsettled(now)
        };
        let changed = self
            .known
            .values()
            .filter(|known| due(known, false))
            .count();
        let failed = self.known.iter_mut().filter(|(_, known)| due(known, true));
        for (path, known) in failed.take(READ_MAX.saturating_sub(changed)) {
            known.read(path);
        }
        let changed = self.known.iter_mut().filter(|(_, known)| due(known, false));
        for (path, known) in changed.take(READ_MAX) {
            known.read(path);
        }
    }

    /// Device and inode of the directory, and whether it holds no file now.
    pub fn identity(&self) -> (Option<(u64, u64)>, bool) {
        let empty = self.known.values().all(|known| known.stamp.is_none());
        (self.identity, empty)
    }

    /// Whether every file has been read as it stands.
    pub fn are_read(&self) -> bool {
        self.settled && self.known.values().all(|known| known.stamp == known.read)
    }

    /// Each file as it was read last, and the directory itself where something
    /// can be said of it.
    pub fn iter<'a>(&'a self, directory: &'a Path) -> impl Iterator<Item = Latest<'a>> {
        let files = self.known.iter().map(|(path, known)| Latest {
            path,
            stamp: known.read.unwrap_or_default(),
            contents: &known.contents,
            changing: known.stamp != known.read,
        });
        let whole = Latest {
            path: directory,
            stamp: Stamp::default(),
            contents: &self.whole,
            changing: !self.settled,
        };
        files.chain([whole])
    }
}

impl Known {
    fn saw(&mut self, stamp: Option<Stamp>, now: Ms) {
        // The second condition: the clock was set back.
        if self.stamp != stamp || self.since > now {
            self.stamp = stamp;
            self.since = now;
        }
    }

    fn is_unsettled(&self, now: Ms) -> bool {
        let old = self.stamp.is_some_and(|stamp| {
            let modified = Ms(u64::try_from(stamp.modified_ns / 1_000_000).unwrap_or(0));
            now.since(modified) >= SETTLE_MS
        });
        !old && now.since(self.since) < SETTLE_MS
    }

    fn read(&mut self, path: &Path) {
        self.failed = false;
        match read(path) {
            Ok((stamp, contents)) if Some(stamp) == self.stamp => {
                self.contents = contents;
                self.read = Some(stamp);
            }
            // It was written to just now; the next scan sees a new stamp.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                self.contents = Contents::unreadable(format!("can't be read: {error}"));
                self.read = self.stamp;
                self.failed = true;
            }
        }
    }
}

/// The YAML files of a directory, at most [`FILES_MAX`], and how many more there are.
fn list(directory: &Path) -> Result<(BTreeMap<PathBuf, Stamp>, usize), String> {
    let words = |error: io::Error| format!("can't be listed: {error}");
    let mut files = BTreeMap::new();
    for (count, entry) in fs::read_dir(directory).map_err(words)?.enumerate() {
        if count == ENTRIES_MAX {
            return Err(format!("holds more than {ENTRIES_MAX} entries"));
        }
        let path = entry.map_err(words)?.path();
        if !is_yaml(&path) {
            continue;
        }
        // Follows links: a mounted ConfigMap consists of them.
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(metadata) => _ = files.insert(path, stamp(&metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // Kept, so that reading it says why.
            Err(_) => _ = files.insert(path, Stamp::default()),
        }
    }
    let left_out = files.len().saturating_sub(FILES_MAX);
    if let Some(end) = files.keys().nth(FILES_MAX).cloned() {
        files.split_off(&end);
    }
    Ok((files, left_out))
}

/// `*.yaml` and `*.yml`; not hidden ones, which editors and mounts leave about.
fn is_yaml(path: &Path) -> bool {
    let hidden = path
        .file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let yaml = path
        .extension()
        .is_some_and(|extension| extension == "yaml" || extension == "yml");
    yaml && !hidden
}

fn read(path: &Path) -> io::Result<(Stamp, Contents)> {
    // Without it, opening a named pipe would wait for its writer.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    let metadata = file.metadata()?;
    let before = stamp(&metadata);
    if !metadata.is_file() {
        return Ok((
            before,
            Contents::unreadable("is not a regular file".to_owned()),
        ));
    }
    let mut bytes = Vec::new();
    (&file).take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    let contents = if bytes.len() > BYTES_MAX {
        Contents::unreadable(format!("is longer than {} KiB", BYTES_MAX >> 10))
    } else {
        match String::from_utf8(bytes) {
            Ok(text) => file::read(&text),
            Err(error) => Contents::unreadable(format!(
                "is not UTF-8 text at byte {}",
                error.utf8_error().valid_up_to()
            )),
        }
    };
    Ok((stamp_of(&file).unwrap_or(before), contents))
}

fn stamp_of(file: &File) -> io::Result<Stamp> {
    file.metadata().map(|metadata| stamp(&metadata))
}

fn stamp(metadata: &Metadata) -> Stamp {
    Stamp {
        inode: metadata.ino(),
        size: metadata.size(),
        modified_ns: i128::from(metadata.mtime()) * 1_000_000_000
            + i128::from(metadata.mtime_nsec()),
    }
}
