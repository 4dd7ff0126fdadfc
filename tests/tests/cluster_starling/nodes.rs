//! A cluster loses most of its nodes and gets others. What runs stays right, and members
//! stay who they are.

use std::collections::BTreeSet;
use std::time::Duration;

use starling_kubernetes_rig::Cluster;
use starling_tests::installed::{Installed, Member, await_agents, last, until};
use starling_tests::workload::{AT_ONCE, cpu_policy, deployment, number_policy};

const SOON: Duration = Duration::from_mins(2);
/// Voters change one at a time, each after ten seconds of quiet.
const VOTE: Duration = Duration::from_mins(3);

/// Until so many members are alive.
fn await_alive(installed: &Installed, wanted: usize) {
    let what = format!("{wanted} members are alive");
    installed.await_members(&what, SOON, |all| {
        let alive = all.iter().filter(|it| it.alive).count();
        (alive == wanted).then_some(())
    });
}

/// Until a Deployment has this size and as many pods are ready.
fn await_ready(cluster: &Cluster, namespace: &str, deployment: &str, replicas: u64) {
    let what = format!("{deployment} has {replicas} replicas");
    until(cluster, &what, SOON, |cluster| {
        let found = cluster.get(["deploy", deployment, "-n", namespace])?;
        let right = found["spec"]["replicas"] == replicas
            && found["status"]["readyReplicas"] == replicas
            && found["status"]["replicas"] == replicas;
        Ok(if right {
            Ok(())
        } else {
            Err(found["status"].to_string())
        })
    });
}

#[test]
fn from_five_nodes_to_two_and_to_seven_sizes_stay_right_and_members_are_the_same() {
    let Some(installed) = last() else { return };
    let (cluster, namespace) = (&installed.cluster, "nodes");
    installed.namespace(namespace);
    // Each of three pods uses 60 % whatever happens to the others. That size stays, while
    // what is measured of them comes and goes: the start of a pod in another's place is
    // more work than the pod, for a few seconds.
    let yaml = format!(
        "{}---{}",
        deployment("web", 3, 60),
        deployment("worker", 1, 0)
    );
    installed.apply(namespace, &yaml);
    installed.await_rollout(namespace, "web");
    let steady = "  behavior: {scaleUp: {stabilizationWindowSeconds: 15}}";
    installed.apply(namespace, &cpu_policy("Deployment", "web", steady));
    let address = installed.source(namespace, 25);
    let policy = number_policy("worker", &address, AT_ONCE);
    installed.apply(namespace, &policy);
    await_ready(cluster, namespace, "worker", 3);
    await_ready(cluster, namespace, "web", 3);

    let before = installed.await_members("three of five members vote", SOON, |all| {
        // One that is gone may still be known from an earlier test.
        let alive: Vec<Member> = all.iter().filter(|it| it.alive).cloned().collect();
        let learning = alive.iter().filter(|it| it.role == "learner").count();
        (alive.len() == 5 && learning == 2).then_some(alive)
    });
    let with = |role: &str| -> Vec<String> {
        let of = before.iter().filter(|it| it.role == role);
        of.map(|it| it.name.clone()).collect()
    };
    for (left, learner) in [(4, &with("learner")[0]), (3, &with("learner")[1])] {
        cluster.drain_node(learner).unwrap();
        cluster.delete_node(learner).unwrap();
        await_alive(&installed, left);
        await_ready(cluster, namespace, "worker", 3);
        await_ready(cluster, namespace, "web", 3);
    }
    // Two of three voters are a majority.
    let voter = with("voter").remove(0);
    cluster.drain_node(&voter).unwrap();
    cluster.withdraw_node(&voter).unwrap();
    await_alive(&installed, 2);
    await_agents(cluster, 2);
    await_ready(cluster, namespace, "web", 3);
    installed.await_rollout(namespace, "source");
    installed.tell(namespace, "source", "number", 15);
    await_ready(cluster, namespace, "worker", 2);

    let added = cluster.add_nodes(4).unwrap();
    cluster.start_node(&voter).unwrap();
    await_agents(cluster, 7);
    await_alive(&installed, 7);
    // Two that are gone are forgotten after a day only.
    installed.await_members("five members vote, all of them alive", VOTE, |all| {
        let mut voters = all.iter().filter(|it| it.votes());
        (voters.clone().count() == 5 && voters.all(|it| it.alive)).then_some(())
    });
    let after = installed.ids();
    let ids: BTreeSet<u64> = before.iter().map(|it| it.id).collect();
    for name in &added {
        assert!(!ids.contains(&after[name]), "{name} is another member");
    }
    for Member { name, id, .. } in &before {
        assert_eq!(after[name], *id, "{name} is the same member");
    }
    installed.tell(namespace, "source", "number", 45);
    await_ready(cluster, namespace, "worker", 5);
    await_ready(cluster, namespace, "web", 3);
    // Nothing that was missed or came anew on the way has moved them.
    let none: [(u64, u64); 0] = [];
    assert_eq!(installed.changes(namespace, "web"), none);
    let changes = installed.changes(namespace, "worker");
    assert_eq!(changes, [(1, 3), (3, 2), (2, 5)]);
    installed.forget(namespace);
}
