//! Reads processes out of a `/proc` tree, this machine's or a recorded one.
//!
//! A process that vanishes while it is read is left out: that is ordinary. What
//! can't be read for any other reason, such as a lack of file descriptors, is an
//! error: nobody knows then whether it has ended. Never keeps anything between calls.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// What `/proc/<pid>/stat` says of a process, as far as it is needed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    pub pid: u32,
    pub state: u8,
    pub parent: u32,
    /// The process group.
    pub group: u32,
    /// User and system time of all its threads, in ticks.
    pub cpu_ticks: u64,
    /// The same, of the children that have exited and were waited for, theirs included.
    pub reaped_ticks: u64,
    /// When it started, in ticks since boot.
    pub start_ticks: u64,
    pub resident_pages: u64,
}

/// One process of all that ever ran since boot: a pid is used again, pid and
/// start together are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id {
    pub pid: u32,
    pub start_ticks: u64,
}

impl Stat {
    pub fn id(&self) -> Id {
        Id {
            pid: self.pid,
            start_ticks: self.start_ticks,
        }
    }

    /// When it started, in milliseconds since boot.
    pub fn start_ms(&self) -> u64 {
        ticks_to_ms(self.start_ticks)
    }

    /// Still runs: neither a zombie nor dead.
    pub fn alive(&self) -> bool {
        !matches!(self.state, b'Z' | b'X' | b'x')
    }

    /// Reads the file's one line (see `proc_pid_stat(5)`). The command's name, in
    /// parentheses, may itself hold spaces, parentheses, line breaks and bytes
    /// that aren't UTF-8, so fields are counted from its last `)`.
    pub fn parse(line: &[u8]) -> Option<Stat> {
        let open = line.iter().position(|&b| b == b'(')?;
        let close = line.iter().rposition(|&b| b == b')')?;
        let pid = str::from_utf8(line.get(..open)?)
            .ok()?
            .trim()
            .parse()
            .ok()?;
        let rest = str::from_utf8(line.get(close + 1..)?).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // The first field here is number 3 of the manual page. Some are signed
        // there; a negative time can only be an overflow.
        let field = |number: usize| -> Option<u64> {
            let value: i128 = fields.get(number - 3)?.parse().ok()?;
            u64::try_from(value.max(0)).ok()
        };
        Some(Stat {
            pid,
            state: *fields.first()?.as_bytes().first()?,
            parent: u32::try_from(field(4)?).ok()?,
            group: u32::try_from(field(5)?).ok()?,
            cpu_ticks: field(14)?.saturating_add(field(15)?),
            reaped_ticks: field(16)?.saturating_add(field(17)?),
            start_ticks: field(22)?,
            resident_pages: field(24)?,
        })
    }
}

/// A tick is 10 ms on nearly every Linux.
pub fn ticks_to_ms(ticks: u64) -> u64 {
    ticks.saturating_mul(1_000) / rustix::param::clock_ticks_per_second().max(1)
}

/// Now in milliseconds since boot, the clock that [`Stat::start_ms`] is on. It
/// never goes back and counts the time that the machine slept.
pub fn boot_ms() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    // Neither part is ever negative on this clock.
    time.tv_sec as u64 * 1_000 + time.tv_nsec as u64 / 1_000_000
}

/// A `/proc` tree.
#[derive(Debug, Clone)]
pub struct Proc {
    root: PathBuf,
}

impl Proc {
    pub fn new(root: impl Into<PathBuf>) -> Proc {
        Proc { root: root.into() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `None` if there is no such process.
    pub fn stat(&self, pid: u32) -> io::Result<Option<Stat>> {
        let mut line = Vec::with_capacity(STAT_BYTES_MAX as usize);
        if !self.read(pid, "stat", STAT_BYTES_MAX, &mut line)? {
            return Ok(None);
        }
        parsed(pid, &line).map(Some)
    }

    /// All processes, zombies included, in no particular order. Those that only
    /// their own user may look at (`hidepid`) are left out.
    pub fn scan(&self) -> io::Result<Vec<Stat>> {
        let mut found = Vec::new();
        let mut line = Vec::with_capacity(STAT_BYTES_MAX as usize);
        for entry in std::fs::read_dir(&self.root)? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            line.clear();
            match self.read(pid, "stat", STAT_BYTES_MAX, &mut line) {
                Ok(true) => found.push(parsed(pid, &line)?),
                Ok(false) => {}
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {}
                Err(e) => return Err(e),
            }
        }
        Ok(found)
    }

    /// A variable of the environment that a process was started with; `None` also
    /// where it is another user's and may not be read.
    pub fn variable(&self, pid: u32, name: &str) -> io::Result<Option<String>> {
        let mut block = Vec::new();
        match self.read(pid, "environ", ENVIRON_BYTES_MAX, &mut block) {
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
            Err(e) => return Err(e),
        }
        Ok(block.split(|&b| b == 0).find_map(|pair| {
            let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            String::from_utf8(value.to_vec()).ok()
        }))
    }

    /// Whether there is such a process.
    fn read(&self, pid: u32, file: &str, bytes_max: u64, into: &mut Vec<u8>) -> io::Result<bool> {
        let path = self.root.join(pid.to_string()).join(file);
        let read = File::open(path).and_then(|file| file.take(bytes_max).read_to_end(into));
        match read {
            Ok(_) => Ok(true),
            // The second is what Linux says of one that ended between the two calls.
            Err(e)
                if e.kind() == io::ErrorKind::NotFound
                    || e.raw_os_error() == Some(Errno::SRCH.raw_os_error()) =>
            {
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }
}

fn parsed(pid: u32, line: &[u8]) -> io::Result<Stat> {
    Stat::parse(line).ok_or_else(|| {
        let why = format!("what /proc says of process {pid} can't be understood");
        io::Error::new(io::ErrorKind::InvalidData, why)
    })
}

/// 52 fields of at most 20 digits and a name of at most 64 bytes fit. What is
/// cut off is not read.
const STAT_BYTES_MAX: u64 = 2_048;
/// Linux allows an environment a quarter of the stack limit, 2 MiB as a rule; a
/// variable behind that isn't found.
const ENVIRON_BYTES_MAX: u64 = 2 << 20;
