//! Real agents that are all killed and come back, a founder without its disk among them, a
//! leader that sleeps, two agents of one name, and two clusters of one name.
#![allow(clippy::expect_used)] // A helper that finds nothing has failed its test.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use starling_rig::cluster::Cluster;
use starling_rig::cluster::files::Files;
use starling_rig::observe::{Observer, Status};
use starling_tests::sleepers::{self, owner, workers};
use starling_tests::{Away, answer, binary, in_three_tries, until};
use tokio::process::{Child, Command};

const WORKERS: usize = 4;
const MORE: usize = 7;
/// An agent that answers nothing for so long has stalled: it is asked every 50 ms or so.
const STALLS: Duration = Duration::from_secs(1);

async fn start() -> (Cluster, Observer) {
    let mut cluster = sleepers::three();
    let observer = sleepers::start(&mut cluster, WORKERS).await;
    (cluster, observer)
}

/// Waits until every agent knows of a leader and of all members, and one acts. The same workers
/// run meanwhile, or it ends as [`Away::kept`] does.
async fn whole(
    cluster: &mut Cluster,
    observer: &Observer,
    away: &Away,
) -> Result<Vec<Status>, String> {
    until("all agents are one cluster again", || {
        let kept = away.kept(cluster);
        async move {
            if let Err(lost) = kept {
                return Some(Err(lost));
            }
            let statuses: Option<Vec<Status>> = observer.statuses().await.into_iter().collect();
            let whole = statuses.filter(|all| {
                let knows = |s: &Status| s.leader_id.is_some() && s.members_alive == 3;
                all.iter().all(knows) && all.iter().any(|s| s.acting)
            });
            whole.map(Ok)
        }
    })
    .await
}

#[tokio::test]
async fn workers_are_adopted_when_all_agents_are_killed_and_come_back_one_by_one() {
    in_three_tries("all are back before any is lost", async || {
        let (mut cluster, _) = start().await;
        let before = workers(&mut cluster);
        for position in 0..3 {
            cluster.kill(position).await;
        }
        // The first one alone has no quorum, so it must not act on what it reads.
        cluster.restart(2).expect("it starts");
        let observer = cluster.observer().expect("an observer");
        until("the first one answers", || async {
            observer.status(2).await.ok()
        })
        .await;
        assert_eq!(workers(&mut cluster), before);
        let mut away = Away::begin(&mut cluster, &[0, 1, 2], WORKERS).await;
        for position in [0, 1] {
            cluster.restart(position).expect("it starts");
        }
        let observer = cluster.observer().expect("an observer");
        for position in 0..3 {
            answer(|| observer.status(position)).await;
        }
        away.over();
        let statuses = whole(&mut cluster, &observer, &away).await?;
        // Several passes of the new leader, and what it knows of the others.
        let goal = statuses.iter().map(|s| s.applied_index).max();
        let leader = statuses.iter().position(|s| s.acting).expect("one acts");
        until("the leader has every agent's count", || {
            let kept = away.kept(&mut cluster);
            let observer = observer.clone();
            async move {
                if kept.is_err() {
                    return Some(kept);
                }
                let status = observer.status(leader).await.ok()?;
                let granted = observer.granted(leader, "web").await.ok()?;
                assert_eq!(granted as usize, WORKERS);
                let counted = observer.running(leader, "web").await.ok()?;
                (Some(status.applied_index) >= goal && counted as usize == WORKERS).then_some(kept)
            }
        })
        .await?;
        let decisions = answer(|| observer.decisions(leader)).await;
        assert!(decisions.iter().all(|d| d.to >= d.from), "{decisions:?}");
        away.kept(&mut cluster)
    })
    .await;
}

#[tokio::test]
async fn i1_a_leader_that_slept_finds_another_one_and_follows() {
    in_three_tries("it wakes before it is lost", async || {
        let (mut cluster, observer) = start().await;
        let leader = until("one acts", || async {
            let statuses = observer.statuses().await;
            let acts = |status: &Option<Status>| status.as_ref().is_some_and(|s| s.acting);
            statuses.iter().position(acts)
        })
        .await;
        let mut away = Away::begin(&mut cluster, &[leader], WORKERS).await;
        let pid = cluster.sample().agents[leader].expect("it runs").pid;
        signal(pid, "-STOP").await;
        let others: Vec<usize> = (0..3).filter(|position| *position != leader).collect();
        let next = until("another agent acts", || async {
            let statuses = observer.statuses().await;
            others
                .iter()
                .filter_map(|position| statuses[*position].clone())
                .find(|status| status.acting)
        })
        .await;
        signal(pid, "-CONT").await;
        // It may still believe that it leads, but it must not act on it.
        let alone = |status: &Status| !status.acting || status.term > next.term;
        let woken = answer(|| observer.status(leader)).await;
        away.over();
        assert!(alone(&woken), "two leaders act");
        let former = until("the former leader follows", || async {
            let status = observer.status(leader).await.ok()?;
            assert!(alone(&status), "two leaders act");
            status.leader_id.filter(|id| *id != status.node_id)?;
            Some(status)
        })
        .await;
        assert!(former.term >= next.term);
        whole(&mut cluster, &observer, &away).await?;
        away.kept(&mut cluster)
    })
    .await;
}

