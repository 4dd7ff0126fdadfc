//! The nodes of most voters are gone for good; the cluster goes on from an agent's log by
//! command.

use std::thread;
use std::time::Duration;

use serde_json::Value;
use starling_kubernetes_rig::Cluster;
use starling_tests::installed::{
    Installed, Member, NODES, SYSTEM, await_agents, last, text, until,
};
use starling_tests::workload::{cpu_policy, deployment};

const SOON: Duration = Duration::from_mins(3);
const SIZE: u64 = 3;

/// As a person would do it.
fn recover(cluster: &Cluster, pod: &str) -> Result<String, String> {
    let words = ["exec", pod, "-n", SYSTEM, "--container", "agent", "--"];
    let recover = ["starling", "recover", "--cluster", "starling"];
    let said = cluster.kubectl([&words[..], &recover].concat());
    said.map_err(|why| why.to_string())
}

/// What the cluster object says: the generation, and whose log it goes on from.
fn object(cluster: &Cluster) -> (String, String) {
    let object = cluster.get(["configmap", "starling-cluster", "-n", SYSTEM]);
    let data = &object.unwrap()["data"];
    (text(&data["generation"]), text(&data["recoveredBy"]))
}

fn await_status(
    installed: &Installed,
    what: &str,
    right: impl Fn(&Value) -> bool,
    always: impl Fn(),
) -> Value {
    until(&installed.cluster, what, SOON, |_| {
        always();
        Ok(installed.starling(&["status"]).and_then(|status| {
            if right(&status) {
                Ok(status)
            } else {
                Err(status.to_string())
            }
        }))
    })
}

#[test]
fn after_the_loss_of_most_voters_for_good_one_agent_goes_on_by_command_and_sizes_stay() {
    let Some(installed) = last() else { return };
    let (cluster, namespace) = (&installed.cluster, "recover");
    installed.namespace(namespace);
    // Each pod uses 60 % whatever happens to the others, so that this size is right.
    installed.apply(namespace, &deployment("web", 3, 60));
    installed.await_rollout(namespace, "web");
    // A cluster that was rebuilt changes no size for two polling intervals. These 40 s are
    // long enough for both its status and the policy's explanation to be asked for meanwhile.
    let steady = "  behavior: {scaleUp: {stabilizationWindowSeconds: 15}}\n  pollingInterval: 20";
    installed.apply(namespace, &cpu_policy("Deployment", "web", steady));
    installed.await_condition(namespace, "web", "Ready");
    let (voters, learners) = installed.await_members("three of five vote", SOON, |all| {
        let names = |with: fn(&Member) -> bool| -> Vec<String> {
            let of = all.iter().filter(|it| with(it));
            of.map(|it| it.name.clone()).collect()
        };
        let voters = names(Member::votes);
        let learners = names(|it| it.role == "learner");
        (voters.len() == 3 && learners.len() == 2 && all.len() == 5).then_some((voters, learners))
    });
    let asked = [&voters[2], &learners[0]];
    let pods = asked.map(|node| installed.agent_on(node));
    let early = recover(cluster, &pods[0]).unwrap_err();
    // While the agents elect another one nobody is heard, and a majority answers.
    let refused = ["hears a leader", "which is a majority"];
    assert!(refused.iter().any(|it| early.contains(it)), "{early}");
    assert_eq!(object(cluster), ("1".into(), String::new()));

    for node in &voters[..2] {
        cluster.delete_node(node).unwrap();
    }
    let stays = || assert_eq!(installed.size(namespace, "deploy", "web"), SIZE);
    let unled = |status: &Value| status["state"] == "no_quorum";
    await_status(&installed, "no quorum is left", unled, stays);

    // Two people at once: one goes on, the other hears of it.
    let said = thread::scope(|scope| {
        let both = pods.iter().map(|pod| scope.spawn(|| recover(cluster, pod)));
        let both: Vec<_> = both.collect();
        both.into_iter()
            .map(|one| one.join().unwrap())
            .collect::<Vec<_>>()
    });
    let (generation, by) = object(cluster);
    assert_eq!(generation, "2", "{said:?}");
    let loser = usize::from(by == *asked[0]);
    assert_eq!(by, *asked[1 - loser], "{said:?}");
    let why = said[loser].as_ref().unwrap_err();
    let clear = [
        "was first",
        "goes on with the cluster",
        "rebuilt already",
        "holds more",
        // Its agent has heard of the other one meanwhile and ended, the command with it. That
        // this agent comes over is looked at below.
        "exit code 137",
        "container not found",
        "error dialing backend",
        "unable to upgrade connection",
        "EOF",
    ];
    assert!(clear.iter().any(|words| why.contains(words)), "{why}");

    let goes_on = |status: &Value| status["generation"] == 2 && status["leader"].is_string();
    let rests = |status: &Value| goes_on(status) && !status["safe_mode_left_ms"].is_null();
    await_status(&installed, "it goes on, and rests", rests, stays);
    until(cluster, "why nothing changes is said", SOON, |_| {
        let explained = installed.starling(&["explain", "web", "-n", namespace]);
        Ok(explained.and_then(|explained| {
            let text = explained.to_string();
            text.contains("ClusterRebuilt").then_some(()).ok_or(text)
        }))
    });
    let acts = |status: &Value| goes_on(status) && status["safe_mode_left_ms"].is_null();
    await_status(&installed, "two windows were seen", acts, stays);
    installed.await_rollout(namespace, "web");
    stays();

    // The others have come over, and the dead are taken out.
    let lost = asked[loser].as_str();
    until(cluster, "the loser's agent comes over", SOON, |_| {
        let status = installed.starling(&["status", "--agent", lost]);
        Ok(status.and_then(|status| {
            let over = status["header"]["node"] == lost && goes_on(&status);
            over.then_some(()).ok_or_else(|| status.to_string())
        }))
    });
    installed.await_members("the survivors are members", SOON, |all| {
        let alive = all.iter().filter(|it| it.alive).count();
        (alive == 3).then_some(())
    });
    for node in &voters[..2] {
        installed.remove_member(node);
    }
    // The pods of nodes that are gone stay listed for a while.
    for node in &voters[..2] {
        let of_node = format!("--field-selector=spec.nodeName={node}");
        let words = ["delete", "pods", "-n", namespace, &of_node, "--force"];
        cluster.kubectl(words).unwrap();
    }
    installed.await_rollout(namespace, "web");
    installed.burn(namespace, "web", 250);
    installed.await_size(namespace, "deploy", "web", SOON, |size| size > SIZE);

    let added = cluster.add_nodes(2).unwrap();
    await_agents(cluster, NODES);
    installed.await_members("new nodes are members, and three vote", SOON, |all| {
        let there = |node: &String| all.iter().any(|it| it.name == *node && it.alive);
        let voting = all.iter().filter(|it| it.votes()).count();
        (added.iter().all(there) && all.len() == 5 && voting == 3).then_some(())
    });
    installed.forget(namespace);
}
