//! Agents that are taken out of the cluster by command, with the real binary.
#![allow(clippy::expect_used)] // A helper that finds nothing has failed its test.

use std::collections::BTreeSet;
use std::path::Path;

use starling_rig::cluster::Cluster;
use starling_rig::cluster::files::{Documents, Files};
use starling_tests::command::{context, starling};
use starling_tests::{binary, in_three_tries, until};

const PROCESS: &str = "\
apiVersion: starling.sh/v1alpha1
kind: Process
metadata: {name: web}
spec:
  command: [sleep, '600']
  requests: {cpu: 100m}
";

const POLICY: &str = "\
apiVersion: starling.sh/v1alpha1
kind: ScalingPolicy
metadata: {name: web}
spec:
  scaleTargetRef: {kind: Process, name: web}
  minReplicaCount: 4
  maxReplicaCount: 12
  triggers:
  - type: cpu
    metricType: Utilization
    metadata: {value: '60'}
";

async fn json(context: &Path, args: &[&str]) -> serde_json::Value {
    let said = starling(context, &[args, &["-o", "json"]].concat()).await;
    serde_json::from_str(&said.out).unwrap_or_default()
}

/// Replicas of `web` by agent.
async fn shares(context: &Path) -> Vec<(String, u64)> {
    let workloads = json(context, &["workloads"]).await;
    let all = workloads["workloads"].as_array().cloned();
    let mut web = all.into_iter().flatten();
    let web = web.find(|it| it["target"]["name"] == "web");
    let shares = web.and_then(|it| it["shares"].as_array().cloned());
    let share =
        |it: serde_json::Value| Some((it["node"].as_str()?.to_owned(), it["granted"].as_u64()?));
    let shares = shares.into_iter().flatten().filter_map(share);
    shares.filter(|(_, count)| *count > 0).collect()
}

/// Who leads, once somebody does, and the term.
async fn leader(context: &Path) -> (String, u64) {
    until("somebody leads", || async {
        let status = json(context, &["status"]).await;
        let (leader, term) = (status["leader"].as_str()?, status["term"].as_u64()?);
        Some((leader.to_owned(), term))
    })
    .await
}

