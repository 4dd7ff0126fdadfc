//! Leaders are killed and cut off; another one goes on, and nothing is lost.

use std::time::{Duration, Instant};

use starling_kubernetes_rig::Cut;

use starling_tests::installed::{Installed, NODES, SYSTEM, await_agents, installed, text, until};

const SOON: Duration = Duration::from_mins(1);

fn start(installed: &Installed, namespace: &str) {
    installed.namespace(namespace);
    installed.web(namespace);
}

/// Another agent than `former` leads.
fn await_another(installed: &Installed, former: &str) -> String {
    until(&installed.cluster, "another agent leads", SOON, |_| {
        Ok(match installed.starling(&["status"]) {
            Ok(status) => {
                let leader = status["leader"]["name"]
                    .as_str()
                    .or(status["leader"].as_str());
                match leader {
                    Some(name) if !name.is_empty() && name != former => Ok(name.to_owned()),
                    _ => Err(status.to_string()),
                }
            }
            Err(why) => Err(why),
        })
    })
}

#[test]
fn i1_i6_a_leader_killed_during_a_scale_up_is_replaced_and_the_size_comes_out_right() {
    let Some(installed) = installed() else { return };
    start(&installed, "kill");
    let leader = installed.leader();
    let pod = installed.agent_on(&leader);
    installed.burn("kill", "web", 200);
    let began = Instant::now();
    installed.cluster.kill_pod(SYSTEM, &pod).unwrap();
    installed.await_size("kill", "deploy", "web", SOON, |size| size == 3);
    eprintln!("from the kill to the right size: {:?}", began.elapsed());
    await_agents(&installed.cluster, NODES);
    installed.forget("kill");
}

#[test]
fn i1_a_leader_whose_node_is_cut_off_is_replaced_and_writes_nothing_more() {
    let Some(installed) = installed() else { return };
    start(&installed, "cut");
    let leader = installed.leader();
    installed.cluster.cut(&leader, Cut::Both).unwrap();
    let pods = installed.pods("cut", "app=web");
    let elsewhere = pods[0]["spec"]["nodeName"] != leader.as_str();
    if elsewhere {
        installed.burn("cut", "web", 200);
        // A pod on the node that is cut off counts as busy, as with HPA: more than
        // the three that the load calls for may stay until it is heard again.
        installed.await_size("cut", "deploy", "web", SOON, |size| size >= 3);
    }
    let next = await_another(&installed, &leader);
    installed.cluster.heal(&leader).unwrap();
    assert_ne!(next, leader);
    installed
        .cluster
        .await_ready(&installed.cluster.nodes())
        .unwrap();
    await_agents(&installed.cluster, NODES);
    if elsewhere {
        installed.await_size("cut", "deploy", "web", SOON, |size| size == 3);
    }
    installed.forget("cut");
}

#[test]
fn an_agent_that_is_deleted_comes_back_as_the_same_member() {
    let Some(installed) = installed() else { return };
    let members = || {
        let members = installed.starling(&["members"]).unwrap();
        let members = members["members"]
            .as_array()
            .or(members.as_array())
            .unwrap()
            .clone();
        let known = members
            .iter()
            .map(|m| (text(&m["name"]), m["id"].to_string()));
        let mut known: Vec<_> = known.collect();
        known.sort();
        known
    };
    let before = members();
    let pod = installed.agent_on("node2");
    installed
        .cluster
        .kubectl(["delete", "pod", &pod, "-n", SYSTEM])
        .unwrap();
    await_agents(&installed.cluster, NODES);
    assert_eq!(members(), before);
}
