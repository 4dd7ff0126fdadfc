//! Opens the data directory, or says why not.
//!
//! Comes in: a directory and the cluster's name. Goes out: what the disk holds,
//! checked record by record. A log in doubt is never used: it is moved aside,
//! and the agent joins again under a new id.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use openraft::Vote;
use rustix::fs::FlockOperation;
use starling_proto::log;

use super::guard::{self, Guard, Noted};
use super::keys::{self, Admission, Assembler, Identity, Pointer, damaged};
use super::log::State;
use super::{Disk, Snapshots, marker, needs};
use crate::types::{LogId, RaftEntry};
use crate::{Error, codec, form, version};

/// sled's default is 1 GiB. The newest entries are kept in memory beside it.
const CACHE_BYTES: u64 = 8 << 20;
/// An agent that is just ending may still hold the lock for so long.
const LOCK_WAIT: Duration = Duration::from_secs(5);
const LOCK_POLL: Duration = Duration::from_millis(20);
/// Why the log beside it must not be used.
const DOUBT: &str = "doubt";
/// Beside a log that is sound, but of a generation before the cluster was rebuilt.
const REBUILT: &str = "rebuilt";
/// With more logs moved aside than this, the disk needs a person.
const ASIDE_MAX: usize = 4;

/// An open data directory.
pub struct Opened {
    pub disk: Disk,
    pub state: State,
    pub snapshots: Snapshots,
    pub identity: Option<Identity>,
    pub admission: Option<Admission>,
    /// What a log asked with that was given up for a rebuilt cluster's: it gives the same
    /// id there.
    pub carried: Option<Admission>,
    /// A log was moved aside, now or earlier: founding a cluster here could
    /// split the old one.
    pub moved_aside: Option<PathBuf>,
    raft_dir: PathBuf,
}

impl Opened {
    /// To say that this directory's log must not be used again.
    pub fn doubt(&self) -> Doubt {
        Doubt {
            raft_dir: self.raft_dir.clone(),
        }
    }

    /// Makes `identity` this agent's for good.
    pub async fn keep(&self, identity: &Identity) -> io::Result<()> {
        self.disk.put(keys::IDENTITY, identity).await?;
        let (raft_dir, identity) = (self.raft_dir.clone(), identity.clone());
        tokio::task::spawn_blocking(move || marker::write(&raft_dir, &identity))
            .await
            .map_err(io::Error::other)?
    }
}

/// Leaves a note that makes the next start move the log aside.
pub struct Doubt {
    raft_dir: PathBuf,
}

impl Doubt {
    pub async fn note(&self, why: &str) -> io::Result<()> {
        self.write(DOUBT, why).await
    }

    /// The cluster was rebuilt without this log: the next start joins it.
    pub async fn note_rebuilt(&self, why: &str) -> io::Result<()> {
        self.write(REBUILT, why).await
    }

    async fn write(&self, name: &'static str, why: &str) -> io::Result<()> {
        let (raft_dir, why) = (self.raft_dir.clone(), why.to_owned());
        tokio::task::spawn_blocking(move || note(&raft_dir, name, &why))
            .await
            .map_err(io::Error::other)?
    }
}

fn note(raft_dir: &Path, name: &str, why: &str) -> io::Result<()> {
    let path = raft_dir.join(name);
    fs::write(&path, why)?;
    File::open(&path)?.sync_all()?;
    File::open(raft_dir)?.sync_all()
}

/// What a data directory remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Past {
    Nothing,
    /// The agent belongs to a cluster.
    Member,
    /// A damaged log lies aside: the agent joins anew and never founds.
    Damaged,
}

/// Looks without opening anything; a directory that isn't there remembers nothing.
pub fn past(data_dir: &Path) -> Result<Past, Error> {
    if marker::is_there(&data_dir.join("raft")) {
        return Ok(Past::Member);
    }
    match aside(data_dir) {
        Ok(found) if found.is_empty() => Ok(Past::Nothing),
        Ok(_) => Ok(Past::Damaged),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Past::Nothing),
        Err(source) => Err(Error::DataDir {
            path: data_dir.to_owned(),
            source,
        }),
    }
}

