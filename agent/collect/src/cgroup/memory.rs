//! The working set of a cgroup, and for how long it may stand.
//!
//! Comes in: what `memory.current` and `memory.stat` said, or their like in version 1.
//! Goes out: what is charged less inactive pages of files, and whether the latter has to
//! be asked again. Never joins two files' numbers of different readings.

use std::time::Duration;

use super::said::Said;

/// `memory.stat` costs as much to read as three other files. It is read once what is
/// charged has moved by more than this part of the working set: of 64 MB, by one. Until
/// then the last working set stands, with its time, for as long as what is read seldom.
pub const MOVED_PART: u64 = 64;
/// Less than this is no move of a small one either: a kernel charges a quarter of a MiB
/// at once, for each CPU that a cgroup runs on.
pub const MOVED_BYTES: u64 = 512 << 10;

/// At one moment, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    pub at: Duration,
    /// All that is charged.
    pub charged: u64,
    /// The same less inactive pages of files.
    pub working_set: u64,
}

impl Memory {
    /// Where both files were read.
    pub fn of(said: &Said) -> Option<Memory> {
        let ((moment, charged), inactive) = said.memory_bytes.zip(said.inactive_file_bytes)?;
        Some(Memory {
            at: moment.at,
            charged,
            working_set: charged.saturating_sub(inactive),
        })
    }
}

/// Whether what is charged now is too far from what it was at the `former` reading.
pub fn has_moved(former: Option<Memory>, said: &Said) -> bool {
    let Some((_, charged)) = said.memory_bytes else {
        return false;
    };
    former.is_none_or(|former| {
        let stands = (former.working_set / MOVED_PART).max(MOVED_BYTES);
        charged.abs_diff(former.charged) > stands
    })
}
