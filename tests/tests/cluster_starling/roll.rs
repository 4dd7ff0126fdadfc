//! Agents are replaced one by one, and nodes come and go; what runs stays right.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use starling_tests::installed::{
    Installed, NODES, SYSTEM, await_agents, installed, is_ready, text, until,
};

const SOON: Duration = Duration::from_mins(1);
/// Each agent ends, starts and proves itself before the next one does.
const ROLL: Duration = Duration::from_mins(5);

/// Until these are the members, by id. Whichever agent answers: one that lags says it later.
fn await_ids(installed: &Installed, right: &BTreeMap<String, u64>) {
    until(&installed.cluster, "the members are these", SOON, |_| {
        let now = installed.ids();
        Ok((now == *right).then_some(()).ok_or(format!("{now:?}")))
    });
}

/// Keeps `away` to the nodes on which the roll has ended an agent and none is ready again: a
/// node comes in once its pod is told to end while it is ready, and goes out once a pod on it
/// is ready and stays. A pod that isn't ready when it is told to end doesn't count: its agent
/// stalled, and Kubernetes replaces such a pod at once, whatever else is away.
fn follow(agents: &[Value], away: &mut BTreeSet<String>) {
    for pod in agents.iter().filter(|pod| is_ready(pod)) {
        let node = text(&pod["spec"]["nodeName"]);
        if pod["metadata"]["deletionTimestamp"].is_null() {
            away.remove(&node);
        } else {
            away.insert(node);
        }
    }
}

#[test]
fn a_rolling_update_keeps_members_and_decides_on() {
    let Some(installed) = installed() else { return };
    let (cluster, namespace) = (&installed.cluster, "roll");
    installed.namespace(namespace);
    installed.web(namespace);
    let before = installed.ids();
    // Agents that have been ready for less than `minReadySeconds` are replaced at once, as
    // after the test of a node that comes back.
    until(
        cluster,
        "every agent counts as available",
        SOON,
        |cluster| {
            let status = &cluster.get(["daemonset", "starling", "-n", SYSTEM])?["status"];
            let all = status["numberAvailable"] == NODES;
            Ok(all.then_some(()).ok_or_else(|| status.to_string()))
        },
    );
    let restart = ["rollout", "restart", "daemonset/starling", "-n", SYSTEM];
    cluster.kubectl(restart).unwrap();
    let away = RefCell::new(BTreeSet::new());
    let look = || {
        let mut away = away.borrow_mut();
        follow(&installed.agents(), &mut away);
        // At no time may two voters be away.
        assert!(away.len() <= 1, "away at once: {away:?}");
        away.len()
    };
    until(cluster, "the first agent is told to end", SOON, |_| {
        let none = || "none is".to_owned();
        Ok((look() == 1).then_some(()).ok_or_else(none))
    });
    // While agents are replaced, a workload becomes busy.
    installed.burn(namespace, "web", 200);
    installed.await_size(namespace, "deploy", "web", SOON, |size| size >= 3);
    until(cluster, "every agent is new", ROLL, |cluster| {
        look();
        let status = &cluster.get(["daemonset", "starling", "-n", SYSTEM])?["status"];
        let count = |field: &str| status[field].as_u64().unwrap_or(0);
        let wanted = u64::from(NODES);
        let done = count("updatedNumberScheduled") == wanted && count("numberReady") == wanted;
        Ok(if done {
            Ok(())
        } else {
            Err(status.to_string())
        })
    });
    await_ids(&installed, &before);
    installed.burn(namespace, "web", 0);
    installed.await_size(namespace, "deploy", "web", SOON, |size| size == 1);
    installed.forget(namespace);
}

#[test]
fn a_node_that_is_added_joins_and_one_that_comes_back_is_the_same_member() {
    let Some(installed) = installed() else { return };
    let cluster = &installed.cluster;
    let added = cluster.add_nodes(1).unwrap().remove(0);
    await_agents(cluster, NODES + 1);
    let before = installed.ids();
    assert!(before.contains_key(&added), "{before:?}");
    cluster.stop_node(&added).unwrap();
    until(
        cluster,
        "the node is missed",
        Duration::from_mins(2),
        |_| {
            Ok(match installed.starling(&["status"]) {
                Ok(status) if status["members_alive"] == u64::from(NODES) => Ok(()),
                Ok(status) => Err(status.to_string()),
                Err(why) => Err(why),
            })
        },
    );
    cluster.start_node(&added).unwrap();
    cluster.await_ready(std::slice::from_ref(&added)).unwrap();
    until(cluster, "it is back", Duration::from_mins(2), |_| {
        Ok(match installed.starling(&["status"]) {
            Ok(status) if status["members_alive"] == u64::from(NODES + 1) => Ok(()),
            Ok(status) => Err(status.to_string()),
            Err(why) => Err(why),
        })
    });
    await_ids(&installed, &before);
    cluster.drain_node(&added).unwrap();
    cluster.delete_node(&added).unwrap();
    await_agents(cluster, NODES);
    // Otherwise it is remembered for a day, in the cluster of the other tests.
    installed.remove_member(&added);
    let mut left = before;
    left.remove(&added);
    await_ids(&installed, &left);
}
