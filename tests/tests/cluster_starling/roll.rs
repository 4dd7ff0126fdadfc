//! Agents are replaced one by one, and nodes come and go; what runs stays right.

use std::collections::BTreeMap;
use std::time::Duration;

use starling_tests::installed::{Installed, NODES, SYSTEM, await_agents, installed, text, until};

const SOON: Duration = Duration::from_mins(1);
/// Each agent ends, starts and proves itself before the next one does.
const ROLL: Duration = Duration::from_mins(5);

/// The id of each member, by name.
fn members(installed: &Installed) -> BTreeMap<String, String> {
    let answer = installed.starling(&["members"]).unwrap();
    let list = answer["members"].as_array().or(answer.as_array()).unwrap();
    let known = list.iter().map(|m| (text(&m["name"]), m["id"].to_string()));
    known.collect()
}

#[test]
fn a_rolling_update_keeps_members_and_decides_on() {
    let Some(installed) = installed() else { return };
    let (cluster, namespace) = (&installed.cluster, "roll");
    installed.namespace(namespace);
    installed.web(namespace);
    let before = members(&installed);
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
    installed.burn(namespace, "web", 200);
    installed.await_size(namespace, "deploy", "web", SOON, |size| size >= 3);
    until(cluster, "every agent is new", ROLL, |cluster| {
        let status = &cluster.get(["daemonset", "starling", "-n", SYSTEM])?["status"];
        let count = |field: &str| status[field].as_u64().unwrap_or(0);
        // At no time may two voters be away.
        let unavailable = count("numberUnavailable");
        assert!(unavailable <= 1, "{status}");
        let wanted = u64::from(NODES);
        let done = count("updatedNumberScheduled") == wanted && count("numberReady") == wanted;
        Ok(if done {
            Ok(())
        } else {
            Err(status.to_string())
        })
    });
    assert_eq!(members(&installed), before);
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
    let before = members(&installed);
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
    assert_eq!(members(&installed), before);
    cluster.drain_node(&added).unwrap();
    cluster.delete_node(&added).unwrap();
    await_agents(cluster, NODES);
    // Otherwise it is remembered for a day, in the cluster of the other tests.
    until(cluster, "it is no member", Duration::from_mins(2), |_| {
        Ok(installed.starling(&["remove", &added]))
    });
    let mut left = before;
    left.remove(&added);
    assert_eq!(members(&installed), left);
}
