//! What the end-to-end tests share: the binary under test and its commands, workers and workloads
//! to size, waiting for a condition with a deadline, and what may come between where a machine
//! stalls for some seconds.

pub mod adapter;
pub mod command;
pub mod cost;
pub mod installed;
pub mod servers;
pub mod sizes;
pub mod sleepers;
pub mod workload;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use starling_rig::cluster::Cluster;
use starling_rig::probe::value;

use crate::sleepers::{owner, workers};

/// Generous: two busy cores run all tests at once.
pub const DEADLINE: Duration = Duration::from_mins(1);
/// A leader places elsewhere what an agent runs once it has missed that agent for so long: the
/// engine's `LOST_AFTER_MS`.
const LOST_AFTER: Duration = Duration::from_secs(5);
/// A machine that stalls mends itself within seconds; what is broken is amiss for longer.
const LASTS: Duration = Duration::from_secs(10);

/// The `starling` binary of the same build as the running test, or `STARLING_BINARY`.
///
/// # Panics
///
/// Where it hasn't been built; `cargo test --workspace` builds it.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("STARLING_BINARY") {
        return PathBuf::from(path);
    }
    let test = std::env::current_exe().unwrap_or_default();
    let built = test
        .parent()
        .and_then(Path::parent)
        .map(|dir| dir.join("starling"));
    match built {
        Some(path) if path.is_file() => path,
        other => panic!("{other:?} is missing: run `cargo build` or `cargo test --workspace`"),
    }
}

/// Debian's libfaketime, which sets the clock of one process. Where it isn't installed,
/// its tests are left out.
///
/// # Panics
///
/// As [`leave_out`](starling_faults::leave_out).
pub fn faketime() -> Option<PathBuf> {
    let machines = std::fs::read_dir("/usr/lib").ok()?.flatten();
    let mut paths = machines.map(|it| it.path().join("faketime/libfaketime.so.1"));
    let found = paths.find(|path| path.exists());
    if found.is_none() {
        starling_faults::leave_out("apt-get install faketime lets this test set clocks");
    }
    found
}

/// Looks again and again until `look` gives something.
///
/// # Panics
///
/// At the deadline, with what was waited for.
pub async fn until<T, F>(what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What an agent answers, as soon as it does: an observer takes one for silent that needs more
/// than a second.
///
/// # Panics
///
/// At the deadline.
pub async fn answer<T, E, F>(mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, E>>,
{
    until("it answers", || {
        let asked = ask();
        async move { asked.await.ok() }
    })
    .await
}

/// Begins anew where a try gives nothing, since an election or a stall came between.
///
/// # Panics
///
/// After the third one.
pub async fn in_three_tries<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..3 {
        if let Some(found) = attempt().await {
            return found;
        }
    }
    panic!("{what}: not in three tries");
}

/// Agents that are away for a while, and the workers that outlive that.
#[derive(Debug)]
pub struct Away {
    since: Instant,
    /// All that ran before.
    pub all: BTreeSet<u32>,
    /// Those of them that belong to other agents.
    others: BTreeSet<u32>,
}

impl Away {
    /// Waits until `count` workers run; then the agents at these positions go.
    ///
    /// # Panics
    ///
    /// At the deadline.
    pub async fn begin(cluster: &mut Cluster, positions: &[usize], count: usize) -> Away {
        let all = until("as many workers run as should", || {
            let all = workers(cluster);
            async move { (all.len() == count).then_some(all) }
        })
        .await;
        let names = cluster.names();
        let away: Vec<&String> = positions.iter().map(|at| &names[*at]).collect();
        let mut others = all.clone();
        others.retain(|pid| owner(*pid).is_none_or(|name| !away.contains(&&name)));
        Away {
            since: Instant::now(),
            all,
            others,
        }
    }

    /// That the same workers run as before. Nothing where the agents were away for so long that
    /// what they ran may have been placed elsewhere, and was.
    ///
    /// # Panics
    ///
    /// Where other agents' workers don't run on, or those of agents that weren't away for long.
    pub fn kept(&self, cluster: &mut Cluster) -> Option<()> {
        let now = workers(cluster);
        assert!(now.is_superset(&self.others), "{now:?} run; {self:?}");
        self.unless_lost(now == self.all)
    }

    /// As [`Away::kept`], by what the caller has seen.
    ///
    /// # Panics
    ///
    /// Where it was not kept though the agents weren't away for long.
    pub fn unless_lost(&self, kept: bool) -> Option<()> {
        let long = self.since.elapsed() >= LOST_AFTER;
        assert!(kept || long, "not all that ran was kept; {self:?}");
        kept.then_some(())
    }
}

/// What is amiss on a page of an agent's numbers, if anything: it should hold so many agents for
/// alive, and have heard each of them `within` the last while.
pub fn unheard(page: &str, agents: usize, within: Duration) -> Option<String> {
    let alive = value(page, "starling_gossip_alive_nodes");
    let oldest = value(page, "starling_gossip_oldest_summary_age_seconds");
    let well = alive.is_some_and(|alive| alive > agents as f64 - 0.5)
        && oldest.is_some_and(|age| age <= within.as_secs_f64());
    (!well).then(|| format!("{alive:?} alive, the oldest {oldest:?} s old"))
}

/// Tells what is amiss for long from what a machine that stalls explains.
#[derive(Debug, Default)]
pub struct Amiss {
    since: BTreeMap<String, Instant>,
    /// What was amiss at each look for ten seconds, and whose it is.
    pub lasting: Vec<String>,
}

impl Amiss {
    /// Notes one look at `whose`; without a `why` all is well there.
    pub fn look(&mut self, whose: &str, why: Option<String>) {
        let Some(why) = why else {
            self.since.remove(whose);
            return;
        };
        let since = self.since.entry(whose.to_owned());
        if since.or_insert_with(Instant::now).elapsed() >= LASTS {
            self.lasting.push(format!("{whose}: {why}"));
        }
    }
}
