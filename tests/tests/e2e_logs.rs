//! What agents write into their logs, and how much of it while they run.
#![allow(clippy::expect_used)] // A helper that finds nothing has failed its test.

use std::fs;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use starling_cli::context::{Agent, Context};
use starling_keys as keys;
use starling_tests::{binary, until};
use tempfile::TempDir;
use tokio::process::{Child, Command};

const POLICY: &str = "\
apiVersion: starling.sh/v1alpha1
kind: Process
metadata: {name: web}
spec: {command: [sleep, '600'], requests: {cpu: 100m}}
---
apiVersion: starling.sh/v1alpha1
kind: ScalingPolicy
metadata: {name: web}
spec:
  scaleTargetRef: {kind: Process, name: web}
  minReplicaCount: 1
  maxReplicaCount: 3
  triggers: [{type: cpu, metricType: Utilization, metadata: {value: '60'}}]
";

/// One agent on its own, which writes its log as JSON.
struct Bench {
    dir: TempDir,
    agent: Child,
}

impl Bench {
    fn start() -> Bench {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        let request = keys::Request {
            cluster: "test".into(),
            nodes: vec![keys::Node {
                name: "a".into(),
                hosts: Vec::new(),
            }],
        };
        keys::generate(&at("keys"), &request).expect("keys");
        fs::create_dir(at("policies")).expect("made");
        fs::write(at("policies/web.yaml"), POLICY).expect("written");
        let settings = "cluster: test\nnode: a\ndataDir: data\nkeys: keys/a\nbootstrap: true\n\
                        policies: policies\nworkersOnExit: stop\nlisten: {peer: '127.0.0.1:0', \
                        gossip: '127.0.0.1:0', api: '127.0.0.1:0', health: '127.0.0.1:0'}\n\
                        log: {format: text, level: warn}\n";
        fs::write(at("agent.yaml"), settings).expect("written");
        let log = fs::File::create(at("log")).expect("a log");
        let agent = Command::new(binary())
            .args(["agent", "--log-format", "json", "--config"])
            .arg(at("agent.yaml"))
            .env("STARLING_LOG", "info")
            .stderr(Stdio::from(log))
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        Bench { dir, agent }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The lines of the log, each of which must be JSON.
    fn lines(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.path("log")).expect("a log");
        // The last one may be on its way.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let read = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        whole.lines().map(read).collect()
    }

    /// Waits for a line with these words, and gives it.
    async fn told(&self, words: &str) -> serde_json::Value {
        until(&format!("the log says `{words}`"), || async {
            let message = |line: &serde_json::Value| {
                let message = line["message"].as_str().unwrap_or_default();
                message.contains(words)
            };
            self.lines().into_iter().find(message)
        })
        .await
    }

    async fn ask(&self, args: &[&str]) -> Output {
        let addresses = until("the agent says where it listens", || async {
            fs::read_to_string(self.path("data/addresses.json")).ok()
        })
        .await;
        let addresses: serde_json::Value = serde_json::from_str(&addresses).expect("JSON");
        let keys = self.path("keys/client");
        let context = Context {
            cluster: "test".into(),
            agents: vec![Agent {
                name: "a".into(),
                address: addresses["api"].as_str().expect("an address").into(),
            }],
            ca: keys.join("ca.pem"),
            certificate: keys.join("client.pem"),
            key: keys.join("client.key"),
        };
        let path = self.path("context.yaml");
        context.write(&path).expect("written");
        let asked = Command::new(binary())
            .args(args)
            .arg("--context")
            .arg(path)
            .output();
        asked.await.expect("it runs")
    }

    async fn json(&self, args: &[&str]) -> serde_json::Value {
        let Output {
            stdout,
            stderr,
            status,
        } = self.ask(args).await;
        let words = String::from_utf8_lossy(&stderr);
        assert!(status.success(), "{words}");
        serde_json::from_slice(&stdout).expect("JSON")
    }
}