#[tokio::test]
async fn a_second_agent_of_the_same_name_waits_while_the_first_one_lives() {
    in_three_tries("the first one answers in time", async || {
        let (mut cluster, observer) = start().await;
        let before = whole_ids(&observer).await;
        let home = cluster.dir().join("agent-2");
        let text = std::fs::read_to_string(home.join("config.yaml")).expect("settings");
        let copy = cluster.dir().join("copy.yaml");
        let data = home.join("data").display().to_string();
        std::fs::write(&copy, text.replace(&data, &format!("{data}-copy"))).expect("written");
        let log = cluster.dir().join("copy.log");
        let mut second = tokio::process::Command::new(binary())
            .args(["agent", "--config"])
            .arg(&copy)
            .stderr(Stdio::from(std::fs::File::create(&log).expect("a log")))
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        // When the first one answered last, and the longest time from one answer to the next.
        let (heard, silence) = (Cell::new(Instant::now()), Cell::new(Duration::ZERO));
        let stays = until("the second one is told why it waits", || async {
            if observer.status(1).await.is_ok() {
                let silent = heard.replace(Instant::now()).elapsed();
                silence.set(silence.get().max(silent));
            }
            if cluster.log(1).contains("another has its name") {
                return Some(false);
            }
            let words = std::fs::read_to_string(&log).ok()?;
            let told = words.contains("an agent called agent-2 belongs to the cluster already");
            let ids = ids(&observer).await.filter(|_| told)?;
            assert_eq!(ids, before, "the first one stays");
            Some(true)
        })
        .await;
        second.kill().await.expect("killed");
        if !stays {
            // One that stalls while it is asked whether it is there loses its name.
            let silence = silence.get();
            let why = format!("the first one lost its name; it was silent for {silence:?} at most");
            assert!(silence >= STALLS, "{why}");
            return Err(why);
        }

        // Its disk lost, the first one comes back under its name, with a new id.
        cluster.kill(1).await;
        std::fs::remove_dir_all(home.join("data")).expect("wiped");
        cluster.restart(1).expect("it starts");
        until("it is in again, with a new id", || {
            let observer = cluster.observer().ok();
            let before = before.clone();
            async move {
                let status = observer?.status(1).await.ok()?;
                (status.members == 3 && status.voters == 3 && !before.contains(&status.node_id))
                    .then_some(())
            }
        })
        .await;
        Ok(())
    })
    .await;
}

/// The machine that founded is re-imaged, and is there first after a power cut: founding
/// anew, it would take others' workers for nobody's.
#[tokio::test]
async fn a_founder_without_its_disk_that_is_there_first_founds_nothing_and_joins() {
    let (mut cluster, observer) = start().await;
    let before = whole_ids(&observer).await;
    // Those that come now run on agents that have come since.
    let documents = sleepers::policy(MORE as u32, sleepers::WORKERS_MAX);
    Files::new(cluster.dir(), "agent-1")
        .write_documents("policies", &documents)
        .expect("written");
    let all = until("more workers run", || {
        let all = workers(&mut cluster);
        async move { (all.len() == MORE).then_some(all) }
    })
    .await;
    for position in 0..3 {
        cluster.kill(position).await;
    }
    let mut stay = all.clone();
    stay.retain(|pid| owner(*pid).as_deref() != Some("agent-1"));
    assert!(!stay.is_empty() && stay.len() < all.len());
    let data = cluster.dir().join("agent-1").join("data");
    std::fs::remove_dir_all(data).expect("wiped");
    let told = cluster.log(0).len();
    cluster.restart(0).expect("it starts");
    let said = until("it has looked for its cluster", || {
        let said = cluster.log(0).split_off(told);
        async move { said.contains("waiting to join").then_some(said) }
    })
    .await;
    assert!(said.contains("must answer first"), "{said}");
    let began = Instant::now();
    until("a second passes in which nobody answers it", || {
        assert_eq!(workers(&mut cluster), all, "it stopped or started some");
        async move { (began.elapsed() > Duration::from_secs(1)).then_some(()) }
    })
    .await;
    for position in [1, 2] {
        cluster.restart(position).expect("it starts");
    }
    let ids = until("all are one cluster", || {
        let running = workers(&mut cluster);
        assert!(running.is_superset(&stay), "others' workers were stopped");
        let observer = cluster.observer();
        async move { ids(&observer.ok()?).await }
    })
    .await;
    assert_eq!(ids[1..], before[1..], "they are who they were");
    assert!(!before.contains(&ids[0]), "the first one is a new member");
    until("as many workers run as before", || {
        let running = workers(&mut cluster);
        assert!(running.is_superset(&stay), "others' workers were stopped");
        async move { (running.len() == MORE).then_some(()) }
    })
    .await;
    let said = cluster.log(0).split_off(told);
    assert!(!said.contains("founding a new cluster"), "{said}");
}

