//! The commands that ask agents, with the real binary against real agents.
#![allow(clippy::expect_used)] // A helper that finds nothing has failed its test.

use std::path::{Path, PathBuf};

use starling_cli::context::{Agent, Context};
use starling_rig::cluster::Cluster;
use starling_rig::cluster::files::Documents;
use starling_tests::{DEADLINE, binary, until};
use tokio::process::Command;

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

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

async fn starling(context: &Path, args: &[&str]) -> Said {
    let run = Command::new(binary())
        .args(args)
        .env("STARLING_CONTEXT", context)
        .kill_on_drop(true)
        .output();
    let ended = tokio::time::timeout(DEADLINE, run).await;
    let output = ended.expect("it ends").expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said {
        code: output.status.code(),
        out: text(&output.stdout),
        err: text(&output.stderr),
    }
}

async fn start() -> (Cluster, PathBuf) {
    let mut cluster = Cluster::new(&binary(), 3).expect("a cluster");
    let documents = Documents {
        each: PROCESS.into(),
        first: POLICY.into(),
    };
    cluster.start(&documents).await.expect("it forms");
    let keys = cluster.user_keys();
    let agents = cluster.names().into_iter().zip(cluster.api_addresses());
    let context = Context {
        cluster: "demo".into(),
        agents: agents
            .map(|(name, address)| Agent { name, address })
            .collect(),
        ca: keys.join("ca.pem"),
        certificate: keys.join("client.pem"),
        key: keys.join("client.key"),
    };
    let path = cluster.dir().join("context.yaml");
    context.write(&path).expect("written");
    (cluster, path)
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
    let reads: [&[&str]; 6] = [
        &["status"],
        &["members"],
        &["top", "nodes"],
        &["top", "workloads"],
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
            assert_eq!(said.code, Some(0), "{read:?}: {}", said.err);
            let json: serde_json::Value = serde_json::from_str(&said.out).expect("JSON");
            assert_eq!(json["header"]["node"], agent.as_str(), "{read:?}");
        }
    }

    let failing: [(&[&str], i32, &str); 4] = [
        (&["explain", "none"], 4, "no policy is called \"none\""),
        (&["status", "--agent", "none"], 4, "it names agent-1"),
        (&["status", "--context", "none"], 1, "none"),
        (&["top", "cats"], 2, "possible values: nodes, workloads"),
    ];
    for (args, code, words) in failing {
        let said = starling(&context, args).await;
        assert_eq!(said.code, Some(code), "{args:?}: {}", said.err);
        assert!(said.err.contains(words), "{args:?}: {}", said.err);
        assert_eq!(said.out, "", "{args:?}");
    }

    // Any agent that lives answers; one that is dead, asked by name, doesn't.
    cluster.kill(0).await;
    let said = starling(&context, &["status"]).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    let said = starling(&context, &["status", "--agent", "agent-1"]).await;
    assert_eq!(said.code, Some(5), "{}", said.err);
}