/// The generation of the log in a data directory, read without opening it; `None` where
/// there is none, it is given up, or that can't be read: then opening it says what is wrong.
pub fn generation(data_dir: &Path) -> Option<u64> {
    let raft_dir = data_dir.join("raft");
    if raft_dir.join(REBUILT).exists() || raft_dir.join(DOUBT).exists() {
        return None;
    }
    let noted = marker::read(&raft_dir).ok().flatten();
    noted.map(|identity| identity.generation)
}

/// Gives the log of an agent that doesn't run up for that of a rebuilt cluster: its next
/// start moves it aside and joins with the id that it had.
pub fn supersede(data_dir: &Path, why: &str) -> Result<(), Error> {
    note(&data_dir.join("raft"), REBUILT, why).map_err(|source| Error::DataDir {
        path: data_dir.to_owned(),
        source,
    })
}

/// Blocks; opens `<data_dir>/raft` for this process alone, which supports the ledger up
/// to that version. What a newer release has written is left as it is.
pub fn open(data_dir: &Path, cluster: &str, supports: u32) -> Result<Opened, Error> {
    let unusable = |source: io::Error| Error::DataDir {
        path: data_dir.to_owned(),
        source,
    };
    fs::create_dir_all(data_dir).map_err(unusable)?;
    let lock = lock(data_dir)?;
    let raft_dir = data_dir.join("raft");
    let mut carried = None;
    loop {
        let lock = lock.try_clone().map_err(unusable)?;
        match open_checked(&raft_dir, cluster, supports, lock) {
            Ok(mut opened) => {
                opened.carried = carried.filter(|_| opened.admission.is_none());
                opened.moved_aside = aside(data_dir).map_err(unusable)?.pop();
                return Ok(opened);
            }
            Err(Failure::Refused(e)) => return Err(e),
            Err(Failure::Io(e)) => return Err(unusable(e)),
            Err(Failure::Unreadable(why)) => {
                return Err(Error::Unreadable {
                    path: data_dir.to_owned(),
                    why,
                });
            }
            Err(Failure::Rebuilt(why)) => {
                carried = former_admission(&raft_dir, cluster, supports);
                let to = move_aside(data_dir, &raft_dir).map_err(unusable)?;
                tracing::warn!(
                    %why, moved_to = %to.display(),
                    "the log on this disk is of a generation before the cluster was rebuilt and \
                     was moved aside; this agent joins the rebuilt one"
                );
            }
            Err(Failure::Doubtful(why)) => {
                if aside(data_dir).map_err(unusable)?.len() >= ASIDE_MAX {
                    return Err(unusable(damaged(&format!(
                        "the log is damaged ({why}) and {ASIDE_MAX} damaged ones lie aside already; check this disk"
                    ))));
                }
                let to = move_aside(data_dir, &raft_dir).map_err(unusable)?;
                tracing::error!(
                    %why, moved_to = %to.display(),
                    "the log on this disk is in doubt and was moved aside; \
                     this agent joins again as a new member and takes the log from the others"
                );
            }
        }
    }
}

enum Failure {
    Refused(Error),
    Io(io::Error),
    Doubtful(String),
    /// The cluster goes on without this log.
    Rebuilt(String),
    /// Nothing is damaged, but this release can't read it.
    Unreadable(log::Error),
}

/// What a record that can't be used means.
fn doubt(error: &io::Error) -> Failure {
    match codec::unreadable(error) {
        Some(why) => Failure::Unreadable(why.clone()),
        None => Failure::Doubtful(error.to_string()),
    }
}

/// Keeps every other process, and handle in this one, out of a data directory. Blocks.
pub fn lock(data_dir: &Path) -> Result<File, Error> {
    let path = data_dir.join("lock");
    let unusable = |source| Error::DataDir {
        path: path.clone(),
        source,
    };
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(unusable)?;
    let begin = Instant::now();
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if begin.elapsed() < LOCK_WAIT => {
                std::thread::sleep(LOCK_POLL);
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(Error::Locked {
                    path: data_dir.to_owned(),
                });
            }
            Err(e) => return Err(unusable(e.into())),
        }
    }
}

