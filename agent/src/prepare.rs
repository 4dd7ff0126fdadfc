//! `starling prepare`: gives an agent's data directory to the user that it runs as.
//!
//! Comes in: a directory, which is made where it doesn't exist, and an owner. Goes
//! out: the same directory and all in it, the owner's and closed to everybody else.
//! A pod's init container runs this as root with no capability but CHOWN, since
//! the kubelet makes the directory for root. It opens no file, follows no symbolic
//! link, and leaves a directory alone that is right already.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What an agent makes is two levels deep. A directory that goes deeper is somebody
/// else's, and is refused before all of it is given away.
const DEPTH_MAX: u32 = 8;
/// For the owner alone: an agent's keys lie in it.
const MODE: u32 = 0o700;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The agent's data directory; made where it doesn't exist
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Who is to own it, in numbers; the group is the user's where none is given
    #[arg(long, value_name = "UID[:GID]")]
    owner: Owner,
}

/// A user and a group, as numbers: an image knows no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    pub user: u32,
    pub group: u32,
}

impl FromStr for Owner {
    type Err = String;

    fn from_str(text: &str) -> Result<Owner, String> {
        let (user, group) = text.split_once(':').unwrap_or((text, text));
        let number = |part: &str| {
            part.parse()
                .map_err(|_| format!("`{part}` is no number; write it as 65532 or 65532:65532"))
        };
        Ok(Owner {
            user: number(user)?,
            group: number(group)?,
        })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("can't make {}; run this as root", .path.display())]
    Make { path: PathBuf, source: io::Error },
    #[error("{} isn't a directory; name an agent's data directory", .0.display())]
    NoDirectory(PathBuf),
    #[error(
        "{} lies more than {DEPTH_MAX} levels deep, so this isn't an agent's data directory; \
         nothing was changed",
        .0.display()
    )]
    Deep(PathBuf),
    #[error("can't give {} away; run this as root with the capability CHOWN", .path.display())]
    Give { path: PathBuf, source: io::Error },
}

/// Does it, and says what was done.
pub fn main(args: &Args) -> Result<(), Error> {
    let Owner { user, group } = args.owner;
    let dir = args.data_dir.display();
    if give(&args.data_dir, args.owner)? {
        println!("{dir} belongs to {user}:{group} now");
    } else {
        println!("{dir} belongs to {user}:{group} already");
    }
    Ok(())
}

/// Whether anything had to be changed. An interrupted run is taken up by the next:
/// the directory itself is given last, and it is what tells.
pub fn give(dir: &Path, owner: Owner) -> Result<bool, Error> {
    let made = fs::create_dir_all(dir);
    made.map_err(|source| Error::Make {
        path: dir.to_owned(),
        source,
    })?;
    let found = about(dir)?;
    if !found.is_dir() {
        return Err(Error::NoDirectory(dir.to_owned()));
    }
    let right =
        (found.uid(), found.gid()) == (owner.user, owner.group) && found.mode() & 0o777 == MODE;
    if !right {
        refuse_deep(dir, DEPTH_MAX)?;
        give_directory(dir, owner)?;
    }
    Ok(!right)
}

/// Looks before anything is changed. A directory that can't be read yet is somebody
/// else's and closed, as an agent makes them, and passes.
fn refuse_deep(dir: &Path, levels: u32) -> Result<(), Error> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Ok(());
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        match levels.checked_sub(1) {
            None => return Err(Error::Deep(path)),
            Some(left) if about(&path)?.is_dir() => refuse_deep(&path, left)?,
            Some(_) => {}
        }
    }
    Ok(())
}

/// First it becomes this process' own: without further capabilities root can't look
/// into a directory of somebody else's, nor change its mode.
fn give_directory(dir: &Path, owner: Owner) -> Result<(), Error> {
    let failed = |source| Error::Give {
        path: dir.to_owned(),
        source,
    };
    let own = rustix::process::geteuid().as_raw();
    lchown(dir, Some(own), None).map_err(failed)?;
    fs::set_permissions(dir, Permissions::from_mode(MODE)).map_err(failed)?;
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if about(&path)?.is_dir() {
            give_directory(&path, owner)?;
        } else {
            hand_over(&path, owner)?;
        }
    }
    hand_over(dir, owner)
}

fn hand_over(path: &Path, owner: Owner) -> Result<(), Error> {
    lchown(path, Some(owner.user), Some(owner.group)).map_err(|source| Error::Give {
        path: path.to_owned(),
        source,
    })
}

/// Of the link itself, where it is one.
fn about(path: &Path) -> Result<Metadata, Error> {
    fs::symlink_metadata(path).map_err(|source| Error::Give {
        path: path.to_owned(),
        source,
    })
}
