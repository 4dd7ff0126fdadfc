//! Agents are replaced one by one, and nodes come and go; what runs stays right.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use starling_tests::installed::{Installed, NODES, SYSTEM, await_agents, installed, text, until};

const SOON: Duration = Duration::from_mins(1);
/// Each agent ends, starts and proves itself before the next one does.
const ROLL: Duration = Duration::from_mins(5);
/// One that had no processor for some seconds is back by then, and counts as available
/// again; if two were replaced at a time, two would be away until the end.
const BOTH_AWAY: Duration = Duration::from_secs(30);

/// The id of each member, by name.
fn members(installed: &Installed) -> Result<BTreeMap<String, String>, String> {
    let answer = installed.starling(&["members"])?;
    let list = answer["members"].as_array().ok_or("no list")?;
    let known = list.iter().map(|m| (text(&m["name"]), m["id"].to_string()));
    Ok(known.collect())
}

/// Once an agent has answered.
fn members_now(installed: &Installed) -> BTreeMap<String, String> {
    until(&installed.cluster, "members are told", SOON, |_| {
        Ok(members(installed))
    })
}

/// Whichever agent answers: one that lags says it later.
fn await_members(installed: &Installed, right: &BTreeMap<String, String>) {
    until(&installed.cluster, "the members are these", SOON, |_| {
        let now = members(installed);
        Ok(now.and_then(|now| (now == *right).then_some(()).ok_or(format!("{now:?}"))))
    });
}

#[test]
fn a_rolling_update_keeps_members_and_decides_on() {
    let Some(installed) = installed() else { return };
    let (cluster, namespace) = (&installed.cluster, "roll");
    installed.namespace(namespace);
    installed.web(namespace);
    let before = members_now(&installed);
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
    let both_away = Cell::new(None);
    until(cluster, "every agent is new", ROLL, |cluster| {
        let status = &cluster.get(["daemonset", "starling", "-n", SYSTEM])?["status"];
        let count = |field: &str| status[field].as_u64().unwrap_or(0);
        // At no time may two voters be away.
        let now = Instant::now();
        let since = (count("numberUnavailable") > 1).then(|| both_away.get().unwrap_or(now));
        both_away.set(since);
        assert!(since.is_none_or(|it| it.elapsed() < BOTH_AWAY), "{status}");
        let wanted = u64::from(NODES);
        let done = count("updatedNumberScheduled") == wanted && count("numberReady") == wanted;
        Ok(if done {
            Ok(())
        } else {
            Err(status.to_string())
        })
    });
    await_members(&installed, &before);
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
    let before = members_now(&installed);
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
    await_members(&installed, &before);
    cluster.drain_node(&added).unwrap();
    cluster.delete_node(&added).unwrap();
    await_agents(cluster, NODES);
    // Otherwise it is remembered for a day, in the cluster of the other tests.
    installed.remove_member(&added);
    let mut left = before;
    left.remove(&added);
    await_members(&installed, &left);
}
