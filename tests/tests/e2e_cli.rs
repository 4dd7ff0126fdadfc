//! The commands that ask agents, with the real binary against real agents.
#![allow(clippy::expect_used)] // A helper that finds nothing has failed its test.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use starling_rig::cluster::Cluster;
use starling_rig::cluster::files::Documents;
use starling_tests::command::{context, starling};
use starling_tests::{binary, until};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

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
    until("it is explained what would change the size", || async {
        let said = starling(&context, &["explain", "web"]).await;
        let told = said.out.contains("What would change the size:");
        told.then_some(())
    })
    .await;
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
            until(&format!("{agent} answers {read:?} in JSON"), || async {
                let args = [read, &["-o", "json", "--agent", &agent]].concat();
                let said = starling(&context, &args).await;
                // Members that are new show that they stay before they vote.
                let forming = read[0] == "status" && said.code == Some(1);
                let json: serde_json::Value = serde_json::from_str(&said.out).ok()?;
                let itself = json["header"]["node"] == agent.as_str();
                (itself && (said.code == Some(0) || forming)).then_some(())
            })
            .await;
        }
    }

    // The fallback's three workers, wherever they run.
    until("all workers are listed and measured", || async {
        let pods = pods(&context).await?["pods"].as_array()?.clone();
        let measured = |pod: &serde_json::Value| pod["usage"]["memory"]["used"].as_u64() > Some(0);
        let all = pods.len() == 3 && pods.iter().all(measured);
        all.then_some(())
    })
    .await;
    let sorted = ["top", "pods", "--sort-by", "memory", "--filter", "/web"];
    until("they are shown below a line of titles", || async {
        let said = starling(&context, &[&sorted[..], &["-o", "wide"]].concat()).await;
        let named = said.out.contains("Process/web");
        (named && said.out.lines().count() == 4).then_some(())
    })
    .await;

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
    until("somebody else leads, the dead one is named", || async {
        let said = starling(&context, &["status"]).await;
        let words = "degraded: who votes and doesn't answer: agent-1\n";
        (said.code == Some(1) && said.out.contains(words)).then_some(())
    })
    .await;
    let said = starling(&context, &["status", "--agent", "agent-1"]).await;
    assert_eq!(said.code, Some(5), "{}", said.err);
    until("the dead agent's pods are said to be missing", || async {
        let pods = pods(&context).await?;
        let silent = &pods["silent_nodes"];
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

/// `top nodes --watch` on a terminal of ten lines, which notes all that it is told to show.
struct Terminal {
    shown: PathBuf,
    child: Child,
}

impl Terminal {
    fn watch(context: &Path) -> Terminal {
        let shown = context.with_file_name("shown");
        let binary = binary();
        let command = format!(
            "stty rows 10 cols 100; exec {} top nodes --watch",
            binary.display()
        );
        let child = Command::new("script")
            .args(["--quiet", "--return", "--flush", "--command", &command])
            .arg(&shown)
            .env("STARLING_CONTEXT", context)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("script (1)");
        Terminal { shown, child }
    }

    /// All frames so far but the last one, which may be half drawn. Each begins at the
    /// upper left corner.
    fn frames(&self) -> Vec<String> {
        let shown = std::fs::read(&self.shown).unwrap_or_default();
        let shown = String::from_utf8_lossy(&shown);
        let mut frames: Vec<String> = shown.split("\x1b[H").map(str::to_owned).collect();
        frames.pop();
        frames.drain(..frames.len().min(1));
        frames
    }

    /// Who was asked for the newest frame, once `is` holds of the name.
    async fn asked(&self, what: &str, is: impl Fn(&str) -> bool) -> String {
        until(what, || async {
            let frames = self.frames();
            let (_, after) = frames.last()?.split_once(", as ")?;
            let (name, _) = after.split_once(" sees it; Ctrl-C ends this")?;
            is(name).then(|| name.to_owned())
        })
        .await
    }
}

#[tokio::test]
async fn top_on_a_terminal_is_redrawn_in_place_and_goes_on_at_another_agent() {
    let (mut cluster, context) = start().await;
    let mut terminal = Terminal::watch(&context);
    let first = terminal.asked("a table is shown", |_| true).await;
    until("it is shown again and again", || async {
        (terminal.frames().len() > 3).then_some(())
    })
    .await;
    let asked = cluster.names().iter().position(|name| *name == first);
    cluster.kill(asked.expect("an agent")).await;
    terminal
        .asked("another agent is asked", |name| name != first)
        .await;
    let frames = terminal.frames();
    for frame in &frames {
        assert!(
            frame.ends_with("\x1b[J"),
            "what was below is gone: {frame:?}"
        );
        let lines: Vec<&str> = frame.lines().collect();
        assert!(lines.len() <= 10, "it fits: {frame:?}");
        let cleared = lines[..lines.len() - 1].iter();
        assert!(
            cleared.clone().all(|line| line.ends_with("\x1b[K")),
            "nothing is left of longer lines: {frame:?}"
        );
        let table = frame.contains("NAME") && frame.contains("agent-3");
        assert!(table || frame.starts_with("STALE"), "{frame:?}");
    }
    let shown = std::fs::read_to_string(&terminal.shown).expect("what was shown");
    assert_eq!(shown.matches("\x1b[2J").count(), 1, "all is cleared once");

    let mut keys = terminal.child.stdin.take().expect("its keyboard");
    keys.write_all(b"\x03").await.expect("Ctrl-C");
    let ended = tokio::time::timeout(starling_tests::DEADLINE, terminal.child.wait()).await;
    let ended = ended.expect("it ends").expect("waited for");
    assert_eq!(ended.code(), Some(0), "Ctrl-C is no failure");
}

async fn pods(context: &Path) -> Option<serde_json::Value> {
    let said = starling(context, &["top", "pods", "-o", "json"]).await;
    serde_json::from_str(&said.out).ok()
}
