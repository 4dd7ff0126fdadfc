//! The cluster with programs that are no agents.

use super::*;

/// A program that does what `script` says, whatever its arguments. Another
/// process writes it: a file that any fork of this one holds open for
/// writing can't be executed.
fn program(dir: &Path, script: &str) -> PathBuf {
    let path = dir.join("starling");
    let write = "printf '#!/bin/sh\n%s\n' \"$1\" > \"$0\" && chmod 700 \"$0\"";
    let written = std::process::Command::new("/bin/sh")
        .args([
            "-c".as_ref(),
            write.as_ref(),
            path.as_os_str(),
            script.as_ref(),
        ])
        .status();
    assert!(written.unwrap().success());
    path
}

#[tokio::test]
async fn an_agent_that_ends_by_itself_is_named_with_the_end_of_its_log() {
    let home = tempfile::tempdir().unwrap();
    let binary = program(home.path(), "echo the disk is full >&2; exit 3");
    let mut cluster = Cluster::new(&binary, 3).unwrap();
    let error = cluster
        .start(&Documents::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("agent-1") && error.contains("the disk is full"),
        "{error}"
    );
}

#[tokio::test]
async fn a_cluster_given_up_while_it_starts_leaves_no_process_and_no_file() {
    let home = tempfile::tempdir().unwrap();
    let binary = program(home.path(), "cat");
    let mut cluster = Cluster::new(&binary, 3).unwrap();
    let given_up = Duration::from_millis(300);
    let documents = Documents::default();
    let started = cluster.start(&documents);
    assert!(tokio::time::timeout(given_up, started).await.is_err());
    let pid = cluster.agents[0]
        .child
        .as_ref()
        .and_then(Child::id)
        .unwrap();
    let dir = cluster.dir().to_owned();
    assert!(dir.join("agent-1/config.yaml").exists());
    drop(cluster);
    assert_eq!(Table::new().unwrap().started_at(pid), None);
    assert!(!dir.exists());
}

#[tokio::test]
async fn agents_end_when_their_standard_input_does() {
    let home = tempfile::tempdir().unwrap();
    let binary = program(home.path(), "cat; echo ended in order >&2");
    let mut cluster = Cluster::new(&binary, 1).unwrap();
    cluster.spawn(0).unwrap();
    cluster.stop_all().await;
    let log = cluster.agents[0].files.log_tail();
    assert_eq!(log, "  ended in order\n");
}

#[tokio::test]
async fn a_missing_program_is_named() {
    let mut cluster = Cluster::new(Path::new("/nowhere/starling"), 1).unwrap();
    let error = cluster
        .start(&Documents::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("/nowhere/starling"), "{error}");
}

#[test]
fn a_cluster_is_whole_with_as_many_voters_as_its_agents_want() {
    let seen = |voters, members_alive| Status {
        leader_id: Some(1),
        voters,
        members_alive,
        ..Status::default()
    };
    let whole = |agents, voters| sees_whole(&seen(voters, agents as u32), agents);
    let of = |agents| (1..=AGENTS_MAX).filter(move |voters| whole(agents, *voters));
    let voters: Vec<usize> = (1..=AGENTS_MAX).flat_map(of).collect();
    assert_eq!(voters, [1, 1, 3, 3, 3, 3, 5]);
    assert!(!sees_whole(&seen(3, 4), 5), "one of five isn't alive");
}