fn open_checked(
    raft_dir: &Path,
    cluster: &str,
    supports: u32,
    lock: File,
) -> Result<Opened, Failure> {
    let sled_dir = raft_dir.join("sled");
    let snapshot_dir = raft_dir.join("snapshots");
    let created = !sled_dir.join("db").exists();
    // Before anything is written here.
    version::check(needs::read(raft_dir).as_ref(), supports).map_err(Failure::Unreadable)?;
    fs::create_dir_all(&snapshot_dir).map_err(Failure::Io)?;
    fs::create_dir_all(&sled_dir).map_err(Failure::Io)?;
    // The log may hold the authority's key. sled gives its files the mode that
    // the process gives all files, so the directory keeps other users out.
    fs::set_permissions(raft_dir, Permissions::from_mode(0o700)).map_err(Failure::Io)?;
    if let Ok(why) = fs::read_to_string(raft_dir.join(DOUBT)) {
        return Err(Failure::Doubtful(why));
    }
    if let Ok(why) = fs::read_to_string(raft_dir.join(REBUILT)) {
        return Err(Failure::Rebuilt(why));
    }
    remove_half_written_indexes(&sled_dir).map_err(Failure::Io)?;

    let db = open_sled(&sled_dir)?;
    if created {
        sync_creation(raft_dir, &sled_dir).map_err(Failure::Io)?;
    }
    let contents = read_contents(&db, cluster, supports)?;
    let snapshots = Snapshots::open(snapshot_dir, contents.pointer.clone(), supports).map_err(
        |e| match doubt(&e) {
            Failure::Doubtful(why) => Failure::Doubtful(format!("the snapshot: {why}")),
            unreadable => unreadable,
        },
    )?;
    check_ends(&contents)?;
    check_marker(raft_dir, contents.identity.as_ref())?;
    let (guard, noted) = Guard::open(raft_dir).map_err(|e| match codec::unreadable(&e) {
        Some(why) => Failure::Unreadable(why.clone()),
        None => Failure::Io(e),
    })?;
    let found = Noted {
        number: contents.write,
        vote: contents.state.vote,
        last: contents.state.last,
    };
    if let Some(why) = guard::lost(noted.as_ref(), &found) {
        return Err(Failure::Doubtful(why));
    }
    // A committed point that the log doesn't reach tells nothing.
    let reach = contents
        .state
        .last
        .max(contents.pointer.as_ref().and_then(|p| p.last));
    let own = contents.identity.as_ref().map(|identity| identity.id);
    let state = State {
        committed: contents.state.committed.filter(|c| Some(*c) <= reach),
        vote: contents.state.vote.map(|vote| not_leading(vote, own)),
        ..contents.state
    };
    let disk = File::open(sled_dir.join("db"))
        .and_then(|file| Disk::spawn(db, file, lock, guard, found))
        .map_err(Failure::Io)?;
    Ok(Opened {
        disk,
        state,
        snapshots,
        identity: contents.identity,
        admission: contents.admission,
        carried: None,
        moved_aside: None,
        raft_dir: raft_dir.to_owned(),
    })
}

/// openraft would let an agent that led go on leading in its former term, and
/// give out log ids a second time where its log has lost some. Not so: it
/// stands for election first, in a new term.
fn not_leading(vote: Vote<u64>, own: Option<u64>) -> Vote<u64> {
    match vote.leader_id().voted_for() {
        Some(leader) if Some(leader) == own => Vote::new(vote.leader_id().get_term(), leader),
        _ => vote,
    }
}

/// A torn one would keep sled from opening; a whole one is never called so.
fn remove_half_written_indexes(sled_dir: &Path) -> io::Result<()> {
    for file in fs::read_dir(sled_dir)? {
        let file = file?;
        let name = file.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(file.path())?;
        }
    }
    Ok(())
}

/// Waits for the threads of a former handle in this process: sled keeps its own
/// lock until the last of them has ended, which nobody can join. Other processes
/// are kept away by ours.
fn open_sled(sled_dir: &Path) -> Result<sled::Db, Failure> {
    let begin = Instant::now();
    loop {
        match try_open_sled(sled_dir) {
            Err(Failure::Io(e)) if is_sleds_lock(&e) && begin.elapsed() < LOCK_WAIT => {
                std::thread::sleep(LOCK_POLL);
            }
            opened => return opened,
        }
    }
}

