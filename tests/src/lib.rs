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

use starling_engine::node::LOST_AFTER_MS;
use starling_kubernetes_rig::turn;
use starling_rig::cluster::Cluster;
use starling_rig::probe::value;

use crate::sleepers::{owner, workers};

/// Generous: two busy cores run all tests at once.
pub const DEADLINE: Duration = Duration::from_mins(1);
/// A leader places elsewhere what an agent runs once it has missed that agent for so long.
const LOST_AFTER: Duration = Duration::from_millis(LOST_AFTER_MS);
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

/// Tries up to three times. A try that an election or a stall has disturbed ends with the reason,
/// which is printed even if the test passes, and the next try begins anew.
///
/// # Panics
///
/// After the third one, with its reason.
pub async fn in_three_tries<T>(
    what: &str,
    mut attempt: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let mut last = String::new();
    for number in 1..=3 {
        match attempt().await {
            Ok(found) => return found,
            Err(why) => last = why,
        }
        turn::say(&format!("{what}: try {number} of 3 failed: {last}"));
    }
    panic!("{what}: not in three tries; the last one: {last}");
}

/// Agents that are away for a while, and the workers that outlive that.
#[derive(Debug)]
pub struct Away {
    since: Instant,
    /// When the agents answered again; `None` while they are away.
    back: Option<Instant>,
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
            back: None,
            all,
            others,
        }
    }

    /// The agents answer again: what is lost from now on isn't lost because they were away.
    pub fn over(&mut self) {
        self.back = Some(Instant::now());
    }

    /// That the workers of other agents are among those that run `now`.
    ///
    /// # Panics
    ///
    /// Where one isn't.
    pub fn others_kept(&self, now: &BTreeSet<u32>) {
        assert!(now.is_superset(&self.others), "{now:?} run; {self:?}");
    }

    /// Whether the same workers run as before. An error where they don't, and the agents were
    /// away for so long that a leader may have placed elsewhere what they ran.
    ///
    /// # Panics
    ///
    /// Where the agents weren't away for so long, or other agents' workers don't run on.
    pub fn kept(&self, cluster: &mut Cluster) -> Result<(), String> {
        let now = workers(cluster);
        self.others_kept(&now);
        self.unless_lost(now == self.all)
    }

    /// As [`Away::kept`], by what the caller has seen, and without a look at other agents'.
    ///
    /// # Panics
    ///
    /// Where workers weren't kept though their agents weren't away for so long.
    pub fn unless_lost(&self, kept: bool) -> Result<(), String> {
        if kept {
            return Ok(());
        }
        let back = self.back.unwrap_or_else(Instant::now);
        let away = back.saturating_duration_since(self.since);
        assert!(away >= LOST_AFTER, "lost after {away:?}; {self:?}");
        Err(format!("workers were lost after {away:?}"))
    }
}

/// Whether an agent's page of numbers says that it holds fewer agents for alive than there are.
fn misses(page: &str, agents: usize) -> bool {
    let alive = value(page, "starling_gossip_alive_nodes");
    alive.is_none_or(|alive| alive < agents as f64 - 0.5)
}

/// What is amiss on a page of an agent's numbers, if anything: it should hold so many agents for
/// alive, and have heard each of them `within` the last while.
pub fn unheard(page: &str, agents: usize, within: Duration) -> Option<String> {
    let oldest = value(page, "starling_gossip_oldest_summary_age_seconds");
    let old = oldest.is_none_or(|age| age > within.as_secs_f64());
    (old || misses(page, agents)).then(|| {
        let alive = value(page, "starling_gossip_alive_nodes");
        format!("{alive:?} alive, the oldest {oldest:?} s old")
    })
}

/// Tells what is amiss for too long from what a machine that stalls explains. For ten seconds an
/// agent may be silent, or have heard nothing new of another. It may hold another for dead for
/// five seconds only: after that, a leader places elsewhere what the other one runs.
#[derive(Debug, Default)]
pub struct Amiss {
    /// Since when an agent has held another for dead.
    missing: BTreeMap<String, Instant>,
    /// Since when anything has been amiss at an agent.
    unheard: BTreeMap<String, Instant>,
    /// What was amiss for too long, and at which agent.
    pub lasting: Vec<String>,
}

impl Amiss {
    /// Notes one look at the agent `whose` page of numbers this is; `None` where it didn't answer.
    /// What should be on the page is what [`unheard`] says.
    pub fn look(&mut self, whose: &str, page: Option<&str>, agents: usize, within: Duration) {
        let why = page.map_or_else(
            || Some("no answer".to_owned()),
            |page| unheard(page, agents, within),
        );
        let unheard = lasts(&mut self.unheard, whose, why.is_some());
        // One that doesn't answer says neither that it misses another nor that it doesn't.
        let missing = page.map(|page| lasts(&mut self.missing, whose, misses(page, agents)));
        if unheard >= LASTS || missing.is_some_and(|missing| missing >= LOST_AFTER) {
            let why = why.unwrap_or_default();
            self.lasting.push(format!("{whose}: {why}"));
        }
    }
}

/// For how long each look at this agent has found it `so`.
fn lasts(since: &mut BTreeMap<String, Instant>, whose: &str, so: bool) -> Duration {
    if !so {
        since.remove(whose);
        return Duration::ZERO;
    }
    let since = since.entry(whose.to_owned());
    since.or_insert_with(Instant::now).elapsed()
}