/// Settings for an agent of this name in the cluster's directory, made of another's.
fn settings(cluster: &Cluster, name: &str, seeds: &[String]) -> PathBuf {
    let home = cluster.dir().join("agent-2");
    let text = std::fs::read_to_string(home.join("config.yaml")).expect("settings");
    let mut text = text.replace("agent-2", name);
    let from = text.find("seeds:").expect("seeds");
    let to = text.find("bootstrap:").expect("whether it founds");
    let seeds = serde_json::to_string(seeds).expect("a list");
    text.replace_range(from..to, &format!("seeds: {seeds}\n"));
    let text = text.replace("bootstrap: false", "bootstrap: true");
    let place = cluster.dir().join(name);
    std::fs::create_dir_all(place.join("policies")).expect("a directory");
    std::fs::write(place.join("config.yaml"), text).expect("written");
    place
}

/// Starts the agent that [`settings`] were made for.
fn stranger(place: &Path) -> Child {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(place.join("log"));
    Command::new(binary())
        .args(["agent", "--config"])
        .arg(place.join("config.yaml"))
        .stderr(Stdio::from(log.expect("a log")))
        .kill_on_drop(true)
        .spawn()
        .expect("it starts")
}

#[tokio::test]
async fn a_second_cluster_of_the_name_is_an_error_in_the_logs_of_both_and_mixes_with_nobody() {
    let (mut cluster, observer) = start().await;
    let before = whole_ids(&observer).await;
    let all = workers(&mut cluster);
    let node = starling_keys::Node {
        name: "other".into(),
        hosts: Vec::new(),
    };
    let request = starling_keys::Request {
        cluster: starling_rig::cluster::NAME.into(),
        nodes: vec![node],
    };
    starling_keys::generate(&cluster.dir().join("keys"), &request).expect("keys");
    let place = settings(&cluster, "other", &[]);
    let log = || std::fs::read_to_string(place.join("log")).unwrap_or_default();
    let mut other = stranger(&place);
    until("it has founded a cluster of its own", || async {
        log().contains("founding a new cluster").then_some(())
    })
    .await;
    until("it takes part in that", || async {
        place.join("data/addresses.json").exists().then_some(())
    })
    .await;
    other.kill().await.expect("killed");

    // Now it is told of the others, and knocks at each.
    let seeds: Vec<String> = (1..=3)
        .map(|n| Files::new(cluster.dir(), &format!("agent-{n}")))
        .map(|files| files.addresses().expect("addresses").peer)
        .collect();
    settings(&cluster, "other", &seeds);
    let mut other = stranger(&place);
    until("the members say that there is another cluster", || {
        let told = (0..3).filter(|position| {
            let log = cluster.log(*position);
            log.lines().any(|line| {
                line.contains("ERROR")
                    && line.contains("agent other (which has called) belongs to another cluster")
                    && line.contains("founded apart")
            })
        });
        let told = told.count();
        async move { (told > 0).then_some(()) }
    })
    .await;
    // It is alone in its own, so it is the one that ends.
    let ended = tokio::time::timeout(starling_tests::DEADLINE, other.wait()).await;
    let ended = ended.expect("it ends").expect("waited for");
    assert_eq!(ended.code(), Some(1), "{}", log());
    let said = log();
    assert!(
        said.contains("in which it is alone, while agent agent-"),
        "{said}"
    );
    assert_eq!(whole_ids(&observer).await, before);
    assert_eq!(workers(&mut cluster), all);
}

/// The agents' ids, as soon as all of them answer.
async fn whole_ids(observer: &Observer) -> Vec<u64> {
    until("all agents answer", || ids(observer)).await
}

/// The agents' ids, where all of them answer, and vote.
async fn ids(observer: &Observer) -> Option<Vec<u64>> {
    let statuses: Option<Vec<Status>> = observer.statuses().await.into_iter().collect();
    let statuses = statuses?;
    let whole = statuses.iter().all(|s| s.members == 3 && s.voters == 3);
    whole.then(|| statuses.iter().map(|s| s.node_id).collect())
}

async fn signal(pid: u32, which: &str) {
    let kill = tokio::process::Command::new("kill")
        .args([which, &pid.to_string()])
        .status()
        .await;
    assert!(kill.expect("kill runs").success());
}
