//! A rig that is killed leaves nothing that hinders the next, and two clusters stand side by
//! side without knowing of each other.

#![allow(clippy::unwrap_used)] // A helper that finds nothing has failed its test.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use starling_kubernetes_rig::{Cluster, shell, turn};

/// What is on this machine that bears the name of this run.
fn names(id: &str) -> Vec<String> {
    let show = |program: &str, words: &[&str]| {
        let output = Command::new(program).args(words).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let number = id.trim_start_matches("starling");
    let folder = format!("/var/lib/starling-rig/{number}");
    let all = [
        show("ip", &["-o", "link"]),
        show("ip", &["netns", "list"]),
        show("ls", &["/sys/fs/cgroup/pids", "/sys/fs/cgroup/memory"]),
        show("find", &[&folder, "-maxdepth", "1"]),
    ]
    .concat();
    let of_run = |line: &&str| {
        let mut ends = line.match_indices(id).map(|(at, _)| at + id.len());
        ends.any(|end| !line[end..].starts_with(|next: char| next.is_ascii_digit()))
            || line.starts_with(&folder)
    };
    all.lines().filter(of_run).map(String::from).collect()
}

/// Pods' processes too: by the cgroups, whose names are the run's.
fn processes(id: &str) -> Vec<String> {
    let own = std::process::id().to_string();
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name() != own.as_str())
        .filter_map(|entry| {
            let cgroup = std::fs::read_to_string(entry.path().join("cgroup")).ok()?;
            let inside = cgroup.lines().any(|line| {
                let path = line.rsplit(':').next().unwrap_or_default();
                path == format!("/{id}") || path.starts_with(&format!("/{id}-"))
            });
            inside.then(|| std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default())
        })
        .collect()
}

#[test]
fn what_a_killed_rig_leaves_is_swept_by_the_next_start() {
    let Some(_turn) = turn::alone() else { return };
    let mut rig = Command::new(env!("CARGO_BIN_EXE_starling-kubernetes-rig"))
        .args(["up", "--nodes", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut lines = BufReader::new(rig.stdout.take().unwrap());
    lines.read_line(&mut line).unwrap();
    let config = line
        .trim()
        .trim_start_matches("export KUBECONFIG=")
        .to_owned();
    assert!(std::path::Path::new(&config).exists(), "{line}");
    let number = config.split('/').nth(4).unwrap();
    let id = format!("starling{number}");
    assert!(processes(&id).len() > 6, "{:?}", processes(&id));
    assert!(names(&id).len() > 6, "{:?}", names(&id));

    rig.kill().unwrap();
    rig.wait().unwrap();
    // Its steward may still be at it; the next start doesn't mind.
    let next = Cluster::start(1).unwrap();
    let next_id = next.id();
    next.end().unwrap();
    shell::until("nothing is left of either", Duration::from_mins(1), || {
        let (mut left, running) = (names(&id), processes(&id));
        left.extend(names(&next_id));
        let fine = left.is_empty() && running.is_empty();
        fine.then_some(()).ok_or(format!("{left:?} {running:?}"))
    })
    .unwrap();
}

#[test]
fn two_clusters_stand_side_by_side() {
    let Some(_turn) = turn::alone() else { return };
    let (one, two) = std::thread::scope(|scope| {
        let one = scope.spawn(|| Cluster::start(1).unwrap());
        let two = scope.spawn(|| Cluster::start(1).unwrap());
        (one.join().unwrap(), two.join().unwrap())
    });
    assert_ne!(one.id(), two.id());
    one.kubectl(["create", "namespace", "only-one"]).unwrap();
    assert!(two.kubectl(["get", "namespace", "only-one"]).is_err());
    let (gone, stays) = (one.id(), two.id());
    one.end().unwrap();
    assert!(processes(&gone).is_empty());
    assert!(processes(&stays).len() > 6);
    two.kubectl(["create", "configmap", "still-here"]).unwrap();
    two.await_ready(&two.nodes()).unwrap();
}
