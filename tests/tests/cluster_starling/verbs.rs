//! `kubectl exec` into one agent's pod is enough for all that the command line can ask.

use std::process::Command;
use std::time::Duration;

use starling_tests::installed::{NODES, installed, text, until};

const SOON: Duration = Duration::from_mins(1);

#[test]
fn every_question_can_be_asked_through_one_pod_and_reaches_all_agents() {
    let Some(installed) = installed() else { return };
    let namespace = "verbs";
    installed.namespace(namespace);
    let cluster = &installed.cluster;
    installed.web(namespace);
    installed.burn(namespace, "web", 200);
    installed.await_size(namespace, "deploy", "web", SOON, |size| size == 3);
    let of_web = ["web", "-n", namespace];
    let questions: [&[&str]; 11] = [
        &["status"],
        &["members"],
        &["policies"],
        &["workloads"],
        &["decisions"],
        &["raft", "peers"],
        &["top", "nodes"],
        &["top", "pods"],
        &["top", "workloads"],
        &["policies", "-n", namespace],
        &[&["explain"], &of_web[..]].concat(),
    ];
    for question in questions {
        let answer = installed.told(question);
        assert!(!answer.is_null(), "{question:?}");
    }
    // One that was made anew by an earlier test may have joined just now.
    until(cluster, "each agent says how much it logs", SOON, |_| {
        Ok(installed.starling(&["log-level"]).and_then(|told| {
            let all = told["agents"].as_array().map_or(0, Vec::len);
            (all == usize::from(NODES))
                .then_some(())
                .ok_or_else(|| told.to_string())
        }))
    });
    for node in installed.cluster.nodes() {
        let asked = installed.told(&["status", "--agent", &node]);
        assert_eq!(text(&asked["header"]["node"]), node, "{asked}");
    }

    let file = tempfile::NamedTempFile::new().unwrap();
    let save = ["raft", "snapshot", "save", "-"];
    let mut save = installed.plugin(&save);
    let saved = save.stdout(file.reopen().unwrap()).status().unwrap();
    assert!(saved.success());
    let inspected = Command::new(starling_tests::binary())
        .args(["raft", "snapshot", "inspect", "-", "-o", "json"])
        .stdin(file.reopen().unwrap())
        .output()
        .unwrap();
    let held: serde_json::Value = serde_json::from_slice(&inspected.stdout).unwrap();
    assert_eq!(
        held["members"].as_array().unwrap().len(),
        usize::from(NODES)
    );
    assert!(held["policies"].as_u64().unwrap() >= 1, "{held}");
    installed.forget(namespace);
}