/// sled tells it by its words alone.
fn is_sleds_lock(error: &io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

/// sled answers some damage with a panic, so it opens on a thread of its own.
fn try_open_sled(sled_dir: &Path) -> Result<sled::Db, Failure> {
    let config = sled::Config::new()
        .path(sled_dir)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(None);
    let opened = std::thread::Builder::new()
        .name("starling-open".into())
        .spawn(move || config.open())
        .map_err(Failure::Io)?
        .join();
    match opened {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(sled::Error::Io(e))) if e.kind() != io::ErrorKind::InvalidData => {
            Err(Failure::Io(e))
        }
        Ok(Err(e)) => Err(Failure::Doubtful(e.to_string())),
        Err(_) => Err(Failure::Doubtful("sled can't read it".into())),
    }
}

/// Without this a power cut may take away the files themselves.
fn sync_creation(raft_dir: &Path, sled_dir: &Path) -> io::Result<()> {
    let data_dir = raft_dir.parent().unwrap_or(raft_dir);
    for path in [
        &sled_dir.join("conf"),
        &sled_dir.join("db"),
        sled_dir,
        raft_dir,
        data_dir,
        data_dir.parent().unwrap_or(data_dir),
    ] {
        // A relative directory's parent is written as the empty path.
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        File::open(path)?.sync_all()?;
    }
    Ok(())
}

struct Contents {
    state: State,
    /// The number of the last durable write; 0 where there was none.
    write: u64,
    identity: Option<Identity>,
    admission: Option<Admission>,
    pointer: Option<Pointer>,
    /// The first and the last entry in tree `log`.
    ends: Option<(u64, LogId)>,
}

fn read_contents(db: &sled::Db, cluster: &str, supports: u32) -> Result<Contents, Failure> {
    let doubt = |e: io::Error| doubt(&e);
    let sled_doubt = |e: sled::Error| Failure::Doubtful(e.to_string());
    let meta = db.open_tree("meta").map_err(sled_doubt)?;
    let log = db.open_tree("log").map_err(sled_doubt)?;

    let identity: Option<Identity> = keys::read_meta(&meta, keys::IDENTITY).map_err(doubt)?;
    let admission: Option<Admission> = keys::read_meta(&meta, keys::ADMISSION).map_err(doubt)?;
    let found = identity
        .as_ref()
        .map(|i| &i.cluster)
        .or(admission.as_ref().map(|a| &a.cluster));
    if let Some(found) = found.filter(|found| *found != cluster) {
        return Err(Failure::Refused(Error::OtherCluster {
            found: found.clone(),
            wanted: cluster.to_owned(),
        }));
    }
    let state = State {
        vote: keys::read_meta(&meta, keys::VOTE).map_err(doubt)?,
        committed: keys::read_meta::<Option<LogId>>(&meta, keys::COMMITTED)
            .map_err(doubt)?
            .flatten(),
        purged: keys::read_meta(&meta, keys::PURGED).map_err(doubt)?,
        last: keys::read_meta::<Option<LogId>>(&meta, keys::LAST)
            .map_err(doubt)?
            .flatten(),
        bytes: 0,
    };
    let (ends, bytes) = check_entries(&log, supports).map_err(doubt)?;
    Ok(Contents {
        state: State { bytes, ..state },
        write: keys::read_meta(&meta, keys::WRITE)
            .map_err(doubt)?
            .unwrap_or(0),
        identity,
        admission,
        pointer: keys::read_meta(&meta, keys::SNAPSHOT).map_err(doubt)?,
        ends,
    })
}

