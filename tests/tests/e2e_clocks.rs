//! Real agents whose machines' clocks are hours apart, and are set while they run; with
//! Debian's libfaketime. Where that isn't installed these tests say so and prove nothing, or fail
//! with `STARLING_REQUIRE_FAULTS`.
#![allow(clippy::expect_used)] // A helper that finds nothing has failed its test.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use starling_rig::cluster::{Cluster, Launch};
use starling_rig::observe::Observer;
use starling_tests::sleepers::{self, workers};
use starling_tests::{Away, answer, faketime, in_three_tries, until};

const WORKERS: usize = 4;
/// What is too old to be believed is older than 5 s; each of these takes a second or two.
const REPLACED: usize = 3;

/// A clock that is off by what the file says, at any time. Ages go by another one, which
/// no machine can set.
fn launch(library: &Path, offset: &Path) -> Launch {
    let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Launch {
        environment: vec![
            set("LD_PRELOAD", &library.display().to_string()),
            set("FAKETIME_TIMESTAMP_FILE", &offset.display().to_string()),
            set("FAKETIME_NO_CACHE", "1"),
            set("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            set("NO_FAKE_STAT", "1"),
        ],
        by: Vec::new(),
    }
}

/// Seconds, such as `+3600`.
fn offset(cluster: &Cluster, position: usize) -> PathBuf {
    cluster.dir().join(format!("offset-{position}"))
}

fn set_clock(cluster: &Cluster, position: usize, seconds: i64) {
    let path = offset(cluster, position);
    let half = path.with_extension("half");
    std::fs::write(&half, format!("{seconds:+}\n")).expect("written");
    std::fs::rename(&half, &path).expect("moved into place");
}

/// Three agents, each with a clock of its own, and as many workers as are wanted.
async fn start(offsets: [i64; 3]) -> Option<(Cluster, Observer)> {
    let library = faketime()?;
    let mut cluster = sleepers::three();
    for (position, seconds) in offsets.into_iter().enumerate() {
        set_clock(&cluster, position, seconds);
        let offset = offset(&cluster, position);
        cluster.launch(position, launch(&library, &offset));
    }
    let observer = sleepers::start(&mut cluster, WORKERS).await;
    counted(&observer).await;
    Some((cluster, observer))
}

/// Waits until whoever leads has fresh word of every worker, and says who it is.
async fn counted(observer: &Observer) -> usize {
    until("the leader has fresh word of all workers", || async {
        let statuses = observer.statuses().await;
        let acts = |it: &Option<_>| {
            let it: Option<&starling_rig::observe::Status> = it.as_ref();
            it.is_some_and(|it| it.acting)
        };
        let leader = statuses.iter().position(acts)?;
        let running = observer.running(leader, "web").await.ok()?;
        (running as usize == WORKERS).then_some(leader)
    })
    .await
}

/// Workers that die are seen to, one after the other, and nothing else is stopped: so
/// the agents hear of each other for longer than anything old is believed.
async fn replaces(cluster: &mut Cluster, observer: &Observer) {
    for _ in 0..REPLACED {
        let before = workers(cluster);
        let victim = *before.first().expect("a worker");
        let kill = std::process::Command::new("kill")
            .args(["-9", &victim.to_string()])
            .status();
        assert!(kill.expect("kill runs").success());
        let others: BTreeSet<u32> = before.into_iter().filter(|pid| *pid != victim).collect();
        until("it is replaced", || {
            let now = workers(cluster);
            assert!(now.is_superset(&others), "others were stopped: {now:?}");
            async move { (now.len() == WORKERS && !now.contains(&victim)).then_some(()) }
        })
        .await;
        counted(observer).await;
    }
}

#[tokio::test]
async fn clocks_an_hour_ahead_and_behind_change_nothing_whoever_leads() {
    let Some((mut cluster, observer)) = start([0, 3_600, -3_500]).await else {
        return;
    };
    let mut led = BTreeSet::new();
    // Each one's death lets another one lead, with another clock.
    for _ in 0..6 {
        in_three_tries("it is back before it is lost", async || {
            let leader = counted(&observer).await;
            led.insert(leader);
            let mut away = Away::begin(&mut cluster, &[leader], WORKERS).await;
            cluster.kill(leader).await;
            let next = until("another one leads", || async {
                let statuses = observer.statuses().await;
                statuses
                    .iter()
                    .position(|it| it.as_ref().is_some_and(|it| it.acting))
                    .filter(|next| *next != leader)
            })
            .await;
            led.insert(next);
            cluster.restart(leader).expect("it starts");
            let observer = cluster.observer().expect("an observer");
            answer(|| observer.status(leader)).await;
            away.over();
            (cluster.caught_up(leader, &observer).await).expect("it catches up");
            counted(&observer).await;
            away.kept(&mut cluster)
        })
        .await;
    }
    println!("these led: {led:?}");
    assert!(led.len() >= 2);
    replaces(&mut cluster, &observer).await;
}

#[tokio::test]
async fn clocks_that_are_set_while_agents_run_change_nothing() {
    let Some((mut cluster, observer)) = start([0, 0, 0]).await else {
        return;
    };
    for offsets in [[60, 60, 60], [0, 0, 0], [0, 3_600, -3_500]] {
        for (position, seconds) in offsets.into_iter().enumerate() {
            set_clock(&cluster, position, seconds);
        }
        replaces(&mut cluster, &observer).await;
    }
}

#[tokio::test]
async fn an_agent_whose_clock_went_back_over_a_restart_is_heard_again_at_once() {
    let Some((mut cluster, _)) = start([3_600, 3_600, 3_600]).await else {
        return;
    };
    for position in 0..3 {
        in_three_tries("it is back before it is lost", async || {
            // Where it begins anew, the clock is back already.
            set_clock(&cluster, position, 3_600);
            counted(&cluster.observer().expect("an observer")).await;
            let mut away = Away::begin(&mut cluster, &[position], WORKERS).await;
            cluster.kill(position).await;
            set_clock(&cluster, position, 0);
            cluster.restart(position).expect("it starts");
            let observer = cluster.observer().expect("an observer");
            answer(|| observer.status(position)).await;
            away.over();
            (cluster.caught_up(position, &observer).await).expect("it catches up");
            counted(&observer).await;
            away.kept(&mut cluster)
        })
        .await;
    }
    let observer = cluster.observer().expect("an observer");
    replaces(&mut cluster, &observer).await;
}
