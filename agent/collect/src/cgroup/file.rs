//! Files that are read again and again, and how many of them stay open.
//!
//! Comes in: how to open a file. Goes out: what the file says now, read from its beginning, and
//! the moment that it was read. At the bound on open files they are opened for each
//! reading instead. Never writes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use super::counter::Moment;

/// As much of a file as is read; the longest, memory.stat, has about 2 KiB.
pub const BYTES_MAX: usize = 16 << 10;

/// Counts the files that are open, so that containers never use up the
/// descriptors that the agent needs for its connections. At the bound, files
/// are opened for each reading and closed again: slower, and nothing is lost.
#[derive(Debug)]
pub struct Descriptors {
    /// Each open file holds one more.
    count: Arc<()>,
    max: usize,
}

/// 110 pods of 2 containers keep 2,530 files open on v2, 1,650 on v1. Each costs a
/// page in the kernel, so this many cost 16 MiB.
const DESCRIPTORS_MAX: usize = 4_096;

impl Descriptors {
    pub fn at_most(max: usize) -> Descriptors {
        Descriptors {
            count: Arc::new(()),
            max,
        }
    }

    /// [`DESCRIPTORS_MAX`], or half of what this process may open, if that is less.
    pub fn from_limit() -> Descriptors {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let half = limit.map_or(usize::MAX, |limit| (limit / 2) as usize);
        Descriptors::at_most(half.min(DESCRIPTORS_MAX))
    }

    pub fn open(&self) -> usize {
        Arc::strong_count(&self.count) - 1
    }

    fn take(&self) -> Option<Arc<()>> {
        (self.open() < self.max).then(|| Arc::clone(&self.count))
    }
}

/// One file of one cgroup.
#[derive(Debug, Default)]
pub struct Held {
    open: Option<(File, Arc<()>)>,
}

impl Held {
    /// Reads the file from its beginning, by the descriptor that is open, or by
    /// one that `open` gives now and that is kept while there is room.
    pub fn read<'a>(
        &mut self,
        open: impl FnOnce() -> io::Result<File>,
        reader: &'a mut Reader<'_>,
    ) -> io::Result<(&'a [u8], Moment)> {
        if self.open.is_none() {
            let file = open()?;
            match reader.descriptors.take() {
                Some(token) => self.open = Some((file, token)),
                None => return reader.read(&file),
            }
        }
        match &self.open {
            Some((file, _)) => reader.read(file),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub fn close(&mut self) {
        self.open = None;
    }
}

/// What it takes to read a file.
pub struct Reader<'a> {
    pub descriptors: &'a Descriptors,
    pub clock: &'a dyn Fn() -> Duration,
    pub buffer: &'a mut [u8],
}

impl Reader<'_> {
    fn read(&mut self, file: &File) -> io::Result<(&[u8], Moment)> {
        let before = (self.clock)();
        // The kernel gives such a file whole, in one call; what the buffer doesn't
        // hold is cut off.
        let length = loop {
            match file.read_at(self.buffer, 0) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                done => break done?,
            }
        };
        let took = (self.clock)().saturating_sub(before);
        let moment = Moment {
            at: before + took / 2,
            took,
        };
        Ok((self.buffer.get(..length).unwrap_or_default(), moment))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_the_bound_files_are_opened_for_each_reading() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("a"), "1\n").unwrap();
        std::fs::write(path("b"), "2\n").unwrap();
        let descriptors = Descriptors::at_most(1);
        let mut reader = Reader {
            descriptors: &descriptors,
            clock: &|| Duration::ZERO,
            buffer: &mut [0; 64],
        };
        let (mut a, mut b) = (Held::default(), Held::default());
        for _ in 0..2 {
            let (text, _) = a.read(|| File::open(path("a")), &mut reader).unwrap();
            assert_eq!(text, b"1\n");
            let (text, _) = b.read(|| File::open(path("b")), &mut reader).unwrap();
            assert_eq!(text, b"2\n");
            assert_eq!(descriptors.open(), 1);
        }
        a.close();
        assert_eq!(descriptors.open(), 0);
        b.read(|| File::open(path("b")), &mut reader).unwrap();
        assert_eq!(descriptors.open(), 1);
        drop(b);
        assert_eq!(descriptors.open(), 0);
    }

    #[test]
    fn a_file_longer_than_the_buffer_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("long");
        std::fs::write(&path, "x".repeat(100)).unwrap();
        let mut reader = Reader {
            descriptors: &Descriptors::at_most(1),
            clock: &|| Duration::ZERO,
            buffer: &mut [0; 64],
        };
        let (text, _) = Held::default()
            .read(|| File::open(path), &mut reader)
            .unwrap();
        assert_eq!(text.len(), 64);
    }
}
