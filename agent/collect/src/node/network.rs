//! What passes each interface.
//!
//! Comes in: `class/net` of sysfs, which in a container must be the host's. Goes
//! out: bytes a second, errors and drops of each counted interface, and totals.
//! sysinfo reads some ten files for each interface, a pod's included, where six of
//! a few are needed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use starling_engine::demand::{self, Totals};

use super::{Former, Machine, bounded, per_second, set_sum, unreadable};

/// A second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    pub received_bytes: u64,
    pub sent_bytes: u64,
    /// Both ways, as are drops.
    pub errors: u64,
    pub drops: u64,
}

#[derive(Debug)]
pub struct Meter {
    net: PathBuf,
    /// All interfaces when those that count were chosen last, and the chosen ones.
    listed: Vec<OsString>,
    counted: Vec<OsString>,
    former: Former<String, Counters>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counters {
    received_bytes: u64,
    sent_bytes: u64,
    errors: u64,
    drops: u64,
}

impl Meter {
    pub fn new(sys: &Path) -> Meter {
        Meter {
            net: sys.join("class/net"),
            listed: Vec::new(),
            counted: Vec::new(),
            former: Former::default(),
        }
    }

    pub fn read(&mut self, at: Instant, totals: &mut Totals, machine: &mut Machine) {
        if let Err(e) = self.list() {
            machine.unread.push(unreadable("network", &self.net, &e));
            return;
        }
        let mut counters = BTreeMap::new();
        for name in &self.counted {
            if let Some(new) = Counters::of(&self.net.join(name).join("statistics")) {
                counters.insert(name.to_string_lossy().into_owned(), new);
            }
        }
        let rates = self.former.replace(at, counters, Counters::until);
        let all = || rates.values();
        let received = all().map(|it| it.received_bytes);
        set_sum(totals, demand::NETWORK_RECEIVED, received);
        set_sum(totals, demand::NETWORK_SENT, all().map(|it| it.sent_bytes));
        machine.interfaces = bounded("interfaces", rates, &mut machine.unread);
    }

    /// Chooses what counts, if there are others than before: with a hundred pods
    /// there are a hundred interfaces more, and they change seldom.
    fn list(&mut self) -> std::io::Result<()> {
        let entries = std::fs::read_dir(&self.net)?.flatten();
        let mut listed: Vec<OsString> = entries.map(|entry| entry.file_name()).collect();
        listed.sort();
        if listed != self.listed {
            self.counted = counted(&self.net, &listed);
            self.listed = listed;
        }
        Ok(())
    }
}

/// The interfaces with hardware behind them: what passes a bridge, a bond or a
/// tunnel passes one of these, too. In a container none has; then all but
/// loopback.
fn counted(net: &Path, all: &[OsString]) -> Vec<OsString> {
    let hardware = |name: &&OsString| net.join(name).join("device").exists();
    let real: Vec<OsString> = all.iter().filter(hardware).cloned().collect();
    if !real.is_empty() {
        return real;
    }
    let others = all.iter().filter(|name| *name != "lo");
    others.cloned().collect()
}

impl Counters {
    /// `None` if the interface has gone meanwhile, or one of its files holds no number.
    fn of(statistics: &Path) -> Option<Counters> {
        let count = |name: &str| -> Option<u64> {
            let text = std::fs::read_to_string(statistics.join(name)).ok()?;
            text.trim().parse().ok()
        };
        let both = |kind: &str| -> Option<u64> {
            let received = count(&format!("rx_{kind}"))?;
            Some(received.saturating_add(count(&format!("tx_{kind}"))?))
        };
        Some(Counters {
            received_bytes: count("rx_bytes")?,
            sent_bytes: count("tx_bytes")?,
            errors: both("errors")?,
            drops: both("dropped")?,
        })
    }

    fn until(self, new: Counters, elapsed: Duration) -> Option<Rates> {
        Some(Rates {
            received_bytes: per_second(self.received_bytes, new.received_bytes, elapsed)?,
            sent_bytes: per_second(self.sent_bytes, new.sent_bytes, elapsed)?,
            errors: per_second(self.errors, new.errors, elapsed)?,
            drops: per_second(self.drops, new.drops, elapsed)?,
        })
    }
}
