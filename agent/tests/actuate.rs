//! From the ledger's shares to workers that run.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use starling_agent::actuate;
use starling_engine::ledger::{InForce, Ledger, Workload};
use starling_engine::policy::{Policy, Target};
use starling_engine::unit::{Ms, NodeId, Stamp};
use starling_process::Supervisor;
use starling_process::spec::{KIND, Spec};

const ME: NodeId = NodeId(3);

fn target(kind: &str, name: &str) -> Target {
    Target {
        kind: kind.into(),
        ..Target::process(name)
    }
}

/// A workload with `share` replicas here and 5 elsewhere.
fn grant(ledger: &mut Ledger, target: Target, index: u64, share: u32) {
    ledger.index = ledger.index.max(index);
    let stamp = Stamp {
        generation: ledger.generation,
        index,
    };
    let workload = Workload {
        size: share + 5,
        stamp,
        shares: BTreeMap::from([(ME, share), (NodeId(9), 5)]),
        ..Workload::default()
    };
    ledger.workloads.insert(target, workload);
}

fn put_policy(ledger: &mut Ledger, name: &str, dry_run: bool) {
    let policy = Policy {
        name: name.into(),
        target: target(KIND, name),
        replicas_min: 0,
        replicas_max: 10,
        dry_run,
        ..Policy::default()
    };
    let put = InForce {
        policy,
        revision: 1,
        created_at: Ms(0),
        source: "test".into(),
        copies: std::collections::BTreeSet::new(),
    };
    ledger.policies.insert(name.into(), put);
}

fn supervisor(dir: &std::path::Path) -> Supervisor {
    let supervisor = Supervisor::start("test", dir).unwrap();
    let spec = |name: &str| Spec {
        name: name.into(),
        command: vec!["sleep".into(), "1000".into()],
        stop_after_ms: 5_000,
        ..Spec::default()
    };
    let specs = ["a", "b"].map(|name| (name.to_owned(), spec(name)));
    supervisor.offer(BTreeMap::from(specs));
    supervisor
}

async fn until_running(supervisor: &Supervisor, expected: &[(&str, usize)]) {
    let expected: BTreeMap<String, usize> = expected
        .iter()
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect();
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let mut running = BTreeMap::new();
        for worker in supervisor.workers() {
            *running.entry(worker.name).or_insert(0) += 1;
        }
        if running == expected {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{running:?} instead of {expected:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn this_nodes_share_runs_and_follows_the_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let supervisor = supervisor(dir.path());
    let mut ledger = Ledger::default();
    grant(&mut ledger, target(KIND, "a"), 10, 2);
    grant(&mut ledger, target(KIND, "b"), 11, 1);
    grant(&mut ledger, target("Deployment", "a"), 12, 4);
    grant(&mut ledger, target(KIND, "elsewhere"), 12, 0);
    actuate::apply(&ledger.part(ME), &supervisor, &|_| false);
    until_running(&supervisor, &[("a", 2), ("b", 1)]).await;
    let before = supervisor.workers();
    actuate::apply(&ledger.part(ME), &supervisor, &|_| false);
    grant(&mut ledger, target(KIND, "b"), 13, 2);
    actuate::apply(&ledger.part(ME), &supervisor, &|_| false);
    until_running(&supervisor, &[("a", 2), ("b", 2)]).await;
    let pids: Vec<u32> = supervisor
        .workers()
        .iter()
        .map(|worker| worker.pid)
        .collect();
    assert!(before.iter().all(|worker| pids.contains(&worker.pid)));
    assert!(!supervisor.names().contains("elsewhere"));

    ledger.workloads.remove(&target(KIND, "a"));
    ledger.index = 20;
    actuate::apply(&ledger.part(ME), &supervisor, &|_| false);
    until_running(&supervisor, &[("b", 2)]).await;
    grant(&mut ledger, target(KIND, "a"), 21, 1);
    actuate::apply(&ledger.part(ME), &supervisor, &|_| false);
    until_running(&supervisor, &[("a", 1), ("b", 2)]).await;
    supervisor.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_a_ledger_that_lags_behind_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let supervisor = supervisor(dir.path());
    let mut old = Ledger::default();
    grant(&mut old, target(KIND, "a"), 10, 3);
    let mut new = Ledger::default();
    grant(&mut new, target(KIND, "a"), 12, 1);
    actuate::apply(&new.part(ME), &supervisor, &|_| false);
    actuate::apply(&old.part(ME), &supervisor, &|_| false);
    actuate::apply(&Ledger::default().part(ME), &supervisor, &|_| false);
    // A sentinel that is carried out after whatever the older ones asked for.
    grant(&mut new, target(KIND, "b"), 13, 1);
    actuate::apply(&new.part(ME), &supervisor, &|_| false);
    until_running(&supervisor, &[("a", 1), ("b", 1)]).await;
    supervisor.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_and_a_workload_without_a_grant_are_left_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let first = supervisor(dir.path());
    let mut ledger = Ledger::default();
    grant(&mut ledger, target(KIND, "a"), 10, 2);
    put_policy(&mut ledger, "a", false);
    actuate::apply(&ledger.part(ME), &first, &|_| false);
    until_running(&first, &[("a", 2)]).await;
    put_policy(&mut ledger, "a", true);
    grant(&mut ledger, target(KIND, "a"), 11, 0);
    grant(&mut ledger, target(KIND, "b"), 12, 1);
    actuate::apply(&ledger.part(ME), &first, &|_| false);
    until_running(&first, &[("a", 2), ("b", 1)]).await;
    drop(first);

    // The next agent finds them under a dry run and without any grant.
    let second = supervisor(dir.path());
    ledger
        .workloads
        .insert(target(KIND, "b"), Workload::default());
    actuate::apply(&ledger.part(ME), &second, &|_| false);
    until_running(&second, &[("a", 2), ("b", 1)]).await;
    put_policy(&mut ledger, "a", false);
    actuate::apply(&ledger.part(ME), &second, &|_| false);
    until_running(&second, &[("b", 1)]).await;
    second.stop_all().await;
}

#[tokio::test]
async fn in_a_rebuilt_cluster_nothing_that_runs_is_ended_before_it_acts_again() {
    let dir = tempfile::tempdir().unwrap();
    let supervisor = supervisor(dir.path());
    let mut ledger = Ledger {
        generation: 1,
        ..Ledger::default()
    };
    grant(&mut ledger, target(KIND, "a"), 5, 3);
    grant(&mut ledger, target(KIND, "b"), 5, 1);
    actuate::apply(&ledger.part(ME), &supervisor, &|_| false);
    until_running(&supervisor, &[("a", 3), ("b", 1)]).await;

    // What it goes on from knows less of one, more of the other, and of neither's end.
    let mut former = Ledger {
        generation: 1,
        ..Ledger::default()
    };
    grant(&mut former, target(KIND, "a"), 2, 1);
    former.rebuild(2, "0.1.0");
    drop(supervisor);
    let supervisor = self::supervisor(dir.path());
    let rests = |it: &Target| former.keeps(it, former.time);
    actuate::apply(&former.part(ME), &supervisor, &rests);
    actuate::apply(&former.part(ME), &supervisor, &rests);
    until_running(&supervisor, &[("a", 3), ("b", 1)]).await;
    assert_eq!(supervisor.names().len(), 2);

    actuate::apply(&former.part(ME), &supervisor, &|_| false);
    until_running(&supervisor, &[("a", 1)]).await;
    supervisor.stop_all().await;
}
