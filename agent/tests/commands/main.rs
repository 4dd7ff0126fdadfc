//! The commands against real agents: where words go, and which exit codes tell what.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[expect(dead_code, reason = "the API's own tests use the rest")]
#[path = "../../api/tests/api/harness.rs"]
mod harness;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use starling_cli::context::{Agent, Context};

use crate::harness::{Home, policy};

/// Writes a context for the command line.
fn context_file(home: &Home, agents: &[(&str, &str)], keys: &Path) -> PathBuf {
    let agent = |(name, address): &(&str, &str)| Agent {
        name: (*name).into(),
        address: (*address).into(),
    };
    let context = Context {
        cluster: "test".into(),
        agents: agents.iter().map(agent).collect(),
        ca: keys.join("ca.pem"),
        certificate: keys.join("client.pem"),
        key: keys.join("client.key"),
    };
    let path = home.dir.path().join("context.yaml");
    context.write(&path).unwrap();
    path
}

fn starling(context: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_starling"));
    command
        .env("STARLING_CONTEXT", context)
        .stdin(Stdio::null());
    command
}

/// Off the runtime's own threads: the agent that is asked runs on them.
async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

/// Nobody has answered, or not in time.
const UNREACHABLE: Option<i32> = Some(5);

/// What a command says where a deadline has passed: its own words for all that it asks of an
/// agent, and those of its libraries for a call, a connection and a TLS handshake.
const LATE: [&str; 4] = [
    "no answer in time",
    "Timeout expired",
    "deadline has elapsed",
    "TLS handshake timeout",
];

