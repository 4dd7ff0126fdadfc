//! Several agents that share the asking.

use std::collections::BTreeMap;
use std::fs;

use starling_rig::cluster::files::Documents;
use starling_rig::cluster::{Cluster, Launch};
use starling_rig::probe;
use starling_tests::sleepers::PROCESS;
use starling_tests::{binary, until};

use crate::counting::{self, Asked};

const AGENTS: usize = 3;
const POLICIES: usize = 60;
/// Of what an agent's metrics say.
const QUESTIONS: &str = "starling_trigger_poll_duration_seconds_count ";

fn policy(name: &str, url: &str, more: &str) -> String {
    format!(
        "---\napiVersion: starling.sh/v1alpha1\nkind: ScalingPolicy\nmetadata: {{name: {name}}}\n\
         spec:\n  scaleTargetRef: {{kind: Process, name: {name}}}\n  pollingInterval: 1\n  \
         maxReplicaCount: 2\n  triggers:\n  - type: metrics-api\n    metadata: {{url: '{url}', \
         valueLocation: n, targetValue: '10'{more}\n"
    )
}

async fn started(policies: String, cluster: &mut Cluster) {
    let documents = Documents {
        each: PROCESS.into(),
        first: policies,
    };
    cluster.start(&documents).await.unwrap();
}

/// How many questions each agent has asked by itself.
async fn questions(cluster: &Cluster) -> Option<Vec<u64>> {
    let mut counts = Vec::new();
    for address in cluster.health_addresses() {
        let (_, page) = probe::get(&address, "/metrics").await.ok()?;
        let mut lines = page.lines();
        let count = lines.find_map(|line| line.strip_prefix(QUESTIONS))?;
        counts.push(count.parse().ok()?);
    }
    Some(counts)
}

fn now(asked: &Asked) -> BTreeMap<String, usize> {
    asked.lock().unwrap().clone()
}

#[tokio::test]
async fn every_agent_asks_its_part_and_when_one_dies_others_ask_that_too() {
    let asked = Asked::default();
    let url = counting::serve(&asked, None).await;
    let policies = (0..POLICIES).map(|n| policy(&format!("p{n}"), &format!("{url}/{n}"), "}"));
    let mut cluster = Cluster::new(&binary(), AGENTS).unwrap();
    started(policies.collect(), &mut cluster).await;
    let counts = until("each agent asks a good part of all", || async {
        let counts = questions(&cluster).await?;
        // Of twenty each there are fewer than eight once in ten thousand runs.
        counts.iter().all(|count| *count >= 8 * 5).then_some(counts)
    })
    .await;
    println!("questions of each agent: {counts:?}");

    // One that doesn't lead: a new leader would ask everything anew in any case.
    let observer = cluster.observer().unwrap();
    let follower = until("somebody follows", || async {
        let statuses = observer.statuses().await;
        let follows = |it: &Option<starling_rig::observe::Status>| {
            it.as_ref()
                .is_some_and(|it| it.leader_id.is_some() && !it.acting)
        };
        statuses.iter().position(follows)
    })
    .await;
    cluster.kill(follower).await;
    let before = now(&asked);
    until("all is asked for again and again", || async {
        let again =
            |(path, times): (&String, &usize)| times - before.get(path).copied().unwrap_or(0) >= 3;
        now(&asked).iter().all(again).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_source_that_one_agent_alone_can_prove_itself_to_is_asked_by_that_one() {
    let asked = Asked::default();
    let url = counting::serve(&asked, Some("x-api-key: marigold")).await;
    let mut cluster = Cluster::new(&binary(), AGENTS).unwrap();
    let secrets = tempfile::tempdir().unwrap();
    fs::create_dir_all(secrets.path().join("default/key")).unwrap();
    fs::write(secrets.path().join("default/key/apiKey"), "marigold").unwrap();
    let settings = cluster
        .dir()
        .join(&cluster.names()[AGENTS - 1])
        .join("config.yaml");
    let script = format!(
        "echo 'authentications: {}' >>{} && exec \"$@\"",
        secrets.path().display(),
        settings.display()
    );
    let launch = Launch {
        by: ["sh", "-c", &script, "sh"].map(str::to_owned).into(),
        ..Launch::default()
    };
    cluster.launch(AGENTS - 1, launch);
    let more = ", authMode: apiKey, method: header, keyParamName: X-API-KEY}\n    \
                authenticationRef: {name: key}";
    let policies = (0..12).map(|n| policy(&format!("p{n}"), &format!("{url}/{n}"), more));
    started(policies.collect(), &mut cluster).await;
    until("all are answered", || async {
        let asked = now(&asked);
        (asked.len() == 12 && asked.values().all(|times| *times >= 3)).then_some(())
    })
    .await;
}
