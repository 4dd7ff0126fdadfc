//! `kubectl apply` of the manifests and of what the chart gives, and what there is then.

use std::time::Duration;

use starling_kubernetes_rig::turn;
use starling_tests::installed::{Installed, NODES, SYSTEM, chart, installed, until};

const SOON: Duration = Duration::from_mins(1);

#[test]
fn five_nodes_have_five_agents_three_voters_and_one_leader() {
    let Some(installed) = installed() else { return };
    eprintln!(
        "agents were ready {:?} after kubectl apply",
        installed.ready_after
    );
    until(
        &installed.cluster,
        "all agents are members, and three of them vote",
        Duration::from_mins(1),
        |_| {
            let status = match installed.starling(&["status"]) {
                Ok(status) => status,
                Err(why) => return Ok(Err(why)),
            };
            let voters = status["voters"].as_array().map_or(0, Vec::len);
            let members = status["members"].as_u64().unwrap_or(0);
            Ok(if (voters, members) == (3, u64::from(NODES)) {
                Ok(())
            } else {
                Err(status.to_string())
            })
        },
    );
    let leader = installed.leader();
    assert!(installed.cluster.nodes().contains(&leader), "{leader}");
}

#[test]
fn an_agent_runs_without_rights() {
    let Some(installed) = installed() else { return };
    let pod = installed.agent_on("node1");
    let status =
        installed
            .cluster
            .pod_exec(SYSTEM, &pod, &["/usr/local/bin/starling", "--version"]);
    assert!(status.unwrap().starts_with("starling"));
    let spec = installed.cluster.get(["pod", &pod, "-n", SYSTEM]).unwrap();
    let context = &spec["spec"]["containers"][0]["securityContext"];
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["readOnlyRootFilesystem"], true);
    assert!(spec["spec"]["hostNetwork"].is_null());
}

#[test]
fn what_the_chart_gives_is_applied_and_sizes_a_deployment() {
    let Some(_turn) = turn::alone() else { return };
    // A cluster of its own, which ends with the test.
    let installed = Installed::start(2, &chart(&[]));
    eprintln!("agents were ready after {:?}", installed.ready_after);
    let namespace = "chart";
    installed.namespace(namespace);
    installed.web(namespace);
    installed.burn(namespace, "web", 200);
    installed.await_size(namespace, "deploy", "web", SOON, |size| size == 3);
    until(&installed.cluster, "both agents are alive", SOON, |_| {
        Ok(installed.starling(&["status"]).and_then(|status| {
            let both = status["members_alive"] == 2;
            both.then_some(()).ok_or_else(|| status.to_string())
        }))
    });
}