/// Exit code, standard output and standard error.
async fn once(context: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let mut command = starling(context);
    command.args(arguments);
    let output = run(command).await;
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// The same, asked again where the answer was late: a busy machine is not late each time.
async fn outcome(context: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    for _ in 0..3 {
        let (code, out, err) = once(context, arguments).await;
        let late = code == UNREACHABLE && LATE.iter().any(|words| err.contains(words));
        if !late {
            return (code, out, err);
        }
        eprintln!("tried again: {arguments:?}: {err}");
    }
    panic!("{arguments:?}: late each of three times");
}

#[tokio::test(flavor = "multi_thread")]
async fn data_goes_to_standard_output_and_exit_codes_tell_failures_apart() {
    let home = Home::new();
    let agent = home.leader().await;
    agent.put(policy("checkout", 1)).await;
    let context = context_file(&home, &[("a", &agent.address)], &home.keys("client"));

    let (code, out, err) = outcome(&context, &["status", "-o", "json"]).await;
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let status: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&status["leader"], &status["header"]["node"]),
        (&"a".into(), &"a".into())
    );
    let (code, out, _) = outcome(&context, &["policies", "--no-headers"]).await;
    assert_eq!(code, Some(0));
    assert!(out.starts_with("checkout  Process/checkout "), "{out}");
    assert_eq!(out.lines().count(), 1);

    let (code, out, err) = outcome(&context, &["explain", "chekout"]).await;
    assert_eq!((code, out.as_str()), (Some(4), ""));
    assert!(err.contains("did you mean checkout?"), "{err}");
    assert_eq!(
        outcome(&context, &["status", "--agent", "z"]).await.0,
        Some(4)
    );
    assert_eq!(
        outcome(&context, &["status", "--timeout", "never"]).await.0,
        Some(2)
    );
    assert_eq!(
        outcome(&context, &["watch", "--policy", "checkout"])
            .await
            .0,
        Some(2)
    );

    // Nobody listens on port 1.
    let (code, _, err) = once(&context, &["status", "--server", "127.0.0.1:1"]).await;
    assert_eq!(code, UNREACHABLE);
    assert!(
        err.contains("127.0.0.1:1") && err.contains("no agent"),
        "{err}"
    );
    let missing = home.dir.path().join("missing.yaml");
    assert_eq!(outcome(&missing, &["status"]).await.0, Some(1));

    // Another cluster's keys, and another cluster's user who trusts this one.
    let other = Home::new();
    let mixed = other.keys("client");
    for ca in [other.keys("ca.pem"), home.keys("ca.pem")] {
        std::fs::copy(ca, mixed.join("ca.pem")).unwrap();
        let context = context_file(&home, &[("a", &agent.address)], &mixed);
        // A refusal that a busy machine gives late isn't heard.
        harness::eventually("it is denied", || async {
            let (code, ..) = once(&context, &["status"]).await;
            (code == Some(6)).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_agent_is_asked_where_one_is_gone() {
    let home = Home::new();
    let agent = home.leader().await;
    let agents = [("gone", "127.0.0.1:1"), ("a", agent.address.as_str())];
    let context = context_file(&home, &agents, &home.keys("client"));
    let (code, out, _) = outcome(&context, &["members", "-o", "json"]).await;
    assert_eq!(code, Some(0));
    let members: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(members["members"][0]["role"], "leader");
}

/// What gossip believes at an agent.
fn believes_alive(agent: &harness::Agent, alive: &[starling_engine::unit::NodeId]) {
    let snapshot = starling_api::view::Snapshot {
        at: harness::now(),
        alive: alive.to_vec(),
        ..starling_api::view::Snapshot::default()
    };
    agent.snapshot.send_replace(std::sync::Arc::new(snapshot));
}

#[tokio::test(flavor = "multi_thread")]
async fn status_ends_with_0_healthy_1_degraded_2_without_a_leader_and_waits_if_asked() {
    let home = Home::new();
    let leader = home.leader().await;
    let other = home.agent("b", &[&leader]).await;
    let agents = [("a", leader.address.as_str()), ("b", &other.address)];
    let context = context_file(&home, &agents, &home.keys("client"));
    let both = [leader.log.id(), other.log.id()];

    believes_alive(&leader, &both[..1]);
    // Of a, since b, who is asked where a is late, believes nobody alive.
    let (code, out, _) = outcome(&context, &["status", "--agent", "a"]).await;
    assert_eq!(code, Some(1), "{out}");
    assert!(
        out.contains("State:       degraded: who doesn't answer: b\n"),
        "{out}"
    );
    let waits = tokio::spawn({
        let context = context.clone();
        async move { outcome(&context, &["status", "--wait", "1m"]).await }
    });
    believes_alive(&leader, &both);
    let (code, out, _) = waits.await.unwrap();
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("State:       healthy\n"), "{out}");

    leader.log.shutdown().await;
    believes_alive(&leader, &both[..1]);
    let json = harness::eventually("both know that nobody leads", || async {
        let (code, out, _) = once(&context, &["status", "-o", "json", "--wait", "1s"]).await;
        // Nobody may have answered in time.
        let json: Value = serde_json::from_str(&out).ok()?;
        (code == Some(2)).then_some(json)
    })
    .await;
    let state = json["state"].as_str().unwrap();
    assert!(["no_leader", "no_quorum"].contains(&state), "{json}");
    assert_eq!(
        (&json["leader"], &json["header"]["led"]),
        (&Value::Null, &false.into())
    );
    let (code, out, _) = outcome(&context, &["status", "--agent", "b"]).await;
    assert_eq!(code, Some(2), "{out}");
    assert!(
        out.contains("no quorum: 1 of 1 voters don't answer: a\n"),
        "{out}"
    );
    let (_, _, err) = outcome(&context, &["policies", "--agent", "b"]).await;
    assert!(
        err.starts_with("Note: no leader stands behind this: b has heard none for "),
        "{err}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_cut_off_doesn_t_make_the_cluster_leaderless() {
    let home = Home::new();
    let leader = home.leader().await;
    let cut_off = home.agent("b", &[&leader]).await;
    cut_off.log.shutdown().await;
    let agents = [("b", cut_off.address.as_str()), ("a", &leader.address)];
    let context = context_file(&home, &agents, &home.keys("client"));
    believes_alive(&leader, &[leader.log.id(), cut_off.log.id()]);
    // Either may be late on a busy machine, and then the other one alone is heard.
    let (out, err) = harness::eventually("both answer", || async {
        let (code, out, err) = once(&context, &["status"]).await;
        (code == Some(0) && err.contains("b sees no leader")).then_some((out, err))
    })
    .await;
    assert!(out.contains("Answered by: a"), "{out}");
    assert!(err.contains("what a says"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_enough_is_no_failure() {
    let home = Home::new();
    let agent = home.leader().await;
    let context = context_file(&home, &[("a", &agent.address)], &home.keys("client"));
    let mut command = starling(&context);
    command
        .args(["watch", "-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let (line, output) = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        // The pipe is closed now; the next line has nowhere to go.
        (line, child.wait_with_output().unwrap())
    })
    .await
    .unwrap();
    let event: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(event["event"], "snapshot");
    assert_eq!(
        (output.status.code(), output.stderr.as_slice()),
        (Some(0), [].as_slice())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupting_a_stream_is_no_failure() {
    use rustix::process::{Pid, Signal, kill_process};
    let home = Home::new();
    let agent = home.leader().await;
    let context = context_file(&home, &[("a", &agent.address)], &home.keys("client"));
    let mut command = starling(&context);
    command.args(["watch"]).stdout(Stdio::piped());
    let code = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert!(line.starts_with("TIME"), "{line}");
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        child.wait().unwrap().code()
    })
    .await
    .unwrap();
    assert_eq!(code, Some(0));
}

#[test]
fn checking_files_names_place_field_and_reason() {
    let dir = tempfile::tempdir().unwrap();
    let document = |name: &str, min: i32| {
        format!(
            "apiVersion: starling.sh/v1alpha1\nkind: ScalingPolicy\nmetadata: {{name: {name}}}\n\
             spec:\n  scaleTargetRef: {{kind: Process, name: w}}\n  minReplicaCount: {min}\n  \
             maxReplicaCount: 5\n  triggers:\n    - type: cpu\n      metricType: Utilization\n      \
             metadata: {{value: \"70\"}}\n"
        )
    };
    let check = |arguments: &[&str]| {
        let output = starling(Path::new(""))
            .arg("check")
            .args(arguments)
            .current_dir(dir.path())
            .output();
        let output = output.unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    std::fs::write(dir.path().join("a.yaml"), document("a", 1)).unwrap();
    assert_eq!(
        check(&["."]),
        (
            Some(0),
            "./a.yaml: sound; 1 policy and 0 processes\n".into()
        )
    );
    std::fs::write(dir.path().join("b.yaml"), document("b", 7)).unwrap();
    std::fs::write(dir.path().join("c.yaml"), document("c", 2)).unwrap();
    let (code, out) = check(&["a.yaml", "b.yaml", "c.yaml"]);
    assert_eq!(code, Some(1));
    assert!(
        out.contains("b.yaml:") && out.contains("minReplicaCount"),
        "{out}"
    );
    assert!(
        out.contains("a.yaml:2 already holds a policy for Process/w"),
        "{out}"
    );
    assert_eq!(check(&["missing.yaml"]).0, Some(4));
}

/// Runs `starling` in a folder: exit code, standard output and standard error.
fn in_folder(folder: &Path, arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    use std::io::Write as _;
    let mut child = starling(Path::new(""))
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Dropped at once, so that what is read ends.
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn importing_prints_policies_that_check_takes_and_its_code_says_how_it_went() {
    let dir = tempfile::tempdir().unwrap();
    let import = |arguments: &[&str], input: &str| in_folder(dir.path(), arguments, input);
    let object = |triggers: &str| {
        format!(
            "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {{name: web}}\nspec:\n  \
             scaleTargetRef: {{name: web}}\n  triggers:\n{triggers}"
        )
    };
    let cpu = "    - {type: cpu, metricType: Utilization, metadata: {value: '70'}}\n";
    let unknown = "    - {type: pigeons, metadata: {}}\n";
    std::fs::write(dir.path().join("web.yaml"), object(cpu)).unwrap();
    let (code, out, err) = import(&["import", "-f", "web.yaml"], "");
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(
        out.starts_with("---\n# ScaledObject web\napiVersion: starling.sh/"),
        "{out}"
    );
    std::fs::write(dir.path().join("policy.yaml"), &out).unwrap();
    assert_eq!(import(&["check", "policy.yaml"], "").0, Some(0));

    let both = object(&format!("{cpu}{unknown}"));
    let (code, out, err) = import(&["import", "-f", "-"], &both);
    assert_eq!(code, Some(3), "{err}");
    assert!(out.contains("kind: ScalingPolicy"), "{out}");
    assert!(
        err.contains("warning: -:8:14: ScaledObject web: spec.triggers[1].type"),
        "{err}"
    );
    let (code, out, err) = import(&["import", "--strict", "-f", "-"], &both);
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");

    let (code, out, err) = import(&["import", "-f", "-"], &object(unknown));
    assert_eq!((code, out.as_str()), (Some(4), ""), "{err}");
    let (code, _, err) = import(&["import", "-f", "policy.yaml"], "");
    assert_eq!(code, Some(4));
    assert!(
        err.contains("no HorizontalPodAutoscaler and no ScaledObject"),
        "{err}"
    );
    assert_eq!(import(&["import"], "").0, Some(2));

    let (code, out, _) = import(&["check", "web.yaml"], "");
    assert_eq!(code, Some(1));
    assert!(
        out.contains("`starling import -f web.yaml` prints the ScalingPolicy"),
        "{out}"
    );
}
