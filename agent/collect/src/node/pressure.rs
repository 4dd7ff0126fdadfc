//! How long work stood still for want of CPU, memory or disk (PSI).
//!
//! Comes in: `pressure/{cpu,memory,io}` below `/proc`. Goes out: the share of time
//! since the last read. The kernel's own means over 10 s and more aren't used, since
//! its total gives the mean of any window. A kernel without PSI lacks it, no more.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use starling_engine::demand::{self, Totals};

use super::{Former, Machine, share_milli, text, unreadable};
use crate::unread::Unread;

/// Thousandths of the time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// At least one task waited.
    pub some_milli: u64,
    /// All tasks that had something to do waited. Of a whole machine's CPU that means
    /// nothing; kernels write a zero there.
    pub full_milli: Option<u64>,
}

#[derive(Debug)]
pub struct Meter {
    directory: PathBuf,
    former: Former<&'static str, Waited>,
}

/// Microseconds since boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Waited {
    some_us: u64,
    full_us: Option<u64>,
}

const RESOURCES: [(&str, &str); 3] = [
    ("cpu", demand::PSI_CPU),
    ("memory", demand::PSI_MEMORY),
    ("io", demand::PSI_IO),
];

impl Meter {
    pub fn new(proc: &Path) -> Meter {
        Meter {
            directory: proc.join("pressure"),
            former: Former::default(),
        }
    }

    pub fn read(&mut self, at: Instant, totals: &mut Totals, machine: &mut Machine) {
        let mut waited = BTreeMap::new();
        for (name, resource) in RESOURCES {
            let path = self.directory.join(name);
            match text(&path).map(|text| Waited::parse(&text)) {
                Ok(Some(new)) => {
                    let full_us = new.full_us.filter(|_| resource != demand::PSI_CPU);
                    waited.insert(name, Waited { full_us, ..new });
                }
                Ok(None) => {
                    let why = format!("{} isn't as Linux writes it", path.display());
                    machine.unread.push(Unread::fault(resource, why));
                }
                // The second is what a kernel says that was started with psi=0.
                Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Unsupported) => {
                    let why = "this kernel has no PSI; start it with psi=1";
                    machine.unread.push(Unread::absent(resource, why));
                }
                Err(e) => machine.unread.push(unreadable(resource, &path, &e)),
            }
        }
        machine.pressures = self.former.replace(at, waited, Waited::until);
        for (name, resource) in RESOURCES {
            if let Some(rates) = machine.pressures.get(name) {
                totals.set(resource, rates.some_milli, Some(1_000));
            }
        }
    }
}

impl Waited {
    fn parse(text: &str) -> Option<Waited> {
        let total = |kind: &str| -> Option<u64> {
            let line = text.lines().find(|line| line.starts_with(kind))?;
            let total = line.split_once("total=")?.1;
            total.trim().parse().ok()
        };
        Some(Waited {
            some_us: total("some ")?,
            full_us: total("full "),
        })
    }

    fn until(self, new: Waited, elapsed: Duration) -> Option<Rates> {
        let full = self.full_us.zip(new.full_us);
        Some(Rates {
            some_milli: share_milli(self.some_us, new.some_us, elapsed)?,
            full_milli: full.and_then(|(former, new)| share_milli(former, new, elapsed)),
        })
    }
}
