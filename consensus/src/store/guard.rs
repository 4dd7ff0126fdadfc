//! A second memory of how far the log was, beside sled.
//!
//! A flipped bit can make sled forget a suffix of what it held, log and vote
//! together, without a word. So each durable write is numbered: the number goes
//! into sled with the write, and after sled's sync into this file, which is
//! synced before anybody is answered. A sled that is behind its guard has lost
//! what others were told. Two slots are written in turn, so that a torn write
//! leaves the former one.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::codec;
use crate::types::LogId;
use openraft::Vote;

const PLACE: &[u8] = b"starling guard";
/// Each slot has a page of its own: one write touches one of them.
const SLOT_BYTES: usize = 4_096;
/// With the length that the seal begins with.
const RECORD_BYTES_MAX: usize = SLOT_BYTES - 8;

/// What was durable when it was acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Noted {
    /// Of the write: rises by one with each.
    pub number: u64,
    pub vote: Option<Vote<u64>>,
    pub last: Option<LogId>,
}

pub struct Guard {
    file: File,
}

impl Guard {
    /// Opens the file, or makes it; both blocks and syncs. With it comes the
    /// newest note that is whole, if any is.
    pub fn open(raft_dir: &Path) -> io::Result<(Guard, Option<Noted>)> {
        let path = raft_dir.join("guard");
        let open = || File::options().read(true).write(true).open(&path);
        let file = match open() {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let temporary = raft_dir.join("guard.tmp");
                fs::write(&temporary, [0; 2 * SLOT_BYTES])?;
                File::open(&temporary)?.sync_all()?;
                fs::rename(&temporary, &path)?;
                File::open(raft_dir)?.sync_all()?;
                open()?
            }
            opened => opened?,
        };
        let guard = Guard { file };
        let mut newest: Option<Noted> = None;
        for slot in [0, 1] {
            if let Some(body) = guard.read(slot) {
                let noted: Noted = codec::decode(&body)?;
                if newest.is_none_or(|newest| newest.number < noted.number) {
                    newest = Some(noted);
                }
            }
        }
        Ok((guard, newest))
    }

    /// `None` where the slot is empty, torn or damaged.
    fn read(&self, slot: u64) -> Option<Vec<u8>> {
        let mut bytes = vec![0; SLOT_BYTES];
        let at = slot * SLOT_BYTES as u64;
        self.file.read_exact_at(&mut bytes, at).ok()?;
        let (length, _) = bytes.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let sealed = bytes.get(..length.checked_add(8)?)?;
        codec::unseal(PLACE, sealed).ok().map(<[u8]>::to_vec)
    }

    /// Blocks until the note is durable.
    pub fn write(&self, noted: &Noted) -> io::Result<()> {
        let body = codec::encode(noted)?;
        if body.len() > RECORD_BYTES_MAX {
            return Err(io::Error::other("the guard's note is too long"));
        }
        let at = (noted.number % 2) * SLOT_BYTES as u64;
        self.file.write_all_at(&codec::seal(PLACE, &body), at)?;
        Ok(rustix::fs::fdatasync(&self.file)?)
    }
}

/// Why what sled holds, `found`, is less than what `guard` says it held.
pub fn lost(guard: Option<&Noted>, found: &Noted) -> Option<String> {
    let Some(guard) = guard else {
        // The first write's own note may be missing: nobody was answered yet.
        return (found.number > 1).then(|| "the note of how far the log was is missing".into());
    };
    let end = |last: Option<LogId>| last.map_or_else(|| "nothing".into(), |last| last.to_string());
    if found.number < guard.number {
        return Some(format!(
            "writes {} to {} are missing: the log ended with {} and now ends with {}",
            found.number + 1,
            guard.number,
            end(guard.last),
            end(found.last)
        ));
    }
    // One write may have reached sled alone; nobody was answered.
    if found.number > guard.number + 1 {
        return Some(format!(
            "the note of write {} is missing",
            found.number.saturating_sub(1)
        ));
    }
    (found.number == guard.number && found != guard)
        .then(|| format!("write {} is another one than was noted", found.number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use openraft::CommittedLeaderId;
    use tempfile::TempDir;

    fn noted(number: u64) -> Noted {
        Noted {
            number,
            vote: Some(Vote::new_committed(3, 7)),
            last: Some(LogId::new(CommittedLeaderId::new(3, 7), number + 10)),
        }
    }

    #[test]
    fn a_torn_or_damaged_note_leaves_the_one_before() {
        let dir = TempDir::new().unwrap();
        let (guard, none) = Guard::open(dir.path()).unwrap();
        assert_eq!(none, None);
        for number in 1..=5 {
            guard.write(&noted(number)).unwrap();
            assert_eq!(Guard::open(dir.path()).unwrap().1, Some(noted(number)));
        }
        let path = dir.path().join("guard");
        let whole = fs::read(&path).unwrap();
        let newest = SLOT_BYTES;
        let record = codec::seal(PLACE, &codec::encode(&noted(5)).unwrap());
        for byte in newest..newest + record.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[byte] ^= 1 << bit;
                fs::write(&path, flipped).unwrap();
                assert_eq!(Guard::open(dir.path()).unwrap().1, Some(noted(4)), "{byte}");
            }
        }
        fs::write(&path, &whole[..100]).unwrap();
        assert_eq!(Guard::open(dir.path()).unwrap().1, None);
    }

    #[test]
    fn only_what_nobody_was_told_may_be_missing() {
        assert_eq!(lost(None, &Noted::default()), None);
        assert_eq!(lost(None, &noted(1)), None);
        assert!(lost(None, &noted(2)).is_some());
        assert_eq!(lost(Some(&noted(4)), &noted(4)), None);
        assert_eq!(lost(Some(&noted(4)), &noted(5)), None);
        assert!(lost(Some(&noted(4)), &noted(3)).is_some());
        assert!(lost(Some(&noted(4)), &noted(6)).is_some());
        let other = Noted {
            vote: None,
            ..noted(4)
        };
        assert!(lost(Some(&noted(4)), &other).is_some());
        assert!(lost(Some(&noted(1)), &Noted::default()).is_some());
    }
}