/// Reads all entries: each whole, decodable, in its place, and none missing between.
/// The first and the last one, and the bytes of all.
fn check_entries(log: &sled::Tree, supports: u32) -> io::Result<(Option<(u64, LogId)>, u64)> {
    let mut ends: Option<(u64, LogId)> = None;
    let mut bytes = 0;
    let mut check = |record: Option<(u64, Vec<u8>)>| {
        let Some((index, body)) = record else {
            return Ok(());
        };
        let entry: RaftEntry = codec::decode(&body)?;
        version::check(form::needs(&entry), supports)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        let expected = ends.map_or(index, |(_, last)| last.index + 1);
        if entry.log_id.index != index || index != expected {
            return Err(damaged(&format!(
                "entry {expected} is missing; {} lies at {index}",
                entry.log_id
            )));
        }
        ends = Some((ends.map_or(index, |(first, _)| first), entry.log_id));
        bytes += body.len() as u64;
        Ok(())
    };
    let mut assembler = Assembler::default();
    for piece in log {
        let (key, value) = piece.map_err(io::Error::other)?;
        check(assembler.push(&key, &value)?)?;
    }
    check(assembler.finish()?)?;
    Ok((ends, bytes))
}

/// The entries must begin after what was purged and end where the last write said.
fn check_ends(contents: &Contents) -> Result<(), Failure> {
    let State { purged, last, .. } = contents.state;
    let doubt = |what: String| Err(Failure::Doubtful(what));
    if let Some((first, end)) = contents.ends {
        let expected = purged.map_or(0, |p| p.index + 1);
        if first != expected {
            return doubt(format!("entries {expected} to {first} are missing"));
        }
        if last != Some(end) {
            let last = last.map_or_else(|| "nothing".to_owned(), |last| last.to_string());
            return doubt(format!("the log ends with {end} instead of {last}"));
        }
    } else if let Some(last) = last.filter(|_| last > purged) {
        return doubt(format!("all entries up to {last} are missing"));
    }
    if purged > contents.pointer.as_ref().and_then(|p| p.last) {
        return doubt("entries were purged that no snapshot holds".into());
    }
    if contents.identity.is_none() && last.is_some() {
        return doubt("the log belongs to nobody".into());
    }
    Ok(())
}

/// The note is written after sled's own record, so it may only be missing.
fn check_marker(raft_dir: &Path, identity: Option<&Identity>) -> Result<(), Failure> {
    let noted = marker::read(raft_dir).map_err(|e| doubt(&e))?;
    match (noted, identity) {
        (None, None) => Ok(()),
        (None, Some(identity)) => marker::write(raft_dir, identity).map_err(Failure::Io),
        (Some(noted), identity) if identity == Some(&noted) => Ok(()),
        (Some(noted), _) => Err(Failure::Doubtful(format!(
            "agent {} of cluster {} left it, and it is another's now, or empty",
            noted.id, noted.cluster
        ))),
    }
}

/// What the log that is given up asked with; a founder asked nobody.
fn former_admission(raft_dir: &Path, cluster: &str, supports: u32) -> Option<Admission> {
    let db = open_sled(&raft_dir.join("sled")).ok()?;
    let contents = read_contents(&db, cluster, supports).ok()?;
    let after = contents.identity?.generation;
    Some(Admission {
        after,
        ..contents.admission?
    })
}

fn aside(data_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for file in fs::read_dir(data_dir)? {
        let file = file?;
        if file
            .file_name()
            .to_string_lossy()
            .starts_with("raft.doubtful-")
        {
            found.push(file.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Moves a log aside; its directory stays locked by whoever has locked it.
pub fn move_aside(data_dir: &Path, raft_dir: &Path) -> io::Result<PathBuf> {
    let now_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_millis());
    let to = free_place(data_dir, now_ms);
    fs::rename(raft_dir, &to)?;
    File::open(data_dir)?.sync_all()?;
    Ok(to)
}

/// The first place from that time on that nothing lies at: a clock may stand still, or be
/// set back to when another log was moved.
fn free_place(data_dir: &Path, at_ms: u128) -> PathBuf {
    let mut at_ms = at_ms;
    loop {
        let to = data_dir.join(format!("raft.doubtful-{at_ms}"));
        if !to.exists() {
            return to;
        }
        at_ms += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_logs_that_are_moved_aside_at_one_time_lie_at_two_places() {
        let dir = tempfile::tempdir().unwrap();
        let first = free_place(dir.path(), 7);
        fs::create_dir(&first).unwrap();
        let second = free_place(dir.path(), 7);
        assert!(first.ends_with("raft.doubtful-7") && second.ends_with("raft.doubtful-8"));
    }
}
