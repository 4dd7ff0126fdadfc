//! What processes use, each with everything that it started: a tree.
//!
//! Comes in: the trees' roots and one scan of all processes. Goes out: CPU as a
//! rate since the scan before, and resident memory. Pages that processes of one
//! tree share are counted once for each of them. Never reads anything itself.

use std::collections::{BTreeMap, HashMap};

use super::proc::{Id, Stat, ticks_to_ms};

/// What one tree uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// `None` at the first sight of a tree: there is no rate yet.
    pub cpu: Option<Rate>,
    pub memory_bytes: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Thousandths of a core.
    pub milli: u64,
    pub window_ms: u64,
}

/// The last reading of every tree's processes.
#[derive(Debug, Default)]
pub struct Trees {
    former: HashMap<Id, Tree>,
}

#[derive(Debug, Default)]
struct Tree {
    at_ms: u64,
    processes: BTreeMap<Id, Times>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Times {
    own: u64,
    reaped: u64,
}

/// Below this, a tick of 10 ms is too large a part of the window to give a rate.
const WINDOW_MS_MIN: u64 = 100;

impl Trees {
    /// One answer for each root; `None` for one that has ended. `at_ms` is the
    /// time of the scan since boot.
    pub fn read(&mut self, at_ms: u64, roots: &[Id], stats: &[Stat]) -> Vec<Option<Usage>> {
        let owners = owners(roots, stats);
        let mut members: HashMap<Id, Vec<&Stat>> = HashMap::new();
        for (stat, owner) in stats.iter().zip(owners) {
            if let Some(owner) = owner {
                members.entry(owner).or_default().push(stat);
            }
        }
        let mut next = HashMap::new();
        let usages = roots.iter().map(|&root| {
            let members = members.get(&root)?;
            // A zombie has ended, too; its descendants are being stopped.
            members
                .iter()
                .find(|stat| stat.id() == root && stat.alive())?;
            let pages = members.iter().map(|stat| stat.resident_pages);
            let pages = pages.fold(0, u64::saturating_add);
            let memory_bytes = Some(pages.saturating_mul(rustix::param::page_size() as u64));
            let tree = Tree {
                at_ms,
                processes: members
                    .iter()
                    .map(|stat| (stat.id(), times(stat)))
                    .collect(),
            };
            let former = self.former.remove(&root);
            let window_ms = former
                .as_ref()
                .map(|former| at_ms.saturating_sub(former.at_ms));
            let cpu = match (&former, window_ms) {
                (Some(former), Some(window_ms)) if window_ms >= WINDOW_MS_MIN => {
                    let spent_ms = ticks_to_ms(spent_ticks(former, &tree));
                    let milli = spent_ms.saturating_mul(1_000) / window_ms;
                    Some(Rate { milli, window_ms })
                }
                _ => None,
            };
            // A reading that came too soon is dropped, so that the next window is long enough.
            let keep = window_ms.is_some_and(|window_ms| window_ms < WINDOW_MS_MIN);
            next.insert(root, former.filter(|_| keep).unwrap_or(tree));
            Some(Usage { cpu, memory_bytes })
        });
        let usages = usages.collect();
        self.former = next;
        usages
    }
}

/// The root that each process belongs to: itself, else the one whose group it
/// is in, else its parent's.
fn owners(roots: &[Id], stats: &[Stat]) -> Vec<Option<Id>> {
    let roots: HashMap<u32, Id> = roots.iter().map(|&root| (root.pid, root)).collect();
    let index: HashMap<u32, usize> = stats
        .iter()
        .enumerate()
        .map(|(at, stat)| (stat.pid, at))
        .collect();
    // A root's pid may be another process's by now; then its group is, too.
    let lead = |pid: u32| {
        let root = roots.get(&pid)?;
        let stat = stats.get(*index.get(&pid)?)?;
        (stat.id() == *root).then_some(*root)
    };
    let owner = |stat: &Stat| {
        let mut at = stat;
        // Parents that were read at different moments may form a circle.
        for _ in 0..DEPTH_MAX {
            if let Some(owner) = lead(at.pid).or_else(|| lead(at.group)) {
                return Some(owner);
            }
            at = stats.get(*index.get(&at.parent)?)?;
        }
        None
    };
    stats.iter().map(owner).collect()
}

/// A start is known to the tick.
const START_MS_SLACK: u64 = 10;
/// Deeper descendants aren't counted.
const DEPTH_MAX: usize = 64;

/// CPU time between two readings of one tree.
///
/// A process that has gone was counted while it lived, and its whole life shows
/// up once more in the reaped time of whoever waited for it: that much is taken
/// off again. Where nobody waited, only what it used since the last reading is
/// missed. One that is new here but started earlier was overlooked, and counts
/// from the next reading on. Never negative.
fn spent_ticks(former: &Tree, now: &Tree) -> u64 {
    let (mut spent, mut reaped) = (0u64, 0u64);
    for (id, times) in &now.processes {
        if let Some(before) = former.processes.get(id) {
            spent = spent.saturating_add(times.own.saturating_sub(before.own));
            reaped = reaped.saturating_add(times.reaped.saturating_sub(before.reaped));
        } else if ticks_to_ms(id.start_ticks).saturating_add(START_MS_SLACK) >= former.at_ms {
            spent = spent.saturating_add(times.own.saturating_add(times.reaped));
        }
    }
    let gone = former
        .processes
        .iter()
        .filter(|(id, _)| !now.processes.contains_key(id))
        .map(|(_, times)| times.own.saturating_add(times.reaped))
        .fold(0, u64::saturating_add);
    spent.saturating_add(reaped.saturating_sub(gone))
}

fn times(stat: &Stat) -> Times {
    Times {
        own: stat.cpu_ticks,
        reaped: stat.reaped_ticks,
    }
}
