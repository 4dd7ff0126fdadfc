//! The commands that ask agents, with the real binary against real agents.
#![allow(clippy::expect_used)] // A helper that finds nothing has failed its test.

use std::path::{Path, PathBuf};

use starling_rig::cluster::Cluster;
use starling_rig::cluster::files::Documents;
use starling_tests::command::{context, starling};
use starling_tests::{binary, until};

const PROCESS: &str = "\
apiVersion: starling.sh/v1alpha1
kind: Process
metadata: {name: web}
spec:
  command: [sleep, '600']
  requests: {cpu: 100m}
";

/// Its trigger can't answer, so the fallback decides.
const POLICY: &str = "\
apiVersion: starling.sh/v1alpha1
kind: ScalingPolicy
metadata: {name: web}
spec:
  scaleTargetRef: {kind: Process, name: web}
  minReplicaCount: 1
  maxReplicaCount: 5
  pollingInterval: 1
  fallback: {failureThreshold: 1, replicas: 3}
  triggers:
  - type: metrics-api
    metadata: {url: 'http://127.0.0.1:1/none', valueLocation: q, targetValue: '10'}
";

async fn start() -> (Cluster, PathBuf) {
    let mut cluster = Cluster::new(&binary(), 3).expect("a cluster");
    let documents = Documents {
        each: PROCESS.into(),
        first: POLICY.into(),
    };
    cluster.start(&documents).await.expect("it forms");
    let context = context(&cluster);
    (cluster, context)
}

#[tokio::test]
async fn every_command_answers_and_failures_have_codes_and_words() {
    let (mut cluster, context) = start().await;
    let decisions = until("the fallback is decided", || async {
        let said = starling(&context, &["decisions", "web"]).await;
        said.out.contains("fallback of 3 replicas").then_some(said)
    })
    .await;
    assert!(decisions.out.starts_with("INDEX "), "{}", decisions.out);
    let explained = starling(&context, &["explain", "web"]).await;
    assert!(
        explained.out.contains("What would change the size:"),
        "{}",
        explained.out
    );
    let reads: [&[&str]; 7] = [
        &["status"],
        &["members"],
        &["top", "nodes"],
        &["top", "workloads"],
        &["top", "pods"],
        &["policies"],
        &["decisions"],
    ];
    for read in reads {
        for agent in cluster.names() {
            let said = starling(
                &context,
                &[read, &["-o", "json", "--agent", &agent]].concat(),
            )
            .await;
            // Members that are new show that they stay before they vote.
            let forming = read[0] == "status" && said.code == Some(1);
            assert!(said.code == Some(0) || forming, "{read:?}: {}", said.err);
            let json: serde_json::Value = serde_json::from_str(&said.out).expect("JSON");
            assert_eq!(json["header"]["node"], agent.as_str(), "{read:?}");
        }
    }

    // The fallback's three workers, wherever they run.
    until("all workers are listed and measured", || async {
        let pods = pods(&context).await["pods"].as_array()?.clone();
        let measured = |pod: &serde_json::Value| pod["usage"]["memory"]["used"].as_u64() > Some(0);
        let all = pods.len() == 3 && pods.iter().all(measured);
        all.then_some(())
    })
    .await;
    let sorted = ["top", "pods", "--sort-by", "memory", "--filter", "/web"];
    let sorted = starling(&context, &[&sorted[..], &["-o", "wide"]].concat()).await;
    assert!(sorted.out.contains("Process/web"), "{}", sorted.out);
    assert_eq!(sorted.out.lines().count(), 4, "{}", sorted.out);

    let failing: [(&[&str], i32, &str); 5] = [
        (
            &["top", "pods", "--consistency", "leader"],
            2,
            "says nothing of pods",
        ),
        (&["explain", "none"], 4, "no policy is called \"none\""),
        (&["status", "--agent", "none"], 4, "it names agent-1"),
        (&["status", "--context", "none"], 1, "none"),
        (
            &["top", "cats"],
            2,
            "possible values: nodes, workloads, pods",
        ),
    ];
    for (args, code, words) in failing {
        let said = starling(&context, args).await;
        assert_eq!(said.code, Some(code), "{args:?}: {}", said.err);
        assert!(said.err.contains(words), "{args:?}: {}", said.err);
        assert_eq!(said.out, "", "{args:?}");
    }

    // Any agent that lives answers; one that is dead, asked by name, doesn't.
    let said = starling(&context, &["status", "--wait", "60s"]).await;
    assert_eq!(said.code, Some(0), "{}", said.out);
    assert!(said.out.contains("State:       healthy\n"), "{}", said.out);
    cluster.kill(0).await;
    let said = until("somebody else leads and the dead one is named", || async {
        let said = starling(&context, &["status"]).await;
        (said.code == Some(1)).then_some(said)
    })
    .await;
    let words = "degraded: who votes and doesn't answer: agent-1\n";
    assert!(said.out.contains(words), "{}", said.out);
    let said = starling(&context, &["status", "--agent", "agent-1"]).await;
    assert_eq!(said.code, Some(5), "{}", said.err);
    until("the dead agent's pods are said to be missing", || async {
        let silent = &pods(&context).await["silent_nodes"];
        (silent[0]["node"] == "agent-1" && silent[1].is_null()).then_some(())
    })
    .await;

    // One of three voters elects nobody, whatever it knew before.
    cluster.kill(1).await;
    until("the last one says who is missing", || async {
        let said = starling(&context, &["status", "-o", "json"]).await;
        let json: serde_json::Value = serde_json::from_str(&said.out).ok()?;
        let missing = serde_json::json!(["agent-1", "agent-2"]);
        let told = json["state"] == "no_quorum" && json["missing_voters"] == missing;
        (said.code == Some(2) && told && json["header"]["led"] == false).then_some(())
    })
    .await;
    let said = starling(&context, &["policies"]).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(
        said.err.contains("no leader stands behind this"),
        "{}",
        said.err
    );
}

async fn pods(context: &Path) -> serde_json::Value {
    let said = starling(context, &["top", "pods", "-o", "json"]).await;
    serde_json::from_str(&said.out).expect("JSON")
}
