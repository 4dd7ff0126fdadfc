//! Reads and writes the files of an identity: bounded, private, never overwritten.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::Error;

/// No identity file is larger; a larger one is refused.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The text of a file that anyone may read.
pub fn read(path: &Path) -> Result<String, Error> {
    open(path).and_then(|file| text(path, &file))
}

/// The text of a file that only its owner may read, as ssh asks of keys. One of
/// another owner (root's, in a Secret's volume) may be readable by a group, since
/// that is how this user reads it.
pub fn read_secret(path: &Path) -> Result<String, Error> {
    let file = open(path)?;
    let found = file.metadata().map_err(|source| unreadable(path, source))?;
    let mode = found.permissions().mode();
    let own = found.uid() == rustix::process::geteuid().as_raw();
    let others = if own { 0o077 } else { 0o037 };
    if mode & others != 0 {
        return Err(Error::Exposed {
            path: path.to_owned(),
            mode: mode & 0o777,
        });
    }
    text(path, &file)
}

/// Makes a directory for its owner alone; one that is there stays as it is.
pub fn make_directory(path: &Path) -> Result<(), Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| Error::unwritable(path, source))
}

/// Writes a file that isn't there yet, for its owner alone, and syncs it.
pub fn write_new(path: &Path, text: &str) -> Result<(), Error> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .map_err(|source| Error::unwritable(path, source))
}

/// Writes a file for its owner alone, in place of one that is there: whoever
/// reads it sees the former text or the new one.
pub fn replace(path: &Path, text: &str) -> Result<(), Error> {
    let half = unfinished(path);
    remove(&half)?;
    write_new(&half, text)?;
    fs::rename(&half, path)
        .and_then(|()| sync_parent(path))
        .map_err(|source| Error::unwritable(path, source))
}

/// The same, and the new file belongs to whom the former one belonged to: an agent may read
/// it that isn't run by who replaces it.
pub fn replace_as_owned(path: &Path, text: &str) -> Result<(), Error> {
    let half = unfinished(path);
    remove(&half)?;
    write_new(&half, text)?;
    give(&half, path)?;
    fs::rename(&half, path)
        .and_then(|()| sync_parent(path))
        .map_err(|source| Error::unwritable(path, source))
}

/// Removes what a run that was cut off has left over.
fn remove(half: &Path) -> Result<(), Error> {
    match fs::remove_file(half) {
        Err(source) if source.kind() != ErrorKind::NotFound => Err(Error::unwritable(half, source)),
        _ => Ok(()),
    }
}

/// Gives `new` to whom `former` belongs; only root can give to others, and only root needs to.
fn give(new: &Path, former: &Path) -> Result<(), Error> {
    let failed = |source| Error::unwritable(new, source);
    let (own, former) = (
        fs::metadata(new).map_err(failed)?,
        fs::metadata(former).map_err(failed)?,
    );
    if (own.uid(), own.gid()) == (former.uid(), former.gid()) {
        return Ok(());
    }
    std::os::unix::fs::chown(new, Some(former.uid()), Some(former.gid())).map_err(failed)
}

/// Makes `link` point to `target`, in place of what it pointed to.
pub fn point(link: &Path, target: &Path) -> Result<(), Error> {
    let half = unfinished(link);
    let failed = |source| Error::unwritable(link, source);
    remove(&half)?;
    std::os::unix::fs::symlink(target, &half)
        .and_then(|()| fs::rename(&half, link))
        .and_then(|()| sync_parent(link))
        .map_err(failed)
}

fn sync_parent(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

/// Writes a directory of files under another name and then moves it into place,
/// so that it is there whole or not at all.
pub fn write_directory(path: &Path, files: &[(&str, &str)]) -> Result<(), Error> {
    let half = unfinished(path);
    // Left over from a run that was cut off.
    if half.exists() {
        fs::remove_dir_all(&half).map_err(|source| Error::unwritable(&half, source))?;
    }
    make_directory(&half)?;
    for (name, text) in files {
        write_new(&half.join(name), text)?;
    }
    fs::rename(&half, path)
        .and_then(|()| sync_parent(path))
        .map_err(|source| Error::unwritable(path, source))
}

/// Writes a directory of files in place of one that is there, whose further files move into
/// it. Whoever looks finds the former files or the new ones.
pub fn replace_directory(path: &Path, files: &[(&str, &str)]) -> Result<(), Error> {
    let half = unfinished(path);
    let failed = |source: std::io::Error| Error::unwritable(path, source);
    if half.exists() {
        fs::remove_dir_all(&half).map_err(failed)?;
    }
    make_directory(&half)?;
    for (name, text) in files {
        write_new(&half.join(name), text)?;
        give(&half.join(name), path)?;
    }
    give(&half, path)?;
    renameat_with(CWD, &half, CWD, path, RenameFlags::EXCHANGE)
        .map_err(|why| failed(why.into()))?;
    for entry in fs::read_dir(&half).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if !files.iter().any(|(written, _)| *written == name) {
            fs::rename(half.join(&name), path.join(&name)).map_err(failed)?;
        }
    }
    fs::remove_dir_all(&half)
        .and_then(|()| sync_parent(path))
        .map_err(failed)
}

fn unfinished(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.unfinished"))
}

fn open(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(|source| match source.kind() {
        ErrorKind::NotFound => Error::Missing {
            path: path.to_owned(),
        },
        _ => unreadable(path, source),
    })
}

fn text(path: &Path, file: &File) -> Result<String, Error> {
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| unreadable(path, source))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Error::unsound(path, "is larger than 1 MiB"));
    }
    let text = String::from_utf8(bytes).map_err(|_| Error::unsound(path, "isn't text"))?;
    if text.trim().is_empty() {
        return Err(Error::Empty {
            path: path.to_owned(),
        });
    }
    Ok(text)
}

fn unreadable(path: &Path, source: std::io::Error) -> Error {
    Error::Unreadable {
        path: path.to_owned(),
        source,
    }
}
