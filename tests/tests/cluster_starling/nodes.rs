//! A cluster loses most of its nodes and gets others. What runs stays right, and members
//! stay who they are.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use starling_kubernetes_rig::Cluster;
use starling_tests::installed::{Installed, await_agents, last, text, until};
use starling_tests::workload::{AT_ONCE, cpu_policy, deployment, number_policy};

const SOON: Duration = Duration::from_mins(2);
/// Voters change one at a time, each after ten seconds of quiet.
const VOTE: Duration = Duration::from_mins(3);

struct Member {
    id: u64,
    role: String,
    alive: bool,
}

fn members(installed: &Installed) -> Result<BTreeMap<String, Member>, String> {
    let answer = installed.starling(&["members"])?;
    let list = answer["members"].as_array().into_iter().flatten();
    let member = |it: &serde_json::Value| {
        let member = Member {
            id: it["id"].as_u64().unwrap(),
            role: text(&it["role"]),
            alive: it["alive"].as_bool().unwrap(),
        };
        (text(&it["name"]), member)
    };
    Ok(list.map(member).collect())
}

/// Until so many members are alive; all that there are.
fn await_alive(installed: &Installed, wanted: usize) -> BTreeMap<String, Member> {
    until(&installed.cluster, "members are alive", SOON, |_| {
        Ok(members(installed).and_then(|members| {
            let alive = members.values().filter(|member| member.alive).count();
            if alive == wanted {
                Ok(members)
            } else {
                Err(format!("{alive} of {wanted} are"))
            }
        }))
    })
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

    let before = until(cluster, "three members vote", SOON, |_| {
        Ok(members(&installed).and_then(|mut members| {
            // One that is gone may still be known from an earlier test.
            members.retain(|_, member| member.alive);
            let learning = members.values().filter(|it| it.role == "learner");
            match (learning.count(), members.len()) {
                (2, 5) => Ok(members),
                (learning, all) => Err(format!("{learning} of {all} members don't")),
            }
        }))
    });
    let with = |role: &str| -> Vec<String> {
        let of = before.iter().filter(|(_, member)| member.role == role);
        of.map(|(name, _)| name.clone()).collect()
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
    let after = await_alive(&installed, 7);
    // Two that are gone are forgotten after a day only.
    until(cluster, "five members vote", VOTE, |_| {
        Ok(members(&installed).and_then(|members| {
            let alive = members.values().filter(|member| member.alive);
            let voters = alive.filter(|member| member.role != "learner").count();
            let dead = members
                .values()
                .filter(|it| !it.alive && it.role != "learner");
            match (voters, dead.count()) {
                (5, 0) => Ok(()),
                (voters, dead) => Err(format!("{voters} vote, and {dead} that are gone")),
            }
        }))
    });
    let ids: BTreeSet<u64> = before.values().map(|member| member.id).collect();
    for name in &added {
        assert!(!ids.contains(&after[name].id), "{name} is another member");
    }
    for (name, member) in &before {
        assert_eq!(after[name].id, member.id, "{name} is the same member");
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