async fn start() -> (Cluster, std::path::PathBuf) {
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
async fn a_dead_agent_is_removed_by_command_and_what_it_ran_is_placed_anew_without_a_policy_too() {
    in_three_tries("nobody else comes to lead meanwhile", async || {
        let (mut cluster, context) = start().await;
        until("four replicas are placed", || async {
            let placed: u64 = shares(&context).await.iter().map(|(_, n)| n).sum();
            (placed == 4).then_some(())
        })
        .await;
        let deleted = starling(&context, &["policies", "delete", "web"]).await;
        assert_eq!(deleted.code, Some(0), "{}", deleted.err);
        let led = leader(&context).await;
        let names = cluster.names();
        let gone = names
            .iter()
            .position(|name| *name != led.0)
            .expect("another");
        let name = names[gone].clone();

        let observer = cluster.observer().expect("an observer");
        let silent = observer.status(gone).await.is_err();
        let answers = starling(&context, &["remove", &name]).await;
        if answers.code == Some(0) {
            assert!(silent, "it has just answered: {}", answers.out);
            return Err(format!("{name} was silent, so it was removed"));
        }
        let leads = starling(&context, &["remove", &led.0, "--force"]).await;
        // An agent that leads no more is removed like any other.
        let now = leader(&context).await;
        if now != led {
            return Err(format!("{led:?} led, now {now:?} does"));
        }
        for (refused, why) in [(answers, "answers"), (leads, "leads")] {
            assert_eq!(refused.code, Some(1), "{}", refused.out);
            assert!(refused.err.contains(why), "{}", refused.err);
        }
        let unknown = starling(&context, &["remove", "nobody"]).await;
        assert_eq!(unknown.code, Some(4), "{}", unknown.err);

        cluster.kill(gone).await;
        let removed = until("nobody hears it any more", || async {
            let said = starling(&context, &["remove", &name]).await;
            (said.code == Some(0)).then_some(said)
        })
        .await;
        assert!(
            removed.out.contains("is no member any more"),
            "{}",
            removed.out
        );
        until("what it ran is placed on the others", || async {
            let shares = shares(&context).await;
            let placed: u64 = shares.iter().map(|(_, n)| n).sum();
            (placed == 4 && shares.iter().all(|(node, _)| *node != name)).then_some(())
        })
        .await;

        cluster.restart(gone).expect("it starts");
        until("it is a member again", || async {
            let members = json(&context, &["members"]).await;
            let members = members["members"].as_array()?.clone();
            let back = members.iter().any(|it| it["name"] == name.as_str());
            (members.len() == 3 && back).then_some(())
        })
        .await;
        Ok(())
    })
    .await;
}

/// The policy of this name as it is shown, once `is` holds of it.
async fn policy(context: &Path, name: &str, is: impl Fn(&serde_json::Value) -> bool) {
    until("a policy is shown as it should be", || async {
        let shown = json(context, &["policies"]).await;
        let policies = shown["policies"].as_array()?.clone();
        policies
            .iter()
            .any(|it| it["name"] == name && is(it))
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_removed_agents_policies_go_to_an_equal_file_or_stay_without_an_owner_until_deleted() {
    let (mut cluster, context) = start().await;
    let names = cluster.names();
    let of = |name: &str| {
        let name = name.to_owned();
        move |it: &serde_json::Value| {
            it["source"]
                .as_str()
                .is_some_and(|it| it.starts_with(&name))
        }
    };
    // `web` is the first agent's, and so is `other`; the second one says the former too.
    let other = POLICY.replace("name: web}", "name: other}");
    Files::new(cluster.dir(), &names[0])
        .write_documents("other", &other)
        .expect("written");
    policy(&context, "web", of("agent-1:")).await;
    policy(&context, "other", of("agent-1:")).await;
    Files::new(cluster.dir(), &names[1])
        .write_documents("policies", POLICY)
        .expect("written");
    until("the second agent's file is noted", || {
        let log = cluster.log(1);
        async move { log.contains("another place says the same").then_some(()) }
    })
    .await;
    if json(&context, &["status"]).await["leader"] == "agent-1" {
        let moved = starling(&context, &["raft", "transfer", "agent-2"]).await;
        assert_eq!(moved.code, Some(0), "{}", moved.err);
    }
    cluster.kill(0).await;
    until("it is removed", || async {
        let said = starling(&context, &["remove", "agent-1"]).await;
        (said.code == Some(0)).then_some(())
    })
    .await;
    policy(&context, "web", of("agent-2:")).await;
    policy(&context, "other", |it| it["ownerless"] == true).await;
    policy(&context, "web", |it| it["ownerless"] == false).await;
    let shown = starling(&context, &["policies"]).await;
    assert!(shown.out.contains("ownerless"), "{}", shown.out);
    let command = "starling policies delete other -n default";
    assert!(shown.err.contains(command), "{}", shown.err);
    // Nothing was stopped by all that.
    until("four replicas are placed on the others", || async {
        let shares = shares(&context).await;
        let placed: u64 = shares.iter().map(|(_, n)| n).sum();
        (placed == 4).then_some(())
    })
    .await;
    let deleted = starling(&context, &["policies", "delete", "other"]).await;
    assert_eq!(deleted.code, Some(0), "{}", deleted.err);
    let shown = json(&context, &["policies"]).await;
    assert_eq!(
        shown["policies"].as_array().map(Vec::len),
        Some(1),
        "{shown}"
    );
}

#[tokio::test]
async fn operators_see_the_copies_of_the_log_move_the_lead_and_save_a_snapshot() {
    let (mut cluster, context) = start().await;
    let names = cluster.names();
    let next = in_three_tries("nobody else comes to lead meanwhile", async || {
        let led = leader(&context).await;
        let peers = until("all copies are as far as the leader's", || async {
            let shown = json(&context, &["raft", "peers"]).await;
            let peers = shown["peers"].as_array()?.clone();
            let whole = peers
                .iter()
                .all(|it| it["log_index"].is_u64() && it["voter"] == true);
            (peers.len() == 3 && whole).then_some(peers)
        })
        .await;
        let state = |wanted: &str| {
            let peer = peers.iter().find(|it| it["state"] == wanted)?;
            peer["node"].as_str().map(str::to_owned)
        };
        let (Some(leads), Some(next)) = (state("leader"), state("follower")) else {
            return Err(format!("nobody leads or nobody follows: {peers:?}"));
        };
        let mut refusals = Vec::new();
        for (args, code, words) in [
            (["raft", "transfer", "nobody"], 4, "no member is called"),
            (["raft", "transfer", leads.as_str()], 1, "leads already"),
            (["raft", "remove", leads.as_str()], 1, "raft transfer"),
        ] {
            refusals.push((args, starling(&context, &args).await, code, words));
        }
        let now = leader(&context).await;
        if now != led {
            return Err(format!("{led:?} led, now {now:?} does"));
        }
        for (args, said, code, words) in refusals {
            assert_eq!(said.code, Some(code), "{args:?}: {}", said.err);
            assert!(said.err.contains(words), "{args:?}: {}", said.err);
        }
        let moved = starling(&context, &["raft", "transfer", &next]).await;
        // An agent that doesn't answer within a second isn't made the leader.
        if moved.code != Some(0) {
            return Err(moved.err);
        }
        assert!(moved.out.starts_with(&next), "{}", moved.out);
        Ok(next)
    })
    .await;
    until("it leads", || async {
        let leads = leader(&context).await.0 == next;
        if !leads {
            // Another election has come between, or whoever was asked hasn't heard of it yet.
            starling(&context, &["raft", "transfer", &next]).await;
        }
        leads.then_some(())
    })
    .await;
    let table = starling(&context, &["raft", "list-peers"]).await;
    assert!(table.out.starts_with("NODE "), "{}", table.out);

    until("the policy is in force", || async {
        let shown = json(&context, &["policies"]).await;
        (shown["policies"].as_array()?.len() == 1).then_some(())
    })
    .await;
    let file = cluster.dir().join("saved.snap");
    let path = file.display().to_string();
    let saved = starling(&context, &["raft", "snapshot", "save", &path]).await;
    assert_eq!(saved.code, Some(0), "{}", saved.err);
    let again = starling(&context, &["raft", "snapshot", "save", &path]).await;
    assert_eq!(again.code, Some(2), "{}", again.out);
    let shown = json(&context, &["raft", "snapshot", "inspect", &path]).await;
    // In the order in which they have joined.
    let held = shown["members"].as_array().expect("members").iter();
    let held: BTreeSet<_> = held.filter_map(serde_json::Value::as_str).collect();
    let all: BTreeSet<_> = names.iter().map(String::as_str).collect();
    assert_eq!(held, all);
    assert_eq!(
        (&shown["cluster"], &shown["policies"]),
        (&"demo".into(), &1.into())
    );
    let mut bytes = std::fs::read(&file).expect("a file");
    bytes.pop();
    std::fs::write(&file, bytes).expect("cut short");
    for file in [path.as_str(), "/dev/null", "/nowhere"] {
        let said = starling(&context, &["raft", "snapshot", "inspect", file]).await;
        assert_eq!(said.code, Some(1), "{file}: {}", said.out);
        assert!(!said.err.is_empty());
    }

    // Without a majority it is said so, and what one agent has can be had all the same.
    let alone = names.iter().position(|name| *name == next).expect("one");
    for position in (0..3).filter(|position| *position != alone) {
        cluster.kill(position).await;
    }
    until("no majority is said to be there", || async {
        let said = starling(&context, &["raft", "peers", "--agent", &next]).await;
        (said.code == Some(5)).then_some(())
    })
    .await;
    let said = starling(&context, &["raft", "transfer", "--agent", &next]).await;
    assert_eq!(said.code, Some(5), "{}", said.err);
    let unled = starling(&context, &["raft", "peers", "--stale", "--agent", &next]).await;
    assert_eq!(unled.code, Some(0), "{}", unled.err);
    let other = cluster.dir().join("alone.snap").display().to_string();
    let save = ["raft", "snapshot", "save", &other, "--agent", &next];
    let refused = starling(&context, &save).await;
    assert_eq!(refused.code, Some(5), "{}", refused.err);
    let unled = starling(&context, &[&save[..], &["--stale"]].concat()).await;
    assert_eq!(unled.code, Some(0), "{}", unled.err);
}

#[tokio::test]
async fn after_the_loss_of_a_majority_one_agent_goes_on_by_command_and_workers_run_on() {
    let (mut cluster, context) = start().await;
    until("four workers run", || {
        let count = cluster.sample().workers.len();
        async move { (count == 4).then_some(()) }
    })
    .await;
    let names = cluster.names();
    // A founder that comes over is a new member; the others keep their ids.
    let survivor = 1;
    let config = cluster.dir().join(&names[survivor]).join("config.yaml");
    let config = config.display().to_string();
    let recover = ["recover", "--config", &config, "--cluster", "demo"];
    let runs = starling(&context, &recover).await;
    assert_eq!(runs.code, Some(1), "{}", runs.out);
    assert!(runs.err.contains("stop the agent first"), "{}", runs.err);

    cluster.kill(survivor).await;
    let refused = starling(&context, &recover).await;
    assert_eq!(refused.code, Some(1), "{}", refused.out);
    assert!(
        refused.err.contains("hears a leader") || refused.err.contains("a majority"),
        "{}",
        refused.err
    );
    for position in [0, 2] {
        cluster.kill(position).await;
    }
    let unnamed = starling(&context, &recover[..3]).await;
    assert_eq!(unnamed.code, Some(1), "{}", unnamed.out);
    assert!(unnamed.err.contains("--cluster"), "{}", unnamed.err);
    let wrong = [&recover[..4], &["other"]].concat();
    let wrong = starling(&context, &wrong).await;
    assert!(wrong.err.contains("is of cluster demo"), "{}", wrong.err);

    let done = starling(&context, &recover).await;
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(done.out.contains("generation 2"), "{}", done.out);
    cluster.restart(survivor).expect("it starts");
    let name = names[survivor].clone();
    let status = until("it leads alone", || async {
        let status = json(&context, &["status", "--agent", &name]).await;
        (status["leader"] == name.as_str()).then_some(status)
    })
    .await;
    assert_eq!(status["generation"], 2);
    assert_eq!(status["voters"].as_array().map(Vec::len), Some(1));
    assert!(status["safe_mode_left_ms"].as_u64() > Some(0), "{status}");
    let shown = starling(&context, &["status", "--agent", &name]).await;
    assert!(shown.out.contains("Safe mode:"), "{}", shown.out);
    until("its explanation says why nothing changes", || async {
        let said = starling(&context, &["explain", "web", "--agent", &name]).await;
        said.out.contains("The cluster was rebuilt").then_some(())
    })
    .await;
    assert_eq!(cluster.sample().workers.len(), 4, "nothing was stopped");
    let granted: u64 = shares(&context).await.iter().map(|(_, n)| n).sum();
    assert_eq!(granted, 4, "nothing moves before two windows were seen");

    // Two windows later what the others ran is placed anew.
    until("all runs here", || async {
        let shares = shares(&context).await;
        let here = shares.iter().all(|(node, _)| *node == name);
        let status = json(&context, &["status", "--agent", &name]).await;
        (here && status["safe_mode_left_ms"].is_null()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_saved_snapshot_is_restored_on_a_machine_without_a_log() {
    let (mut cluster, context) = start().await;
    until("the policy is in force", || async {
        let shown = json(&context, &["policies"]).await;
        (shown["policies"].as_array()?.len() == 1).then_some(())
    })
    .await;
    let file = cluster.dir().join("saved.snap").display().to_string();
    let saved = starling(&context, &["raft", "snapshot", "save", &file]).await;
    assert_eq!(saved.code, Some(0), "{}", saved.err);
    for position in 0..3 {
        cluster.kill(position).await;
    }
    let names = cluster.names();
    let home = cluster.dir().join(&names[1]);
    let config = home.join("config.yaml").display().to_string();
    let restore = ["raft", "snapshot", "restore", &file, "--config", &config];
    let refused = starling(&context, &restore).await;
    assert_eq!(refused.code, Some(1), "{}", refused.out);
    assert!(refused.err.contains("holds a log"), "{}", refused.err);

    let data = home.join("data");
    for name in ["raft", "rebuilt"] {
        let _ = std::fs::remove_dir_all(data.join(name));
    }
    let mut bytes = std::fs::read(&file).expect("a file");
    bytes.pop();
    let cut = format!("{file}.cut");
    std::fs::write(&cut, bytes).expect("a file");
    let damaged = ["raft", "snapshot", "restore", &cut, "--config", &config];
    let refused = starling(&context, &damaged).await;
    assert_eq!(refused.code, Some(1), "{}", refused.out);
    assert!(refused.err.contains("can't be restored"), "{}", refused.err);

    let done = starling(&context, &restore).await;
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(done.out.contains("generation 2"), "{}", done.out);
    cluster.restart(1).expect("it starts");
    let name = names[1].clone();
    until("it leads alone, with the policy", || async {
        let status = json(&context, &["status", "--agent", &name]).await;
        let leads = status["leader"] == name.as_str() && status["generation"] == 2;
        (leads && status["policies"] == 1).then_some(())
    })
    .await;
}
