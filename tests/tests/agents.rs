//! Three real agents with real workers, and what users see when agents die,
//! files are broken or a quorum is lost.
#![allow(clippy::expect_used)] // A helper that finds nothing has failed its test.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use starling_rig::cluster::Cluster;
use starling_rig::cluster::files::{Documents, Files};
use starling_rig::observe::Observer;
use starling_tests::sleepers::{self, PROCESS, policy};
use starling_tests::{Away, DEADLINE, answer, binary, in_three_tries, until};

struct Bench {
    cluster: Cluster,
    observer: Observer,
}

impl Bench {
    /// Three agents that run `min` workers, which need no CPU.
    async fn start(min: u32) -> Bench {
        let mut cluster = sleepers::three();
        let observer = sleepers::start(&mut cluster, min as usize).await;
        Bench { cluster, observer }
    }

    /// Waits until so many workers are in the process table, and gives their pids.
    ///
    /// # Panics
    ///
    /// At the deadline, with what is there and what each agent says of it.
    async fn workers(&mut self, count: usize) -> BTreeSet<u32> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let pids = sleepers::workers(&mut self.cluster);
            if pids.len() == count {
                return pids;
            }
            if Instant::now() > deadline {
                let mut said = Vec::new();
                for position in 0..self.observer.agents() {
                    let granted = self.observer.granted(position, "web").await;
                    let running = self.observer.running(position, "web").await;
                    said.push((granted, running, self.observer.decisions(position).await));
                }
                panic!(
                    "{count} workers should run, {} do; agents say {said:#?}",
                    pids.len()
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The position of an agent that says it leads.
    async fn leader(&self) -> usize {
        let observer = &self.observer;
        until("somebody leads", || async {
            let statuses = observer.statuses().await;
            statuses.iter().position(|status| {
                status
                    .as_ref()
                    .is_some_and(|s| s.leader_id == Some(s.node_id))
            })
        })
        .await
    }

    /// Replaces the policy in one agent's directory.
    fn edit(&self, position: usize, yaml: &str) {
        let names = self.cluster.names();
        Files::new(self.cluster.dir(), &names[position])
            .write_documents("policies", yaml)
            .expect("written");
    }
}

#[tokio::test]
async fn a_policy_outlives_its_leader_and_its_workers_outlive_their_agent() {
    in_three_tries("it is back before it is lost", async || {
        let mut bench = Bench::start(4).await;
        let leader = bench.leader().await;
        let mut away = Away::begin(&mut bench.cluster, &[leader], 4).await;
        bench.cluster.kill(leader).await;
        let next = until("another agent leads", || async {
            let position = bench.leader().await;
            (position != leader).then_some(position)
        })
        .await;
        assert_ne!(next, leader);
        // The dead agent's workers run on.
        away.kept(&mut bench.cluster)?;

        let observer = bench.observer.clone();
        let alive = async |wanted: u32| {
            until(&format!("{wanted} members are alive"), || async {
                let status = observer.status(next).await.ok()?;
                (status.members_alive == wanted).then_some(())
            })
            .await;
        };
        alive(2).await;
        bench.cluster.restart(leader).expect("it starts");
        answer(|| observer.status(leader)).await;
        away.over();
        alive(3).await;
        let caught_up = bench.cluster.caught_up(leader, &observer).await;
        caught_up.expect("it catches up");
        bench.edit(0, &policy(6, 12));
        let after = bench.workers(6).await;
        // Adopted, not replaced.
        away.others_kept(&after);
        away.unless_lost(after.is_superset(&away.all))?;
        bench.cluster.stop_all().await;
        assert_eq!(bench.cluster.sample().workers.len(), 0);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn i8_without_a_quorum_nothing_changes_and_with_one_it_does_again() {
    let mut bench = Bench::start(3).await;
    let before = bench.workers(3).await;
    let left = bench.leader().await;
    let others: Vec<usize> = (0..3).filter(|position| *position != left).collect();
    for position in &others {
        bench.cluster.kill(*position).await;
    }
    // A leader without a quorum stops acting, and knows it.
    let observer = bench.observer.clone();
    until("the last agent has no quorum", || async {
        let status = observer.status(left).await.ok()?;
        (!status.acting).then_some(())
    })
    .await;
    bench.edit(left, &policy(8, 12));
    for _ in 0..20 {
        let workers = bench.workers(3).await;
        assert_eq!(workers, before);
        let status = answer(|| observer.status(left)).await;
        assert!(!status.acting);
    }
    for position in others {
        bench.cluster.restart(position).expect("it starts");
    }
    bench.workers(8).await;
}

#[tokio::test]
async fn a_broken_policy_file_is_reported_and_the_last_good_one_stays_in_force() {
    let mut bench = Bench::start(2).await;
    bench.edit(0, &policy(9, 3));
    let observer = bench.observer.clone();
    let warning = until("the file is refused", || async {
        let status = observer.status(0).await.ok()?;
        let mut warnings = status.warnings.into_iter();
        warnings.find(|warning| warning.contains("minReplicaCount"))
    })
    .await;
    assert!(warning.contains("policies.yaml"), "{warning}");
    assert_eq!(answer(|| observer.granted(0, "web")).await, 2);
    bench.workers(2).await;
    bench.edit(0, &policy(5, 6));
    bench.workers(5).await;
}

#[tokio::test]
async fn a_worker_command_that_does_not_exist_is_reported() {
    let mut cluster = Cluster::new(&binary(), 1).expect("a cluster");
    let documents = Documents {
        each: PROCESS.replace("[sleep, '600']", "[/no/such/command]"),
        first: policy(1, 2),
    };
    let observer = cluster.start(&documents).await.expect("it forms");
    let warning = until("the command is reported", || async {
        let status = observer.status(0).await.ok()?;
        let mut warnings = status.warnings.into_iter();
        warnings.find(|warning| warning.contains("/no/such/command"))
    })
    .await;
    assert!(warning.contains("web"), "{warning}");
}
