//! Settings, keys, ports and data directories that an agent refuses to start
//! with: it ends with status 1 and says on standard error what to mend.
#![allow(clippy::expect_used)] // A helper that finds nothing has failed its test.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Output;

use starling_keys as keys;
use starling_tests::{DEADLINE, binary, until};
use tokio::process::{Child, Command};

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    /// Keys of cluster `test` for agents a and b.
    fn new() -> Bench {
        let dir = tempfile::tempdir().expect("a directory");
        let node = |name: &str| keys::Node {
            name: name.into(),
            hosts: Vec::new(),
        };
        let request = keys::Request {
            cluster: "test".into(),
            nodes: vec![node("a"), node("b")],
        };
        keys::generate(&dir.path().join("keys"), &request).expect("keys");
        Bench { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Settings of agent a, which founds the cluster, with `edit` applied.
    fn settings(&self, name: &str, edit: impl Fn(String) -> String) -> PathBuf {
        let text = "cluster: test\nnode: a\ndataDir: data\nkeys: keys/a\nbootstrap: true\nlisten: \
                    {peer: '127.0.0.1:0', gossip: '127.0.0.1:0', api: '127.0.0.1:0', health: '127.0.0.1:0'}\n";
        let path = self.path(name);
        fs::write(&path, edit(text.into())).expect("written");
        path
    }

    /// The words of an agent that must not start.
    async fn refused(&self, settings: &Path) -> String {
        let ended = tokio::time::timeout(DEADLINE, command(settings).output()).await;
        let Output { status, stderr, .. } = ended.expect("it ends").expect("it ran");
        let words = String::from_utf8_lossy(&stderr).into_owned();
        assert_eq!(status.code(), Some(1), "{words}");
        words
    }

    /// Starts an agent and waits until it takes part in a log.
    async fn start(&self, settings: &Path) -> Child {
        let child = command(settings).spawn().expect("it starts");
        until("the agent founds its cluster", || async {
            self.path("data/addresses.json").is_file().then_some(())
        })
        .await;
        child
    }
}

fn command(settings: &Path) -> Command {
    let mut command = Command::new(binary());
    command
        .args(["agent", "--config"])
        .arg(settings)
        .kill_on_drop(true);
    command
}

#[track_caller]
fn says(words: &str, parts: &[&str]) {
    for part in parts {
        assert!(words.contains(part), "`{part}` is missing in: {words}");
    }
}

#[tokio::test]
async fn settings_that_are_missing_or_nonsense_are_refused_with_their_place() {
    let bench = Bench::new();
    let missing = bench.path("none.yaml");
    says(
        &bench.refused(&missing).await,
        &["none.yaml", "check --config", "No such file"],
    );
    let misspelt = bench.settings("misspelt.yaml", |text| text.replace("node:", "nodee:"));
    says(
        &bench.refused(&misspelt).await,
        &[
            "misspelt.yaml:2:1: nodee: unknown field",
            "allowed: cluster",
        ],
    );
    let typed = bench.settings("typed.yaml", |text| text.replace("true", "perhaps"));
    says(
        &bench.refused(&typed).await,
        &["typed.yaml:5:12: bootstrap"],
    );
    let unwritable = bench.settings("unwritable.yaml", |text| {
        text.replace("dataDir: data", "dataDir: /proc/none")
    });
    says(
        &bench.refused(&unwritable).await,
        &["unwritable.yaml:3:10: dataDir: /proc/none can't be made"],
    );
}

#[tokio::test]
async fn keys_that_are_unusable_or_anothers_are_refused_by_file() {
    let bench = Bench::new();
    let of_b = bench.settings("of-b.yaml", |text| text.replace("keys/a", "keys/b"));
    says(
        &bench.refused(&of_b).await,
        &["keys/b/node.pem isn't for the name a"],
    );
    let settings = bench.settings("a.yaml", |text| text);
    let key = bench.path("keys/a/node.key");
    fs::write(&key, "").expect("emptied");
    says(&bench.refused(&settings).await, &["node.key is empty"]);
    fs::remove_file(&key).expect("removed");
    says(
        &bench.refused(&settings).await,
        &["node.key is missing", "starling keys --cluster"],
    );
    // A directory can't be read as a file, whoever tries.
    fs::create_dir(&key).expect("made");
    says(&bench.refused(&settings).await, &["node.key"]);
}

#[tokio::test]
async fn a_port_in_use_is_named_once_with_what_to_do() {
    let bench = Bench::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let settings = bench.settings("a.yaml", |text| {
        text.replace("api: '127.0.0.1:0'", &format!("api: '{address}'"))
    });
    let words = bench.refused(&settings).await;
    says(&words, &[&address, "ss -ltnup", "change listen.api"]);
    assert_eq!(
        words.matches("Address already in use").count(),
        1,
        "{words}"
    );
}

#[tokio::test]
async fn a_data_directory_in_use_or_of_another_cluster_stays_as_it_was() {
    let bench = Bench::new();
    let settings = bench.settings("a.yaml", |text| text);
    let mut agent = bench.start(&settings).await;
    let addresses = || fs::read_to_string(bench.path("data/addresses.json")).expect("addresses");
    let before = addresses();
    says(
        &bench.refused(&settings).await,
        &["another running agent uses the data directory"],
    );
    assert_eq!(addresses(), before, "the living agent's addresses");

    agent.kill().await.expect("killed");
    let other = bench.settings("other.yaml", |text| {
        text.replace("cluster: test", "cluster: other")
    });
    says(
        &bench.refused(&other).await,
        &["belongs to cluster test", "configured for cluster other"],
    );
    assert_eq!(addresses(), before);
}
