//! The log of recommendations behind both stabilization windows.
//!
//! HPA appends one entry at each pass and overwrites the last one that both
//! windows have left behind. Here an unchanged recommendation extends the open
//! run instead, and a run has the age of its end, which is the age of the newest
//! entry that HPA would hold for it: maximum and minimum over a window come out
//! the same, and a steady workload writes nothing.

use super::Recommendation;
use crate::policy::Windows;
use crate::unit::Ms;

/// A list that grows past this is thinned: first by runs that can't decide
/// anything any more, then by joining neighbours so that the size is held
/// longer, never shorter.
pub const RUNS_MAX: usize = 64;

/// Ends the open run at `until` and begins one for `replicas` at `now`. The open
/// run goes on where it already recommends `replicas`.
pub fn record(runs: &mut Vec<Recommendation>, replicas: u32, until: Ms, now: Ms, windows: Windows) {
    if open(runs).is_some_and(|run| run.replicas == replicas) {
        return;
    }
    close(runs, until);
    let next = Recommendation {
        replicas,
        from: now,
        until: None,
    };
    let longest_ms = windows.up_ms.max(windows.down_ms);
    let reusable = runs
        .iter()
        .rposition(|run| run.until.is_some_and(|end| now.since(end) > longest_ms));
    match reusable {
        Some(i) => runs[i] = next,
        None => runs.push(next),
    }
    if runs.len() > RUNS_MAX {
        thin(runs, now, windows);
    }
}

/// Ends the open run at `until`.
pub fn close(runs: &mut [Recommendation], until: Ms) {
    for run in runs.iter_mut().filter(|run| run.until.is_none()) {
        run.until = Some(until.max(run.from));
    }
}

/// The run that is still being recommended.
pub fn open(runs: &[Recommendation]) -> Option<&Recommendation> {
    runs.iter().find(|run| run.until.is_none())
}

fn end(run: &Recommendation) -> Ms {
    run.until.unwrap_or(Ms(u64::MAX))
}

fn thin(runs: &mut Vec<Recommendation>, now: Ms, windows: Windows) {
    runs.sort_by_key(end);
    // From the newest to the oldest: only a run above all newer ones can hold the
    // size up, and only one below all newer ones can hold it down.
    let (mut highest, mut lowest) = (None, None);
    let mut kept: Vec<(Recommendation, bool)> = Vec::with_capacity(runs.len());
    for run in runs.iter().rev() {
        let age_ms = run.until.map_or(0, |end| now.since(end));
        let holds_up = age_ms <= windows.down_ms && highest.is_none_or(|h| run.replicas > h);
        let holds_down = age_ms <= windows.up_ms && lowest.is_none_or(|l| run.replicas < l);
        if holds_up {
            highest = Some(run.replicas);
        }
        if holds_down {
            lowest = Some(run.replicas);
        }
        if holds_up || holds_down {
            kept.push((*run, holds_up));
        }
    }
    kept.reverse();
    while kept.len() > RUNS_MAX {
        join_oldest(&mut kept);
    }
    runs.clear();
    runs.extend(kept.into_iter().map(|(run, _)| run));
}

/// Joins the two oldest runs of the more frequent kind. The older one has the
/// stricter number and takes over the newer one's end.
fn join_oldest(kept: &mut Vec<(Recommendation, bool)>) {
    let ups = kept.iter().filter(|(_, holds_up)| *holds_up).count();
    let kind = ups * 2 >= kept.len();
    let mut same = (0..kept.len()).filter(|&i| kept[i].1 == kind);
    let (first, second) = (same.next().unwrap_or(0), same.next().unwrap_or(1));
    let (newer, _) = kept.remove(second);
    kept[first].0.until = newer.until;
    // It moves to where its new end belongs.
    kept[first..second].rotate_left(1);
}