#[tokio::test]
async fn a_policy_is_told_of_with_who_asked_for_it_and_what_is_different() {
    let bench = Bench::start();
    let applied = bench.told("a policy is in force").await;
    assert_eq!(applied["level"], "INFO");
    assert_eq!(applied["policy"], "web");
    let by = applied["by"].as_str().expect("who");
    assert!(by.starts_with("a:") && by.ends_with("web.yaml"), "{by}");
    let words = applied["message"].as_str().expect("words");
    assert!(words.contains("1 to 3 replicas"), "{words}");

    let file = bench.path("policies/web.yaml");
    let larger = POLICY.replace("maxReplicaCount: 3", "maxReplicaCount: 5");
    fs::write(&file, larger).expect("written");
    let changed = bench.told("a policy was changed").await;
    let words = changed["message"].as_str().expect("words");
    assert!(words.ends_with("maxReplicaCount from 3 to 5"), "{words}");

    fs::write(
        &file,
        POLICY.replace("kind: Process, name: web", "kind: Process, name: 'no name'"),
    )
    .expect("written");
    let refused = bench.told("no name").await;
    assert_eq!(refused["level"], "WARN");

    let process = POLICY.split("---").next().expect("the process");
    fs::write(&file, process).expect("written");
    let removed = bench.told("a policy was removed").await;
    assert_eq!(removed["policy"], "web");
}

#[tokio::test]
async fn an_agent_that_is_told_to_end_does_so_without_a_word_of_failure() {
    let mut bench = Bench::start();
    // Nothing is proposed any more, then.
    until("its worker runs", || async {
        let shown = bench.ask(&["workloads", "-o", "json"]).await.stdout;
        let shown: serde_json::Value = serde_json::from_slice(&shown).ok()?;
        (shown["workloads"][0]["running"] == 1).then_some(())
    })
    .await;
    let pid = bench.agent.id().expect("it runs") as i32;
    let pid = Pid::from_raw(pid).expect("a process");
    kill_process(pid, Signal::TERM).expect("told");
    let ended = bench.agent.wait().await.expect("it ends");
    assert!(ended.success(), "{ended}");
    // A busy machine may let the agent wait for what it measures.
    let late = |line: &serde_json::Value| {
        let message = line["message"].as_str().unwrap_or_default();
        message.contains("hasn't answered in time")
    };
    let bad = |line: &serde_json::Value| line["level"] != "INFO" && !late(line);
    let bad: Vec<_> = bench.lines().into_iter().filter(bad).collect();
    assert!(bad.is_empty(), "{bad:#?}");
}

#[tokio::test]
async fn how_much_is_written_can_be_changed_for_a_while() {
    let bench = Bench::start();
    // What the option and the environment say goes before the settings.
    bench.told("an agent leads").await;
    let debug = |line: &serde_json::Value| line["level"] == "DEBUG";
    assert!(!bench.lines().iter().any(debug));

    let shown = bench.json(&["log-level", "-o", "json"]).await;
    let agent = &shown["agents"][0];
    assert_eq!(agent["agent"], "a");
    assert_eq!(agent["filter"], "info");
    assert!(agent["remaining_seconds"].is_null(), "{agent}");

    let set = bench
        .json(&["log-level", "debug", "--for", "2m", "-o", "json"])
        .await;
    let agent = &set["agents"][0];
    assert_eq!(agent["filter"], "debug");
    assert_eq!(agent["start_filter"], "info");
    let left = agent["remaining_seconds"].as_u64().expect("a time");
    assert!((100..=120).contains(&left), "{left}");
    let who = bench.told("how much is written here changes").await;
    let by = who["by"].as_str().expect("who");
    assert!(by.starts_with("a user at 127.0.0.1:"), "{by}");
    until("more is written", || async {
        bench.lines().iter().any(debug).then_some(())
    })
    .await;

    let back = bench.json(&["log-level", "--reset", "-o", "json"]).await;
    assert_eq!(back["agents"][0]["filter"], "info");
    bench.told("as at the start again").await;

    let wrong = bench.ask(&["log-level", "loud"]).await;
    assert_eq!(wrong.status.code(), Some(2));
    let words = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(words.contains("`loud` is no level"), "{words}");
    let wrong = bench.ask(&["log-level", "debug", "--for", "500ms"]).await;
    assert_eq!(wrong.status.code(), Some(2));
    drop(bench.agent);
}
